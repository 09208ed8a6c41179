//! `/rbac-policies`.

use super::kit::{self, Collection, narrow};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::{ProjectId, RbacPolicyId};
use corten_model::refusal::Refusal;
use corten_operations::network::rbac_policy::{self, NewRbacPolicy};
use corten_store::network::rbac_policy::RbacPolicy;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/rbac-policies", get(index).post(create))
        .route("/rbac-policies/{id}", get(show).put(update).delete(delete))
}

const POLICIES: Collection<'static> = Collection {
    one: "rbac_policy",
    many: "rbac_policies",
    heeded: &[],
    fields: &[
        "id",
        "project_id",
        "tenant_id",
        "object_type",
        "object_id",
        "target_tenant",
        "action",
    ],
};

fn view(policy: &RbacPolicy) -> Value {
    let RbacPolicy {
        id,
        project_id,
        object_type,
        object_id,
        target,
        action,
    } = policy;
    json!({
        "id": id,
        "project_id": project_id,
        "tenant_id": project_id,
        "object_type": object_type,
        "object_id": object_id,
        "target_tenant": target,
        "action": action,
    })
}

fn id_of(text: &str) -> Result<RbacPolicyId, Refusal> {
    text.parse()
        .map_err(|_| Refusal::no_such("RBAC policy", text).named("RbacPolicyNotFound"))
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    base: BaseUrl,
    params: Params,
) -> Answer {
    let columns = [
        ("id", "id"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
        ("object_type", "object_type"),
        ("object_id", "object_id"),
        ("target_tenant", "target"),
        ("action", "action"),
    ];
    let found = rbac_policy::list(&app.cx, &actor, narrow(&params, &columns)).await?;
    Ok(POLICIES.answer(&params, &base, found.iter().map(view).collect())?)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let found = rbac_policy::show(&app.cx, &actor, id_of(&id)?).await?;
    Ok(POLICIES.show(&params, view(&found)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreatePolicy {
    project_id: Option<ProjectId>,
    tenant_id: Option<ProjectId>,
    object_type: String,
    object_id: String,
    target_tenant: String,
    action: String,
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreatePolicy {
        project_id,
        tenant_id,
        object_type,
        object_id,
        target_tenant,
        action,
    } = kit::only(body, "rbac_policy")?;
    let new = NewRbacPolicy {
        project_id: kit::project(project_id, tenant_id)?,
        object_type,
        object_id,
        target: target_tenant,
        action,
    };
    let made = rbac_policy::create(&app.cx, &actor, new).await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"rbac_policy": view(&made)})),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdatePolicy {
    target_tenant: Option<String>,
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let UpdatePolicy { target_tenant } = kit::only(body, "rbac_policy")?;
    let policy = rbac_policy::update(&app.cx, &actor, id_of(&id)?, target_tenant).await?;
    Ok(Json(json!({"rbac_policy": view(&policy)})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    rbac_policy::delete(&app.cx, &actor, id_of(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
