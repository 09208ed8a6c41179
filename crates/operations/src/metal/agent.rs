//! The ramdisk on a server: it looks up which node it runs on, and sends heartbeats with a token.
//!
//! ```text
//!  ours:   lookup with the boot's token ─▶ told a token of its own, once ─▶ heartbeats with that
//!  stock:  lookup without ─▶ told the node's id, no more ─▶ heartbeat with the boot's token, which becomes its own
//! ```
//!
//! Either way the token that a server was booted with is good for one use, and nothing is done for who does not have it.

use super::access::{self, Ident};
use super::driver::FAKE;
use super::ramdisk::{self, timeline};
use super::{network_data, rotate_key};
use crate::context::Context;
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::{NodeStateKind, ProvisionState};
use corten_model::refusal::Refusal;
use corten_store::metal::lease;
use corten_store::metal::node::{Agent, Node, SUBJECT};
use corten_store::metal::port::NodePort;
use corten_store::{Failure, Query, Tx, operations, record};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use sha2::{Digest as _, Sha256};

const TOKEN_BYTES: usize = 32;

/// Where a ramdisk's token is kept, sealed: commands carry it.
pub const TOKEN: &str = "agent/token";

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

/// Whether a ramdisk shows the one-time token of a node's boot, which is used up by this.
fn take_boot_token(node: &mut Node, shown: Option<&str>) -> Result<(), Refusal> {
    let boot = node.boot.as_mut();
    let wanted = boot.and_then(|boot| boot.token_sha256.take());
    match (wanted, shown) {
        (Some(wanted), Some(shown)) if same(&wanted, &digest(shown)) => Ok(()),
        (None, _) => Err(Refusal::forbidden(
            "The token of this boot was used before, or no boot is under way. Boot the server through the control plane.",
        )),
        (Some(_), _) => Err(Refusal::forbidden(
            "This boot has another one-time token. Boot the server through the control plane.",
        )),
    }
}

