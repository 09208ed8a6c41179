//! Ports: making, changing and removing them.

use super::access::{self, Narrow, list as visible, lock, owner};
use super::addresses::random_mac;
use super::ipam::{self, Wanted};
use super::network::SERVICE_OWNER;
use super::{
    commit, floating_ip, invalid_input, port_check as check, port_removal, qos_policy, quota,
    security_group,
};
use crate::context::Context;
use corten_iam::action::network::{NETWORKS_OPERATE, NETWORKS_WRITE, PORTS_BIND, PORTS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{NetworkId, PortId, ProjectId, QosPolicyId, SecurityGroupId};
use corten_model::refusal::Refusal;
use corten_network::plan::{Mac, Unit};
use corten_store::network::network::Network;
use corten_store::network::port::{self, AllowedPair, Binding, DhcpOption, Port};
use corten_store::network::qos_policy::QosPolicy;
use corten_store::network::security_group::SecurityGroup;
use corten_store::network::subnet::{self, Subnet};
use corten_store::network::trunk;
use corten_store::network::{Standard, router};
use corten_store::{Error, Failure, Query, Tx, record};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How often another MAC address is drawn when the first is taken.
const MAC_TRIES: usize = 8;

#[derive(Debug, Clone)]
pub struct NewPort {
    /// Chosen beforehand by who may have to look whether it was made; absent for any.
    pub id: Option<PortId>,
    pub project_id: Option<ProjectId>,
    pub network_id: NetworkId,
    pub name: String,
    pub description: String,
    pub enabled: bool,
    pub mac_address: Option<String>,
    /// Absent: one of each family.
    pub addresses: Option<Vec<Wanted>>,
    pub device_id: String,
    pub device_owner: String,
    /// Absent: the project's default group.
    pub security_groups: Option<BTreeSet<SecurityGroupId>>,
    /// Absent: as the network has it.
    pub port_security: Option<bool>,
    pub allowed_pairs: Vec<AllowedPair>,
    pub dhcp_options: Vec<DhcpOption>,
    pub dns_name: String,
    pub qos_policy_id: Option<QosPolicyId>,
    pub host: Option<String>,
    pub vnic_type: Option<String>,
    pub profile: Option<Map<String, Value>>,
    pub tags: BTreeSet<String>,
}

impl NewPort {
    /// A port on a network, with everything as it comes.
    pub fn on(network_id: NetworkId) -> Self {
        Self {
            id: None,
            project_id: None,
            network_id,
            name: String::new(),
            description: String::new(),
            enabled: true,
            mac_address: None,
            addresses: None,
            device_id: String::new(),
            device_owner: String::new(),
            security_groups: None,
            port_security: None,
            allowed_pairs: Vec::new(),
            dhcp_options: Vec::new(),
            dns_name: String::new(),
            qos_policy_id: None,
            host: None,
            vnic_type: None,
            profile: None,
            tags: BTreeSet::new(),
        }
    }

    /// It says where the port is plugged in.
    pub(super) fn binding_asked(&self) -> bool {
        self.host.as_ref().is_some_and(|host| !host.is_empty())
            || self
                .profile
                .as_ref()
                .is_some_and(|profile| !profile.is_empty())
    }
}

#[derive(Debug, Clone, Default)]
pub struct PortChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    pub mac_address: Option<String>,
    pub addresses: Option<Vec<Wanted>>,
    pub device_id: Option<String>,
    pub device_owner: Option<String>,
    pub security_groups: Option<BTreeSet<SecurityGroupId>>,
    pub port_security: Option<bool>,
    pub allowed_pairs: Option<Vec<AllowedPair>>,
    pub dhcp_options: Option<Vec<DhcpOption>>,
    pub dns_name: Option<String>,
    pub qos_policy_id: Option<Option<QosPolicyId>>,
    pub host: Option<String>,
    pub vnic_type: Option<String>,
    pub profile: Option<Map<String, Value>>,
}

