//! Provisioning networks: on each a boot server for bare-metal servers, and a door, over TLS, for their ramdisks.

use crate::config::Config;
use anyhow::Context as _;
use axum::Router;
use corten_api::App;
use corten_api::openstack::baremetal;
use corten_netboot::{BootServer, LoaderPaths, Loaders};
use corten_operations::Context;
use corten_operations::metal::ramdisk::directory::Rows;
use corten_operations::metal::ramdisk::timeline;
use corten_operations::settings::ProvisioningNetwork;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The name in each control plane's certificate, whatever its address.
const NAME: &str = "control-plane.corten";
/// How often other DHCP servers are looked for.
const PROBE_EVERY: Duration = Duration::from_secs(300);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// So many ramdisks may be shaking hands.
const HANDSHAKES_MAX: usize = 256;

/// Serves every provisioning network of the settings. What is returned stops when it is dropped.
pub async fn serve(
    config: &Config,
    cx: &Arc<Context>,
    app: &App,
) -> anyhow::Result<Vec<BootServer>> {
    let settings = &config.settings.provisioning;
    if settings.networks.is_empty() {
        return Ok(Vec::new());
    }
    let certificate = Certificate::open(&config.identity.key_directory.join("metal"))
        .context("cannot open the certificate that ramdisks believe")?;
    let _ = cx.metal.pin.set(certificate.pin());
    let tls = Arc::new(certificate.server()?);
    let loaders = Loaders::load(&LoaderPaths::debian()).context("cannot boot servers")?;
    let mut servers = Vec::new();
    for network in &settings.networks {
        let (server, events) = BootServer::start(
            boot_config(network, settings.http_port),
            loaders.clone(),
            Arc::new(Rows::new(cx.clone(), network.clone())),
        )
        .await
        .with_context(|| format!("cannot serve the provisioning network {}", network.name))?;
        tokio::spawn(timeline::follow(cx.clone(), network.name.clone(), events));
        let door = SocketAddr::from((network.address.addr(), settings.agent_port));
        let listener = TcpListener::bind(door)
            .await
            .with_context(|| format!("cannot listen for ramdisks on {door}"))?;
        tokio::spawn(let_in(
            listener,
            tls.clone(),
            baremetal::for_agents(app.clone()),
        ));
        tracing::info!(network = network.name, interface = network.interface, %door, discover = network.discover, "servers may boot");
        servers.push(server);
    }
    Ok(servers)
}

fn boot_config(network: &ProvisioningNetwork, http_port: u16) -> corten_netboot::Config {
    corten_netboot::Config {
        namespace: None,
        interface: network.interface.clone(),
        address: network.address.addr(),
        http_port,
        peers: network.peers.clone(),
        probe_every: Some(PROBE_EVERY),
    }
}

async fn let_in(listener: TcpListener, tls: Arc<ServerConfig>, routes: Router) {
    let door = Door::new(listener, TlsAcceptor::from(tls));
    if let Err(error) = axum::serve(door, routes).await {
        tracing::error!(%error, "ramdisks are no longer let in");
    }
}

/// A listener whose connections have shaken hands; who does not, keeps nobody waiting.
struct Door {
    address: SocketAddr,
    shaken: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl Door {
    fn new(listener: TcpListener, acceptor: TlsAcceptor) -> Self {
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = listener.local_addr().unwrap_or(unspecified);
        let (give, shaken) = mpsc::channel(HANDSHAKES_MAX);
        tokio::spawn(accept(listener, acceptor, give));
        Self { address, shaken }
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    give: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    loop {
        let Ok(place) = give.clone().reserve_owned().await else {
            return;
        };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a ramdisk cannot be let in");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drop(place.send((stream, from))),
                Ok(Err(error)) => tracing::debug!(%from, %error, "no handshake"),
                Err(_) => tracing::debug!(%from, "no handshake in time"),
            }
        });
    }
}

impl axum::serve::Listener for Door {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.shaken.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

/// The control plane's certificate and key, for ramdisks alone: they believe it by its SHA-256.
struct Certificate {
    pem: String,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// From this directory, made if there is none. Replicas share it.
    fn open(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join("provisioning.pem");
        if !path.exists() {
            fs::create_dir_all(directory)?;
            make(&path)?;
        }
        let pem = fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .with_context(|| format!("{} holds no certificate", path.display()))?;
        Ok(Self { pem, der })
    }

    fn pin(&self) -> String {
        hex::encode(Sha256::digest(self.der.as_ref()))
    }

    fn server(&self) -> anyhow::Result<ServerConfig> {
        let key = PrivateKeyDer::from_pem_slice(self.pem.as_bytes())
            .context("there is no key beside the certificate")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok(ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key)?)
    }
}

/// Another process that makes one at the same time wins or loses whole.
fn make(path: &Path) -> anyhow::Result<()> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)?;
    write!(
        file,
        "{}{}",
        made.cert.pem(),
        made.signing_key.serialize_pem()
    )?;
    file.sync_all()?;
    let linked = fs::hard_link(&partial, path);
    fs::remove_file(&partial)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("metal");
        let pin = Certificate::open(&at).unwrap().pin();
        assert_eq!(pin.len(), 64);
        let again = Certificate::open(&at).unwrap();
        assert_eq!(again.pin(), pin);
        again.server().unwrap();
        let mode = fs::metadata(at.join("provisioning.pem"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
}
