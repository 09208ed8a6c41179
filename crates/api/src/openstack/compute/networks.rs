//! `/os-networks` and `/os-tenant-networks`, until 2.35: the network service's networks in Nova's shape, to be read.

use super::microversion::Microversion;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::NetworkId;
use corten_model::refusal::Refusal;
use corten_operations::network::{Narrow, network};
use corten_store::network::network::Network;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/os-networks", get(list))
        .route("/os-networks/{id}", get(show))
        .route("/os-tenant-networks", get(list_of_tenant))
        .route("/os-tenant-networks/{id}", get(show_of_tenant))
}

/// The last version that has these.
const UNTIL: u16 = 35;

/// What a network had when Nova kept networks itself.
const OF_OLD: [&str; 30] = [
    "bridge",
    "bridge_interface",
    "broadcast",
    "cidr",
    "cidr_v6",
    "created_at",
    "deleted",
    "deleted_at",
    "dhcp_server",
    "dhcp_start",
    "dns1",
    "dns2",
    "enable_dhcp",
    "gateway",
    "gateway_v6",
    "host",
    "injected",
    "mtu",
    "multi_host",
    "netmask",
    "netmask_v6",
    "priority",
    "project_id",
    "rxtx_base",
    "share_address",
    "updated_at",
    "vlan",
    "vpn_private_address",
    "vpn_public_address",
    "vpn_public_port",
];

fn view(network: &Network) -> Value {
    let mut view: Map<String, Value> = OF_OLD
        .iter()
        .map(|name| ((*name).to_owned(), Value::Null))
        .collect();
    view.insert("id".to_owned(), json!(network.id));
    view.insert("label".to_owned(), json!(network.standard.name));
    Value::Object(view)
}

fn view_of_tenant(network: &Network) -> Value {
    json!({"id": network.id, "label": network.standard.name, "cidr": "None"})
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
) -> Answer<Json<Value>> {
    mv.exists_until(UNTIL)?;
    let found = network::list(&app.cx, &actor, Narrow::default()).await?;
    let views: Vec<_> = found.iter().map(|shown| view(&shown.network)).collect();
    Ok(Json(json!({"networks": views})))
}

async fn list_of_tenant(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
) -> Answer<Json<Value>> {
    mv.exists_until(UNTIL)?;
    let found = network::list(&app.cx, &actor, Narrow::default()).await?;
    let views: Vec<_> = found
        .iter()
        .map(|shown| view_of_tenant(&shown.network))
        .collect();
    Ok(Json(json!({"networks": views})))
}

fn id_of(text: &str) -> Result<NetworkId, Refusal> {
    text.parse()
        .map_err(|_| Refusal::not_found("Network not found"))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_until(UNTIL)?;
    let found = network::show(&app.cx, &actor, id_of(&id)?).await?;
    Ok(Json(json!({"network": view(&found.network)})))
}

async fn show_of_tenant(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_until(UNTIL)?;
    let found = network::show(&app.cx, &actor, id_of(&id)?).await?;
    Ok(Json(json!({"network": view_of_tenant(&found.network)})))
}
