//! `/{collection}/{id}/tags`, the same for every resource that has tags.

use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_operations::network::access::Access;
use corten_operations::network::tag;
use corten_store::network::floating_ip::FloatingIp;
use corten_store::network::network::Network;
use corten_store::network::port::Port;
use corten_store::network::qos_policy::QosPolicy;
use corten_store::network::router::Router as RouterRow;
use corten_store::network::security_group::SecurityGroup;
use corten_store::network::subnet::Subnet;
use corten_store::network::subnet_pool::SubnetPool;
use corten_store::network::trunk::Trunk;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub fn routes() -> Router<App> {
    Router::new()
        .merge(of::<Network>("networks"))
        .merge(of::<Subnet>("subnets"))
        .merge(of::<SubnetPool>("subnetpools"))
        .merge(of::<Port>("ports"))
        .merge(of::<RouterRow>("routers"))
        .merge(of::<FloatingIp>("floatingips"))
        .merge(of::<SecurityGroup>("security-groups"))
        .merge(of::<Trunk>("trunks"))
        // Neutron's path for these, and the one that its own client library asks for.
        .merge(of::<QosPolicy>("policies"))
        .merge(of::<QosPolicy>("qos/policies"))
}

fn of<T: Access>(collection: &str) -> Router<App> {
    Router::new()
        .route(
            &format!("/{collection}/{{id}}/tags"),
            get(list::<T>).put(replace::<T>).delete(clear::<T>),
        )
        .route(
            &format!("/{collection}/{{id}}/tags/{{tag}}"),
            get(check::<T>).put(add::<T>).delete(remove::<T>),
        )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tags {
    tags: BTreeSet<String>,
}

async fn list<T: Access>(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let tags = tag::list::<T>(&app.cx, &actor, &id).await?;
    Ok(Json(json!({ "tags": tags })))
}

async fn replace<T: Access>(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(Tags { tags }): Body<Tags>,
) -> Answer<Json<Value>> {
    let tags = tag::replace::<T>(&app.cx, &actor, &id, tags).await?;
    Ok(Json(json!({ "tags": tags })))
}

async fn clear<T: Access>(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    tag::replace::<T>(&app.cx, &actor, &id, BTreeSet::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn check<T: Access>(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, tag)): Path<(String, String)>,
) -> Answer<StatusCode> {
    tag::check::<T>(&app.cx, &actor, &id, &tag).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn add<T: Access>(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, tag)): Path<(String, String)>,
) -> Answer<StatusCode> {
    tag::add::<T>(&app.cx, &actor, &id, tag).await?;
    Ok(StatusCode::CREATED)
}

async fn remove<T: Access>(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, tag)): Path<(String, String)>,
) -> Answer<StatusCode> {
    tag::remove::<T>(&app.cx, &actor, &id, &tag).await?;
    Ok(StatusCode::NO_CONTENT)
}
