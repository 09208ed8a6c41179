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
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
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
    let authority = Authority::open(&config.identity.key_directory.join("metal"))
        .context("cannot open the authority that ramdisks believe")?;
    let _ = cx.metal.pin.set(authority.pin());
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
            Arc::new(authority.server(network.address.addr())?),
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

/// The authority of the control plane's certificates, for ramdisks alone: they believe it by its SHA-256. Each door has a
/// certificate of its own, made anew at each start, since the stock agent compares it with the address that it calls.
struct Authority {
    pem: String,
    der: CertificateDer<'static>,
}

impl Authority {
    /// From this directory, made if there is none. Replicas share it.
    fn open(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join("provisioning-authority.pem");
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

    /// What a door at this address shows.
    fn server(&self, address: Ipv4Addr) -> anyhow::Result<ServerConfig> {
        let key = PrivateKeyDer::from_pem_slice(self.pem.as_bytes())
            .context("there is no key beside the authority")?;
        let key = KeyPair::try_from(&key)?;
        let issuer = Issuer::from_ca_cert_der(&self.der, key)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([NAME.to_owned(), address.to_string()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let shown = params.signed_by(&key, &issuer)?.der().clone();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok(ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![shown, self.der.clone()], key)?)
    }
}

/// Another process that makes one at the same time wins or loses whole.
fn make(path: &Path) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Corten provisioning");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let made = params.self_signed(&key)?;
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)?;
    write!(file, "{}{}", made.pem(), key.serialize_pem())?;
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
    fn an_authority_is_made_once_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("metal");
        let pin = Authority::open(&at).unwrap().pin();
        assert_eq!(pin.len(), 64);
        let again = Authority::open(&at).unwrap();
        assert_eq!(again.pin(), pin);
        let mode = fs::metadata(at.join("provisioning-authority.pem"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    /// As the stock agent compares it, which knows the authority as a file and calls an address.
    #[tokio::test]
    async fn a_door_is_believed_at_its_address_and_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path()).unwrap();
        let here = Ipv4Addr::LOCALHOST;
        let listener = TcpListener::bind((here, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/", axum::routing::get(async || "in"));
        let tls = Arc::new(authority.server(here).unwrap());
        tokio::spawn(let_in(listener, tls, routes));
        let believed = reqwest::Certificate::from_der(&authority.der).unwrap();
        let client = |believed| {
            reqwest::Client::builder()
                .tls_certs_only([believed])
                .resolve(NAME, address)
                .no_proxy()
                .build()
                .unwrap()
        };
        let get = async |client: reqwest::Client, host: &str| {
            let url = format!("https://{host}:{}/", address.port());
            client.get(url).send().await?.text().await
        };
        for host in ["127.0.0.1", NAME] {
            let said = get(client(believed.clone()), host).await.unwrap();
            assert_eq!(said, "in");
        }
        let elsewhere = tempfile::tempdir().unwrap();
        let other = Authority::open(elsewhere.path()).unwrap().der;
        let other = reqwest::Certificate::from_der(&other).unwrap();
        assert!(get(client(other), "127.0.0.1").await.is_err());
    }
}
