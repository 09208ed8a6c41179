//! Which projects an image is shared with, and what they said to it.

use super::MemberStatus;
use crate::db::Tx;
use crate::error::Result;
use crate::record::{self, Direction, Query, Record, Value};
use corten_model::ids::{ImageId, ProjectId};
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageMember {
    pub image_id: ImageId,
    pub member: ProjectId,
    pub status: MemberStatus,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

fn row_id(image_id: ImageId, member: &ProjectId) -> String {
    format!("{image_id}:{member}")
}

impl Record for ImageMember {
    const TABLE: &'static str = "image_members";
    const COLUMNS: &'static [&'static str] = &["image_id", "member", "status", "created_at"];

    fn id(&self) -> String {
        row_id(self.image_id, &self.member)
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.image_id).into(),
            (&self.member).into(),
            self.status.as_str().into(),
            self.created_at.into(),
        ]
    }
}

/// Shares an image; [`crate::Error::Exists`] if it is shared with this project already.
pub async fn insert(tx: &mut Tx, member: &ImageMember) -> Result<()> {
    record::insert(tx, member).await
}

pub async fn get(
    tx: &mut Tx,
    image_id: ImageId,
    member: &ProjectId,
) -> Result<Option<ImageMember>> {
    record::get(tx, row_id(image_id, member)).await
}

pub async fn update(tx: &mut Tx, member: &ImageMember) -> Result<bool> {
    record::update(tx, member).await
}

pub async fn delete(tx: &mut Tx, image_id: ImageId, member: &ProjectId) -> Result<bool> {
    record::delete::<ImageMember>(tx, row_id(image_id, member)).await
}

/// The members of an image, oldest first.
pub async fn of_image(tx: &mut Tx, image_id: ImageId) -> Result<Vec<ImageMember>> {
    Query::new()
        .equals("image_id", &image_id)
        .order_by("created_at", Direction::Ascending)
        .all(tx)
        .await
}
