//! The life cycles, as tables and pure decisions.
//!
//! An instance of either class is in one state of its table (`vm`, `metal`); the table says what is legal, what can
//! follow, whether it is billed and how long it may last. `decide` answers a command, `settle` ends one, `reconcile`
//! answers what a host sees. Volumes, images and bare-metal nodes have tables of their own.

pub mod billing;
mod command;
mod decide;
mod display;
pub mod docs;
pub mod image;
pub mod metal;
pub mod node;
mod nova;
mod progress;
mod table;
pub mod vm;
pub mod volume;
mod words;

pub use command::Command;
pub use decide::{Begin, Illegal, Reason, RunningOperation, decide, legal_commands, removal};
pub use display::Display;
pub use nova::{InstanceClass, InstanceState, PowerState, TaskState, UnknownPowerState, VmState};
pub use progress::{
    CREATE, MAX_CREATE_ATTEMPTS, OnRestart, Outcome, PowerAction, RootDisk, apply, on_restart,
    path, reconcile, settle,
};
pub use table::{Budget, InstanceRow, OverBudget, Row, find, rows};
pub use words::UnknownWord;
