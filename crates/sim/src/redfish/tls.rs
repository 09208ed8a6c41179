//! The service over TLS, as DSP0266 wants it where passwords are sent.

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Connections that are through with their handshakes and not yet taken.
const WAITING: usize = 64;
/// For one handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// A certificate that nobody signed, as BMCs have it from their makers.
pub struct SelfSigned {
    pub config: Arc<ServerConfig>,
    pub pem: String,
}

impl SelfSigned {
    /// For this host name or address.
    pub fn new(host: &str) -> io::Result<Self> {
        let made =
            rcgen::generate_simple_self_signed([host.to_owned()]).map_err(io::Error::other)?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let key = key.map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let builder = builder.with_no_client_auth();
                builder.with_single_cert(vec![made.cert.der().clone()], key)
            })
            .map_err(io::Error::other)?;
        Ok(Self {
            config: Arc::new(config),
            pem: made.cert.pem(),
        })
    }
}

/// Connections after their handshakes, which are done beside each other: one that is slow holds up no other.
pub(super) struct TlsListener {
    ready: Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    pub(super) fn new(mut listener: TcpListener, config: Arc<ServerConfig>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(config);
        let (sender, ready) = channel(WAITING);
        tokio::spawn(async move {
            while !sender.is_closed() {
                let (stream, peer) = tokio::select! {
                    accepted = Listener::accept(&mut listener) => accepted,
                    () = sender.closed() => return,
                };
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    // A client that does not believe us goes away.
                    let shaken = timeout(PATIENCE, acceptor.accept(stream)).await;
                    if let Ok(Ok(stream)) = shaken {
                        let _ = sender.send((stream, peer)).await;
                    }
                });
            }
        });
        Ok(Self { ready, address })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The task above ends after this is dropped, or with the runtime.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
