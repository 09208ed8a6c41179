//! Reads disks out of `/sys`.

use super::{Disk, Transport, arrays};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What sectors are counted in below `/sys/block`, whatever the disk's own are.
const SECTOR_BYTES: u64 = 512;

/// A tree like `/sys`; tests give a recorded one.
#[derive(Debug, Clone)]
pub struct Sysfs(PathBuf);

impl Default for Sysfs {
    fn default() -> Self {
        Self(PathBuf::from("/sys"))
    }
}

impl Sysfs {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// The file's text without white space around it, if there is any.
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = fs::read(self.0.join(path)).ok()?;
        let text = String::from_utf8_lossy(&text);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| text.to_owned())
    }

    pub fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The last part of what a link points to.
    pub fn link_name(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = fs::read_link(self.0.join(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// Names below a directory, sorted; none if it is not there.
    pub fn names(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.join(path))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// Words by which the virtual media of management controllers (AMI, iDRAC, iLO, XCC, OpenBMC) call themselves, in lower case.
const MEDIA: [&str; 9] = [
    "virtual", "vmedia", "ilo", "idrac", "lifc", "megarac", "gadget", "cimc", "mapped",
];

/// A medium that is no part of the server, or cannot be written: no step touches it.
#[derive(Debug, PartialEq, Eq)]
pub struct LeftAlone {
    pub name: String,
    pub reason: &'static str,
}

/// All disks with a size, sorted by name: arrays of whole disks and their members, and what can be taken out. Not memory, loops,
/// CD-ROMs, parts of others, and what is [`left_alone`].
pub fn list(sysfs: &Sysfs) -> io::Result<Vec<Disk>> {
    let mut disks = Vec::new();
    for entry in fs::read_dir(sysfs.path("block"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if why_left_alone(sysfs, &name).is_none() {
            disks.extend(disk(sysfs, &name));
        }
    }
    disks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(disks)
}

/// The media that are there and that [`list`] passes over. The stock agent erases cards and sticks too, and no virtual media.
pub fn left_alone(sysfs: &Sysfs) -> Vec<LeftAlone> {
    let names = sysfs.names("block").into_iter();
    names
        .filter_map(|name| {
            let reason = why_left_alone(sysfs, &name)?;
            disk(sysfs, &name).map(|_| LeftAlone { name, reason })
        })
        .collect()
}

/// What is virtual is known by what the controller's USB device says of itself: a tenant writes a disk, and not that.
fn why_left_alone(sysfs: &Sysfs, name: &str) -> Option<&'static str> {
    if !arrays::is_removable(sysfs, name) {
        return None;
    }
    let text = |file: &str| sysfs.text(format!("block/{name}/device/{file}"));
    let says: String = [text("vendor"), text("model")]
        .into_iter()
        .flatten()
        .map(|text| text.to_lowercase() + " ")
        .collect();
    let mut words = says.split(|c: char| !c.is_ascii_alphanumeric());
    if words.any(|word| MEDIA.contains(&word)) {
        return Some("a virtual medium of the management controller");
    }
    (sysfs.number(format!("block/{name}/ro")) == Some(1))
        .then_some("a removable medium that is write-protected")
}

fn disk(sysfs: &Sysfs, name: &str) -> Option<Disk> {
    let base = format!("block/{name}");
    let at = |path: &str| format!("{base}/{path}");
    let flag = |path: &str| sysfs.number(at(path)) == Some(1);
    let array = arrays::array(sysfs, name);
    let is_disk = match &array {
        Some(array) => array.is_of_disks(),
        // Other virtual disks (loop, ram, zram, dm) have no device, and a path of a multipath NVMe disk is hidden.
        None => sysfs.path(&at("device")).exists() && !flag("hidden"),
    };
    if !is_disk {
        return None;
    }
    let size_bytes = sysfs.number(at("size"))? * SECTOR_BYTES;
    if size_bytes == 0 || name.starts_with("sr") || name.starts_with("fd") {
        return None;
    }
    let vendor = sysfs.text(at("device/vendor"));
    let transport = match array {
        Some(_) => Transport::Md,
        None => transport(name, vendor.as_deref()),
    };
    Some(Disk {
        name: name.to_owned(),
        transport,
        size_bytes,
        model: sysfs.text(at("device/model")),
        serial: sysfs
            .text(at("serial"))
            .or_else(|| sysfs.text(at("device/serial")))
            .or_else(|| serial_page(sysfs, &at("device/vpd_pg80"))),
        wwn: sysfs
            .text(at("wwid"))
            .or_else(|| sysfs.text(at("device/wwid"))),
        // A virtio device's "vendor" is the number of a PCI vendor.
        vendor: vendor.filter(|text| !text.starts_with("0x")),
        hctl: sysfs
            .link_name(at("device"))
            .filter(|name| name.matches(':').count() == 3),
        rotational: flag("queue/rotational"),
        read_only: flag("ro"),
        logical_block_bytes: sysfs
            .number(at("queue/logical_block_size"))
            .unwrap_or(SECTOR_BYTES),
        physical_block_bytes: sysfs
            .number(at("queue/physical_block_size"))
            .unwrap_or(SECTOR_BYTES),
        discard_max_bytes: sysfs.number(at("queue/discard_max_bytes")).unwrap_or(0),
    })
}

/// libata names itself as the vendor of the disks that it shows as SCSI ones.
fn transport(name: &str, vendor: Option<&str>) -> Transport {
    match (name, vendor) {
        (name, _) if name.starts_with("nvme") => Transport::Nvme,
        (name, _) if name.starts_with("vd") => Transport::Virtio,
        (name, Some("ATA")) if name.starts_with("sd") => Transport::Ata,
        (name, _) if name.starts_with("sd") => Transport::Scsi,
        _ => Transport::Other,
    }
}

/// The serial number in a disk's vital product data, page 80h (SPC-4, 7.8.15): four bytes, then text.
fn serial_page(sysfs: &Sysfs, path: &str) -> Option<String> {
    let page = fs::read(sysfs.path(path)).ok()?;
    let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
    let text = String::from_utf8_lossy(page.get(4..4 + length)?);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `PATH` and content of each file below a directory.
    fn tree(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Sysfs) {
        let directory = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let sysfs = Sysfs::new(directory.path());
        (directory, sysfs)
    }

    #[test]
    fn nvme_ata_and_virtio_disks_are_told_apart_and_the_rest_is_passed_over() {
        let (_directory, sysfs) = tree(&[
            ("block/nvme0n1/size", b"2097152\n"),
            ("block/nvme0n1/wwid", b"eui.0025388b01400a2c\n"),
            ("block/nvme0n1/device/model", b"SAMSUNG MZQL23T8\n"),
            ("block/nvme0n1/device/serial", b"S64HNE0R1      \n"),
            ("block/nvme0n1/queue/rotational", b"0\n"),
            ("block/nvme0n1/queue/logical_block_size", b"4096\n"),
            ("block/nvme0n1/queue/discard_max_bytes", b"2199023255040\n"),
            ("block/sda/size", b"1000\n"),
            ("block/sda/device/vendor", b"ATA     \n"),
            ("block/sda/device/model", b"ST4000NM\n"),
            ("block/sda/device/wwid", b"naa.5000c500a1b2c3d4\n"),
            ("block/sda/device/vpd_pg80", b"\0\x80\0\x08 ZC1ABC "),
            ("block/sda/queue/rotational", b"1\n"),
            ("block/vda/size", b"2048\n"),
            ("block/vda/serial", b"root-1\n"),
            ("block/vda/device/vendor", b"0x1af4\n"),
            ("block/loop0/size", b"8\n"),
            ("block/sr0/size", b"800\n"),
            ("block/sr0/device/vendor", b"QEMU\n"),
            ("block/sdb/size", b"800\n"),
            ("block/sdb/removable", b"1\n"),
            ("block/sdb/device/vendor", b"AMI\n"),
            ("block/sdb/device/model", b"Virtual HDisk0\n"),
            ("block/sdd/size", b"800\n"),
            ("block/sdd/removable", b"1\n"),
            ("block/sdd/ro", b"1\n"),
            ("block/sdd/device/vendor", b"Generic\n"),
            ("block/sde/size", b"800\n"),
            ("block/sde/removable", b"1\n"),
            ("block/sde/device/vendor", b"SanDisk\n"),
            ("block/sdc/size", b"0\n"),
            ("block/sdc/device/vendor", b"empty reader\n"),
        ]);
        let disks = list(&sysfs).unwrap();
        let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["nvme0n1", "sda", "sde", "vda"]);
        let passed_over = left_alone(&sysfs);
        let media: Vec<&str> = passed_over.iter().map(|medium| &*medium.name).collect();
        assert_eq!(media, ["sdb", "sdd"], "what is not erased is told of");
        assert!(passed_over[0].reason.contains("virtual"));

        let [nvme, ata, card, virtio] = disks.as_slice() else {
            panic!("{disks:?}")
        };
        assert_eq!(nvme.transport, Transport::Nvme);
        assert_eq!(nvme.size_bytes, 1 << 30);
        assert_eq!(nvme.logical_block_bytes, 4096);
        assert_eq!(nvme.serial.as_deref(), Some("S64HNE0R1"));
        assert_eq!(nvme.discard_max_bytes, 2_199_023_255_040);
        assert_eq!(ata.transport, Transport::Ata);
        assert_eq!(ata.serial.as_deref(), Some("ZC1ABC"));
        assert_eq!(ata.wwn.as_deref(), Some("naa.5000c500a1b2c3d4"));
        assert!(ata.rotational);
        assert_eq!(card.vendor.as_deref(), Some("SanDisk"));
        assert_eq!(virtio.transport, Transport::Virtio);
        assert_eq!(virtio.serial.as_deref(), Some("root-1"));
        assert_eq!(virtio.vendor, None);
    }
}
