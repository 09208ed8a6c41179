//! Hosts on other machines: who is invited to be one, who was admitted, and whose certificate is good.

use crate::context::Context;
use crate::instance::metadata::{self, Metadata};
use crate::network::dns::{self, Found};
use crate::network::host_side;
use corten_model::ids::{HostId, NetworkId};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::agents::{Agent, Invitation};
use corten_store::hosts::Host;
use corten_store::{Failure, Query, Store, Tx, record};
use std::net::IpAddr;
use std::time::Duration;

/// An invitation is good for so long.
pub const INVITATION_TTL: Duration = Duration::from_secs(3600);

/// Invites a machine to become the host of this name. The secret's hash is all that is kept. A host that was admitted
/// under the name may come again, for example with new disks; until it does, it stays what it is.
pub async fn invite(
    store: &Store,
    now: Timestamp,
    name: &str,
    secret_hash: String,
) -> Result<Invitation, Failure> {
    check_name(name)?;
    let mut tx = store.write().await?;
    if known(&mut tx, name).await?.is_none() && host_named(&mut tx, name).await?.is_some() {
        return Err(Refusal::conflict(format!(
            "Host '{name}' is the machine of a control plane, which needs no agent: choose another name."
        ))
        .into());
    }
    Query::<Invitation>::new()
        .at_most("expires_at", now)
        .delete(&mut tx)
        .await?;
    let invitation = Invitation {
        secret_hash,
        name: name.to_owned(),
        expires_at: now.plus(INVITATION_TTL),
    };
    record::insert(&mut tx, &invitation).await?;
    tx.commit().await?;
    Ok(invitation)
}

/// The name is in certificates, in OVN's rows and in the compute API.
fn check_name(name: &str) -> Result<(), Refusal> {
    let is_good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && name.len() <= 63 && name.bytes().all(is_good) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "'{name}' is no name for a host: 1 to 63 lower-case letters, digits, '-' and '.', the first a letter or digit."
    )))
}

fn not_invited() -> Refusal {
    Refusal::forbidden(
        "The invitation is unknown, used or expired: make a new one with `corten admin host invite`.",
    )
}

/// The name that a secret is an invitation for.
pub async fn invited(cx: &Context, secret_hash: &str) -> Result<String, Failure> {
    let invitation: Option<Invitation> =
        record::get(&mut cx.store.read().await?, secret_hash).await?;
    let good = invitation.filter(|invitation| invitation.expires_at > cx.now());
    Ok(good.ok_or_else(not_invited)?.name)
}

/// Uses an invitation up: from now on this certificate is the host's.
pub async fn admit(cx: &Context, secret_hash: &str, certificate: &str) -> Result<Agent, Failure> {
    let mut tx = cx.store.write().await?;
    let invitation = record::lock::<Invitation>(&mut tx, secret_hash).await?;
    let invitation = invitation
        .filter(|invitation| invitation.expires_at > cx.now())
        .ok_or_else(not_invited)?;
    record::delete::<Invitation>(&mut tx, secret_hash).await?;
    let before = known(&mut tx, &invitation.name).await?;
    let agent = Agent {
        host_id: before
            .as_ref()
            .map_or_else(HostId::random, |agent| agent.host_id),
        name: invitation.name,
        certificate: certificate.to_owned(),
        admitted_at: cx.now(),
    };
    match before {
        Some(_) => drop(record::update(&mut tx, &agent).await?),
        None => record::insert(&mut tx, &agent).await?,
    }
    tx.commit().await?;
    Ok(agent)
}

/// The host whose certificate this is, if it is still good.
pub async fn of_certificate(cx: &Context, certificate: &str) -> Result<Option<Agent>, Failure> {
    let agent = Query::<Agent>::new()
        .equals("certificate", certificate)
        .first(&mut cx.store.read().await?)
        .await?;
    Ok(agent)
}

/// What the metadata service says to the guest at this address; 404 if it is no guest of this host.
pub async fn metadata_for(
    cx: &Context,
    agent: &Agent,
    network: NetworkId,
    address: IpAddr,
) -> Result<Option<Metadata>, Failure> {
    check_guest(cx, agent, network, address).await?;
    metadata::of(cx, network, address).await
}

/// 404 if no guest of this host has the address.
pub async fn check_guest(
    cx: &Context,
    agent: &Agent,
    network: NetworkId,
    address: IpAddr,
) -> Result<(), Failure> {
    let mut tx = cx.store.read().await?;
    if metadata::is_asked_on(&mut tx, &agent.name, network, address).await? {
        return Ok(());
    }
    Err(Refusal::not_found(format!(
        "No guest of host '{}' has {address} on network {network}.",
        agent.name
    ))
    .into())
}

/// What a network knows of a name; 404 if no guest of this host is on it.
pub async fn name_for(
    cx: &Context,
    agent: &Agent,
    network: NetworkId,
    name: &str,
) -> Result<Found, Failure> {
    let mut tx = cx.store.read().await?;
    if !host_side::has_guest_on(&mut tx, &agent.name, network).await? {
        return Err(Refusal::not_found(format!(
            "No guest of host '{}' is on network {network}.",
            agent.name
        ))
        .into());
    }
    drop(tx);
    dns::find(cx, network, name).await
}

async fn known(tx: &mut Tx, name: &str) -> Result<Option<Agent>, Failure> {
    Ok(Query::new().equals("name", name).first(tx).await?)
}

async fn host_named(tx: &mut Tx, name: &str) -> Result<Option<Host>, Failure> {
    Ok(Query::new().equals("name", name).first(tx).await?)
}

/// The names of all hosts on other machines.
pub(crate) async fn names(tx: &mut Tx) -> Result<Vec<String>, Failure> {
    let agents: Vec<Agent> = Query::new().all(tx).await?;
    Ok(agents.into_iter().map(|agent| agent.name).collect())
}

/// A host is removed: its certificate is good no more.
pub(crate) async fn forget(tx: &mut Tx, host: HostId) -> Result<(), Failure> {
    record::delete::<Agent>(tx, host).await?;
    Ok(())
}
