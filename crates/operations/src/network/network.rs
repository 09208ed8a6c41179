//! Networks: making, changing and removing them.

use super::access::{self, Lendable, Narrow, list as visible, lock, missing, owner};
use super::domain_name::is_name;
use super::rbac_policy::{self, EXTERNAL, SHARED, is_everyones};
use super::segment::{self, Provider};
use super::{commit, floating_ip, invalid_input, port_removal, qos_policy, quota, subnet_check};
use crate::context::Context;
use async_trait::async_trait;
use corten_iam::action::network::{NETWORKS_OPERATE, NETWORKS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{AddressScopeId, NetworkId, ProjectId, QosPolicyId};
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::floating_ip::FloatingIp;
use corten_store::network::network::{Network, Segment};
use corten_store::network::port::{self, Port};
use corten_store::network::qos_policy::QosPolicy;
use corten_store::network::rbac_policy::RbacPolicy;
use corten_store::network::router::Router;
use corten_store::network::subnet::{self, Subnet};
use corten_store::network::subnet_pool::SubnetPool;
use corten_store::network::{Standard, network, port_forwarding};
use corten_store::{Error, Failure, Query, Tx, record};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The port of a network that serves its guests metadata and names. It comes and goes with the network.
pub const SERVICE_OWNER: &str = "network:distributed";
/// The smallest MTU that IPv4 allows, and the largest that a frame can carry.
const MTU: std::ops::RangeInclusive<i64> = 68..=65535;

#[derive(Debug, Clone, Default)]
pub struct NewNetwork {
    pub project_id: Option<ProjectId>,
    pub name: String,
    pub description: String,
    pub enabled: bool,
    pub shared: bool,
    pub external: bool,
    pub is_default: bool,
    pub port_security: bool,
    /// The fabric's own if none is given.
    pub mtu: Option<i64>,
    pub dns_domain: String,
    pub provider: Provider,
    pub qos_policy_id: Option<QosPolicyId>,
    pub zone_hints: Vec<String>,
    pub tags: BTreeSet<String>,
}

#[derive(Debug, Clone, Default)]
pub struct NetworkChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    pub shared: Option<bool>,
    pub external: Option<bool>,
    pub is_default: Option<bool>,
    pub port_security: Option<bool>,
    pub mtu: Option<i64>,
    pub dns_domain: Option<String>,
    pub qos_policy_id: Option<Option<QosPolicyId>>,
}

/// A network with what an answer shows of it.
#[derive(Debug, Clone)]
pub struct Shown {
    pub network: Network,
    pub subnets: Vec<Subnet>,
    /// Whether this actor's project may plug into it although it is another's.
    pub shared: bool,
    /// The address scope of its subnets of each version, through their pool.
    pub ipv4_scope: Option<AddressScopeId>,
    pub ipv6_scope: Option<AddressScopeId>,
}

/// Makes networks, all or none.
pub async fn create(
    cx: &Arc<Context>,
    actor: &Actor,
    new: Vec<NewNetwork>,
) -> Result<Vec<Shown>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut made = Vec::new();
    for new in new {
        made.push(insert(cx, actor, &mut tx, new).await?);
    }
    let units: Vec<_> = made
        .iter()
        .map(|network| Unit::Network(network.id))
        .collect();
    commit(tx, cx, &actor.origin(), &units).await?;
    let mut tx = cx.store.read().await?;
    show_all(&mut tx, actor, made).await
}

pub(super) async fn insert(
    cx: &Arc<Context>,
    actor: &Actor,
    tx: &mut Tx,
    new: NewNetwork,
) -> Result<Network, Failure> {
    let NewNetwork {
        project_id,
        name,
        description,
        enabled,
        shared,
        external,
        is_default,
        port_security,
        mtu,
        dns_domain,
        provider,
        qos_policy_id,
        zone_hints,
        tags,
    } = new;
    let project = owner(cx, actor, project_id, NETWORKS_WRITE)?;
    if shared || external || is_default || !provider.is_empty() {
        cx.policy
            .check(actor, NETWORKS_OPERATE, &Target::project(&project))?;
    }
    quota::check(tx, cx, &project, quota::NETWORK, 1).await?;
    check_zones(cx, &zone_hints)?;
    let qos_policy_id = match qos_policy_id {
        Some(id) => Some(access::get::<QosPolicy>(cx, actor, tx, id).await?.id),
        None => qos_policy::default_of(tx, &project).await?,
    };
    let segment = segment::choose(cx, tx, &provider).await?;
    let network = Network {
        id: NetworkId::random(),
        standard: Standard {
            tags,
            ..Standard::new(project, name, description, cx.now())
        },
        enabled,
        shared,
        external,
        is_default,
        port_security,
        mtu: checked_mtu(cx, mtu, &segment)?,
        dns_domain: checked_domain(dns_domain)?,
        segment,
        qos_policy_id,
        zone_hints,
        vlan_transparent: false,
    };
    check_default(tx, &network).await?;
    record::insert(tx, &network)
        .await
        .map_err(|error| match error {
            Error::Exists { .. } => taken(&network.segment).into(),
            other => Failure::from(other),
        })?;
    rbac_policy::set_everyone(tx, &network, SHARED, shared).await?;
    set_external(tx, &network, external).await?;
    Ok(network)
}

