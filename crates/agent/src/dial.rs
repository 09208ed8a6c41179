//! The host's way to the control plane: [`join`], once, and the [`Dialer`] of a host that has joined.

use crate::error::AgentError;
use crate::identity::Identity;
use crate::invitation::Invitation;
use crate::tls::{self, CONTROL_PLANE, QUESTIONS, REQUESTS};
use crate::wire::{Admitted, JoinRequest};
use corten_model::error_text;
use rcgen::CertificateParams;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Has the control plane make this machine a host, and keeps what proves it in `identity`.
pub async fn join(invitation: &Invitation, identity: &Identity) -> Result<Admitted, AgentError> {
    let address = &invitation.address;
    let key = identity.load_or_make_key()?;
    let request = CertificateParams::default()
        .serialize_request(&key)
        .and_then(|request| request.pem())
        .map_err(AgentError::certificate("ask for a certificate"))?;
    let body = JoinRequest {
        secret: invitation.secret.clone(),
        request,
    };
    let resolved = resolve(address).await?;
    let stranger = tls::stranger(invitation.authority.clone())?;
    let unreached = unreached(address);
    let answer = http(stranger, resolved)
        .map_err(&unreached)?
        .post(url(resolved, "/join"))
        .json(&body)
        .send()
        .await
        .map_err(&unreached)?;
    let status = answer.status();
    if !status.is_success() {
        return Err(AgentError::Refused {
            address: address.clone(),
            status: status.as_u16(),
            reason: answer.text().await.unwrap_or_default(),
        });
    }
    let admitted: Admitted = answer.json().await.map_err(&unreached)?;
    identity.keep(&admitted.certificate, &admitted.authority)?;
    Ok(admitted)
}

/// How a host that has joined reaches the control plane. Its clones share their connections for requests.
#[derive(Debug, Clone)]
pub struct Dialer {
    /// `HOST:PORT`.
    address: String,
    identity: Identity,
    client: Arc<Mutex<Option<(SocketAddr, reqwest::Client)>>>,
}

impl Dialer {
    pub fn new(address: String, identity: Identity) -> Self {
        Self {
            address,
            identity,
            client: Arc::default(),
        }
    }

    /// A connection on which the control plane asks.
    pub async fn dial(&self) -> Result<TlsStream<TcpStream>, AgentError> {
        let config = tls::client(&self.identity, QUESTIONS)?;
        let stream = self.connect().await?;
        let prove = async {
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(CONTROL_PLANE).map_err(io::Error::other)?;
            TlsConnector::from(Arc::new(config))
                .connect(name, stream)
                .await
        };
        self.in_time(prove).await
    }

    /// The address by which this machine reaches the control plane, and other hosts this machine.
    pub async fn own_address(&self) -> Result<IpAddr, AgentError> {
        let stream = self.connect().await?;
        let address = self.in_time(async { stream.local_addr() }).await?;
        Ok(address.ip())
    }

    async fn connect(&self) -> Result<TcpStream, AgentError> {
        let resolved = self.resolve().await?;
        self.in_time(TcpStream::connect(resolved)).await
    }

    async fn in_time<T>(&self, work: impl Future<Output = io::Result<T>>) -> Result<T, AgentError> {
        let done = tokio::time::timeout(CONNECT_LIMIT, work).await;
        let done = done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        done.map_err(|error| AgentError::Unreached {
            address: self.address.clone(),
            reason: error.to_string(),
        })
    }

    /// For requests of ours, and what their addresses begin with. A control plane that is elsewhere now is found there.
    pub async fn requests(&self) -> Result<(reqwest::Client, String), AgentError> {
        let resolved = self.resolve().await?;
        let mut kept = self.client.lock().await;
        let client = match &*kept {
            Some((address, client)) if *address == resolved => client.clone(),
            _ => {
                let config = tls::client(&self.identity, REQUESTS)?;
                http(config, resolved).map_err(unreached(&self.address))?
            }
        };
        *kept = Some((resolved, client.clone()));
        Ok((client, url(resolved, "")))
    }

    /// Where the control plane is now.
    pub async fn resolve(&self) -> Result<SocketAddr, AgentError> {
        resolve(&self.address).await
    }
}

async fn resolve(address: &str) -> Result<SocketAddr, AgentError> {
    let unresolved = |reason: String| AgentError::Unresolved {
        address: address.to_owned(),
        reason,
    };
    let mut found = lookup_host(address)
        .await
        .map_err(|error| unresolved(error.to_string()))?;
    found
        .next()
        .ok_or_else(|| unresolved("the name has none".to_owned()))
}

/// The control plane has one name in its certificates, wherever it is.
fn http(config: ClientConfig, address: SocketAddr) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .resolve(CONTROL_PLANE, address)
        .connect_timeout(CONNECT_LIMIT)
        .timeout(REQUEST_LIMIT)
        .no_proxy()
        .build()
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("https://{CONTROL_PLANE}:{}{path}", address.port())
}

fn unreached(address: &str) -> impl Fn(reqwest::Error) -> AgentError {
    move |error| AgentError::Unreached {
        address: address.to_owned(),
        reason: error_text(&error),
    }
}
