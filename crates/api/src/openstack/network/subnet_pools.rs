//! `/subnetpools`.

use super::kit::{self, Collection, created, creates, narrow, with_standard};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use corten_model::ids::{AddressScopeId, ProjectId, SubnetPoolId};
use corten_model::refusal::Refusal;
use corten_operations::network::rbac_policy::Shown;
use corten_operations::network::subnet_pool::{self, NewSubnetPool, SubnetPoolChange};
use corten_operations::network::subnet_pool_check::Lengths;
use corten_store::network::subnet_pool::SubnetPool;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/subnetpools", get(index).post(create))
        .route("/subnetpools/{id}", get(show).put(update).delete(delete))
        .route("/subnetpools/{id}/add_prefixes", put(add_prefixes))
        .route("/subnetpools/{id}/remove_prefixes", put(remove_prefixes))
}

const POOLS: Collection<'static> = Collection {
    one: "subnetpool",
    many: "subnetpools",
    heeded: &[],
    fields: &[
        "id",
        "name",
        "project_id",
        "tenant_id",
        "description",
        "shared",
        "is_default",
        "ip_version",
        "min_prefixlen",
        "max_prefixlen",
        "default_prefixlen",
        "default_quota",
        "address_scope_id",
        "revision_number",
        "created_at",
        "updated_at",
    ],
};

fn view(shown: &Shown<SubnetPool>) -> Value {
    let pool = &shown.resource;
    let view = json!({
        "id": pool.id,
        "shared": shown.shared,
        "is_default": pool.is_default,
        "prefixes": pool.prefixes,
        "ip_version": pool.ip_version(),
        // Neutron shows these as text.
        "min_prefixlen": pool.min_prefix_len.to_string(),
        "max_prefixlen": pool.max_prefix_len.to_string(),
        "default_prefixlen": pool.default_prefix_len.to_string(),
        "default_quota": pool.default_quota,
        "address_scope_id": pool.address_scope_id,
    });
    with_standard(view, &pool.standard)
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
    let found = subnet_pool::list(&app.cx, &actor, narrow(&params, &columns)).await?;
    Ok(POOLS.answer(&params, &base, found.iter().map(view).collect())?)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let id = kit::id_of::<SubnetPool, SubnetPoolId>(&id)?;
    let found = subnet_pool::show(&app.cx, &actor, id).await?;
    Ok(POOLS.show(&params, view(&found)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreatePool {
    project_id: Option<ProjectId>,
    tenant_id: Option<ProjectId>,
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    shared: Option<bool>,
    #[serde(default, deserialize_with = "kit::truth")]
    is_default: Option<bool>,
    prefixes: Vec<String>,
    #[serde(default, deserialize_with = "kit::number")]
    min_prefixlen: Option<i64>,
    #[serde(default, deserialize_with = "kit::number")]
    max_prefixlen: Option<i64>,
    #[serde(default, deserialize_with = "kit::number")]
    default_prefixlen: Option<i64>,
    #[serde(default, deserialize_with = "kit::number")]
    default_quota: Option<i64>,
    address_scope_id: Option<AddressScopeId>,
    #[serde(default)]
    tags: BTreeSet<String>,
}

impl CreatePool {
    fn checked(self) -> Result<NewSubnetPool, Refusal> {
        let Self {
            project_id,
            tenant_id,
            name,
            description,
            shared,
            is_default,
            prefixes,
            min_prefixlen,
            max_prefixlen,
            default_prefixlen,
            default_quota,
            address_scope_id,
            tags,
        } = self;
        Ok(NewSubnetPool {
            project_id: kit::project(project_id, tenant_id)?,
            name: kit::text("name", name)?.unwrap_or_default(),
            description: kit::text("description", description)?.unwrap_or_default(),
            shared: shared.unwrap_or(false),
            is_default: is_default.unwrap_or(false),
            prefixes: kit::ranges("prefixes", &prefixes)?,
            lengths: Lengths {
                min: min_prefixlen,
                max: max_prefixlen,
                default: default_prefixlen,
            },
            default_quota,
            address_scope_id,
            tags,
        })
    }
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let asked = creates::<CreatePool>(body, "subnetpool", "subnetpools")?;
    let new = asked
        .items
        .into_iter()
        .map(CreatePool::checked)
        .collect::<Result<_, _>>()?;
    let made = subnet_pool::create(&app.cx, &actor, new).await?;
    let views = made.iter().map(view).collect();
    Ok(created(views, asked.is_bulk, "subnetpool", "subnetpools"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdatePool {
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    is_default: Option<bool>,
    prefixes: Option<Vec<String>>,
    #[serde(default, deserialize_with = "kit::number")]
    min_prefixlen: Option<i64>,
    #[serde(default, deserialize_with = "kit::number")]
    max_prefixlen: Option<i64>,
    #[serde(default, deserialize_with = "kit::number")]
    default_prefixlen: Option<i64>,
    #[serde(default, deserialize_with = "kit::nullable")]
    default_quota: Option<Option<i64>>,
    #[serde(default, deserialize_with = "kit::nullable")]
    address_scope_id: Option<Option<AddressScopeId>>,
}

impl UpdatePool {
    fn checked(self) -> Result<SubnetPoolChange, Refusal> {
        let Self {
            name,
            description,
            is_default,
            prefixes,
            min_prefixlen,
            max_prefixlen,
            default_prefixlen,
            default_quota,
            address_scope_id,
        } = self;
        Ok(SubnetPoolChange {
            name: kit::text("name", name)?,
            description: kit::text("description", description)?,
            is_default,
            prefixes: prefixes
                .map(|texts| kit::ranges("prefixes", &texts))
                .transpose()?,
            lengths: Lengths {
                min: min_prefixlen,
                max: max_prefixlen,
                default: default_prefixlen,
            },
            default_quota,
            address_scope_id,
        })
    }
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<SubnetPool, SubnetPoolId>(&id)?;
    let change = kit::only::<UpdatePool>(body, "subnetpool")?.checked()?;
    let shown = subnet_pool::update(&app.cx, &actor, id, change).await?;
    Ok(Json(json!({"subnetpool": view(&shown)})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prefixes {
    prefixes: Vec<String>,
}

async fn add_prefixes(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(Prefixes { prefixes }): Body<Prefixes>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<SubnetPool, SubnetPoolId>(&id)?;
    let more = kit::ranges("prefixes", &prefixes)?;
    let all = subnet_pool::add_prefixes(&app.cx, &actor, id, more).await?;
    Ok(Json(json!({"prefixes": all})))
}

async fn remove_prefixes(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(Prefixes { prefixes }): Body<Prefixes>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<SubnetPool, SubnetPoolId>(&id)?;
    let gone = kit::ranges("prefixes", &prefixes)?;
    let left = subnet_pool::remove_prefixes(&app.cx, &actor, id, gone).await?;
    Ok(Json(json!({"prefixes": left})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = kit::id_of::<SubnetPool, SubnetPoolId>(&id)?;
    subnet_pool::delete(&app.cx, &actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
