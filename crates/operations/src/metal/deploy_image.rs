//! The image of an instance on metal: where its server fetches it, and how it knows that it is whole.

use super::agent::{self, digest};
use super::driver::FAKE;
use super::inspect_node::architecture;
use super::{config_drive, ramdisk};
use crate::context::Context;
use crate::image;
use corten_bmc::Image;
use corten_engine::StepError;
use corten_model::ids::ImageId;
use corten_model::refusal::Refusal;
use corten_store::images::{self, ImageStatus};
use corten_store::metal::node::Node;
use corten_store::{Failure, Tx, record};
use serde_json::Value;

/// Of an instance that names none, which the simulated servers allow.
const NO_IMAGE: &str = "no image";

fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.instance_info.get(key)?.as_str()
}

/// Refuses, before anything is done, an image that a server could not be given.
pub async fn check(tx: &mut Tx, node: &Node) -> Result<(), Failure> {
    if node.driver == FAKE {
        return Ok(());
    }
    match source(node)? {
        Source::Glance(id) => of_glance(tx, node, id).await.map(|_| ()),
        Source::Web(_) => checksum(node).map(|_| ()).map_err(Failure::from),
    }
}

enum Source<'a> {
    Glance(ImageId),
    Web(&'a str),
}

fn source(node: &Node) -> Result<Source<'_>, Refusal> {
    let Some(source) = text(node, "image_source") else {
        return Err(Refusal::invalid(format!(
            "Node {} has no instance_info/image_source: name an image by its UUID or by an http:// URL.",
            node.id
        )));
    };
    let source = source.strip_prefix("glance://").unwrap_or(source);
    if let Ok(id) = source.parse() {
        return Ok(Source::Glance(id));
    }
    if source.starts_with("http://") {
        return Ok(Source::Web(source));
    }
    Err(Refusal::invalid(format!(
        "instance_info/image_source is '{source}': give the UUID of an image, or an http:// URL with image_os_hash_algo and \
         image_os_hash_value. The ramdisk believes no certificate but the control plane's, so https of others is not fetched."
    )))
}

/// SHA-256 or SHA-512 of an image that is fetched from elsewhere.
fn checksum(node: &Node) -> Result<(String, String), Refusal> {
    let algorithm = text(node, "image_os_hash_algo");
    let value = text(node, "image_os_hash_value");
    let digits = value.or(text(node, "image_checksum")).unwrap_or_default();
    let algorithm = match (algorithm, digits.len()) {
        (Some("sha256") | None, 64) => "sha256",
        (Some("sha512") | None, 128) => "sha512",
        _ => {
            return Err(Refusal::invalid(
                "An image from a URL needs instance_info/image_os_hash_value with image_os_hash_algo sha256 or sha512: \
                 without one nobody knows whether it arrived whole.",
            ));
        }
    };
    Ok((algorithm.to_owned(), digits.to_owned()))
}

async fn of_glance(tx: &mut Tx, node: &Node, id: ImageId) -> Result<images::Image, Failure> {
    let found: Option<images::Image> = record::get(tx, id).await?;
    let image = found.ok_or_else(|| {
        Refusal::invalid(format!("Image {id} of node {} does not exist.", node.id))
    })?;
    let refuse = |why: String| {
        Err(Refusal::invalid(format!("Image {id} cannot be written to a server: {why}")).into())
    };
    if image.status != ImageStatus::Active || image.content.is_none() {
        return refuse(format!("it is {}.", image.status.as_str()));
    }
    let format = image.disk_format.as_deref().unwrap_or("unknown");
    if !matches!(format, "raw" | "qcow2") {
        return refuse(format!(
            "its disk_format is {format}, and only raw and qcow2 are written."
        ));
    }
    let wanted = ["hw_architecture", "architecture"]
        .into_iter()
        .find_map(|key| image.properties.get(key));
    let has = node.properties.get("cpu_arch").and_then(Value::as_str);
    if let (Some(wanted), Some(has)) = (wanted, has)
        && architecture(wanted) != architecture(has)
    {
        return refuse(format!(
            "it is for {wanted}, and node {} is {has}.",
            node.id
        ));
    }
    Ok(image)
}

/// The path, below the door for ramdisks, where a node's server fetches an image. Its secret comes from the ramdisk's
/// token, and gives nothing but this image.
pub fn secret_of(node: &Node, image: ImageId) -> Option<String> {
    let agent = node.agent.as_ref()?;
    Some(digest(&format!("{}/{image}", agent.token_sha256)))
}

/// What a node's ramdisk is told to write.
pub async fn resolve(cx: &Context, tx: &mut Tx, node: &Node) -> Result<Image, StepError> {
    if node.driver == FAKE {
        return Ok(Image {
            id: text(node, "image_source").unwrap_or(NO_IMAGE).to_owned(),
            ..Image::default()
        });
    }
    let failed = |refusal: Refusal| StepError::Fail(refusal.message);
    let config_drive = config_drive::of_node(cx, node).await?;
    let root_device = node.properties.get("root_device").cloned();
    match source(node).map_err(failed)? {
        Source::Web(url) => Ok(Image {
            id: url.to_owned(),
            url: Some(url.to_owned()),
            checksum: Some(checksum(node).map_err(failed)?),
            disk_format: text(node, "image_disk_format").map(str::to_owned),
            config_drive,
            root_device,
        }),
        Source::Glance(id) => {
            let image = of_glance(tx, node, id).await?;
            let network = ramdisk::network::of_node(cx, node).map_err(failed)?;
            let home = ramdisk::network::home(cx, network);
            let secret = secret_of(node, id).unwrap_or_default();
            let sha512 = image.content.map(|content| content.sha512);
            Ok(Image {
                id: id.to_string(),
                url: Some(format!("{home}/v1/ramdisk_image/{}/{id}/{secret}", node.id)),
                checksum: sha512.map(|digits| ("sha512".to_owned(), digits)),
                disk_format: image.disk_format,
                config_drive,
                root_device,
            })
        }
    }
}

/// The file of an image, for the ramdisk that shows its secret.
pub async fn open(
    cx: &Context,
    node: corten_model::ids::NodeId,
    id: ImageId,
    secret: &str,
) -> Result<(tokio::fs::File, u64), Failure> {
    let nobody = || Refusal::not_found("There is no such image for this server.");
    let mut tx = cx.store.read().await?;
    let node: Node = record::get(&mut tx, node).await?.ok_or_else(nobody)?;
    let wanted = secret_of(&node, id).ok_or_else(nobody)?;
    if !agent::same(&wanted, secret) || text(&node, "image_source").is_none() {
        return Err(nobody().into());
    }
    let image = of_glance(&mut tx, &node, id).await?;
    let bytes = image.content.map_or(0, |content| content.size_bytes);
    let file = tokio::fs::File::open(image::file_path(cx, id))
        .await
        .map_err(|error| Failure::outside("opening an image", error))?;
    Ok((file, bytes as u64))
}
