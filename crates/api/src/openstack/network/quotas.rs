//! `/quotas`.

use super::kit;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::parse_truth;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::ProjectId;
use corten_model::refusal::Refusal;
use corten_operations::network::quota;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/quotas", get(index))
        .route("/quotas/{project_id}", get(show).put(update).delete(reset))
        .route("/quotas/{project_id}/default", get(show_default))
        .route("/quotas/{project_id}/details", get(details))
}

async fn index(State(app): State<App>, Caller(actor): Caller) -> Answer<Json<Value>> {
    let found = quota::list(&app.cx, &actor).await?;
    let views = found.iter().map(|(project, limits)| {
        let mut view = json!(limits);
        view["project_id"] = json!(project);
        view["tenant_id"] = json!(project);
        view
    });
    Ok(Json(json!({"quotas": views.collect::<Vec<_>>()})))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(project): Path<String>,
) -> Answer<Json<Value>> {
    // Which project a token is for.
    if let ("tenant" | "project", Some(own)) = (project.as_str(), actor.project_id()) {
        let view = json!({"tenant_id": own, "project_id": own});
        return Ok(Json(json!({ project: view })));
    }
    let limits = quota::show(&app.cx, &actor, &ProjectId::from(project)).await?;
    Ok(Json(json!({ "quota": limits })))
}

async fn show_default(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(project): Path<String>,
) -> Answer<Json<Value>> {
    let limits = quota::show_default(&app.cx, &actor, &ProjectId::from(project)).await?;
    Ok(Json(json!({ "quota": limits })))
}

/// Nothing is reserved: what is being made counts as used.
async fn details(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(project): Path<String>,
) -> Answer<Json<Value>> {
    let usage = quota::usage(&app.cx, &actor, &ProjectId::from(project)).await?;
    let views: BTreeMap<_, _> = usage
        .into_iter()
        .map(|(resource, usage)| {
            let view = json!({"limit": usage.limit, "used": usage.used, "reserved": 0});
            (resource, view)
        })
        .collect();
    Ok(Json(json!({ "quota": views })))
}

/// `force` sets limits below what is used; `check_limit`, its older opposite, is how it is without.
fn asked(mut body: Map<String, Value>) -> Result<(BTreeMap<String, i64>, bool), Refusal> {
    let mut flag = |name: &str| match body.remove(name) {
        None => Ok(None),
        Some(Value::Bool(truth)) => Ok(Some(truth)),
        Some(Value::String(text)) if parse_truth(&text).is_some() => Ok(parse_truth(&text)),
        Some(other) => Err(Refusal::invalid(format!(
            "Invalid input for {name}. Reason: '{other}' cannot be converted to boolean."
        ))),
    };
    let force = flag("force")?;
    let check_limit = flag("check_limit")?;
    if force == Some(true) && check_limit == Some(true) {
        return Err(Refusal::invalid(
            "Invalid input for force. Reason: force and check_limit contradict each other.",
        ));
    }
    body.retain(|name, _| !["project_id", "tenant_id"].contains(&name.as_str()));
    let mut limits = BTreeMap::new();
    for (name, value) in body {
        let text = value.as_str().and_then(|text| text.parse().ok());
        let limit = value.as_i64().or(text).ok_or_else(|| {
            Refusal::invalid(format!(
                "Invalid input for {name}. Reason: '{value}' is not an integer."
            ))
        })?;
        limits.insert(name, limit);
    }
    Ok((limits, force == Some(true)))
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(project): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let (limits, force) = asked(kit::only(body, "quota")?)?;
    let project = ProjectId::from(project);
    let limits = quota::update(&app.cx, &actor, &project, limits, force).await?;
    Ok(Json(json!({ "quota": limits })))
}

async fn reset(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(project): Path<String>,
) -> Answer<StatusCode> {
    quota::reset(&app.cx, &actor, &ProjectId::from(project)).await?;
    Ok(StatusCode::NO_CONTENT)
}
