//! What an operator can choose about a host's switch.

use super::link::Links;
use crate::daemons::{Dirs, MachineError, Namespace};
use crate::ovsdb::Identity;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone)]
pub struct SwitchConfig {
    /// OVN's name of this host, `system-id`; plans name the host so.
    pub name: String,
    pub hostname: String,
    /// Below it are the switch's database, logs and sockets.
    pub data_dir: PathBuf,
    /// OVN's southbound database, for example `unix:/srv/corten/central/run/southbound.sock`.
    pub southbound: String,
    /// How the host proves to a southbound database on TLS that it is the host of that name.
    pub identity: Option<Identity>,
    /// Where taps, tunnels and the switch's own devices are.
    pub namespace: Namespace,
    /// Where other hosts reach this one's tunnels. Without it the host is alone.
    pub tunnel: Option<Tunnel>,
    /// By physical network: the network card of this machine that leads there. The switch has it whole.
    pub physical_interfaces: BTreeMap<String, String>,
    /// The user that guests' QEMU runs as; taps belong to it.
    pub guest_uid: u32,
}

/// One end of the host's tunnels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// With the underlay's prefix length.
    pub address: IpNet,
    /// The network card, in the switch's namespace, that joins the underlay. The userspace datapath needs it, and takes
    /// it: the address moves to a bridge that has the card as its port. The kernel's datapath leaves it alone.
    pub interface: String,
}

impl Tunnel {
    /// The tunnel's end at an address that this machine has; `None` if it has not, or if other machines cannot reach it.
    pub async fn at(address: IpAddr) -> Result<Option<Self>, MachineError> {
        if address.is_loopback() {
            return Ok(None);
        }
        for link in Links(&Namespace::Own).list().await? {
            let found = link.addr_info.iter().find(|held| held.local == address);
            if let Some(net) = found.and_then(|held| IpNet::new(address, held.prefixlen).ok()) {
                return Ok(Some(Self {
                    address: net,
                    interface: link.ifname,
                }));
            }
        }
        Ok(None)
    }
}

impl SwitchConfig {
    /// The defaults for a data directory: a host that is alone, with its switch in a network namespace of its own. So
    /// no frame of a guest is ever in the machine's own network stack, and several clouds live on one machine.
    ///
    /// A host with a tunnel wants [`Namespace::Own`], where its network cards are.
    pub fn new(data_dir: impl Into<PathBuf>, name: &str, southbound: String) -> Self {
        let data_dir = data_dir.into();
        let tag = Self::dirs_of(&data_dir).tag;
        Self {
            name: name.to_owned(),
            hostname: name.to_owned(),
            data_dir,
            southbound,
            identity: None,
            namespace: Namespace::Named(format!("corten-{tag}")),
            tunnel: None,
            physical_interfaces: BTreeMap::new(),
            guest_uid: 0,
        }
    }

    pub(crate) fn dirs(&self) -> Dirs {
        Self::dirs_of(&self.data_dir)
    }

    fn dirs_of(data_dir: &Path) -> Dirs {
        Dirs::new(data_dir, "switch")
    }
}
