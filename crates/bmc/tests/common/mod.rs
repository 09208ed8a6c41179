//! What the tests of BMCs share: limits that do not keep them waiting, and places for their helpers.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "only tests use this"
)]

pub mod child;
pub mod ipmi_sim;
pub mod libvirt;
pub mod relay;
pub mod service;
pub mod sim;
pub mod sushy;
pub mod tls;

use corten_bmc::{Address, Bmc, Credentials, Limits, RedfishAddress, open};
use std::sync::Arc;
use std::time::Duration;

pub const USERNAME: &str = "admin";
pub const PASSWORD: &str = "s3cret-horse";

/// Short, so that what never comes is not waited for.
pub fn limits() -> Limits {
    Limits {
        connections: 2,
        connect: Duration::from_secs(1),
        request: Duration::from_secs(20),
        patience: Duration::from_secs(20),
        back_off: Duration::from_millis(20),
        settle: Duration::from_secs(10),
    }
}

pub fn credentials() -> Credentials {
    Credentials::new(USERNAME, PASSWORD)
}

pub fn redfish_at(url: &str) -> Arc<dyn Bmc> {
    open_redfish(RedfishAddress::new(url).unwrap(), limits())
}

pub fn open_redfish(address: RedfishAddress, limits: Limits) -> Arc<dyn Bmc> {
    open(Address::Redfish(address), credentials(), limits).unwrap()
}

/// The oddities, one a line.
pub fn oddities(bmc: &dyn Bmc) -> String {
    let lines = bmc.oddities();
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
