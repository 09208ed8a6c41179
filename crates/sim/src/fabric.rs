//! A fabric in memory: it holds the plans it is given, and can be cut off.

use async_trait::async_trait;
use corten_model::ids::PortId;
use corten_network::plan::{Change, Plan, PortKind, Unit};
use corten_network::{Chassis, Fabric, NetworkError, PortsUp, Repair};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Ports that change between two looks of a watcher; one that lags takes a new snapshot.
const CHANGES_KEPT: usize = 4096;

/// Wires every guest's port that has a host as soon as it is told of it.
pub struct SimFabric {
    held: Mutex<Held>,
    changes: broadcast::Sender<(PortId, bool)>,
    disturbed: watch::Sender<u64>,
}

#[derive(Default)]
struct Held {
    plans: BTreeMap<Unit, Plan>,
    up: BTreeSet<PortId>,
    cut_off: bool,
}

impl Default for SimFabric {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            changes: broadcast::channel(CHANGES_KEPT).0,
            disturbed: watch::channel(0).0,
        }
    }
}

impl SimFabric {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What it was told and holds now.
    pub fn plans(&self) -> BTreeMap<Unit, Plan> {
        self.held().plans.clone()
    }

    /// Answers nothing from now on, or again.
    pub fn cut_off(&self, cut_off: bool) {
        self.held().cut_off = cut_off;
    }

    /// Loses everything, as a database that was replaced.
    pub fn forget(&self) {
        let mut held = self.held();
        held.plans.clear();
        self.wire(&mut held);
        self.disturbed.send_modify(|count| *count += 1);
    }

    fn reach(&self) -> Result<MutexGuard<'_, Held>, NetworkError> {
        let held = self.held();
        if held.cut_off {
            return Err(NetworkError::Unreachable {
                database: "simulated",
                remote: "memory".to_owned(),
                reason: "a test cut it off".to_owned(),
            });
        }
        Ok(held)
    }

    /// Tells of the ports that are wired now and were not, and the other way round.
    fn wire(&self, held: &mut Held) {
        let up: BTreeSet<PortId> = held.plans.values().flat_map(wired).collect();
        for gone in held.up.difference(&up) {
            // Nobody may be watching.
            let _ = self.changes.send((*gone, false));
        }
        for new in up.difference(&held.up) {
            let _ = self.changes.send((*new, true));
        }
        held.up = up;
    }
}

fn wired(plan: &Plan) -> Vec<PortId> {
    let Plan::Network(network) = plan else {
        return Vec::new();
    };
    let is_wired = |kind: &PortKind, host: &Option<String>| match kind {
        PortKind::Guest => host.is_some(),
        PortKind::Router { .. } | PortKind::Sub { .. } => true,
        PortKind::Service => false,
    };
    network
        .ports
        .iter()
        .filter(|port| is_wired(&port.kind, &port.host))
        .map(|port| port.id)
        .collect()
}

#[async_trait]
impl Fabric for SimFabric {
    async fn apply(&self, changes: Vec<Change>) -> Result<(), NetworkError> {
        let mut held = self.reach()?;
        for change in changes {
            match change {
                Change::Set(plan) => {
                    held.plans.insert(plan.unit(), plan);
                }
                Change::Remove(unit) => {
                    held.plans.remove(&unit);
                }
            }
        }
        self.wire(&mut held);
        Ok(())
    }

    async fn settle(&self, _: Duration) -> Result<bool, NetworkError> {
        self.reach().map(|_| true)
    }

    async fn reconcile(&self, all: Vec<Plan>) -> Result<Repair, NetworkError> {
        let mut held = self.reach()?;
        let wanted: BTreeMap<Unit, Plan> =
            all.into_iter().map(|plan| (plan.unit(), plan)).collect();
        let mut repair = Repair::default();
        for (unit, plan) in &wanted {
            match held.plans.get(unit) {
                None => repair.inserted += 1,
                Some(present) if present != plan => repair.updated += 1,
                Some(_) => continue,
            }
            repair.units.insert(*unit);
        }
        for unit in held.plans.keys().filter(|unit| !wanted.contains_key(unit)) {
            repair.deleted += 1;
            repair.units.insert(*unit);
        }
        held.plans = wanted;
        self.wire(&mut held);
        Ok(repair)
    }

    fn ports_up(&self) -> PortsUp {
        let held = self.held();
        PortsUp {
            up: held.up.clone(),
            changes: self.changes.subscribe(),
        }
    }

    fn disturbed(&self) -> watch::Receiver<u64> {
        self.disturbed.subscribe()
    }

    async fn chassis(&self) -> Result<Vec<Chassis>, NetworkError> {
        self.reach().map(|_| Vec::new())
    }
}
