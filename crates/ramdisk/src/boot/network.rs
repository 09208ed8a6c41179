//! Brings up the one network card that the server was booted from. All others stay down: what is behind them is the
//! tenant's.

use super::cmdline::{BootOptions, StaticAddress};
use super::dhcp::{Client, DhcpError, Lease};
use super::netlink::{Route, Uevents};
use crate::device::Sysfs;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// A card's driver may load firmware first.
const CARD_PATIENCE: Duration = Duration::from_secs(30);
/// About two minutes.
const DHCP_TRIES: u32 = 10;

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("the server was booted from the card {mac}, but it has only: {others}")]
    NoCard { mac: String, others: String },
    #[error(
        "the command line has no BOOTIF, and the server does not have exactly one network card but: {cards}"
    )]
    Ambiguous { cards: String },
    #[error(transparent)]
    Dhcp(#[from] DhcpError),
    #[error("the network card {card} cannot be set up")]
    Set {
        card: String,
        #[source]
        source: io::Error,
    },
}

/// The card that is up.
#[derive(Debug, Clone)]
pub struct Network {
    pub card: String,
    pub mac: String,
    pub address: Ipv4Addr,
}

/// Finds the card, gives it an address and keeps it.
pub fn bring_up(
    options: &BootOptions,
    sysfs: &Sysfs,
    events: &Uevents,
) -> Result<Network, NetworkError> {
    let (card, mac) = wait_for_card(options.boot_mac.as_deref(), sysfs, events)?;
    let failed = |source| NetworkError::Set {
        card: card.clone(),
        source,
    };
    let index = index_of(sysfs, &card);
    let route = Route::open().map_err(failed)?;
    route.set_up(index_of(sysfs, "lo"), true).map_err(failed)?;
    route.set_up(index, true).map_err(failed)?;
    let (address, lease) = match options.static_address {
        Some(address) => (address, None),
        None => {
            let client = Client::new(&card, octets(&mac))?;
            let lease = client.acquire(DHCP_TRIES)?;
            (given(&lease), Some((client, lease)))
        }
    };
    set(&route, index, &address).map_err(failed)?;
    if let Some((client, lease)) = lease {
        std::thread::spawn(move || keep(&client, lease));
    }
    tracing::info!(
        "the network card {card} ({mac}) has the address {}",
        address.address
    );
    Ok(Network {
        card,
        mac,
        address: address.address,
    })
}

/// Takes the card down: whoever calls from outside finds nothing.
pub fn take_down(network: &Network, sysfs: &Sysfs) -> io::Result<()> {
    Route::open()?.set_up(index_of(sysfs, &network.card), false)
}

fn index_of(sysfs: &Sysfs, card: &str) -> u32 {
    sysfs
        .number(format!("class/net/{card}/ifindex"))
        .unwrap_or(0) as u32
}

/// Cards of hardware, with their addresses.
fn cards(sysfs: &Sysfs) -> Vec<(String, String)> {
    sysfs
        .names("class/net")
        .into_iter()
        .filter(|name| sysfs.path(&format!("class/net/{name}/device")).exists())
        .filter_map(|name| {
            let mac = sysfs.text(format!("class/net/{name}/address"))?;
            Some((name, mac.to_ascii_lowercase()))
        })
        .collect()
}

fn choose(cards: &[(String, String)], boot_mac: Option<&str>) -> Option<(String, String)> {
    match (boot_mac, cards) {
        (Some(wanted), _) => cards.iter().find(|(_, mac)| mac == wanted).cloned(),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    }
}

fn wait_for_card(
    boot_mac: Option<&str>,
    sysfs: &Sysfs,
    events: &Uevents,
) -> Result<(String, String), NetworkError> {
    let until = Instant::now() + CARD_PATIENCE;
    loop {
        let there = cards(sysfs);
        if let Some(card) = choose(&there, boot_mac) {
            return Ok(card);
        }
        let left = until.saturating_duration_since(Instant::now());
        let event = if left.is_zero() {
            None
        } else {
            events.next(left).ok().flatten()
        };
        if event.is_some() {
            continue;
        }
        let names: Vec<String> = there
            .iter()
            .map(|(name, mac)| format!("{name} ({mac})"))
            .collect();
        let names = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        return Err(match boot_mac {
            Some(mac) => NetworkError::NoCard {
                mac: mac.to_owned(),
                others: names,
            },
            None => NetworkError::Ambiguous { cards: names },
        });
    }
}

fn octets(mac: &str) -> [u8; 6] {
    let mut octets = [0; 6];
    for (octet, text) in octets.iter_mut().zip(mac.split(':')) {
        *octet = u8::from_str_radix(text, 16).unwrap_or(0);
    }
    octets
}

fn given(lease: &Lease) -> StaticAddress {
    StaticAddress {
        address: lease.address,
        prefix: lease.prefix,
        gateway: lease.gateway,
        dns: lease.dns.first().copied(),
    }
}

fn set(route: &Route, index: u32, address: &StaticAddress) -> io::Result<()> {
    route.add_address(index, address.address, address.prefix)?;
    if let Some(gateway) = address.gateway {
        route.add_default_route(index, gateway)?;
    }
    if let Some(dns) = address.dns {
        std::fs::create_dir_all("/etc")?;
        std::fs::write("/etc/resolv.conf", format!("nameserver {dns}\n"))?;
    }
    Ok(())
}

/// Renews the lease each time that half of it is over. The address stays even if the server does not answer: a write that
/// runs is worth more than its correctness for a minute.
fn keep(client: &Client, mut lease: Lease) {
    loop {
        std::thread::park_timeout(Duration::from_secs(u64::from(lease.seconds / 2).max(30)));
        match client.renew(&lease) {
            Ok(Some(renewed)) => lease = renewed,
            Ok(None) => tracing::warn!(
                "the DHCP server {} did not renew {}",
                lease.server,
                lease.address
            ),
            Err(error) => tracing::warn!("{}", crate::journal::chain(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_card_is_chosen_and_no_other() {
        let card = |name: &str, mac: &str| (name.to_owned(), mac.to_owned());
        let two = [
            card("eth0", "52:54:00:00:00:01"),
            card("eth1", "52:54:00:00:00:02"),
        ];
        assert_eq!(
            choose(&two, Some("52:54:00:00:00:02")),
            Some(two[1].clone())
        );
        assert_eq!(choose(&two, Some("52:54:00:00:00:03")), None);
        assert_eq!(
            choose(&two, None),
            None,
            "which one is not for the ramdisk to guess"
        );
        assert_eq!(choose(&two[..1], None), Some(two[0].clone()));
        assert_eq!(octets("52:54:00:00:00:0a"), [0x52, 0x54, 0, 0, 0, 10]);
    }
}
