//! Consoles: what a guest printed, and one-time tokens to talk to it.

use super::capability::{self, decide};
use super::query;
use crate::context::Context;
use crate::metal::console as metal_console;
use crate::metal_instance;
use corten_host::{ConsoleKind, ConsoleStream, Diagnostics, HostError};
use corten_iam::action::compute;
use corten_iam::actor::Actor;
use corten_model::ids::{HostId, InstanceId};
use corten_model::lifecycle::{Command, InstanceClass};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::Failure;
use corten_store::instances::{ConsoleToken, Instance};
use corten_store::record::{self, Query};
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

async fn open(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    command: Command,
) -> Result<Instance, Failure> {
    let instance = query::show(cx, actor, id).await?;
    let action = match command {
        Command::Diagnostics => compute::SERVERS_ADMINISTER,
        _ => compute::SERVERS_WRITE,
    };
    query::permit(cx, actor, &instance, action)?;
    decide(instance.class, instance.state, command)
        .map_err(|illegal| Refusal::conflict(illegal.message(id)))?;
    Ok(instance)
}

fn failure(error: HostError) -> Failure {
    match error {
        HostError::NoSuchGuest { id } => {
            Refusal::conflict(format!("Instance {id} is not ready: it has no guest yet.")).into()
        }
        HostError::WrongState { .. } => Refusal::conflict(error.to_string()).into(),
        other => Failure::outside("asking the host", other),
    }
}

/// The end of the guest's serial console: the last `lines` lines, or all that is kept.
pub async fn log(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    lines: Option<usize>,
) -> Result<String, Failure> {
    let instance = open(cx, actor, id, Command::ConsoleLog).await?;
    if instance.class == InstanceClass::Metal {
        let text = metal_log(cx, &instance).await?;
        return Ok(lines.map_or(&*text, |lines| tail(&text, lines)).to_owned());
    }
    let Some(host) = instance.host_id else {
        return Ok(String::new());
    };
    match cx.hosts.get(host)?.console_log(id, lines).await {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            Ok(lines.map_or(&*text, |lines| tail(&text, lines)).to_owned())
        }
        // Before the guest is made it has printed nothing.
        Err(HostError::NoSuchGuest { .. }) => Ok(String::new()),
        Err(error) => Err(failure(error)),
    }
}

/// What the server of an instance printed on its serial line.
async fn metal_log(cx: &Context, instance: &Instance) -> Result<String, Failure> {
    let mut tx = cx.store.read().await?;
    let Some(node) = metal_instance::node::find(&mut tx, instance.id).await? else {
        return Ok(String::new());
    };
    match metal_console::log(cx, &node).await {
        Some(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        None => {
            let capability = metal_console::lacking(&node);
            Err(capability::cannot(instance, "os-getConsoleOutput", &capability).into())
        }
    }
}

/// The last lines of a text as Nova counts them: what follows the last line break is a line too, be it empty.
pub(crate) fn tail(text: &str, lines: usize) -> &str {
    if lines == 0 {
        return "";
    }
    match text.rmatch_indices('\n').nth(lines - 1) {
        Some((index, _)) => &text[index + 1..],
        None => text,
    }
}

/// The guest's load figures, for administrators.
pub async fn diagnostics(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
) -> Result<(Instance, Diagnostics), Failure> {
    let instance = open(cx, actor, id, Command::Diagnostics).await?;
    let host = instance
        .host_id
        .ok_or_else(|| Refusal::conflict(format!("Instance {id} is on no host.")))?;
    let figures = cx.hosts.get(host)?.diagnostics(id).await.map_err(failure)?;
    Ok((instance, figures))
}

fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

/// A token that opens one console once, within the time that `compute.console_token_ttl_secs` gives.
pub async fn grant(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    kind: ConsoleKind,
) -> Result<String, Failure> {
    let instance = open(cx, actor, id, Command::RemoteConsole).await?;
    let host = instance
        .host_id
        .ok_or_else(|| Refusal::conflict(format!("Instance {id} is on no host.")))?;
    cx.hosts.get(host)?.consoles(id).await.map_err(failure)?;
    let mut bytes = [0_u8; 24];
    rand::rng().fill(&mut bytes);
    let token = hex::encode(bytes);
    let mut tx = cx.store.write().await?;
    Query::<ConsoleToken>::new()
        .at_most("expires_at", cx.now())
        .delete(&mut tx)
        .await?;
    let expires_at = cx.now().plus(Duration::from_secs(
        cx.settings.compute.console_token_ttl_secs,
    ));
    let row = ConsoleToken {
        token_hash: hash(&token),
        instance_id: id,
        kind: word(kind).to_owned(),
        expires_at,
    };
    record::insert(&mut tx, &row).await?;
    tx.commit().await?;
    Ok(token)
}

/// How a console's kind stands in a row.
fn word(kind: ConsoleKind) -> &'static str {
    match kind {
        ConsoleKind::Serial => "serial",
        ConsoleKind::Vnc => "vnc",
    }
}

/// A console that may be opened, once.
#[derive(Debug)]
pub struct Granted {
    host: HostId,
    instance: InstanceId,
    kind: ConsoleKind,
}

impl Granted {
    pub async fn open(&self, cx: &Context) -> Result<ConsoleStream, Failure> {
        let hands = cx.hosts.get(self.host)?;
        let opened = hands.open_console(self.instance, self.kind).await;
        opened.map_err(failure)
    }
}

/// Uses a token up: the console it opens, if it is good.
pub async fn redeem(cx: &Context, token: &str) -> Result<Granted, Failure> {
    let bad = || {
        Refusal::forbidden("The console token is unknown, used or expired: ask for a new console.")
    };
    let mut tx = cx.store.write().await?;
    let row: ConsoleToken = record::get(&mut tx, hash(token)).await?.ok_or_else(bad)?;
    // Of two who come with the same token, only one deletes it.
    if !record::delete::<ConsoleToken>(&mut tx, row.token_hash.clone()).await? {
        return Err(bad().into());
    }
    let instance = corten_store::instances::get(&mut tx, row.instance_id)
        .await?
        .ok_or_else(bad)?;
    tx.commit().await?;
    let now: Timestamp = cx.now();
    if now > row.expires_at {
        return Err(bad().into());
    }
    let kind = [ConsoleKind::Serial, ConsoleKind::Vnc]
        .into_iter()
        .find(|kind| word(*kind) == row.kind)
        .ok_or_else(bad)?;
    Ok(Granted {
        host: instance.host_id.ok_or_else(bad)?,
        instance: instance.id,
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn the_last_line_is_what_follows_the_last_break() {
        assert_eq!(tail("a\nb\nc\n", 3), "b\nc\n");
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a\nb", 9), "a\nb");
        assert_eq!(tail("a\nb", 0), "");
    }
}
