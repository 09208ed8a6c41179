//! The BMC's own log of the server: power supplies that failed, memory that was corrected, lids that were opened.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    pub id: String,
    /// As the BMC writes it; clocks of BMCs are often wrong.
    pub created: Option<String>,
    pub severity: Severity,
    pub message: String,
    /// What it is about, or the message's key in its registry.
    pub subject: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Ok,
    Warning,
    Critical,
    Unknown,
}
