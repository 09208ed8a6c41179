//! What an import was asked for, for as long as it is shown as a task. The operation with the same id tells how far it
//! is, and forgets its input when it ends.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{self, Direction, Query, Record, Value};
use corten_model::ids::{ImageId, OperationId};
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageTask {
    pub id: OperationId,
    pub image_id: ImageId,
    pub kind: TaskKind,
    /// As it was sent.
    pub input: serde_json::Value,
    pub created_at: Timestamp,
}

/// Which call asked for the import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// `POST /v2/images/ID/import`.
    ApiImageImport,
    /// `POST /v2/tasks`.
    Import,
}

impl TaskKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiImageImport => "api_image_import",
            Self::Import => "import",
        }
    }
}

impl Record for ImageTask {
    const TABLE: &'static str = "image_tasks";
    const COLUMNS: &'static [&'static str] = &["image_id", "created_at"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![(&self.image_id).into(), self.created_at.into()]
    }
}

pub async fn insert(tx: &mut Tx, task: &ImageTask) -> Result<()> {
    record::insert(tx, task).await
}

pub async fn get(tx: &mut Tx, id: OperationId) -> Result<Option<ImageTask>> {
    record::get(tx, id).await
}

/// The tasks of an image, newest first.
pub async fn of_image(tx: &mut Tx, image_id: ImageId) -> Result<Vec<ImageTask>> {
    let query = Query::new().equals("image_id", &image_id);
    query
        .order_by("created_at", Direction::Descending)
        .all(tx)
        .await
}

/// The newest tasks, newest first.
pub async fn newest(tx: &mut Tx, limit: i64) -> Result<Vec<ImageTask>> {
    Query::new()
        .order_by("created_at", Direction::Descending)
        .limit(limit)
        .all(tx)
        .await
}
