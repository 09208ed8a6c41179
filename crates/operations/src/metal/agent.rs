//! The ramdisk on a server: it looks up which node it runs on, is told its token once, and sends heartbeats with it.

use super::access::{self, Ident};
use crate::context::Context;
use corten_model::lifecycle::node::{NodeStateKind, ProvisionState};
use corten_model::refusal::Refusal;
use corten_store::metal::node::{Agent, Node};
use corten_store::metal::port::NodePort;
use corten_store::{Failure, Query, Tx, record};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use sha2::{Digest as _, Sha256};

const TOKEN_BYTES: usize = 32;

/// How often a ramdisk is to call.
pub const HEARTBEAT_SECS: u64 = 300;

/// A node that a ramdisk asked for, with the token that it is told this once.
pub struct Found {
    pub node: Node,
    /// `None`: it was told before, to this ramdisk or to another.
    pub token: Option<String>,
}

/// Whether a ramdisk may run on a node now. From others nobody without a login learns anything.
fn expects_a_ramdisk(node: &Node) -> bool {
    let kind = node.provision.state.row().map(|row| row.kind);
    matches!(
        kind,
        Some(NodeStateKind::Moves | NodeStateKind::Waits | NodeStateKind::Holds)
    ) || node.provision.state == ProvisionState::Rescue
}

/// The node with one of these MAC addresses, or with this id.
pub async fn lookup(
    cx: &Context,
    addresses: &[String],
    id: Option<&str>,
) -> Result<Found, Failure> {
    let nobody = || Refusal::not_found("No node with these addresses expects a ramdisk.");
    let mut tx = cx.store.write().await?;
    let found = match id {
        Some(id) => access::find::<Node>(&mut tx, &Ident::id(id)).await?,
        None => by_address(&mut tx, addresses).await?,
    };
    let node = found.filter(expects_a_ramdisk).ok_or_else(nobody)?;
    let mut node = record::lock::<Node>(&mut tx, node.id)
        .await?
        .ok_or_else(nobody)?;
    let token = if node.agent.is_none() {
        let token = new_token()?;
        node.agent = Some(Agent {
            token_sha256: digest(&token),
            url: None,
            version: None,
            seen_at: None,
        });
        record::update(&mut tx, &node).await?;
        Some(token)
    } else {
        None
    };
    tx.commit().await?;
    Ok(Found { node, token })
}

async fn by_address(tx: &mut Tx, addresses: &[String]) -> Result<Option<Node>, Failure> {
    let addresses = addresses.iter().map(|address| address.to_ascii_lowercase());
    let ports: Vec<NodePort> = Query::new().any_of("address", addresses).all(tx).await?;
    let Some(first) = ports.first() else {
        return Ok(None);
    };
    // Cards of two nodes are no answer to which node it is.
    if ports.iter().any(|port| port.node_id != first.node_id) {
        return Ok(None);
    }
    Ok(record::get(tx, first.node_id).await?)
}

fn new_token() -> Result<String, Failure> {
    let mut bytes = [0; TOKEN_BYTES];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| Failure::outside("making an agent's token", error.to_string()))?;
    Ok(hex::encode(bytes))
}

fn digest(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// A ramdisk says that it is there, and where it listens.
pub async fn heartbeat(
    cx: &Context,
    ident: &Ident,
    url: &str,
    version: Option<String>,
    token: Option<&str>,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let node = access::get::<Node>(&mut tx, ident).await?;
    let token = token.ok_or_else(|| {
        Refusal::invalid(
            "Agent token is required for heartbeat processing: look the node up first.",
        )
    })?;
    let mut node = record::lock::<Node>(&mut tx, node.id)
        .await?
        .ok_or_else(|| access::missing::<Node>(&ident.text))?;
    let known = node
        .agent
        .as_ref()
        .is_some_and(|agent| same(&agent.token_sha256, &digest(token)));
    if !known {
        return Err(Refusal::invalid("Invalid or missing agent token received.").into());
    }
    if let Some(agent) = &mut node.agent {
        agent.url = Some(url.to_owned());
        agent.version = version.or(agent.version.take());
        agent.seen_at = Some(cx.now());
    }
    record::update(&mut tx, &node).await?;
    tx.commit().await?;
    Ok(())
}

/// Compares in a time that does not tell how much is right.
fn same(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left
            .bytes()
            .zip(right.bytes())
            .fold(0, |differs, (left, right)| differs | (left ^ right))
            == 0
}
