//! What servers print on their serial lines, kept for whoever has them.
//!
//! A BMC gives its serial line to one client. The control plane holds it while an instance is on the node, or while an
//! operator has switched the console on, and appends what comes to a file of that node and that instance: the next tenant
//! never sees it. With several replicas each holds the lines of the nodes that are shown under its conductor.
//!
//! The line is that of IPMI (serial over LAN). A node that is managed by Redfish has it where its BMC speaks both.

use super::access::{self, Ident};
use super::conductor::Assignment;
use super::driver::{IPMI, REDFISH};
use super::machine;
use crate::context::Context;
use crate::instance::console::tail;
use corten_bmc::{Machine, SerialStream};
use corten_iam::action::baremetal::NODES_READ_CONSOLE;
use corten_iam::actor::Actor;
use corten_model::ids::{InstanceId, NodeId};
use corten_model::refusal::Refusal;
use corten_store::metal::node::Node;
use corten_store::{Failure, Query};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::{self, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

/// The way of a driver's console that is kept.
pub const SOL: &str = "ipmitool-sol";
/// How often is looked which lines are to be held; a line that broke off is taken up again as soon.
const LOOK: Duration = Duration::from_secs(10);
/// Once in so many looks the whole fleet is read for nodes that have such a console at all.
const FLEET_LOOKS: u32 = 6;
/// Nodes that one query names.
const AT_ONCE: usize = 500;
/// A file that grows beyond it is cut to its newer half.
const LOG_MAX_BYTES: u64 = 1 << 20;

/// Whose line it is: a node, and the instance on it.
type Line = (NodeId, Option<InstanceId>);

/// Holds the lines of this conductor's nodes until the process ends.
pub async fn keep(cx: Arc<Context>, conductor: String) {
    let Some(directory) = cx.metal.console_directory.clone() else {
        return;
    };
    let mut held: HashMap<Line, JoinHandle<()>> = HashMap::new();
    let mut known = Known::default();
    let mut rounds = tokio::time::interval(LOOK);
    loop {
        rounds.tick().await;
        let wanted = match wanted(&cx, &conductor, &mut known).await {
            Ok(wanted) => wanted,
            Err(error) => {
                tracing::warn!(%error, "consoles of nodes are not looked after");
                continue;
            }
        };
        held.retain(|line, task| {
            let stays = wanted.contains_key(line);
            if !stays {
                task.abort();
            }
            stays && !task.is_finished()
        });
        for (line, node) in wanted {
            if held.contains_key(&line) {
                continue;
            }
            let (cx, path) = (cx.clone(), file(&directory, line));
            forget_others(&directory, line).await;
            held.insert(
                line,
                tokio::spawn(async move {
                    if let Err(why) = hold(&cx, &node, &path).await {
                        tracing::debug!(node = %node.id, why, "the serial line is not held");
                    }
                }),
            );
        }
    }
}

/// The nodes that have a console that is kept.
#[derive(Default)]
struct Known {
    ids: Vec<String>,
    /// Looks since the fleet was read.
    age: u32,
}

async fn wanted(
    cx: &Context,
    conductor: &str,
    known: &mut Known,
) -> Result<HashMap<Line, Node>, Failure> {
    let conductors = Assignment::read(cx).await?;
    let mut tx = cx.store.read().await?;
    let mut nodes: Vec<Node> = Vec::new();
    if known.age == 0 {
        let query = Query::new().any_of("driver", [IPMI, REDFISH]);
        nodes = query.all(&mut tx).await?;
    } else {
        for ids in known.ids.chunks(AT_ONCE) {
            let query = Query::new().any_of("id", ids.iter().cloned());
            nodes.extend(query.all(&mut tx).await?);
        }
    }
    nodes.retain(|node: &Node| node.driver_part("console") == SOL);
    if known.age == 0 {
        known.ids = nodes.iter().map(|node| node.id.to_string()).collect();
    }
    known.age = (known.age + 1) % FLEET_LOOKS;
    let held = nodes.into_iter().filter(|node| {
        (node.instance_id.is_some() || node.console_enabled)
            && conductors.of(node.id).is_none_or(|name| name == conductor)
    });
    Ok(held
        .map(|node| ((node.id, node.instance_id), node))
        .collect())
}

fn file(directory: &Path, (node, instance): Line) -> PathBuf {
    let whose = instance.map_or_else(|| "nobody".to_owned(), |id| id.to_string());
    directory.join(format!("{node}.{whose}.log"))
}

/// What a node printed for others is not kept.
async fn forget_others(directory: &Path, line: Line) {
    let own = file(directory, line);
    let prefix = format!("{}.", line.0);
    let Ok(mut entries) = fs::read_dir(directory).await else {
        return;
    };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(&prefix) && entry.path() != own {
            // The next round tries again.
            let _ = fs::remove_file(entry.path()).await;
        }
    }
}

