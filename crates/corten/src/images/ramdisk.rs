//! The deploy ramdisk: Debian's kernel, and an initial ramdisk with our agent, drivers of servers, and a few programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::command::Program;
use super::disk::MIB;
use super::kernel::{Busybox, Kernel};
use super::packages::{self, PackageCache};
use super::programs::{self, Places};
use super::progress::Progress;
use corten_netboot::cpio;
use corten_netboot::file_tree::FileTree;

/// What both files may have together: servers load them over slow links and old firmware.
const MOST_BYTES: u64 = 60 * MIB;

/// Drivers, loaded when their hardware is there; the agent finds them by the devices' own names.
const MODULES: [&str; 65] = [
    // Disks
    "nvme",
    "ahci",
    "ata_piix",
    "ata_generic",
    "sd_mod",
    "sr_mod",
    "megaraid_sas",
    "mpt3sas",
    "mpi3mr",
    "smartpqi",
    "hpsa",
    "aacraid",
    "arcmsr",
    "pm80xx",
    "isci",
    "virtio_blk",
    "virtio_scsi",
    "vmw_pvscsi",
    "usb_storage",
    "uas",
    "sdhci_pci",
    "mmc_block",
    // Network cards
    "virtio_net",
    "e1000",
    "e1000e",
    "igb",
    "igc",
    "ixgbe",
    "i40e",
    "ice",
    "tg3",
    "bnx2",
    "bnx2x",
    "bnxt_en",
    "be2net",
    "cxgb4",
    "enic",
    "mlx4_en",
    "mlx5_core",
    "qede",
    "sfc",
    "r8169",
    "vmxnet3",
    "atlantic",
    // Buses
    "virtio_pci",
    "xhci_pci",
    "ehci_pci",
    "uhci_hcd",
    "virtio_rng",
    // Software RAID
    "md_mod",
    "raid0",
    "raid1",
    "raid10",
    "raid456",
    // Sums that raid456 and bnx2x ask the kernel for by name, and not as a module that they depend on
    "crc32c_generic",
    // File systems of virtual media
    "isofs",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "efivarfs",
    // Management
    "ipmi_si",
    "ipmi_devintf",
    "tpm_tis",
    "tpm_crb",
    "af_packet",
];

/// For what no system call does: arrays, ATA's security commands, the SSH server of a rescue.
const PROGRAMS: [Places; 3] = [
    ("mdadm", ["sbin/mdadm", "usr/sbin/mdadm"]),
    ("hdparm", ["sbin/hdparm", "usr/sbin/hdparm"]),
    ("dropbear", ["usr/sbin/dropbear", "sbin/dropbear"]),
];

