//! How many requests one BMC gets at once, whoever opened it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{Semaphore, SemaphorePermit};

static GATES: Mutex<Option<HashMap<String, Weak<Semaphore>>>> = Mutex::new(None);

/// A turn at a BMC. BMCs stall or drop sessions when they are asked several things at once, so the limit is of the BMC, not
/// of a client; it is the one that the first client brought.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn of(bmc: &str, at_once: usize) -> Self {
        let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
        let gates = gates.get_or_insert_default();
        if let Some(gate) = gates.get(bmc).and_then(Weak::upgrade) {
            return Self(gate);
        }
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::new(Semaphore::new(at_once.max(1)));
        gates.insert(bmc.to_owned(), Arc::downgrade(&gate));
        Self(gate)
    }

    /// `None` never comes: the gate is not closed while anyone holds it.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.0.acquire().await.ok()
    }
}
