//! Network devices of the kernel, through the program `ip`.

use crate::daemons::{MachineError, Namespace};
use ipnet::IpNet;
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A device as `ip -json` shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Link {
    pub ifname: String,
    /// Its hardware address; some kinds of device have none.
    pub address: Option<String>,
    #[serde(default)]
    pub addr_info: Vec<LinkAddress>,
    pub stats64: Option<Counters>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct LinkAddress {
    pub local: IpAddr,
    pub prefixlen: u8,
}

/// What passed a device, seen from the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Counters {
    pub rx: Direction,
    pub tx: Direction,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Direction {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// The devices of one namespace.
#[derive(Debug, Clone)]
pub struct Links<'a>(pub &'a Namespace);

impl Links<'_> {
    /// Runs `ip` with these arguments.
    pub async fn ip(&self, words: &[&str]) -> Result<String, MachineError> {
        self.0.program("ip").args(words.iter().copied()).run().await
    }

    /// Runs `ip` once for many commands, one per line.
    pub async fn batch(&self, lines: String) -> Result<(), MachineError> {
        let ip = self.0.program("ip").args(["-batch", "-"]).input(lines);
        ip.run().await.map(drop)
    }

    pub async fn exists(&self, name: &str) -> Result<bool, MachineError> {
        let name = name.to_owned();
        let look_up = move || {
            let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            match name_to_index(&socket, &name) {
                Ok(_) => Ok(true),
                Err(Errno::NODEV) => Ok(false),
                Err(error) => Err(error.into()),
            }
        };
        self.0.run("look for a device in", look_up).await
    }

    /// All devices with their addresses and counters.
    pub async fn list(&self) -> Result<Vec<Link>, MachineError> {
        self.show(&[]).await
    }

    /// One device; `None` if it is not there.
    pub async fn find(&self, name: &str) -> Result<Option<Link>, MachineError> {
        if !self.exists(name).await? {
            return Ok(None);
        }
        Ok(self.show(&["show", "dev", name]).await?.pop())
    }

    async fn show(&self, what: &[&str]) -> Result<Vec<Link>, MachineError> {
        let text = self
            .ip(&[&["-json", "-stats", "address"], what].concat())
            .await?;
        let links: Result<Vec<Link>, _> = serde_json::from_str(&text);
        links.map_err(|error| MachineError::ProgramFailed {
            program: "ip".to_owned(),
            status: "its answer is not understood".to_owned(),
            output: error.to_string(),
        })
    }

    /// Removes a device; one that is not there is fine.
    pub async fn remove(&self, name: &str) -> Result<(), MachineError> {
        match self.ip(&["link", "del", name]).await {
            Err(_) if !self.exists(name).await? => Ok(()),
            other => other.map(drop),
        }
    }

    /// Gives a device exactly these addresses, and no other of a kind that people give.
    pub async fn set_addresses(&self, name: &str, wanted: &[IpNet]) -> Result<(), MachineError> {
        let Some(link) = self.find(name).await? else {
            return Err(MachineError::Invalid {
                field: "device",
                value: name.to_owned(),
                rule: format!("there is no such device in {}", self.0),
            });
        };
        let had: BTreeSet<IpNet> = link.addr_info.iter().filter_map(LinkAddress::net).collect();
        let wanted: BTreeSet<IpNet> = wanted.iter().copied().collect();
        for address in wanted.difference(&had) {
            let address_text = address.to_string();
            let mut words = vec!["address", "replace", &address_text, "dev", name];
            if address.addr().is_ipv6() {
                // Nobody else has it, and it must be usable at once.
                words.push("nodad");
            }
            self.ip(&words).await?;
        }
        for address in had
            .difference(&wanted)
            .filter(|address| !is_automatic(address))
        {
            self.ip(&["address", "del", &address.to_string(), "dev", name])
                .await?;
        }
        Ok(())
    }

    /// Whether a device here is joined by a veth to one in a named namespace. Ends of a veth go together.
    pub async fn has_veth(
        &self,
        name: &str,
        peer: &str,
        peer_namespace: &str,
    ) -> Result<bool, MachineError> {
        let far = Namespace::Named(peer_namespace.to_owned());
        Ok(self.exists(name).await? && Links(&far).exists(peer).await?)
    }

    /// Joins them, in place of what has their names.
    pub async fn make_veth(
        &self,
        name: &str,
        peer: &str,
        peer_namespace: &str,
    ) -> Result<(), MachineError> {
        let far = Namespace::Named(peer_namespace.to_owned());
        self.remove(name).await?;
        Links(&far).remove(peer).await?;
        let far_end = [
            "type",
            "veth",
            "peer",
            "name",
            peer,
            "netns",
            peer_namespace,
        ];
        self.ip(&[&["link", "add", "name", name], &far_end[..]].concat())
            .await?;
        Ok(())
    }

    /// Has the kernel give the device no address of its own.
    pub async fn keep_silent(&self, name: &str) -> Result<(), MachineError> {
        let words = ["link", "set", "dev", name, "addrgenmode", "none"];
        self.ip(&words).await.map(drop)
    }

    /// The routes that go out of a device, by family, but for those that are made anew: the kernel's come and go with the
    /// addresses, and those of routers are announced again.
    pub async fn routes(&self, device: &str) -> Result<Vec<(String, String)>, MachineError> {
        let mut found = Vec::new();
        for family in ["-4", "-6"] {
            let shown = self.ip(&[family, "route", "show", "dev", device]).await?;
            let is_made_anew = |route: &str| {
                let by = |proto: &str| route.contains(&format!("proto {proto}"));
                by("kernel") || by("ra")
            };
            let ours = shown
                .lines()
                .map(|route| route.trim().trim_end_matches(" linkdown"))
                .filter(|route| !route.is_empty() && !is_made_anew(route));
            found.extend(ours.map(|route| (family.to_owned(), route.to_owned())));
        }
        Ok(found)
    }

    /// Has a route go out of this device, wherever it went before.
    pub async fn add_route(
        &self,
        family: &str,
        route: &str,
        device: &str,
    ) -> Result<(), MachineError> {
        let words = [family, "route", "replace"].into_iter();
        let words = words.chain(route.split_whitespace()).chain(["dev", device]);
        self.ip(&words.collect::<Vec<_>>()).await.map(drop)
    }

    /// The frames of a veth end must be complete when the userspace datapath reads them at the other end.
    pub async fn finish_checksums(&self, name: &str) -> Result<(), MachineError> {
        let ethtool = self.0.program("ethtool").args(["-K", name, "tx", "off"]);
        ethtool.run().await.map(drop)
    }
}

impl Link {
    /// Those that somebody gave it.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpNet> {
        let all = self.addr_info.iter().filter_map(LinkAddress::net);
        all.filter(|address| !is_automatic(address))
    }
}

impl LinkAddress {
    fn net(&self) -> Option<IpNet> {
        IpNet::new(self.local, self.prefixlen).ok()
    }
}

/// The link-local address that the kernel itself gives.
fn is_automatic(address: &IpNet) -> bool {
    match address.addr() {
        IpAddr::V6(address) => address.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    }
}
