//! Networks and what belongs to them: the rules of Neutron's resources, a file per resource.
//!
//! Every change is written with the units of the fabric that it concerns, in one transaction ([`commit`]); the operation
//! [`apply_network`](crate::apply_network) tells the fabric. A call answers when the fabric has it, or after a short
//! time without, and then the operation says why.

pub mod access;
pub mod address_group;
pub mod address_scope;
pub mod addresses;
pub mod auto_allocated;
pub mod default_rule;
pub mod dns;
mod domain_name;
pub mod floating_ip;
mod floating_ip_target;
pub mod gateway_host;
pub mod host_side;
pub mod information;
pub mod ipam;
#[expect(
    clippy::module_inception,
    reason = "the resource has the name of its API"
)]
pub mod network;
pub mod plan;
pub mod port;
pub(crate) mod port_check;
pub mod port_forwarding;
mod port_removal;
pub mod qos_policy;
pub mod quota;
pub mod rbac_policy;
pub mod router;
pub mod router_gateway;
pub mod router_interface;
pub mod router_routes;
pub mod security_group;
pub mod security_group_rule;
pub mod segment;
pub mod subnet;
pub mod subnet_check;
pub mod subnet_pool;
pub mod subnet_pool_check;
mod subnet_pool_cut;
pub mod tag;
pub mod trunk;
pub mod watch;

pub use access::Narrow;

use crate::apply_network::{self, ApplyNetwork};
use crate::context::Context;
use corten_engine::{Place, Subject, Submission, submit};
use corten_model::origin::Origin;
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::changes;
use corten_store::{Error, Failure, Tx, operations};
use std::sync::Arc;
use std::time::Duration;

/// The listeners of this place are told when the fabric was told something, or could not be.
pub const TOLD: &str = "network/told";

/// A rule of the API that was broken: 400 under Neutron's general name for it.
pub(crate) fn invalid_input(message: impl std::fmt::Display) -> Refusal {
    Refusal::invalid(format!("Invalid input for operation: {message}")).named("InvalidInput")
}

/// 400 under the name that Neutron has for requests that make no sense for a resource.
pub(crate) fn bad_request(resource: &str, message: impl std::fmt::Display) -> Refusal {
    Refusal::invalid(format!("Bad {resource} request: {message}.")).named("BadRequest")
}

/// Notes that units of the fabric changed and has an operation tell it, in the transaction that changed them.
pub async fn note(
    tx: &mut Tx,
    cx: &Arc<Context>,
    origin: &Origin,
    units: &[Unit],
) -> Result<(), Failure> {
    if units.is_empty() {
        return Ok(());
    }
    for unit in units {
        changes::note(tx, &unit.to_string()).await?;
    }
    start(tx, cx, origin).await
}

/// Has the whole fabric compared with the rows.
pub async fn note_everything(
    tx: &mut Tx,
    cx: &Arc<Context>,
    origin: &Origin,
) -> Result<(), Failure> {
    changes::note(tx, apply_network::EVERYTHING).await?;
    start(tx, cx, origin).await?;
    // It may wait for a fabric that there is again.
    let (kind, fabric) = (apply_network::SUBJECT, apply_network::FABRIC);
    Ok(operations::hasten(tx, kind, fabric, cx.now()).await?)
}

/// Starts the operation that tells the fabric, unless it runs already.
pub(crate) async fn start(tx: &mut Tx, cx: &Arc<Context>, origin: &Origin) -> Result<(), Failure> {
    let submission = Submission {
        workflow: &ApplyNetwork(cx.clone()),
        subject: Subject {
            kind: apply_network::SUBJECT,
            id: apply_network::FABRIC.to_owned(),
            project_id: None,
        },
        origin: origin.clone(),
        place: Place::Control,
        step: apply_network::Step::Tell,
        input: apply_network::Input {},
    };
    match submit(tx, cx.now(), submission).await {
        Ok(_) | Err(Error::Exists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Commits a change with the units that it concerns, and waits a little until the fabric has it.
pub(crate) async fn commit(
    mut tx: Tx,
    cx: &Arc<Context>,
    origin: &Origin,
    units: &[Unit],
) -> Result<(), Failure> {
    note(&mut tx, cx, origin, units).await?;
    tx.commit().await?;
    told(cx, units, cx.settings.network.patience()).await?;
    Ok(())
}

/// Waits until the fabric has been told these units as they were now or later. False if it was not within `limit`, or
/// cannot be reached.
pub async fn told(cx: &Context, units: &[Unit], limit: Duration) -> Result<bool, Failure> {
    let mut wake_ups = cx.store.wake_ups();
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        let mut tx = cx.store.read().await?;
        let mut waiting = false;
        for unit in units {
            waiting |= changes::generation(&mut tx, &unit.to_string())
                .await?
                .is_some();
        }
        if !waiting {
            return Ok(true);
        }
        if apply_network::is_stuck(&mut tx).await? {
            return Ok(false);
        }
        drop(tx);
        loop {
            match tokio::time::timeout_at(deadline, wake_ups.recv()).await {
                Err(_) => return Ok(false),
                Ok(Ok(wake_up)) if wake_up.place != TOLD => {}
                Ok(_) => break,
            }
        }
    }
}
