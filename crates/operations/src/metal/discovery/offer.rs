//! From a report to a node that is offered: made, or written anew, in the transaction that uses up the boot's token.

use super::report::Report;
use super::{Standing, exists, is_full, standing};
use crate::context::Context;
use crate::metal::agent::{digest, same};
use crate::metal::inspect_node::within;
use crate::metal::ramdisk::timeline;
use crate::metal::{driver, inspection_rule, node, port};
use crate::settings::ProvisioningNetwork;
use corten_model::ids::{NodeId, NodePortId, TransitionId};
use corten_model::origin::Origin;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::metal::discovery::Discovery;
use corten_store::metal::lease;
use corten_store::metal::node::{Node, SUBJECT};
use corten_store::metal::offer::Offer;
use corten_store::metal::port::NodePort;
use corten_store::transitions::{self, Transition};
use corten_store::{Error, Failure, Query, Tx, record};
use serde_json::json;
use std::collections::BTreeSet;

/// What is locked while it is decided how many offers there are. No network has an empty name.
const OFFERS: &str = "";

/// Offers the server that this report is of. The token is the one that it was booted with.
pub async fn make(cx: &Context, token: Option<&str>, report: Report) -> Result<NodeId, Failure> {
    // Whoever has no token keeps nobody from writing.
    let boot = booted(&mut cx.store.read().await?, token, report.macs()).await?;
    let mut tx = cx.store.write().await?;
    record::lock::<Discovery>(&mut tx, boot.mac).await?;
    let mut boot = booted(&mut tx, token, report.macs()).await?;
    let networks = &cx.settings.provisioning.networks;
    let network = networks.iter().find(|network| network.name == boot.network);
    let network = network
        .filter(|network| network.discover)
        .ok_or_else(|| Refusal::not_found("Unknown servers are not discovered on this network."))?;
    let now = cx.now();
    let (mut node, again) = match whose(&mut tx, &report).await? {
        Some(id) => (lock(&mut tx, id).await?, true),
        None => (begin(&mut tx, cx, &boot, network, &report).await?, false),
    };
    describe(&mut node, network, report.clone(), now);
    record::update(&mut tx, &node).await?;
    set_ports(&mut tx, &node, &boot, &report, now).await?;
    apply_rules(cx, &mut tx, &mut node, now).await?;
    record::update(&mut tx, &node).await?;
    keep(&mut tx, &node, network, &report, again, now).await?;
    let what = format!(
        "{}, booted from {} on the network {}",
        report.words(),
        boot.mac,
        network.name
    );
    let event = if again {
        "discovered again"
    } else {
        "discovered"
    };
    timeline::note(&mut tx, node.id, now, event, what.as_str()).await?;
    boot.token = None;
    boot.node_id = node.id;
    record::update(&mut tx, &boot).await?;
    tx.commit().await?;
    tracing::info!(node = %node.id, driver = node.driver, again, "offered for enrolment: {what}");
    Ok(node.id)
}

/// The boot whose token this is, on one of the server's own cards.
async fn booted(
    tx: &mut Tx,
    token: Option<&str>,
    macs: &BTreeSet<String>,
) -> Result<Discovery, Failure> {
    let shown = token.map(digest);
    let is_its = |boot: &Discovery| match (&boot.token, &shown) {
        (Some(token), Some(shown)) => same(&token.sha256, shown),
        _ => false,
    };
    let macs = macs.iter().cloned();
    let boots: Vec<Discovery> = Query::new().any_of("id", macs).all(tx).await?;
    let boot = boots.into_iter().find(is_its);
    Ok(boot.ok_or_else(|| {
        Refusal::forbidden(
            "No unknown server was booted with this token, or it was used before. Boot the server again.",
        )
    })?)
}

/// The node that is offered for this server already. Refused if a node that somebody enrolled has one of its cards.
async fn whose(tx: &mut Tx, report: &Report) -> Result<Option<NodeId>, Failure> {
    lease::serialize(tx, OFFERS).await?;
    let mut nodes = match standing(tx, report.macs()).await? {
        Standing::Enrolled(node) => {
            tracing::info!(%node, "a server with a network card of this node was booted to be discovered: nothing is changed");
            return Err(Refusal::not_found(
                "A network card of this server belongs to a node that is enrolled: nothing is discovered, and nothing is changed.",
            )
            .into());
        }
        Standing::Offered(nodes) => nodes,
        Standing::Unknown => BTreeSet::new(),
    };
    nodes.extend(with_identity(tx, report).await?);
    let mut nodes = nodes.into_iter();
    match (nodes.next(), nodes.next()) {
        (Some(first), Some(second)) => Err(Refusal::invalid(format!(
            "Nodes {first} and {second} are both offered with a network card or the serial number of this server: delete \
             those that are not it, and boot it again."
        ))
        .into()),
        (found, _) => Ok(found),
    }
}

/// The offers with the server's id or, where one of the two has none, its serial number.
async fn with_identity(tx: &mut Tx, report: &Report) -> Result<Vec<NodeId>, Failure> {
    let (uuid, serial) = (report.system_uuid(), report.serial());
    let mut offers: Vec<Offer> = Vec::new();
    if let Some(uuid) = &uuid {
        offers = Query::new()
            .equals("system_uuid", uuid.as_str())
            .all(tx)
            .await?;
    }
    if let Some(serial) = &serial
        && offers.is_empty()
    {
        offers = Query::new()
            .equals("serial", serial.as_str())
            .all(tx)
            .await?;
        offers.retain(|offer| uuid.is_none() || offer.system_uuid.is_none());
    }
    Ok(offers.into_iter().map(|offer| offer.node_id).collect())
}

