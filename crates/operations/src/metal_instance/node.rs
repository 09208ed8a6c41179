//! The node that carries an instance.

use crate::context::Context;
use crate::extra_specs;
use crate::instance::spec;
use crate::metal::provision::{CONFIG_DRIVE, carry_out};
use crate::metal::{
    config_drive, firmware_args, firmware_steps, machine, ramdisk, rotate_key, steps, work,
};
use corten_engine::{StepCx, StepError};
use corten_model::ids::InstanceId;
use corten_model::lifecycle::Command;
use corten_model::lifecycle::node::{NodeStateKind, NodeVerb, ProvisionState};
use corten_model::refusal::Refusal;
use corten_store::instances::Instance;
use corten_store::metal::node::{Node, SUBJECT, Step};
use corten_store::metal::port;
use corten_store::{Error, Failure, Query, Tx, operations, record};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a server that could not be taken off its instance is left alone before that is tried again.
const PAUSE: Duration = Duration::from_secs(120);

/// The node that holds an instance, locked.
pub async fn lock(tx: &mut Tx, id: InstanceId) -> Result<Option<Node>, StepError> {
    Ok(match find(tx, id).await? {
        Some(node) => record::lock(tx, node.id).await?,
        None => None,
    })
}

/// The node that holds an instance.
pub async fn find(tx: &mut Tx, id: InstanceId) -> Result<Option<Node>, Error> {
    Query::new().equals("instance_id", &id).first(tx).await
}

/// Refuses a command that the operator of the instance's node does not let pass: a protected node keeps what is on it, and one in
/// maintenance gets no other system. That it is given back from maintenance is no refusal: it stays there, wiped.
pub async fn check_node(tx: &mut Tx, id: InstanceId, command: Command) -> Result<(), Failure> {
    use Command as C;
    if !matches!(
        command,
        C::Delete | C::ForceDelete | C::SoftDelete | C::Rebuild
    ) {
        return Ok(());
    }
    let Some(node) = find(tx, id).await? else {
        return Ok(());
    };
    let (flag, reason) = match command {
        _ if node.protected => ("protected", &node.protected_reason),
        C::Rebuild if node.maintenance => ("maintenance", &node.maintenance_reason),
        _ => return Ok(()),
    };
    let reason = reason.as_deref().filter(|why| !why.is_empty());
    let reason = reason.map_or_else(String::new, |why| format!(" ({why})"));
    Err(Refusal::conflict(format!(
        "'{command}' of instance {id} is refused: its server, node {}, has {flag} set{reason}. Have an operator of the node set \
         {flag} to false first.",
        node.id
    ))
    .into())
}

/// Writes into a node what its instance is to be, and has it deployed or rebuilt. What the node refuses is a
/// [`StepError::Fail`]; what was written until then is to be undone with the transaction.
pub async fn order(
    tx: &mut Tx,
    cx: &Arc<Context>,
    at: &StepCx,
    node: &mut Node,
    instance: &Instance,
    verb: NodeVerb,
    admin_pass: Option<&str>,
) -> Result<(), StepError> {
    let intent = &instance.intent;
    let image = intent
        .image
        .as_ref()
        .ok_or_else(|| StepError::Fail(format!("Instance {} names no image.", instance.id)))?;
    node.instance_id = Some(instance.id);
    node.instance_name = Some(intent.name.clone());
    let info = &mut node.instance_info;
    info.insert("image_source".to_owned(), json!(image.id));
    info.insert("display_name".to_owned(), json!(intent.name));
    let traits = extra_specs::required_traits(&intent.flavor.extra_specs);
    // Ironic's virtualization driver does the same: deploy templates of these names are run.
    if traits.is_empty() {
        info.remove("traits");
    } else {
        info.insert("traits".to_owned(), json!(traits));
    }
    check_reach(cx, node, verb)?;
    let steps = template_steps(tx, node, verb).await?;
    let files = files(tx, cx, node, instance, admin_pass).await?;
    let drive = config_drive::pack(files).await?;
    rotate_key::seal(tx, &cx.metal.vault, node, CONFIG_DRIVE, &drive).await?;
    carry_out(tx, cx, &at.origin(), node, verb, steps).await?;
    Ok(())
}

/// Refuses a node whose server could not be reached or booted, before anything is done to it.
fn check_reach(cx: &Context, node: &Node, verb: NodeVerb) -> Result<(), Failure> {
    machine::open(cx, node)?;
    Ok(ramdisk::check_ready(cx, node, verb.as_str())?)
}

/// The steps of the deploy templates that the traits of the instance's flavor name.
async fn template_steps(tx: &mut Tx, node: &Node, verb: NodeVerb) -> Result<Vec<Step>, Failure> {
    let steps = steps::of_templates(tx, node).await?;
    steps::check(node, &steps)?;
    steps::check_for(verb, &steps)?;
    if steps.iter().any(firmware_args::is_it) {
        return Err(Refusal::invalid(format!(
            "A deploy template that is named as a trait of the flavor has the step firmware.update, which node {} runs only \
             with the target 'clean' or 'service'. Take it out of the template.",
            node.id
        ))
        .into());
    }
    Ok(steps)
}

