//! Why a host could not join, connect or be let in.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot {doing} {}", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },

    #[error("{} is not right: {reason}; remove it to have a new one made", path.display())]
    Unreadable { path: PathBuf, reason: String },

    #[error("the certificate request is not right: {reason}")]
    InvalidRequest { reason: String },

    #[error("cannot {doing}")]
    Certificate {
        doing: &'static str,
        source: rcgen::Error,
    },

    #[error("cannot set TLS up")]
    Tls(#[from] rustls::Error),

    #[error("cannot listen on {address}")]
    Listen {
        address: std::net::SocketAddr,
        source: std::io::Error,
    },

    #[error("{address} has no address: {reason}")]
    Unresolved { address: String, reason: String },

    #[error("the control plane at {address} is not reached: {reason}")]
    Unreached { address: String, reason: String },

    #[error("the control plane at {address} refused ({status}): {reason}")]
    Refused {
        address: String,
        status: u16,
        reason: String,
    },
}

impl AgentError {
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn certificate(doing: &'static str) -> impl FnOnce(rcgen::Error) -> Self {
        move |source| Self::Certificate { doing, source }
    }
}