/// An offered node, to be written anew.
async fn lock(tx: &mut Tx, id: NodeId) -> Result<Node, Failure> {
    let node = record::lock::<Node>(tx, id).await?;
    let offer = record::lock::<Offer>(tx, id).await?;
    match (node, offer) {
        (Some(node), Some(_)) => Ok(node),
        _ => Err(Refusal::conflict("The server was just enrolled.").into()),
    }
}

/// A new node, with the line of the log that tells where it comes from.
async fn begin(
    tx: &mut Tx,
    cx: &Context,
    boot: &Discovery,
    network: &ProvisioningNetwork,
    report: &Report,
) -> Result<Node, Failure> {
    if is_full(tx, cx).await? {
        let max = cx.settings.provisioning.offers_max;
        tracing::warn!(
            max,
            "a server is not offered: as many are, and nobody has taken them up"
        );
        return Err(Refusal::unavailable(format!(
            "{max} servers are offered already and nobody has taken them up. This one is, as soon as there is room."
        ))
        .into());
    }
    let now = cx.now();
    // The node that was planned may have been made with another of the server's cards, and taken up.
    let id = if exists(tx, boot.node_id).await? {
        NodeId::random()
    } else {
        boot.node_id
    };
    let node = node::blank(id, driver::of_node(&cx.metal, report.driver())?, now);
    record::insert(tx, &node).await?;
    let transition = Transition {
        id: TransitionId::next(),
        at: now,
        subject_kind: SUBJECT.to_owned(),
        subject_id: id.to_string(),
        project_id: None,
        from: None,
        to: node.provision.state.as_str().to_owned(),
        why: format!(
            "discovered on the network {} when it booted from {}: {}",
            network.name,
            boot.mac,
            report.words()
        ),
        origin: Origin::system(),
        lasted_micros: 0,
    };
    transitions::append(tx, &transition).await?;
    Ok(node)
}

/// Writes what the server told into its node.
fn describe(node: &mut Node, network: &ProvisioningNetwork, report: Report, now: Timestamp) {
    node.conductor_group.clone_from(&network.conductor_group);
    if let Some((key, address)) = report.driver_info(&node.driver) {
        node.driver_info.insert(key.to_owned(), address.into());
    }
    let (inventory, mut plugin_data) = report.into_parts();
    within::keep(node, inventory, now);
    plugin_data.insert("source".to_owned(), json!("ramdisk"));
    // As Ironic marks it, for inspection rules.
    plugin_data.insert("auto_discovered".to_owned(), json!(true));
    node.inspection.plugin_data = Some(plugin_data.into());
    node.last_error = None;
    node.standard.updated_at = Some(now);
}

/// Writes down that a node is offered, and by what its server is told.
async fn keep(
    tx: &mut Tx,
    node: &Node,
    network: &ProvisioningNetwork,
    report: &Report,
    again: bool,
    now: Timestamp,
) -> Result<(), Failure> {
    let offer = Offer {
        node_id: node.id,
        network: network.name.clone(),
        system_uuid: report.system_uuid(),
        serial: report.serial(),
        seen_at: now,
    };
    if again {
        record::update(tx, &offer).await?;
    } else {
        record::insert(tx, &offer).await?;
    }
    Ok(())
}

/// Each card is a port; the server boots on the one that it booted on now. Cards that are gone take their ports along.
async fn set_ports(
    tx: &mut Tx,
    node: &Node,
    boot: &Discovery,
    report: &Report,
    now: Timestamp,
) -> Result<(), Failure> {
    let mut ports = corten_store::metal::port::of_node(tx, node.id).await?;
    for gone in ports.extract_if(.., |port| !report.macs().contains(&port.address)) {
        record::delete::<NodePort>(tx, gone.id).await?;
    }
    for mac in report.macs() {
        let boots = *mac == boot.mac;
        match ports.iter_mut().find(|port| port.address == *mac) {
            Some(port) if boots && !port.pxe_enabled => {
                port.pxe_enabled = true;
                port.standard.updated_at = Some(now);
                record::update(tx, port).await?;
            }
            Some(_) => {}
            None => {
                let mut port = port::blank(NodePortId::random(), node, mac.clone(), now);
                port.pxe_enabled = boots;
                record::insert(tx, &port).await.map_err(taken)?;
            }
        }
    }
    Ok(())
}

/// Somebody else wrote the same card down meanwhile: the ramdisk asks again, and it is known then.
fn taken(error: Error) -> Failure {
    match error {
        Error::Exists { .. } => {
            Refusal::conflict("A network card of this server was just enrolled.").into()
        }
        error => error.into(),
    }
}

/// A rule that cannot be applied is told as the node's last error, and the server is offered all the same.
async fn apply_rules(
    cx: &Context,
    tx: &mut Tx,
    node: &mut Node,
    now: Timestamp,
) -> Result<(), Failure> {
    match inspection_rule::apply(cx, tx, node, now).await {
        Err(Failure::Refused(refusal)) => {
            node.last_error = Some(refusal.message);
            Ok(())
        }
        applied => applied,
    }
}