fn taken(segment: &Segment) -> Refusal {
    match segment {
        Segment::Vlan {
            physical_network,
            id,
        } => Refusal::conflict(format!(
            "Unable to create the network. The VLAN {id} on physical network {physical_network} is in use."
        ))
        .named("VlanIdInUse"),
        Segment::Flat { physical_network } => Refusal::conflict(format!(
            "Unable to create the flat network. Physical network {physical_network} is in use."
        ))
        .named("FlatNetworkInUse"),
        Segment::Geneve { id } => Refusal::conflict(format!("Segment {id} is in use.")),
    }
}

fn checked_mtu(cx: &Context, wanted: Option<i64>, segment: &Segment) -> Result<u16, Refusal> {
    let own = match segment {
        Segment::Geneve { .. } => cx.settings.network.mtu,
        Segment::Flat { .. } | Segment::Vlan { .. } => cx.settings.network.physical_mtu,
    };
    // Neutron's "no wish".
    let Some(wanted) = wanted.filter(|mtu| *mtu != 0) else {
        return Ok(own);
    };
    if !MTU.contains(&wanted) {
        return Err(invalid_input(format!(
            "Invalid MTU {wanted}: it is {} to {}",
            MTU.start(),
            MTU.end()
        )));
    }
    match u16::try_from(wanted) {
        Ok(mtu) if mtu <= own => Ok(mtu),
        _ => Err(invalid_input(format!(
            "Requested MTU is too big, maximum is {own}"
        ))),
    }
}

fn checked_domain(domain: String) -> Result<String, Refusal> {
    if domain.is_empty() || (domain.len() <= 255 && is_name(&domain)) {
        return Ok(domain);
    }
    Err(invalid_input(format!(
        "'{domain}' not a valid PQDN or FQDN: labels of 1 to 63 letters, digits and '-', joined by dots"
    )))
}

/// Zones that were named must exist: networks reach every one of them.
pub(super) fn check_zones(cx: &Context, hints: &[String]) -> Result<(), Refusal> {
    let known = &cx.settings.compute.default_availability_zone;
    match hints.iter().find(|hint| *hint != known) {
        None => Ok(()),
        Some(hint) => Err(Refusal::not_found(format!(
            "AvailabilityZone {hint} could not be found. Networks have the zone {known}."
        ))
        .named("AvailabilityZoneNotFound")),
    }
}

/// One external network is the one that routers take by default.
async fn check_default(tx: &mut Tx, network: &Network) -> Result<(), Failure> {
    if !network.is_default {
        return Ok(());
    }
    if !network.external {
        return Err(invalid_input("Only an external network can be the default").into());
    }
    let external: Vec<Network> = Query::new().equals("external", true).all(tx).await?;
    let other = external
        .iter()
        .find(|other| other.is_default && other.id != network.id);
    match other {
        None => Ok(()),
        Some(other) => Err(Refusal::conflict(format!(
            "A default external network already exists: {}.",
            other.id
        ))
        .named("DefaultExternalNetworkExists")
        .into()),
    }
}

#[async_trait]
impl Lendable for Network {
    const OBJECT_TYPE: &'static str = "network";

    fn follow(&mut self, grants: &[RbacPolicy]) {
        self.shared = is_everyones(grants, SHARED);
        self.external = grants.iter().any(|grant| grant.action == EXTERNAL);
        self.is_default &= self.external;
    }

