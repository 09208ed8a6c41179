//! Watching hosts: what guests do by themselves is seen, recorded and acted on at once.
//!
//! A guest that powered itself off or died is Stopped from then on, one that runs though it must not is switched off
//! (B4 row 24), and a guest of an instance that is gone is removed (K57). While an operation works on an instance, the
//! operation alone moves its state. The host's image cache is tidied in passing.

use crate::context::Context;
use crate::instance::{ports, reshape, work};
use corten_host::{Fence, GuestChange, GuestEvent, Hands, HostError, Observation, Task};
use corten_model::ids::{HostId, InstanceId, OperationId};
use corten_model::lifecycle::{PowerAction, VmState, apply, reconcile};
use corten_model::origin::Origin;
use corten_store::instances::{self, Instance};
use corten_store::{Failure, images, operations, record};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// How often every guest is looked at although no event came: the safety net.
const LOOK: Duration = Duration::from_secs(60);

/// Watches one host until its event stream ends. Looks at every guest first, so that nothing that happened while
/// nobody watched is missed.
pub async fn watch(cx: Arc<Context>, host: HostId, hands: Arc<dyn Hands>) {
    let mut events = hands.subscribe();
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => seen(&cx, host, hands.as_ref(), event).await,
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(%host, missed, "events were missed; looking at every guest");
                    look.reset_immediately();
                }
                Err(RecvError::Closed) => return,
            },
            // The first tick is at once.
            _ = look.tick() => look_at_all(&cx, host, hands.as_ref()).await,
        }
    }
}

async fn seen(cx: &Arc<Context>, host: HostId, hands: &dyn Hands, event: GuestEvent) {
    let why = match &event.change {
        GuestChange::Started { .. }
        | GuestChange::Paused
        | GuestChange::Resumed
        | GuestChange::Reset => return,
        GuestChange::Ended { cause } => cause.to_string(),
    };
    tracing::info!(instance = %event.id, why, "a guest ended");
    match hands.observe(event.id).await {
        Ok(observation) => settle(cx, host, hands, event.id, observation.as_ref(), &why).await,
        Err(error) => tracing::warn!(instance = %event.id, %error, "cannot look at a guest"),
    }
}

/// Looks at every guest of a host, puts right what differs from its instance, and goes on with what waited too long.
pub async fn look_at_all(cx: &Arc<Context>, host: HostId, hands: &dyn Hands) {
    let guests = match hands.observe_all().await {
        Ok(guests) => guests,
        Err(error) => {
            tracing::warn!(%host, %error, "cannot look at the guests of a host");
            return;
        }
    };
    for guest in &guests {
        let why = guest
            .last_exit
            .as_ref()
            .map_or("seen by its host".to_owned(), ToString::to_string);
        settle(cx, host, hands, guest.id, Some(guest), &why).await;
    }
    if let Err(error) = reshape::end_overdue(cx, host).await {
        tracing::error!(%host, error = %crate::error_text(&error), "cannot end what waited too long");
    }
    if let Err(error) = drop_orphans(cx, hands).await {
        tracing::warn!(%host, error = %crate::error_text(&error), "cannot tidy the image cache of a host");
    }
}

/// Drops the cached images that are images no more: deleted ones, and those that shelved instances came back from. One
/// that a guest stands on stays with it (K104).
async fn drop_orphans(cx: &Context, hands: &dyn Hands) -> Result<(), Failure> {
    let cached = hands
        .cached_images()
        .await
        .map_err(|error| Failure::outside("listing the image cache", error))?;
    let mut orphans = Vec::new();
    let mut tx = cx.store.read().await?;
    for sha512 in cached {
        if !images::any_with_hash(&mut tx, &sha512).await? {
            orphans.push(sha512);
        }
    }
    drop(tx);
    for sha512 in orphans {
        let fence = Fence {
            operation: OperationId::random(),
            epoch: 0,
        };
        match hands.perform(fence, Task::DropImage { sha512 }).await {
            Ok(_) | Err(HostError::ImageInUse { .. }) => {}
            Err(error) => return Err(Failure::outside("dropping a cached image", error)),
        }
    }
    Ok(())
}

async fn settle(
    cx: &Arc<Context>,
    host: HostId,
    hands: &dyn Hands,
    id: InstanceId,
    observation: Option<&Observation>,
    why: &str,
) {
    if let Err(error) = try_settle(cx, host, hands, id, observation, why).await {
        tracing::error!(instance = %id, error = %crate::error_text(&error), "cannot record what a guest did");
    }
}

async fn try_settle(
    cx: &Arc<Context>,
    host: HostId,
    hands: &dyn Hands,
    id: InstanceId,
    observation: Option<&Observation>,
    why: &str,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let row = record::lock::<Instance>(&mut tx, id).await?;
    let stray = match &row {
        None => true,
        Some(instance) => instance.deleted || instance.host_id != Some(host),
    };
    let busy = operations::running_on(&mut tx, instances::SUBJECT, &id.to_string())
        .await?
        .is_some();
    let epoch = operations::last_epoch(&mut tx, instances::SUBJECT, &id.to_string()).await?;
    if stray && !busy {
        drop(tx);
        tracing::warn!(instance = %id, "a guest without an instance is removed");
        return perform(hands, epoch, Task::DeleteGuest { id }).await;
    }
    let Some(mut instance) = row.filter(|_| !busy) else {
        return Ok(());
    };
    let power = work::power_state(observation);
    let action = reconcile(instance.state, power);
    if action == PowerAction::Nothing {
        return Ok(());
    }
    instance.observed = instances::Observed {
        at: Some(cx.now()),
        pid: observation.and_then(|seen| seen.pid),
        last_exit: observation.and_then(|seen| seen.last_exit.as_ref().map(ToString::to_string)),
    };
    let crashed = observation
        .and_then(|seen| seen.last_exit.as_ref())
        .is_some_and(corten_host::ExitCause::is_crash);
    if crashed {
        instance.fault = Some(work::fault(why, cx.now()));
    }
    let state = apply(action, instance.state, power);
    if state.vm == VmState::Stopped {
        ports::release_public(&mut tx, cx, &instance, &Origin::system()).await?;
    }
    instances::change_state(
        &mut tx,
        &mut instance,
        state,
        why,
        &Origin::system(),
        cx.now(),
    )
    .await?;
    tx.commit().await?;
    if action == PowerAction::ForceOff {
        perform(
            hands,
            epoch,
            Task::Stop {
                id,
                graceful_secs: None,
            },
        )
        .await?;
    }
    Ok(())
}

/// A task outside any operation. It goes under the last operation's epoch, so the next operation overrules it.
async fn perform(hands: &dyn Hands, epoch: i64, task: Task) -> Result<(), Failure> {
    let fence = Fence {
        operation: OperationId::random(),
        epoch,
    };
    let what = format!("{task:?}");
    hands
        .perform(fence, task)
        .await
        .map(|_| ())
        .map_err(|error| Failure::outside(what, error))
}
