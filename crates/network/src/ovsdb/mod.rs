//! A client of OVSDB servers (RFC 7047): transactions, and a replica of the tables that one watches.
//!
//! [`Client`] keeps a connection up and a [`Replica`] current. Updates and answers are taken in the order in which the
//! server sent them, so when [`Client::transact`] returns, the replica holds what the transaction did.

mod client;
mod operation;
mod remote;
mod replica;
mod schema;
mod session;
mod splitter;
mod value;

pub use client::{Client, Connection, Observer};
pub use operation::{Condition, Mutation, Operation, Outcome};
pub use remote::{Identity, InvalidRemote, Remote};
pub use replica::{Event, Monitored, Replica, Row, RowChange, Table};
pub use value::{Atom, Value};