    /// Who has ports on it, or routers and floating IPs that go out through it.
    async fn users(&self, tx: &mut Tx, action: &str) -> Result<BTreeSet<ProjectId>, Failure> {
        if action == SHARED {
            let ports = port::of_network(tx, self.id).await?;
            return Ok(ports
                .into_iter()
                .filter(|port| !port.device_owner.starts_with("network:"))
                .map(|port| port.standard.project_id)
                .collect());
        }
        let routers: Vec<Router> = Query::new().all(tx).await?;
        let leads_here = |router: &Router| {
            let gateway = router.gateway.as_ref();
            gateway.is_some_and(|gateway| gateway.network_id == self.id)
        };
        let out = routers.into_iter().filter(leads_here);
        let floating: Vec<FloatingIp> = Query::new().equals("network_id", &self.id).all(tx).await?;
        Ok(out
            .map(|router| router.standard.project_id)
            .chain(floating.into_iter().map(|ip| ip.standard.project_id))
            .collect())
    }
}

/// Makes a network everyone's way out, or nobody's: then those to whom it was lent alone lose it, too.
async fn set_external(tx: &mut Tx, network: &Network, external: bool) -> Result<(), Failure> {
    if external {
        return rbac_policy::set_everyone(tx, network, EXTERNAL, true).await;
    }
    Query::<RbacPolicy>::new()
        .equals("object_type", Network::OBJECT_TYPE)
        .equals("object_id", &network.id)
        .equals("action", EXTERNAL)
        .delete(tx)
        .await?;
    Ok(())
}

async fn show_all(
    tx: &mut Tx,
    actor: &Actor,
    networks: Vec<Network>,
) -> Result<Vec<Shown>, Failure> {
    let ids = networks.iter().map(|network| network.id.to_string());
    let mut subnets: Vec<Subnet> = Query::new().any_of("network_id", ids).all(tx).await?;
    subnets.sort_by_key(|subnet| (subnet.standard.created_at, subnet.id));
    let pools = subnets.iter().filter_map(|subnet| subnet.subnet_pool_id);
    let pools: BTreeSet<String> = pools.map(|id| id.to_string()).collect();
    let pools: Vec<SubnetPool> = Query::new().any_of("id", pools).all(tx).await?;
    let networks = rbac_policy::shown(tx, actor, networks).await?;
    let shown = networks.into_iter().map(|lent| {
        let own = subnets
            .iter()
            .filter(|subnet| subnet.network_id == lent.resource.id);
        let subnets: Vec<Subnet> = own.cloned().collect();
        let scope = |ip_version: u8| {
            pools
                .iter()
                .filter(|pool| pool.ip_version() == ip_version)
                .filter(|pool| {
                    subnets
                        .iter()
                        .any(|subnet| subnet.subnet_pool_id == Some(pool.id))
                })
                .find_map(|pool| pool.address_scope_id)
        };
        Shown {
            ipv4_scope: scope(4),
            ipv6_scope: scope(6),
            subnets,
            shared: lent.shared,
            network: lent.resource,
        }
    });
    Ok(shown.collect())
}

/// Whether an actor is shown how networks travel.
pub fn sees_segments(cx: &Context, actor: &Actor) -> bool {
    access::sees_all(cx, actor)
}

/// The networks that the actor sees.
pub async fn list(cx: &Context, actor: &Actor, narrow: Narrow) -> Result<Vec<Shown>, Failure> {
    let mut tx = cx.store.read().await?;
    let found = visible::<Network>(cx, actor, &mut tx, narrow).await?;
    show_all(&mut tx, actor, found).await
}

pub async fn show(cx: &Context, actor: &Actor, id: NetworkId) -> Result<Shown, Failure> {
    let mut tx = cx.store.read().await?;
    let network = access::get::<Network>(cx, actor, &mut tx, id).await?;
    let mut shown = show_all(&mut tx, actor, vec![network]).await?;
    Ok(shown.pop().ok_or_else(|| missing::<Network>(id))?)
}

