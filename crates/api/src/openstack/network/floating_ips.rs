//! `/floatingips`.

use super::kit::{self, Collection, created, creates, narrow, with_standard};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::{FloatingIpId, NetworkId, PortId, ProjectId, QosPolicyId, SubnetId};
use corten_model::refusal::Refusal;
use corten_operations::network::floating_ip::{self, FloatingIpChange, NewFloatingIp, Shown};
use corten_store::network::floating_ip::FloatingIp;
use corten_store::network::port::Port;
use corten_store::network::port_forwarding::PortForwarding;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/floatingips", get(index).post(create))
        .route("/floatingips/{id}", get(show).put(update).delete(delete))
}

const FLOATING_IPS: Collection<'static> = Collection {
    one: "floatingip",
    many: "floatingips",
    heeded: &[],
    fields: &[
        "id",
        "project_id",
        "tenant_id",
        "description",
        "status",
        "floating_network_id",
        "floating_ip_address",
        "port_id",
        "fixed_ip_address",
        "router_id",
        "revision_number",
        "created_at",
        "updated_at",
    ],
};

fn view(shown: &Shown) -> Value {
    let Shown {
        floating,
        port,
        forwardings,
    } = shown;
    let target = floating.target;
    let forwarded_by = forwardings.first().map(|forwarding| forwarding.router_id);
    let leads = target.is_some() || forwarded_by.is_some();
    let view = json!({
        "id": floating.id,
        "status": if leads { "ACTIVE" } else { "DOWN" },
        "floating_network_id": floating.network_id,
        "floating_ip_address": floating.address,
        "router_id": target.map(|target| target.router_id).or(forwarded_by),
        "port_id": target.map(|target| target.port_id),
        "fixed_ip_address": target.map(|target| target.address),
        "port_details": port.as_ref().map(details),
        "port_forwardings": forwardings.iter().map(forwarding).collect::<Vec<_>>(),
        "dns_name": floating.dns_name,
        "dns_domain": floating.dns_domain,
        "qos_policy_id": floating.qos_policy_id,
    });
    let mut view = with_standard(view, &floating.standard);
    // A floating IP has no name.
    if let Value::Object(fields) = &mut view {
        fields.remove("name");
    }
    view
}

fn details(port: &Port) -> Value {
    json!({
        "name": port.standard.name,
        "network_id": port.network_id,
        "mac_address": port.mac_address,
        "admin_state_up": port.enabled,
        "status": if port.up && port.enabled { "ACTIVE" } else { "DOWN" },
        "device_id": port.device_id,
        "device_owner": port.device_owner,
    })
}

fn forwarding(forwarding: &PortForwarding) -> Value {
    json!({
        "id": forwarding.id,
        "protocol": forwarding.protocol,
        "external_port": forwarding.external_port,
        "internal_port": forwarding.internal_port,
        "internal_ip_address": forwarding.internal_address,
        "internal_port_id": forwarding.port_id,
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
        ("floating_network_id", "network_id"),
        ("floating_ip_address", "address"),
        ("port_id", "port_id"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
    ];
    let found = floating_ip::list(&app.cx, &actor, narrow(&params, &columns)).await?;
    Ok(FLOATING_IPS.answer(&params, &base, found.iter().map(view).collect())?)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let id = kit::id_of::<FloatingIp, FloatingIpId>(&id)?;
    let found = floating_ip::show(&app.cx, &actor, id).await?;
    Ok(FLOATING_IPS.show(&params, view(&found)))
}

/// What would have no effect here is refused.
fn check_enforced(
    qos_policy_id: Option<QosPolicyId>,
    dns: &[&Option<String>],
) -> Result<(), Refusal> {
    if qos_policy_id.is_some() {
        return Err(Refusal::invalid(
            "Invalid input for qos_policy_id. Reason: it is not enforced on floating IPs here; put the policy on the \
             port.",
        ));
    }
    if dns
        .iter()
        .any(|name| name.as_ref().is_some_and(|name| !name.is_empty()))
    {
        return Err(Refusal::invalid(
            "Invalid input for dns_name. Reason: no DNS service outside publishes names of floating IPs; leave \
             dns_name and dns_domain empty.",
        ));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateFloatingIp {
    project_id: Option<ProjectId>,
    tenant_id: Option<ProjectId>,
    floating_network_id: NetworkId,
    floating_ip_address: Option<IpAddr>,
    subnet_id: Option<SubnetId>,
    port_id: Option<PortId>,
    fixed_ip_address: Option<IpAddr>,
    description: Option<String>,
    dns_name: Option<String>,
    dns_domain: Option<String>,
    qos_policy_id: Option<QosPolicyId>,
    #[serde(default)]
    tags: BTreeSet<String>,
}

impl CreateFloatingIp {
    fn checked(self) -> Result<NewFloatingIp, Refusal> {
        let Self {
            project_id,
            tenant_id,
            floating_network_id,
            floating_ip_address,
            subnet_id,
            port_id,
            fixed_ip_address,
            description,
            dns_name,
            dns_domain,
            qos_policy_id,
            tags,
        } = self;
        check_enforced(qos_policy_id, &[&dns_name, &dns_domain])?;
        Ok(NewFloatingIp {
            project_id: kit::project(project_id, tenant_id)?,
            description: kit::text("description", description)?.unwrap_or_default(),
            network_id: floating_network_id,
            subnet_id,
            address: floating_ip_address,
            port_id,
            fixed_address: fixed_ip_address,
            tags,
        })
    }
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let asked = creates::<CreateFloatingIp>(body, "floatingip", "floatingips")?;
    let new = asked
        .items
        .into_iter()
        .map(CreateFloatingIp::checked)
        .collect::<Result<_, _>>()?;
    let made = floating_ip::create(&app.cx, &actor, new).await?;
    let views = made.iter().map(view).collect();
    Ok(created(views, asked.is_bulk, "floatingip", "floatingips"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateFloatingIp {
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::nullable")]
    port_id: Option<Option<PortId>>,
    fixed_ip_address: Option<IpAddr>,
    qos_policy_id: Option<QosPolicyId>,
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<FloatingIp, FloatingIpId>(&id)?;
    let UpdateFloatingIp {
        description,
        port_id,
        fixed_ip_address,
        qos_policy_id,
    } = kit::only(body, "floatingip")?;
    check_enforced(qos_policy_id, &[])?;
    // A floating IP had nothing but its port once: a change of nothing still takes that away.
    let is_blank = description.is_none() && fixed_ip_address.is_none() && port_id.is_none();
    let port_id = port_id.or(is_blank.then_some(None));
    let change = FloatingIpChange {
        description: kit::text("description", description)?,
        port_id,
        fixed_address: fixed_ip_address,
    };
    let shown = floating_ip::update(&app.cx, &actor, id, change).await?;
    Ok(Json(json!({"floatingip": view(&shown)})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = kit::id_of::<FloatingIp, FloatingIpId>(&id)?;
    floating_ip::delete(&app.cx, &actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
