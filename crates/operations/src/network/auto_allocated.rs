//! "Get me a network": a network, its subnets and a router to the outside, made for a project when it first asks.
//!
//! The subnets are cut from the default subnet pools, and the router leads to the default external network. All of it
//! is made in one transaction.

use super::network::{self, NewNetwork, SERVICE_OWNER};
use super::router::{self, NewRouter};
use super::router_gateway::WantedGateway;
use super::router_interface::{self, Asked};
use super::subnet::{self, NewSubnet};
use super::{commit, port_removal, subnet_pool};
use crate::context::Context;
use corten_iam::action::network::NETWORKS_WRITE;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{NetworkId, ProjectId};
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::auto_allocated::AutoAllocated;
use corten_store::network::network::Network;
use corten_store::network::port;
use corten_store::network::router::{INTERFACE, Router};
use corten_store::network::subnet::Ipv6Mode;
use corten_store::network::subnet_pool::SubnetPool;
use corten_store::{Failure, Query, Tx, record};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The rule that a cloud without the means of a topology breaks.
pub const IMPOSSIBLE: &str = "AutoAllocationFailure";

/// What a topology is made from.
struct Means {
    outside: Network,
    pools: Vec<SubnetPool>,
}

async fn means(tx: &mut Tx) -> Result<Means, Failure> {
    let refuse =
        |why: &str| Refusal::conflict(format!("Deployment error: {why}.")).named(IMPOSSIBLE);
    let external: Vec<Network> = Query::new().equals("external", true).all(tx).await?;
    let outside = external.into_iter().find(|network| network.is_default);
    let outside = outside.ok_or_else(|| {
        refuse("No default router:external network: the administrator sets is_default on one")
    })?;
    let mut pools = Vec::new();
    for ip_version in [4, 6] {
        pools.extend(subnet_pool::default_of(tx, ip_version).await?);
    }
    if pools.is_empty() {
        return Err(refuse(
            "No default subnet pool: the administrator makes a shared one with is_default",
        )
        .into());
    }
    Ok(Means { outside, pools })
}

/// Whether a topology could be made: refused with what is missing.
pub async fn check(cx: &Context, actor: &Actor, project: &ProjectId) -> Result<(), Failure> {
    cx.policy
        .check(actor, NETWORKS_WRITE, &Target::project(project))?;
    means(&mut cx.store.read().await?).await.map(|_| ())
}

/// The project's network, which is made if there is none.
pub async fn get(
    cx: &Arc<Context>,
    actor: &Actor,
    project: &ProjectId,
) -> Result<NetworkId, Failure> {
    cx.policy
        .check(actor, NETWORKS_WRITE, &Target::project(project))?;
    let present = present(&mut cx.store.read().await?, project).await?;
    if let Some(topology) = present {
        return Ok(topology.network_id);
    }
    let mut tx = cx.store.write().await?;
    let (network, units) = get_in(cx, actor, &mut tx, project).await?;
    commit(tx, cx, &actor.origin(), &units).await?;
    Ok(network)
}

/// The same in a transaction that does more. The caller notes the units that changed.
pub(crate) async fn get_in(
    cx: &Arc<Context>,
    actor: &Actor,
    tx: &mut Tx,
    project: &ProjectId,
) -> Result<(NetworkId, Vec<Unit>), Failure> {
    cx.policy
        .check(actor, NETWORKS_WRITE, &Target::project(project))?;
    // Two that ask at once make one.
    corten_store::quotas::serialize(tx, project).await?;
    match present(tx, project).await? {
        Some(topology) => Ok((topology.network_id, Vec::new())),
        None => make(cx, actor, tx, project).await,
    }
}

/// What was made and is still there.
async fn present(tx: &mut Tx, project: &ProjectId) -> Result<Option<AutoAllocated>, Failure> {
    let Some(topology) = record::get::<AutoAllocated>(tx, project).await? else {
        return Ok(None);
    };
    let network = record::get::<Network>(tx, topology.network_id).await?;
    Ok(network.map(|_| topology))
}

