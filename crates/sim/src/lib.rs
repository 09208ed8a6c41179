//! Simulated hosts: they answer every task as a real host would, but their guests are data.
//!
//! [`SimHost`] implements [`Hands`](corten_host::Hands), so whatever drives real hosts drives ten thousand of these in
//! one process. On demand a host fails tasks ([`SimHost::fail_next`], [`SimHost::lose_answers`]), is slow, cannot be
//! reached, or loses a guest. [`SimHost::leaks`] lists what it still holds, so that a test can prove that nothing
//! was left behind.
//!
//! [`SimMachine`] is a bare-metal server in the same way. [`redfish`] shows such servers to whoever speaks Redfish over
//! HTTP, thousands on one port. A `fleet` of them (feature `ramdisk`) runs our ramdisk too, so that they go
//! through their whole lives over the wire.

mod config;
mod fabric;
mod faults;
mod flash;
#[cfg(feature = "ramdisk")]
pub mod fleet;
mod guest;
mod hardware;
mod host;
mod leaks;
mod machine;
#[cfg(feature = "ramdisk")]
mod ramdisk;
pub mod redfish;
mod tasks;

pub use config::SimConfig;
pub use fabric::SimFabric;
pub use faults::TaskKind;
pub use host::SimHost;
pub use leaks::Leaks;
pub use machine::{SimMachine, SimMachines, Start, Touch};
