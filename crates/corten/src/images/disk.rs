//! Bootable disk images without mounts, loop devices or privileges: GPT, a FAT boot partition for BIOS and UEFI, ext4.

use std::fmt::Write as _;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use corten_netboot::file_tree::{FileTree, Node};

use super::command::Program;
use super::packages::Unpacked;

pub const MIB: u64 = 1024 * 1024;
const SECTOR_BYTES: u64 = 512;
/// The part of the boot sector that holds code; the partition table follows.
const BOOT_CODE_BYTES: usize = 440;

const TYPE_EFI_SYSTEM: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const TYPE_LINUX_ROOT_X86_64: &str = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";

/// The file format of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    Qcow2,
    Raw,
}

impl DiskFormat {
    /// The format that a file name asks for: raw for `.raw` and `.img`, otherwise qcow2.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("raw" | "img") => Self::Raw,
            _ => Self::Qcow2,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

/// An image that is ready to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    pub path: PathBuf,
    pub format: DiskFormat,
    /// Size of the file.
    pub file_bytes: u64,
    /// Size of the disk inside, which is the least `min_disk`.
    pub disk_bytes: u64,
}

/// The packages that hold the boot loaders.
pub const LOADER_PACKAGES: [&str; 3] = ["syslinux", "syslinux-common", "systemd-boot-efi"];

/// The boot loaders for either firmware.
pub struct Loaders {
    /// systemd-boot, for UEFI.
    uefi: Vec<u8>,
    /// The `syslinux` program that installs itself into a FAT image, for BIOS.
    syslinux: PathBuf,
    /// syslinux's master boot record for GPT disks.
    master_boot_record: Vec<u8>,
}

impl Loaders {
    pub fn find(packages: &Unpacked) -> anyhow::Result<Self> {
        Ok(Self {
            uefi: packages.read(&["usr/lib/systemd/boot/efi/systemd-bootx64.efi"])?,
            syslinux: packages.path(&["usr/bin/syslinux"])?,
            master_boot_record: packages.read(&[
                "usr/lib/SYSLINUX/gptmbr.bin",
                "usr/lib/syslinux/mbr/gptmbr.bin",
            ])?,
        })
    }
}

/// What boots: the same kernel, ramdisk and command line whatever the firmware.
pub struct BootFiles {
    pub title: &'static str,
    pub kernel: Vec<u8>,
    pub initrd: Vec<u8>,
    pub command_line: String,
    /// Room in the boot partition for later kernels.
    pub spare_bytes: u64,
    pub loaders: Loaders,
}

/// A partition of the image to assemble.
struct Partition {
    image: PathBuf,
    kind: &'static str,
    name: String,
    uuid: String,
    legacy_boot: bool,
}

/// Identifiers in an image; fixed per kind of image, so that equal inputs give equal bytes.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Starts every identifier of the image.
    pub prefix: u32,
    /// Name of the root partition.
    pub root_name: &'static str,
    /// Seconds since 1970 that every file carries.
    pub epoch_secs: u64,
}

impl Identity {
    fn uuid(self, number: u32) -> String {
        format!("{:08x}-c027-4e00-8000-{number:012x}", self.prefix)
    }

    /// Identifier of the boot partition (`PARTUUID`).
    pub fn boot_partition(self) -> String {
        self.uuid(1)
    }

    /// Identifier of the root partition (`PARTUUID`).
    pub fn root_partition(self) -> String {
        self.uuid(2)
    }
}

