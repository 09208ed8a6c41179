//! Runbooks: lists of steps for cleaning and service that an operator wrote down, for nodes with a trait of its name.

use super::{Object, Standard, resource};
use crate::record::{Record, Value};
use corten_model::ids::RunbookId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Runbook {
    pub id: RunbookId,
    /// A trait.
    pub name: String,
    pub description: Option<String>,
    pub steps: Vec<RunbookStep>,
    /// Traits besides its name that a node may have to be fit for it.
    pub traits: BTreeSet<String>,
    /// Everybody may run it.
    pub public: bool,
    /// The project it belongs to.
    pub owner: Option<String>,
    pub disable_ramdisk: bool,
    #[serde(flatten)]
    pub standard: Standard,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunbookStep {
    pub interface: String,
    pub step: String,
    pub args: Object,
    /// The lowest runs first.
    pub order: u32,
}

impl Record for Runbook {
    const TABLE: &'static str = "metal_runbooks";
    const COLUMNS: &'static [&'static str] =
        &["name", "owner", "public", "created_at", "updated_at"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            self.name.as_str().into(),
            super::text(self.owner.as_ref()),
            self.public.into(),
            self.standard.created_at.into(),
            self.standard.updated(),
        ]
    }
}

resource!(Runbook, "Runbook", Some("name"));