/// The node with one of these MAC addresses, or with this id. `boot_token` is what a real server was booted with.
pub async fn lookup(
    cx: &Context,
    addresses: &[String],
    id: Option<&str>,
    boot_token: Option<&str>,
) -> Result<Found, Failure> {
    let mut tx = cx.store.write().await?;
    let node = expecting(&mut tx, addresses, id).await?;
    let mut node = record::lock::<Node>(&mut tx, node.id)
        .await?
        .ok_or_else(nobody)?;
    let boots = ramdisk::boots(&node);
    if boots {
        take_boot_token(&mut node, boot_token)?;
        let detail = "its one-time token was right";
        timeline::note(&mut tx, node.id, cx.now(), timeline::CALLED, detail).await?;
    }
    let token = if node.agent.is_none() || boots {
        let token = new_token()?;
        rotate_key::seal(&mut tx, &cx.metal.vault, &mut node, TOKEN, &token).await?;
        node.agent = Some(Agent {
            token_sha256: digest(&token),
            url: None,
            certificate: None,
            version: None,
            stock: false,
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

fn nobody() -> Refusal {
    Refusal::not_found("No node with these addresses expects a ramdisk.")
}

async fn expecting(tx: &mut Tx, addresses: &[String], id: Option<&str>) -> Result<Node, Failure> {
    let found = match id {
        Some(id) => access::find::<Node>(tx, &Ident::id(id)).await?,
        None => by_address(tx, addresses).await?,
    };
    Ok(found.filter(expects_a_ramdisk).ok_or_else(nobody)?)
}

/// Which node a stock agent runs on, which shows no token yet. It may learn the id and no more, and only while it may be about
/// to call, or works there: it looks up again before it writes an image.
pub async fn awaited(
    cx: &Context,
    addresses: &[String],
    id: Option<&str>,
) -> Result<NodeId, Failure> {
    let node = expecting(&mut cx.store.read().await?, addresses, id).await?;
    let awaited = node.boot.as_ref();
    let awaited = awaited.is_some_and(|boot| boot.token_sha256.is_some());
    let works = node.agent.as_ref().is_some_and(|agent| agent.stock);
    if awaited || works {
        return Ok(node.id);
    }
    Err(Refusal::forbidden(
        "No ramdisk is awaited that could ask without its boot's token. Boot the server through the control plane.",
    )
    .into())
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

/// A secret that nobody guesses.
pub fn new_token() -> Result<String, Failure> {
    let mut bytes = [0; TOKEN_BYTES];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| Failure::outside("making an agent's token", error.to_string()))?;
    Ok(hex::encode(bytes))
}

/// What a row keeps of a token.
pub fn digest(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// What a ramdisk says of itself.
#[derive(Debug, Clone, Default)]
pub struct Beat {
    /// Where it listens.
    pub url: String,
    /// What it shows there, in PEM.
    pub certificate: Option<String>,
    pub version: Option<String>,
    pub token: Option<String>,
}

/// A ramdisk says that it is there, and where it listens. What waits for it goes on at once.
pub async fn heartbeat(cx: &Context, ident: &Ident, beat: Beat) -> Result<(), Failure> {
    let Beat {
        url,
        certificate,
        version,
        token,
    } = beat;
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
    let stock = has_boot_token(&node, &token);
    if !stock && !has_token(&node, &token) {
        return Err(Refusal::invalid("Invalid or missing agent token received.").into());
    }
    check_url(&mut tx, &node, &url).await?;
    if stock && certificate.is_none() {
        return Err(Refusal::invalid(
            "The agent sent no agent_verify_ca, so nobody knows that it is the one that is called back: leave enable_auto_tls \
             of ironic-python-agent as it is.",
        )
        .into());
    }
    if stock {
        welcome(&mut tx, cx, &mut node, &token).await?;
    }
    let now = cx.now();
    let mut first = false;
    if let Some(agent) = &mut node.agent {
        first = agent.url.is_none();
        agent.url = Some(url.clone());
        agent.certificate = certificate.or(agent.certificate.take());
        agent.version = version.or(agent.version.take());
        agent.seen_at = Some(now);
    }
    record::update(&mut tx, &node).await?;
    if first && ramdisk::boots(&node) {
        timeline::note(&mut tx, node.id, now, "first heartbeat", url).await?;
    }
    if node.boot.is_some() {
        operations::hasten(&mut tx, SUBJECT, &node.id.to_string(), now).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Whether this is the token of a node's boot, not used yet: a stock agent has it from the kernel's command line.
fn has_boot_token(node: &Node, token: &str) -> bool {
    let boot = node.boot.as_ref().filter(|_| expects_a_ramdisk(node));
    boot.and_then(|boot| boot.token_sha256.as_deref())
        .is_some_and(|wanted| same(wanted, &digest(token)))
}

/// A stock agent has shown the token of its boot, which is used up by this and its own from now on.
async fn welcome(tx: &mut Tx, cx: &Context, node: &mut Node, token: &str) -> Result<(), Failure> {
    take_boot_token(node, Some(token))?;
    rotate_key::seal(tx, &cx.metal.vault, node, TOKEN, token).await?;
    node.agent = Some(Agent {
        token_sha256: digest(token),
        url: None,
        certificate: None,
        version: None,
        stock: true,
        seen_at: None,
    });
    let detail = "a stock agent, whose one-time token was right";
    Ok(timeline::note(tx, node.id, cx.now(), timeline::CALLED, detail).await?)
}

/// The stock agent ends when a rescue begins, and who is rescued reads its token in the kernel's command line: it is good for
/// nothing any more.
pub fn dismiss_stock(node: &mut Node) {
    if node.agent.as_ref().is_some_and(|agent| agent.stock) {
        node.agent = None;
        node.secrets.remove(TOKEN);
    }
}

/// Whether this is the token of the ramdisk that runs on a node.
fn has_token(node: &Node, token: &str) -> bool {
    node.agent
        .as_ref()
        .is_some_and(|agent| same(&agent.token_sha256, &digest(token)))
}

/// The node, for a ramdisk that shows its token.
pub async fn of_token(cx: &Context, ident: &Ident, token: &str) -> Result<Node, Failure> {
    let node = access::get::<Node>(&mut cx.store.read().await?, ident).await?;
    if !has_token(&node, token) {
        return Err(Refusal::forbidden("Invalid or missing agent token received.").into());
    }
    Ok(node)
}

/// A ramdisk listens at its own node's address, over TLS: whoever has its token cannot send the control plane elsewhere.
async fn check_url(tx: &mut Tx, node: &Node, url: &str) -> Result<(), Failure> {
    if node.driver == FAKE {
        return Ok(());
    }
    let parsed = url::Url::parse(url)
        .ok()
        .filter(|url| url.scheme() == "https");
    let host = parsed.as_ref().and_then(url::Url::host_str);
    let leases = lease::of_node(tx, node.id).await?;
    let fixed = network_data::of_node(node)?.map(|fixed| fixed.address.addr());
    let own = |host| {
        let mut addresses = leases.iter().map(|lease| lease.address).chain(fixed);
        addresses.any(|address| address.to_string() == host)
    };
    if host.is_some_and(own) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "The callback_url {url} is not https at an address of node {}.",
        node.id
    ))
    .into())
}

/// Compares in a time that does not tell how much is right.
pub fn same(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left
            .bytes()
            .zip(right.bytes())
            .fold(0, |differs, (left, right)| differs | (left ^ right))
            == 0
}
