//! `/address-scopes`.

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
use corten_model::ids::{AddressScopeId, ProjectId};
use corten_operations::network::address_scope::{self, AddressScopeChange, NewAddressScope};
use corten_operations::network::rbac_policy::Shown;
use corten_store::network::address_scope::AddressScope;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/address-scopes", get(index).post(create))
        .route("/address-scopes/{id}", get(show).put(update).delete(delete))
}

const SCOPES: Collection<'static> = Collection {
    one: "address_scope",
    many: "address_scopes",
    heeded: &[],
    fields: &[
        "id",
        "name",
        "project_id",
        "tenant_id",
        "shared",
        "ip_version",
    ],
};

/// Address scopes have no description, tags or revisions.
fn view(shown: &Shown<AddressScope>) -> Value {
    let scope = &shown.resource;
    json!({
        "id": scope.id,
        "name": scope.standard.name,
        "project_id": scope.standard.project_id,
        "tenant_id": scope.standard.project_id,
        "shared": shown.shared,
        "ip_version": scope.ip_version,
    })
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    base: BaseUrl,
    params: Params,
) -> Answer {
    let columns = [
        ("id", "id"),
        ("name", "name"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
    ];
    let found = address_scope::list(&app.cx, &actor, narrow(&params, &columns)).await?;
    Ok(SCOPES.answer(&params, &base, found.iter().map(view).collect())?)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let id = kit::id_of::<AddressScope, AddressScopeId>(&id)?;
    let found = address_scope::show(&app.cx, &actor, id).await?;
    Ok(SCOPES.show(&params, view(&found)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateScope {
    project_id: Option<ProjectId>,
    tenant_id: Option<ProjectId>,
    name: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    shared: Option<bool>,
    #[serde(default, deserialize_with = "kit::number")]
    ip_version: Option<i64>,
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreateScope {
        project_id,
        tenant_id,
        name,
        shared,
        ip_version,
    } = kit::only(body, "address_scope")?;
    let new = NewAddressScope {
        project_id: kit::project(project_id, tenant_id)?,
        name: kit::text("name", name)?.unwrap_or_default(),
        shared: shared.unwrap_or(false),
        ip_version: kit::ip_version(ip_version)?,
    };
    let made = address_scope::create(&app.cx, &actor, new).await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"address_scope": view(&made)})),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateScope {
    name: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    shared: Option<bool>,
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<AddressScope, AddressScopeId>(&id)?;
    let UpdateScope { name, shared } = kit::only(body, "address_scope")?;
    let change = AddressScopeChange {
        name: kit::text("name", name)?,
        shared,
    };
    let shown = address_scope::update(&app.cx, &actor, id, change).await?;
    Ok(Json(json!({"address_scope": view(&shown)})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = kit::id_of::<AddressScope, AddressScopeId>(&id)?;
    address_scope::delete(&app.cx, &actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
