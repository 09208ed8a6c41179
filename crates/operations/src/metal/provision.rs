//! The verbs of `PUT /v1/nodes/{id}/states/provision`: whether one is accepted, and the operation that it starts.

use super::access::{self, Ident};
use super::adopt_node::AdoptNode;
use super::clean_node::{self, CleanNode};
use super::deploy_node::{self, DeployNode};
use super::inspect_node::InspectNode;
use super::rescue_node::{self, PASSWORD, RescueNode};
use super::service_node::ServiceNode;
use super::verify_node::VerifyNode;
use super::{
    ENDED, adopt_node, at_rest, inspect_node, machine, rotate_key, runbook, service_node, steps,
    verify_node, work,
};
use crate::context::Context;
use corten_iam::action::baremetal::NODES_OPERATE;
use corten_iam::actor::Actor;
use corten_model::lifecycle::node::{NodeEvent, NodeVerb, ProvisionState, decide};
use corten_model::refusal::Refusal;
use corten_store::metal::node::{Node, Step};
use corten_store::{Failure, Tx, record};
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
    at_rest(cx, node.id).await?;
    let mut tx = cx.store.write().await?;
    let mut node = access::lock_node_to_operate(cx, actor, &mut tx, ident, NODES_OPERATE).await?;
    check_node(cx, &node, &wish)?;
    let state = decide(node.provision.state, wish.verb)
        .map_err(|illegal| Refusal::invalid(illegal.message(node.id)))?;
    let left = match steps_of(cx, actor, &mut tx, &node, &wish).await? {
        Some(steps) => steps,
        None if wish.verb == NodeVerb::Unhold => std::mem::take(&mut node.steps),
        None => Vec::new(),
    };
    keep_secrets(cx, &mut tx, &mut node, &wish).await?;
    let why = format!("{} was asked for", wish.verb);
    let (origin, now) = (actor.origin(), cx.now());
    node.enter(&mut tx, state, &why, &origin, now).await?;
    if let Some(resumed) = state
        .on(NodeEvent::Resume)
        .filter(|_| wish.verb == NodeVerb::Unhold)
    {
        node.enter(&mut tx, resumed, "a person let it go on", &origin, now)
            .await?;
    }
    node.steps = left;
    node.last_error = None;
    accept(&mut node, &wish, now);
    record::update(&mut tx, &node).await?;
    begin(&mut tx, cx, actor, &node, wish.verb).await?;
    tx.commit().await?;
    Ok(())
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

/// Verbs that something booted on the server must carry out.
const FROM_WITHIN: &[NodeVerb] = &[
    NodeVerb::Provide,
    NodeVerb::Clean,
    NodeVerb::Active,
    NodeVerb::Rebuild,
    NodeVerb::Deleted,
    NodeVerb::Rescue,
    NodeVerb::Unrescue,
    NodeVerb::Service,
];

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
    let machine = machine::open(cx, node)?;
    if machine.inside.is_none() && FROM_WITHIN.contains(&verb) {
        return Err(Refusal::not_implemented(format!(
            "The target '{verb}' needs a system that is booted on the server to work from within, which this cloud does \
             not have for the driver {} yet. What it does with such servers: manage, inspect, adopt, power and boot device.",
            node.driver
        )));
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
    steps::check(steps.as_deref().unwrap_or_default())?;
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
            let key = rotate_key::sealing_key(tx).await?;
            let sealed = cx
                .metal
                .vault
                .seal(key.as_deref(), node.id, place, &secret)
                .map_err(|error| Failure::outside("sealing a secret", error))?;
            node.secrets.insert(place.to_owned(), sealed);
        }
    }
    Ok(())
}

/// What acceptance alone changes.
fn accept(node: &mut Node, wish: &Wish, now: corten_model::time::Timestamp) {
    let verb = wish.verb;
    let rests = node.provision.state.on(NodeEvent::Done).is_none()
        && node.provision.state.on(NodeEvent::Fail).is_none();
    node.provision.target = match verb {
        NodeVerb::Unhold => node.provision.target,
        _ if rests => None,
        _ => verb.target(),
    };
    match verb {
        // From here on somebody's data is on the disks.
        NodeVerb::Active | NodeVerb::Rebuild | NodeVerb::Adopt => node.wiped = None,
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
    actor: &Actor,
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
                actor,
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
                actor,
                node,
                &workflow,
                inspect_node::Step::Ask,
                plain,
            )
            .await
        }
        S::Adopting => {
            let workflow = AdoptNode(cx.clone());
            work::start(tx, cx, actor, node, &workflow, adopt_node::Step::Ask, plain).await
        }
        S::Deleting | S::Cleaning => {
            let step = match verb {
                NodeVerb::Deleted => clean_node::Step::TakeOff,
                NodeVerb::Provide => clean_node::Step::Wipe,
                _ => clean_node::Step::Run,
            };
            let workflow = CleanNode(cx.clone());
            let input = clean_node::Input { node_id };
            work::start(tx, cx, actor, node, &workflow, step, input).await
        }
        S::Deploying => {
            let step = match verb {
                NodeVerb::Unhold => deploy_node::Step::Run,
                _ => deploy_node::Step::Prepare,
            };
            let workflow = DeployNode(cx.clone());
            work::start(tx, cx, actor, node, &workflow, step, plain).await
        }
        S::Rescuing | S::Unrescuing => {
            let into = match node.provision.state {
                S::Rescuing => rescue_node::Into::RescueSystem,
                _ => rescue_node::Into::OwnSystem,
            };
            let workflow = RescueNode(cx.clone());
            let input = rescue_node::Input { node_id, into };
            work::start(
                tx,
                cx,
                actor,
                node,
                &workflow,
                rescue_node::Step::Boot,
                input,
            )
            .await
        }
        S::Servicing => {
            let workflow = ServiceNode(cx.clone());
            work::start(
                tx,
                cx,
                actor,
                node,
                &workflow,
                service_node::Step::Run,
                plain,
            )
            .await
        }
        _ => {
            tx.wake(ENDED);
            Ok(())
        }
    }
}
