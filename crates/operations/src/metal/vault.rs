//! Passwords of BMCs at rest: sealed with XChaCha20-Poly1305 under keys in files that only the service can read.
//!
//! A sealed value is bound to its node and its place in it, so that it is of no use anywhere else. It begins with the id
//! of its key and a colon; one without was sealed before keys had ids. [`super::rotate_key`] puts a new key in place of
//! the old one.
//!
//! ```text
//!  metal/key        the key that the cloud began with
//!  metal/key-ID     one that a rotation made; while the rotation runs, the old one is there too
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use corten_model::ids::NodeId;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const ID_BYTES: usize = 8;
/// The file of the key that the cloud began with, and the beginning of the others' names.
const FIRST: &str = "key";
const FURTHER: &str = "key-";

/// Seals and opens secrets.
pub struct Vault {
    /// `None`: its keys are written nowhere.
    directory: Option<PathBuf>,
    keys: RwLock<Keys>,
}

/// The keys that are known, by their ids.
#[derive(Default)]
struct Keys {
    /// The one that the cloud began with, as long as it is in use.
    first: Option<String>,
    ciphers: BTreeMap<String, XChaCha20Poly1305>,
}

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("the key file {path} cannot be read, made or removed")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the key file {path} does not hold {KEY_BYTES} bytes as hexadecimal digits, or not those that its name says; put it \
         back from a backup"
    )]
    Malformed { path: PathBuf },
    #[error("the system gives no random bytes")]
    NoRandomness,
    #[error("the secret cannot be sealed")]
    Seal,
    #[error(
        "the key {key} of the passwords of nodes is not in {}; put its file back from a backup, or share the directory \
         between replicas", shown(directory.as_deref())
    )]
    NoKey {
        key: String,
        directory: Option<PathBuf>,
    },
    /// Another key, another node, another place, or damage.
    #[error("the secret '{place}' of node {node} cannot be opened with this cloud's key")]
    Open { node: NodeId, place: String },
}

fn shown(directory: Option<&Path>) -> String {
    directory.map_or_else(
        || "memory".to_owned(),
        |directory| directory.display().to_string(),
    )
}

impl Vault {
    /// With the keys in this directory; one is made if there is none.
    pub fn open(directory: &Path) -> Result<Self, VaultError> {
        let mut keys = Keys::default();
        if directory.is_dir() {
            keys = Keys::read(directory)?;
        }
        if keys.ciphers.is_empty() {
            let path = directory.join(FIRST);
            fs::create_dir_all(directory).map_err(failed_at(&path))?;
            write_key(&path, &new_key()?)?;
            keys = Keys::read(directory)?;
        }
        Ok(Self {
            directory: Some(directory.to_owned()),
            keys: RwLock::new(keys),
        })
    }

    /// With a new key that is written nowhere.
    pub fn forgetful() -> Result<Self, VaultError> {
        Ok(Self::with_key(new_key()?))
    }

    fn with_key(key: [u8; KEY_BYTES]) -> Self {
        let id = id_of(&key);
        let cipher = XChaCha20Poly1305::new(&Key::from(key));
        Self {
            directory: None,
            keys: RwLock::new(Keys {
                first: Some(id.clone()),
                ciphers: BTreeMap::from([(id, cipher)]),
            }),
        }
    }

    fn keys(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the directory again: another process may have made a key. Keys that are known stay known.
    fn look_again(&self) -> Result<(), VaultError> {
        if let Some(directory) = &self.directory {
            let found = Keys::read(directory)?;
            let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            keys.first = found.first;
            keys.ciphers.extend(found.ciphers);
        }
        Ok(())
    }

    /// The key of this id; `None`: the one that the cloud began with.
    fn key(&self, id: Option<&str>) -> Result<(String, XChaCha20Poly1305), VaultError> {
        let known = || {
            let keys = self.keys();
            let id = id.or(keys.first.as_deref())?;
            Some((id.to_owned(), keys.ciphers.get(id)?.clone()))
        };
        if let Some(known) = known() {
            return Ok(known);
        }
        self.look_again()?;
        known().ok_or_else(|| VaultError::NoKey {
            key: id.unwrap_or(FIRST).to_owned(),
            directory: self.directory.clone(),
        })
    }

    /// Seals under this key; `None`: the one that the cloud began with.
    pub fn seal(
        &self,
        key: Option<&str>,
        node: NodeId,
        place: &str,
        secret: &str,
    ) -> Result<String, VaultError> {
        let (id, cipher) = self.key(key)?;
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        let bound = bound(node, place);
        let payload = Payload {
            msg: secret.as_bytes(),
            aad: bound.as_bytes(),
        };
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| VaultError::Seal)?;
        let mut bytes = nonce.to_vec();
        bytes.extend(sealed);
        Ok(format!("{id}:{}", STANDARD.encode(bytes)))
    }

