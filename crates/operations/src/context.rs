//! What rules and operations stand on.

use crate::metal::Metal;
use crate::settings::Settings;
use corten_engine::Clock;
use corten_host::Hands;
use corten_iam::policy::Policy;
use corten_model::ids::HostId;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_network::Fabric;
use corten_store::Store;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Shared by every rule and operation of one process.
pub struct Context {
    pub store: Store,
    pub policy: Arc<Policy>,
    pub settings: Settings,
    pub clock: Arc<dyn Clock>,
    pub hosts: Hosts,
    /// What carries the networks.
    pub fabric: Arc<dyn Fabric>,
    /// Where image files are kept.
    pub image_dir: PathBuf,
    /// What bare-metal servers are reached with.
    pub metal: Metal,
}

impl Context {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// The hands of every hypervisor host that this process can reach.
#[derive(Default)]
pub struct Hosts {
    hands: RwLock<HashMap<HostId, Arc<dyn Hands>>>,
}

impl Hosts {
    /// A host is reached from now on. Hands that it had before are replaced.
    pub fn add(&self, id: HostId, hands: Arc<dyn Hands>) {
        self.write().insert(id, hands);
    }

    /// A host is away.
    pub fn remove(&self, id: HostId) {
        self.write().remove(&id);
    }

    /// The hands of a host; refused with 503 while its agent is away.
    pub fn get(&self, id: HostId) -> Result<Arc<dyn Hands>, Refusal> {
        self.read().get(&id).cloned().ok_or_else(|| {
            Refusal::unavailable(format!(
                "Host {id} is not connected; its work waits until its agent is back."
            ))
        })
    }

    pub fn ids(&self) -> Vec<HostId> {
        self.read().keys().copied().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<HostId, Arc<dyn Hands>>> {
        self.hands.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<HostId, Arc<dyn Hands>>> {
        self.hands.write().unwrap_or_else(PoisonError::into_inner)
    }
}
