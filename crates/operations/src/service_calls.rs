//! What other services of the cloud (network, block storage, console proxies) ask of compute. Only administrators and
//! services may.

use crate::context::Context;
use corten_iam::action::compute::HOSTS_WRITE;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::InstanceId;
use corten_model::refusal::Refusal;
use corten_store::instances::{self, ConsoleToken, Instance};
use corten_store::{Failure, Query, record};
use sha2::{Digest as _, Sha256};

/// Refuses with 403 who is no service.
pub fn check(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    cx.policy.check(actor, HOSTS_WRITE, &Target::cloud())
}

/// The living servers with these ids.
pub async fn servers(
    cx: &Context,
    actor: &Actor,
    ids: &[InstanceId],
) -> Result<Vec<Instance>, Failure> {
    check(cx, actor)?;
    let mut tx = cx.store.read().await?;
    let mut found = Vec::new();
    for ids in ids.chunks(500) {
        found.extend(
            Query::<Instance>::new()
                .any_of("id", ids)
                .equals("deleted", false)
                .all(&mut tx)
                .await?,
        );
    }
    Ok(found)
}

/// Where a console's token leads.
#[derive(Debug)]
pub struct Console {
    pub instance_id: InstanceId,
    /// `serial` or `vnc`.
    pub kind: String,
    pub host: String,
}

/// What a token opens, if it is still good. It stays good: only opening the console uses it up.
pub async fn console(cx: &Context, actor: &Actor, token: &str) -> Result<Console, Failure> {
    check(cx, actor)?;
    let unknown = || Refusal::not_found("Token not found");
    let mut tx = cx.store.read().await?;
    let hash = hex::encode(Sha256::digest(token));
    let row = record::get::<ConsoleToken>(&mut tx, hash)
        .await?
        .ok_or_else(unknown)?;
    if cx.now() > row.expires_at {
        return Err(unknown().into());
    }
    let instance = instances::get(&mut tx, row.instance_id)
        .await?
        .ok_or_else(unknown)?;
    Ok(Console {
        instance_id: instance.id,
        kind: row.kind,
        host: instance.host_name.ok_or_else(unknown)?,
    })
}
