//! The verbs of `PUT /v1/nodes/{id}/states/provision`: whether one is accepted, and the operation that it starts.

use super::access::{self, Ident};
use super::adopt_node::AdoptNode;
use super::clean_node::{self, CleanNode, Purpose};
use super::deploy_node::{self, DeployNode};
use super::inspect_node::InspectNode;
use super::ramdisk::visit::{self, Visit};
use super::rescue_node::{self, PASSWORD, RescueNode};
use super::service_node::ServiceNode;
use super::verify_node::VerifyNode;
use super::{
    ENDED, adopt_node, at_rest, config_drive, deploy_image, discovery, firmware_args,
    firmware_steps, inspect_node, machine, ramdisk, rotate_key, runbook, service_node, steps,
    verify_node, work,
};
use crate::context::Context;
use crate::metal_instance::ready;
use corten_iam::action::baremetal::NODES_OPERATE;
use corten_iam::actor::Actor;
use corten_model::lifecycle::node::{NodeEvent, NodeStateKind, NodeVerb, ProvisionState, decide};
use corten_model::origin::Origin;
use corten_model::refusal::Refusal;
use corten_store::metal::node::{Node, PowerSeen, SUBJECT, Step};
use corten_store::{Failure, Tx, operations, record};
use std::sync::Arc;

/// Where the config drive is kept, sealed: user data holds passwords.
pub const CONFIG_DRIVE: &str = "instance_info/configdrive";

/// What a request asks for.
#[derive(Debug, Clone)]
pub struct Wish {
    pub verb: NodeVerb,
    pub steps: Option<Vec<Step>>,
    pub runbook: Option<Ident>,
    /// As JSON.
    pub config_drive: Option<String>,
    pub rescue_password: Option<String>,
}

/// Accepts a verb, or refuses it with what is legal.
pub async fn set(
    cx: &Arc<Context>,
    actor: &Actor,
    ident: &Ident,
    wish: Wish,
) -> Result<(), Failure> {
    let node = access::get::<Node>(&mut cx.store.read().await?, ident).await?;
    access::check_operate(cx, actor, &node, ident, NODES_OPERATE)?;
    check_wish(&wish)?;
    let asked = format!("target '{}'", wish.verb);
    firmware_steps::check_quiet(&node, cx.now(), &asked)?;
    if !breaks_in(&node, wish.verb) {
        at_rest(cx, node.id).await?;
    }
    let mut tx = cx.store.write().await?;
    let mut node = access::lock_node_to_operate(cx, actor, &mut tx, ident, NODES_OPERATE).await?;
    check_node(cx, &node, &wish)?;
    decide(node.provision.state, wish.verb)
        .map_err(|illegal| Refusal::invalid(illegal.message(node.id)))?;
    if matches!(wish.verb, NodeVerb::Deleted | NodeVerb::Rebuild) {
        ready::check_unowned(&mut tx, &node, &asked).await?;
    }
    let left = match steps_of(cx, actor, &mut tx, &node, &wish).await? {
        Some(steps) => steps,
        None if wish.verb == NodeVerb::Unhold => std::mem::take(&mut node.steps),
        None => Vec::new(),
    };
    keep_secrets(cx, &mut tx, &mut node, &wish).await?;
    carry_out(&mut tx, cx, &actor.origin(), &mut node, wish.verb, left).await?;
    tx.commit().await?;
    Ok(())
}

/// Has a node do what a verb says, with these steps: its state, its row and its operation in this transaction. Refused where
/// the life cycle forbids the verb.
pub(crate) async fn carry_out(
    tx: &mut Tx,
    cx: &Arc<Context>,
    origin: &Origin,
    node: &mut Node,
    verb: NodeVerb,
    steps: Vec<Step>,
) -> Result<(), Failure> {
    let state = decide(node.provision.state, verb)
        .map_err(|illegal| Refusal::invalid(illegal.message(node.id)))?;
    let now = cx.now();
    firmware_steps::check_quiet(node, now, &format!("target '{verb}'"))?;
    if breaks_in(node, verb) {
        let (id, note) = (node.id.to_string(), format!("{verb} was asked for"));
        operations::supersede(tx, SUBJECT, &id, &note, now).await?;
        tx.wake(ENDED);
    }
    if breaks_in(node, verb) || verb == NodeVerb::Abort {
        ramdisk::boot::forget(node);
    }
    if matches!(verb, NodeVerb::Active | NodeVerb::Rebuild) {
        deploy_image::check(tx, node).await?;
    }
    if node.provision.state == ProvisionState::Enroll {
        discovery::take_up(tx, node.id).await?;
    }
    if node.provision.state == ProvisionState::Active
        && matches!(verb, NodeVerb::Service | NodeVerb::Rescue)
    {
        node.found_off = node.power.seen == Some(PowerSeen::Off);
    }
    let why = format!("{verb} was asked for");
    node.enter(tx, state, &why, origin, now).await?;
    if let Some(resumed) = state
        .on(NodeEvent::Resume)
        .filter(|_| verb == NodeVerb::Unhold)
    {
        node.enter(tx, resumed, "a person let it go on", origin, now)
            .await?;
    }
    node.steps = steps;
    node.flashes.clear();
    node.last_error = None;
    accept(node, verb, now);
    if begins_with_a_visit(node, verb) {
        visit::begin(tx, cx, node, now).await?;
    }
    record::update(tx, node).await?;
    begin(tx, cx, origin, node, verb).await
}

