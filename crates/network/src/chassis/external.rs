//! External networks: where public addresses meet the machine, or the world.
//!
//! Where no network card leads to a physical network, the machine itself is its router: it has a device with the gateway
//! addresses of the external networks, so it reaches public addresses by a connected route. Where the switch has a
//! namespace of its own, the device is the machine's end of a veth; else it is the bridge.
//!
//! Where a card does, the switch has it whole, and routers are out there.

use super::conf::Conf;
use super::firewall;
use super::link::Links;
use super::names::Names;
use crate::daemons::{MachineError, Namespace};
use ipnet::IpNet;

/// The bridge of one physical network.
pub struct External<'a> {
    pub names: &'a Names,
    pub switch: &'a Namespace,
    pub conf: &'a Conf,
    pub physical_network: &'a str,
}

impl External<'_> {
    /// Joins the machine to it with these addresses. Returns the machine's device.
    pub async fn join_machine(&self, addresses: &[IpNet]) -> Result<String, MachineError> {
        firewall::shield(self.names).await?;
        let device = self.bridge().await?;
        let machine = Links(&Namespace::Own);
        if let Namespace::Named(name) = self.switch {
            let port = self.names.external_port(self.physical_network);
            if !machine.has_veth(&device, &port, name).await? {
                self.conf.release(&port).await?;
                machine.make_veth(&device, &port, name).await?;
            }
            machine.finish_checksums(&device).await?;
            Links(self.switch)
                .batch(format!("link set dev {port} up\n"))
                .await?;
            self.conf.add_port(&device, &port, None).await?;
        }
        machine.batch(format!("link set dev {device} up\n")).await?;
        machine.set_addresses(&device, addresses).await?;
        self.conf.map_bridge(self.physical_network, &device).await?;
        Ok(device)
    }

    /// Joins it to a network card, which comes into the switch's namespace.
    pub async fn join_card(&self, card: &str) -> Result<String, MachineError> {
        let bridge = self.bridge().await?;
        let links = Links(self.switch);
        if let Namespace::Named(name) = self.switch
            && !links.exists(card).await?
        {
            has_no_address(&Links(&Namespace::Own), card).await?;
            self.conf.release(card).await?;
            let words = ["link", "set", "dev", card, "netns", name];
            Links(&Namespace::Own).ip(&words).await?;
        }
        has_no_address(&links, card).await?;
        links.keep_silent(card).await?;
        links
            .batch(format!(
                "link set dev {card} up\nlink set dev {bridge} up\n"
            ))
            .await?;
        self.conf.add_port(&bridge, card, None).await?;
        self.conf.map_bridge(self.physical_network, &bridge).await?;
        Ok(bridge)
    }

    async fn bridge(&self) -> Result<String, MachineError> {
        let bridge = self.names.external(self.physical_network);
        self.conf.ensure_bridge(&bridge, false, None).await?;
        self.conf.settle().await?;
        Ok(bridge)
    }
}

/// A card that this machine is reached by is not taken: whoever set that up would be locked out.
async fn has_no_address(links: &Links<'_>, card: &str) -> Result<(), MachineError> {
    let refused = |rule: String| {
        Err(MachineError::Invalid {
            field: "host.physical_interfaces",
            value: card.to_owned(),
            rule,
        })
    };
    let Some(link) = links.find(card).await? else {
        return refused("this machine has no such network card".to_owned());
    };
    let Some(address) = link.own_addresses().next() else {
        return Ok(());
    };
    refused(format!(
        "it has the address {address}, which would be lost: name a card without one, or take the address away"
    ))
}

/// Gives a card back to the machine's namespace, once the switch is gone.
pub async fn give_back(switch: &Namespace, card: &str) -> Result<(), MachineError> {
    if matches!(switch, Namespace::Own) || !Links(switch).exists(card).await? {
        return Ok(());
    }
    // The namespace of this thread, which need not be the process's.
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let home = format!("/proc/{}/task/{thread}/ns/net", std::process::id());
    let words = ["link", "set", "dev", card, "netns", &home];
    Links(switch).ip(&words).await.map(drop)
}
