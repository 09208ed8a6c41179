//! What servers print on their serial lines, kept for whoever has them.
//!
//! A BMC gives its serial line to one client. The control plane holds it while an instance is on the node, or while an
//! operator has switched the console on, and appends what comes to a file of that node and that instance: the next tenant
//! never sees it. With several replicas each holds the lines of the nodes that are shown under its conductor.

use super::conductor::Assignment;
use super::driver::IPMI;
use super::machine;
use crate::context::Context;
use corten_bmc::SerialStream;
use corten_model::ids::{InstanceId, NodeId};
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
    let mut rounds = tokio::time::interval(LOOK);
    loop {
        rounds.tick().await;
        let wanted = match wanted(&cx, &conductor).await {
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

async fn wanted(cx: &Context, conductor: &str) -> Result<HashMap<Line, Node>, Failure> {
    let conductors = Assignment::read(cx).await?;
    let mut tx = cx.store.read().await?;
    let query = Query::new().equals("driver", IPMI);
    let nodes: Vec<Node> = query.all(&mut tx).await?;
    let held = nodes.into_iter().filter(|node| {
        node.driver_part("console") == SOL
            && (node.instance_id.is_some() || node.console_enabled)
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

async fn hold(cx: &Context, node: &Node, path: &Path) -> Result<(), String> {
    let bmc = machine::open(cx, node)
        .map_err(|refusal| refusal.message)?
        .bmc;
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