/// Where the ramdisk is built, and of what.
#[derive(Debug, Clone)]
pub struct RamdiskOptions {
    /// The agent, a static program.
    pub agent: PathBuf,
    /// The directory that `ramdisk.kernel` and `ramdisk.initrd` are written to.
    pub output: PathBuf,
    /// Downloaded packages are kept here for the next build.
    pub cache: PathBuf,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct BuiltRamdisk {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    /// Of both.
    pub bytes: u64,
}

/// Builds the deploy ramdisk from Debian packages and the agent. Needs apt, but neither privileges nor mounts.
pub async fn build_ramdisk(
    options: &RamdiskOptions,
    progress: &dyn Progress,
) -> anyhow::Result<BuiltRamdisk> {
    let agent = read_agent(&options.agent)?;
    progress.step("Fetching Debian packages");
    let mut wanted = packages::with_dependencies(&["dropbear-bin", "hdparm", "libudev1"]).await?;
    wanted.extend(["mdadm", "busybox-static"].map(str::to_owned));
    wanted.insert(packages::real_package("linux-image-amd64", "linux-image-").await?);
    let wanted: Vec<String> = wanted.into_iter().collect();
    let packages = PackageCache::new(&options.cache)?.unpack(&wanted).await?;

    progress.step("Packing the initial ramdisk");
    let kernel = Kernel::find(&packages)?;
    let busybox = Busybox::find(&packages).await?;
    let mut tree = base_tree(agent, &busybox);
    programs::install(&packages, &PROGRAMS, &[], &mut tree).await?;
    kernel.install(&MODULES, &busybox, &mut tree).await?;
    let initrd = Program::new("gzip")
        .args(["-6", "-n", "-c"])
        .input(cpio::archive(&tree))
        .run()
        .await?;

    let bytes = (kernel.image.len() + initrd.len()) as u64;
    ensure!(
        bytes <= MOST_BYTES,
        "the ramdisk has {bytes} bytes, but at most {MOST_BYTES} are allowed: leave out drivers or programs"
    );
    std::fs::create_dir_all(&options.output)
        .with_context(|| format!("{} cannot be made", options.output.display()))?;
    let built = BuiltRamdisk {
        kernel: options.output.join("ramdisk.kernel"),
        initrd: options.output.join("ramdisk.initrd"),
        bytes,
    };
    for (path, content) in [(&built.kernel, &kernel.image), (&built.initrd, &initrd)] {
        std::fs::write(path, content)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(built)
}

fn read_agent(path: &Path) -> anyhow::Result<Vec<u8>> {
    let agent = std::fs::read(path)
        .with_context(|| format!("the ramdisk's agent {} cannot be read", path.display()))?;
    ensure!(
        is_static(&agent),
        "{} is no static program for x86-64, and the ramdisk has no loader for its first process: build it with \
         scripts/ramdisk-agent",
        path.display()
    );
    Ok(agent)
}

/// Whether a 64-bit ELF program names no interpreter (System V ABI, chapter 5, `PT_INTERP`).
fn is_static(program: &[u8]) -> bool {
    const INTERPRETER: [u8; 4] = 3_u32.to_le_bytes();
    let number = |at: usize, length: usize| {
        let bytes = program.get(at..at + length)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        )
    };
    let headers = || Some((number(32, 8)?, number(54, 2)?, number(56, 2)?));
    let Some((start, size, count)) = headers().filter(|_| program.starts_with(b"\x7fELF\x02"))
    else {
        return false;
    };
    (0..count).all(|index| {
        program
            .get(start + index * size..)
            .is_some_and(|header| !header.starts_with(&INTERPRETER))
    })
}

/// The agent as first process, a shell for a rescue, and its accounts.
fn base_tree(agent: Vec<u8>, busybox: &Busybox) -> FileTree {
    let mut tree = FileTree::default();
    for directory in ["dev", "proc", "sys", "run", "etc", "mnt", "usr"] {
        tree.directory(directory, 0o755);
    }
    tree.directory("tmp", 0o1777);
    tree.directory("root", 0o700);
    tree.char_device("dev/console", 0o600, 5, 1);
    tree.file("init", 0o755, agent);
    tree.file("bin/busybox", 0o755, busybox.content.clone());
    tree.symlink("bin/sh", "busybox");
    for (link, target) in [
        ("sbin", "bin"),
        ("usr/bin", "../bin"),
        ("usr/sbin", "../bin"),
        ("lib64", "lib"),
    ] {
        tree.symlink(link, target);
    }
    for (path, content) in [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nrescue:x:0:0:rescue:/root:/bin/sh\n",
        ),
        ("etc/group", "root:x:0:\ntty:x:5:\n"),
        ("etc/shells", "/bin/sh\n"),
        ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ] {
        tree.file(path, 0o644, content);
    }
    tree.file(
        "etc/shadow",
        0o600,
        "root:*:19000:0:99999:7:::\nrescue:*:19000:0:99999:7:::\n",
    );
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_an_interpreter_is_no_first_process() {
        let program = |kinds: &[u32]| {
            let mut elf = vec![0; 64];
            elf[..5].copy_from_slice(b"\x7fELF\x02");
            elf[32] = 64;
            elf[54] = 56;
            elf[56] = kinds.len() as u8;
            for kind in kinds {
                elf.extend_from_slice(&kind.to_le_bytes());
                elf.resize(elf.len() + 52, 0);
            }
            elf
        };
        assert!(is_static(&program(&[1, 1, 4])));
        assert!(!is_static(&program(&[6, 3, 1])));
        assert!(!is_static(&program(&[1])[..60]));
        assert!(!is_static(b"#!/bin/sh\n"));
        assert!(!is_static(b""));
    }
}
