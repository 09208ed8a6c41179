//! Network cards. Only the one that is up has an address, a carrier and a neighbour.

use crate::boot::network::Network;
use crate::device::Sysfs;
use crate::protocol::inventory::Interface;

pub fn list(sysfs: &Sysfs, network: Option<&Network>) -> Vec<Interface> {
    sysfs
        .names("class/net")
        .into_iter()
        .filter(|name| sysfs.path(&format!("class/net/{name}/device")).exists())
        .filter_map(|name| card(sysfs, name, network))
        .collect()
}

fn card(sysfs: &Sysfs, name: String, network: Option<&Network>) -> Option<Interface> {
    let text = |path: &str| sysfs.text(format!("class/net/{name}/{path}"));
    let up = network.filter(|network| network.card == name);
    Some(Interface {
        mac_address: text("address")?.to_ascii_lowercase(),
        ipv4_address: up.map(|network| network.address.to_string()),
        ipv6_address: None,
        has_carrier: text("carrier").as_deref() == Some("1"),
        lldp: None,
        vendor: text("device/vendor"),
        product: text("device/device"),
        // The kernel says -1 of a card that is down.
        speed_mbps: text("speed").and_then(|speed| speed.parse().ok()),
        pci_address: pci_address(sysfs, &name),
        driver: sysfs.link_name(format!("class/net/{name}/device/driver")),
        name,
    })
}

/// A virtio card's device stands on the virtio bus, whose parent is the PCI device.
fn pci_address(sysfs: &Sysfs, name: &str) -> Option<String> {
    let device = std::fs::canonicalize(sysfs.path(&format!("class/net/{name}/device"))).ok()?;
    device
        .ancestors()
        .filter_map(|path| path.file_name()?.to_str())
        .find(|part| is_pci_address(part))
        .map(str::to_owned)
}

/// `0000:00:1f.2`
fn is_pci_address(text: &str) -> bool {
    text.len() == 12
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b':',
            10 => byte == b'.',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::net::Ipv4Addr;
    use std::os::unix::fs::symlink;

    #[test]
    fn cards_have_their_place_and_driver_and_only_the_boot_card_an_address() {
        let root = tempfile::tempdir().unwrap();
        let path = |path: &str| root.path().join(path);
        let device = path("devices/pci0000:00/0000:00:03.0/virtio1");
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(path("bus/virtio/drivers/virtio_net")).unwrap();
        symlink(path("bus/virtio/drivers/virtio_net"), device.join("driver")).unwrap();
        for (name, mac) in [
            ("eth0", "52:54:00:AA:00:01"),
            ("eth1", "52:54:00:aa:00:02"),
            ("lo", "00:00:00:00:00:00"),
        ] {
            fs::create_dir_all(path(&format!("class/net/{name}"))).unwrap();
            fs::write(path(&format!("class/net/{name}/address")), mac).unwrap();
        }
        symlink(&device, path("class/net/eth0/device")).unwrap();
        fs::create_dir_all(path("class/net/eth1/device")).unwrap();
        fs::write(path("class/net/eth0/carrier"), "1\n").unwrap();
        fs::write(path("class/net/eth1/speed"), "-1\n").unwrap();
        let network = Network {
            card: "eth0".to_owned(),
            mac: "52:54:00:aa:00:01".to_owned(),
            address: Ipv4Addr::new(10, 0, 2, 15),
        };
        let cards = list(&Sysfs::new(root.path()), Some(&network));
        let [first, second] = cards.as_slice() else {
            panic!("{cards:?}")
        };
        assert_eq!(first.mac_address, "52:54:00:aa:00:01");
        assert_eq!(first.ipv4_address.as_deref(), Some("10.0.2.15"));
        assert_eq!(first.pci_address.as_deref(), Some("0000:00:03.0"));
        assert_eq!(first.driver.as_deref(), Some("virtio_net"));
        assert!(first.has_carrier && !second.has_carrier);
        assert_eq!(
            (second.ipv4_address.as_ref(), second.speed_mbps),
            (None, None)
        );
    }
}
