//! What is done with a server from within, by a system that was booted on it for that.

use crate::bmc::Bmc;
use crate::error::BmcError;
use async_trait::async_trait;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A server as an operation works on it.
#[derive(Clone)]
pub struct Machine {
    pub bmc: Arc<dyn Bmc>,
    /// `None`: nothing can be booted on it to work from within.
    pub inside: Option<Arc<dyn Inside>>,
}

/// The hands within a server.
///
/// Each call carries the epoch of the operation that asks. A call with an older epoch than the server has seen is
/// refused: a worker that lost its lease must not erase what the next one wrote.
#[async_trait]
pub trait Inside: Send + Sync {
    /// Erases every disk and says how, disk by disk.
    async fn wipe(&self, epoch: i64) -> Result<Vec<Wiped>, BmcError>;

    /// Has an operating system on its first disk.
    async fn install(&self, epoch: i64, image: &str) -> Result<(), BmcError>;

    /// Runs one step that an operator asked for.
    async fn step(
        &self,
        epoch: i64,
        interface: &str,
        step: &str,
        args: &Map<String, Value>,
    ) -> Result<(), BmcError>;

    /// Runs the rescue system, which lets this password in.
    async fn rescue(&self, epoch: i64, password: &str) -> Result<(), BmcError>;

    /// Runs its own system again.
    async fn unrescue(&self, epoch: i64) -> Result<(), BmcError>;
}

/// What became of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wiped {
    pub serial: String,
    pub size_bytes: u64,
    pub method: String,
}