/// Whether the request makes sense, whatever the node.
fn check_wish(wish: &Wish) -> Result<(), Refusal> {
    let verb = wish.verb;
    if wish.steps.is_some() && wish.runbook.is_some() {
        return Err(Refusal::invalid(
            "A runbook is given and steps too: they exclude each other.",
        ));
    }
    let needs_steps = matches!(verb, NodeVerb::Clean | NodeVerb::Service);
    if needs_steps && wish.steps.is_none() && wish.runbook.is_none() {
        return Err(Refusal::invalid(format!(
            "The target '{verb}' needs {verb}_steps or a runbook."
        )));
    }
    if !needs_steps && wish.runbook.is_some() {
        return Err(Refusal::invalid(format!(
            "A runbook is given with the target '{verb}': only clean and service run one."
        )));
    }
    let deploys = matches!(verb, NodeVerb::Active | NodeVerb::Rebuild);
    if wish.config_drive.is_some() && !deploys {
        return Err(Refusal::invalid(format!(
            "A configdrive is given with the target '{verb}': only active and rebuild take one."
        )));
    }
    if let Some(drive) = &wish.config_drive {
        let drive = serde_json::from_str(drive).unwrap_or_else(|_| drive.as_str().into());
        config_drive::check(&drive)?;
    }
    match &wish.rescue_password {
        None if verb == NodeVerb::Rescue => Err(Refusal::invalid(
            "The target 'rescue' needs a rescue_password.",
        )),
        Some(password) if verb == NodeVerb::Rescue && password.trim().is_empty() => {
            Err(Refusal::invalid("The rescue_password is empty."))
        }
        Some(_) if verb != NodeVerb::Rescue => Err(Refusal::invalid(format!(
            "A rescue_password is given with the target '{verb}'."
        ))),
        _ => Ok(()),
    }
}

/// Whether a verb ends what runs on a node: while the ramdisk is booted or at work, it may be aborted, or the instance be
/// given up.
fn breaks_in(node: &Node, verb: NodeVerb) -> bool {
    let waits = node
        .provision
        .state
        .row()
        .is_some_and(|row| row.kind == NodeStateKind::Waits);
    waits && matches!(verb, NodeVerb::Abort | NodeVerb::Deleted)
}

/// Whether the first that an operation does is to boot the ramdisk. An instance is switched off before.
fn begins_with_a_visit(node: &Node, verb: NodeVerb) -> bool {
    match verb {
        NodeVerb::Provide
        | NodeVerb::Clean
        | NodeVerb::Active
        | NodeVerb::Rebuild
        | NodeVerb::Rescue
        | NodeVerb::Service => true,
        NodeVerb::Inspect => inspect_node::from_within(node),
        _ => false,
    }
}

/// Whether this node may have the verb, apart from its state.
fn check_node(cx: &Context, node: &Node, wish: &Wish) -> Result<(), Refusal> {
    use NodeVerb::{Active, Deleted, Inspect, Provide, Rebuild, Rescue, Service};
    let verb = wish.verb;
    if node.protected && matches!(verb, Deleted | Rebuild) {
        return Err(Refusal::forbidden(format!(
            "Node {} is protected and cannot be undeployed, rebuilt or deleted. Set protected to false first.",
            node.id
        )));
    }
    if node.retired && verb == Provide {
        return Err(Refusal::forbidden(format!(
            "Node {} is retired: it does not become available again. Set retired to false first.",
            node.id
        )));
    }
    if node.maintenance && matches!(verb, Active | Rebuild | Deleted | Rescue | Service) {
        return Err(Refusal::invalid(format!(
            "The {verb} operation can't be performed on node {} because it's in maintenance mode.",
            node.id
        )));
    }
    let absent = match verb {
        Inspect => node.driver_part("inspect") == "no-inspect",
        Rescue => node.driver_part("rescue") == "no-rescue",
        _ => false,
    };
    if absent {
        return Err(Refusal::invalid(format!(
            "The driver {} of node {} does not support {verb} (disabled or not implemented): its interface for it is set to none.",
            node.driver, node.id
        )));
    }
    machine::open(cx, node)?;
    if begins_with_a_visit(node, verb) || verb == Deleted {
        ramdisk::check_ready(cx, node, verb.as_str())?;
    }
    Ok(())
}