/// Makes a FAT image that holds the kernel, the ramdisk and a loader for either firmware.
pub async fn boot_partition(
    files: &BootFiles,
    identity: Identity,
    work: &Path,
) -> anyhow::Result<PathBuf> {
    let source = work.join("esp");
    let mut tree = FileTree::default();
    tree.file("EFI/BOOT/BOOTX64.EFI", 0o644, files.loaders.uefi.clone());
    tree.file("loader/loader.conf", 0o644, "timeout 0\neditor no\n");
    tree.file(
        "loader/entries/linux.conf",
        0o644,
        format!(
            "title {}\nlinux /vmlinuz\ninitrd /initrd\noptions {}\n",
            files.title, files.command_line
        ),
    );
    tree.file(
        "syslinux.cfg",
        0o644,
        format!(
            "DEFAULT linux\nLABEL linux\n  LINUX /vmlinuz\n  INITRD /initrd\n  APPEND {}\n",
            files.command_line
        ),
    );
    tree.file("vmlinuz", 0o644, files.kernel.clone());
    tree.file("initrd", 0o644, files.initrd.clone());
    tree.write_below(&source)?;

    let content_bytes = files.kernel.len() + files.initrd.len() + files.loaders.uefi.len();
    let size = (content_bytes as u64 + files.spare_bytes + 2 * MIB).next_multiple_of(MIB);
    let image = work.join("esp.img");
    std::fs::File::create(&image)?.set_len(size)?;
    mtools("mformat", &image, identity)
        .args([
            "-v",
            "ESP",
            "-h",
            "64",
            "-s",
            "32",
            "-H",
            "2048",
            "-N",
            &format!("{:08x}", identity.prefix),
        ])
        .args(["-T", &(size / SECTOR_BYTES).to_string(), "::"])
        .run()
        .await?;
    mtools("mcopy", &image, identity)
        .arg("-s")
        .args(["EFI", "loader", "syslinux.cfg", "vmlinuz", "initrd"].map(|name| source.join(name)))
        .arg("::")
        .run()
        .await?;
    Program::new(&files.loaders.syslinux)
        .arg("-i")
        .arg(&image)
        .env("SOURCE_DATE_EPOCH", identity.epoch_secs.to_string())
        .run()
        .await
        .context("the BIOS boot loader could not be installed")?;
    Ok(image)
}

/// An mtools program on an image, free of the clock and of the user's own settings.
fn mtools(program: &str, image: &Path, identity: Identity) -> Program {
    Program::new(program)
        .env("MTOOLS_SKIP_CHECK", "1")
        .env("MTOOLSRC", "/dev/null")
        .env("SOURCE_DATE_EPOCH", identity.epoch_secs.to_string())
        .arg("-i")
        .arg(image)
}

/// Makes an ext4 image of a directory as it is, owners included.
pub async fn root_partition_of_directory(
    directory: &Path,
    size: u64,
    identity: Identity,
    work: &Path,
) -> anyhow::Result<PathBuf> {
    let image = work.join("root.img");
    std::fs::File::create(&image)?.set_len(size)?;
    let uuid = identity.uuid(0x100);
    Program::new("mke2fs")
        .env("E2FSPROGS_FAKE_TIME", identity.epoch_secs.to_string())
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            "4096",
            "-m",
            "1",
            "-L",
            identity.root_name,
            "-U",
            &uuid,
        ])
        // The inode ratio also holds for what the file system grows to.
        .args([
            "-i",
            "8192",
            "-J",
            &format!("size={}", (size / MIB / 16).clamp(4, 64)),
            "-E",
        ])
        .arg(format!(
            "root_owner=0:0,hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0"
        ))
        .arg("-d")
        .args([directory, &image])
        .run()
        .await
        .context("the root file system could not be made")?;
    Ok(image)
}

/// Makes an ext4 image of a tree. Nothing in it depends on who builds it or when.
pub async fn root_partition(
    tree: &FileTree,
    size: u64,
    identity: Identity,
    work: &Path,
) -> anyhow::Result<PathBuf> {
    let staging = work.join("root");
    std::fs::create_dir(&staging)?;
    tree.write_below(&staging)?;
    let image = root_partition_of_directory(&staging, size, identity, work).await?;
    let time = identity.epoch_secs.to_string();
    let mut script = String::new();
    for path in ["/", "/lost+found"] {
        set_times(&mut script, path, &time);
    }
    for (path, entry) in tree.entries() {
        let path = format!("/{path}");
        for field in ["uid", "gid"] {
            writeln!(script, "sif {path} {field} {}", entry.owner)?;
        }
        let kind = match entry.node {
            Node::Directory => Some(0o040_000),
            Node::File(_) => Some(0o100_000),
            Node::Symlink(_) | Node::CharDevice { .. } => None,
        };
        if let Some(kind) = kind {
            writeln!(script, "sif {path} mode 0{:o}", kind | entry.mode)?;
        }
        set_times(&mut script, &path, &time);
    }
    Program::new("debugfs")
        .env("E2FSPROGS_FAKE_TIME", &time)
        .args(["-w", "-f", "-"])
        .arg(&image)
        .input(script)
        .run()
        .await
        .context("the root file system's owners could not be set")?;
    Ok(image)
}

