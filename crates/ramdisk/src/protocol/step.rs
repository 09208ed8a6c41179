//! Steps: what may be done while a node is cleaned or deployed, and in which order.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One step, as listed by the ramdisk and as sent back to be executed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    pub step: String,
    /// Higher runs earlier; 0 only when asked for by name.
    #[serde(default)]
    pub priority: u32,
    pub interface: String,
    #[serde(default)]
    pub reboot_requested: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abortable: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Map<String, Value>>,
}

/// Steps by the hardware manager that offers them. Ours has one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepList {
    #[serde(alias = "deploy_steps", alias = "service_steps")]
    pub clean_steps: std::collections::BTreeMap<String, Vec<Step>>,
    pub hardware_manager_version: std::collections::BTreeMap<String, String>,
}

/// The name of our one hardware manager.
pub const HARDWARE_MANAGER: &str = "corten";
