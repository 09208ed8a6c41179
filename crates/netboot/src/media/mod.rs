//! Virtual-media images: what a BMC shows its server as an optical disc or a disk, built for one node.
//!
//! An image is laid out, not written: its head and the small files lie in memory, and the kernel and the ramdisk are read from
//! their own files as they go out. A thousand nodes need a thousand heads of some hundred kilobytes and no disk space.
//!
//! ```text
//! sectors 0-15   MBR: starts ISOLINUX, and names the EFI system partition, where a BMC shows the image as a disk
//! 16-18          ISO 9660 volume descriptors; one of them points to the boot catalogue
//! 19             El Torito boot catalogue: ISOLINUX for BIOS, the EFI system partition for UEFI
//! then           path tables, directories with Rock Ridge names, files
//! ```
//!
//! UEFI starts shim, which starts Debian's signed GRUB, which starts the kernel, so a signed kernel boots with Secure Boot on.
//!
//! The node's network configuration is in its ramdisk: a second archive, which every loader appends to the first and the
//! kernel unpacks over it. The ramdisk then needs no driver for the drive that it came from, and the drive may be taken out.

pub(crate) mod esp;
mod iso;
mod layout;

use crate::content::Content;
use crate::cpio;
use crate::directory::{Boot, Lease};
use crate::file_tree::FileTree;
use crate::loaders::Loaders;
use crate::script;
use corten_model::mac::Mac;
use iso::{BootImages, IsoError};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;

/// Where a ramdisk finds its network configuration: OpenStack's `network_data.json`, which cloud-init and Ironic's agent read too.
pub const NETWORK_DATA: &str = "etc/corten/network_data.json";

/// The file by which Debian's GRUB for optical discs knows the disc that it came from.
const GRUB_MARKER: &str = ".disk/info";
const KERNEL: &str = "/boot/vmlinuz";
const RAMDISKS: [&str; 2] = ["/boot/ramdisk.img", "/boot/node.img"];

/// An image for one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaPlan {
    pub boot: Boot,
    /// The card that the lease is for, and the lease. None: the ramdisk asks by DHCP.
    pub network: Option<(Mac, Lease)>,
    /// More files for the ramdisk, by path, such as the token by which it calls home.
    pub files: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error("{what} cannot be read")]
    Read {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("the image cannot be laid out")]
    Iso(#[from] IsoError),
}

impl MediaPlan {
    /// Lays the image out.
    pub async fn image(&self, loaders: &Loaders) -> Result<Content, MediaError> {
        let line = &self.boot.command_line;
        let text = |text: String| Content::memory(text.into_bytes());
        let files = [
            (GRUB_MARKER, text("Corten boot image\n".to_owned())),
            (
                "boot/grub/grub.cfg",
                text(script::grub(KERNEL, &RAMDISKS, line)),
            ),
            (&KERNEL[1..], file(&self.boot.kernel).await?),
            (&RAMDISKS[0][1..], file(&self.boot.ramdisk).await?),
            (&RAMDISKS[1][1..], Content::memory(self.node_archive())),
            (
                "isolinux/isolinux.cfg",
                text(script::isolinux(KERNEL, &RAMDISKS, line)),
            ),
            ("isolinux/ldlinux.c32", loaders.ldlinux.clone()),
        ];
        let boot = BootImages {
            bios: ("isolinux/isolinux.bin", &loaders.isolinux),
            efi: ("efi.img", loaders.esp.clone()),
            mbr: &loaders.isohybrid_mbr,
        };
        Ok(iso::lay_out(files, &boot)?)
    }

    /// The archive that the kernel unpacks over its ramdisk.
    fn node_archive(&self) -> Vec<u8> {
        let mut tree = FileTree::default();
        if let Some((mac, lease)) = &self.network {
            let data = network_data(*mac, lease).to_string();
            tree.file(NETWORK_DATA, 0o600, data);
        }
        for (path, content) in &self.files {
            tree.file(path, 0o600, content.clone());
        }
        cpio::archive(&tree)
    }
}

/// A disc that holds data alone, such as a config drive, with this volume label.
pub async fn data_disc<'a>(
    label: &str,
    files: impl IntoIterator<Item = (&'a str, Vec<u8>)>,
) -> Result<Vec<u8>, MediaError> {
    let files = files
        .into_iter()
        .map(|(path, content)| (path, Content::memory(content)));
    let disc = iso::data(label, files)?;
    disc.read().await.map_err(|source| MediaError::Read {
        what: "the disc".to_owned(),
        source,
    })
}

async fn file(path: &std::path::Path) -> Result<Content, MediaError> {
    Content::file(path)
        .await
        .map_err(|source| MediaError::Read {
            what: path.display().to_string(),
            source,
        })
}

/// A lease in the words of OpenStack's `network_data.json`.
pub fn network_data(mac: Mac, lease: &Lease) -> Value {
    let route = |gateway| json!({"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": gateway});
    let service = |address| json!({"type": "dns", "address": address});
    json!({
        "links": [{
            "id": "boot",
            "type": "phy",
            "ethernet_mac_address": mac.to_string(),
            "mtu": lease.mtu,
        }],
        "networks": [{
            "id": "boot",
            "link": "boot",
            "type": "ipv4",
            "ip_address": lease.address.addr(),
            "netmask": lease.address.netmask(),
            "routes": lease.gateway.iter().map(route).collect::<Vec<_>>(),
        }],
        "services": lease.name_servers.iter().map(service).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_lease_is_told_as_openstack_tells_it() {
        let lease = Lease {
            address: "192.0.2.10/25".parse().unwrap(),
            gateway: Some([192, 0, 2, 1].into()),
            name_servers: vec![[192, 0, 2, 53].into()],
            mtu: Some(9000),
            hostname: None,
            duration: Duration::from_secs(60),
        };
        let data = network_data(Mac([2, 0, 0, 0, 0, 1]), &lease);
        assert_eq!(
            data["links"][0]["ethernet_mac_address"],
            "02:00:00:00:00:01"
        );
        assert_eq!(data["links"][0]["mtu"], 9000);
        let network = &data["networks"][0];
        assert_eq!(network["ip_address"], "192.0.2.10");
        assert_eq!(network["netmask"], "255.255.255.128");
        assert_eq!(network["routes"][0]["gateway"], "192.0.2.1");
        assert_eq!(data["services"][0]["address"], "192.0.2.53");
    }
}