fn set_times(script: &mut String, path: &str, time: &str) {
    for field in ["atime", "ctime", "mtime", "crtime"] {
        script.push_str(&format!("sif {path} {field} @{time}\n"));
    }
}

/// Joins a boot and a root partition into a disk and writes it to `output` in its format.
pub async fn assemble(
    boot: PathBuf,
    root: PathBuf,
    files: &BootFiles,
    identity: Identity,
    work: &Path,
    output: &Path,
) -> anyhow::Result<BuiltImage> {
    let partitions = [
        Partition {
            image: boot,
            kind: TYPE_EFI_SYSTEM,
            name: "ESP".to_owned(),
            uuid: identity.boot_partition(),
            legacy_boot: true,
        },
        Partition {
            image: root,
            kind: TYPE_LINUX_ROOT_X86_64,
            name: identity.root_name.to_owned(),
            uuid: identity.root_partition(),
            legacy_boot: false,
        },
    ];
    let raw = work.join("disk.raw");
    let disk_bytes = write_partitions(&raw, &partitions, identity).await?;
    write_boot_code(&raw, &files.loaders.master_boot_record)?;

    let format = DiskFormat::of(output);
    let directory = output
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let unfinished = tempfile::Builder::new()
        .prefix(".corten-image-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(directory)
        .with_context(|| format!("{} cannot be written", directory.display()))?;
    let mut convert =
        Program::new("qemu-img").args(["convert", "-q", "-f", "raw", "-O", format.name()]);
    if format == DiskFormat::Qcow2 {
        convert = convert.arg("-c");
    }
    convert.arg(&raw).arg(unfinished.path()).run().await?;
    let file_bytes = std::fs::metadata(unfinished.path())?.len();
    unfinished
        .persist(output)
        .with_context(|| format!("{} cannot be written", output.display()))?;
    Ok(BuiltImage {
        path: output.to_owned(),
        format,
        file_bytes,
        disk_bytes,
    })
}

/// Lays the partitions out one after the other from the first MiB on and returns the disk's size.
async fn write_partitions(
    raw: &Path,
    partitions: &[Partition],
    identity: Identity,
) -> anyhow::Result<u64> {
    let mut table = format!("label: gpt\nlabel-id: {}\n", identity.uuid(0));
    let mut disk = std::fs::File::create(raw)?;
    let mut start = MIB;
    for partition in partitions {
        let size = std::fs::metadata(&partition.image)?.len();
        ensure!(
            size % MIB == 0,
            "{} is not a whole number of MiB",
            partition.image.display()
        );
        writeln!(
            table,
            "start={}, size={}, type={}, uuid={}, name={}{}",
            start / SECTOR_BYTES,
            size / SECTOR_BYTES,
            partition.kind,
            partition.uuid,
            partition.name,
            if partition.legacy_boot {
                ", attrs=LegacyBIOSBootable"
            } else {
                ""
            },
        )?;
        copy_sparse(&partition.image, &mut disk, start)?;
        start += size;
    }
    // The last MiB holds the backup table.
    let disk_bytes = start + MIB;
    disk.set_len(disk_bytes)?;
    drop(disk);
    Program::new("sfdisk")
        .arg("-q")
        .arg(raw)
        .input(table)
        .run()
        .await?;
    Ok(disk_bytes)
}

/// Copies an image to a place in a disk, leaving holes where it is zero.
fn copy_sparse(image: &Path, disk: &mut std::fs::File, start: u64) -> anyhow::Result<()> {
    let mut source = std::fs::File::open(image)?;
    let mut block = vec![0; MIB as usize];
    let mut position = start;
    loop {
        let count = source.read(&mut block)?;
        if count == 0 {
            return Ok(());
        }
        if block[..count].iter().any(|byte| *byte != 0) {
            disk.seek(SeekFrom::Start(position))?;
            disk.write_all(&block[..count])?;
        }
        position += count as u64;
    }
}

fn write_boot_code(raw: &Path, master_boot_record: &[u8]) -> anyhow::Result<()> {
    ensure!(
        master_boot_record.len() <= BOOT_CODE_BYTES,
        "the boot code is {} bytes; {BOOT_CODE_BYTES} fit",
        master_boot_record.len()
    );
    let mut disk = std::fs::OpenOptions::new().write(true).open(raw)?;
    disk.write_all(master_boot_record)?;
    Ok(())
}
