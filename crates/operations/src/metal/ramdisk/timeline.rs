//! The boot timeline: early signs of each boot, so that a server that hangs is told from one that is slow.

use super::limits;
use crate::context::Context;
use crate::metal::access::{self, Ident};
use corten_iam::action::baremetal::NODES_READ;
use corten_iam::actor::Actor;
use corten_model::ids::{BootSignId, NodeId};
use corten_model::mac::Mac;
use corten_model::time::Timestamp;
use corten_netboot::{BootEvent, BootStep, Sighting};
use corten_store::metal::boot_sign::{self, BootSign};
use corten_store::metal::port::NodePort;
use corten_store::metal::wipe::{self, Wipe};
use corten_store::{Failure, Query, Result, Tx, record};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Signs are kept for so long.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// A boot begins.
const PLANNED: &str = "boot planned";
/// Its ramdisk is there.
pub const CALLED: &str = "ramdisk called";
/// A DHCP server that is not ours answered it.
const ROGUE: &str = "rogue dhcp";
/// So many of them are named in the story of a boot.
const ROGUES_NAMED: usize = 3;
/// Whoever invents servers must not fill the memory; past this, their Ethernet addresses are learned anew.
const ROGUES_MAX: usize = 256;
/// So many signs are written together.
const AT_ONCE: usize = 64;

/// Writes a sign.
pub async fn note(
    tx: &mut Tx,
    node: NodeId,
    at: Timestamp,
    event: &str,
    detail: impl Into<String>,
) -> Result<()> {
    let sign = BootSign {
        id: BootSignId::random(),
        node_id: node,
        at,
        event: event.to_owned(),
        detail: detail.into(),
    };
    record::insert(tx, &sign).await
}

/// A boot begins: signs that are old enough go.
pub async fn begin(
    tx: &mut Tx,
    node: NodeId,
    at: Timestamp,
    detail: impl Into<String>,
) -> Result<()> {
    boot_sign::forget(tx, node, at.minus(KEPT)).await?;
    note(tx, node, at, PLANNED, detail).await
}

/// Which DHCP servers that are not ours answered a node since a moment, as the end of the sentence that tells why its boot
/// failed: `; a DHCP server that is not ours, 10.0.0.9 (aa:bb:cc:dd:ee:ff), answered 52:54:00:77:00:01`. Empty if none did.
pub async fn rogues(tx: &mut Tx, node: NodeId, since: Timestamp) -> Result<String> {
    let mut told: Vec<String> = Vec::new();
    for sign in boot_sign::of_node(tx, node, since).await? {
        if sign.event == ROGUE && !told.contains(&sign.detail) && told.len() < ROGUES_NAMED {
            told.push(sign.detail);
        }
    }
    Ok(told.iter().map(|detail| format!("; {detail}")).collect())
}

/// How long a boot of this node may take, by what its boots took: twice the 99th percentile. `None`: it booted too seldom to
/// tell.
pub async fn budget(tx: &mut Tx, node: NodeId) -> Result<Option<Duration>> {
    let signs = boot_sign::of_node(tx, node, Timestamp::from_micros(0)).await?;
    let signs = signs.iter().map(|sign| (sign.event.as_str(), sign.at));
    Ok(limits::twice_p99(boots(signs)))
}

/// The spans from a planned boot to the call of its ramdisk. A boot that brought none counts for nothing.
fn boots<'a>(signs: impl Iterator<Item = (&'a str, Timestamp)>) -> Vec<Duration> {
    let (mut spans, mut planned) = (Vec::new(), None);
    for (event, at) in signs {
        match event {
            PLANNED => planned = Some(at),
            CALLED => spans.extend(planned.take().map(|from| at.since(from))),
            _ => {}
        }
    }
    spans
}

