//! The unprivileged user that QEMU runs as.

use crate::config::HostConfig;
use crate::error::HostError;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

/// Tried in this order when the operator names none.
const DEFAULT_USERS: [&str; 2] = ["corten-qemu", "nobody"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestUser {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// The group of `/dev/kvm`, which QEMU needs besides its own.
    pub kvm_gid: Option<u32>,
    /// Are we root, so that we change to that user?
    pub changes: bool,
}

impl GuestUser {
    /// The user for guests: when we are root the configured one, else ourselves.
    pub fn find(config: &HostConfig) -> Result<Self, HostError> {
        let kvm_gid = fs::metadata("/dev/kvm")
            .ok()
            .map(|device| device.gid())
            .filter(|gid| *gid != 0);
        if !rustix::process::geteuid().is_root() {
            let (uid, gid) = (
                rustix::process::getuid().as_raw(),
                rustix::process::getgid().as_raw(),
            );
            return Ok(Self {
                name: format!("uid {uid}"),
                uid,
                gid,
                kvm_gid,
                changes: false,
            });
        }
        let passwd = fs::read_to_string("/etc/passwd")
            .map_err(HostError::io("read", Path::new("/etc/passwd")))?;
        let wanted = config.guest_user.as_deref();
        let names = wanted.map_or_else(|| DEFAULT_USERS.to_vec(), |name| vec![name]);
        names.iter().find_map(|name| look_up(&passwd, name)).map_or_else(
            || {
                Err(HostError::InvalidSpec {
                    field: "guest_user".to_owned(),
                    value: names.join(", "),
                    rule: "no such user on this host: make one with 'adduser --system --group corten-qemu'".to_owned(),
                })
            },
            |(name, uid, gid)| Ok(Self { name, uid, gid, kvm_gid, changes: true }),
        )
    }

    /// Gives a file or directory to the user; does nothing when we are not root.
    pub fn own(&self, path: &Path) -> Result<(), HostError> {
        if !self.changes {
            return Ok(());
        }
        chown(path, Some(self.uid), Some(self.gid))
            .map_err(HostError::io("change the owner of", path))
    }

    /// The command that changes to the user for good, with no way back to any privilege, and then runs what follows.
    pub fn wrapper(&self) -> Vec<String> {
        let mut wrapper = vec!["setpriv".to_owned(), "--no-new-privs".to_owned()];
        if self.changes {
            wrapper.push(format!("--reuid={}", self.uid));
            wrapper.push(format!("--regid={}", self.gid));
            wrapper.push(
                self.kvm_gid
                    .map_or("--clear-groups".to_owned(), |gid| format!("--groups={gid}")),
            );
            wrapper.push("--bounding-set=-all".to_owned());
            wrapper.push("--inh-caps=-all".to_owned());
        }
        wrapper
    }
}

fn look_up(passwd: &str, name: &str) -> Option<(String, u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        Some((
            name.to_owned(),
            fields.nth(1)?.parse().ok()?,
            fields.next()?.parse().ok()?,
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_read_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533:nobody:/:/bin/false\n";
        assert_eq!(
            look_up(passwd, "nobody"),
            Some(("nobody".to_owned(), 65534, 65533))
        );
        assert_eq!(look_up(passwd, "no"), None);
    }
}
