//! A host's switch: [`HostSwitch`] joins guests' taps, services and external networks to OVN.
//!
//! Where things are, on a host whose switch has a network namespace of its own:
//!
//! ```text
//!   the machine's namespace      the switch's namespace               a network's service namespace
//!   cext… (gateway addresses) ── c…x ─ cext… (bridge, or a card)      eth0 (169.254.169.254)
//!                                        │ patch                        │
//!                                      cint… (bridge, OVN) ── c…s ──────┘
//!                                        │
//!                                      c…p (tap) ── QEMU
//! ```
//!
//! What is plugged is remembered by the switch's database and by the kernel, and by nothing else; so whatever dies, the
//! next [`HostSwitch`] finds it.

mod conf;
mod config;
mod external;
mod firewall;
mod link;
mod name_sockets;
mod names;
mod service;
mod side;
mod tap;
mod underlay;

pub use config::{SwitchConfig, Tunnel};
pub use link::{Counters, Direction};
pub use name_sockets::NameSockets;
pub use service::{METADATA_V4, METADATA_V6, MetadataListeners};
pub use side::{HostSide, NetworkService};

use crate::daemons::{ChassisDaemons, DaemonStatus, Datapath, MachineError, Namespace};
use crate::plan::Mac;
use conf::Conf;
use corten_model::ids::{NetworkId, PortId};
use external::External;
use ipnet::IpNet;
use link::Links;
use names::Names;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinHandle;
use underlay::Underlay;

/// For OVN to wire a port, from the moment it knows of it.
const INSTALL_LIMIT: Duration = Duration::from_secs(10);

/// The switch of this host. Dropping it leaves everything running; the next one finds it.
pub struct HostSwitch {
    config: SwitchConfig,
    names: Names,
    datapath: Datapath,
    daemons: ChassisDaemons,
    conf: Conf,
    underlay: Option<KeptUnderlay>,
}

/// The way to other hosts, where the userspace datapath has it.
struct KeptUnderlay {
    underlay: Underlay,
    keeper: JoinHandle<()>,
}

impl Drop for KeptUnderlay {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl HostSwitch {
    /// Adopts or starts the daemons, with the guard in force before them.
    pub async fn open(config: SwitchConfig) -> Result<Self, MachineError> {
        let dirs = config.dirs();
        let names = Names::new(&dirs.tag);
        tap::open_to_guests()?;
        config.namespace.ensure().await?;
        let mut daemons = ChassisDaemons::open(
            dirs.clone(),
            config.namespace.clone(),
            config.identity.clone(),
        )
        .await?;
        let client = Conf::connect(daemons.database_socket()).await?;
        let datapath = match Conf::datapath_of(&client, &names.integration_bridge()) {
            Some(datapath) => datapath,
            None => Datapath::probe(&config.namespace, &dirs.tag).await,
        };
        firewall::guard(&names, &config.namespace, None).await?;
        let cards = config.physical_interfaces.values();
        firewall::guard_cards(&names, &config.namespace, cards).await?;
        let conf = Conf::new(client, datapath);
        conf.set_external_ids(&controller_settings(&config, &names, datapath))
            .await?;
        let bridge = names.integration_bridge();
        conf.ensure_bridge(&bridge, true, None).await?;
        daemons.start_workers().await?;
        let underlay = match &config.tunnel {
            Some(tunnel) if datapath == Datapath::Userspace => {
                let underlay = Underlay::new(&names, &config.namespace, &dirs, tunnel);
                underlay.join(&conf).await?;
                let keeper = tokio::spawn(underlay.clone().keep(conf.clone()));
                Some(KeptUnderlay { underlay, keeper })
            }
            _ => None,
        };
        conf.settle().await?;
        Ok(Self {
            config,
            names,
            datapath,
            daemons,
            conf,
            underlay,
        })
    }

    pub fn datapath(&self) -> Datapath {
        self.datapath
    }

    /// OVN's name of this host.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Where guests' QEMU must run to open its taps.
    pub fn namespace(&self) -> &Namespace {
        &self.config.namespace
    }

    pub fn status(&self) -> Vec<DaemonStatus> {
        self.daemons.status()
    }

    /// The tap of a port, whether or not it is plugged.
    pub fn tap(&self, port: PortId) -> String {
        self.names.tap(port)
    }

    /// Has the port's tap in the switch, and returns its name. OVN wires it when it knows of the port.
    pub async fn plug(&self, port: PortId, mtu: u16) -> Result<String, MachineError> {
        let tap = self.names.tap(port);
        let links = Links(&self.config.namespace);
        if !links.exists(&tap).await? {
            self.conf.release(&tap).await?;
            tap::make(&links, &tap, self.config.guest_uid).await?;
        }
        links
            .batch(format!("link set dev {tap} mtu {mtu} up\n"))
            .await?;
        let bridge = self.names.integration_bridge();
        let iface_id = port.to_string();
        self.conf.add_port(&bridge, &tap, Some(&iface_id)).await?;
        Ok(tap)
    }

    /// Takes the port's tap away. One that is not there is fine.
    pub async fn unplug(&self, port: PortId) -> Result<(), MachineError> {
        self.unplug_tap(&self.names.tap(port)).await
    }

    async fn unplug_tap(&self, tap: &str) -> Result<(), MachineError> {
        self.conf.remove_port(tap).await?;
        Links(&self.config.namespace).remove(tap).await
    }

    /// The ports whose taps are in the switch.
    pub fn plugged(&self) -> BTreeSet<PortId> {
        let ports = self.conf.logical_ports().into_iter();
        ports
            .filter(|(device, _)| self.names.is_tap(device))
            .filter_map(|(_, iface_id)| iface_id.parse().ok())
            .collect()
    }

