//! Passwords of BMCs at rest: sealed with XChaCha20-Poly1305 under a key in a file that only the service can read.
//!
//! A sealed value is bound to its node and its place in it, so that it is of no use anywhere else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use corten_model::ids::NodeId;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Seals and opens secrets.
pub struct Vault {
    cipher: XChaCha20Poly1305,
}

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("the key file {path} cannot be read or made")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the key file {path} does not hold {KEY_BYTES} bytes as hexadecimal digits")]
    Malformed { path: PathBuf },
    #[error("the system gives no random bytes")]
    NoRandomness,
    #[error("the secret cannot be sealed")]
    Seal,
    /// Another key, another node, another place, or damage.
    #[error("the secret '{place}' of node {node} cannot be opened with this cloud's key")]
    Open { node: NodeId, place: String },
}

impl Vault {
    /// With the key in this directory, made if there is none.
    pub fn open(directory: &Path) -> Result<Self, VaultError> {
        let path = directory.join("key");
        let failed = |source| VaultError::File {
            path: path.clone(),
            source,
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(directory).map_err(failed)?;
                make_key(&path)?;
                fs::read_to_string(&path).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        let mut key = [0; KEY_BYTES];
        hex::decode_to_slice(text.trim(), &mut key).map_err(|_| VaultError::Malformed { path })?;
        Ok(Self::with_key(key))
    }

    /// With a new key that is written nowhere.
    pub fn forgetful() -> Result<Self, VaultError> {
        let mut key = [0; KEY_BYTES];
        random(&mut key)?;
        Ok(Self::with_key(key))
    }

    fn with_key(key: [u8; KEY_BYTES]) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(&Key::from(key)),
        }
    }

    pub fn seal(&self, node: NodeId, place: &str, secret: &str) -> Result<String, VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        let bound = bound(node, place);
        let payload = Payload {
            msg: secret.as_bytes(),
            aad: bound.as_bytes(),
        };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| VaultError::Seal)?;
        let mut bytes = nonce.to_vec();
        bytes.extend(sealed);
        Ok(STANDARD.encode(bytes))
    }

    pub fn unseal(&self, node: NodeId, place: &str, sealed: &str) -> Result<String, VaultError> {
        let refused = || VaultError::Open {
            node,
            place: place.to_owned(),
        };
        let bytes = STANDARD.decode(sealed).map_err(|_| refused())?;
        let (nonce, sealed) = bytes
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(refused)?;
        let bound = bound(node, place);
        let payload = Payload {
            msg: sealed,
            aad: bound.as_bytes(),
        };
        let opened = self
            .cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| refused())?;
        String::from_utf8(opened).map_err(|_| refused())
    }
}

fn bound(node: NodeId, place: &str) -> String {
    format!("{node}/{place}")
}

fn random(bytes: &mut [u8]) -> Result<(), VaultError> {
    OsRng
        .try_fill_bytes(bytes)
        .map_err(|_| VaultError::NoRandomness)
}

/// Another process that makes one at the same time wins or loses whole.
fn make_key(path: &Path) -> Result<(), VaultError> {
    let mut key = [0; KEY_BYTES];
    random(&mut key)?;
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
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::remove_file(&partial),
        }
    };
    write().map_err(|source| VaultError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_is_opened_only_where_it_belongs() {
        let vault = Vault::with_key([7; KEY_BYTES]);
        let (node, other) = (NodeId::random(), NodeId::random());
        let sealed = vault.seal(node, "driver_info/a", "calvin").unwrap();
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
            vault.seal(node, "driver_info/a", "calvin").unwrap(),
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
            .seal(node, "driver_info/a", "calvin")
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
}
