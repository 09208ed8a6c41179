//! The Debian guest: a small Debian 12 with cloud-init and an SSH server, bootstrapped by mmdebstrap.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::command::Program;
use super::disk::{self, BootFiles, BuiltImage, Identity, LOADER_PACKAGES, Loaders, MIB};
use super::packages::PackageCache;
use super::progress::Progress;

const RELEASE: &str = "bookworm";

const IDENTITY: Identity = Identity {
    prefix: 0x7e57_0012,
    root_name: "rootfs",
    epoch_secs: 1_700_000_000,
};

/// What the guest has beyond Debian's essential packages. With neither ifupdown nor netplan cloud-init writes the
/// network for systemd-networkd; without locales it reports an error at each first boot.
const PACKAGES: [&str; 23] = [
    "ca-certificates",
    "cloud-guest-utils",
    "cloud-init",
    "dbus",
    "e2fsprogs",
    "gdisk",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "linux-image-cloud-amd64",
    "locales",
    "netbase",
    "openssh-server",
    "procps",
    "sudo",
    "systemd",
    "systemd-resolved",
    "systemd-sysv",
    "systemd-timesyncd",
    "udev",
    "vim-tiny",
    "wget",
    "zstd",
];

/// Where the Debian guest is built.
#[derive(Debug, Clone)]
pub struct DebianOptions {
    /// The image to write: raw if its name ends in `.raw` or `.img`, otherwise qcow2.
    pub output: PathBuf,
    /// Downloaded boot loader packages are kept here for the next build.
    pub cache: PathBuf,
}

/// Builds the Debian guest. Takes minutes, two gigabytes of temporary space, and root for the chroot.
pub async fn build_debian(
    options: &DebianOptions,
    progress: &dyn Progress,
) -> anyhow::Result<BuiltImage> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "building the Debian image needs root, because packages are configured in a chroot; run it with sudo"
    );
    progress.step("Fetching boot loaders");
    let packages = PackageCache::new(&options.cache)?
        .unpack(&LOADER_PACKAGES.map(str::to_owned))
        .await?;
    let work = tempfile::tempdir().context("no temporary directory")?;
    let root = work.path().join("debian");

    progress.step("Bootstrapping Debian");
    bootstrap(&root, progress).await?;
    configure(&root).await?;

    progress.step("Making the file systems");
    let files = BootFiles {
        title: "Debian GNU/Linux 12",
        kernel: read_boot_file(&root, "vmlinuz-")?,
        initrd: read_boot_file(&root, "initrd.img-")?,
        command_line: format!(
            "root=PARTUUID={} ro console=tty0 console=ttyS0,115200",
            IDENTITY.root_partition()
        ),
        spare_bytes: 96 * MIB,
        loaders: Loaders::find(&packages)?,
    };
    let boot_image = disk::boot_partition(&files, IDENTITY, work.path()).await?;
    let size = (disk_usage(&root)? / 4 * 5 + 160 * MIB).next_multiple_of(MIB);
    let root_image = disk::root_partition_of_directory(&root, size, IDENTITY, work.path()).await?;

    progress.step("Assembling and compressing the disk image");
    disk::assemble(
        boot_image,
        root_image,
        &files,
        IDENTITY,
        work.path(),
        &options.output,
    )
    .await
}

async fn bootstrap(root: &Path, progress: &dyn Progress) -> anyhow::Result<()> {
    // Without a mirror, mmdebstrap takes Debian's own with updates and security, and leaves them to the guest.
    Program::new("mmdebstrap")
        .args([
            "--mode=root",
            "--variant=minbase",
            "--format=directory",
            "--skip=cleanup/reproducible",
        ])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .args([
            "--aptopt=Acquire::Languages \"none\"",
            "--dpkgopt=path-exclude=/usr/share/man/*",
        ])
        .args([
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        ])
        .arg(RELEASE)
        .arg(root)
        .run_showing("I: ", progress)
        .await
        .context("Debian could not be bootstrapped")
}

/// Everything that makes the bootstrapped system a cloud guest.
async fn configure(root: &Path) -> anyhow::Result<()> {
    let fstab = format!(
        "PARTUUID={} / ext4 defaults,discard 0 1\nPARTUUID={} /boot/efi vfat umask=0077,nofail 0 1\n",
        IDENTITY.root_partition(),
        IDENTITY.boot_partition()
    );
    let esp_hook = include_str!("../../../../guest/debian/copy-kernel-to-esp");
    let files = [
        ("etc/fstab", 0o644, fstab.as_str()),
        ("etc/hostname", 0o644, "debian\n"),
        (
            "etc/cloud/cloud.cfg.d/90_corten.cfg",
            0o644,
            include_str!("../../../../guest/debian/90_corten.cfg"),
        ),
        (
            "etc/kernel/postinst.d/zz-copy-kernel-to-esp",
            0o755,
            esp_hook,
        ),
        (
            "etc/initramfs/post-update.d/copy-kernel-to-esp",
            0o755,
            esp_hook,
        ),
        // systemd makes a machine id for each instance.
        ("etc/machine-id", 0o444, ""),
    ];
    std::fs::create_dir_all(root.join("boot/efi"))?;
    for (path, mode, content) in files {
        let target = root.join(path);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&target, content).with_context(|| format!("{path} cannot be written"))?;
        std::fs::set_permissions(&target, PermissionsExt::from_mode(mode))?;
    }
    remove_host_keys(&root.join("etc/ssh"))?;
    Program::new("chroot")
        .arg(root)
        .args([
            "systemctl",
            "enable",
            "systemd-networkd",
            "serial-getty@ttyS0",
        ])
        .run()
        .await
        .context("the guest's services could not be enabled")?;
    Ok(())
}

/// Host keys must not be the same in every instance; cloud-init makes new ones.
fn remove_host_keys(directory: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("ssh_host_") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The only file in the guest's `/boot` whose name starts with `prefix`.
fn read_boot_file(root: &Path, prefix: &str) -> anyhow::Result<Vec<u8>> {
    for entry in std::fs::read_dir(root.join("boot"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(std::fs::read(entry.path())?);
        }
    }
    anyhow::bail!("the bootstrapped Debian has no /boot/{prefix}…")
}

/// Bytes that a directory takes on disk.
fn disk_usage(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            bytes += disk_usage(&entry.path())?;
        }
    }
    Ok(bytes)
}
