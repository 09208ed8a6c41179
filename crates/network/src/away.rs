//! A fabric that is not there: everything that is asked of it waits, and says why.

use crate::error::NetworkError;
use crate::fabric::{Chassis, Fabric, PortsUp, Repair};
use crate::plan::{Change, Plan};
use async_trait::async_trait;
use corten_model::ids::PortId;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// In place of a fabric that could not be started, or was switched off.
pub struct AwayFabric {
    reason: String,
    changes: broadcast::Sender<(PortId, bool)>,
    disturbed: watch::Sender<u64>,
}

impl AwayFabric {
    /// `reason` says to people what is missing, and what to do.
    pub fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            changes: broadcast::channel(1).0,
            disturbed: watch::channel(0).0,
        }
    }

    fn error(&self) -> NetworkError {
        NetworkError::Away {
            reason: self.reason.clone(),
        }
    }
}

#[async_trait]
impl Fabric for AwayFabric {
    async fn apply(&self, _: Vec<Change>) -> Result<(), NetworkError> {
        Err(self.error())
    }

    async fn settle(&self, _: Duration) -> Result<bool, NetworkError> {
        Err(self.error())
    }

    async fn reconcile(&self, _: Vec<Plan>) -> Result<Repair, NetworkError> {
        Err(self.error())
    }

    fn ports_up(&self) -> PortsUp {
        PortsUp {
            up: BTreeSet::new(),
            changes: self.changes.subscribe(),
        }
    }

    fn disturbed(&self) -> watch::Receiver<u64> {
        self.disturbed.subscribe()
    }

    async fn chassis(&self) -> Result<Vec<Chassis>, NetworkError> {
        Err(self.error())
    }
}
