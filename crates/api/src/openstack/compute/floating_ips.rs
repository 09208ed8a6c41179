//! `/os-floating-ips` and `/os-floating-ip-pools`, until 2.35: the network service's floating IPs in Nova's shape. A
//! pool is an external network.

use super::microversion::Microversion;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::actor::Actor;
use corten_model::ids::FloatingIpId;
use corten_model::refusal::{Reason, Refusal};
use corten_operations::network::floating_ip::{self, NewFloatingIp, Shown};
use corten_operations::network::{Narrow, network};
use corten_store::Failure;
use corten_store::network::network::Network;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/os-floating-ip-pools", get(pools))
        .route("/os-floating-ips", get(list).post(create))
        .route("/os-floating-ips/{id}", get(show).delete(delete))
}

/// The last version that has these.
const UNTIL: u16 = 35;

/// The external networks that the actor sees.
async fn external(app: &App, actor: &Actor) -> Answer<Vec<Network>> {
    let found = network::list(&app.cx, actor, Narrow::default()).await?;
    let networks = found.into_iter().map(|shown| shown.network);
    Ok(networks.filter(|network| network.external).collect())
}

async fn pools(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
) -> Answer<Json<Value>> {
    mv.exists_until(UNTIL)?;
    let networks = external(&app, &actor).await?;
    let pools: Vec<_> = networks
        .iter()
        .map(|network| json!({"name": network.standard.name}))
        .collect();
    Ok(Json(json!({"floating_ip_pools": pools})))
}

fn view(shown: &Shown, pools: &[Network]) -> Value {
    let floating = &shown.floating;
    let pool = pools.iter().find(|pool| pool.id == floating.network_id);
    let device = shown.port.as_ref().map(|port| &port.device_id);
    json!({
        "id": floating.id,
        "ip": floating.address,
        "pool": pool.map(|pool| &pool.standard.name),
        "fixed_ip": floating.target.map(|target| target.address),
        "instance_id": device.filter(|device| !device.is_empty()),
    })
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
) -> Answer<Json<Value>> {
    mv.exists_until(UNTIL)?;
    let narrow = match actor.project_id() {
        Some(project) => Narrow(vec![("project_id", vec![project.to_string()])]),
        None => Narrow::default(),
    };
    let found = floating_ip::list(&app.cx, &actor, narrow).await?;
    let pools = external(&app, &actor).await?;
    let views: Vec<_> = found.iter().map(|shown| view(shown, &pools)).collect();
    Ok(Json(json!({"floating_ips": views})))
}

fn id_of(text: &str) -> Result<FloatingIpId, Refusal> {
    text.parse()
        .map_err(|_| Refusal::not_found(format!("Floating IP not found for ID {text}")))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_until(UNTIL)?;
    let shown = floating_ip::show(&app.cx, &actor, id_of(&id)?).await?;
    let pools = external(&app, &actor).await?;
    Ok(Json(json!({"floating_ip": view(&shown, &pools)})))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    /// The name or id of an external network.
    pool: Option<String>,
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Body(body): Body<Option<Create>>,
) -> Answer<Json<Value>> {
    mv.exists_until(UNTIL)?;
    let pools = external(&app, &actor).await?;
    let pool = match body.and_then(|body| body.pool) {
        Some(pool) => pools
            .iter()
            .find(|network| network.standard.name == pool || network.id.to_string() == pool),
        None => {
            let default = pools.iter().find(|network| network.is_default);
            default.or(pools.first())
        }
    };
    let pool = pool.ok_or_else(|| Refusal::not_found("Floating IP pool not found."))?;
    let new = NewFloatingIp {
        project_id: None,
        description: String::new(),
        network_id: pool.id,
        subnet_id: None,
        address: None,
        port_id: None,
        fixed_address: None,
        tags: BTreeSet::new(),
    };
    let made = floating_ip::create(&app.cx, &actor, vec![new]).await;
    let mut made = made.map_err(over_quota)?;
    match made.pop() {
        Some(shown) => Ok(Json(json!({"floating_ip": view(&shown, &pools)}))),
        None => Err(Refusal::unavailable("The floating IP was not made; try again.").into()),
    }
}

/// Nova's answers to a quota or a pool that is used up are 403 and 404, the network service's are 409.
fn over_quota(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(refusal) if refusal.name == Some("OverQuota") => {
            Refusal::over_quota(refusal.message).into()
        }
        Failure::Refused(refusal) if refusal.reason == Reason::Conflict => {
            Refusal::not_found(refusal.message).into()
        }
        other => other,
    }
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    mv.exists_until(UNTIL)?;
    floating_ip::delete(&app.cx, &actor, id_of(&id)?).await?;
    Ok(StatusCode::ACCEPTED)
}
