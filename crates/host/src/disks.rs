//! A guest's own disks: the overlay on its image, ephemeral and swap disks, firmware variables, the config drive.

use crate::config::HostConfig;
use crate::error::HostError;
use crate::files;
use crate::guest_dir;
use crate::images::ImageCache;
use crate::program::{self, Program};
use crate::spec::{ConfigDrive, Firmware, GuestSpec, ImageRef};
use crate::task::ImageRecord;
use crate::user::GuestUser;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

const GIB: u64 = 1 << 30;
/// What the empty overlays and the firmware's variables take at most.
const METADATA_BYTES: u64 = 8 << 20;
/// Code and variables, from Debian's package `ovmf`; the larger build first.
const OVMF: [(&str, &str); 2] = [
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
];

/// Makes disks in a directory that nobody uses yet.
pub struct DiskMaker<'a> {
    pub config: &'a HostConfig,
    pub user: &'a GuestUser,
    pub images: &'a ImageCache,
}

impl DiskMaker<'_> {
    /// Everything a guest of this spec boots from.
    pub async fn make_all(&self, directory: &Path, spec: &GuestSpec) -> Result<(), HostError> {
        files::require_space(directory, METADATA_BYTES, self.config.disk_reserve_bytes)?;
        if spec.firmware == Firmware::Uefi {
            let variables = directory.join(guest_dir::UEFI_VARIABLES);
            let (_, template) = ovmf()?;
            fs::copy(template, &variables).map_err(HostError::io("write", &variables))?;
            self.hand_over(&variables)?;
        }
        let root = async {
            match (&spec.image, spec.root_gib) {
                (None, 0) => Ok(()),
                (image, gib) => {
                    self.make_root(directory, guest_dir::ROOT, image.as_ref(), gib)
                        .await
                }
            }
        };
        let ephemeral = async {
            match spec.ephemeral_gib {
                0 => Ok(()),
                gib => self.make_ephemeral(directory, gib).await,
            }
        };
        let swap = async {
            match spec.swap_mib {
                0 => Ok(()),
                mib => self.make_swap(directory, mib).await,
            }
        };
        let config_drive = async {
            match &spec.config_drive {
                None => Ok(()),
                Some(drive) => {
                    self.make_config_drive(directory, guest_dir::CONFIG_DRIVE, drive)
                        .await
                }
            }
        };
        // Each is a program of its own that spends its time starting: together they take as long as the slowest. All
        // are waited for, so that none still writes when the caller removes the directory of one that failed.
        let (root, ephemeral, swap, config_drive) =
            tokio::join!(root, ephemeral, swap, config_drive);
        root.and(ephemeral).and(swap).and(config_drive)
    }

    /// An overlay of an image, or a blank disk. `gib` 0 means the image's own size.
    pub async fn make_root(
        &self,
        directory: &Path,
        name: &str,
        image: Option<&ImageRef>,
        gib: u64,
    ) -> Result<(), HostError> {
        let mut create = Program::new(&self.config.qemu_img).args(["create", "-q", "-f", "qcow2"]);
        if let Some(image) = image {
            let record = self.cached(image)?;
            if gib > 0 && record.virtual_size_bytes > gib * GIB {
                return Err(HostError::RootDiskTooSmall {
                    root_gib: gib,
                    needed_bytes: record.virtual_size_bytes,
                });
            }
            create = create.args([
                "-F",
                record.format.as_str(),
                "-b",
                &ImageCache::path_from_guest(&record),
            ]);
        }
        create = create.arg(name);
        if gib > 0 {
            create = create.arg(format!("{gib}G"));
        }
        create.in_directory(directory).run().await?;
        self.hand_over(&directory.join(name))
    }

    pub fn cached(&self, image: &ImageRef) -> Result<ImageRecord, HostError> {
        let missing = || HostError::ImageNotCached {
            sha512: image.sha512.clone(),
        };
        self.images.record(&image.sha512).ok_or_else(missing)
    }

    pub async fn make_ephemeral(&self, directory: &Path, gib: u64) -> Result<(), HostError> {
        let path = directory.join(guest_dir::EPHEMERAL);
        make_sparse(&path, gib * GIB)?;
        let mkfs = program::require(Path::new("mkfs.ext4"))?;
        Program::new(mkfs)
            .args(["-q", "-F", "-L", "ephemeral0"])
            .arg(&path)
            .in_directory(directory)
            .run()
            .await?;
        self.hand_over(&path)
    }

    pub async fn make_swap(&self, directory: &Path, mib: u64) -> Result<(), HostError> {
        let path = directory.join(guest_dir::SWAP);
        make_sparse(&path, mib << 20)?;
        let mkswap = program::require(Path::new("mkswap"))?;
        Program::new(mkswap)
            .arg(&path)
            .in_directory(directory)
            .run()
            .await?;
        self.hand_over(&path)
    }

    /// An ISO 9660 image labelled `config-2`, where cloud-init looks for it.
    pub async fn make_config_drive(
        &self,
        directory: &Path,
        name: &str,
        config_drive: &ConfigDrive,
    ) -> Result<(), HostError> {
        let tree = directory.join(".config-drive");
        files::remove_dir(&tree)?;
        let target = directory.join(name);
        let part = files::part_of(&target);
        let outcome = self.write_config_drive(&tree, &part, config_drive).await;
        files::remove_dir(&tree)?;
        if let Err(error) = outcome {
            files::remove_file(&part)?;
            return Err(error);
        }
        self.hand_over(&part)?;
        files::rename(&part, &target)
    }

    async fn write_config_drive(
        &self,
        tree: &Path,
        part: &Path,
        config_drive: &ConfigDrive,
    ) -> Result<(), HostError> {
        let content: u64 = config_drive
            .files
            .iter()
            .map(|file| file.content.len() as u64)
            .sum();
        files::require_space(tree, 2 * content, self.config.disk_reserve_bytes)?;
        files::create_dir(tree, 0o700)?;
        for file in &config_drive.files {
            check_relative(&file.path)?;
            let path = tree.join(&file.path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(HostError::io("create", parent))?;
            }
            fs::write(&path, &file.content).map_err(HostError::io("write", &path))?;
        }
        Program::new("genisoimage")
            .args([
                "-quiet",
                "-input-charset",
                "utf-8",
                "-J",
                "-r",
                "-V",
                "config-2",
                "-o",
            ])
            .args([part, tree])
            .in_directory(tree)
            .run()
            .await?;
        Ok(())
    }

    /// Gives a file to the guests' user, and to nobody else.
    pub fn hand_over(&self, path: &Path) -> Result<(), HostError> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
            .map_err(HostError::io("set the mode of", path))?;
        self.user.own(path)
    }
}

