//! The state that handlers share.

use corten_iam::Iam;
use corten_operations::Context;
use std::ops::Deref;
use std::sync::Arc;

/// What a handler can reach: identity, and the rules with everything they stand on.
pub struct Parts {
    pub iam: Arc<Iam>,
    pub cx: Arc<Context>,
    /// Where clients reach this cloud when a request does not say: `http://127.0.0.1:8774`.
    pub public_url: String,
    pub metrics: metrics_exporter_prometheus::PrometheusHandle,
}

/// The shared state. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

impl App {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