pub async fn update(
    cx: &Arc<Context>,
    actor: &Actor,
    id: NetworkId,
    change: NetworkChange,
) -> Result<Shown, Failure> {
    let mut tx = cx.store.write().await?;
    let mut network = lock::<Network>(cx, actor, &mut tx, id).await?;
    let before = network.clone();
    let NetworkChange {
        name,
        description,
        enabled,
        shared,
        external,
        is_default,
        port_security,
        mtu,
        dns_domain,
        qos_policy_id,
    } = change;
    if shared.is_some() || external.is_some() || is_default.is_some() {
        let target = Target::project(&network.standard.project_id);
        cx.policy.check(actor, NETWORKS_OPERATE, &target)?;
    }
    if shared == Some(false) && network.shared {
        check_nobody_else(&mut tx, &network).await?;
    }
    if external == Some(false) && network.external {
        check_no_gateway(&mut tx, &network).await?;
    }
    qos_policy::check_change(cx, actor, &mut tx, network.qos_policy_id, qos_policy_id).await?;
    let standard = &mut network.standard;
    standard.name = name.unwrap_or(std::mem::take(&mut standard.name));
    standard.description = description.unwrap_or(std::mem::take(&mut standard.description));
    network.enabled = enabled.unwrap_or(network.enabled);
    network.shared = shared.unwrap_or(network.shared);
    network.external = external.unwrap_or(network.external);
    network.is_default = is_default.unwrap_or(network.is_default) && network.external;
    network.port_security = port_security.unwrap_or(network.port_security);
    if mtu.is_some() {
        network.mtu = checked_mtu(cx, mtu, &network.segment)?;
        for subnet in subnet::of_network(&mut tx, id).await? {
            subnet_check::mtu(&subnet, network.mtu)?;
        }
    }
    if let Some(domain) = dns_domain {
        network.dns_domain = checked_domain(domain)?;
    }
    network.qos_policy_id = qos_policy_id.unwrap_or(network.qos_policy_id);
    check_default(&mut tx, &network).await?;
    network.standard.touch(cx.now());
    record::update(&mut tx, &network).await?;
    if network.shared != before.shared {
        rbac_policy::set_everyone(&mut tx, &network, SHARED, network.shared).await?;
    }
    if network.external != before.external {
        set_external(&mut tx, &network, network.external).await?;
    }
    let mut units = vec![Unit::Network(id)];
    units.extend(super::subnet::routers_on(&mut tx, id).await?);
    commit(tx, cx, &actor.origin(), &units).await?;
    show(cx, actor, id).await
}

async fn check_nobody_else(tx: &mut Tx, network: &Network) -> Result<(), Failure> {
    let ports = port::of_network(tx, network.id).await?;
    let foreign = ports.iter().any(|port| {
        port.standard.project_id != network.standard.project_id
            && !port.device_owner.starts_with("network:")
    });
    if foreign {
        return Err(Refusal::conflict(format!(
            "Unable to reconfigure sharing settings for network {}. Multiple tenants are using it.",
            network.id
        ))
        .named("InvalidSharedSetting")
        .into());
    }
    Ok(())
}

async fn check_no_gateway(tx: &mut Tx, network: &Network) -> Result<(), Failure> {
    let ports = port::of_network(tx, network.id).await?;
    let used = ports.iter().any(|port| {
        matches!(
            port.device_owner.as_str(),
            corten_store::network::router::GATEWAY | corten_store::network::floating_ip::OWNER
        )
    });
    if used {
        return Err(Refusal::conflict(format!(
            "External network {} cannot be updated to be made non-external, since it has existing gateway ports",
            network.id
        ))
        .named("ExternalNetworkInUse")
        .into());
    }
    Ok(())
}

/// Removes a network with its subnets and the floating IPs that lead nowhere, unless something is plugged into it.
pub async fn delete(cx: &Arc<Context>, actor: &Actor, id: NetworkId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let network = lock::<Network>(cx, actor, &mut tx, id).await?;
    let ports = port::of_network(&mut tx, id).await?;
    let idle = idle_floating_ips(&mut tx, id).await?;
    let keeps = |port: &&Port| {
        port.device_owner != SERVICE_OWNER && !idle.iter().any(|ip| ip.holder_id == port.id)
    };
    if let Some(port) = ports.iter().find(keeps) {
        return Err(Refusal::conflict(format!(
            "Unable to complete operation on network {id}. There are one or more ports still in use on the network, \
             id for these ports is: {}. {}",
            port.id,
            port_removal::what_to_do(port)
        ))
        .named("NetworkInUse")
        .into());
    }
    for ip in idle {
        let why = "its network was removed";
        floating_ip::release(cx, &mut tx, &actor.origin(), &ip, why).await?;
    }
    for port in ports {
        record::delete::<Port>(&mut tx, port.id).await?;
    }
    for subnet in subnet::of_network(&mut tx, id).await? {
        record::delete::<Subnet>(&mut tx, subnet.id).await?;
    }
    rbac_policy::forget(&mut tx, &network).await?;
    record::delete::<network::Network>(&mut tx, network.id).await?;
    commit(tx, cx, &actor.origin(), &[Unit::Network(id)]).await
}

async fn idle_floating_ips(tx: &mut Tx, id: NetworkId) -> Result<Vec<FloatingIp>, Failure> {
    let all: Vec<FloatingIp> = Query::new().equals("network_id", &id).all(tx).await?;
    let mut idle = Vec::new();
    for ip in all {
        let forwards = port_forwarding::of_floating_ip(tx, ip.id).await?;
        if ip.target.is_none() && forwards.is_empty() {
            idle.push(ip);
        }
    }
    Ok(idle)
}
