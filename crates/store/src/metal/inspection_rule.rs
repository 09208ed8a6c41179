//! Inspection rules: what is done to a node when its inspection ends, if what was found meets conditions.

use super::{Object, Standard, resource};
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Direction, Query, Record, Value};
use corten_model::ids::InspectionRuleId;
use serde::{Deserialize, Serialize};

/// The one phase there is.
pub const MAIN: &str = "main";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InspectionRule {
    pub id: InspectionRuleId,
    pub description: Option<String>,
    /// The highest runs first.
    pub priority: i64,
    pub phase: String,
    /// Its conditions and actions are shown to nobody.
    pub sensitive: bool,
    /// All of them must hold. Empty in the row of a sensitive rule.
    pub conditions: Vec<RuleStep>,
    /// Empty in the row of a sensitive rule.
    pub actions: Vec<RuleStep>,
    /// The conditions and actions of a sensitive rule, sealed.
    pub sealed: Option<String>,
    #[serde(flatten)]
    pub standard: Standard,
}

/// One condition or action, as it was written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleStep {
    pub op: String,
    /// By name, or in order.
    pub args: serde_json::Value,
    /// It is done for each of these, which texts name as `item`.
    #[serde(rename = "loop", default, skip_serializing_if = "Option::is_none")]
    pub items: Option<serde_json::Value>,
    /// Of a condition with a loop: which of the results counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiple: Option<String>,
}

impl Record for InspectionRule {
    const TABLE: &'static str = "metal_inspection_rules";
    const COLUMNS: &'static [&'static str] = &[
        "description",
        "priority",
        "phase",
        "sensitive",
        "created_at",
        "updated_at",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            super::text(self.description.as_ref()),
            self.priority.into(),
            self.phase.as_str().into(),
            self.sensitive.into(),
            self.standard.created_at.into(),
            self.standard.updated(),
        ]
    }
}

resource!(InspectionRule, "InspectionRule", None);

impl InspectionRule {
    /// A rule that does nothing yet.
    pub fn blank(id: InspectionRuleId, now: corten_model::time::Timestamp) -> Self {
        Self {
            id,
            description: None,
            priority: 0,
            phase: MAIN.to_owned(),
            sensitive: false,
            conditions: Vec::new(),
            actions: Vec::new(),
            sealed: None,
            standard: Standard::new(Object::new(), now),
        }
    }
}

/// The rules of a phase in the order they run: the highest priority first, then the oldest.
pub async fn of_phase(tx: &mut Tx, phase: &str) -> Result<Vec<InspectionRule>> {
    Query::new()
        .equals("phase", phase)
        .order_by("priority", Direction::Descending)
        .order_by("created_at", Direction::Ascending)
        .all(tx)
        .await
}