/// The files of the config drive. The server is on the network of its conductor group, where it asks by DHCP.
async fn files(
    tx: &mut Tx,
    cx: &Context,
    node: &Node,
    instance: &Instance,
    admin_pass: Option<&str>,
) -> Result<Vec<(String, Vec<u8>)>, StepError> {
    let cards = port::of_node(tx, node.id).await?;
    let card = cards.iter().find(|card| card.pxe_enabled).or(cards.first());
    let network = network_data(card.map(|card| card.address.as_str()));
    let drive = spec::config_drive(cx, instance, Vec::new(), admin_pass);
    let files = drive.files.into_iter().map(|file| {
        if file.path.ends_with("/network_data.json") {
            (file.path, network.to_string().into_bytes())
        } else {
            (file.path, file.content)
        }
    });
    Ok(files.collect())
}

fn network_data(mac: Option<&str>) -> Value {
    let links = mac.map(|mac| json!({"id": "boot", "type": "phy", "ethernet_mac_address": mac}));
    let networks = mac.map(|_| json!({"id": "boot", "link": "boot", "type": "ipv4_dhcp"}));
    json!({
        "links": links.into_iter().collect::<Vec<_>>(),
        "networks": networks.into_iter().collect::<Vec<_>>(),
        "services": [],
    })
}

/// How far giving a server back is.
pub enum Return {
    /// It is off, and not this instance's any more.
    Done,
    /// Why it is not yet.
    Waits(String),
    /// Why it must not be yet, however long that takes.
    Held(String),
}

/// Gives a server back: from here on it is taken off, and wiped. Once the `time_is_up` nothing more is begun.
pub async fn give_back(
    tx: &mut Tx,
    cx: &Arc<Context>,
    at: &StepCx,
    id: InstanceId,
    time_is_up: bool,
) -> Result<Return, StepError> {
    use ProvisionState as S;
    let Some(mut node) = lock(tx, id).await? else {
        return Ok(Return::Done);
    };
    let state = node.provision.state;
    let taken_off = format!("node {} is being taken off", node.id);
    if matches!(state, S::Deleting | S::Cleaning) {
        return Ok(Return::Waits(taken_off));
    }
    if state == S::Available || state == S::Manageable {
        // Nothing was put on it.
        forget(&mut node);
        work::save(tx, at, &mut node).await?;
        return Ok(Return::Done);
    }
    if let Err(refusal) = firmware_steps::check_quiet(&node, at.now(), "target 'deleted'") {
        return Ok(Return::Held(refusal.message));
    }
    if time_is_up || !state.legal().any(|verb| verb == NodeVerb::Deleted) {
        return Ok(Return::Waits(format!("node {} is {state}", node.id)));
    }
    if state == S::Error && at.now().since(node.provision.since) < PAUSE {
        let why = node.last_error.unwrap_or_default();
        let note = format!(
            "node {} could not be taken off, which is tried again: {why}",
            node.id
        );
        return Ok(Return::Waits(note));
    }
    if let Some(note) = worked_on(tx, &node).await? {
        return Ok(Return::Waits(note));
    }
    let (origin, verb) = (at.origin(), NodeVerb::Deleted);
    match carry_out(tx, cx, &origin, &mut node, verb, Vec::new()).await {
        Ok(()) => Ok(Return::Waits(taken_off)),
        // What was written is undone with the transaction; what refused it may be over soon.
        Err(Failure::Refused(refusal)) => Err(StepError::Retry(refusal.message)),
        Err(trouble) => Err(trouble.into()),
    }
}

/// The work that must end before a node can be taken off. What waits for its ramdisk is broken off instead.
async fn worked_on(tx: &mut Tx, node: &Node) -> Result<Option<String>, StepError> {
    let row = node.provision.state.row();
    if row.is_some_and(|row| row.kind == NodeStateKind::Waits) {
        return Ok(None);
    }
    let running = operations::running_on(tx, SUBJECT, &node.id.to_string()).await?;
    Ok(running.map(|running| {
        let (operation, kind) = (running.id, running.kind);
        format!(
            "node {} is worked on by operation {operation} ({kind})",
            node.id
        )
    }))
}

/// Takes an instance off a node that cannot be taken off: a person must look at it before anybody else gets it. `what` became
/// of the instance.
pub async fn abandon(
    tx: &mut Tx,
    at: &StepCx,
    id: InstanceId,
    what: &str,
) -> Result<(), StepError> {
    let Some(mut node) = lock(tx, id).await? else {
        return Ok(());
    };
    forget(&mut node);
    let trouble = node.last_error.take();
    let trouble = trouble.map_or_else(String::new, |last| format!(" The last trouble was: {last}"));
    node.last_error = Some(format!(
        "Instance {id} {what}, and this node could not be taken off it in time. It may still run: switch it off and wipe \
         it.{trouble}"
    ));
    work::quarantine(&mut node, "undeploy failure");
    work::save(tx, at, &mut node).await?;
    Ok(())
}

fn forget(node: &mut Node) {
    node.instance_id = None;
    node.instance_name = None;
    node.instance_info.clear();
    node.secrets
        .retain(|place, _| !place.starts_with("instance_info/"));
}
