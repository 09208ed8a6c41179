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
use std::fmt::Display;

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

/// Where a VIF is to be attached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Onto {
    /// A card that is free: a group of cards before a single one, and one that is booted from before others.
    #[default]
    Free,
    /// This card, by its id.
    Port(String),
    /// This group of cards, by its id.
    PortGroup(String),
}

/// Attaches a port of a network to a card.
pub async fn attach(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    vif: &str,
    onto: &Onto,
) -> Result<(), Failure> {
    let node = access::get::<Node>(&mut cx.store.read().await?, ident).await?;
    access::check_operate(cx, actor, &node, ident, NODES_OPERATE)?;
    at_rest(cx, node.id).await?;
    let mut tx = cx.store.write().await?;
    let node = access::lock_node_to_operate(cx, actor, &mut tx, ident, NODES_OPERATE).await?;
    if node.driver_part("network") == "noop" {
        return Err(Refusal::invalid(format!(
            "Node {} has the network interface 'noop', which attaches nothing to anything: it lacks a DPU or a managed switch \
             port. It stays on the network that its cards are cabled to.",
            node.id
        ))
        .into());
    }
    let (ports, groups) = cards(&mut tx, node.id).await?;
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
    let card = match onto {
        Onto::Free => free(ports, groups).ok_or_else(|| {
            Refusal::invalid(format!(
                "Node {} has no free physical port or port group for VIF {vif}.",
                node.id
            ))
        })?,
        Onto::Port(id) => Card::Port(this_port(&node, ports, vif, id)?),
        Onto::PortGroup(id) => Card::PortGroup(this_group(&node, ports, groups, vif, id)?),
    };
    check_port(&mut tx, vif).await?;
    match card {
        Card::Port(mut port) => {
            port.internal_info.insert(ATTACHED.to_owned(), vif.into());
            record::update(&mut tx, &port).await?;
        }
        Card::PortGroup(mut group) => {
            group.internal_info.insert(ATTACHED.to_owned(), vif.into());
            record::update(&mut tx, &group).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// What a VIF is attached to.
enum Card {
    Port(NodePort),
    PortGroup(PortGroup),
}

fn free(ports: Vec<NodePort>, groups: Vec<PortGroup>) -> Option<Card> {
    let mut free_groups = groups.into_iter().filter(|group| {
        attached(&group.internal_info).is_none()
            && ports
                .iter()
                .any(|port| port.port_group_id == Some(group.id))
    });
    if let Some(group) = free_groups.next() {
        return Some(Card::PortGroup(group));
    }
    ports
        .into_iter()
        .filter(|port| attached(&port.internal_info).is_none() && port.port_group_id.is_none())
        .min_by_key(|port| !port.pxe_enabled)
        .map(Card::Port)
}

/// The 400 of a card that was named.
fn cannot(node: &Node, vif: &str, why: impl Display) -> Refusal {
    Refusal::invalid(format!(
        "Unable to attach VIF {vif} to node {}: {why}.",
        node.id
    ))
}

/// Refuses a card that something is attached to.
fn check_free(node: &Node, vif: &str, card: impl Display, info: &Object) -> Result<(), Refusal> {
    match attached(info) {
        None => Ok(()),
        Some(other) => Err(cannot(
            node,
            vif,
            format!("{card} has VIF {other}; detach that first, or name another"),
        )),
    }
}

fn this_port(node: &Node, ports: Vec<NodePort>, vif: &str, id: &str) -> Result<NodePort, Refusal> {
    let found = ports.into_iter().find(|port| port.id.to_string() == id);
    let port = found.ok_or_else(|| cannot(node, vif, format!("it has no port {id}")))?;
    if let Some(group) = port.port_group_id {
        let why = format!("port {id} is part of port group {group}; name that with portgroup_uuid");
        return Err(cannot(node, vif, why));
    }
    check_free(node, vif, format!("port {id}"), &port.internal_info)?;
    Ok(port)
}

fn this_group(
    node: &Node,
    ports: Vec<NodePort>,
    groups: Vec<PortGroup>,
    vif: &str,
    id: &str,
) -> Result<PortGroup, Refusal> {
    let found = groups.into_iter().find(|group| group.id.to_string() == id);
    let group = found.ok_or_else(|| cannot(node, vif, format!("it has no port group {id}")))?;
    let mut members = ports.iter();
    if !members.any(|port| port.port_group_id == Some(group.id)) {
        let why = format!("port group {id} has no port; add one, or name another");
        return Err(cannot(node, vif, why));
    }
    check_free(node, vif, format!("port group {id}"), &group.internal_info)?;
    Ok(group)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metal::{Metal, driver, node};
    use corten_model::ids::{NodeId, NodePortId, PortGroupId};
    use corten_model::time::Timestamp;
    use corten_store::metal::Standard;

    fn a_node() -> Node {
        let metal = Metal::forgetful(None).unwrap();
        let driver = driver::of_node(&metal, driver::REDFISH).unwrap();
        node::blank(NodeId::random(), driver, Timestamp(0))
    }

    fn port(node: &Node, vif: Option<&str>, group: Option<PortGroupId>) -> NodePort {
        let id = NodePortId::random();
        let vif = vif.map(|vif| (ATTACHED.to_owned(), vif.into()));
        NodePort {
            port_group_id: group,
            internal_info: vif.into_iter().collect(),
            ..crate::metal::port::blank(id, node, id.to_string(), Timestamp(0))
        }
    }

    fn group(node: &Node) -> PortGroup {
        PortGroup {
            id: PortGroupId::random(),
            node_id: node.id,
            address: None,
            name: None,
            mode: "active-backup".to_owned(),
            properties: Object::new(),
            standalone_ports: true,
            physical_network: None,
            category: None,
            internal_info: Object::new(),
            standard: Standard::new(Object::new(), Timestamp(0)),
        }
    }

    #[test]
    fn the_port_that_is_named_is_taken_and_no_other() {
        let node = a_node();
        let bond = group(&node);
        let (first, second) = (port(&node, None, None), port(&node, None, None));
        let (busy, member) = (
            port(&node, Some("other"), None),
            port(&node, None, Some(bond.id)),
        );
        let ports = vec![first, second.clone(), busy.clone(), member.clone()];
        let named = |id: String| this_port(&node, ports.clone(), "vif", &id);
        assert_eq!(named(second.id.to_string()).unwrap().id, second.id);
        for (id, why) in [
            (NodePortId::random(), "has no port"),
            (busy.id, "has VIF other"),
            (member.id, "portgroup_uuid"),
        ] {
            let refused = named(id.to_string()).unwrap_err().message;
            assert!(refused.contains(why), "{refused}");
        }
        let groups = vec![bond.clone(), group(&node)];
        let (bond, empty) = (bond.id, groups[1].id);
        let named = |id: PortGroupId| {
            this_group(&node, ports.clone(), groups.clone(), "vif", &id.to_string())
        };
        assert_eq!(named(bond).unwrap().id, bond);
        for (id, why) in [
            (PortGroupId::random(), "has no port group"),
            (empty, "has no port;"),
        ] {
            let refused = named(id).unwrap_err().message;
            assert!(refused.contains(why), "{refused}");
        }
    }
}