    /// Waits until OVN has wired the port; false if it has not in time, because it knows nothing of the port or is down.
    pub async fn installed(&self, port: PortId) -> bool {
        let tap = self.names.tap(port);
        self.conf.wait_installed(&tap, INSTALL_LIMIT).await
    }

    /// What passed the port's tap, seen from the host; `None` if it is not plugged.
    pub async fn counters(&self, port: PortId) -> Result<Option<Counters>, MachineError> {
        let links = Links(&self.config.namespace);
        let link = links.find(&self.names.tap(port)).await?;
        Ok(link.and_then(|link| link.stats64))
    }

    /// Has the bridge of a physical network, and returns the device that leads there. Without a network card for it, the
    /// machine itself is joined with these addresses (the gateways of its subnets); from there it is reached by pings and
    /// by answers only.
    pub async fn external_bridge(
        &self,
        physical_network: &str,
        addresses: &[IpNet],
    ) -> Result<String, MachineError> {
        let external = External {
            names: &self.names,
            switch: &self.config.namespace,
            conf: &self.conf,
            physical_network,
        };
        match self.config.physical_interfaces.get(physical_network) {
            Some(card) => external.join_card(card).await,
            None => external.join_machine(addresses).await,
        }
    }

    /// Has the network's service namespace on this host, joined as the logical port `service_port` with these addresses,
    /// and listens for metadata requests. Drop the listeners before you ask again.
    pub async fn serve(
        &self,
        network: NetworkId,
        service_port: PortId,
        mac: Mac,
        addresses: &[IpNet],
    ) -> Result<MetadataListeners, MachineError> {
        let service = service::Service {
            names: &self.names,
            switch: &self.config.namespace,
            conf: &self.conf,
            network,
        };
        let namespace = service.join(service_port, mac, addresses).await?;
        service::listen(&namespace).await
    }

    /// Takes the network's service namespace away. One that is not there is fine.
    pub async fn unserve(&self, network: NetworkId) -> Result<(), MachineError> {
        let service = service::Service {
            names: &self.names,
            switch: &self.config.namespace,
            conf: &self.conf,
            network,
        };
        service.leave().await
    }

    /// The networks that have a service namespace here.
    pub fn served(&self) -> Result<BTreeSet<NetworkId>, MachineError> {
        let namespaces = Namespace::with_prefix(&self.names.service_prefix())?;
        Ok(namespaces
            .iter()
            .filter_map(|name| self.names.network_of(name))
            .collect())
    }

    /// Removes every tap and service namespace of this cloud but these, also what an interrupted change left half made.
    pub async fn keep_only(
        &self,
        ports: &BTreeSet<PortId>,
        networks: &BTreeSet<NetworkId>,
    ) -> Result<(), MachineError> {
        let kept: BTreeSet<String> = ports.iter().map(|port| self.names.tap(*port)).collect();
        let in_switch = self.conf.logical_ports().into_keys();
        let in_kernel = Links(&self.config.namespace)
            .list()
            .await?
            .into_iter()
            .map(|link| link.ifname);
        let taps: BTreeSet<String> = in_switch
            .chain(in_kernel)
            .filter(|device| self.names.is_tap(device) && !kept.contains(device))
            .collect();
        for tap in taps {
            self.unplug_tap(&tap).await?;
        }
        for network in self.served()?.difference(networks) {
            self.unserve(*network).await?;
        }
        Ok(())
    }

    /// Ends the daemons. Taps and namespaces stay, and so does what is plugged.
    pub async fn stop(self) -> Result<(), MachineError> {
        self.daemons.stop().await
    }

    /// Removes every trace of the switch from this machine. Guests must be gone.
    pub async fn destroy(self) -> Result<(), MachineError> {
        self.keep_only(&BTreeSet::new(), &BTreeSet::new()).await?;
        let prefix = self.names.external_prefix();
        let underlay = self.underlay.map(|kept| kept.underlay.clone());
        self.daemons.stop().await?;
        let machine = Links(&Namespace::Own);
        for link in machine.list().await? {
            if link.ifname.starts_with(&prefix) {
                machine.remove(&link.ifname).await?;
            }
        }
        firewall::remove(&self.names, &self.config.namespace).await?;
        if let Some(underlay) = underlay {
            underlay.leave().await?;
        }
        for card in self.config.physical_interfaces.values() {
            external::give_back(&self.config.namespace, card).await?;
        }
        self.config.namespace.remove().await?;
        self.config.dirs().remove()
    }
}

/// What OVN's controller must know, as it is written in `external_ids` (ovn-controller(8)).
fn controller_settings(
    config: &SwitchConfig,
    names: &Names,
    datapath: Datapath,
) -> Vec<(&'static str, String)> {
    // A host that is alone has no tunnels, but OVN wants an address for them.
    let tunnel = config.tunnel.as_ref();
    let address = tunnel.map_or("127.0.0.1".to_owned(), |tunnel| {
        tunnel.address.addr().to_string()
    });
    vec![
        ("system-id", config.name.clone()),
        ("hostname", config.hostname.clone()),
        ("ovn-remote", config.southbound.clone()),
        ("ovn-bridge", names.integration_bridge()),
        ("ovn-bridge-datapath-type", datapath.as_str().to_owned()),
        ("ovn-encap-type", "geneve".to_owned()),
        ("ovn-encap-ip", address),
        ("ovn-monitor-all", "true".to_owned()),
    ]
}
