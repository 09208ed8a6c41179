//! What a ramdisk and the control plane say to each other, as types.
//!
//! From ramdisk to control plane, below the URL given as `ipa-api-url`:
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `GET /v1/lookup?addresses=MAC,…&node_uuid=…` | | [`LookupAnswer`] |
//! | `POST /v1/heartbeat/{uuid}` | [`Heartbeat`] | 202 |
//! | `POST /v1/continue_inspection` | [`Inspection`] | 202, [`Inspected`] |
//! | `POST /v1/ramdisk_log/{uuid}` (ours) | [`LogLine`]s | 204 |
//!
//! From control plane to ramdisk, at the heartbeat's `callback_url`: `POST /v1/commands/?wait=…&agent_token=…` with a
//! [`CommandRequest`], `GET /v1/commands/` and `GET /v1/commands/{id}`; see [`command`].
//!
//! Ours beside the stock agent's:
//! - the header [`BOOT_TOKEN_HEADER`] on lookup and inspection: the one-time token that came with the boot;
//! - in the inventory `system_vendor.uuid`, `bmc`, `bmc_redfish` and `tpm`;
//! - the log, with the header [`AGENT_TOKEN_HEADER`];
//! - `mark` and `epoch` in a command, so that one whose answer was lost is not carried out twice, and none of a worker
//!   that was overtaken is carried out at all;
//! - `command_progress` of a command that runs, so that one that is slow is told from one that stands still;
//! - `erase_devices` answers with an [`EraseRecord`] for each disk;
//! - `create_configuration` answers with the arrays that were made, in the form of a node's `raid_config`;
//! - `poll.get_hardware_info` answers with `pci_devices` and `error` of an [`Inspection`] beside the inventory's fields;
//! - `rescue.finalize_rescue` takes `authorized_keys`.

pub mod command;
pub mod erase;
pub mod image;
pub mod inventory;
pub mod step;

pub use command::{CommandFailure, CommandList, CommandRequest, CommandResult, CommandStatus};
pub use erase::{EraseAttempt, EraseMethod, EraseRecord, Verification};
pub use image::{Growth, ImageInfo, RootDeviceHints, WriteRecord};
pub use inventory::{Inspected, Inspection, Inventory};
pub use step::{Step, StepList};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Carries the one-time token that a server was booted with; it is good for one lookup or, where nobody enrolled the server,
/// for one offer.
pub const BOOT_TOKEN_HEADER: &str = "x-corten-boot-token";
/// Carries the token that the lookup answered with.
pub const AGENT_TOKEN_HEADER: &str = "x-corten-agent-token";
/// The version of the bare-metal API that the ramdisk speaks (`agent_verify_ca` came with it).
pub const API_VERSION: &str = "1.68";
/// The one that brought `POST /v1/continue_inspection`.
pub const INSPECTION_API_VERSION: &str = "1.84";
pub const API_VERSION_HEADER: &str = "x-openstack-ironic-api-version";
/// Where the ramdisk's own API listens, as the stock agent's does.
pub const AGENT_PORT: u16 = 9999;
/// What Ironic answers in place of a token that was handed out before.
pub const TOKEN_ALREADY_GIVEN: &str = "******";

/// The control plane's answer to a lookup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookupAnswer {
    pub node: LookupNode,
    pub config: LookupConfig,
}

/// The node that has one of the addresses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookupNode {
    pub uuid: Uuid,
    #[serde(default)]
    pub properties: NodeProperties,
}

/// What of a node's properties the ramdisk heeds. Commands carry the node too, with the same field.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NodeProperties {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_device: Option<RootDeviceHints>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookupConfig {
    /// Seconds after which a silent ramdisk counts as lost.
    pub heartbeat_timeout: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_token: Option<String>,
}

/// "I am here, and can be reached there."
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heartbeat {
    pub callback_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_token: Option<String>,
    pub agent_version: String,
    /// The certificate, in PEM, of the ramdisk's own API; it is made at each boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_verify_ca: Option<String>,
}

/// One line of the ramdisk's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Counts from 0 at each boot, without gaps, so that a line sent twice can be told.
    pub number: u64,
    /// Milliseconds since 1970 by the server's own clock, which may be wrong.
    pub at_ms: u64,
    pub level: String,
    pub text: String,
}
