//! A node's server: its BMC, opened with what `driver_info` says, or a simulated one.

use super::driver::{FAKE, IPMI, REDFISH};
use crate::context::Context;
use corten_bmc::{
    Address, BmcError, Boot, BootMode, Credentials, IpmiAddress, Limits, Machine, RedfishAddress,
    Trust, open as open_bmc,
};
use corten_engine::StepError;
use corten_model::refusal::Refusal;
use corten_store::metal::node::Node;
use serde_json::Value;

pub(super) const IPMI_PORT: u16 = 623;

/// What is shown in place of a secret, and what a client sends back to leave it as it is.
pub const HIDDEN: &str = "******";

/// Opens the server of a node. Nothing is asked of it yet.
pub fn open(cx: &Context, node: &Node) -> Result<Machine, Refusal> {
    match node.driver.as_str() {
        FAKE => match &cx.metal.simulator {
            Some(simulator) => Ok(simulator(node.id)),
            None => Err(Refusal::conflict(format!(
                "Node {} has the driver {FAKE}, and this cloud simulates no machines: set [sim] metal = true, or give it another driver.",
                node.id
            ))),
        },
        REDFISH => redfish(cx, node),
        IPMI => ipmi(cx, node),
        other => Err(Refusal::conflict(format!(
            "Node {} has the driver {other}, which this cloud does not have.",
            node.id
        ))),
    }
}

fn real(address: Address, credentials: Credentials) -> Result<Machine, Refusal> {
    let bmc = open_bmc(address, credentials, Limits::default()).map_err(refused)?;
    Ok(Machine { bmc, inside: None })
}

fn redfish(cx: &Context, node: &Node) -> Result<Machine, Refusal> {
    let info = Info { cx, node };
    let text = info.required("redfish_address")?;
    let url = if text.contains("://") {
        text
    } else {
        format!("https://{text}")
    };
    let mut address = RedfishAddress::new(&url).map_err(refused)?;
    if let Some(system) = info.text("redfish_system_id") {
        address = address.with_system(system);
    }
    let address = address.with_trust(trust(node.driver_info.get("redfish_verify_ca"))?);
    let credentials = info.credentials("redfish_username", "redfish_password")?;
    real(Address::Redfish(address), credentials)
}

fn trust(wish: Option<&Value>) -> Result<Trust, Refusal> {
    let text = match wish {
        None | Some(Value::Null | Value::Bool(true)) => return Ok(Trust::System),
        Some(Value::Bool(false)) => return Ok(Trust::Anybody),
        Some(Value::String(text)) => text.trim(),
        Some(other) => {
            return Err(Refusal::invalid(format!(
                "driver_info/redfish_verify_ca is {other}: give true, false, a SHA-256 or authorities in PEM."
            )));
        }
    };
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(Trust::System),
        "false" => Ok(Trust::Anybody),
        _ if text.starts_with("-----BEGIN") => Ok(Trust::Authority(text.to_owned())),
        _ => Trust::pinned(text).map_err(refused),
    }
}

fn ipmi(cx: &Context, node: &Node) -> Result<Machine, Refusal> {
    let info = Info { cx, node };
    let host = info.required("ipmi_address")?;
    let number = |key: &str| -> Result<Option<u16>, Refusal> {
        info.text(key)
            .map(|text| {
                text.parse().map_err(|_| {
                    Refusal::invalid(format!(
                        "driver_info/{key} is '{text}', which is no number."
                    ))
                })
            })
            .transpose()
    };
    let port = number("ipmi_port")?.unwrap_or(IPMI_PORT);
    let mut address = IpmiAddress::new(&host, port).map_err(refused)?;
    address.cipher_suite = number("ipmi_cipher_suite")?.and_then(|suite| suite.try_into().ok());
    let credentials = info.credentials("ipmi_username", "ipmi_password")?;
    real(Address::Ipmi(address), credentials)
}

/// The same boot in the mode that the node is known to boot in, where a BMC forgets the mode unless it is told each time:
/// over IPMI the flags of a boot are one set.
pub fn in_its_mode(node: &Node, boot: Boot) -> Boot {
    let mode = match boot_mode(node) {
        Some("uefi") => BootMode::Uefi,
        Some("bios") => BootMode::Legacy,
        _ => return boot,
    };
    if node.driver == IPMI {
        boot.in_mode(mode)
    } else {
        boot
    }
}

/// As seen, or as its operator says in the properties' `capabilities`: `boot_mode:uefi,…`.
fn boot_mode(node: &Node) -> Option<&str> {
    let said = || {
        let words = node.properties.get("capabilities")?.as_str()?;
        words
            .split(',')
            .find_map(|word| word.trim().strip_prefix("boot_mode:"))
    };
    node.boot_mode.as_deref().or_else(said)
}

/// A node's `driver_info`.
struct Info<'a> {
    cx: &'a Context,
    node: &'a Node,
}

impl Info<'_> {
    fn text(&self, key: &str) -> Option<String> {
        match self.node.driver_info.get(key)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn required(&self, key: &str) -> Result<String, Refusal> {
        self.text(key).ok_or_else(|| missing(self.node, key))
    }

    fn credentials(&self, username: &str, password: &str) -> Result<Credentials, Refusal> {
        let username = self.required(username)?;
        let secret = secret(self.cx, self.node, &format!("driver_info/{password}"))?
            .ok_or_else(|| missing(self.node, password))?;
        Ok(Credentials::new(username, secret))
    }
}

fn missing(node: &Node, key: &str) -> Refusal {
    Refusal::invalid(format!(
        "The driver {} needs driver_info/{key}, which node {} does not have.",
        node.driver, node.id
    ))
}

/// A secret of a node, opened. One that is not a text is given as JSON.
pub fn secret(cx: &Context, node: &Node, place: &str) -> Result<Option<String>, Refusal> {
    let Some(sealed) = node.secrets.get(place) else {
        return Ok(None);
    };
    let opened = cx
        .metal
        .vault
        .unseal(node.id, place, sealed)
        .map_err(Refusal::conflict)?;
    Ok(Some(match serde_json::from_str(&opened) {
        Ok(Value::String(text)) => text,
        _ => opened,
    }))
}

fn refused(error: BmcError) -> Refusal {
    Refusal::invalid(error)
}

/// What a call that asked the BMC answers when the BMC could not be asked.
pub fn unanswered(error: BmcError) -> Refusal {
    match error {
        BmcError::Lacks { .. } | BmcError::Invalid { .. } => Refusal::invalid(error),
        _ => Refusal::unavailable(error),
    }
}

/// Trouble that may pass is tried again; what a BMC refuses it will refuse again.
pub fn step_error(error: BmcError) -> StepError {
    if error.is_transient() {
        StepError::Retry(error.to_string())
    } else {
        StepError::Fail(error.to_string())
    }
}
