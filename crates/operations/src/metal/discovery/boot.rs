//! A boot of an unknown server: what its card is told by DHCP, and what it may fetch.
//!
//! The row of a card is written when it begins to boot and has no token that is good, so a card that asks and asks writes
//! nothing. An operating system gets an address here only while the ramdisk may be what asks.

use super::{Standing, TOKEN, boot_limit, exists, is_full, standing};
use crate::context::Context;
use crate::metal::ramdisk::{boot, files, network};
use crate::metal::{agent, rotate_key};
use crate::settings::ProvisioningNetwork;
use corten_model::ids::NodeId;
use corten_model::time::Timestamp;
use corten_netboot::{Answer, Architecture, Asker};
use corten_store::metal::boot_sign;
use corten_store::metal::discovery::{self, Discovery, DiscoveryToken};
use corten_store::{Failure, Tx, record};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// What an unknown card is told.
pub enum Told {
    Boot(Box<Answer>),
    Nothing,
    /// Nothing, though it would be let in, for this reason.
    NoRoom(String),
}

/// Answers for a card that no node has a lease for.
pub async fn answer(
    cx: &Context,
    network: &ProvisioningNetwork,
    asker: &Asker,
) -> Result<Told, Failure> {
    let mac = asker.mac.to_string();
    let mut tx = cx.store.read().await?;
    if matches!(standing(&mut tx, &only(&mac)).await?, Standing::Enrolled(_)) {
        return Ok(Told::Nothing);
    }
    let row: Option<Discovery> = record::get(&mut tx, &mac).await?;
    drop(tx);
    let row = row.filter(|row| row.network == network.name);
    let known = row.and_then(|row| Some((open(cx, &row)?, row)));
    let fresh = |row: &Discovery| cx.now().since(row.since) <= boot_limit(cx);
    let known = match known {
        Some((_, row)) if may_begin(asker) && !fresh(&row) => None,
        known => known,
    };
    let (token, row) = match known {
        Some(known) => known,
        None if may_begin(asker) => match begin(cx, network, &mac).await? {
            Begun::Boot(token, row) => (token, row),
            Begun::Enrolled => return Ok(Told::Nothing),
            Begun::NoRoom(why) => return Ok(Told::NoRoom(why)),
        },
        None => return Ok(Told::Nothing),
    };
    let mut lease = network::told(network, row.address, None);
    lease.duration = boot_limit(cx) * 2;
    let words = &cx.settings.provisioning.kernel_arguments;
    let line = boot::line(cx, network, words, &mac, "corten.discover=yes", &token);
    Ok(Told::Boot(Box::new(Answer {
        node: row.node_id,
        lease,
        boot: Some(boot::of_line(files::of_settings(cx), &line, false)?),
    })))
}

fn only(mac: &str) -> BTreeSet<String> {
    BTreeSet::from([mac.to_owned()])
}

/// Whether a boot can begin with this: on our own segment, on a machine that our ramdisk is made for.
fn may_begin(asker: &Asker) -> bool {
    let ours = matches!(
        asker.architecture,
        Some(Architecture::Bios | Architecture::UefiX64)
    );
    asker.begins_boot && asker.relay.is_none() && ours
}

/// The token of a boot, if it has one that was not used and can be opened.
fn open(cx: &Context, row: &Discovery) -> Option<String> {
    let sealed = &row.token.as_ref()?.sealed;
    cx.metal.vault.unseal(row.node_id, TOKEN, sealed).ok()
}

enum Begun {
    Boot(String, Discovery),
    /// Somebody was quicker.
    Enrolled,
    NoRoom(String),
}

