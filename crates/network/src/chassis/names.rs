//! Names of devices and namespaces. Each has the cloud's tag in it, so that two clouds on one machine do not collide and
//! each finds its own again; the kernel allows 15 characters.

use corten_model::ids::{NetworkId, PortId};
use sha2::{Digest, Sha512};

/// The names of one cloud.
#[derive(Debug, Clone)]
pub struct Names {
    tag: String,
}

impl Names {
    pub fn new(tag: &str) -> Self {
        Self {
            tag: tag.to_owned(),
        }
    }

    /// What the names of all devices begin with whose frames the switch takes, and the kernel must not. No other name
    /// begins so, because the tag is hexadecimal.
    pub fn guarded(&self) -> String {
        format!("c{}", self.tag)
    }

    /// The tap of a port.
    pub fn tap(&self, port: PortId) -> String {
        let id = port.to_string().replace('-', "");
        format!("{}p{}", self.guarded(), &id[..9])
    }

    pub fn is_tap(&self, device: &str) -> bool {
        device.starts_with(&format!("{}p", self.guarded()))
    }

    /// The switch's end of a network's service namespace.
    pub fn service_device(&self, network: NetworkId) -> String {
        let id = network.to_string().replace('-', "");
        format!("{}s{}", self.guarded(), &id[..9])
    }

    /// The switch's end of the way to the machine, where the switch has a namespace of its own.
    pub fn external_port(&self, physical_network: &str) -> String {
        format!("{}x{}", self.guarded(), &digest(physical_network)[..9])
    }

    /// The bridge that OVN programs.
    pub fn integration_bridge(&self) -> String {
        format!("cint{}", self.tag)
    }

    /// The bridge that has the network card of the underlay.
    pub fn underlay_bridge(&self) -> String {
        format!("cund{}", self.tag)
    }

    /// What the names of all devices begin with that join the machine to a physical network.
    pub fn external_prefix(&self) -> String {
        format!("cext{}", self.tag)
    }

    /// The bridge of a physical network, and the machine's device that is joined to it.
    pub fn external(&self, physical_network: &str) -> String {
        format!(
            "{}{}",
            self.external_prefix(),
            &digest(physical_network)[..7]
        )
    }

    /// The firewall table of this cloud.
    pub fn table(&self, purpose: &str) -> String {
        format!("corten_{}_{purpose}", self.tag)
    }

    /// The namespace of a network's services.
    pub fn service_namespace(&self, network: NetworkId) -> String {
        format!("{}{network}", self.service_prefix())
    }

    pub fn service_prefix(&self) -> String {
        format!("corten-{}-", self.tag)
    }

    /// The network that a service namespace belongs to.
    pub fn network_of(&self, namespace: &str) -> Option<NetworkId> {
        namespace.strip_prefix(&self.service_prefix())?.parse().ok()
    }
}

fn digest(text: &str) -> String {
    hex::encode(&Sha512::digest(text.as_bytes())[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_only_the_switchs_devices_are_guarded() {
        let names = Names::new("ce1f");
        let (port, network) = (PortId::random(), NetworkId::random());
        let guarded = [
            names.tap(port),
            names.service_device(network),
            names.external_port("physnet1"),
        ];
        let free = [
            names.integration_bridge(),
            names.underlay_bridge(),
            names.external("physnet1"),
        ];
        for name in guarded.iter().chain(&free) {
            assert!(name.len() <= 15, "{name}");
        }
        assert!(
            guarded
                .iter()
                .all(|name| name.starts_with(&names.guarded()))
        );
        assert!(!free.iter().any(|name| name.starts_with(&names.guarded())));
        assert!(names.is_tap(&guarded[0]) && !names.is_tap(&guarded[1]));
        let namespace = names.service_namespace(network);
        assert_eq!(names.network_of(&namespace), Some(network));
    }
}
