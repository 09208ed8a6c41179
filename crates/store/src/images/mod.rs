//! Images: what is known of a disk image, apart from its bytes.
//!
//! Tags and properties are part of the body; `image_tags` and `image_properties` repeat them for filters and are
//! written by the same functions ([`insert`], [`update`]), so an image is never written through [`crate::record`].

mod list;
pub mod members;
pub mod metadefs;
pub mod tasks;
mod words;

pub use corten_model::lifecycle::image::ImageStatus;
pub use list::{
    Comparison, Condition, ListQuery, NumberColumn, TextColumn, Viewer, VisibilityFilter,
};
pub use members::ImageMember;
pub use tasks::{ImageTask, TaskKind};
pub use words::{MemberStatus, Visibility};

use crate::db::Tx;
use crate::error::{Result, classify};
use crate::record::{self, Query, Record, Value};
use crate::sql;
use corten_model::ids::{ImageId, OperationId, ProjectId};
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    pub id: ImageId,
    pub name: Option<String>,
    pub status: ImageStatus,
    pub visibility: Visibility,
    pub owner: Option<ProjectId>,
    /// Refuses its deletion.
    pub protected: bool,
    /// Left out of lists that do not ask for hidden images.
    pub hidden: bool,
    /// Glance's words: `qcow2`, `raw`, `iso`, …
    pub disk_format: Option<String>,
    pub container_format: Option<String>,
    pub content: Option<Content>,
    /// The smallest disk it boots from, in GiB.
    pub min_disk_gib: i64,
    /// The least memory it boots with, in MiB.
    pub min_ram_mib: i64,
    pub tags: BTreeSet<String>,
    pub properties: BTreeMap<String, String>,
    /// Names the file that an upload is writing at this moment; only that upload may finish.
    pub incoming: Option<String>,
    /// The bytes that wait for an import.
    pub staged: Option<Staged>,
    pub import: Option<Import>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Since when it has its status.
    pub status_since: Timestamp,
}

/// What is known of an image's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub size_bytes: i64,
    /// The size of the disk that a guest sees; unknown if the image was not inspected.
    pub virtual_size_bytes: Option<i64>,
    /// Of the whole file, as all hashes here in lower-case hexadecimal.
    pub md5: String,
    pub sha512: String,
}

/// Bytes that were taken in and are not yet the image's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// The name of the file that holds them.
    pub file: String,
    pub content: Content,
}

/// The last import: which operation did it, and whether it failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    pub operation: Option<OperationId>,
    pub running: bool,
    pub failed: bool,
}

impl Image {
    /// The size of its bytes, also while they are only staged.
    pub fn size_bytes(&self) -> Option<i64> {
        let staged = self.staged.as_ref().map(|staged| &staged.content);
        self.content
            .as_ref()
            .or(staged)
            .map(|content| content.size_bytes)
    }

    pub fn is_owned_by(&self, project: Option<&ProjectId>) -> bool {
        self.owner.is_some() && self.owner.as_ref() == project
    }
}

/// Is there an image with these bytes?
pub async fn any_with_hash(tx: &mut Tx, sha512: &str) -> Result<bool> {
    let images = Query::<Image>::new().equals("os_hash_value", sha512);
    Ok(images.count(tx).await? > 0)
}

impl Record for Image {
    const TABLE: &'static str = "images";
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "status",
        "visibility",
        "owner",
        "disk_format",
        "container_format",
        "checksum",
        "os_hash_value",
        "size",
        "min_disk",
        "min_ram",
        "protected",
        "hidden",
        "created_at",
        "updated_at",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        let text = |text: Option<&str>| Value::from(text.unwrap_or_default());
        vec![
            text(self.name.as_deref()),
            self.status.as_str().into(),
            self.visibility.as_str().into(),
            text(self.owner.as_ref().map(ProjectId::as_str)),
            text(self.disk_format.as_deref()),
            text(self.container_format.as_deref()),
            text(self.content.as_ref().map(|content| content.md5.as_str())),
            text(self.content.as_ref().map(|content| content.sha512.as_str())),
            self.size_bytes().unwrap_or(-1).into(),
            self.min_disk_gib.into(),
            self.min_ram_mib.into(),
            self.protected.into(),
            self.hidden.into(),
            self.created_at.into(),
            self.updated_at.into(),
        ]
    }
}

/// Adds an image; [`crate::Error::Exists`] if its id is taken.
pub async fn insert(tx: &mut Tx, image: &Image) -> Result<()> {
    record::insert(tx, image).await?;
    write_projections(tx, image).await
}

pub async fn get(tx: &mut Tx, id: ImageId) -> Result<Option<Image>> {
    record::get(tx, id).await
}

/// The image, to be changed in this transaction.
pub async fn lock(tx: &mut Tx, id: ImageId) -> Result<Option<Image>> {
    record::lock(tx, id).await
}

/// Writes an image that exists. False if it is gone.
pub async fn update(tx: &mut Tx, image: &Image) -> Result<bool> {
    if !record::update(tx, image).await? {
        return Ok(false);
    }
    for table in ["image_tags", "image_properties"] {
        sql::query(format!("DELETE FROM {table} WHERE image_id = $1"))
            .bind(image.id())
            .execute(tx.conn())
            .await
            .map_err(classify(table, "rewriting a projection"))?;
    }
    write_projections(tx, image).await?;
    Ok(true)
}

/// Removes an image with its members, tags and properties. False if it was gone.
pub async fn delete(tx: &mut Tx, id: ImageId) -> Result<bool> {
    record::delete::<Image>(tx, id).await
}

/// All images in one of these statuses.
pub async fn in_status(tx: &mut Tx, statuses: &[ImageStatus]) -> Result<Vec<Image>> {
    Query::new()
        .any_of("status", statuses.iter().map(|status| status.as_str()))
        .all(tx)
        .await
}

async fn write_projections(tx: &mut Tx, image: &Image) -> Result<()> {
    for tag in &image.tags {
        sql::query("INSERT INTO image_tags (image_id, tag) VALUES ($1, $2)")
            .bind(image.id())
            .bind(tag)
            .execute(tx.conn())
            .await
            .map_err(classify("image_tags", "writing a tag"))?;
    }
    for (name, value) in &image.properties {
        sql::query("INSERT INTO image_properties (image_id, name, value) VALUES ($1, $2, $3)")
            .bind(image.id())
            .bind(name)
            .bind(value)
            .execute(tx.conn())
            .await
            .map_err(classify("image_properties", "writing a property"))?;
    }
    Ok(())
}