async fn begin(cx: &Context, network: &ProvisioningNetwork, mac: &str) -> Result<Begun, Failure> {
    if let Some(file) = files::missing(files::of_settings(cx)) {
        return Ok(Begun::NoRoom(format!(
            "there is no file {}: build the ramdisk with `make ramdisk` and set provisioning.kernel and provisioning.ramdisk",
            file.display()
        )));
    }
    let mut tx = cx.store.write().await?;
    let now = cx.now();
    let offered = match standing(&mut tx, &only(mac)).await? {
        Standing::Enrolled(_) => return Ok(Begun::Enrolled),
        Standing::Offered(nodes) => nodes.into_iter().next(),
        Standing::Unknown => None,
    };
    if offered.is_none() && is_full(&mut tx, cx).await? {
        return Ok(Begun::NoRoom(format!(
            "{} servers are offered and nobody has taken them up: enrol them or delete their nodes, or raise \
             provisioning.offers_max",
            cx.settings.provisioning.offers_max
        )));
    }
    let mut taken = network::taken_on(&mut tx, network).await?;
    forget(
        &mut tx,
        network,
        mac,
        now.minus(boot_limit(cx) * 2),
        &mut taken,
    )
    .await?;
    let before: Option<Discovery> = record::lock(&mut tx, mac).await?;
    let here = before.as_ref().filter(|row| row.network == network.name);
    let address = match here {
        Some(row) => row.address,
        None => match room(&mut tx, network, &taken).await? {
            Ok(address) => address,
            Err(why) => return Ok(Begun::NoRoom(why)),
        },
    };
    let planned = match &before {
        // A node that was made with it, and that does not have this card any more, is another server's.
        Some(row) if !exists(&mut tx, row.node_id).await? => Some(row.node_id),
        _ => None,
    };
    let node_id = offered.or(planned).unwrap_or_else(NodeId::random);
    let token = agent::new_token()?;
    let key = rotate_key::sealing_key(&mut tx).await?;
    let sealed = cx.metal.vault.seal(key.as_deref(), node_id, TOKEN, &token);
    let row = Discovery {
        mac: mac.to_owned(),
        node_id,
        network: network.name.clone(),
        address,
        token: Some(DiscoveryToken {
            sha256: agent::digest(&token),
            sealed: sealed.map_err(|error| Failure::outside("sealing a boot's token", error))?,
        }),
        since: now,
    };
    if before.is_some() {
        record::update(&mut tx, &row).await?;
    } else {
        record::insert(&mut tx, &row).await?;
    }
    tx.commit().await?;
    tracing::info!(network = network.name, mac, %address, "a server that nobody enrolled is booted, to be discovered");
    Ok(Begun::Boot(token, row))
}

/// An address for one more boot. Half of them are kept for the servers that are enrolled.
async fn room(
    tx: &mut Tx,
    network: &ProvisioningNetwork,
    taken: &BTreeSet<Ipv4Addr>,
) -> Result<Result<Ipv4Addr, String>, Failure> {
    let boots = discovery::of_network(tx, &network.name).await?.len() as u64;
    let addresses = u64::from(
        network
            .last
            .to_bits()
            .saturating_sub(network.first.to_bits()),
    ) + 1;
    if boots >= addresses.div_ceil(2) {
        return Ok(Err(format!(
            "{boots} unknown servers boot already, and the other addresses from {} to {} are kept for those that are enrolled",
            network.first, network.last
        )));
    }
    let free = network::free(network, taken);
    Ok(free.ok_or_else(|| {
        format!(
            "no address from {} to {} is free",
            network.first, network.last
        )
    }))
}

/// Takes the addresses of boots that are over for others, and the signs of those that brought nothing.
async fn forget(
    tx: &mut Tx,
    network: &ProvisioningNetwork,
    mac: &str,
    until: Timestamp,
    taken: &mut BTreeSet<Ipv4Addr>,
) -> Result<(), Failure> {
    for row in discovery::of_network(tx, &network.name).await? {
        if row.since > until || row.mac == mac {
            continue;
        }
        if !exists(tx, row.node_id).await? {
            boot_sign::forget(tx, row.node_id, Timestamp::from_micros(i64::MAX)).await?;
        }
        taken.remove(&row.address);
        record::delete::<Discovery>(tx, row.mac).await?;
    }
    Ok(())
}