/// Makes ports, all or none.
pub async fn create(
    cx: &Arc<Context>,
    actor: &Actor,
    new: Vec<NewPort>,
) -> Result<Vec<Port>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut made = Vec::new();
    for new in new {
        made.push(create_in(cx, actor, &mut tx, new).await?);
    }
    let units: BTreeSet<_> = made
        .iter()
        .map(|port| Unit::Network(port.network_id))
        .collect();
    let units: Vec<_> = units.into_iter().collect();
    commit(tx, cx, &actor.origin(), &units).await?;
    Ok(made)
}

/// Makes a port for an actor, in a transaction that makes more. The caller notes its network.
pub(crate) async fn create_in(
    cx: &Arc<Context>,
    actor: &Actor,
    tx: &mut Tx,
    new: NewPort,
) -> Result<Port, Failure> {
    let project = owner(cx, actor, new.project_id.clone(), PORTS_WRITE)?;
    let network = access::get::<Network>(cx, actor, tx, new.network_id).await?;
    if !access::may_use(cx, actor, tx, &network, &project).await? {
        return Err(Refusal::forbidden(format!(
            "Network {} is another project's and is not shared with project {project}: a port on it needs its \
             owner's RBAC policy, or a shared network.",
            network.id
        ))
        .named("PolicyNotAuthorized")
        .into());
    }
    check::asked(cx, actor, &network, &new)?;
    check::device(tx, &project, &new.device_id, &new.device_owner).await?;
    quota::check(tx, cx, &project, quota::PORT, 1).await?;
    if let Some(groups) = &new.security_groups {
        let mut chosen = Vec::new();
        for group in groups {
            chosen.push(access::get::<SecurityGroup>(cx, actor, tx, group).await?);
        }
        check::one_kind(&chosen)?;
    }
    if let Some(id) = new.qos_policy_id {
        access::get::<QosPolicy>(cx, actor, tx, id).await?;
    }
    insert(cx, tx, &network, project, new).await
}

/// Makes a port that was asked for by who may, or that the cloud itself needs.
pub(crate) async fn insert(
    cx: &Arc<Context>,
    tx: &mut Tx,
    network: &Network,
    project: ProjectId,
    new: NewPort,
) -> Result<Port, Failure> {
    let NewPort {
        id,
        project_id: _,
        network_id: _,
        name,
        description,
        enabled,
        mac_address,
        addresses,
        device_id,
        device_owner,
        security_groups,
        port_security,
        allowed_pairs,
        dhcp_options,
        dns_name,
        qos_policy_id,
        host,
        vnic_type,
        profile,
        tags,
    } = new;
    let is_clouds_own = device_owner.starts_with("network:");
    let port_security = port_security.unwrap_or(network.port_security) && !is_clouds_own;
    let security_groups = match security_groups {
        Some(groups) => groups,
        None if port_security => {
            BTreeSet::from([security_group::default_of(cx, tx, &project).await?])
        }
        None => BTreeSet::new(),
    };
    let vnic_type = vnic_type.unwrap_or_else(|| "normal".to_owned());
    check::vnic_type(&vnic_type)?;
    check::pairs(&allowed_pairs)?;
    check::dhcp_options(&dhcp_options)?;
    check::dns_name(&dns_name)?;
    let mut port = Port {
        id: id.unwrap_or_else(PortId::random),
        standard: Standard {
            tags,
            ..Standard::new(project, name, description, cx.now())
        },
        network_id: network.id,
        mac_address: String::new(),
        addresses: Vec::new(),
        enabled,
        device_id,
        device_owner,
        security_groups,
        port_security,
        allowed_pairs,
        dhcp_options,
        dns_name,
        qos_policy_id,
        binding: Binding {
            host: host.unwrap_or_default(),
            vnic_type,
            profile: profile.unwrap_or_default(),
        },
        up: false,
    };
    check::guarded(&port)?;
    insert_with_mac(tx, &mut port, mac_address.as_deref()).await?;
    port.addresses = ipam::give(tx, &port, addresses.as_deref()).await?;
    record::update(tx, &port).await?;
    Ok(port)
}

