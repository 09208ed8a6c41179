//! Small file-system helpers that the rest of the crate shares.

use crate::error::HostError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Bytes that an ordinary user can still write to the file system that holds `path` or its nearest existing parent.
pub fn available_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(nearest_existing(path))?;
    Ok(stat.f_bavail * stat.f_frsize)
}

fn nearest_existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(Path::new("/"))
}

/// Refuses a write of `needed` bytes that would leave less than `reserve` bytes free.
pub fn require_space(path: &Path, needed: u64, reserve: u64) -> Result<(), HostError> {
    let free = available_bytes(path).map_err(HostError::io("measure", path))?;
    let available = free.saturating_sub(reserve);
    if needed > available {
        return Err(HostError::DiskFull {
            path: path.to_owned(),
            needed: Some(needed),
            available,
        });
    }
    Ok(())
}

pub fn create_dir(path: &Path, mode: u32) -> Result<(), HostError> {
    fs::create_dir_all(path).map_err(HostError::io("create", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(HostError::io("set the mode of", path))
}

/// Removes a file; one that is not there is fine.
pub fn remove_file(path: &Path) -> Result<(), HostError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(HostError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a directory and all in it; one that is not there is fine.
pub fn remove_dir(path: &Path) -> Result<(), HostError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(HostError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

pub fn rename(from: &Path, to: &Path) -> Result<(), HostError> {
    fs::rename(from, to).map_err(HostError::io("rename to", to))
}

/// Makes what was written to a file survive a power loss.
pub fn sync(path: &Path) -> Result<(), HostError> {
    let file = fs::File::open(path).map_err(HostError::io("open", path))?;
    file.sync_all().map_err(HostError::io("sync", path))
}

/// The name of a file while it is being written.
pub fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Replaces a JSON file in one move: a reader sees the old one or the new one.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), HostError> {
    let part = part_of(path);
    let text = serde_json::to_vec_pretty(value)
        .map_err(|error| HostError::io("write", path)(error.into()))?;
    let written = fs::File::create(&part).and_then(|mut file| {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(&text)
    });
    if let Err(error) = written {
        // The error of the write is the one to tell; a part that stays is overwritten by the next write.
        let _ = fs::remove_file(&part);
        return Err(HostError::io("write", path)(error));
    }
    rename(&part, path)
}

/// A JSON file, or `None` if it is not there or does not hold a `T`.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// The last `limit` bytes of a file; nothing if it is not there.
pub fn read_tail(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
    let mut tail = Vec::new();
    file.take(limit).read_to_end(&mut tail)?;
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_names_what_is_needed_and_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(require_space(&path, 1, 0).is_ok());
        let error = require_space(&path, 10, u64::MAX).unwrap_err();
        assert_eq!(
            error,
            HostError::DiskFull {
                path,
                needed: Some(10),
                available: 0
            }
        );
    }

    #[test]
    fn json_survives_the_way_and_garbage_reads_as_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        write_json(&path, &vec![1, 2]).unwrap();
        assert_eq!(read_json::<Vec<i32>>(&path), Some(vec![1, 2]));
        fs::write(&path, b"").unwrap();
        assert_eq!(read_json::<Vec<i32>>(&path), None);
    }

    #[test]
    fn the_tail_of_a_file_is_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, b"abcdef").unwrap();
        assert_eq!(read_tail(&path, 2).unwrap(), b"ef");
        assert_eq!(read_tail(&path, 20).unwrap(), b"abcdef");
        assert_eq!(read_tail(&dir.path().join("none"), 2).unwrap(), b"");
    }
}
