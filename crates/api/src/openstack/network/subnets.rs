//! `/subnets`.

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
use corten_iam::actor::Actor;
use corten_model::ids::{NetworkId, ProjectId, SubnetId, SubnetPoolId};
use corten_model::refusal::Refusal;
use corten_operations::network::Narrow;
use corten_operations::network::network;
use corten_operations::network::subnet::{self, NewSubnet, SubnetChange};
use corten_store::Failure;
use corten_store::network::subnet::{Ipv6Mode, Range, Route, Subnet};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/subnets", get(index).post(create))
        .route("/subnets/{id}", get(show).put(update).delete(delete))
}

const SUBNETS: Collection<'static> = Collection {
    one: "subnet",
    many: "subnets",
    heeded: &["shared"],
    fields: &[
        "id",
        "name",
        "project_id",
        "tenant_id",
        "description",
        "network_id",
        "ip_version",
        "cidr",
        "gateway_ip",
        "enable_dhcp",
        "ipv6_ra_mode",
        "ipv6_address_mode",
        "subnetpool_id",
        "segment_id",
        "dns_publish_fixed_ip",
        "revision_number",
        "created_at",
        "updated_at",
    ],
};

fn view(subnet: &Subnet) -> Value {
    let view = json!({
        "id": subnet.id,
        "network_id": subnet.network_id,
        "ip_version": if subnet.cidr.addr().is_ipv4() { 4 } else { 6 },
        "cidr": subnet.cidr,
        "gateway_ip": subnet.gateway,
        "enable_dhcp": subnet.dhcp,
        "allocation_pools": subnet.pools,
        "dns_nameservers": subnet.dns_servers,
        "host_routes": subnet.host_routes,
        "ipv6_ra_mode": subnet.ipv6_ra_mode,
        "ipv6_address_mode": subnet.ipv6_address_mode,
        "subnetpool_id": subnet.subnet_pool_id,
        "segment_id": null,
        "service_types": subnet.service_types,
        "dns_publish_fixed_ip": subnet.dns_publish_fixed_ip,
    });
    with_standard(view, &subnet.standard)
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
        ("network_id", "network_id"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
    ];
    let mut found = subnet::list(&app.cx, &actor, narrow(&params, &columns)).await?;
    if let Some(wanted) = params.truth("shared")? {
        keep_shared(&app, &actor, &mut found, wanted).await?;
    }
    Ok(SUBNETS.answer(&params, &base, found.iter().map(view).collect())?)
}

