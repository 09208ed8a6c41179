//! What operators and clients ask of the networks as a whole: `/network-ip-availabilities`, `/availability_zones`,
//! `/agents`, `/service-providers`.

use super::kit::{self, Collection, narrow};
use crate::app::App;
use crate::auth::Caller;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::NetworkId;
use corten_model::refusal::Refusal;
use corten_operations::network::information::{self, Availability, Chassis, SubnetAvailability};
use corten_store::network::network::Network;
use serde_json::{Value, json};
use uuid::Uuid;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/network-ip-availabilities", get(availabilities))
        .route("/network-ip-availabilities/{id}", get(availability))
        .route("/availability_zones", get(zones))
        .route("/agents", get(agents))
        .route("/agents/{id}", get(agent).put(update_agent))
        .route("/service-providers", get(service_providers))
}

const AVAILABILITIES: Collection<'static> = Collection {
    one: "network_ip_availability",
    many: "network_ip_availabilities",
    heeded: &["ip_version"],
    fields: &["network_id", "network_name", "project_id", "tenant_id"],
};

/// As many addresses as JSON readers can count; a /64 has more than 64 bits hold.
fn count(number: u128) -> Value {
    serde_json::from_str(&number.to_string()).unwrap_or(Value::Null)
}

fn version(subnet: &SubnetAvailability) -> &'static str {
    if subnet.subnet.cidr.addr().is_ipv4() {
        "4"
    } else {
        "6"
    }
}

fn availability_view(found: &Availability) -> Value {
    let subnets = found.subnets.iter().map(|entry| {
        json!({
            "subnet_id": entry.subnet.id,
            "subnet_name": entry.subnet.standard.name,
            "cidr": entry.subnet.cidr,
            "ip_version": if version(entry) == "4" { 4 } else { 6 },
            "total_ips": count(entry.total),
            "used_ips": count(entry.used),
        })
    });
    let network = &found.network;
    json!({
        "network_id": network.id,
        "network_name": network.standard.name,
        "project_id": network.standard.project_id,
        "tenant_id": network.standard.project_id,
        "total_ips": count(found.total()),
        "used_ips": count(found.used()),
        "subnet_ip_availability": subnets.collect::<Vec<_>>(),
    })
}

async fn availabilities(
    State(app): State<App>,
    Caller(actor): Caller,
    base: BaseUrl,
    params: Params,
) -> Answer {
    let columns = [
        ("network_id", "id"),
        ("network_name", "name"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
    ];
    let narrow = narrow(&params, &columns);
    let mut found = information::availabilities(&app.cx, &actor, narrow).await?;
    let versions = params.all("ip_version");
    if !versions.is_empty() {
        for entry in &mut found {
            entry
                .subnets
                .retain(|subnet| versions.contains(&version(subnet)));
        }
        found.retain(|entry| !entry.subnets.is_empty());
    }
    let views = found.iter().map(availability_view).collect();
    Ok(AVAILABILITIES.answer(&params, &base, views)?)
}

async fn availability(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let id = kit::id_of::<Network, NetworkId>(&id)?;
    let found = information::availability(&app.cx, &actor, id).await?;
    Ok(AVAILABILITIES.show(&params, availability_view(&found)))
}

const ZONES: Collection<'static> = Collection {
    one: "availability_zone",
    many: "availability_zones",
    heeded: &[],
    fields: &["name", "resource", "state"],
};

async fn zones(
    State(app): State<App>,
    Caller(actor): Caller,
    base: BaseUrl,
    params: Params,
) -> Answer {
    let zone = information::zone(&app.cx, &actor)?;
    let views = ["network", "router"]
        .map(|resource| json!({"name": zone, "resource": resource, "state": "available"}));
    Ok(ZONES.answer(&params, &base, views.into())?)
}

/// What runs on a host for its networks.
const AGENT_TYPE: &str = "OVN Controller agent";

const AGENTS: Collection<'static> = Collection {
    one: "agent",
    many: "agents",
    heeded: &[],
    fields: &[
        "id",
        "agent_type",
        "binary",
        "host",
        "topic",
        "admin_state_up",
        "alive",
        "availability_zone",
        "description",
    ],
};

/// Hosts are known by name; clients know agents by an id that follows from it.
fn agent_id(chassis: &Chassis) -> Uuid {
    chassis
        .name
        .parse()
        .unwrap_or_else(|_| Uuid::new_v5(&Uuid::NAMESPACE_OID, chassis.name.as_bytes()))
}

fn agent_view(chassis: &Chassis) -> Value {
    json!({
        "id": agent_id(chassis),
        "agent_type": AGENT_TYPE,
        "binary": "ovn-controller",
        "host": chassis.hostname,
        "topic": "n/a",
        "admin_state_up": true,
        "alive": chassis.alive,
        "availability_zone": "",
        "description": "",
        "resources_synced": null,
        "created_at": null,
        "started_at": null,
        "heartbeat_timestamp": null,
        "configurations": {
            "chassis_name": chassis.name,
            "bridge-mappings": chassis.physical_networks.join(","),
        },
    })
}

async fn agents(
    State(app): State<App>,
    Caller(actor): Caller,
    base: BaseUrl,
    params: Params,
) -> Answer {
    let found = information::hosts(&app.cx, &actor).await?;
    Ok(AGENTS.answer(&params, &base, found.iter().map(agent_view).collect())?)
}

fn no_agent(id: &str) -> Refusal {
    Refusal::no_such("Agent", id).named("AgentNotFound")
}

async fn agent(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let found = information::hosts(&app.cx, &actor).await?;
    let found = found
        .iter()
        .find(|chassis| agent_id(chassis).to_string() == id)
        .ok_or_else(|| no_agent(&id))?;
    Ok(AGENTS.show(&params, agent_view(found)))
}

async fn update_agent(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    information::check_operator(&app.cx, &actor)?;
    Err(Refusal::invalid(format!(
        "OVN agent status updates are not supported: agent {id} is what its host is. Take the host out of service with \
         PUT /compute/v2.1/os-services/ID instead.",
    ))
    .named("BadRequest")
    .into())
}

/// Services with a choice of providers: this cloud has none.
async fn service_providers(State(app): State<App>, Caller(actor): Caller) -> Answer<Json<Value>> {
    information::zone(&app.cx, &actor)?;
    Ok(Json(json!({"service_providers": []})))
}
