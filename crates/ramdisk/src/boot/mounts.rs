//! The file systems that the kernel provides, and those in memory.

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use std::path::Path;

#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be mounted")]
pub struct MountError(&'static str, #[source] Errno);

/// Type, place and options.
const MOUNTS: [(&str, &str, &str); 6] = [
    ("devtmpfs", "/dev", "mode=0755"),
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("tmpfs", "/run", "mode=0755"),
    ("tmpfs", "/tmp", "mode=1777"),
    // For the shells of a rescue.
    ("devpts", "/dev/pts", "mode=0620,gid=5"),
];

/// Mounts everything. What is mounted already stays.
pub fn mount_all() -> Result<(), MountError> {
    for (kind, place, options) in MOUNTS {
        // A directory that cannot be made is told of by the mount.
        std::fs::create_dir_all(place).ok();
        let options = std::ffi::CString::new(options).unwrap_or_default();
        match mount(kind, place, kind, MountFlags::NOSUID, &*options) {
            Ok(()) | Err(Errno::BUSY) => {}
            Err(error) => return Err(MountError(place, error)),
        }
    }
    if Path::new("/sys/firmware/efi/efivars").exists() {
        // Without variables the server still works; it is told as one without them.
        mount(
            "efivarfs",
            "/sys/firmware/efi/efivars",
            "efivarfs",
            MountFlags::NOSUID,
            None,
        )
        .ok();
    }
    Ok(())
}
