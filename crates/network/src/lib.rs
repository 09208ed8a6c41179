//! Tenant networks on Open vSwitch and OVN.
//!
//! [`plan`] says in the cloud's own words what the fabric must hold. [`Fabric`] makes it so; its OVN implementation
//! compiles plans to rows of the northbound database and writes only the difference. What a host does with its hands
//! for networks (daemons, taps, guards, metadata namespaces) is in `chassis`.

mod away;
pub mod chassis;
pub mod daemons;
mod error;
mod fabric;
pub mod northbound;
pub mod ovsdb;
pub mod plan;
pub mod resolver;

pub use away::AwayFabric;
pub use error::NetworkError;
pub use fabric::{Chassis, Fabric, PortsUp, Repair};
pub use northbound::OvnFabric;
