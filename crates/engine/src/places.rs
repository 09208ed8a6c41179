//! The places whose steps a worker can run. They come and go as hosts connect and leave.

use crate::workflow::Place;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;

/// A set of places, as [`Place`] writes them, that its clones share.
#[derive(Debug, Clone)]
pub struct Places(Arc<watch::Sender<BTreeSet<String>>>);

impl Places {
    /// From now on the worker claims the steps of this place.
    pub fn add(&self, place: &Place) {
        self.0.send_modify(|places| {
            places.insert(place.to_string());
        });
    }

    /// The worker claims no more steps there. Those in hand go on, and are tried again where they cannot.
    pub fn remove(&self, place: &Place) {
        self.0.send_modify(|places| {
            places.remove(&place.to_string());
        });
    }

    pub fn list(&self) -> Vec<String> {
        self.0.borrow().iter().cloned().collect()
    }

    pub(crate) fn contains(&self, place: &str) -> bool {
        self.0.borrow().contains(place)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<BTreeSet<String>> {
        self.0.subscribe()
    }
}

impl From<Vec<String>> for Places {
    fn from(places: Vec<String>) -> Self {
        Self(Arc::new(watch::Sender::new(places.into_iter().collect())))
    }
}
