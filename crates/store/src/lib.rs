//! Rows, migrations, transactions and wake-ups, on SQLite and PostgreSQL alike.
//!
//! * [`Store`] opens a database and hands out transactions ([`Tx`]). All reads and writes happen inside one.
//! * [`record`] keeps a resource as a row: the columns that queries and constraints need, and the rest as one JSON
//!   body. Each resource has a file of its own here, with the same name as on the other floors.
//! * [`transitions`] is the log of every change of state; [`operations`] are the rows the engine works on.
//!
//! The SQL text is the same on both engines. What differs is named in [`Dialect`] and nowhere else.

pub mod agents;
pub mod aggregates;
mod batch;
mod collision;
mod db;
mod error;
pub mod flavors;
pub mod hosts;
pub mod identity;
pub mod images;
pub mod instances;
pub mod keypairs;
pub mod metal;
pub mod migrations;
pub mod network;
pub mod operations;
pub mod quotas;
pub mod record;
pub mod sequences;
pub mod server_groups;
pub mod services;
pub mod sql;
mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transitions;

pub use collision::again;
pub use db::{Dialect, Store, Tx, WakeUp};
pub use error::{Error, Failure, Result};
pub use record::{Query, Record};
pub use sql::{SqlError, Value};
