//! The topology that a project is given when it asks for "a network": Neutron's auto-allocated topology.

use crate::record::{Record, Value};
use corten_model::ids::{NetworkId, ProjectId, RouterId};
use serde::{Deserialize, Serialize};

/// A project has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoAllocated {
    pub project_id: ProjectId,
    pub network_id: NetworkId,
    pub router_id: RouterId,
}

impl Record for AutoAllocated {
    const TABLE: &'static str = "auto_allocated_topologies";
    const COLUMNS: &'static [&'static str] = &[];

    fn id(&self) -> String {
        self.project_id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        Vec::new()
    }
}