/// The steps that the operation will run; `None` if the request says nothing of them.
async fn steps_of(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    node: &Node,
    wish: &Wish,
) -> Result<Option<Vec<Step>>, Failure> {
    let asked = match (&wish.steps, &wish.runbook) {
        (Some(steps), _) => Some(steps.clone()),
        (None, Some(ident)) => {
            let runbook = runbook::usable(cx, actor, tx, ident).await?;
            Some(steps::of_runbook(&runbook, node)?)
        }
        (None, None) => None,
    };
    let deploys = matches!(wish.verb, NodeVerb::Active | NodeVerb::Rebuild);
    let steps = if deploys {
        let mut all = asked.unwrap_or_default();
        all.extend(steps::of_templates(tx, node).await?);
        all.sort_by_key(|step| std::cmp::Reverse(step.priority));
        Some(all)
    } else {
        asked
    };
    let asked = steps.as_deref().unwrap_or_default();
    steps::check(node, asked)?;
    steps::check_for(wish.verb, asked)?;
    firmware_args::check_asked(cx, actor, wish.verb, asked)?;
    Ok(steps)
}

async fn keep_secrets(
    cx: &Context,
    tx: &mut Tx,
    node: &mut Node,
    wish: &Wish,
) -> Result<(), Failure> {
    for (place, secret) in [
        (CONFIG_DRIVE, wish.config_drive.clone()),
        (
            PASSWORD,
            wish.rescue_password
                .as_ref()
                .map(|password| serde_json::Value::from(password.as_str()).to_string()),
        ),
    ] {
        if let Some(secret) = secret {
            rotate_key::seal(tx, &cx.metal.vault, node, place, &secret).await?;
        }
    }
    Ok(())
}

/// What acceptance alone changes.
fn accept(node: &mut Node, verb: NodeVerb, now: corten_model::time::Timestamp) {
    let rests = node.provision.state.on(NodeEvent::Done).is_none()
        && node.provision.state.on(NodeEvent::Fail).is_none();
    node.provision.target = match verb {
        NodeVerb::Unhold => node.provision.target,
        _ if rests => None,
        _ => verb.target(),
    };
    match verb {
        // From here on somebody's data is on the disks.
        NodeVerb::Active | NodeVerb::Rebuild | NodeVerb::Adopt => {
            node.wiped = None;
            node.image_written = false;
            node.image_unfit = false;
        }
        NodeVerb::Inspect => {
            node.inspection.started_at = Some(now);
            node.inspection.finished_at = None;
        }
        NodeVerb::Abort => {
            node.steps.clear();
            node.last_error = Some("It was aborted.".to_owned());
        }
        _ => {}
    }
    node.standard.updated_at = Some(now);
}

/// Starts the operation that the new state stands for, if it stands for one.
async fn begin(
    tx: &mut Tx,
    cx: &Arc<Context>,
    origin: &Origin,
    node: &Node,
    verb: NodeVerb,
) -> Result<(), Failure> {
    use ProvisionState as S;
    let node_id = node.id;
    let plain = work::Input { node_id };
    match node.provision.state {
        S::Verifying => {
            let workflow = VerifyNode(cx.clone());
            work::start(
                tx,
                cx,
                origin,
                node,
                &workflow,
                verify_node::Step::Ask,
                plain,
            )
            .await
        }
        S::Inspecting => {
            let workflow = InspectNode(cx.clone());
            work::start(
                tx,
                cx,
                origin,
                node,
                &workflow,
                InspectNode::first(node),
                plain,
            )
            .await
        }
        S::Adopting => {
            let workflow = AdoptNode(cx.clone());
            work::start(
                tx,
                cx,
                origin,
                node,
                &workflow,
                adopt_node::Step::Ask,
                plain,
            )
            .await
        }
        S::Deleting | S::Cleaning => {
            let step = match verb {
                NodeVerb::Deleted => clean_node::Step::TakeOff,
                NodeVerb::Provide => clean_node::Step::visit(Purpose::Wipe),
                NodeVerb::Unhold => clean_node::Step::Run,
                _ => clean_node::Step::visit(Purpose::Run),
            };
            let workflow = CleanNode(cx.clone());
            work::start(tx, cx, origin, node, &workflow, step, plain).await
        }
        S::Deploying => {
            let step = match verb {
                NodeVerb::Unhold => deploy_node::Step::of(node),
                _ => deploy_node::Step::Prepare,
            };
            let workflow = DeployNode(cx.clone());
            work::start(tx, cx, origin, node, &workflow, step, plain).await
        }
        S::Rescuing | S::Unrescuing => {
            let step = match node.provision.state {
                S::Rescuing => rescue_node::Step::Visit(Visit::Off),
                _ => rescue_node::Step::Own,
            };
            let workflow = RescueNode(cx.clone());
            work::start(tx, cx, origin, node, &workflow, step, plain).await
        }
        S::Servicing => {
            let step = match verb {
                NodeVerb::Unhold => service_node::Step::Run,
                _ => service_node::Step::Visit(Visit::Off),
            };
            let workflow = ServiceNode(cx.clone());
            work::start(tx, cx, origin, node, &workflow, step, plain).await
        }
        // The instance goes on with its server as it was before the service that failed.
        S::Active if verb == NodeVerb::Abort => {
            let workflow = ServiceNode(cx.clone());
            let step = service_node::Step::Leave;
            work::start(tx, cx, origin, node, &workflow, step, plain).await
        }
        _ => {
            tx.wake(ENDED);
            Ok(())
        }
    }
}