    pub fn unseal(&self, node: NodeId, place: &str, sealed: &str) -> Result<String, VaultError> {
        let refused = || VaultError::Open {
            node,
            place: place.to_owned(),
        };
        let (key, text) = match sealed.split_once(':') {
            Some((id, text)) => (Some(id), text),
            None => (None, sealed),
        };
        let (_, cipher) = self.key(key)?;
        let bytes = STANDARD.decode(text).map_err(|_| refused())?;
        let (nonce, text) = bytes
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(refused)?;
        let bound = bound(node, place);
        let payload = Payload {
            msg: text,
            aad: bound.as_bytes(),
        };
        let opened = cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| refused())?;
        String::from_utf8(opened).map_err(|_| refused())
    }

    /// Makes a key, in a file beside the others, and says its id. Nothing is sealed under it yet.
    pub fn make_key(&self) -> Result<String, VaultError> {
        let key = new_key()?;
        let id = id_of(&key);
        if let Some(directory) = &self.directory {
            write_key(&directory.join(format!("{FURTHER}{id}")), &key)?;
        }
        let cipher = XChaCha20Poly1305::new(&Key::from(key));
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.ciphers.insert(id.clone(), cipher);
        Ok(id)
    }

    /// The ids of all keys that there are.
    pub fn ids(&self) -> Result<Vec<String>, VaultError> {
        self.look_again()?;
        Ok(self.keys().ciphers.keys().cloned().collect())
    }

    /// Removes the files of these keys. One that is gone already is fine.
    pub fn remove(&self, ids: &[String]) -> Result<(), VaultError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            let is_first = keys.first.as_deref() == Some(id);
            if let Some(directory) = &self.directory {
                let name = if is_first {
                    FIRST.to_owned()
                } else {
                    format!("{FURTHER}{id}")
                };
                let path = directory.join(name);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(failed_at(&path)(error));
                    }
                    _ => {}
                }
            }
            if is_first {
                keys.first = None;
            }
            keys.ciphers.remove(id);
        }
        Ok(())
    }
}

/// The id of the key that a value is sealed under; `None`: it was sealed before keys had ids.
pub fn key_of(sealed: &str) -> Option<&str> {
    sealed.split_once(':').map(|(id, _)| id)
}

impl Keys {
    fn read(directory: &Path) -> Result<Self, VaultError> {
        let mut keys = Self::default();
        for entry in fs::read_dir(directory).map_err(failed_at(directory))? {
            let path = entry.map_err(failed_at(directory))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            // What is being written has a point in its name.
            let said = match name.strip_prefix(FURTHER) {
                Some(id) if !id.contains('.') => Some(id),
                None if name == FIRST => None,
                _ => continue,
            };
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                // A rotation ended meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed_at(&path)(error)),
            };
            let mut key = [0; KEY_BYTES];
            let id = match hex::decode_to_slice(text.trim(), &mut key) {
                Ok(()) => id_of(&key),
                Err(_) => return Err(VaultError::Malformed { path }),
            };
            match said {
                Some(said) if said != id => return Err(VaultError::Malformed { path }),
                Some(_) => {}
                None => keys.first = Some(id.clone()),
            }
            let cipher = XChaCha20Poly1305::new(&Key::from(key));
            keys.ciphers.insert(id, cipher);
        }
        Ok(keys)
    }
}

/// Says which key it is and nothing of it: part of a hash of 32 random bytes.
fn id_of(key: &[u8; KEY_BYTES]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"corten: the id of a key of nodes' secrets");
    hasher.update(key);
    hex::encode(&hasher.finalize()[..ID_BYTES])
}

fn bound(node: NodeId, place: &str) -> String {
    format!("{node}/{place}")
}

fn new_key() -> Result<[u8; KEY_BYTES], VaultError> {
    let mut key = [0; KEY_BYTES];
    random(&mut key)?;
    Ok(key)
}

