//! The daemons of Open vSwitch and OVN: started in directories of their own, found again, watched, restarted.
//!
//! They are detached and outlive the control plane, so packets flow on while it is down. The next one adopts them. Each
//! is known by its `--pidfile` argument, which no process of another cloud has.

mod central;
mod daemon;
mod database;
mod dirs;
mod error;
mod host;
mod logs;
mod namespace;
mod program;
mod supervisor;

pub use central::Central;
pub use daemon::process_ended;
pub use dirs::Dirs;
pub use error::MachineError;
pub use host::{ChassisDaemons, Datapath};
pub use namespace::Namespace;
pub use supervisor::DaemonStatus;
