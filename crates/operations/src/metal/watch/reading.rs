//! One reading of a node's BMC, and writing down what it changes.

use super::health::{self, Finding};
use crate::context::Context;
use crate::metal::machine;
use crate::metal_instance::power;
use corten_bmc::{Bmc, BmcError, EventStream, PowerState, Sensors};
use corten_model::ids::NodeId;
use corten_model::origin::Origin;
use corten_store::metal::node::{Node, SUBJECT};
use corten_store::{Failure, Tx, operations, record};
use std::sync::Arc;

/// What is to be read besides the power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) sensors: bool,
    /// A stream of the BMC's events is to be opened.
    pub(super) stream: bool,
}

/// Why a BMC told nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unanswered {
    pub(super) why: String,
    /// It is there, and does not let this user in.
    pub(super) login_refused: bool,
}

impl From<BmcError> for Unanswered {
    fn from(error: BmcError) -> Self {
        Self {
            login_refused: matches!(error, BmcError::LoginRefused { .. }),
            why: error.to_string(),
        }
    }
}

/// What a BMC told.
pub(super) struct Reading {
    pub(super) power: Result<PowerState, Unanswered>,
    /// `None`: not asked, or not told.
    pub(super) sensors: Option<Sensors>,
}

/// A stream of events, and the BMC that must not be closed as long as it is read.
pub(super) struct Opened {
    pub(super) bmc: Arc<dyn Bmc>,
    pub(super) events: EventStream,
}

/// What became of the wish for a stream of events.
pub(super) enum Stream {
    NotWished,
    Opened(Opened),
    NotOpened(BmcError),
    /// The BMC did not even tell the power.
    Silent,
}

/// Asks the BMC of a node, and logs out of it unless a stream of events was opened.
pub(super) async fn take(cx: &Context, node: &Node, due: Due) -> (Reading, Stream) {
    let bmc = match machine::open(cx, node) {
        Ok(machine) => machine.bmc,
        Err(refusal) => {
            let unanswered = Unanswered {
                why: refusal.message,
                login_refused: false,
            };
            let reading = Reading {
                power: Err(unanswered),
                sensors: None,
            };
            return (reading, Stream::Silent);
        }
    };
    let reading = ask(bmc.as_ref(), node, due.sensors).await;
    let stream = match (due.stream, &reading.power) {
        (false, _) => Stream::NotWished,
        (true, Err(_)) => Stream::Silent,
        (true, Ok(_)) => match bmc.events().await {
            Ok(events) => return (reading, Stream::Opened(Opened { bmc, events })),
            Err(error) => Stream::NotOpened(error),
        },
    };
    bmc.close().await;
    (reading, stream)
}

/// Asks a BMC that is open.
pub(super) async fn ask(bmc: &dyn Bmc, node: &Node, sensors: bool) -> Reading {
    let power = bmc.power().await.map_err(Unanswered::from);
    let sensors = if sensors && power.is_ok() {
        match bmc.sensors().await {
            Ok(sensors) => Some(sensors),
            Err(error) => {
                tracing::warn!(node = %node.id, %error, "the sensors of a node cannot be read");
                None
            }
        }
    } else {
        None
    };
    Reading { power, sensors }
}

/// Whether something works on a node.
pub(super) async fn is_busy(tx: &mut Tx, id: NodeId) -> Result<bool, Failure> {
    let running = operations::running_on(tx, SUBJECT, &id.to_string()).await?;
    Ok(running.is_some())
}

/// Whether a node is as it was when it was read: what an operation did since is newer than the reading.
fn is_as_read(before: &Node, now: &Node) -> bool {
    before.power == now.power
        && now.power.target.is_none()
        && before.provision == now.provision
        && super::is_watched(now)
        && before.standard.updated_at == now.standard.updated_at
}

/// Writes a finding into the row of the node, and of the instance on it, if it changes anything and nothing else has changed
/// the node since. What is sure enough for the node is so for its instance: both are written at once.
pub(super) async fn write(
    cx: &Arc<Context>,
    before: &Node,
    finding: &Finding,
) -> Result<(), Failure> {
    let unanswered_max = cx.settings.metal.unanswered_max.max(1);
    let is_news = health::apply(&mut before.clone(), finding, unanswered_max).is_some();
    let reaches_instance = match finding.power() {
        Some(seen) => power::differs(cx, before, seen).await?,
        None => false,
    };
    if !is_news && !reaches_instance {
        return Ok(());
    }
    let mut tx = cx.store.write().await?;
    let holder = before.instance_id.filter(|_| reaches_instance);
    let instance = power::lock_idle(&mut tx, holder).await?;
    let Some(mut node) = record::lock::<Node>(&mut tx, before.id).await? else {
        return Ok(());
    };
    if is_busy(&mut tx, node.id).await? || !is_as_read(before, &node) {
        return Ok(());
    }
    let now = cx.now();
    let told = health::apply(&mut node, finding, unanswered_max);
    if let Some(told) = &told {
        let states = (told.from, told.to);
        node.tell_power(&mut tx, states, &told.why, &Origin::system(), now)
            .await?;
        node.standard.updated_at = Some(now);
        record::update(&mut tx, &node).await?;
    }
    let why = "seen by the BMC of its server";
    power::follow(&mut tx, cx, &node, instance, why, &Origin::system()).await?;
    tx.commit().await?;
    if let Some(told) = told {
        tracing::warn!(node = %node.id, from = told.from, to = told.to, why = told.why, "the power of a node is not as it was");
    }
    Ok(())
}
