//! Images: the rules of what changes at once, and of their bytes.
//!
//! | file | what it rules |
//! | --- | --- |
//! | `access` | who sees an image, who may change it |
//! | `create`, `change`, `delete`, `state` | the image itself |
//! | `members` | sharing it with other projects |
//! | `files` | where bytes are and how they are written |
//! | `upload`, `download` | bytes in and out |
//! | `import` | starting an import, whose work is [`crate::import_image`] |
//! | `web` | where an import may fetch from |
//! | `tasks` | imports, seen as Glance's tasks |
//! | `metadefs` | what properties mean |
//! | `recover` | what a start does after a crash |

mod access;
mod change;
mod create;
mod delete;
mod download;
pub mod files;
mod import;
mod members;
pub mod metadefs;
mod recover;
mod state;
pub mod tasks;
mod upload;
pub(crate) mod web;

pub use access::{List, check_cache, get, get_usable, list, locations, store_directory};
pub use change::{Attribute, Change, add_tag, remove_tag, update};
pub use create::{NewImage, create, create_in};
pub use delete::{delete, delete_from_store};
pub use download::{Download, download};
pub use files::file_path;
pub use import::{ImportMethod, ImportRequest, METHODS, import};
pub use members::{add_member, get_member, members, remove_member, set_member_status};
pub use recover::recover;
pub use state::{deactivate, reactivate};
pub use upload::{Incoming, stage, store_from_file, upload};

pub(crate) use access::sees;
pub(crate) use delete::remove_row;
pub(crate) use state::move_to;
pub(crate) use upload::{copy_in, inspected_size, keep_if_referred};
pub(crate) use web::{OutOfReach, Reach, Resolver, uri_refusal};

use corten_model::refusal::Refusal;
use std::fmt::Display;

/// The one place where bytes of images are kept, as `/v2/info/stores` names it.
pub const STORE: &str = "file";

/// Formats of disks that an image can be declared as. `inspect` knows which of them it can prove.
pub const DISK_FORMATS: [&str; 11] = [
    "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop",
];
pub const CONTAINER_FORMATS: [&str; 8] = [
    "ami",
    "ari",
    "aki",
    "bare",
    "ovf",
    "ova",
    "docker",
    "compressed",
];

/// Glance's `image_property_quota`, `image_tag_quota` and `image_member_quota`.
const MAX_PROPERTIES: usize = 128;
const MAX_TAGS: usize = 128;
const MAX_MEMBERS: usize = 128;

/// The 404 of an image that does not exist, or not for this actor.
pub fn no_such_image(id: impl Display) -> Refusal {
    Refusal::no_such("Image", id)
}

fn too_many(what: &str, count: usize, limit: usize) -> Refusal {
    Refusal::too_large(format!(
        "The image would have {count} {what}, but at most {limit} are allowed: remove some first."
    ))
}
