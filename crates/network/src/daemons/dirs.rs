//! Where a group of daemons keeps its files, and the name that tells one cloud's devices from another's.

use super::error::MachineError;
use super::program::remove_file;
use sha2::{Digest, Sha512};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The longest path of a Unix socket that every kernel takes, without its final zero byte.
const SOCKET_PATH_MAX: usize = 107;
/// The longest name of a socket here.
const SOCKET_NAME: usize = "/ovn-controller.4194304.ctl".len();

/// The directories of one group of daemons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// Databases and logs.
    pub state: PathBuf,
    /// Sockets and pid files.
    pub run: PathBuf,
    /// Four hexadecimal digits, different for each data directory. They are in every name that is visible outside of it.
    pub tag: String,
}

impl Dirs {
    /// `group` is the directory's name below `data_dir`.
    pub fn new(data_dir: &Path, group: &str) -> Self {
        let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        let digest = hex::encode(Sha512::digest(data_dir.as_os_str().as_encoded_bytes()));
        let state = data_dir.join(group);
        let near = state.join("run");
        let run = if near.as_os_str().len() + SOCKET_NAME <= SOCKET_PATH_MAX {
            near
        } else {
            // Paths of sockets are limited, so a deep data directory has its sockets elsewhere.
            PathBuf::from(format!("/run/corten-{}-{group}", &digest[..12]))
        };
        Self {
            state,
            run,
            tag: digest[..4].to_owned(),
        }
    }

    /// Makes both, closed to other users.
    pub fn create(&self) -> Result<(), MachineError> {
        for path in [&self.state, &self.run] {
            fs::create_dir_all(path).map_err(MachineError::io("create", path))?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                .map_err(MachineError::io("set the mode of", path))?;
        }
        Ok(())
    }

    /// Removes both and all in them.
    pub fn remove(&self) -> Result<(), MachineError> {
        for path in [&self.run, &self.state] {
            match fs::remove_dir_all(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(MachineError::io("remove", path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A socket in the run directory.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    /// Removes what a daemon that is gone would be taken for.
    pub(super) fn remove_pid_file(&self, name: &str) -> Result<(), MachineError> {
        remove_file(&self.pid_file(name))
    }

    pub(super) fn pid_file(&self, name: &str) -> PathBuf {
        self.run.join(format!("{name}.pid"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_data_directory_gets_a_short_run_directory() {
        let near = Dirs::new(Path::new("/srv/corten"), "switch");
        assert_eq!(near.run, Path::new("/srv/corten/switch/run"));
        let deep = PathBuf::from(format!("/{}", "deep/".repeat(30)));
        let dirs = Dirs::new(&deep, "switch");
        assert!(dirs.run.starts_with("/run"));
        assert_ne!(dirs.run, Dirs::new(&deep, "central").run);
        assert_ne!(dirs.tag, near.tag);
    }
}
