//! Images as strangers upload them: real ones made by `qemu-img`, and crafted ones that lie.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use corten_host::DiskFormat;
use corten_host::inspect::{InspectError, Inspection, inspect};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

struct Images(TempDir);

impl Images {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes an image with `qemu-img create`.
    fn create(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.path(name);
        let (options, size) = arguments.split_at(arguments.len() - 1);
        let made = Command::new("qemu-img")
            .current_dir(self.0.path())
            .args(["create", "-q"])
            .args(options)
            .arg(&path)
            .args(size)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        path
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A copy of an image with some bytes changed.
    fn patch(&self, original: &Path, offset: usize, bytes: &[u8]) -> PathBuf {
        let mut image = fs::read(original).unwrap();
        image[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.write("patched", &image)
    }
}

async fn look(path: &Path, format: DiskFormat) -> Result<Inspection, InspectError> {
    inspect(path, format, Path::new("qemu-img")).await
}

async fn refusal(path: &Path, format: DiskFormat) -> String {
    match look(path, format).await {
        Err(InspectError::Refused { reason }) => reason,
        other => panic!(
            "{} as {format} must be refused, but: {other:?}",
            path.display()
        ),
    }
}

#[tokio::test]
async fn honest_images_of_every_format_pass() {
    let images = Images::new();
    let formats = [
        (DiskFormat::Qcow2, "qcow2"),
        (DiskFormat::Vmdk, "vmdk"),
        (DiskFormat::Vdi, "vdi"),
        (DiskFormat::Vhd, "vpc"),
        (DiskFormat::Vhdx, "vhdx"),
        (DiskFormat::Ploop, "parallels"),
    ];
    for (format, driver) in formats {
        let path = images.create(driver, &["-f", driver, "64M"]);
        let inspection = look(&path, format)
            .await
            .unwrap_or_else(|error| panic!("{format}: {error}"));
        assert_eq!(inspection.format, format);
        // A VHD is rounded up to whole cylinders.
        let size = inspection.virtual_size_bytes;
        assert!(
            (64 * MIB..72 * MIB).contains(&size) && (size == 64 * MIB || format == DiskFormat::Vhd),
            "{format}: {size}"
        );
        // The same bytes under any other name are refused.
        for (other, _) in formats.iter().filter(|(other, _)| *other != format) {
            refusal(&path, *other).await;
        }
        let reason = refusal(&path, DiskFormat::Raw).await;
        assert!(
            reason.contains(&format!("its content is {format}")),
            "{reason}"
        );
    }
    let fixed = images.create("fixed", &["-f", "vpc", "-o", "subformat=fixed", "64M"]);
    look(&fixed, DiskFormat::Vhd).await.unwrap();
    let stream = images.create(
        "stream",
        &["-f", "vmdk", "-o", "subformat=streamOptimized", "64M"],
    );
    look(&stream, DiskFormat::Vmdk).await.unwrap();
    let old = images.create("old", &["-f", "qcow2", "-o", "compat=0.10", "64M"]);
    look(&old, DiskFormat::Qcow2).await.unwrap();
}

#[tokio::test]
async fn plain_bytes_are_a_raw_disk_and_nothing_else() {
    let images = Images::new();
    let raw = images.write("raw", &[7; 5000]);
    assert_eq!(
        look(&raw, DiskFormat::Raw)
            .await
            .unwrap()
            .virtual_size_bytes,
        5120,
        "padded to a whole sector"
    );
    look(&raw, DiskFormat::Ami).await.unwrap();
    for format in [
        DiskFormat::Qcow2,
        DiskFormat::Vmdk,
        DiskFormat::Vdi,
        DiskFormat::Vhdx,
        DiskFormat::Iso,
    ] {
        let reason = refusal(&raw, format).await;
        assert!(reason.contains(&format!("no {format} header")), "{reason}");
    }
    assert!(
        refusal(&images.write("empty", b""), DiskFormat::Raw)
            .await
            .contains("0 bytes")
    );
    let mut iso = vec![0; 64 << 10];
    iso[32_769..32_774].copy_from_slice(b"CD001");
    let iso = images.write("iso", &iso);
    look(&iso, DiskFormat::Iso).await.unwrap();
    look(&iso, DiskFormat::Raw).await.unwrap();
}

#[tokio::test]
async fn a_qcow2_that_reaches_out_or_lies_is_refused() {
    let images = Images::new();
    images.create("base", &["-f", "raw", "64M"]);
    let backed = images.create("backed", &["-f", "qcow2", "-F", "raw", "-b", "base", "64M"]);
    assert!(
        refusal(&backed, DiskFormat::Qcow2)
            .await
            .contains("backing file")
    );
    let external = images.create("external", &["-f", "qcow2", "-o", "data_file=data", "64M"]);
    assert!(
        refusal(&external, DiskFormat::Qcow2)
            .await
            .contains("external")
    );

    let good = images.create("good", &["-f", "qcow2", "64M"]);
    // Offsets as in QEMU's docs/interop/qcow2.txt.
    let unknown = images.patch(&good, 72, &(1u64 << 40).to_be_bytes());
    assert!(
        refusal(&unknown, DiskFormat::Qcow2)
            .await
            .contains("unknown features (bits 0x10000000000)")
    );
    let corrupt = images.patch(&good, 72, &2u64.to_be_bytes());
    assert!(
        refusal(&corrupt, DiskFormat::Qcow2)
            .await
            .contains("corrupt")
    );
    let encrypted = images.patch(&good, 32, &1u32.to_be_bytes());
    assert!(
        refusal(&encrypted, DiskFormat::Qcow2)
            .await
            .contains("encrypted")
    );
    let backing_only = images.patch(&good, 8, &512u64.to_be_bytes());
    assert!(
        refusal(&backing_only, DiskFormat::Qcow2)
            .await
            .contains("backing file")
    );
    let extension = [0x44, 0x41, 0x54, 0x41, 0, 0, 0, 8];
    let hidden = images.patch(&good, header_length(&good), &extension);
    assert!(
        refusal(&hidden, DiskFormat::Qcow2)
            .await
            .contains("external data file")
    );
    // A disk of a petabyte in a table for 64 MiB.
    let lying = images.patch(&good, 24, &(1u64 << 50).to_be_bytes());
    refusal(&lying, DiskFormat::Qcow2).await;
    let empty = images.patch(&good, 24, &0u64.to_be_bytes());
    assert!(refusal(&empty, DiskFormat::Qcow2).await.contains("0 bytes"));
    let version = images.patch(&good, 4, &9u32.to_be_bytes());
    assert!(
        refusal(&version, DiskFormat::Qcow2)
            .await
            .contains("unknown version")
    );
    let cut = images.write("cut", &fs::read(&good).unwrap()[..60]);
    assert!(refusal(&cut, DiskFormat::Qcow2).await.contains("truncated"));
}

fn header_length(qcow2: &Path) -> usize {
    let image = fs::read(qcow2).unwrap();
    u32::from_be_bytes(image[100..104].try_into().unwrap()) as usize
}

#[tokio::test]
async fn a_vmdk_that_reaches_out_is_refused() {
    let images = Images::new();
    let flat = images.create(
        "flat",
        &["-f", "vmdk", "-o", "subformat=monolithicFlat", "64M"],
    );
    assert!(
        refusal(&flat, DiskFormat::Vmdk)
            .await
            .contains("names other files")
    );
    let split = images.create(
        "split",
        &["-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", "64M"],
    );
    refusal(&split, DiskFormat::Vmdk).await;

    let good = images.create("good.vmdk", &["-f", "vmdk", "64M"]);
    let extent = b"RW 131072 SPARSE";
    let offset = fs::read(&good)
        .unwrap()
        .windows(extent.len())
        .position(|bytes| bytes == extent)
        .unwrap();
    let path = images.patch(&good, offset, b"RW 131072 SPARSE \"/a/b\"\n");
    assert!(
        refusal(&path, DiskFormat::Vmdk)
            .await
            .contains("names a path")
    );
    let flat_extent = images.patch(&good, offset, b"RW 131072 FLAT   ");
    assert!(
        refusal(&flat_extent, DiskFormat::Vmdk)
            .await
            .contains("extent of type 'FLAT'")
    );
    let lying = images.patch(&good, offset, b"RW 131071 SPARSE");
    assert!(
        refusal(&lying, DiskFormat::Vmdk)
            .await
            .contains("lies about its size")
    );
    let parent = fs::read(&good)
        .unwrap()
        .windows(18)
        .position(|bytes| bytes == b"parentCID=ffffffff")
        .unwrap();
    let child = images.patch(&good, parent, b"parentCID=12345678");
    assert!(
        refusal(&child, DiskFormat::Vmdk)
            .await
            .contains("needs its parent")
    );
}

#[tokio::test]
async fn differencing_disks_of_other_makers_are_refused() {
    let images = Images::new();
    let vdi = images.create("vdi", &["-f", "vdi", "64M"]);
    assert!(
        refusal(
            &images.patch(&vdi, 0x4c, &4u32.to_le_bytes()),
            DiskFormat::Vdi
        )
        .await
        .contains("type 4")
    );
    let vhd = images.create("vhd", &["-f", "vpc", "64M"]);
    let footer = fs::metadata(&vhd).unwrap().len() as usize - 512;
    let child = images.patch(&vhd, footer + 60, &4u32.to_be_bytes());
    assert!(
        refusal(&child, DiskFormat::Vhd)
            .await
            .contains("differencing")
    );
    let vhdx = images.create("vhdx", &["-f", "vhdx", "64M"]);
    let no_table = images.patch(&vhdx, 192 << 10, b"nope");
    assert!(
        refusal(&no_table, DiskFormat::Vhdx)
            .await
            .contains("no region table")
    );
}

#[tokio::test]
async fn a_missing_qemu_img_is_the_hosts_failure_and_not_the_images() {
    let images = Images::new();
    let raw = images.write("raw", &[1; 512]);
    let outcome = inspect(&raw, DiskFormat::Raw, Path::new("no-such-dir/qemu-img")).await;
    assert!(
        matches!(outcome, Err(InspectError::Failed(_))),
        "{outcome:?}"
    );
}
