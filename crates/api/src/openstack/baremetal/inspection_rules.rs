//! `/inspection_rules`: what is done to a node when its inspection ends, by what was found.

use super::kit::{SortKeys, Values, document, links, new_id};
use super::patch::Patch;
use super::schema::Schema;
use super::served::{Call, Served};
use super::version::Allowed;
use crate::app::App;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::InspectionRuleId;
use corten_model::refusal::Refusal;
use corten_operations::metal::{Narrow, inspection_rule};
use corten_store::metal::inspection_rule::{InspectionRule, MAIN, RuleStep};
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route(
            "/inspection_rules",
            get(index).post(create).delete(delete_all),
        )
        .route(
            "/inspection_rules/{rule}",
            get(show).patch(update).delete(delete),
        )
}

/// One condition or action; of one with a loop it is told which results count.
fn shown(step: &RuleStep, is_condition: bool) -> Value {
    let RuleStep {
        op,
        args,
        items,
        multiple,
    } = step;
    let mut view = json!({"op": op, "args": args});
    if let Some(items) = items {
        view["loop"] = items.clone();
        if is_condition {
            view["multiple"] = multiple.as_deref().unwrap_or("any").into();
        }
    }
    view
}

impl Served for InspectionRule {
    const SCHEMA: Schema = Schema {
        one: "inspection rule",
        fields: &[
            ("uuid", 96),
            ("description", 96),
            ("priority", 96),
            ("phase", 96),
            ("sensitive", 96),
            ("conditions", 96),
            ("actions", 96),
            ("created_at", 96),
            ("updated_at", 96),
            ("links", 96),
        ],
        created: &[
            "uuid",
            "description",
            "priority",
            "phase",
            "sensitive",
            "conditions",
            "actions",
        ],
        patched: &[
            "description",
            "priority",
            "phase",
            "sensitive",
            "conditions",
            "actions",
        ],
        brief: &["uuid", "priority", "phase", "description", "links"],
    };
    const SORT_KEYS: SortKeys = &[
        ("priority", "priority"),
        ("phase", "phase"),
        ("description", "description"),
        ("sensitive", "sensitive"),
    ];

    fn document(&self, base: &str) -> Map<String, Value> {
        let Self {
            id,
            description,
            priority,
            phase,
            sensitive,
            conditions,
            actions,
            sealed: _,
            standard,
        } = self;
        let steps = |steps: &[RuleStep], are_conditions| match sensitive {
            true => Value::Null,
            false => steps
                .iter()
                .map(|step| shown(step, are_conditions))
                .collect(),
        };
        document(
            json!({
                "uuid": id,
                "description": description,
                "priority": priority,
                "phase": phase,
                "sensitive": sensitive,
                "conditions": steps(conditions, true),
                "actions": steps(actions, false),
                "links": links(base, &format!("inspection_rules/{id}")),
            }),
            standard,
        )
    }

    fn edited(&self, mut document: Map<String, Value>) -> Result<Self, Refusal> {
        if document.get("conditions").is_none_or(Value::is_null) {
            document.insert("conditions".to_owned(), json!([]));
        }
        let mut values = Values(document);
        Ok(Self {
            id: self.id,
            description: values.text("description")?,
            priority: values.number("priority")?.unwrap_or_default(),
            phase: values.text("phase")?.unwrap_or_else(|| MAIN.to_owned()),
            sensitive: values.truth("sensitive")?.unwrap_or_default(),
            conditions: values.list("conditions")?,
            actions: values.list("actions")?,
            sealed: None,
            standard: self.standard.clone(),
        })
    }
}

async fn index(call: Call, _: Allowed<96>) -> Answer<Json<Value>> {
    let listing = call.listing_of::<InspectionRule>(false)?;
    let mut narrow = Narrow::default();
    if let Some(phase) = call.params.get("phase") {
        narrow.0.push(("phase", vec![phase.to_owned()]));
    }
    let found = inspection_rule::list(call.cx(), &call.actor, narrow, &listing.page).await?;
    let place = ("inspection_rules", "inspection_rules");
    Ok(call.page_of(place, &listing, &found))
}

async fn show(call: Call, _: Allowed<96>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let found = inspection_rule::show(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(call.shown_of(&found)?)
}

async fn create(
    call: Call,
    _: Allowed<96>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    inspection_rule::may_write(call.cx(), &call.actor)?;
    let id = new_id(&body, InspectionRuleId::random)?;
    let plain = InspectionRule::blank(id, call.cx().now());
    let wanted = plain.edited(call.requested(&plain, body)?)?;
    let made = inspection_rule::create(call.cx(), &call.actor, wanted).await?;
    Ok(call.made(&made))
}

async fn update(
    call: Call,
    _: Allowed<96>,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let edit = |before: &InspectionRule| patched(&call, before, body);
    let changed = inspection_rule::update(call.cx(), &call.actor, &call.ident(&id), edit).await?;
    Ok(call.whole(&changed))
}

/// What is hidden of a sensitive rule can be changed all the same, and stays hidden unless the patch says otherwise.
fn patched(call: &Call, before: &InspectionRule, body: Value) -> Result<InspectionRule, Refusal> {
    let says_so = Patch::read(body.clone())?.touched().contains("sensitive");
    let open = InspectionRule {
        sensitive: false,
        ..before.clone()
    };
    let mut rule = call.patched(&open, body)?;
    if !says_so {
        rule.sensitive = before.sensitive;
    }
    Ok(rule)
}

async fn delete(call: Call, _: Allowed<96>, Path(id): Path<String>) -> Answer<StatusCode> {
    inspection_rule::delete(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete_all(call: Call, _: Allowed<96>) -> Answer<StatusCode> {
    inspection_rule::delete_all(call.cx(), &call.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