/// A subnet is shared as its network is.
async fn keep_shared(
    app: &App,
    actor: &Actor,
    found: &mut Vec<Subnet>,
    wanted: bool,
) -> Result<(), Failure> {
    let ids = found.iter().map(|subnet| subnet.network_id.to_string());
    let narrow = Narrow(vec![("id", ids.collect())]);
    let networks = network::list(&app.cx, actor, narrow).await?;
    let shared: BTreeSet<NetworkId> = networks
        .iter()
        .filter(|shown| shown.shared)
        .map(|shown| shown.network.id)
        .collect();
    found.retain(|subnet| shared.contains(&subnet.network_id) == wanted);
    Ok(())
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let id = kit::id_of::<Subnet, SubnetId>(&id)?;
    let found = subnet::show(&app.cx, &actor, id).await?;
    Ok(SUBNETS.show(&params, view(&found)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateSubnet {
    project_id: Option<ProjectId>,
    tenant_id: Option<ProjectId>,
    network_id: NetworkId,
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::number")]
    ip_version: Option<i64>,
    cidr: Option<String>,
    subnetpool_id: Option<SubnetPoolId>,
    #[serde(default, deserialize_with = "kit::truth")]
    use_default_subnetpool: Option<bool>,
    #[serde(default, deserialize_with = "kit::number")]
    prefixlen: Option<i64>,
    #[serde(default, deserialize_with = "kit::nullable")]
    gateway_ip: Option<Option<IpAddr>>,
    #[serde(default, deserialize_with = "kit::truth")]
    enable_dhcp: Option<bool>,
    allocation_pools: Option<Vec<Range>>,
    #[serde(default, deserialize_with = "kit::list_or_null")]
    dns_nameservers: Option<Vec<IpAddr>>,
    #[serde(default, deserialize_with = "kit::list_or_null")]
    host_routes: Option<Vec<Route>>,
    ipv6_ra_mode: Option<Ipv6Mode>,
    ipv6_address_mode: Option<Ipv6Mode>,
    #[serde(default)]
    service_types: Vec<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    dns_publish_fixed_ip: Option<bool>,
    #[serde(default)]
    tags: BTreeSet<String>,
}

impl CreateSubnet {
    fn checked(self) -> Result<NewSubnet, Refusal> {
        let Self {
            project_id,
            tenant_id,
            network_id,
            name,
            description,
            ip_version,
            cidr,
            subnetpool_id,
            use_default_subnetpool,
            prefixlen,
            gateway_ip,
            enable_dhcp,
            allocation_pools,
            dns_nameservers,
            host_routes,
            ipv6_ra_mode,
            ipv6_address_mode,
            service_types,
            dns_publish_fixed_ip,
            tags,
        } = self;
        let ip_version = kit::ip_version(ip_version)?;
        let prefix_len = match prefixlen.map(u8::try_from) {
            None => None,
            Some(Ok(length)) if length <= if ip_version == 4 { 32 } else { 128 } => Some(length),
            Some(_) => {
                return Err(Refusal::invalid(
                    "Invalid input for prefixlen. Reason: it is longer than an address.",
                ));
            }
        };
        Ok(NewSubnet {
            project_id: kit::project(project_id, tenant_id)?,
            network_id,
            name: kit::text("name", name)?.unwrap_or_default(),
            description: kit::text("description", description)?.unwrap_or_default(),
            ip_version,
            cidr: cidr.map(|text| kit::range("cidr", &text)).transpose()?,
            subnet_pool_id: subnetpool_id,
            use_default_pool: use_default_subnetpool.unwrap_or(false),
            prefix_len,
            gateway: gateway_ip,
            dhcp: enable_dhcp.unwrap_or(true),
            pools: allocation_pools,
            dns_servers: dns_nameservers.unwrap_or_default(),
            host_routes: host_routes.unwrap_or_default(),
            ipv6_ra_mode,
            ipv6_address_mode,
            service_types,
            dns_publish_fixed_ip: dns_publish_fixed_ip.unwrap_or(false),
            tags,
        })
    }
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let asked = creates::<CreateSubnet>(body, "subnet", "subnets")?;
    let new = asked
        .items
        .into_iter()
        .map(CreateSubnet::checked)
        .collect::<Result<_, _>>()?;
    let made = subnet::create(&app.cx, &actor, new).await?;
    let views = made.iter().map(view).collect();
    Ok(created(views, asked.is_bulk, "subnet", "subnets"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateSubnet {
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::nullable")]
    gateway_ip: Option<Option<IpAddr>>,
    #[serde(default, deserialize_with = "kit::truth")]
    enable_dhcp: Option<bool>,
    allocation_pools: Option<Vec<Range>>,
    #[serde(default, deserialize_with = "kit::list_or_null")]
    dns_nameservers: Option<Vec<IpAddr>>,
    #[serde(default, deserialize_with = "kit::list_or_null")]
    host_routes: Option<Vec<Route>>,
    service_types: Option<Vec<String>>,
    #[serde(default, deserialize_with = "kit::truth")]
    dns_publish_fixed_ip: Option<bool>,
}

impl UpdateSubnet {
    fn checked(self) -> Result<SubnetChange, Refusal> {
        let Self {
            name,
            description,
            gateway_ip,
            enable_dhcp,
            allocation_pools,
            dns_nameservers,
            host_routes,
            service_types,
            dns_publish_fixed_ip,
        } = self;
        Ok(SubnetChange {
            name: kit::text("name", name)?,
            description: kit::text("description", description)?,
            gateway: gateway_ip,
            dhcp: enable_dhcp,
            pools: allocation_pools,
            dns_servers: dns_nameservers,
            host_routes,
            service_types,
            dns_publish_fixed_ip,
        })
    }
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<Subnet, SubnetId>(&id)?;
    let change = kit::only::<UpdateSubnet>(body, "subnet")?.checked()?;
    let subnet = subnet::update(&app.cx, &actor, id, change).await?;
    Ok(Json(json!({"subnet": view(&subnet)})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = kit::id_of::<Subnet, SubnetId>(&id)?;
    subnet::delete(&app.cx, &actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
