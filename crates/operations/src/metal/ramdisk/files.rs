//! Which kernel and ramdisk a node is booted with, and with which words: those of the settings, or its own by Ironic's
//! `driver_info/deploy_kernel`, `deploy_ramdisk` and `kernel_append_params`.

use crate::context::Context;
use crate::image;
use crate::settings::Provisioning;
use corten_model::ids::ImageId;
use corten_model::refusal::Refusal;
use corten_store::images::{self, ImageStatus, Visibility};
use corten_store::metal::node::Node;
use corten_store::{Failure, Tx, record};
use std::path::{Component, Path, PathBuf};

pub const KERNEL: &str = "deploy_kernel";
pub const RAMDISK: &str = "deploy_ramdisk";
pub const ARGUMENTS: &str = "kernel_append_params";
/// Stands in `kernel_append_params` for the words of the settings, as in Ironic.
const DEFAULT: &str = "%default%";

/// Where a node's kernel or ramdisk is.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Image(ImageId),
    File(PathBuf),
}

fn text<'a>(node: &'a Node, key: &str) -> Result<Option<&'a str>, Refusal> {
    match node.driver_info.get(key) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(text)) if text.is_empty() => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Refusal::invalid(format!(
            "driver_info/{key} of node {} is {other}, which is no text.",
            node.id
        ))),
    }
}

/// A node's own kernel and ramdisk; `None` if it has those of the settings.
fn own(settings: &Provisioning, node: &Node) -> Result<Option<[Source; 2]>, Refusal> {
    match (text(node, KERNEL)?, text(node, RAMDISK)?) {
        (None, None) => Ok(None),
        (Some(kernel), Some(ramdisk)) => Ok(Some([
            source(settings, KERNEL, kernel)?,
            source(settings, RAMDISK, ramdisk)?,
        ])),
        (Some(_), None) | (None, Some(_)) => Err(Refusal::invalid(format!(
            "Node {} has one of driver_info/{KERNEL} and {RAMDISK}: a kernel goes with its ramdisk, so give both or neither.",
            node.id
        ))),
    }
}

/// An image by its UUID, or a file beside the ramdisk of the settings. Other files of this machine are nobody's to hand out.
fn source(settings: &Provisioning, key: &str, text: &str) -> Result<Source, Refusal> {
    let bare = text.strip_prefix("glance://").unwrap_or(text);
    if let Ok(id) = bare.parse() {
        return Ok(Source::Image(id));
    }
    let folder = settings.ramdisk.parent().unwrap_or(Path::new("/"));
    if let Some(path) = text.strip_prefix("file://").map(Path::new) {
        let plain = path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if plain && path.is_absolute() && path.parent() == Some(folder) {
            return Ok(Source::File(path.to_owned()));
        }
    }
    Err(Refusal::invalid(format!(
        "driver_info/{key} is '{text}': give the UUID of an image, or file://{}/NAME for a file beside the ramdisk of the settings.",
        folder.display()
    )))
}

/// The files that a node is booted with: its kernel and its ramdisk.
pub fn of_node(cx: &Context, node: &Node) -> Result<[PathBuf; 2], Refusal> {
    let settings = &cx.settings.provisioning;
    let path = |source| match source {
        Source::Image(id) => image::file_path(cx, id),
        Source::File(path) => path,
    };
    Ok(match own(settings, node)? {
        Some(sources) => sources.map(path),
        None => of_settings(cx),
    })
}

/// Those of the settings.
pub(in crate::metal) fn of_settings(cx: &Context) -> [PathBuf; 2] {
    let settings = &cx.settings.provisioning;
    [settings.kernel.clone(), settings.ramdisk.clone()]
}

/// Which of them is not there.
pub(in crate::metal) fn missing(files: [PathBuf; 2]) -> Option<PathBuf> {
    files.into_iter().find(|file| !file.is_file())
}

/// Further words of a node's command line.
pub fn arguments(cx: &Context, node: &Node) -> Result<String, Refusal> {
    let default = &cx.settings.provisioning.kernel_arguments;
    Ok(match text(node, ARGUMENTS)? {
        Some(own) => own.replace(DEFAULT, default),
        None => default.clone(),
    })
}

/// Refuses, before anything is done, images that a node could not be booted with.
pub async fn check(tx: &mut Tx, cx: &Context, node: &Node) -> Result<(), Failure> {
    for source in own(&cx.settings.provisioning, node)?.into_iter().flatten() {
        if let Source::Image(id) = source {
            check_image(tx, node, id).await?;
        }
    }
    Ok(())
}

/// A boot hands an image's bytes out without asking who fetches them, so it must be everybody's or the node's owner's.
async fn check_image(tx: &mut Tx, node: &Node, id: ImageId) -> Result<(), Failure> {
    let found: Option<images::Image> = record::get(tx, id).await?;
    let owner = |image: &images::Image| {
        let owner = image.owner.as_ref().map(|owner| owner.as_str());
        owner.is_some() && owner == node.owner.as_deref()
    };
    let usable = found.filter(|image| {
        matches!(image.visibility, Visibility::Public | Visibility::Community) || owner(image)
    });
    match usable {
        Some(image) if image.status == ImageStatus::Active && image.content.is_some() => Ok(()),
        Some(image) => Err(Refusal::invalid(format!(
            "Node {} cannot be booted with image {id}: it is {}.",
            node.id,
            image.status.as_str()
        ))
        .into()),
        None => Err(Refusal::invalid(format!(
            "Node {} cannot be booted with image {id}: there is no such image that is public or of the node's owner.",
            node.id
        ))
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Provisioning {
        Provisioning {
            ramdisk: PathBuf::from("/data/ramdisk/ramdisk.initrd"),
            ..Provisioning::default()
        }
    }

    #[test]
    fn a_boot_file_is_an_image_or_stands_beside_the_ramdisk() {
        let read = |text: &str| source(&settings(), KERNEL, text);
        let id = "0b3e8ee1-2a6c-4a4d-9c1a-5f1f1f0a0001";
        for text in [id.to_owned(), format!("glance://{id}")] {
            assert_eq!(read(&text).unwrap(), Source::Image(id.parse().unwrap()));
        }
        let path = PathBuf::from("/data/ramdisk/stock.kernel");
        assert_eq!(
            read("file:///data/ramdisk/stock.kernel").unwrap(),
            Source::File(path)
        );
    }

    #[test]
    fn no_other_file_of_this_machine_is_handed_out() {
        for text in [
            "file:///etc/shadow",
            "file:///data/ramdisk/../keys/metal/provisioning.pem",
            "file:///data/ramdisk/deeper/kernel",
            "file:///data/ramdisk",
            "file://ramdisk/kernel",
            "/data/ramdisk/stock.kernel",
            "http://elsewhere/kernel",
            "",
        ] {
            let refused = source(&settings(), KERNEL, text).unwrap_err().message;
            assert!(refused.contains("/data/ramdisk/NAME"), "{text}: {refused}");
        }
    }
}
