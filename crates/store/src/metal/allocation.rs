//! Allocations: a node set aside for whoever asked for one of its kind.

use super::{Standard, resource};
use crate::record::{Record, Value};
use corten_model::ids::{NodeAllocationId, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeAllocation {
    pub id: NodeAllocationId,
    pub name: Option<String>,
    pub resource_class: Option<String>,
    pub traits: BTreeSet<String>,
    /// Only these are asked; empty: any.
    pub candidates: Vec<NodeId>,
    pub node_id: Option<NodeId>,
    pub state: AllocationState,
    pub last_error: Option<String>,
    pub owner: Option<String>,
    #[serde(flatten)]
    pub standard: Standard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AllocationState {
    Allocating,
    Active,
    Error,
}

impl AllocationState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allocating => "allocating",
            Self::Active => "active",
            Self::Error => "error",
        }
    }
}

impl Record for NodeAllocation {
    const TABLE: &'static str = "metal_allocations";
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "node_id",
        "resource_class",
        "state",
        "owner",
        "created_at",
        "updated_at",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            super::text(self.name.as_ref()),
            super::text(self.node_id),
            super::text(self.resource_class.as_ref()),
            self.state.as_str().into(),
            super::text(self.owner.as_ref()),
            self.standard.created_at.into(),
            self.standard.updated(),
        ]
    }
}

resource!(NodeAllocation, "Allocation", Some("name"));
