//! The node that carries an instance.

use crate::context::Context;
use crate::instance::spec;
use crate::metal::provision::{CONFIG_DRIVE, carry_out};
use crate::metal::{config_drive, firmware_steps, rotate_key, work};
use corten_engine::{StepCx, StepError};
use corten_model::ids::InstanceId;
use corten_model::lifecycle::node::{NodeVerb, ProvisionState};
use corten_model::time::Timestamp;
use corten_store::instances::Instance;
use corten_store::metal::node::Node;
use corten_store::metal::port;
use corten_store::{Query, Tx, record};
use serde_json::{Value, json};
use std::sync::Arc;

/// The node that holds an instance, locked.
pub async fn lock(tx: &mut Tx, id: InstanceId) -> Result<Option<Node>, StepError> {
    Ok(match find(tx, id).await? {
        Some(node) => record::lock(tx, node.id).await?,
        None => None,
    })
}

/// The node that holds an instance.
pub async fn find(tx: &mut Tx, id: InstanceId) -> Result<Option<Node>, StepError> {
    Ok(Query::new().equals("instance_id", &id).first(tx).await?)
}

/// Writes into a node what its instance is to be, and has it deployed or rebuilt.
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
    let files = files(tx, cx, node, instance, admin_pass).await?;
    let drive = config_drive::pack(files).await?;
    rotate_key::seal(tx, &cx.metal.vault, node, CONFIG_DRIVE, &drive).await?;
    carry_out(tx, cx, &at.origin(), node, verb, Vec::new()).await?;
    Ok(())
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
    /// Why it is not yet, and since when.
    Waits(String, Timestamp),
    /// Why it must not be yet, however long that takes.
    Held(String),
}

/// Gives a server back: from here on it is taken off, and wiped.
pub async fn give_back(
    tx: &mut Tx,
    cx: &Arc<Context>,
    at: &StepCx,
    id: InstanceId,
) -> Result<Return, StepError> {
    use ProvisionState as S;
    let Some(mut node) = lock(tx, id).await? else {
        return Ok(Return::Done);
    };
    let state = node.provision.state;
    if matches!(state, S::Deleting | S::Cleaning) {
        return Ok(Return::Waits(
            format!("node {} is being taken off", node.id),
            node.provision.since,
        ));
    }
    if state == S::Available || state == S::Manageable {
        // Nothing was put on it.
        forget(&mut node);
        work::save(tx, at, &mut node).await?;
        return Ok(Return::Done);
    }
    if !state.legal().any(|verb| verb == NodeVerb::Deleted) {
        let note = format!("node {} is {state}", node.id);
        return Ok(Return::Waits(note, node.provision.since));
    }
    if let Err(refusal) = firmware_steps::check_quiet(&node, at.now(), "target 'deleted'") {
        return Ok(Return::Held(refusal.message));
    }
    carry_out(
        tx,
        cx,
        &at.origin(),
        &mut node,
        NodeVerb::Deleted,
        Vec::new(),
    )
    .await?;
    Ok(Return::Waits(
        format!("node {} is being taken off", node.id),
        node.provision.since,
    ))
}

/// Takes an instance off a node that cannot be taken off: a person must look at it before anybody else gets it.
pub async fn abandon(tx: &mut Tx, at: &StepCx, id: InstanceId) -> Result<(), StepError> {
    let Some(mut node) = lock(tx, id).await? else {
        return Ok(());
    };
    forget(&mut node);
    node.last_error = Some(format!(
        "Instance {id} was deleted, but this node could not be taken off it in time. It may still run: switch it off and wipe it."
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
