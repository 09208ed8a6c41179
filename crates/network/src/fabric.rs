//! The trait that the control plane uses to have networks.

use crate::error::NetworkError;
use crate::plan::{Change, Plan, Unit};
use async_trait::async_trait;
use corten_model::ids::PortId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Makes networks as planned. Every call may be repeated.
#[async_trait]
pub trait Fabric: Send + Sync {
    /// Makes all changes true, in one transaction. Done when it is written; [`settle`](Self::settle) waits for hosts.
    async fn apply(&self, changes: Vec<Change>) -> Result<(), NetworkError>;

    /// Waits until every host has what was applied before. False when one has not within `limit`; which one is logged.
    async fn settle(&self, limit: Duration) -> Result<bool, NetworkError>;

    /// Makes the fabric hold exactly these plans: what is missing or changed is written, what no plan names is removed.
    async fn reconcile(&self, all: Vec<Plan>) -> Result<Repair, NetworkError>;

    /// Ports that are wired now, and their changes from now on.
    fn ports_up(&self) -> PortsUp;

    /// Changes whenever somebody else changed what this fabric wrote, or the database was replaced: time to reconcile.
    fn disturbed(&self) -> watch::Receiver<u64>;

    /// The hosts that the fabric knows.
    async fn chassis(&self) -> Result<Vec<Chassis>, NetworkError>;
}

/// What [`Fabric::reconcile`] found wrong, and put right.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    pub inserted: usize,
    pub updated: usize,
    pub deleted: usize,
    /// The units that were not as planned.
    pub units: BTreeSet<Unit>,
}

impl Repair {
    pub fn is_empty(&self) -> bool {
        self.inserted + self.updated + self.deleted == 0
    }
}

/// Ports that are wired. "Up" says that the host has wired the port, not that a guest is alive behind it.
#[derive(Debug)]
pub struct PortsUp {
    /// All that are up at the moment of the call.
    pub up: BTreeSet<PortId>,
    /// Every change after that. A reader that lags behind asks for a new snapshot.
    pub changes: broadcast::Receiver<(PortId, bool)>,
}

/// A host as the fabric sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chassis {
    /// The name that plans use.
    pub name: String,
    pub hostname: String,
    /// The address and kind of its tunnels.
    pub tunnels: Vec<(String, String)>,
    /// Whether it has the newest state that [`Fabric::settle`] asked for.
    pub alive: bool,
    /// The physical networks that it is joined to.
    pub physical_networks: Vec<String>,
}
