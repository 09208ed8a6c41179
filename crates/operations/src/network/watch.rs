//! Watching the fabric: ports that were wired are shown as ACTIVE, and a fabric that was changed by somebody else is
//! put right.

use super::note_everything;
use crate::context::Context;
use corten_model::ids::PortId;
use corten_model::origin::Origin;
use corten_store::network::port::Port;
use corten_store::{Failure, Query, record};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// How often the whole fabric is compared with the rows although nobody is known to have changed it: the safety net.
const COMPARE: Duration = Duration::from_secs(600);
/// Changes of ports that come together are written together.
const TOGETHER: usize = 512;

/// Watches until the process ends. Compares everything first, so that what happened while nobody watched is put right.
pub async fn watch(cx: Arc<Context>) {
    tokio::join!(watch_ports(&cx), watch_others(&cx));
}

async fn watch_others(cx: &Arc<Context>) {
    let mut disturbed = cx.fabric.disturbed();
    let mut compare = tokio::time::interval(COMPARE);
    loop {
        // The first tick is at once.
        tokio::select! {
            _ = compare.tick() => {}
            changed = disturbed.changed() => if changed.is_err() { return },
        }
        if let Err(error) = compare_all(cx).await {
            tracing::error!(error = %crate::error_text(&error), "cannot have the fabric compared");
        }
    }
}

async fn compare_all(cx: &Arc<Context>) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    note_everything(&mut tx, cx, &Origin::system()).await?;
    tx.commit().await?;
    Ok(())
}

async fn watch_ports(cx: &Arc<Context>) {
    loop {
        let mut ports = cx.fabric.ports_up();
        let up = std::mem::take(&mut ports.up);
        report(look_at_all(cx, &up).await);
        loop {
            let mut changes = BTreeMap::new();
            match ports.changes.recv().await {
                Ok((port, is_up)) => changes.insert(port, is_up),
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return,
            };
            while changes.len() < TOGETHER
                && let Ok((port, is_up)) = ports.changes.try_recv()
            {
                changes.insert(port, is_up);
            }
            report(write(cx, &changes).await);
        }
    }
}

fn report(outcome: Result<(), Failure>) {
    if let Err(error) = outcome {
        tracing::error!(error = %crate::error_text(&error), "cannot record which ports are wired");
    }
}

async fn look_at_all(
    cx: &Arc<Context>,
    up: &std::collections::BTreeSet<PortId>,
) -> Result<(), Failure> {
    let ports: Vec<Port> = Query::new().all(&mut cx.store.read().await?).await?;
    let changes: BTreeMap<_, _> = ports
        .iter()
        .filter(|port| port.up != up.contains(&port.id))
        .map(|port| (port.id, !port.up))
        .collect();
    write(cx, &changes).await
}

async fn write(cx: &Arc<Context>, changes: &BTreeMap<PortId, bool>) -> Result<(), Failure> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut tx = cx.store.write().await?;
    for (id, is_up) in changes {
        // A port that was removed meanwhile needs no word.
        if let Some(mut port) = record::lock::<Port>(&mut tx, id).await? {
            port.up = *is_up;
            record::update(&mut tx, &port).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}
