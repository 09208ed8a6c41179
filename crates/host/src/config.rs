//! What an operator can choose about a host.

use crate::error::HostError;
use crate::hands::Accelerator;
use crate::user::GuestUser;
use sha2::{Digest, Sha512};
use std::path::{Path, PathBuf};

/// The longest path of a Unix socket that every kernel takes, without its final zero byte.
const SOCKET_PATH_MAX: usize = 107;
/// `/`, a UUID and the longest socket name.
const SOCKET_SUFFIX: usize = 1 + 36 + "/serial.sock".len();

#[derive(Debug, Clone)]
pub struct HostConfig {
    /// What the host is called, if not as its machine.
    pub name: Option<String>,
    /// Holds `images/` and `guests/`. The guests' user gets search permission on it, so give it a directory of its own.
    pub data_dir: PathBuf,
    /// Holds a short link to each guest's directory, because paths of sockets are limited to 107 bytes.
    pub run_dir: PathBuf,
    pub acceleration: AccelerationChoice,
    /// The user that QEMU runs as when we are root. `None`: `corten-qemu` if it exists, else `nobody`.
    pub guest_user: Option<String>,
    /// Name of the parent cgroup of all guests.
    pub cgroup: String,
    /// A guest's console log is cut to half of this when it grows beyond it.
    pub console_log_max_bytes: u64,
    /// Space that images and disks must leave free.
    pub disk_reserve_bytes: u64,
    pub qemu: PathBuf,
    pub qemu_img: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccelerationChoice {
    /// KVM if a guest really runs on it, else TCG.
    Probe,
    Use(Accelerator),
}

impl HostConfig {
    /// The defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
        Self {
            name: None,
            run_dir: default_run_dir(&data_dir),
            data_dir,
            acceleration: AccelerationChoice::Probe,
            guest_user: None,
            cgroup: "corten".to_owned(),
            console_log_max_bytes: 4 << 20,
            disk_reserve_bytes: 64 << 20,
            qemu: PathBuf::from("qemu-system-x86_64"),
            qemu_img: PathBuf::from("qemu-img"),
        }
    }

    pub(crate) fn check(&self) -> Result<(), HostError> {
        if !fits(&self.run_dir) {
            return Err(HostError::InvalidSpec {
                field: "run_dir".to_owned(),
                value: self.run_dir.display().to_string(),
                rule: format!(
                    "its path may have at most {} bytes",
                    SOCKET_PATH_MAX - SOCKET_SUFFIX
                ),
            });
        }
        Ok(())
    }

    /// The user that guests run as. Taps belong to it.
    pub fn guest_uid(&self) -> Result<u32, HostError> {
        Ok(GuestUser::find(self)?.uid)
    }

    pub(crate) fn images_dir(&self) -> PathBuf {
        self.data_dir.join("images")
    }

    pub(crate) fn guests_dir(&self) -> PathBuf {
        self.data_dir.join("guests")
    }
}

fn fits(run_dir: &Path) -> bool {
    run_dir.as_os_str().len() + SOCKET_SUFFIX <= SOCKET_PATH_MAX
}

/// `run` in the data directory, or, where that path is too long, a short one that stands for it.
fn default_run_dir(data_dir: &Path) -> PathBuf {
    let near = data_dir.join("run");
    if fits(&near) {
        return near;
    }
    let digest = Sha512::digest(data_dir.as_os_str().as_encoded_bytes());
    let parent = if rustix::process::geteuid().is_root() {
        Path::new("/run")
    } else {
        Path::new("/tmp")
    };
    parent.join(format!("corten-{}", hex::encode(&digest[..6])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_data_directory_gets_a_short_run_directory() {
        assert_eq!(
            HostConfig::new("/srv/corten").run_dir,
            Path::new("/srv/corten/run")
        );
        let long = HostConfig::new(format!("/{}", "long/".repeat(30)));
        assert!(long.check().is_ok());
        assert_ne!(
            long.run_dir,
            HostConfig::new(format!("/{}", "long/".repeat(31))).run_dir
        );
        let error = HostConfig {
            run_dir: "/x".repeat(40).into(),
            ..long
        }
        .check()
        .unwrap_err();
        assert!(error.to_string().contains("at most 58 bytes"), "{error}");
    }
}