async fn make(
    cx: &Arc<Context>,
    actor: &Actor,
    tx: &mut Tx,
    project: &ProjectId,
) -> Result<(NetworkId, Vec<Unit>), Failure> {
    let Means { outside, pools } = means(tx).await?;
    let new = NewNetwork {
        project_id: Some(project.clone()),
        name: "auto_allocated_network".to_owned(),
        enabled: true,
        port_security: true,
        ..NewNetwork::default()
    };
    let network = network::insert(cx, actor, tx, new).await?;
    let new = NewRouter {
        project_id: Some(project.clone()),
        name: "auto_allocated_router".to_owned(),
        enabled: true,
        gateway: Some(WantedGateway {
            network_id: outside.id,
            snat: None,
            addresses: None,
        }),
        ..NewRouter::default()
    };
    let (router, mut units) = router::insert(cx, actor, tx, new).await?;
    for pool in pools {
        let subnet = new_subnet(project, network.id, &pool);
        let subnet = subnet::insert(cx, actor, tx, subnet).await?;
        router_interface::add_subnet(cx, actor, tx, &router, subnet.id).await?;
    }
    let topology = AutoAllocated {
        project_id: project.clone(),
        network_id: network.id,
        router_id: router.id,
    };
    record::delete::<AutoAllocated>(tx, project).await?;
    record::insert(tx, &topology).await?;
    units.extend([Unit::Network(network.id), Unit::Router(router.id)]);
    units.sort_unstable();
    units.dedup();
    Ok((network.id, units))
}

fn new_subnet(project: &ProjectId, network: NetworkId, pool: &SubnetPool) -> NewSubnet {
    let ip_version = pool.ip_version();
    let slaac = (ip_version == 6).then_some(Ipv6Mode::Slaac);
    NewSubnet {
        project_id: Some(project.clone()),
        network_id: network,
        name: format!("auto_allocated_subnet_v{ip_version}"),
        description: String::new(),
        ip_version,
        cidr: None,
        subnet_pool_id: Some(pool.id),
        use_default_pool: false,
        prefix_len: None,
        gateway: None,
        dhcp: true,
        pools: None,
        dns_servers: Vec::new(),
        host_routes: Vec::new(),
        ipv6_ra_mode: slaac,
        ipv6_address_mode: slaac,
        service_types: Vec::new(),
        dns_publish_fixed_ip: false,
        tags: BTreeSet::new(),
    }
}

/// Takes a project's topology down, unless something is plugged into its network. What is gone already is no trouble.
pub async fn delete(cx: &Arc<Context>, actor: &Actor, project: &ProjectId) -> Result<(), Failure> {
    cx.policy
        .check(actor, NETWORKS_WRITE, &Target::project(project))?;
    let mut tx = cx.store.read().await?;
    let topology = record::get::<AutoAllocated>(&mut tx, project).await?;
    let topology = topology.ok_or_else(|| {
        Refusal::not_found(format!(
            "Auto-allocated topology of project {project} could not be found."
        ))
        .named("AutoAllocatedTopologyNotFound")
    })?;
    let ports = port::of_network(&mut tx, topology.network_id).await?;
    let is_ours = |owner: &str| [SERVICE_OWNER, INTERFACE].contains(&owner);
    if let Some(port) = ports.iter().find(|port| !is_ours(&port.device_owner)) {
        return Err(Refusal::conflict(format!(
            "Unable to complete operation on network {}. There are one or more ports still in use on the network, id \
             for these ports is: {}. {}",
            topology.network_id,
            port.id,
            port_removal::what_to_do(port)
        ))
        .named("NetworkInUse")
        .into());
    }
    let interfaces = port::of_device(&mut tx, &topology.router_id.to_string()).await?;
    let has_router = record::get::<Router>(&mut tx, topology.router_id).await?;
    let has_network = record::get::<Network>(&mut tx, topology.network_id).await?;
    drop(tx);
    for port in interfaces
        .iter()
        .filter(|port| port.device_owner == INTERFACE)
    {
        let asked = Asked {
            subnet_id: None,
            port_id: Some(port.id),
        };
        router_interface::remove(cx, actor, topology.router_id, asked).await?;
    }
    if has_router.is_some() {
        router::delete(cx, actor, topology.router_id).await?;
    }
    if has_network.is_some() {
        network::delete(cx, actor, topology.network_id).await?;
    }
    let mut tx = cx.store.write().await?;
    record::delete::<AutoAllocated>(&mut tx, project).await?;
    tx.commit().await?;
    Ok(())
}
