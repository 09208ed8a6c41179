//! What is done with a server from within, by a system that was booted on it for that.

use crate::bmc::Bmc;
use crate::error::BmcError;
use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A server as an operation works on it.
#[derive(Clone)]
pub struct Machine {
    pub bmc: Arc<dyn Bmc>,
    /// `None`: a system must be booted on it first to work from within.
    pub inside: Option<Arc<dyn Inside>>,
}

/// The hands within a server.
#[async_trait]
pub trait Inside: Send + Sync {
    /// Sets to work, or tells how far the work is. An order whose mark is known is not begun again.
    async fn work(&self, order: &Order) -> Result<Progress, BmcError>;
}

/// What is to be done, and for whom.
#[derive(Debug, Clone)]
pub struct Order {
    /// Names the work: the same mark is the same work, however often it is asked for.
    pub mark: String,
    /// The epoch of the operation that asks. One that is older than the server has seen is refused: a worker that lost
    /// its lease must not erase what the next one wrote.
    pub epoch: i64,
    pub task: Task,
}

#[derive(Debug, Clone)]
pub enum Task {
    /// Erase every disk, and say how, disk by disk.
    Erase,
    /// Have an operating system on the root disk.
    Write(Box<Image>),
    /// One step that an operator asked for.
    Step {
        interface: String,
        step: String,
        args: Map<String, Value>,
    },
    /// Run the rescue system, which lets this password in, and who has one of these keys (lines of `authorized_keys`).
    Rescue {
        password: SecretString,
        authorized_keys: String,
    },
    /// All that was written is on the disks: the server may be switched off, and runs its own system next.
    Settle,
    /// Say what the server is made of, in the words of the ramdisk's inventory.
    Inventory,
}

/// An image for a whole disk, and what goes with it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Image {
    pub id: String,
    /// Where the server fetches it; only simulated servers need none.
    pub url: Option<String>,
    /// `sha256` or `sha512`, and the digits.
    pub checksum: Option<(String, String)>,
    /// `raw` or `qcow2`, checked against what it is.
    pub disk_format: Option<String>,
    /// An ISO file system, gzipped, in base64.
    pub config_drive: Option<String>,
    /// Which disk is the root disk, in the words of Ironic's root device hints.
    pub root_device: Option<Value>,
}

/// How far an order is.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    Running {
        /// How much of it is done, in units of its own, where the ramdisk tells: more than before is no standstill.
        done: Option<u64>,
    },
    Done(Report),
}

/// What a finished order has to tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// The disks that were erased; empty for another order.
    pub wiped: Vec<Wiped>,
    pub details: Value,
}

impl Report {
    /// Of an order that erases nothing.
    pub(crate) fn of(details: Value) -> Self {
        Self {
            wiped: Vec::new(),
            details,
        }
    }
}

/// What became of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wiped {
    pub serial: String,
    pub size_bytes: u64,
    pub method: String,
    /// It can be taken out, and need not be there the next time.
    pub removable: bool,
}
