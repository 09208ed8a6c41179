//! A guest's directory: what lies where, and the small files that remember the guest between our own lives.
//!
//! The directory is made under another name and renamed when it is complete, so it exists if and only if the guest does.

use crate::config::HostConfig;
use crate::error::HostError;
use crate::fences::Fences;
use crate::files;
use crate::hands::ExitCause;
use crate::spec::GuestSpec;
use crate::user::GuestUser;
use corten_model::ids::{InstanceId, OperationId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

pub const ROOT: &str = "root.qcow2";
pub const EPHEMERAL: &str = "ephemeral.raw";
pub const SWAP: &str = "swap.raw";
/// What the ephemeral disk is once the guest was reshaped.
pub const EPHEMERAL_LAYER: &str = "ephemeral.qcow2";
/// The disks from before a reshape that can be reverted, under the guest's own; and the shape of that time.
pub const ROOT_BEFORE: &str = "root.qcow2.before";
pub const EPHEMERAL_BEFORE: &str = "ephemeral.raw.before";
pub const EPHEMERAL_LAYER_BEFORE: &str = "ephemeral.qcow2.before";
pub const BEFORE: &str = "before.json";
pub const CONFIG_DRIVE: &str = "config.iso";
pub const RESCUE: &str = "rescue.qcow2";
pub const RESCUE_CONFIG_DRIVE: &str = "rescue-config.iso";
pub const UEFI_VARIABLES: &str = "uefi-variables.fd";
/// A suspended guest's memory; its presence is what makes a guest suspended.
pub const MEMORY: &str = "memory.state";
pub const CONSOLE_LOG: &str = "console.log";
pub const QEMU_LOG: &str = "qemu.log";
/// The only directory that QEMU may write to. It removes its sockets when it ends in good order.
pub const SOCKETS: &str = "sockets";
pub const QMP_SOCKET: &str = "qmp.sock";
pub const SERIAL_SOCKET: &str = "serial.sock";
pub const VNC_SOCKET: &str = "vnc.sock";
const SPEC: &str = "spec.json";
pub const STATE: &str = "state.json";

/// What must be remembered of a guest besides its spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GuestState {
    pub fences: Fences,
    /// Boots from its rescue disk, which stands on the image of this hash.
    pub rescue_image: Option<String>,
    /// The last operation whose reboot is done.
    pub rebooted_by: Option<OperationId>,
    /// The process that was started and is not known to have ended.
    pub run: Option<Run>,
    pub last_exit: Option<ExitCause>,
    /// The root port of each disk that can be unplugged, by the disk's id.
    pub ports: BTreeMap<String, u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub pid: u32,
    /// Of the host: a pid means nothing after a reboot.
    pub boot_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestDir {
    path: PathBuf,
    /// A short way to the directory of its sockets.
    link: PathBuf,
}

impl GuestDir {
    pub fn new(config: &HostConfig, id: InstanceId) -> Self {
        Self {
            path: config.guests_dir().join(id.to_string()),
            link: config.run_dir.join(id.to_string()),
        }
    }

    /// Where a guest is put together before it exists.
    pub fn unfinished(config: &HostConfig, id: InstanceId) -> PathBuf {
        config.guests_dir().join(format!(".new-{id}"))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.file(name).exists()
    }

    /// The path of a socket, short enough to connect to.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.link.join(name)
    }

    /// Makes an empty directory for the sockets of the next process, and the short way to it.
    pub fn prepare_sockets(&self, user: &GuestUser) -> Result<(), HostError> {
        let sockets = self.file(SOCKETS);
        files::remove_dir(&sockets)?;
        files::create_dir(&sockets, 0o700)?;
        user.own(&sockets)?;
        files::remove_file(&self.link)?;
        symlink(&sockets, &self.link).map_err(HostError::io("link", &self.link))
    }

    /// Did the process that ended while nobody watched leave its sockets behind, as one that was killed does?
    pub fn ended_in_disorder(&self) -> bool {
        self.has(SOCKETS) && self.file(SOCKETS).join(QMP_SOCKET).exists()
    }

    /// Removes what a process that is gone left behind.
    pub fn remove_sockets(&self) -> Result<(), HostError> {
        files::remove_dir(&self.file(SOCKETS))?;
        files::remove_file(&self.link)
    }

    /// Removes everything. Renames first, so that a guest half removed does not exist.
    pub fn remove(&self) -> Result<(), HostError> {
        let doomed = self.path.with_file_name(format!(
            ".old-{}",
            self.path.file_name().unwrap_or_default().to_string_lossy()
        ));
        files::remove_dir(&doomed)?;
        match fs::rename(&self.path, &doomed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(HostError::io("remove", &self.path)(error));
            }
            _ => {}
        }
        files::remove_file(&self.link)?;
        files::remove_dir(&doomed)
    }

    /// The guest's spec, if the guest exists.
    pub fn read_spec(&self) -> Option<GuestSpec> {
        files::read_json(&self.file(SPEC))
    }

    /// A guest whose state was lost with the host's power starts again from nothing remembered.
    pub fn read_state(&self) -> GuestState {
        files::read_json(&self.file(STATE)).unwrap_or_default()
    }

    pub fn write_state(&self, state: &GuestState) -> Result<(), HostError> {
        files::write_json(&self.file(STATE), state)
    }

    /// Remembers the spec without the content of the config drive, which lies beside it as an ISO image.
    pub fn write_spec(directory: &Path, spec: &GuestSpec) -> Result<(), HostError> {
        let path = directory.join(SPEC);
        files::write_json(
            &path,
            &GuestSpec {
                config_drive: None,
                ..spec.clone()
            },
        )?;
        files::sync(&path)
    }
}
