//! Fernet keys on disk, with Keystone's rotation.
//!
//! A directory holds one key per file, named by number. `0` is *staged*: it will be the next primary, and replicas
//! that share the directory can already read what it will write. The highest number is the *primary*, which writes.
//! The others are *secondary*: they only read what is still out. A rotation makes the staged key the primary, stages a
//! new one and forgets the oldest beyond the limit. Whoever meets a text it cannot read looks at the directory again.

use fernet::{Fernet, MultiFernet};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

/// Keys that cannot be read, made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{doing} {path} failed")]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} does not hold a Fernet key: 32 bytes in URL-safe base64 are expected")]
    NotAKey { path: PathBuf },
    #[error("{path} can be read by others (mode {mode:o}); run: chmod 600 {path}")]
    Exposed { path: PathBuf, mode: u32 },
}

/// The keys of one directory.
pub struct KeyRing {
    directory: PathBuf,
    max_active: usize,
    keys: RwLock<Arc<Keys>>,
}

struct Keys {
    texts: BTreeMap<u32, String>,
    /// Primary first.
    fernet: MultiFernet,
}

impl KeyRing {
    /// Reads the directory; makes it with a staged and a primary key if it is absent or empty.
    pub fn open(directory: &Path, max_active: usize) -> Result<Self, KeyError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| KeyError::File {
                doing: "making the key directory",
                path: directory.to_owned(),
                source,
            })?;
        if read_texts(directory)?.is_empty() {
            write_key(directory, 0, &Fernet::generate_key())?;
            write_key(directory, 1, &Fernet::generate_key())?;
        }
        let keys = Keys::read(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            max_active,
            keys: RwLock::new(Arc::new(keys)),
        })
    }

    pub fn encrypt(&self, plain: &[u8]) -> String {
        self.current().fernet.encrypt(plain)
    }

    /// What was encrypted, or `None` if no key of the directory wrote this.
    pub fn decrypt(&self, text: &str) -> Option<Vec<u8>> {
        let keys = self.current();
        if let Ok(plain) = keys.fernet.decrypt(text) {
            return Some(plain);
        }
        // Another process may have rotated. A listing of three names is cheap beside a wrong password's hash.
        let texts = read_texts(&self.directory).ok()?;
        if texts == keys.texts {
            return None;
        }
        self.reload().ok()?;
        self.current().fernet.decrypt(text).ok()
    }

    /// Makes the staged key the primary and stages a new one.
    pub fn rotate(&self) -> Result<(), KeyError> {
        let texts = read_texts(&self.directory)?;
        let next = texts.keys().max().copied().unwrap_or(0) + 1;
        let staged = texts.get(&0).cloned().unwrap_or_else(Fernet::generate_key);
        write_key(&self.directory, next, &staged)?;
        write_key(&self.directory, 0, &Fernet::generate_key())?;
        let mut numbers: Vec<u32> = texts
            .keys()
            .copied()
            .filter(|number| *number != 0)
            .collect();
        numbers.push(next);
        let surplus = (numbers.len() + 1).saturating_sub(self.max_active);
        for number in numbers.into_iter().take(surplus) {
            let path = self.directory.join(number.to_string());
            std::fs::remove_file(&path).map_err(|source| KeyError::File {
                doing: "removing",
                path,
                source,
            })?;
        }
        self.reload()
    }

    fn reload(&self) -> Result<(), KeyError> {
        let keys = Arc::new(Keys::read(&self.directory)?);
        *self
            .keys
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = keys;
        Ok(())
    }

    fn current(&self) -> Arc<Keys> {
        self.keys
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }
}

impl Keys {
    fn read(directory: &Path) -> Result<Self, KeyError> {
        let texts = read_texts(directory)?;
        let mut fernets = Vec::with_capacity(texts.len());
        for (number, text) in texts.iter().rev() {
            let fernet = Fernet::new(text).ok_or_else(|| KeyError::NotAKey {
                path: directory.join(number.to_string()),
            })?;
            fernets.push(fernet);
        }
        Ok(Self {
            texts,
            fernet: MultiFernet::new(fernets),
        })
    }
}

/// Every file of the directory whose name is a number.
fn read_texts(directory: &Path) -> Result<BTreeMap<u32, String>, KeyError> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| KeyError::File {
            doing,
            path,
            source,
        }
    };
    let mut texts = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(failed("listing", directory))? {
        let path = entry.map_err(failed("listing", directory))?.path();
        let Some(number) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let mode = path
            .metadata()
            .map_err(failed("reading", &path))?
            .permissions()
            .mode()
            & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path, mode });
        }
        let text = std::fs::read_to_string(&path).map_err(failed("reading", &path))?;
        texts.insert(number, text.trim().to_owned());
    }
    Ok(texts)
}

/// Writes whole or not at all: a reader never sees half a key.
fn write_key(directory: &Path, number: u32, text: &str) -> Result<(), KeyError> {
    let path = directory.join(number.to_string());
    let draft = directory.join(format!("{number}.new"));
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)
    };
    write().map_err(|source| KeyError::File {
        doing: "writing the key",
        path: path.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_can_be_read_across_a_rotation_and_by_another_process() {
        let directory = tempfile::tempdir().unwrap();
        let ours = KeyRing::open(directory.path(), 3).unwrap();
        let theirs = KeyRing::open(directory.path(), 3).unwrap();
        let before = ours.encrypt(b"before");
        ours.rotate().unwrap();
        let after = ours.encrypt(b"after");
        assert_eq!(ours.decrypt(&before).unwrap(), b"before");
        assert_eq!(
            theirs.decrypt(&after).unwrap(),
            b"after",
            "the staged key was known to both"
        );
        ours.rotate().unwrap();
        ours.rotate().unwrap();
        assert_eq!(
            theirs.decrypt(&ours.encrypt(b"later")).unwrap(),
            b"later",
            "the directory is read again"
        );
        assert_eq!(
            ours.decrypt(&before),
            None,
            "the key of the first text is forgotten"
        );
        assert_eq!(read_texts(directory.path()).unwrap().len(), 3);
    }

    #[test]
    fn keys_are_sealed_and_a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        KeyRing::open(directory.path(), 3).unwrap();
        let path = directory.path().join("1");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = KeyRing::open(directory.path(), 3)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}
