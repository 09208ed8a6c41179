//! Where an OVSDB server listens, and how to get a stream to it.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// `unix:PATH`
    Unix(PathBuf),
    /// `ssl:HOST:PORT`, both ends with certificates of one authority.
    Tls {
        host: String,
        port: u16,
        identity: Identity,
    },
}

/// The files (PEM) that prove who we are and whom we trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub authority: PathBuf,
}

/// A text that is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRemote {
    #[error("'{0}' is not an OVSDB remote: it is written unix:PATH or ssl:HOST:PORT")]
    Form(String),
    #[error("'{0}' needs a certificate, a key and the certificate of the authority")]
    NoIdentity(String),
}

impl Remote {
    /// Reads the form that Open vSwitch's own programs use.
    pub fn parse(text: &str, identity: Option<&Identity>) -> Result<Self, InvalidRemote> {
        let wrong = || InvalidRemote::Form(text.chars().take(200).collect());
        match text.split_once(':').ok_or_else(wrong)? {
            ("unix", path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            ("ssl", address) => {
                let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let port = port.parse().map_err(|_| wrong())?;
                let identity =
                    identity.ok_or_else(|| InvalidRemote::NoIdentity(text.to_owned()))?;
                Ok(Self::Tls {
                    host: host.to_owned(),
                    port,
                    identity: identity.clone(),
                })
            }
            _ => Err(wrong()),
        }
    }

    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Self::Tls {
                host,
                port,
                identity,
            } => {
                let connector = TlsConnector::from(Arc::new(identity.configuration()?));
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(connector.connect(name, stream).await?))
            }
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tls { host, port, .. } if host.contains(':') => write!(f, "ssl:[{host}]:{port}"),
            Self::Tls { host, port, .. } => write!(f, "ssl:{host}:{port}"),
        }
    }
}

impl Identity {
    /// As Open vSwitch's and OVN's own programs take it.
    pub fn options(&self) -> [String; 3] {
        [
            ("private-key", &self.key),
            ("certificate", &self.certificate),
            ("ca-cert", &self.authority),
        ]
        .map(|(option, file)| format!("--{option}={}", file.display()))
    }

    /// Read anew for each connection, so that renewed certificates are used.
    fn configuration(&self) -> io::Result<rustls::ClientConfig> {
        let mut trusted = rustls::RootCertStore::empty();
        for certificate in certificates(&self.authority)? {
            trusted.add(certificate).map_err(io::Error::other)?;
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| unreadable(&self.key, &e))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(trusted)
            .with_client_auth_cert(certificates(&self.certificate)?, key)
            .map_err(io::Error::other)
    }
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| unreadable(path, &e))?;
    certificates
        .collect::<Result<_, _>>()
        .map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, error: &rustls::pki_types::pem::Error) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

/// A connection, of whatever kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_is_written_as_open_vswitch_does() {
        let identity = Identity {
            certificate: "c.pem".into(),
            key: "k.pem".into(),
            authority: "a.pem".into(),
        };
        for text in [
            "unix:/run/nb.sock",
            "ssl:127.0.0.1:6641",
            "ssl:[::1]:6641",
            "ssl:nb.example:6641",
        ] {
            let remote = Remote::parse(text, Some(&identity)).unwrap();
            assert_eq!(remote.to_string(), text);
        }
        for text in [
            "",
            "unix:",
            "/run/nb.sock",
            "tcp:127.0.0.1:6641",
            "ssl:6641",
            "ssl:host:port",
        ] {
            assert!(Remote::parse(text, Some(&identity)).is_err(), "{text}");
        }
        let without = Remote::parse("ssl:127.0.0.1:6641", None);
        assert!(matches!(without, Err(InvalidRemote::NoIdentity(_))));
    }
}
