//! Commands: what the control plane asks of the ramdisk, one at a time, and what comes of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// `{"name": "clean.execute_clean_step", "params": {…}}`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommandRequest {
    pub name: String,
    pub params: Map<String, Value>,
    /// Names the work that the command is for. A command with a mark that is known already is not begun again: the answer
    /// is the first one's. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// Who asks: a command of an older epoch than one that was seen is refused with 412. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CommandStatus {
    Running,
    Succeeded,
    Failed,
    /// The steps were listed by another version of the agent; list them again.
    #[serde(rename = "CLEAN_VERSION_MISMATCH")]
    VersionMismatch,
}

/// A command and how far it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommandResult {
    pub id: Uuid,
    /// Without the part before the dot, as the stock agent has it.
    pub command_name: String,
    pub command_status: CommandStatus,
    pub command_error: Option<CommandFailure>,
    pub command_result: Option<Value>,
    /// Bytes that were downloaded or erased so far, of a command that runs and has to do with many. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_progress: Option<u64>,
    /// As the request had it. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandFailure {
    #[serde(rename = "type")]
    pub kind: String,
    pub code: u16,
    pub message: String,
    pub details: String,
}

/// All commands since the boot, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommandList {
    pub commands: Vec<CommandResult>,
}