fn random(bytes: &mut [u8]) -> Result<(), VaultError> {
    OsRng
        .try_fill_bytes(bytes)
        .map_err(|_| VaultError::NoRandomness)
}

fn failed_at(path: &Path) -> impl Fn(io::Error) -> VaultError {
    move |source| VaultError::File {
        path: path.to_owned(),
        source,
    }
}

/// Another process that makes one at the same time wins or loses whole. When it returns, the key outlasts a power cut.
fn write_key(path: &Path, key: &[u8; KEY_BYTES]) -> Result<(), VaultError> {
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(hex::encode(key).as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&partial, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs::remove_file(&partial)?,
        }
        match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(failed_at(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_is_opened_only_where_it_belongs() {
        let vault = Vault::with_key([7; KEY_BYTES]);
        let (node, other) = (NodeId::random(), NodeId::random());
        let sealed = vault.seal(None, node, "driver_info/a", "calvin").unwrap();
        assert!(!sealed.contains("calvin"));
        assert_eq!(
            vault.unseal(node, "driver_info/a", &sealed).unwrap(),
            "calvin"
        );
        assert!(vault.unseal(other, "driver_info/a", &sealed).is_err());
        assert!(vault.unseal(node, "driver_info/b", &sealed).is_err());
        assert!(
            Vault::with_key([8; KEY_BYTES])
                .unseal(node, "driver_info/a", &sealed)
                .is_err()
        );
        assert_ne!(
            sealed,
            vault.seal(None, node, "driver_info/a", "calvin").unwrap(),
            "each nonce is new"
        );
    }

    #[test]
    fn the_key_is_made_once_and_is_the_services_own() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("metal");
        let node = NodeId::random();
        let sealed = Vault::open(&place)
            .unwrap()
            .seal(None, node, "driver_info/a", "calvin")
            .unwrap();
        let again = Vault::open(&place).unwrap();
        assert_eq!(
            again.unseal(node, "driver_info/a", &sealed).unwrap(),
            "calvin"
        );
        let mode = fs::metadata(place.join("key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(place.join("key"), "short").unwrap();
        assert!(matches!(
            Vault::open(&place),
            Err(VaultError::Malformed { .. })
        ));
    }

    #[test]
    fn a_value_of_before_keys_had_ids_is_still_opened() {
        let vault = Vault::with_key([7; KEY_BYTES]);
        let node = NodeId::random();
        let sealed = vault.seal(None, node, "driver_info/a", "calvin").unwrap();
        let (_, of_before) = sealed.split_once(':').unwrap();
        assert_eq!(key_of(of_before), None);
        let opened = vault.unseal(node, "driver_info/a", of_before).unwrap();
        assert_eq!(opened, "calvin");
    }

    #[test]
    fn a_key_that_another_process_made_is_noticed_when_it_is_needed() {
        let directory = tempfile::tempdir().unwrap();
        let node = NodeId::random();
        let (server, command) = (
            Vault::open(directory.path()).unwrap(),
            Vault::open(directory.path()).unwrap(),
        );
        let before = server.seal(None, node, "driver_info/a", "calvin").unwrap();
        let first = key_of(&before).unwrap().to_owned();
        let new = command.make_key().unwrap();
        let after = command
            .seal(Some(&new), node, "driver_info/a", "calvin")
            .unwrap();
        assert_eq!(key_of(&after), Some(new.as_str()));
        assert_eq!(
            server.unseal(node, "driver_info/a", &after).unwrap(),
            "calvin"
        );
        let sealed = server.seal(Some(&new), node, "driver_info/a", "root");
        assert_eq!(key_of(&sealed.unwrap()), Some(new.as_str()));
        command.remove(std::slice::from_ref(&first)).unwrap();
        let later = Vault::open(directory.path()).unwrap();
        assert_eq!(later.ids().unwrap(), [new]);
        let refused = later.unseal(node, "driver_info/a", &before).unwrap_err();
        assert!(refused.to_string().contains(&first), "{refused}");
    }

    #[test]
    fn a_key_under_another_keys_name_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let vault = Vault::open(directory.path()).unwrap();
        let id = vault.make_key().unwrap();
        let (good, bad) = (format!("key-{id}"), "key-0011223344556677");
        fs::rename(directory.path().join(good), directory.path().join(bad)).unwrap();
        assert!(matches!(
            Vault::open(directory.path()),
            Err(VaultError::Malformed { .. })
        ));
    }
}
