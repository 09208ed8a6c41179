//! Networks and what belongs to them, in Neutron's words: a file per resource.

pub mod address_group;
pub mod address_scope;
pub mod auto_allocated;
pub mod changes;
pub mod default_rule;
pub mod floating_ip;
#[expect(
    clippy::module_inception,
    reason = "the resource has the name of its API"
)]
pub mod network;
pub mod port;
pub mod port_forwarding;
pub mod qos_policy;
pub mod quota;
pub mod rbac_policy;
pub mod router;
pub mod security_group;
pub mod subnet;
pub mod subnet_pool;
pub mod trunk;

use crate::record::Record;
use corten_model::ids::ProjectId;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What every resource of the network API has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standard {
    pub project_id: ProjectId,
    pub name: String,
    pub description: String,
    pub tags: BTreeSet<String>,
    /// Counts the changes that its owner made.
    pub revision: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Standard {
    pub fn new(project_id: ProjectId, name: String, description: String, now: Timestamp) -> Self {
        Self {
            project_id,
            name,
            description,
            tags: BTreeSet::new(),
            revision: 0,
            created_at: now,
            updated_at: now,
        }
    }

    /// Notes a change.
    pub fn touch(&mut self, now: Timestamp) {
        self.revision += 1;
        self.updated_at = now;
    }
}

/// A resource of the network API.
pub trait Resource: Record + Clone {
    /// In texts for people: `Network`, `Floating IP`.
    const KIND: &'static str;
    /// The type of the error that Neutron answers when there is none with an id.
    const MISSING: &'static str;

    fn standard(&self) -> &Standard;
    fn standard_mut(&mut self) -> &mut Standard;

    fn project_id(&self) -> &ProjectId {
        &self.standard().project_id
    }
}

/// The last four parts of a resource, which read the same for all of them.
macro_rules! resource {
    ($type:ty, $kind:literal, $missing:literal) => {
        impl $crate::network::Resource for $type {
            const KIND: &'static str = $kind;
            const MISSING: &'static str = $missing;

            fn standard(&self) -> &$crate::network::Standard {
                &self.standard
            }

            fn standard_mut(&mut self) -> &mut $crate::network::Standard {
                &mut self.standard
            }
        }
    };
}
pub(crate) use resource;
