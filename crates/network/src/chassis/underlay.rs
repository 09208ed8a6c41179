//! The way to other hosts, for the userspace datapath: the tunnels' address must be on a bridge of its own that has the
//! underlay's network card as its port.
//!
//! The bridge's device is gone with the switch's daemon, and with it addresses and routes; so they are written down, and
//! [`Underlay::keep`] puts them back.

use super::conf::Conf;
use super::config::Tunnel;
use super::firewall;
use super::link::Links;
use super::names::Names;
use crate::daemons::{Dirs, MachineError, Namespace};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

/// How often it is looked whether the bridge is as it must be.
const LOOK: Duration = Duration::from_millis(500);

/// What the card had, and the bridge has in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Moved {
    card: String,
    addresses: BTreeSet<IpNet>,
    /// As `ip route` shows and takes them, by family.
    routes: BTreeSet<(String, String)>,
}

/// The bridge in place of the card.
#[derive(Debug, Clone)]
pub struct Underlay {
    names: Names,
    switch: Namespace,
    tunnel: Tunnel,
    /// Where what was moved is written down.
    file: PathBuf,
}

impl Underlay {
    pub fn new(names: &Names, switch: &Namespace, dirs: &Dirs, tunnel: &Tunnel) -> Self {
        Self {
            names: names.clone(),
            switch: switch.clone(),
            tunnel: tunnel.clone(),
            file: dirs.state.join("underlay.json"),
        }
    }

    fn written(&self) -> Result<Option<Moved>, MachineError> {
        match std::fs::read_to_string(&self.file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(MachineError::io("read", &self.file)(error)),
            // One that is broken is written anew.
            Ok(text) => Ok(serde_json::from_str(&text).ok()),
        }
    }

    /// What the card has now, with what it had before.
    async fn look(&self) -> Result<Moved, MachineError> {
        let bridge = self.names.underlay_bridge();
        let mut moved = match self.written()? {
            Some(written) if [&written.card, &bridge].contains(&&self.tunnel.interface) => written,
            _ => Moved {
                card: self.tunnel.interface.clone(),
                ..Moved::default()
            },
        };
        moved.addresses.insert(self.tunnel.address);
        let links = Links(&self.switch);
        if let Some(card) = links.find(&moved.card).await? {
            moved.addresses.extend(card.own_addresses());
        }
        moved.routes.extend(links.routes(&moved.card).await?);
        Ok(moved)
    }

    /// Moves addresses and routes from the card to the bridge, which looks to the underlay as the card did. At no moment
    /// are they on neither, and only when they have moved is the kernel kept from the card's frames.
    pub async fn join(&self, conf: &Conf) -> Result<(), MachineError> {
        let bridge = self.names.underlay_bridge();
        let moved = self.look().await?;
        let text = serde_json::to_vec(&moved).unwrap_or_default();
        std::fs::write(&self.file, text).map_err(MachineError::io("write", &self.file))?;
        let card = &moved.card;
        let links = Links(&self.switch);
        let hardware = links.find(card).await?.and_then(|link| link.address);
        conf.ensure_bridge(&bridge, false, hardware.as_deref())
            .await?;
        conf.add_port(&bridge, card, None).await?;
        conf.settle().await?;
        links
            .batch(format!(
                "link set dev {card} up\nlink set dev {bridge} up\n"
            ))
            .await?;
        self.restore(&moved, &bridge).await?;
        links.set_addresses(card, &[]).await?;
        firewall::guard(&self.names, &self.switch, Some(card)).await
    }

    async fn restore(&self, moved: &Moved, device: &str) -> Result<(), MachineError> {
        let links = Links(&self.switch);
        let addresses: Vec<IpNet> = moved.addresses.iter().copied().collect();
        links.set_addresses(device, &addresses).await?;
        for (family, route) in &moved.routes {
            links.add_route(family, route, device).await?;
        }
        Ok(())
    }

    /// Puts addresses and routes back whenever the bridge's device was made anew.
    pub async fn keep(self, conf: Conf) {
        loop {
            tokio::time::sleep(LOOK).await;
            match self.has_address().await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!("the way to other hosts lost its address; putting it back");
                    if let Err(error) = self.join(&conf).await {
                        tracing::warn!(%error, "the way to other hosts is not there yet");
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot look at the way to other hosts"),
            }
        }
    }

    /// Whether this machine has the tunnels' address: only then can a socket have it.
    async fn has_address(&self) -> Result<bool, MachineError> {
        let address = SocketAddr::new(self.tunnel.address.addr(), 0);
        let bind = move || match UdpSocket::bind(address) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => Ok(false),
            Err(error) => Err(error),
        };
        self.switch.run("look for an address in", bind).await
    }

    /// Gives the card back what it had. The bridge's device must be gone.
    pub async fn leave(&self) -> Result<(), MachineError> {
        let Some(moved) = self.written()? else {
            return Ok(());
        };
        if Links(&self.switch).exists(&moved.card).await? {
            self.restore(&moved, &moved.card).await?;
        }
        Ok(())
    }
}
