//! Port groups: several network cards of a node that are one link.

use super::access::{self, Ident, Narrow, Page, is_name};
use super::{at_rest, port};
use crate::context::Context;
use corten_iam::action::baremetal::{PORTS_DELETE, PORTS_WRITE};
use corten_iam::actor::Actor;
use corten_model::refusal::Refusal;
use corten_store::metal::node::Node;
use corten_store::metal::port::NodePort;
use corten_store::metal::port_group::PortGroup;
use corten_store::{Failure, Query, Tx, record};

/// Linux's bonding modes.
pub const MODES: &[&str] = &[
    "active-backup",
    "balance-rr",
    "balance-xor",
    "broadcast",
    "802.3ad",
    "balance-tlb",
    "balance-alb",
];

async fn check(tx: &mut Tx, group: &PortGroup) -> Result<(), Failure> {
    if record::get::<Node>(tx, group.node_id).await?.is_none() {
        return Err(Refusal::invalid(format!("Node {} could not be found.", group.node_id)).into());
    }
    let mode = group.mode.as_str();
    if !MODES.contains(&mode) && mode.parse::<u8>().map_or(true, |number| number > 6) {
        return Err(Refusal::invalid(format!(
            "'{mode}' is no mode of a portgroup: it is one of {}, or its number.",
            MODES.join(", ")
        ))
        .into());
    }
    if let Some(name) = &group.name {
        if !is_name(name) {
            return Err(Refusal::invalid(format!(
                "Cannot create portgroup with invalid name '{name}'."
            ))
            .into());
        }
        access::check_free(tx, group, "portgroup", ("name", "name"), name).await?;
    }
    if let Some(address) = &group.address {
        let column = ("address", "address");
        access::check_free(tx, group, "portgroup", column, address).await?;
    }
    Ok(())
}

pub async fn create(cx: &Context, actor: &Actor, group: PortGroup) -> Result<PortGroup, Failure> {
    port::may_create(cx, actor)?;
    let mut tx = cx.store.write().await?;
    check(&mut tx, &group).await?;
    access::insert(&mut tx, &group, "portgroup").await?;
    tx.commit().await?;
    Ok(group)
}

pub async fn list(
    cx: &Context,
    actor: &Actor,
    narrow: Narrow,
    page: &Page,
) -> Result<Vec<PortGroup>, Failure> {
    access::page_of_parts(cx, actor, narrow, page).await
}

async fn get(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    ident: &Ident,
) -> Result<(PortGroup, Node), Failure> {
    let group = access::get::<PortGroup>(tx, ident).await?;
    let node = record::get::<Node>(tx, group.node_id).await?;
    match node {
        Some(node) if access::sees(cx, actor, &node) => Ok((group, node)),
        _ => Err(access::missing::<PortGroup>(&ident.text).into()),
    }
}

pub async fn show(cx: &Context, actor: &Actor, ident: &Ident) -> Result<PortGroup, Failure> {
    let (group, _) = get(cx, actor, &mut cx.store.read().await?, ident).await?;
    Ok(group)
}

pub async fn update(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    edit: impl FnOnce(&PortGroup) -> Result<PortGroup, Refusal> + Send,
) -> Result<PortGroup, Failure> {
    let (_, node) = get(cx, actor, &mut cx.store.read().await?, ident).await?;
    access::check(cx, actor, &node, ident, PORTS_WRITE)?;
    at_rest(cx, node.id).await?;
    let mut tx = cx.store.write().await?;
    let (before, _) = get(cx, actor, &mut tx, ident).await?;
    let mut group = edit(&before)?;
    check(&mut tx, &group).await?;
    group.standard.updated_at = Some(cx.now());
    record::update(&mut tx, &group).await?;
    tx.commit().await?;
    Ok(group)
}

pub async fn delete(cx: &Context, actor: &Actor, ident: &Ident) -> Result<(), Failure> {
    let (_, node) = get(cx, actor, &mut cx.store.read().await?, ident).await?;
    access::check(cx, actor, &node, ident, PORTS_DELETE)?;
    at_rest(cx, node.id).await?;
    let mut tx = cx.store.write().await?;
    let (group, _) = get(cx, actor, &mut tx, ident).await?;
    let ports = Query::<NodePort>::new()
        .equals("port_group_id", &group.id)
        .count(&mut tx)
        .await?;
    if ports > 0 {
        return Err(Refusal::invalid(format!(
            "Portgroup {} is not empty: it has {ports} ports. Take them out first.",
            group.id
        ))
        .into());
    }
    record::delete::<PortGroup>(&mut tx, group.id).await?;
    tx.commit().await?;
    Ok(())
}
