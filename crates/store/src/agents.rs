//! Hosts on other machines: who may be one, and how it proves to be it.

use crate::record::{Record, Value};
use corten_model::ids::HostId;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A host that was admitted. It stays one until it is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    pub host_id: HostId,
    pub name: String,
    /// SHA-256 of the one certificate that is good, in hexadecimal.
    pub certificate: String,
    pub admitted_at: Timestamp,
}

impl Record for Agent {
    const TABLE: &'static str = "agents";
    const COLUMNS: &'static [&'static str] = &["name", "certificate"];

    fn id(&self) -> String {
        self.host_id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![self.name.as_str().into(), self.certificate.as_str().into()]
    }
}

/// An operator's word that a machine may become a host. It is good once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// SHA-256 of the secret, in hexadecimal.
    pub secret_hash: String,
    /// What the host will be called.
    pub name: String,
    pub expires_at: Timestamp,
}

impl Record for Invitation {
    const TABLE: &'static str = "agent_invitations";
    const COLUMNS: &'static [&'static str] = &["name", "expires_at"];

    fn id(&self) -> String {
        self.secret_hash.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![self.name.as_str().into(), self.expires_at.into()]
    }
}
