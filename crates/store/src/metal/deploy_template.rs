//! Deploy templates: steps that a deployment runs besides its own, asked for by a trait of the template's name.

use super::{Object, Standard, resource};
use crate::record::{Record, Value};
use corten_model::ids::DeployTemplateId;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeployTemplate {
    pub id: DeployTemplateId,
    /// A trait.
    pub name: String,
    pub steps: Vec<TemplateStep>,
    #[serde(flatten)]
    pub standard: Standard,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateStep {
    pub interface: String,
    pub step: String,
    pub args: Object,
    /// The highest runs first; 0 leaves it out.
    pub priority: u32,
}

impl Record for DeployTemplate {
    const TABLE: &'static str = "metal_deploy_templates";
    const COLUMNS: &'static [&'static str] = &["name", "created_at", "updated_at"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            self.name.as_str().into(),
            self.standard.created_at.into(),
            self.standard.updated(),
        ]
    }
}

resource!(DeployTemplate, "DeployTemplate", Some("name"));
