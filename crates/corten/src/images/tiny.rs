//! The tiny guest: Debian's cloud kernel, busybox and an SSH server, for tests, demonstrations and rescue.

use std::path::{Path, PathBuf};

use anyhow::Context;
use corten_netboot::cpio;
use corten_netboot::file_tree::FileTree;

use super::command::Program;
use super::disk::{self, BootFiles, BuiltImage, Identity, Loaders, MIB};
use super::kernel::{Busybox, Kernel};
use super::packages::{self, PackageCache, Unpacked};
use super::programs::{self, Places};
use super::progress::Progress;

/// Room for the guest's files and some of the tenant's; the guest grows it to the size of its disk.
const ROOT_BYTES: u64 = 64 * MIB;

const IDENTITY: Identity = Identity {
    prefix: 0x7e57_0001,
    root_name: "corten-root",
    epoch_secs: 1_700_000_000,
};

const COMMAND_LINE: &str =
    "console=tty0 console=ttyS0,115200 quiet loglevel=3 panic=10 cryptomgr.notests";

/// The user and group of the unprivileged account.
const USER_ID: u32 = 1000;

/// Drivers that may be needed to find the root disk.
const RAMDISK_MODULES: [&str; 6] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_rng",
    "virtio_scsi",
    "ata_piix",
    "sd_mod",
];

/// Drivers that the running guest may need, loaded when their hardware is there.
const ROOT_MODULES: [&str; 22] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "virtio_net",
    "virtio_console",
    "virtio_balloon",
    "virtio_rng",
    "virtio_input",
    "ata_piix",
    "ata_generic",
    "sd_mod",
    "sr_mod",
    "isofs",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859_1",
    "evdev",
    "button",
    "qemu_fw_cfg",
    "crc32c_intel",
    "8021q",
];

const SUDO: Places = ("sudo", ["usr/bin/sudo", "bin/sudo"]);

/// Dynamically linked programs of the guest: name, and where their packages put them.
const PROGRAMS: [Places; 8] = [
    ("curl", ["usr/bin/curl", "bin/curl"]),
    SUDO,
    ("dropbear", ["usr/sbin/dropbear", "sbin/dropbear"]),
    ("dropbearkey", ["usr/bin/dropbearkey", "bin/dropbearkey"]),
    ("sfdisk", ["sbin/sfdisk", "usr/sbin/sfdisk"]),
    ("partx", ["usr/bin/partx", "bin/partx"]),
    ("resize2fs", ["sbin/resize2fs", "usr/sbin/resize2fs"]),
    ("mke2fs", ["sbin/mke2fs", "usr/sbin/mke2fs"]),
];

/// What sudo loads.
const PLUGINS: [Places; 2] = [
    (
        "usr/libexec/sudo/sudoers.so",
        ["usr/libexec/sudo/sudoers.so", "usr/lib/sudo/sudoers.so"],
    ),
    (
        "lib/x86_64-linux-gnu/security/pam_permit.so",
        [
            "lib/x86_64-linux-gnu/security/pam_permit.so",
            "usr/lib/x86_64-linux-gnu/security/pam_permit.so",
        ],
    ),
];

/// The guest's scripts, below `/usr/lib/corten`.
const SCRIPTS: [(&str, &str); 14] = [
    ("boot", include_str!("../../../../guest/tiny/boot")),
    (
        "config-drive",
        include_str!("../../../../guest/tiny/config-drive"),
    ),
    (
        "dhcp-event",
        include_str!("../../../../guest/tiny/dhcp-event"),
    ),
    (
        "functions",
        include_str!("../../../../guest/tiny/functions"),
    ),
    (
        "grow-root",
        include_str!("../../../../guest/tiny/grow-root"),
    ),
    ("hotplug", include_str!("../../../../guest/tiny/hotplug")),
    ("json.awk", include_str!("../../../../guest/tiny/json.awk")),
    (
        "metadata-service",
        include_str!("../../../../guest/tiny/metadata-service"),
    ),
    ("net-up", include_str!("../../../../guest/tiny/net-up")),
    (
        "network.awk",
        include_str!("../../../../guest/tiny/network.awk"),
    ),
    (
        "personalise",
        include_str!("../../../../guest/tiny/personalise"),
    ),
    (
        "power-button",
        include_str!("../../../../guest/tiny/power-button"),
    ),
    (
        "run-user-data",
        include_str!("../../../../guest/tiny/run-user-data"),
    ),
    ("shutdown", include_str!("../../../../guest/tiny/shutdown")),
];

/// Where the tiny guest is built.
#[derive(Debug, Clone)]
pub struct TinyOptions {
    /// The image to write: raw if its name ends in `.raw` or `.img`, otherwise qcow2.
    pub output: PathBuf,
    /// Downloaded packages are kept here for the next build.
    pub cache: PathBuf,
}

