//! `/ports`.

use super::kit::{self, Collection, created, creates, narrow, with_standard};
use super::trunks;
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
use corten_model::ids::{NetworkId, PortId, ProjectId, QosPolicyId, SecurityGroupId, SubnetId};
use corten_model::refusal::Refusal;
use corten_operations::network::dns;
use corten_operations::network::ipam::Wanted;
use corten_operations::network::port::{self, NewPort, PortChange};
use corten_operations::network::trunk;
use corten_store::Failure;
use corten_store::network::port::{AllowedPair, DhcpOption, Port};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/ports", get(index).post(create))
        .route("/ports/{id}", get(show).put(update).delete(delete))
}

const PORTS: Collection<'static> = Collection {
    one: "port",
    many: "ports",
    heeded: &["fixed_ips", "security_groups"],
    fields: &[
        "id",
        "name",
        "project_id",
        "tenant_id",
        "description",
        "network_id",
        "mac_address",
        "admin_state_up",
        "status",
        "device_id",
        "device_owner",
        "port_security_enabled",
        "dns_name",
        "qos_policy_id",
        "binding:host_id",
        "binding:vnic_type",
        "binding:vif_type",
        "revision_number",
        "created_at",
        "updated_at",
    ],
};

/// A port as its owner sees it; where it is plugged in is the operator's business.
fn view(port: &Port, domain: &str, shows_binding: bool) -> Value {
    let pairs = port.allowed_pairs.iter().map(|pair| {
        let mac = pair.mac_address.as_ref().unwrap_or(&port.mac_address);
        json!({"ip_address": shortest(pair.ip_address), "mac_address": mac})
    });
    let options = port.dhcp_options.iter().map(|option| {
        json!({
            "opt_name": option.name,
            "opt_value": option.value,
            "ip_version": option.ip_version,
        })
    });
    let names = dns::assignments(domain, port).into_iter().map(|name| {
        let fqdn = format!("{}.", name.fqdn);
        json!({"ip_address": name.address, "hostname": name.hostname, "fqdn": fqdn})
    });
    let mut view = json!({
        "id": port.id,
        "network_id": port.network_id,
        "mac_address": port.mac_address,
        "fixed_ips": port.addresses,
        "admin_state_up": port.enabled,
        "status": if port.up && port.enabled { "ACTIVE" } else { "DOWN" },
        "device_id": port.device_id,
        "device_owner": port.device_owner,
        "security_groups": port.security_groups,
        "port_security_enabled": port.port_security,
        "allowed_address_pairs": pairs.collect::<Vec<_>>(),
        "extra_dhcp_opts": options.collect::<Vec<_>>(),
        "dns_name": port.dns_name,
        "dns_assignment": names.collect::<Vec<_>>(),
        "qos_policy_id": port.qos_policy_id,
        "resource_request": null,
        "propagate_uplink_status": true,
        "ip_allocation": if port.addresses.is_empty() { "none" } else { "immediate" },
        "binding:vnic_type": port.binding.vnic_type,
    });
    if shows_binding {
        let host = &port.binding.host;
        let is_bound = !host.is_empty();
        view["binding:host_id"] = json!(host);
        view["binding:profile"] = json!(port.binding.profile);
        view["binding:vif_type"] = json!(if is_bound { "ovs" } else { "unbound" });
        view["binding:vif_details"] = if is_bound {
            json!({"port_filter": true, "connectivity": "l2", "bound_drivers": {"0": "ovn"}})
        } else {
            json!({})
        };
    }
    with_standard(view, &port.standard)
}

/// [`view`]s with what parents of trunks say of them.
async fn views(app: &App, actor: &Actor, ports: &[Port]) -> Result<Vec<Value>, Failure> {
    let shows_binding = port::sees_binding(&app.cx, actor);
    let trunks = trunk::of_ports(&app.cx, ports).await?;
    let domains = dns::domains(&app.cx, ports).await?;
    let views = ports.iter().map(|port| {
        let domain = domains.get(&port.network_id).map_or("", String::as_str);
        let mut view = view(port, domain, shows_binding);
        if let Some((trunk, macs)) = trunks.get(&port.id) {
            view["trunk_details"] = trunks::details(trunk, macs);
        }
        view
    });
    Ok(views.collect())
}

/// An address alone is written without its prefix length, as it was sent.
fn shortest(range: IpNet) -> String {
    if range.prefix_len() == range.max_prefix_len() {
        range.addr().to_string()
    } else {
        range.to_string()
    }
}

