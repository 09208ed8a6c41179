//! A rack of simulated BMCs on a free port of loopback, with a clock that only the test moves.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "only tests use this"
)]

pub mod asker;

use corten_bmc::{Address, AttributeValue, Bmc, Credentials, Limits, RedfishAddress, open};
use corten_sim::SimMachines;
use corten_sim::redfish::{RedfishNode, RedfishService, Shape};
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

pub const USERNAME: &str = "admin";
pub const PASSWORD: &str = "s3cret-horse";

/// Short, so that what never comes is not waited for.
pub fn limits() -> Limits {
    Limits {
        connections: 2,
        connect: Duration::from_secs(2),
        request: Duration::from_secs(20),
        patience: Duration::from_secs(20),
        back_off: Duration::from_millis(20),
        settle: Duration::from_secs(5),
    }
}

pub fn text(value: &str) -> AttributeValue {
    AttributeValue::Text(value.to_owned())
}

pub struct Rack {
    pub service: RedfishService,
    pub url: String,
    seconds: Arc<AtomicI64>,
}

impl Rack {
    /// A node of each shape, with the ids 1, 2 …
    pub async fn start(shapes: &[&str]) -> Self {
        let seconds = Arc::new(AtomicI64::new(1_790_000_000));
        let clock = Arc::clone(&seconds);
        let service = RedfishService::new(USERNAME, PASSWORD)
            .with_clock(move || Timestamp::from_second(clock.load(Ordering::Relaxed)).unwrap())
            .with_task_polls(2);
        let machines = SimMachines::default();
        for (index, shape) in shapes.iter().enumerate() {
            let id = (index + 1).to_string();
            service.add(&id, machines.get(&id), Shape::named(shape).unwrap());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = service.clone();
        tokio::spawn(async move { serving.serve(listener).await });
        Self {
            service,
            url,
            seconds,
        }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_second(self.seconds.load(Ordering::Relaxed)).unwrap()
    }

    pub fn pass(&self, time: Duration) {
        let seconds = i64::try_from(time.as_secs()).unwrap();
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    pub fn open(&self, id: &str, limits: Limits) -> Arc<dyn Bmc> {
        let node = self.service.node(id).unwrap();
        let address = RedfishAddress::new(&self.url).unwrap();
        let address = Address::Redfish(address.with_system(node.system_path()));
        open(address, Credentials::new(USERNAME, PASSWORD), limits).unwrap()
    }

    /// A node and Corten's own client for it.
    pub fn node(&self, id: &str) -> (Arc<RedfishNode>, Arc<dyn Bmc>) {
        (self.service.node(id).unwrap(), self.open(id, limits()))
    }
}
