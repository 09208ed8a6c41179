//! The rules and the work of the cloud.
//!
//! A file per resource holds what changes at once (a flavor, a key pair, an image's tags), with the permission and the
//! rule beside the row. A file per operation holds what takes time (`create_instance`, `stop_instance`, …), read top
//! to bottom. Both get what they stand on from [`Context`].

pub mod agent;
pub mod aggregate;
pub mod apply_network;
pub mod attach_interface;
pub mod command_instance;
pub mod confirm_resize;
pub mod context;
pub mod create_instance;
pub mod delete_instance;
pub mod detach_interface;
pub mod extra_specs;
pub mod flavor;
pub mod host;
pub mod image;
pub mod import_image;
pub mod instance;
pub mod keypair;
pub mod metal;
pub mod metal_instance;
pub mod network;
pub mod offload_instance;
pub mod operation;
pub mod placement;
pub mod public_key;
pub mod quota;
pub mod rebuild_instance;
pub mod rescue_instance;
pub mod resize_instance;
pub mod resource_provider;
pub mod revert_resize;
pub mod server_group;
pub mod service_calls;
pub mod settings;
pub mod shelve_instance;
pub mod snapshot_instance;
pub mod unshelve_instance;
pub mod usage;
pub mod watch;
pub mod workflows;

pub use context::Context;
pub use corten_model::error_text;
pub use settings::Settings;