/// Opens a node's BMC by IPMI, whatever its driver asks for the rest.
fn open(cx: &Context, node: &Node) -> Result<Machine, Refusal> {
    let by_ipmi = Node {
        driver: IPMI.to_owned(),
        ..node.clone()
    };
    machine::open(cx, &by_ipmi)
}

/// Refuses a console that is kept to a node of which it is not known how to reach the line.
pub fn check(cx: &Context, node: &Node) -> Result<(), Refusal> {
    if node.driver_part("console") != SOL {
        return Ok(());
    }
    open(cx, node).map(drop)
}

async fn hold(cx: &Context, node: &Node, path: &Path) -> Result<(), String> {
    let bmc = open(cx, node).map_err(|refusal| refusal.message)?.bmc;
    let stream = bmc
        .serial_console()
        .await
        .map_err(|error| error.to_string())?;
    copy(stream, path).await.map_err(|error| error.to_string())
}

/// Appends what comes, until the line ends.
async fn copy(mut stream: Box<dyn SerialStream>, path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).await?;
    }
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o600)
        .open(path)
        .await?;
    let mut bytes = log.metadata().await?.len();
    let mut piece = vec![0; 4096];
    loop {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        log.write_all(&piece[..read]).await?;
        log.flush().await?;
        bytes += read as u64;
        if bytes > LOG_MAX_BYTES {
            bytes = halve(&mut log, path).await?;
        }
    }
}

async fn halve(log: &mut fs::File, path: &Path) -> io::Result<u64> {
    let whole = fs::read(path).await?;
    let newer = &whole[whole.len() / 2..];
    log.set_len(0).await?;
    log.write_all(newer).await?;
    log.flush().await?;
    Ok(newer.len() as u64)
}

/// What the server under an instance printed; `None` if nothing keeps it.
pub async fn log(cx: &Context, node: &Node) -> Option<Vec<u8>> {
    let directory = cx.metal.console_directory.as_ref()?;
    if node.driver_part("console") != SOL {
        return None;
    }
    let path = file(directory, (node.id, node.instance_id));
    // Before it printed anything there is no file.
    Some(fs::read(path).await.unwrap_or_default())
}

/// What a node lacks whose console is not kept.
pub fn lacking(node: &Node) -> String {
    let way = node.driver_part("console");
    format!(
        "a serial line that is kept: its node has the console interface '{way}', and only '{SOL}' (serial over LAN) of the \
         drivers '{IPMI}' and '{REDFISH}' keeps one. Its operator can set that"
    )
}

/// What a node printed while no instance was on it and its console was on: the last `lines` lines, or all that is kept.
pub async fn log_of_nobody(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    lines: Option<usize>,
) -> Result<String, Failure> {
    let mut tx = cx.store.read().await?;
    let node = access::node(cx, actor, &mut tx, ident, NODES_READ_CONSOLE).await?;
    drop(tx);
    if let Some(instance) = node.instance_id {
        return Err(Refusal::conflict(format!(
            "Node {} carries instance {instance}: what it prints is that instance's console log (os-getConsoleOutput), and \
             what it printed before is not kept.",
            node.id
        ))
        .into());
    }
    let Some(bytes) = log(cx, &node).await else {
        let (id, capability) = (node.id, lacking(&node));
        return Err(Refusal::conflict(format!("Node {id} lacks {capability}.")).into());
    };
    let text = String::from_utf8_lossy(&bytes);
    Ok(lines.map_or(&*text, |lines| tail(&text, lines)).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_kept_to_its_newer_half_and_for_its_own_instance() {
        let directory = tempfile::tempdir().unwrap();
        let node = NodeId::random();
        let (first, second) = (InstanceId::random(), InstanceId::random());
        let path = file(directory.path(), (node, Some(first)));
        let (mut server, line) = tokio::io::duplex(1 << 16);
        let writing = tokio::spawn(async move {
            for number in 0..40_000 {
                let text = format!("line {number:05} of what a server prints\r\n");
                server.write_all(text.as_bytes()).await.unwrap();
            }
        });
        copy(Box::new(line), &path).await.unwrap();
        writing.await.unwrap();
        let kept = fs::read_to_string(&path).await.unwrap();
        assert!(kept.ends_with("line 39999 of what a server prints\r\n"));
        assert!(!kept.contains("line 00000 ") && kept.len() as u64 <= LOG_MAX_BYTES);

        forget_others(directory.path(), (node, Some(first))).await;
        assert!(path.exists());
        forget_others(directory.path(), (node, Some(second))).await;
        assert!(!path.exists(), "the next tenant finds nothing");
    }
}
