//! Instances: what can be asked of them, and what all their operations share.
//!
//! * [`new`] accepts a create, with what it [`named`], [`command`] every other command: they check the permission and the life cycle, set the
//!   first state and submit the operation in the same transaction.
//! * [`capability`] refuses what a whole server lacks of all that, [`crash_dump`] interrupts one.
//! * [`reshape`] accepts what changes its size or gives its host back: resize, migrate, shelve and their ways back.
//! * [`capture`] accepts what takes an image.
//! * [`history`] tells what was done, [`migrations`] how changes of the flavor went; [`console`] what the guest prints and
//!   who may talk to it.
//! * [`query`] finds one, [`list`] many; [`edit`] changes what needs no host (name, metadata, tags, lock).
//! * [`networks`] decides which networks it is joined to, [`ports`] keeps its ports, [`interface`] attaches and detaches
//!   cards, [`public_ip`] leads public IPs to them, [`addresses`] shows them, [`metadata`] describes the instance to its guest.
//! * [`spec`] turns an instance into what a host needs to make its guest.
//! * [`work`] is what the steps of the operations have in common.

pub mod addresses;
pub mod capability;
pub mod capture;
pub mod command;
pub mod console;
pub mod crash_dump;
pub mod edit;
pub mod guest_password;
pub mod history;
pub mod interface;
pub mod list;
pub mod metadata;
pub mod migrations;
pub mod named;
pub mod networks;
pub mod new;
pub mod ports;
pub mod public_ip;
pub mod query;
pub mod reshape;
pub mod spec;
pub mod work;
