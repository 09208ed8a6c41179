//! Instances: what can be asked of them, and what all their operations share.
//!
//! * [`new`] accepts a create, [`command`] every other command: they check the permission and the life cycle, set the
//!   first state and submit the operation in the same transaction.
//! * [`history`] tells what was done, [`console`] what the guest prints and who may talk to it.
//! * [`query`] finds and lists; [`edit`] changes what needs no host (name, metadata, tags, lock).
//! * [`spec`] turns an instance into what a host needs to make its guest.
//! * [`work`] is what the steps of the operations have in common.

pub mod command;
pub mod console;
pub mod edit;
pub mod history;
pub mod new;
pub mod query;
pub mod spec;
pub mod work;
