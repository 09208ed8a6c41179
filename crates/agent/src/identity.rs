//! The files by which one end proves who it is. Open vSwitch's and OVN's programs read the same.

use crate::error::AgentError;
use crate::invitation::Fingerprint;
use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A directory with `key.pem`, `certificate.pem` and `authority.pem`.
#[derive(Debug, Clone)]
pub struct Identity {
    directory: PathBuf,
}

impl Identity {
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub fn exists(&self) -> bool {
        self.certificate().exists()
    }

    pub fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// With the authority's behind it.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    pub fn authority(&self) -> PathBuf {
        self.directory.join("authority.pem")
    }

    /// The same files, as OVSDB connections take them.
    pub fn for_ovn(&self) -> corten_network::ovsdb::Identity {
        corten_network::ovsdb::Identity {
            certificate: self.certificate(),
            key: self.key(),
            authority: self.authority(),
        }
    }

    /// The key, made if there is none yet.
    pub(crate) fn load_or_make_key(&self) -> Result<KeyPair, AgentError> {
        load_or_make_key(&self.key())
    }

    /// The certificate comes last: an identity without one is none.
    pub(crate) fn keep(&self, certificate: &str, authority: &str) -> Result<(), AgentError> {
        write(&self.authority(), authority)?;
        write(&self.certificate(), &format!("{certificate}{authority}"))
    }

    pub(crate) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, AgentError> {
        certificates(&self.certificate())
    }

    pub(crate) fn trusted(&self) -> Result<Vec<CertificateDer<'static>>, AgentError> {
        certificates(&self.authority())
    }

    pub(crate) fn private_key(&self) -> Result<PrivateKeyDer<'static>, AgentError> {
        PrivateKeyDer::from_pem_file(self.key()).map_err(unreadable(&self.key()))
    }
}

pub fn load_or_make_key(path: &Path) -> Result<KeyPair, AgentError> {
    let text = load_or_make(path, || {
        let key = KeyPair::generate().map_err(AgentError::certificate("make a key"))?;
        Ok(key.serialize_pem())
    })?;
    KeyPair::from_pem(&text).map_err(unreadable(path))
}

/// What is in the file, which is made if it is not there. Of two who make it at once, the first is believed by both.
pub fn load_or_make(
    path: &Path,
    make: impl FnOnce() -> Result<String, AgentError>,
) -> Result<String, AgentError> {
    let read = || fs::read_to_string(path);
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let partial = write_partial(path, &make()?).map_err(AgentError::file("write", path))?;
            let linked = fs::hard_link(&partial, path);
            let removed = fs::remove_file(&partial);
            match linked {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.map_err(AgentError::file("write", path))?,
            }
            removed.map_err(AgentError::file("remove", &partial))?;
            read()
        }
        other => other,
    }
    .map_err(AgentError::file("read", path))
}

/// Whole or not at all, for its owner only.
pub fn write(path: &Path, content: &str) -> Result<(), AgentError> {
    let written = write_partial(path, content).and_then(|partial| fs::rename(partial, path));
    written.map_err(AgentError::file("write", path))
}

/// Writes the content beside the path, under a name that no other process uses.
fn write_partial(path: &Path, content: &str) -> io::Result<PathBuf> {
    let partial = path.with_extension(format!("{:016x}.partial", rand::random::<u64>()));
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    Ok(partial)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, AgentError> {
    let found = CertificateDer::pem_file_iter(path).map_err(unreadable(path))?;
    found.collect::<Result<_, _>>().map_err(unreadable(path))
}

/// The fingerprint of the first certificate in a PEM text.
pub fn fingerprint(pem: &str) -> Result<Fingerprint, AgentError> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
    let certificate = certificate.map_err(unreadable(Path::new("a certificate")))?;
    Ok(Fingerprint::of(&certificate))
}

fn unreadable<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> AgentError {
    move |error| AgentError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
