//! `/nodes/{node}/history`: what happened to a node.

use super::kit::{date, direction, ident, limit, no_sort_key};
use super::version::{Since, Version};
use crate::app::App;
use crate::auth::Caller;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::lifecycle::node::{NodeStateKind, ProvisionState};
use corten_model::refusal::Refusal;
use corten_operations::metal::conductor::Assignment;
use corten_operations::metal::history::{self, Event};
use corten_operations::metal::watch::POWER_FAILURE;
use corten_store::metal::node::POWER_SUBJECT;
use corten_store::record::Direction;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/nodes/{node}/history", get(index))
        .route("/nodes/{node}/history/{event}", get(show))
}

/// The attributes of an event, with the version that brought each.
const FIELDS: &[(&str, u16)] = &[
    ("uuid", 78),
    ("created_at", 78),
    ("severity", 78),
    ("event", 78),
    ("event_type", 78),
    ("conductor", 78),
    ("user", 78),
    ("project", 113),
    ("state", 115),
    ("target_provision_state", 115),
    ("duration_seconds", 115),
    ("links", 78),
];

/// Those of a list that does not ask for more.
const BRIEF: &[&str] = &["uuid", "created_at", "severity", "event", "links"];

/// So long is an event's text in such a list at most.
const BRIEF_TEXT: usize = 255;

/// All that can be said of an event.
fn document(base: &str, id: &str, conductor: Option<&str>, event: &Event) -> Map<String, Value> {
    let Event {
        transition,
        state,
        target,
    } = event;
    let reached = transition.to.parse::<ProvisionState>().ok();
    let kind = reached.and_then(ProvisionState::row).map(|row| row.kind);
    let failed = kind == Some(NodeStateKind::Failed) || transition.to == POWER_FAILURE;
    let from = transition.from.as_deref().unwrap_or("nothing");
    let is_power = transition.subject_kind == POWER_SUBJECT;
    let address = format!("{base}/baremetal/v1/nodes/{id}/history/{}", transition.id);
    let view = json!({
        "uuid": transition.id,
        "created_at": date(Some(transition.at)),
        "severity": if failed { "ERROR" } else { "INFO" },
        "event": format!("{from} to {}: {}", transition.to, transition.why),
        "event_type": if is_power { "power" } else { "provision" },
        "conductor": conductor,
        "user": transition.origin.user_id,
        "project": transition.origin.project_id,
        "state": state.as_str(),
        "target_provision_state": target.map(ProvisionState::as_str),
        "duration_seconds": transition.lasted_micros / 1_000_000,
        "links": [{"href": address, "rel": "self"}],
    });
    match view {
        Value::Object(document) => document,
        _ => Map::new(),
    }
}

/// What a request is shown of an event.
fn view(version: Version, mut document: Map<String, Value>, detailed: bool) -> Value {
    document.retain(|field, _| {
        let since = FIELDS.iter().find(|(name, _)| name == field);
        since.is_some_and(|(_, since)| version.at_least(*since))
            && (detailed || BRIEF.contains(&field.as_str()))
    });
    if !detailed
        && let Some(Value::String(text)) = document.get_mut("event")
        && text.chars().count() > BRIEF_TEXT
    {
        *text = text.chars().take(BRIEF_TEXT - 4).collect();
        text.push_str("...");
    }
    Value::Object(document)
}

/// Sorts events, which come oldest first.
fn sort(
    version: Version,
    params: &Params,
    events: &mut [Map<String, Value>],
) -> Result<(), Refusal> {
    let key = params.get("sort_key").unwrap_or("created_at");
    let known = FIELDS.iter().filter(|(name, _)| *name != "links");
    let known: Vec<_> = known
        .filter(|(_, since)| version.at_least(*since))
        .map(|(name, _)| *name)
        .collect();
    if !known.contains(&key) && key != "id" {
        return Err(no_sort_key(key, known));
    }
    // A date is told in seconds, and the log knows the order within one.
    if !matches!(key, "created_at" | "id") {
        events.sort_by_cached_key(|event| match event.get(key) {
            Some(Value::String(text)) => (0, text.clone()),
            Some(Value::Number(number)) => (number.as_i64().unwrap_or_default(), String::new()),
            _ => (i64::MIN, String::new()),
        });
    }
    if direction(params)? == Direction::Descending {
        events.reverse();
    }
    Ok(())
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<78>,
    version: Version,
    BaseUrl(base): BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let (node, found) = history::list(&app.cx, &actor, &ident(version, &id)).await?;
    let conductors = Assignment::read(&app.cx).await?;
    let conductor = conductors.of(node.id);
    let detailed = params.truth("detail")?.unwrap_or_default();
    let limit = limit(&params)?;
    let mut events: Vec<_> = found
        .iter()
        .map(|event| document(&base, &id, conductor, event))
        .collect();
    sort(version, &params, &mut events)?;
    let after = match params.get("marker") {
        None => 0,
        Some(marker) => events
            .iter()
            .position(|event| event["uuid"] == marker)
            .map(|index| index + 1)
            .ok_or_else(|| Refusal::invalid(format!("The marker {marker} is no event.")))?,
    };
    let is_more = events.len() > after + limit;
    let page: Vec<_> = events
        .into_iter()
        .skip(after)
        .take(limit)
        .map(|event| view(version, event, detailed))
        .collect();
    let last = page.last().and_then(|last| last["uuid"].as_str());
    let next = last.filter(|_| is_more).map(|last| {
        let query = params.with(&[("marker", Some(last))]);
        format!("{base}/baremetal/v1/nodes/{id}/history?{query}")
    });
    let mut answer = json!({ "history": page });
    if let Some(next) = next {
        answer["next"] = next.into();
    }
    Ok(Json(answer))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<78>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path((id, wanted)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let (node, found) = history::list(&app.cx, &actor, &ident(version, &id)).await?;
    let conductors = Assignment::read(&app.cx).await?;
    let one = found
        .iter()
        .find(|event| event.transition.id.to_string() == wanted)
        .ok_or_else(|| Refusal::no_such("Node history record", &wanted))?;
    let event = document(&base, &id, conductors.of(node.id), one);
    Ok(Json(view(version, event, true)))
}
