//! Which parts of a node's driver can work as the node is now, and what the others lack.

use super::access::{self, Ident};
use super::{console, deploy_image, driver, machine, ramdisk, steps};
use crate::context::Context;
use corten_iam::action::baremetal::NODES_OPERATE;
use corten_iam::actor::Actor;
use corten_model::refusal::Refusal;
use corten_store::metal::node::Node;
use corten_store::metal::port::{self, NodePort};
use corten_store::{Failure, Tx};

/// One part: its kind, and why it cannot work, if it cannot.
pub type Verdict = (&'static str, Option<String>);

pub async fn validate(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Vec<Verdict>, Failure> {
    let mut tx = cx.store.read().await?;
    let node = access::get::<Node>(&mut tx, ident).await?;
    access::check_operate(cx, actor, &node, ident, NODES_OPERATE)?;
    let mut verdicts = Vec::new();
    for (kind, _) in driver::KINDS {
        let verdict = match judge(cx, &mut tx, &node, kind).await {
            Ok(()) => None,
            Err(Failure::Refused(refusal)) => Some(refusal.message),
            Err(trouble) => return Err(trouble),
        };
        verdicts.push((*kind, verdict));
    }
    Ok(verdicts)
}

async fn judge(cx: &Context, tx: &mut Tx, node: &Node, kind: &str) -> Result<(), Failure> {
    if node.driver_part(kind) == format!("no-{kind}") {
        return Err(Refusal::invalid(format!(
            "Driver {} does not support {kind} (disabled or not implemented).",
            node.driver
        ))
        .into());
    }
    // These need nothing of the server.
    if matches!(kind, "network" | "storage") {
        return Ok(());
    }
    machine::open(cx, node)?;
    if matches!(kind, "boot" | "deploy" | "rescue" | "raid") {
        ramdisk::check_ready(cx, node, kind)?;
    }
    let cards = port::of_node(tx, node.id).await?;
    let meant = |port: &NodePort| port.pxe_enabled || !node.network_data.is_empty();
    if kind == "boot" && ramdisk::boots(node) && !cards.iter().any(meant) {
        return Err(Refusal::invalid(format!(
            "Node {} has no port with pxe_enabled, so no network card to boot on is known: create one with the MAC address of its \
             boot card, or inspect it.",
            node.id
        ))
        .into());
    }
    if kind == "console" {
        console::check(cx, node)?;
    }
    if kind == "deploy" {
        deploy_image::check(tx, node).await?;
        steps::check(node, &node.steps)?;
    }
    Ok(())
}
