//! How many requests one BMC gets at once, whoever opened it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

static GATES: Mutex<Option<HashMap<String, Weak<Turns>>>> = Mutex::new(None);

/// A turn at a BMC. BMCs stall or drop sessions when they are asked several things at once, so the limit is of the BMC, not
/// of a client; it is the one that the first client brought.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Turns>);

#[derive(Debug)]
struct Turns {
    all: Arc<Semaphore>,
    /// Of those, how many may be kept by streams: one is always left for questions.
    streams: Arc<Semaphore>,
}

/// A turn that a stream keeps as long as it lasts.
pub(crate) struct StreamTurn {
    _turn: OwnedSemaphorePermit,
    _of_streams: OwnedSemaphorePermit,
    _gate: Gate,
}

impl Gate {
    pub(crate) fn of(bmc: &str, at_once: usize) -> Self {
        let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
        let gates = gates.get_or_insert_default();
        if let Some(gate) = gates.get(bmc).and_then(Weak::upgrade) {
            return Self(gate);
        }
        gates.retain(|_, gate| gate.strong_count() > 0);
        let at_once = at_once.max(1);
        let gate = Arc::new(Turns {
            all: Arc::new(Semaphore::new(at_once)),
            streams: Arc::new(Semaphore::new(at_once - 1)),
        });
        gates.insert(bmc.to_owned(), Arc::downgrade(&gate));
        Self(gate)
    }

    /// `None` never comes: the gate is not closed while anyone holds it.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.0.all.acquire().await.ok()
    }

    /// `None`: as many streams are open as may be.
    pub(crate) async fn stream_turn(&self) -> Option<StreamTurn> {
        let of_streams = Arc::clone(&self.0.streams).try_acquire_owned().ok()?;
        Some(StreamTurn {
            _turn: Arc::clone(&self.0.all).acquire_owned().await.ok()?,
            _of_streams: of_streams,
            _gate: self.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn streams_leave_a_turn_for_questions() {
        let gate = Gate::of("test://two", 2);
        let stream = gate.stream_turn().await;
        assert!(stream.is_some());
        let again = Gate::of("test://two", 9);
        assert!(again.stream_turn().await.is_none());
        drop(gate.turn().await);
        drop(stream);
        assert!(again.stream_turn().await.is_some());
        assert!(Gate::of("test://one", 1).stream_turn().await.is_none());
    }
}
