//! `/os-quota-sets`: what a project, or a user in it, may have.

use super::microversion::Microversion;
use super::paging::only;
use super::quotas::{self, in_sets, shown};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::{ProjectId, UserId};
use corten_model::refusal::Refusal;
use corten_operations::quota;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route(
            "/os-quota-sets/{project}",
            get(show).put(update).delete(delete),
        )
        .route("/os-quota-sets/{project}/detail", get(detail))
        .route("/os-quota-sets/{project}/defaults", get(defaults))
}

fn user_of(params: &Params, mv: Microversion) -> Result<Option<UserId>, Refusal> {
    if mv.at_least(75) {
        only(params, &["user_id"])?;
    }
    Ok(params.get("user_id").map(UserId::from))
}

fn set(project: Option<&ProjectId>, mut limits: Map<String, Value>) -> Json<Value> {
    if let Some(project) = project {
        limits.insert("id".to_owned(), json!(project));
    }
    Json(json!({"quota_set": limits}))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
    Path(project): Path<ProjectId>,
) -> Answer<Json<Value>> {
    let user = user_of(&params, mv)?;
    let report = quota::show(&app.cx, &actor, &project, user.as_ref()).await?;
    Ok(set(
        Some(&project),
        shown(&report.limits, |name| in_sets(mv, name)),
    ))
}

async fn detail(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
    Path(project): Path<ProjectId>,
) -> Answer<Json<Value>> {
    let user = user_of(&params, mv)?;
    let report = quota::show(&app.cx, &actor, &project, user.as_ref()).await?;
    let mut details = shown(&report.limits, |name| in_sets(mv, name));
    for (name, value) in &mut details {
        let in_use = report.used.get(name).copied().unwrap_or(0);
        *value = json!({"limit": value, "in_use": in_use, "reserved": 0});
    }
    Ok(set(Some(&project), details))
}

async fn defaults(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(project): Path<ProjectId>,
) -> Answer<Json<Value>> {
    let limits = quota::defaults(&app.cx, &actor, &project).await?;
    Ok(set(
        Some(&project),
        shown(&limits, |name| in_sets(mv, name)),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    quota_set: quotas::SentLimits,
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
    Path(project): Path<ProjectId>,
    Body(body): Body<UpdateBody>,
) -> Answer<Json<Value>> {
    let user = user_of(&params, mv)?;
    let known = quota::known(&app.cx);
    let (changes, force) = body.quota_set.checked(&known, |name| in_sets(mv, name))?;
    let limits = quota::set(&app.cx, &actor, &project, user.as_ref(), changes, force).await?;
    Ok(set(None, shown(&limits, |name| in_sets(mv, name))))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
    Path(project): Path<ProjectId>,
) -> Answer<StatusCode> {
    let user = user_of(&params, mv)?;
    let with_networks = in_sets(mv, "floating_ips");
    quota::reset(&app.cx, &actor, &project, user.as_ref(), with_networks).await?;
    Ok(StatusCode::ACCEPTED)
}
