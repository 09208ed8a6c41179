//! VIFs: which port of a network each network card of a node is to be on.

use super::access::{self, Ident};
use super::at_rest;
use crate::context::Context;
use corten_iam::action::baremetal::{NODES_OPERATE, NODES_READ};
use corten_iam::actor::Actor;
use corten_model::ids::{NodeId, PortId};
use corten_model::refusal::Refusal;
use corten_store::metal::Object;
use corten_store::metal::node::Node;
use corten_store::metal::port::{self, NodePort};
use corten_store::metal::port_group::{self, PortGroup};
use corten_store::network::port::Port;
use corten_store::{Failure, Tx, record};

/// Where a card keeps the id of what is attached to it.
pub const ATTACHED: &str = "tenant_vif_port_id";

fn attached(info: &Object) -> Option<&str> {
    info.get(ATTACHED)?.as_str()
}

/// The ids of what is attached to a node.
pub async fn list(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Vec<String>, Failure> {
    let mut tx = cx.store.read().await?;
    let node = access::node(cx, actor, &mut tx, ident, NODES_READ).await?;
    let (ports, groups) = cards(&mut tx, node.id).await?;
    let infos = groups
        .iter()
        .map(|group| &group.internal_info)
        .chain(ports.iter().map(|port| &port.internal_info));
    Ok(infos.filter_map(attached).map(str::to_owned).collect())
}

async fn cards(tx: &mut Tx, node: NodeId) -> Result<(Vec<NodePort>, Vec<PortGroup>), Failure> {
    let ports = port::of_node(tx, node).await?;
    let groups = port_group::of_node(tx, node).await?;
    Ok((ports, groups))
}

/// Attaches a port of a network to a card that is free: a group of cards before a single one.
pub async fn attach(cx: &Context, actor: &Actor, ident: &Ident, vif: &str) -> Result<(), Failure> {
    let node = access::get::<Node>(&mut cx.store.read().await?, ident).await?;
    access::check_operate(cx, actor, &node, ident, NODES_OPERATE)?;
    at_rest(cx, node.id).await?;
    let mut tx = cx.store.write().await?;
    let node = access::lock_node_to_operate(cx, actor, &mut tx, ident, NODES_OPERATE).await?;
    if node.driver_part("network") == "noop" {
        return Err(Refusal::invalid(format!(
            "Node {} has the network interface 'noop', which attaches nothing to anything.",
            node.id
        ))
        .into());
    }
    let (mut ports, mut groups) = cards(&mut tx, node.id).await?;
    let taken = groups
        .iter()
        .map(|group| &group.internal_info)
        .chain(ports.iter().map(|port| &port.internal_info))
        .any(|info| attached(info) == Some(vif));
    if taken {
        return Err(Refusal::conflict(format!(
            "Unable to attach VIF because VIF {vif} is already attached to node {}.",
            node.id
        ))
        .into());
    }
    let free_group = groups.iter_mut().find(|group| {
        attached(&group.internal_info).is_none()
            && ports
                .iter()
                .any(|port| port.port_group_id == Some(group.id))
    });
    let free_port = ports
        .iter_mut()
        .filter(|port| attached(&port.internal_info).is_none() && port.port_group_id.is_none())
        .min_by_key(|port| !port.pxe_enabled);
    if free_group.is_none() && free_port.is_none() {
        return Err(Refusal::invalid(format!(
            "Node {} has no free physical port or port group for VIF {vif}.",
            node.id
        ))
        .into());
    }
    check_port(&mut tx, vif).await?;
    if let Some(group) = free_group {
        group.internal_info.insert(ATTACHED.to_owned(), vif.into());
        record::update(&mut tx, group).await?;
    } else if let Some(port) = free_port {
        port.internal_info.insert(ATTACHED.to_owned(), vif.into());
        record::update(&mut tx, port).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn check_port(tx: &mut Tx, vif: &str) -> Result<(), Failure> {
    let found = match vif.parse::<PortId>() {
        Ok(id) => record::get::<Port>(tx, id).await?.is_some(),
        Err(_) => false,
    };
    if found {
        return Ok(());
    }
    Err(Refusal::invalid(format!("The network service has no port {vif}.")).into())
}

/// Detaches one.
pub async fn detach(cx: &Context, actor: &Actor, ident: &Ident, vif: &str) -> Result<(), Failure> {
    let node = access::get::<Node>(&mut cx.store.read().await?, ident).await?;
    access::check_operate(cx, actor, &node, ident, NODES_OPERATE)?;
    at_rest(cx, node.id).await?;
    let mut tx = cx.store.write().await?;
    let node = access::lock_node_to_operate(cx, actor, &mut tx, ident, NODES_OPERATE).await?;
    if remove(&mut tx, node.id, |id| id == vif).await? == 0 {
        return Err(Refusal::invalid(format!(
            "Unable to detach VIF {vif} from node {} because it is not attached to it.",
            node.id
        ))
        .into());
    }
    tx.commit().await?;
    Ok(())
}

/// Detaches everything, when an instance ends.
pub async fn detach_all(tx: &mut Tx, node: &Node) -> Result<(), corten_store::Error> {
    remove(tx, node.id, |_| true).await.map(|_| ())
}

async fn remove(
    tx: &mut Tx,
    node: NodeId,
    wanted: impl Fn(&str) -> bool + Send,
) -> Result<usize, corten_store::Error> {
    let mut removed = 0;
    for mut port in port::of_node(tx, node).await? {
        if attached(&port.internal_info).is_some_and(&wanted) {
            port.internal_info.remove(ATTACHED);
            record::update(tx, &port).await?;
            removed += 1;
        }
    }
    for mut group in port_group::of_node(tx, node).await? {
        if attached(&group.internal_info).is_some_and(&wanted) {
            group.internal_info.remove(ATTACHED);
            record::update(tx, &group).await?;
            removed += 1;
        }
    }
    Ok(removed)
}
