//! Ports: the network cards of nodes.

use super::access::{self, Ident, Narrow, Page, is_name};
use super::at_rest;
use super::vif::ATTACHED;
use crate::context::Context;
use corten_iam::action::baremetal::{PORTS_CREATE, PORTS_DELETE, PORTS_READ, PORTS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{NodeId, NodePortId};
use corten_model::mac::Mac;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::metal::node::Node;
use corten_store::metal::port::NodePort;
use corten_store::metal::port_group::PortGroup;
use corten_store::metal::{Object, Standard};
use corten_store::{Error, Failure, Query, Tx, record};
use std::collections::BTreeSet;

/// A MAC address in lower case with colons; dashes will do as well.
pub fn mac(text: &str) -> Result<String, Refusal> {
    let read = text.replace('-', ":").parse::<Mac>();
    read.map(|mac| mac.to_string())
        .map_err(|_| Refusal::invalid(format!("Expected a MAC address but received {text}.")))
}

/// A port that an inspection found, or a request asks for, with the usual values.
pub fn blank(id: NodePortId, node: &Node, address: String, now: Timestamp) -> NodePort {
    NodePort {
        id,
        node_id: node.id,
        address,
        port_group_id: None,
        name: None,
        description: None,
        vendor: None,
        category: None,
        local_link_connection: Object::new(),
        pxe_enabled: true,
        physical_network: None,
        is_smartnic: false,
        internal_info: Object::new(),
        shard: node.shard.clone(),
        standard: Standard::new(Object::new(), now),
    }
}

async fn check(tx: &mut Tx, port: &NodePort) -> Result<Node, Failure> {
    let node = record::get::<Node>(tx, port.node_id)
        .await?
        .ok_or_else(|| Refusal::invalid(format!("Node {} could not be found.", port.node_id)))?;
    if let Some(name) = &port.name
        && !is_name(name)
    {
        return Err(Refusal::invalid(format!("Cannot give a port the name '{name}'.")).into());
    }
    let address = ("address", "MAC address");
    access::check_free(tx, port, "port", address, &port.address).await?;
    if let Some(name) = &port.name {
        access::check_free(tx, port, "port", ("name", "name"), name).await?;
    }
    check_group(tx, port).await?;
    Ok(node)
}

/// All ports of a group are on one physical network.
pub(super) async fn check_group(tx: &mut Tx, port: &NodePort) -> Result<(), Failure> {
    let Some(group) = port.port_group_id else {
        return Ok(());
    };
    let group = record::get::<PortGroup>(tx, group)
        .await?
        .ok_or_else(|| Refusal::invalid(format!("Portgroup {group} could not be found.")))?;
    if group.node_id != port.node_id {
        return Err(Refusal::invalid(format!(
            "Portgroup {} belongs to node {}, and the port to node {}.",
            group.id, group.node_id, port.node_id
        ))
        .into());
    }
    if !group.standalone_ports && port.pxe_enabled {
        return Err(Refusal::conflict(format!(
            "Port {} has pxe_enabled set, and portgroup {} has no standalone ports to boot from.",
            port.id, group.id
        ))
        .into());
    }
    let others: Vec<NodePort> = Query::new()
        .equals("port_group_id", &group.id)
        .differs("id", &port.id)
        .all(tx)
        .await?;
    if let Some(other) = others
        .iter()
        .find(|other| other.physical_network != port.physical_network)
    {
        return Err(Refusal::conflict(format!(
            "Port {} would have the physical network {:?} in portgroup {}, whose ports have {:?}.",
            port.id, port.physical_network, group.id, other.physical_network
        ))
        .into());
    }
    Ok(())
}

pub async fn create(cx: &Context, actor: &Actor, mut port: NodePort) -> Result<NodePort, Failure> {
    may_create(cx, actor)?;
    let mut tx = cx.store.write().await?;
    let node = check(&mut tx, &port).await?;
    port.shard.clone_from(&node.shard);
    access::insert(&mut tx, &port, "port").await?;
    tx.commit().await?;
    Ok(port)
}

/// Adds the network cards that an inspection found and that no port stands for.
pub(crate) async fn found(
    tx: &mut Tx,
    node: &Node,
    addresses: BTreeSet<String>,
    now: Timestamp,
) -> Result<(), Error> {
    let known: Vec<NodePort> = Query::new()
        .any_of("address", addresses.iter().cloned())
        .all(tx)
        .await?;
    for address in addresses {
        if known.iter().all(|port| port.address != address) {
            record::insert(tx, &blank(NodePortId::random(), node, address, now)).await?;
        }
    }
    Ok(())
}

pub async fn list(
    cx: &Context,
    actor: &Actor,
    narrow: Narrow,
    page: &Page,
) -> Result<Vec<NodePort>, Failure> {
    access::page_of_parts(cx, actor, narrow, page).await
}

/// The ids of the ports whose description has these words.
pub async fn with_words(cx: &Context, words: &str) -> Result<Vec<String>, Failure> {
    let all: Vec<NodePort> = Query::new().all(&mut cx.store.read().await?).await?;
    let described = all.iter().filter(|port| {
        let description = port.description.as_deref().unwrap_or_default();
        description.contains(words)
    });
    Ok(described.map(|port| port.id.to_string()).collect())
}

async fn get(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    ident: &Ident,
) -> Result<(NodePort, Node), Failure> {
    let port = access::get::<NodePort>(tx, ident).await?;
    let node = record::get::<Node>(tx, port.node_id).await?;
    match node {
        Some(node) if access::sees(cx, actor, &node) => Ok((port, node)),
        _ => Err(access::missing::<NodePort>(&ident.text).into()),
    }
}

pub async fn show(cx: &Context, actor: &Actor, ident: &Ident) -> Result<NodePort, Failure> {
    let (port, node) = get(cx, actor, &mut cx.store.read().await?, ident).await?;
    access::check(cx, actor, &node, ident, PORTS_READ).or_else(|refused| {
        if access::sees(cx, actor, &node) {
            Ok(())
        } else {
            Err(refused)
        }
    })?;
    Ok(port)
}

/// Changes what an instance stands on are refused while there is one.
fn check_use(node: &Node, before: &NodePort, after: &NodePort) -> Result<(), Refusal> {
    let rewired = before.address != after.address
        || before.port_group_id != after.port_group_id
        || before.node_id != after.node_id;
    let in_use = node.instance_id.is_some() && before.internal_info.contains_key(ATTACHED);
    if rewired && in_use && !node.maintenance {
        return Err(Refusal::conflict(format!(
            "Port {} carries VIF {} of an instance: its address, portgroup and node can change only while node {} is in maintenance.",
            before.id,
            before
                .internal_info
                .get(ATTACHED)
                .and_then(|id| id.as_str())
                .unwrap_or_default(),
            node.id
        )));
    }
    Ok(())
}

pub async fn update(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    edit: impl FnOnce(&NodePort) -> Result<NodePort, Refusal> + Send,
) -> Result<NodePort, Failure> {
    let (_, node) = get(cx, actor, &mut cx.store.read().await?, ident).await?;
    access::check(cx, actor, &node, ident, PORTS_WRITE)?;
    at_rest(cx, node.id).await?;
    let mut tx = cx.store.write().await?;
    let (before, node) = get(cx, actor, &mut tx, ident).await?;
    let mut port = edit(&before)?;
    check_use(&node, &before, &port)?;
    let node = check(&mut tx, &port).await?;
    port.shard.clone_from(&node.shard);
    port.standard.updated_at = Some(cx.now());
    record::update(&mut tx, &port).await?;
    tx.commit().await?;
    Ok(port)
}

pub async fn delete(cx: &Context, actor: &Actor, ident: &Ident) -> Result<(), Failure> {
    let (_, node) = get(cx, actor, &mut cx.store.read().await?, ident).await?;
    access::check(cx, actor, &node, ident, PORTS_DELETE)?;
    at_rest(cx, node.id).await?;
    let mut tx = cx.store.write().await?;
    let (port, node) = get(cx, actor, &mut tx, ident).await?;
    if node.instance_id.is_some() && port.internal_info.contains_key(ATTACHED) && !node.maintenance
    {
        return Err(Refusal::conflict(format!(
            "Port {} carries a VIF of an instance: detach that first.",
            port.id
        ))
        .into());
    }
    record::delete::<NodePort>(&mut tx, port.id).await?;
    tx.commit().await?;
    Ok(())
}

/// The node that a request puts a port on: 400 if there is none.
pub async fn node_of(cx: &Context, ident: &Ident) -> Result<Node, Failure> {
    let found = access::find::<Node>(&mut cx.store.read().await?, ident).await?;
    found.ok_or_else(|| Refusal::invalid(format!("Node {} could not be found.", ident.text)).into())
}

/// The ids of the ports of a node.
pub async fn ids_of_node(cx: &Context, node: NodeId) -> Result<Vec<NodePortId>, Failure> {
    let ports = corten_store::metal::port::of_node(&mut cx.store.read().await?, node).await?;
    Ok(ports.iter().map(|port| port.id).collect())
}

/// Whether an actor may add ports and port groups.
pub fn may_create(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    cx.policy.check(actor, PORTS_CREATE, &Target::cloud())
}
