//! Plans as rows of OVN's northbound database.
//!
//! [`compile`] turns a plan into the rows it wants, purely; `diff` turns what is wanted and what is there into a
//! transaction, purely; [`OvnFabric`] does the input and output.

mod compile;
mod desired;
mod diff;
mod index;
pub mod names;
mod ovn;
mod schema;
mod southbound;
mod watch;

pub use ovn::OvnFabric;