/// Its MAC address is the one asked for, or one that nobody on the network has.
async fn insert_with_mac(
    tx: &mut Tx,
    port: &mut Port,
    wanted: Option<&str>,
) -> Result<(), Failure> {
    let wanted = wanted.map(check::mac).transpose()?;
    for _ in 0..MAC_TRIES {
        port.mac_address = wanted.unwrap_or_else(random_mac).to_string();
        match port::insert(tx, port).await {
            Ok(()) => return Ok(()),
            Err(Error::Exists { .. }) if wanted.is_none() => {}
            Err(Error::Exists { .. }) => return Err(mac_taken(port).into()),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::unavailable(format!(
        "Unable to generate unique mac on network {}.",
        port.network_id
    ))
    .named("MacAddressGenerationFailure")
    .into())
}

fn mac_taken(port: &Port) -> Refusal {
    Refusal::conflict(format!(
        "Unable to complete operation for network {}. The mac address {} is in use.",
        port.network_id, port.mac_address
    ))
    .named("MacAddressInUse")
}

/// Whether an actor is shown where ports are plugged in.
pub fn sees_binding(cx: &Context, actor: &Actor) -> bool {
    access::sees_all(cx, actor)
}

/// The ports that the actor sees.
pub async fn list(cx: &Context, actor: &Actor, narrow: Narrow) -> Result<Vec<Port>, Failure> {
    let mut tx = cx.store.read().await?;
    visible(cx, actor, &mut tx, narrow).await
}

pub async fn show(cx: &Context, actor: &Actor, id: PortId) -> Result<Port, Failure> {
    let mut tx = cx.store.read().await?;
    access::get(cx, actor, &mut tx, id).await
}

pub async fn update(
    cx: &Arc<Context>,
    actor: &Actor,
    id: PortId,
    change: PortChange,
) -> Result<Port, Failure> {
    let mut tx = cx.store.write().await?;
    let mut port = lock::<Port>(cx, actor, &mut tx, id).await?;
    check_change(cx, actor, &mut tx, &port, &change).await?;
    let PortChange {
        name,
        description,
        enabled,
        mac_address,
        addresses,
        device_id,
        device_owner,
        security_groups,
        port_security,
        allowed_pairs,
        dhcp_options,
        dns_name,
        qos_policy_id,
        host,
        vnic_type,
        profile,
    } = change;
    let standard = &mut port.standard;
    standard.name = name.unwrap_or(std::mem::take(&mut standard.name));
    standard.description = description.unwrap_or(std::mem::take(&mut standard.description));
    port.enabled = enabled.unwrap_or(port.enabled);
    port.device_id = device_id.unwrap_or(port.device_id);
    port.device_owner = device_owner.unwrap_or(port.device_owner);
    port.security_groups = security_groups.unwrap_or(port.security_groups);
    port.port_security = port_security.unwrap_or(port.port_security);
    port.allowed_pairs = allowed_pairs.unwrap_or(port.allowed_pairs);
    port.dhcp_options = dhcp_options.unwrap_or(port.dhcp_options);
    port.dns_name = dns_name.unwrap_or(port.dns_name);
    port.qos_policy_id = qos_policy_id.unwrap_or(port.qos_policy_id);
    let binding = &mut port.binding;
    binding.host = host.unwrap_or(std::mem::take(&mut binding.host));
    binding.vnic_type = vnic_type.unwrap_or(std::mem::take(&mut binding.vnic_type));
    binding.profile = profile.unwrap_or(std::mem::take(&mut binding.profile));
    if let Some(mac) = mac_address {
        port.mac_address = check::mac(&mac)?.to_string();
    }
    check::vnic_type(&port.binding.vnic_type)?;
    check::pairs(&port.allowed_pairs)?;
    check::dhcp_options(&port.dhcp_options)?;
    check::dns_name(&port.dns_name)?;
    check::guarded(&port)?;
    check::device(
        &mut tx,
        &port.standard.project_id,
        &port.device_id,
        &port.device_owner,
    )
    .await?;
    if let Some(wanted) = addresses {
        port.addresses = ipam::change(&mut tx, &port, &wanted).await?;
    }
    port.standard.touch(cx.now());
    port::update(&mut tx, &port)
        .await
        .map_err(|error| match error {
            Error::Exists { .. } => mac_taken(&port).into(),
            other => Failure::from(other),
        })?;
    let mut units = vec![Unit::Network(port.network_id)];
    units.extend(floating_ip::follow(cx, &mut tx, id, &port.addresses).await?);
    if [router::INTERFACE, router::GATEWAY].contains(&port.device_owner.as_str()) {
        units.extend(port.device_id.parse().ok().map(Unit::Router));
    }
    commit(tx, cx, &actor.origin(), &units).await?;
    Ok(port)
}

async fn check_change(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    port: &Port,
    change: &PortChange,
) -> Result<(), Failure> {
    let network: Network = record::get(tx, port.network_id)
        .await?
        .ok_or_else(|| access::missing::<Network>(port.network_id))?;
    let chooses_address = change.addresses.iter().flatten().any(|wanted| {
        let is_held = |ip| port.addresses.iter().any(|fixed| fixed.ip_address == ip);
        wanted.ip_address.is_some_and(|ip| !is_held(ip))
    });
    let is_owners_choice = change.mac_address.is_some()
        || chooses_address
        || change.port_security == Some(false)
        || change.allowed_pairs.iter().any(|pairs| !pairs.is_empty())
        || change
            .device_owner
            .as_ref()
            .is_some_and(|owner| owner.starts_with("network:") && *owner != port.device_owner);
    if is_owners_choice {
        let owner = Target::project(&network.standard.project_id);
        cx.policy.check(actor, NETWORKS_WRITE, &owner)?;
    }
    if change.host.is_some() || change.profile.is_some() {
        cx.policy.check(actor, PORTS_BIND, &Target::cloud())?;
    }
    check::moves(port, change)?;
    if change
        .device_owner
        .as_ref()
        .is_some_and(|owner| *owner != port.device_owner && check::is_clouds_word(owner))
    {
        cx.policy.check(actor, NETWORKS_OPERATE, &Target::cloud())?;
    }
    let changes_owner = |owner: &String| *owner != port.device_owner;
    if port.device_owner == trunk::SUB_PORT_OWNER
        && change.device_owner.as_ref().is_some_and(changes_owner)
    {
        return Err(super::trunk::is_sub_port(tx, port.id).await?.into());
    }
    let is_bound = !port.binding.host.is_empty() && !port.device_id.is_empty();
    if change.mac_address.is_some() && is_bound {
        return Err(Refusal::conflict(format!(
            "Unable to complete operation on port {}, port is already bound to host {}: its MAC address stays.",
            port.id, port.binding.host
        ))
        .named("PortBound")
        .into());
    }
    let mut chosen = Vec::new();
    for group in change.security_groups.iter().flatten() {
        chosen.extend(if port.security_groups.contains(group) {
            record::get::<SecurityGroup>(tx, group).await?
        } else {
            Some(access::get::<SecurityGroup>(cx, actor, tx, group).await?)
        });
    }
    check::one_kind(&chosen)?;
    qos_policy::check_change(cx, actor, tx, port.qos_policy_id, change.qos_policy_id).await
}

/// Removes a port, unless a router or a floating IP is behind it.
pub async fn delete(cx: &Arc<Context>, actor: &Actor, id: PortId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let port = port_removal::lock_for_removal(cx, actor, &mut tx, id).await?;
    port_removal::refuse_if_needed(&mut tx, &port).await?;
    let units = remove(cx, &mut tx, &port).await?;
    commit(tx, cx, &actor.origin(), &units).await
}

/// Takes a port away with what leads to it, and says which units of the fabric changed.
pub(crate) async fn remove(cx: &Context, tx: &mut Tx, port: &Port) -> Result<Vec<Unit>, Failure> {
    let mut units = vec![Unit::Network(port.network_id)];
    units.extend(floating_ip::follow(cx, tx, port.id, &[]).await?);
    record::delete::<Port>(tx, port.id).await?;
    units.sort_unstable();
    units.dedup();
    Ok(units)
}

/// Gives the port that serves a network an address in this subnet; makes the port with the first.
pub(super) async fn serve(
    tx: &mut Tx,
    cx: &Arc<Context>,
    network: &NetworkId,
    subnet: &Subnet,
) -> Result<(), Failure> {
    // Guests with IPv6 alone reach the service at its link-local address.
    if subnet.cidr.addr().is_ipv6() {
        return Ok(());
    }
    let network: Network = record::get(tx, network)
        .await?
        .ok_or_else(|| access::missing::<Network>(network))?;
    let wanted = Wanted {
        subnet_id: Some(subnet.id),
        ip_address: None,
    };
    let Some(mut port) = service_port(tx, network.id).await? else {
        let new = NewPort {
            addresses: Some(vec![wanted]),
            device_id: format!("ovnmeta-{}", network.id),
            device_owner: SERVICE_OWNER.to_owned(),
            ..NewPort::on(network.id)
        };
        let project = network.standard.project_id.clone();
        insert(cx, tx, &network, project, new).await?;
        return Ok(());
    };
    let mut all: Vec<Wanted> = port
        .addresses
        .iter()
        .map(|fixed| Wanted {
            subnet_id: Some(fixed.subnet_id),
            ip_address: Some(fixed.ip_address),
        })
        .collect();
    all.push(wanted);
    port.addresses = ipam::change(tx, &port, &all).await?;
    record::update(tx, &port).await?;
    Ok(())
}

/// The port that serves a network, if any of its subnets has DHCP.
pub(crate) async fn service_port(tx: &mut Tx, network: NetworkId) -> Result<Option<Port>, Failure> {
    Ok(Query::new()
        .equals("network_id", &network)
        .equals("device_owner", SERVICE_OWNER)
        .first(tx)
        .await?)
}

/// Takes the service's address out of a subnet whose guests are not served any more.
pub(super) async fn stop_serving(
    tx: &mut Tx,
    cx: &Context,
    subnet: &Subnet,
) -> Result<(), Failure> {
    let Some(mut port) = service_port(tx, subnet.network_id).await? else {
        return Ok(());
    };
    let held = port
        .addresses
        .iter()
        .copied()
        .find(|fixed| fixed.subnet_id == subnet.id);
    if let Some(fixed) = held {
        port::release(tx, fixed).await?;
        port.addresses.retain(|held| *held != fixed);
    }
    if port.addresses.is_empty() {
        record::delete::<Port>(tx, port.id).await?;
    } else {
        port.standard.touch(cx.now());
        record::update(tx, &port).await?;
    }
    Ok(())
}

/// Gives the stations that are on a network their own address in a new subnet where they make one.
pub(super) async fn add_autoconfigured(
    tx: &mut Tx,
    cx: &Context,
    subnet: &Subnet,
) -> Result<(), Failure> {
    for mut port in port::of_network(tx, subnet.network_id).await? {
        if port.device_owner.starts_with("network:") {
            continue;
        }
        let fixed = ipam::claim_own(tx, &port, subnet).await?;
        port.addresses.extend(fixed);
        port.standard.touch(cx.now());
        record::update(tx, &port).await?;
    }
    Ok(())
}

/// The MAC address of a row, which was checked when it was written.
pub(crate) fn mac_of(port: &Port) -> Result<Mac, Refusal> {
    port.mac_address
        .parse()
        .map_err(|error| invalid_input(format!("port {}: {error}", port.id)))
}

/// The subnets in which a port has an address.
pub(crate) async fn subnets_of(tx: &mut Tx, port: &Port) -> Result<Vec<Subnet>, Failure> {
    let all = subnet::of_network(tx, port.network_id).await?;
    let holds = |subnet: &Subnet| {
        port.addresses
            .iter()
            .any(|fixed| fixed.subnet_id == subnet.id)
    };
    Ok(all.into_iter().filter(holds).collect())
}
