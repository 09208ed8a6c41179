//! Instances that are whole servers: the commands of a virtual machine, carried out by a node of bare metal.
//!
//! An instance's operation orders what the node's own operation does (deploy, rebuild, clean), and follows it:
//!
//! ```text
//!  instance:  Choose ──▶ Follow ─────────────────────────────▶ Active
//!                 │        ▲ tells at its end
//!  node:          └──▶ deploying ─▶ wait call-back ─▶ active ─┘
//! ```
//!
//! The node holds the instance (`node.instance_id`), as a host's allocation does for a virtual machine, until it is off:
//! from there on it is wiped, and no tenant's any more. What metal cannot do yet is refused with what it lacks (K67, K68).

pub mod command;
pub mod create;
pub mod delete;
pub mod node;
pub mod power;
pub mod ready;
pub mod rebuild;

use crate::extra_specs;
use crate::metal::choosing::Need;
use corten_model::refusal::Refusal;
use corten_store::images::{Image, Visibility};
use corten_store::instances::Instance;

/// What a node must be to carry an instance of this flavor.
pub fn need(instance: &Instance) -> Need {
    let specs = &instance.intent.flavor.extra_specs;
    Need {
        resource_class: extra_specs::resource_class(specs).map(str::to_owned),
        traits: extra_specs::required_traits(specs),
        owner: Some(instance.project_id.to_string()),
        candidates: Vec::new(),
        name: None,
    }
}

/// Only images that everybody has are put on servers (K102), and only those that can be written to a disk.
pub fn check_image(image: &Image) -> Result<(), Refusal> {
    if image.visibility != Visibility::Public {
        return Err(Refusal::invalid(format!(
            "Image {} is not public: whole servers get the cloud's default images only (K102).",
            image.id
        )));
    }
    let format = image.disk_format.as_deref().unwrap_or("unknown");
    if !matches!(format, "raw" | "qcow2") {
        return Err(Refusal::invalid(format!(
            "Image {} has the disk format {format}: only raw and qcow2 are written to servers.",
            image.id
        )));
    }
    Ok(())
}