/// Builds the tiny guest from Debian packages. Needs apt, but neither privileges nor mounts.
pub async fn build_tiny(
    options: &TinyOptions,
    progress: &dyn Progress,
) -> anyhow::Result<BuiltImage> {
    progress.step("Fetching Debian packages");
    let packages = unpack_packages(&options.cache).await?;
    let work = tempfile::tempdir().context("no temporary directory")?;

    progress.step("Packing the initial ramdisk");
    let kernel = Kernel::find(&packages)?;
    let busybox = Busybox::find(&packages).await?;
    let ramdisk = ramdisk_tree(&kernel, &busybox).await?;
    let initrd = Program::new("gzip")
        .args(["-9", "-n", "-c"])
        .input(cpio::archive(&ramdisk))
        .run()
        .await?;
    let files = BootFiles {
        title: "Corten tiny guest",
        kernel: kernel.image.clone(),
        initrd,
        command_line: COMMAND_LINE.to_owned(),
        spare_bytes: 0,
        loaders: Loaders::find(&packages)?,
    };

    progress.step("Making the file systems");
    let root = root_tree(&packages, &kernel, &busybox).await?;
    let boot_image = disk::boot_partition(&files, IDENTITY, work.path()).await?;
    let root_image = disk::root_partition(&root, ROOT_BYTES, IDENTITY, work.path()).await?;

    progress.step("Assembling the disk image");
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

async fn unpack_packages(cache: &Path) -> anyhow::Result<Unpacked> {
    let wanted = [
        "curl",
        "dropbear-bin",
        "e2fsprogs",
        "fdisk",
        "libpam-modules",
        "sudo",
        "util-linux",
    ];
    let mut packages = packages::with_dependencies(&wanted).await?;
    packages.extend(disk::LOADER_PACKAGES.map(str::to_owned));
    packages.insert("busybox-static".to_owned());
    packages.insert(packages::real_package("linux-image-cloud-amd64", "linux-image-").await?);
    let packages: Vec<String> = packages.into_iter().collect();
    PackageCache::new(cache)?.unpack(&packages).await
}

async fn ramdisk_tree(kernel: &Kernel, busybox: &Busybox) -> anyhow::Result<FileTree> {
    let mut tree = FileTree::default();
    for directory in ["dev", "proc", "sys", "root"] {
        tree.directory(directory, 0o755);
    }
    tree.char_device("dev/console", 0o600, 5, 1);
    tree.file("bin/busybox", 0o755, busybox.content.clone());
    tree.symlink("bin/sh", "busybox");
    tree.file(
        "init",
        0o755,
        include_str!("../../../../guest/tiny/initrd-init"),
    );
    kernel.install(&RAMDISK_MODULES, busybox, &mut tree).await?;
    Ok(tree)
}

async fn root_tree(
    packages: &Unpacked,
    kernel: &Kernel,
    busybox: &Busybox,
) -> anyhow::Result<FileTree> {
    let mut tree = FileTree::default();
    for directory in [
        "dev",
        "proc",
        "sys",
        "run",
        "mnt",
        "etc",
        "var/lib/corten",
        "var/log",
    ] {
        tree.directory(directory, 0o755);
    }
    tree.directory("tmp", 0o1777);
    tree.directory("root", 0o700);
    for (link, target) in [
        ("sbin", "bin"),
        ("usr/bin", "../bin"),
        ("usr/sbin", "../bin"),
        ("lib64", "lib"),
        ("var/run", "../run"),
    ] {
        tree.symlink(link, target);
    }
    tree.file("bin/busybox", 0o4755, busybox.content.clone());
    for applet in &busybox.applets {
        if applet != "busybox" {
            tree.symlink(&format!("bin/{applet}"), "busybox");
        }
    }
    // Applets of the same name as a real program give way to it.
    programs::install(packages, &PROGRAMS, &PLUGINS, &mut tree).await?;
    let (_, places) = SUDO;
    tree.file("bin/sudo", 0o4755, packages.read(&places)?);
    tree.symlink("bin/mkfs.ext4", "mke2fs");
    for (name, script) in SCRIPTS {
        tree.file(&format!("usr/lib/corten/{name}"), 0o755, script);
    }
    tree.symlink("etc/acpi/PWRF/00000080", "/usr/lib/corten/power-button");
    add_accounts(&mut tree);
    kernel.install(&ROOT_MODULES, busybox, &mut tree).await?;
    Ok(tree)
}

/// Accounts root and corten, both without a password, what login and the shell read, and that corten may do all by `sudo`.
fn add_accounts(tree: &mut FileTree) {
    for (path, content) in [
        (
            "etc/inittab",
            include_str!("../../../../guest/tiny/inittab"),
        ),
        ("etc/passwd", include_str!("../../../../guest/tiny/passwd")),
        ("etc/group", include_str!("../../../../guest/tiny/group")),
        (
            "etc/profile",
            include_str!("../../../../guest/tiny/profile"),
        ),
        ("etc/issue", include_str!("../../../../guest/tiny/issue")),
        (
            "etc/os-release",
            include_str!("../../../../guest/tiny/os-release"),
        ),
        ("etc/shells", "/bin/sh\n"),
        ("etc/resolv.conf", ""),
        ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ] {
        tree.file(path, 0o644, content);
    }
    tree.file(
        "etc/shadow",
        0o600,
        "root:*:19000:0:99999:7:::\ncorten:*:19000:0:99999:7:::\n",
    );
    tree.file(
        "etc/sudoers",
        0o440,
        include_str!("../../../../guest/tiny/sudoers"),
    );
    tree.file(
        "etc/pam.d/sudo",
        0o644,
        "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
    );
    tree.directory("home/corten", 0o755);
    tree.owned_by("home/corten", USER_ID);
}
