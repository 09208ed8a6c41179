//! Which parts of a node's driver can work as the node is now, and what the others lack.

use super::access::{self, Ident};
use super::{driver, machine, steps};
use crate::context::Context;
use corten_iam::action::baremetal::NODES_OPERATE;
use corten_iam::actor::Actor;
use corten_store::Failure;
use corten_store::metal::node::Node;

/// One part: its kind, and why it cannot work, if it cannot.
pub type Verdict = (&'static str, Option<String>);

pub async fn validate(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Vec<Verdict>, Failure> {
    let node = access::get::<Node>(&mut cx.store.read().await?, ident).await?;
    access::check_operate(cx, actor, &node, ident, NODES_OPERATE)?;
    let opened = machine::open(cx, &node);
    Ok(driver::KINDS
        .iter()
        .map(|(kind, _)| (*kind, problem(&node, kind, &opened)))
        .collect())
}

fn problem(
    node: &Node,
    kind: &str,
    opened: &Result<corten_bmc::Machine, corten_model::refusal::Refusal>,
) -> Option<String> {
    let way = node.driver_part(kind);
    if way == format!("no-{kind}") {
        return Some(format!(
            "Driver {} does not support {kind} (disabled or not implemented).",
            node.driver
        ));
    }
    let machine = match opened {
        Ok(machine) => machine,
        // These need nothing of the server.
        Err(_) if matches!(kind, "network" | "storage") => return None,
        Err(refusal) => return Some(refusal.message.clone()),
    };
    let within = matches!(kind, "boot" | "deploy" | "rescue" | "raid");
    if within && machine.inside.is_none() {
        return Some(format!(
            "The driver {} has no system to boot on a server yet.",
            node.driver
        ));
    }
    steps::check(node, &node.steps)
        .err()
        .filter(|_| kind == "deploy")
        .map(|refusal| refusal.message)
}