/// The signs of a node that whoever asks may see, oldest first.
pub async fn list(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Vec<BootSign>, Failure> {
    let mut tx = cx.store.read().await?;
    let node = access::node(cx, actor, &mut tx, ident, NODES_READ).await?;
    Ok(boot_sign::of_node(&mut tx, node.id, Timestamp::from_micros(0)).await?)
}

/// The records of a node's wipes, the last one first.
pub async fn wipes(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Vec<Wipe>, Failure> {
    let mut tx = cx.store.read().await?;
    let node = access::node(cx, actor, &mut tx, ident, NODES_READ).await?;
    Ok(wipe::of_node(&mut tx, node.id).await?)
}

/// Writes what happens on a provisioning network, until its boot server ends.
pub async fn follow(cx: Arc<Context>, network: String, mut events: mpsc::Receiver<BootEvent>) {
    let mut waiting = Vec::new();
    let mut rogues = Rogues::default();
    while events.recv_many(&mut waiting, AT_ONCE).await > 0 {
        let signs: Vec<_> = waiting
            .drain(..)
            .filter_map(|event| sign(&network, &mut rogues, event))
            .collect();
        if signs.is_empty() {
            continue;
        }
        if let Err(error) = write(&cx, &signs).await {
            tracing::warn!(%error, network, "signs of boots are lost");
        }
    }
}

async fn write(cx: &Context, signs: &[Sign]) -> Result<()> {
    let mut tx = cx.store.write().await?;
    for sign in signs {
        let node = match sign.of {
            Of::Node(node) => node,
            Of::Card(mac) => {
                let card = Query::<NodePort>::new().equals("address", mac.to_string());
                match card.first(&mut tx).await? {
                    Some(card) => card.node_id,
                    None => continue,
                }
            }
        };
        note(&mut tx, node, sign.at, sign.event, sign.detail.as_str()).await?;
    }
    tx.commit().await
}

/// Whose sign it is.
#[derive(Debug, PartialEq)]
enum Of {
    Node(NodeId),
    /// The node's that has this card; nobody's if none has.
    Card(Mac),
}

/// A sign that is yet to be written.
#[derive(Debug, PartialEq)]
struct Sign {
    of: Of,
    at: Timestamp,
    event: &'static str,
    detail: String,
}

/// The Ethernet addresses of other DHCP servers, learned from their offers: who chose one knows its IP address only.
#[derive(Debug, Default)]
struct Rogues(BTreeMap<Ipv4Addr, Mac>);

impl Rogues {
    fn learn(&mut self, server: Ipv4Addr, seen: &Sighting) {
        let Sighting::Offer { from, .. } = seen else {
            return;
        };
        if self.0.len() >= ROGUES_MAX {
            self.0.clear();
        }
        self.0.insert(server, *from);
    }

    /// A server as it is named to people.
    fn name(&self, server: Ipv4Addr) -> String {
        match self.0.get(&server) {
            Some(mac) => format!("{server} ({mac})"),
            None => server.to_string(),
        }
    }
}

/// The sign of one event; what concerns no node is logged.
fn sign(network: &str, rogues: &mut Rogues, event: BootEvent) -> Option<Sign> {
    let at = event.at;
    let (node, event, detail) = match event.step {
        BootStep::Discovered { node, mac, client } => {
            let firmware = client
                .architecture
                .map_or_else(String::new, |kind| format!(" ({kind})"));
            (
                node,
                "dhcp",
                format!("{mac} asks for {}{firmware}", client.stage),
            )
        }
        BootStep::Leased {
            node,
            mac,
            address,
            boot_file,
        } => {
            let file =
                boot_file.map_or_else(|| "no boot file".to_owned(), |file| without_host(&file));
            (node, "leased", format!("{mac} has {address}, told {file}"))
        }
        BootStep::NoLoader { node, mac, client } => (
            node,
            "no loader",
            format!(
                "{mac} asks for {}, and no loader fits its firmware",
                client.stage
            ),
        ),
        BootStep::WrongAddress { node, mac, wanted } => (
            node,
            "wrong address",
            format!("{mac} wanted {wanted}, which is not its own"),
        ),
        BootStep::Declined { node, mac, address } => (
            node,
            "address in use",
            format!("{mac} found {address} in use by somebody else"),
        ),
        BootStep::Fetched {
            node,
            file,
            bytes,
            took,
            ..
        } => {
            let (node, file) = whose(node, &file)?;
            let millis = took.as_millis();
            (
                node,
                "fetched",
                format!("{file}, {bytes} bytes in {millis} ms"),
            )
        }
        BootStep::Broken {
            node,
            file,
            bytes,
            why,
            ..
        } => {
            let (node, file) = whose(node, &file)?;
            (
                node,
                "fetch broke off",
                format!("{file} after {bytes} bytes: {why}"),
            )
        }
        BootStep::Unknown { mac, times } => {
            tracing::info!(network, %mac, times, "an unknown server wants to boot");
            return None;
        }
        BootStep::Rogue {
            server,
            seen,
            times,
        } => {
            rogues.learn(server, &seen);
            let (client, how) = match seen {
                Sighting::Offer { from, to, offered } => {
                    (to, format!("{from} offered {offered} to {to}"))
                }
                Sighting::Choice { by, .. } => (by, format!("{by} chose it")),
            };
            metrics::counter!("corten_metal_rogue_dhcp_total", "network" => network.to_owned())
                .increment(1);
            tracing::error!(
                network, %server, times, how,
                "another DHCP server is on the provisioning network: switch it off, or name it in peers"
            );
            let name = rogues.name(server);
            return Some(Sign {
                of: Of::Card(client),
                at,
                event: ROGUE,
                detail: format!("a DHCP server that is not ours, {name}, answered {client}"),
            });
        }
        BootStep::Missed { events } => {
            tracing::warn!(
                network,
                events,
                "signs of boots came faster than they were written"
            );
            return None;
        }
    };
    Some(Sign {
        of: Of::Node(node),
        at,
        event,
        detail,
    })
}

/// A virtual-media image is named after its node, and the rest of its name is a secret.
fn whose(node: Option<NodeId>, file: &str) -> Option<(NodeId, String)> {
    match node {
        Some(node) => Some((node, file.to_owned())),
        None => {
            let (node, _) = super::boot::media_parts(file.strip_suffix(".iso")?)?;
            Some((node, "virtual media".to_owned()))
        }
    }
}

fn without_host(file: &str) -> String {
    file.rsplit('/').next().unwrap_or(file).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_chosen_is_named_with_the_address_that_its_offers_came_from() {
        let [client, probe, from] = [1, 2, 3].map(|last| Mac([2, 0, 0, 0, 0, last]));
        let server = Ipv4Addr::new(10, 0, 0, 9);
        let mut rogues = Rogues::default();
        let mut seen = |seen| {
            let step = BootStep::Rogue {
                server,
                seen,
                times: 1,
            };
            let at = Timestamp::from_micros(1);
            sign("lab", &mut rogues, BootEvent { at, step }).unwrap()
        };
        let chosen = Sighting::Choice {
            by: client,
            address: None,
        };
        let sign = seen(chosen);
        assert_eq!((sign.of, sign.event), (Of::Card(client), ROGUE));
        assert_eq!(
            sign.detail,
            "a DHCP server that is not ours, 10.0.0.9, answered 02:00:00:00:00:01"
        );
        seen(Sighting::Offer {
            from,
            to: probe,
            offered: [10, 0, 0, 77].into(),
        });
        let detail = seen(chosen).detail;
        assert!(detail.contains("10.0.0.9 (02:00:00:00:00:03)"), "{detail}");
    }

    #[test]
    fn a_boots_budget_is_twice_what_the_slowest_took() {
        let at = |secs: i64| Timestamp::from_micros(secs * 1_000_000);
        let spans = boots(
            [
                (PLANNED, at(0)),
                ("dhcp", at(5)),
                (CALLED, at(60)),
                (PLANNED, at(100)),
                (PLANNED, at(1000)),
                (CALLED, at(1090)),
                (CALLED, at(2000)),
            ]
            .into_iter(),
        );
        assert_eq!(spans, [60, 90].map(Duration::from_secs));
    }
}
