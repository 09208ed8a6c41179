//! The boot server of one provisioning network: opens its sockets, runs its services, stops them together.

use crate::content::Content;
use crate::dhcp::{self, Others};
use crate::directory::Directory;
use crate::event::{BootEvent, Events};
use crate::loaders::Loaders;
use crate::media::{MediaError, MediaPlan};
use crate::segment::Segment;
use crate::shelf::Shelf;
use crate::tally::Tally;
use crate::{http, no_router, tftp};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Where and as whom to serve.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file of the network namespace, as in `/run/netns`; none for the machine's own.
    pub namespace: Option<PathBuf>,
    /// The interface on the provisioning network. Nothing is served on any other.
    pub interface: String,
    /// Its address, by which servers reach this one.
    pub address: Ipv4Addr,
    pub http_port: u16,
    /// Other boot servers of the same conductor group, which are no rogues.
    pub peers: Vec<Ipv4Addr>,
    /// How often other DHCP servers are looked for by asking as a client. None: only by what passes by.
    pub probe_every: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the interface {interface} cannot be served in its network namespace")]
    Enter {
        interface: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "{service} cannot be served on {address} at {interface}: is the address on the interface, and no other server there?"
    )]
    Listen {
        service: &'static str,
        address: SocketAddrV4,
        interface: String,
        #[source]
        source: io::Error,
    },
}

/// A running boot server. It stops when it is dropped; files that are being sent over HTTP then are sent to their end.
#[derive(Debug)]
pub struct BootServer {
    http: SocketAddrV4,
    loaders: Loaders,
    services: JoinSet<()>,
    _until: oneshot::Sender<()>,
}

impl BootServer {
    /// Starts all services. What happens on the wire comes out of the receiver.
    pub async fn start(
        config: Config,
        loaders: Loaders,
        directory: Arc<dyn Directory>,
    ) -> Result<(Self, mpsc::Receiver<BootEvent>), StartError> {
        let Config {
            namespace,
            interface,
            address,
            http_port,
            peers,
            probe_every,
        } = config;
        let segment = Segment::enter(namespace.as_deref(), &interface)
            .await
            .map_err(|source| StartError::Enter {
                interface: interface.clone(),
                source,
            })?;
        let cannot = |service, ip, port| {
            let interface = interface.clone();
            move |source| StartError::Listen {
                service,
                address: SocketAddrV4::new(ip, port),
                interface,
                source,
            }
        };
        let any = Ipv4Addr::UNSPECIFIED;
        // Clients without an address ask everybody.
        let dhcp_socket = segment.udp(any, dhcp::PORT).await;
        let dhcp_socket = dhcp_socket.map_err(cannot("DHCP", any, dhcp::PORT))?;
        let frames = segment.frames_to_dhcp_clients().await;
        let frames = frames.map_err(cannot("the watch for other DHCP servers", any, 68))?;
        let tftp_socket = segment.udp(address, tftp::PORT).await;
        let tftp_socket = tftp_socket.map_err(cannot("TFTP", address, tftp::PORT))?;
        let listener = segment.tcp(address, http_port).await;
        let listener = listener.map_err(cannot("HTTP", address, http_port))?;

        let no_router = segment.neighbour_discovery().await;

        let (events, receiver) = Events::channel();
        let http = SocketAddrV4::new(address, http_port);
        let shelf = Arc::new(Shelf::new(directory, loaders.clone(), http));
        let mut services = JoinSet::new();
        services.spawn(tftp::serve(
            tftp_socket,
            tftp::Site {
                segment,
                address,
                shelf: shelf.clone(),
                events: events.clone(),
            },
        ));
        let site = http::Site {
            shelf: shelf.clone(),
            events: events.clone(),
        };
        let (until, stopped) = oneshot::channel();
        services.spawn(async move {
            if let Err(error) = http::serve(listener, site, stopped).await {
                tracing::error!(%error, "boot files are no longer served over HTTP");
            }
        });
        let site = Arc::new(dhcp::Site {
            socket: dhcp_socket,
            address,
            shelf,
            events: events.clone(),
            others: Others::new(address, peers, events),
            unknown: Tally::default(),
        });
        services.spawn(dhcp::serve(site.clone()));
        if let Some(every) = probe_every {
            services.spawn(dhcp::keep_probing(site.clone(), every));
        }
        services.spawn(async move { dhcp::watch(frames, &site.others).await });
        match no_router {
            Ok(socket) => drop(services.spawn(no_router::serve(socket))),
            Err(error) => tracing::warn!(
                interface, %error,
                "the interface has no IPv6: each start of iPXE will wait fifteen seconds for a router"
            ),
        }
        let server = Self {
            http,
            loaders,
            services,
            _until: until,
        };
        Ok((server, receiver))
    }

    /// Stops, and returns when another server can listen in its place.
    pub async fn stop(mut self) {
        self.services.shutdown().await;
    }

    /// Where a BMC finds the image that [`Directory::media`] knows by this name.
    pub fn media_url(&self, name: &str) -> String {
        format!("http://{}/media/{name}.iso", self.http)
    }

    /// The same image for who wants it as bytes, such as a BMC that it must be uploaded to.
    pub async fn image(&self, plan: &MediaPlan) -> Result<Content, MediaError> {
        plan.image(&self.loaders).await
    }
}