/// Code and variables template of the UEFI firmware.
pub fn ovmf() -> Result<(&'static str, &'static str), HostError> {
    OVMF.into_iter()
        .find(|(code, variables)| Path::new(code).exists() && Path::new(variables).exists())
        .ok_or_else(|| HostError::ProgramMissing {
            program: "UEFI firmware".to_owned(),
            package: "ovmf".to_owned(),
        })
}

fn make_sparse(path: &Path, length: u64) -> Result<(), HostError> {
    let file = fs::File::create(path).map_err(HostError::io("create", path))?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .map_err(HostError::io("set the mode of", path))?;
    file.set_len(length).map_err(HostError::io("write", path))
}

fn check_relative(path: &str) -> Result<(), HostError> {
    let plain = Path::new(path)
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    if plain && !path.is_empty() {
        return Ok(());
    }
    Err(HostError::InvalidSpec {
        field: "config drive file".to_owned(),
        value: path.to_owned(),
        rule: "its path must be relative and stay inside the drive".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_drive_file_stays_inside_the_drive() {
        assert!(check_relative("openstack/latest/meta_data.json").is_ok());
        for path in ["", "/etc/passwd", "../x", "a/../../b"] {
            assert!(check_relative(path).is_err(), "{path} must be refused");
        }
    }
}