/// `fixed_ips=ip_address=10.0.0.3` and `fixed_ips=subnet_id=…`: a port passes that has one of each kind.
fn has_addresses(port: &Port, params: &Params) -> Result<bool, Refusal> {
    let (mut subnets, mut addresses, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for filter in params.all("fixed_ips") {
        match filter.split_once('=') {
            Some(("subnet_id", id)) => subnets.push(id),
            Some(("ip_address", ip)) => addresses.push(ip),
            Some(("ip_address_substr", part)) => parts.push(part),
            _ => {
                return Err(Refusal::invalid(format!(
                    "['fixed_ips={filter}' is no filter: it is subnet_id=ID, ip_address=ADDRESS or \
                     ip_address_substr=TEXT]"
                )));
            }
        }
    }
    let any = |wanted: &[&str], fits: &dyn Fn(&str) -> bool| {
        wanted.is_empty() || wanted.iter().any(|wanted| fits(wanted))
    };
    Ok(any(&subnets, &|id| {
        port.addresses
            .iter()
            .any(|fixed| fixed.subnet_id.to_string() == id)
    }) && any(&addresses, &|ip| {
        let ip: Option<IpAddr> = ip.parse().ok();
        port.addresses
            .iter()
            .any(|fixed| Some(fixed.ip_address) == ip)
    }) && any(&parts, &|part| {
        port.addresses
            .iter()
            .any(|fixed| fixed.ip_address.to_string().contains(part))
    }))
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
        ("mac_address", "mac_address"),
        ("device_id", "device_id"),
        ("device_owner", "device_owner"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
    ];
    let mut found = port::list(&app.cx, &actor, narrow(&params, &columns)).await?;
    let mut kept = Vec::new();
    let groups = params.all("security_groups");
    for port in found.drain(..) {
        let is_in = |group: &&str| {
            port.security_groups
                .iter()
                .any(|id| id.to_string() == **group)
        };
        if has_addresses(&port, &params)? && (groups.is_empty() || groups.iter().any(is_in)) {
            kept.push(port);
        }
    }
    let views = views(&app, &actor, &kept).await?;
    Ok(PORTS.answer(&params, &base, views)?)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let id = kit::id_of::<Port, PortId>(&id)?;
    let found = port::show(&app.cx, &actor, id).await?;
    let mut views = views(&app, &actor, &[found]).await?;
    Ok(PORTS.show(&params, views.pop().unwrap_or_default()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FixedIp {
    subnet_id: Option<SubnetId>,
    ip_address: Option<IpAddr>,
}

fn wanted(list: Vec<FixedIp>) -> Result<Vec<Wanted>, Refusal> {
    let wanted: Vec<Wanted> = list
        .into_iter()
        .map(|fixed| Wanted {
            subnet_id: fixed.subnet_id,
            ip_address: fixed.ip_address,
        })
        .collect();
    let mut seen = BTreeSet::new();
    match wanted
        .iter()
        .filter_map(|wanted| wanted.ip_address)
        .find(|ip| !seen.insert(*ip))
    {
        None => Ok(wanted),
        Some(twice) => Err(Refusal::invalid(format!(
            "Invalid input for fixed_ips. Reason: Duplicate IP address '{twice}'."
        ))),
    }
}

/// The groups of a port, none twice.
fn groups(list: Vec<SecurityGroupId>) -> Result<BTreeSet<SecurityGroupId>, Refusal> {
    let mut groups = BTreeSet::new();
    for id in list {
        if !groups.insert(id) {
            return Err(Refusal::invalid(format!(
                "Invalid input for security_groups. Reason: Duplicate items in the list: '{id}'."
            )));
        }
    }
    Ok(groups)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    ip_address: String,
    mac_address: Option<String>,
}

fn pairs(list: Vec<Pair>) -> Result<Vec<AllowedPair>, Refusal> {
    let pair = |pair: Pair| {
        Ok(AllowedPair {
            mac_address: pair.mac_address.map(|mac| mac.to_ascii_lowercase()),
            ip_address: kit::range("allowed_address_pairs", &pair.ip_address)?,
        })
    };
    list.into_iter().map(pair).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DhcpOpt {
    opt_name: String,
    opt_value: Option<String>,
    #[serde(default, deserialize_with = "kit::number")]
    ip_version: Option<i64>,
}

/// Options of a new port; one without a value is none.
fn dhcp_options(list: Vec<DhcpOpt>) -> Result<Vec<DhcpOption>, Refusal> {
    let mut options = Vec::new();
    for DhcpOpt {
        opt_name,
        opt_value,
        ip_version,
    } in list
    {
        let ip_version = match ip_version {
            None | Some(4) => 4,
            Some(6) => 6,
            Some(other) => {
                return Err(Refusal::invalid(format!(
                    "Invalid input for extra_dhcp_opts. Reason: '{other}' is not in [4, 6]."
                )));
            }
        };
        options.extend(opt_value.map(|value| DhcpOption {
            name: opt_name,
            value,
            ip_version,
        }));
    }
    Ok(options)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreatePort {
    project_id: Option<ProjectId>,
    tenant_id: Option<ProjectId>,
    network_id: NetworkId,
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    admin_state_up: Option<bool>,
    mac_address: Option<String>,
    fixed_ips: Option<Vec<FixedIp>>,
    device_id: Option<String>,
    device_owner: Option<String>,
    security_groups: Option<Vec<SecurityGroupId>>,
    #[serde(default, deserialize_with = "kit::truth")]
    port_security_enabled: Option<bool>,
    #[serde(default, deserialize_with = "kit::list_or_null")]
    allowed_address_pairs: Option<Vec<Pair>>,
    #[serde(default, deserialize_with = "kit::list_or_null")]
    extra_dhcp_opts: Option<Vec<DhcpOpt>>,
    dns_name: Option<String>,
    qos_policy_id: Option<QosPolicyId>,
    #[serde(rename = "binding:host_id")]
    host_id: Option<String>,
    #[serde(rename = "binding:vnic_type")]
    vnic_type: Option<String>,
    #[serde(rename = "binding:profile")]
    profile: Option<Map<String, Value>>,
    #[serde(default)]
    tags: BTreeSet<String>,
}

impl CreatePort {
    fn checked(self) -> Result<NewPort, Refusal> {
        let Self {
            project_id,
            tenant_id,
            network_id,
            name,
            description,
            admin_state_up,
            mac_address,
            fixed_ips,
            device_id,
            device_owner,
            security_groups,
            port_security_enabled,
            allowed_address_pairs,
            extra_dhcp_opts,
            dns_name,
            qos_policy_id,
            host_id,
            vnic_type,
            profile,
            tags,
        } = self;
        Ok(NewPort {
            id: None,
            project_id: kit::project(project_id, tenant_id)?,
            network_id,
            name: kit::text("name", name)?.unwrap_or_default(),
            description: kit::text("description", description)?.unwrap_or_default(),
            enabled: admin_state_up.unwrap_or(true),
            mac_address,
            addresses: fixed_ips.map(wanted).transpose()?,
            device_id: kit::text("device_id", device_id)?.unwrap_or_default(),
            device_owner: kit::text("device_owner", device_owner)?.unwrap_or_default(),
            security_groups: security_groups.map(groups).transpose()?,
            port_security: port_security_enabled,
            allowed_pairs: pairs(allowed_address_pairs.unwrap_or_default())?,
            dhcp_options: dhcp_options(extra_dhcp_opts.unwrap_or_default())?,
            dns_name: dns_name.unwrap_or_default(),
            qos_policy_id,
            host: host_id,
            vnic_type,
            profile,
            tags,
        })
    }
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let asked = creates::<CreatePort>(body, "port", "ports")?;
    let new = asked
        .items
        .into_iter()
        .map(CreatePort::checked)
        .collect::<Result<_, _>>()?;
    let made = port::create(&app.cx, &actor, new).await?;
    let views = views(&app, &actor, &made).await?;
    Ok(created(views, asked.is_bulk, "port", "ports"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdatePort {
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    admin_state_up: Option<bool>,
    mac_address: Option<String>,
    fixed_ips: Option<Vec<FixedIp>>,
    device_id: Option<String>,
    device_owner: Option<String>,
    security_groups: Option<Vec<SecurityGroupId>>,
    #[serde(default, deserialize_with = "kit::truth")]
    port_security_enabled: Option<bool>,
    #[serde(default, deserialize_with = "kit::list_or_null")]
    allowed_address_pairs: Option<Vec<Pair>>,
    #[serde(default, deserialize_with = "kit::list_or_null")]
    extra_dhcp_opts: Option<Vec<DhcpOpt>>,
    dns_name: Option<String>,
    #[serde(default, deserialize_with = "kit::nullable")]
    qos_policy_id: Option<Option<QosPolicyId>>,
    #[serde(
        default,
        rename = "binding:host_id",
        deserialize_with = "kit::nullable"
    )]
    host_id: Option<Option<String>>,
    #[serde(rename = "binding:vnic_type")]
    vnic_type: Option<String>,
    #[serde(
        default,
        rename = "binding:profile",
        deserialize_with = "kit::nullable"
    )]
    profile: Option<Option<Map<String, Value>>>,
}

impl UpdatePort {
    fn checked(self) -> Result<PortChange, Refusal> {
        let Self {
            name,
            description,
            admin_state_up,
            mac_address,
            fixed_ips,
            device_id,
            device_owner,
            security_groups,
            port_security_enabled,
            allowed_address_pairs,
            extra_dhcp_opts,
            dns_name,
            qos_policy_id,
            host_id,
            vnic_type,
            profile,
        } = self;
        Ok(PortChange {
            name: kit::text("name", name)?,
            description: kit::text("description", description)?,
            enabled: admin_state_up,
            mac_address,
            addresses: fixed_ips.map(wanted).transpose()?,
            device_id: kit::text("device_id", device_id)?,
            device_owner: kit::text("device_owner", device_owner)?,
            security_groups: security_groups.map(groups).transpose()?,
            port_security: port_security_enabled,
            allowed_pairs: allowed_address_pairs.map(pairs).transpose()?,
            dhcp_options: extra_dhcp_opts.map(dhcp_options).transpose()?,
            dns_name,
            qos_policy_id,
            host: host_id.map(Option::unwrap_or_default),
            vnic_type,
            profile: profile.map(Option::unwrap_or_default),
        })
    }
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<Port, PortId>(&id)?;
    let change = kit::only::<UpdatePort>(body, "port")?.checked()?;
    let port = port::update(&app.cx, &actor, id, change).await?;
    let mut views = views(&app, &actor, &[port]).await?;
    Ok(Json(json!({"port": views.pop()})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = kit::id_of::<Port, PortId>(&id)?;
    port::delete(&app.cx, &actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
