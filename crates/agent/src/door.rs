//! Where hosts come in: one listener for the connections of hosts and for their requests.

use crate::authority::Authority;
use crate::error::AgentError;
use crate::far::FarHost;
use crate::invitation::Fingerprint;
use crate::tls::{self, QUESTIONS};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// For a newcomer to prove who it is.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// For one without a certificate to join.
const VISIT_LIMIT: Duration = Duration::from_secs(30);
/// Newcomers that have not proved it yet, at the same time.
const NEWCOMERS: usize = 256;
/// After a failure to accept, for example because there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its certificate, which the cloud's authority signed; whether it is still good is for others to say.
    pub certificate: Option<Fingerprint>,
    pub address: IpAddr,
}

/// A host has connected.
pub struct Arrival {
    pub peer: Peer,
    pub host: FarHost,
}

pub struct Door {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Door {
    pub async fn open(listen: SocketAddr, authority: &Authority) -> Result<Self, AgentError> {
        let config = tls::server(&authority.control_plane()?)?;
        let listener = TcpListener::bind(listen).await;
        Ok(Self {
            listener: listener.map_err(|source| AgentError::Listen {
                address: listen,
                source,
            })?,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    /// Lets hosts in, for good: `routes` answer their requests, with the [`Peer`] among a request's extensions.
    pub async fn serve(self, routes: Router, arrivals: mpsc::Sender<Arrival>) {
        let newcomers = Arc::new(Semaphore::new(NEWCOMERS));
        loop {
            let Ok(place) = newcomers.clone().acquire_owned().await else {
                return;
            };
            let (stream, from) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a host could not be let in");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (acceptor, routes, arrivals) =
                (self.acceptor.clone(), routes.clone(), arrivals.clone());
            tokio::spawn(async move {
                let proved = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await;
                match proved {
                    Ok(Ok(stream)) if stream.get_ref().1.peer_certificates().is_none() => {
                        // A stranger has one request to make, and little time for it.
                        let visit = welcome(stream, from.ip(), routes, arrivals);
                        let _ = tokio::time::timeout(VISIT_LIMIT, visit).await;
                    }
                    Ok(Ok(stream)) => {
                        drop(place);
                        welcome(stream, from.ip(), routes, arrivals).await;
                    }
                    Ok(Err(error)) => {
                        tracing::info!(%from, %error, "a stranger was not let in");
                    }
                    Err(_) => tracing::info!(%from, "a stranger was silent"),
                }
            });
        }
    }
}

async fn welcome(
    stream: TlsStream<TcpStream>,
    address: IpAddr,
    routes: Router,
    arrivals: mpsc::Sender<Arrival>,
) {
    let (tcp, session) = stream.get_ref();
    // Without it small answers wait for each other; with it missing they are only slower.
    let _ = tcp.set_nodelay(true);
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let peer = Peer {
        certificate: certificate.map(|certificate| Fingerprint::of(certificate)),
        address,
    };
    if session.alpn_protocol() != Some(QUESTIONS) {
        let service = TowerToHyperService::new(routes.layer(Extension(peer)));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%address, %error, "a host's requests broke off");
        }
        return;
    }
    if peer.certificate.is_none() {
        tracing::info!(%address, "a stranger without a certificate was not let in");
        return;
    }
    match FarHost::over(stream).await {
        // Nobody waiting for hosts any more: we stop.
        Ok(host) => drop(arrivals.send(Arrival { peer, host }).await),
        Err(error) => tracing::info!(%address, %error, "a host went away at once"),
    }
}
