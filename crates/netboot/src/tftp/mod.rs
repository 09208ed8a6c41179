//! Gives out boot loaders by TFTP (RFC 1350), with the options that firmware asks for: block size (RFC 2348), size and
//! timeout (RFC 2349), and windows (RFC 7440).
//!
//! It is our own because each transfer has a socket of its own, which must be opened in the segment's namespace and on its
//! interface: `docs/decisions/0011-own-tftp-and-iso.md`.

pub mod packet;
mod transfer;

use crate::event::{BootStep, Events, Transport};
use crate::segment::Segment;
use crate::shelf::{Found, Shelf};
use packet::{Packet, Request};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use transfer::{Outcome, Terms};

pub(crate) const PORT: u16 = 69;
/// More at once wait for the client's next try.
const TRANSFERS_MAX: usize = 512;
/// Loaders are read into memory to be sent; kernels go by HTTP.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Clone)]
pub(crate) struct Site {
    pub segment: Segment,
    pub address: Ipv4Addr,
    pub shelf: Arc<Shelf>,
    pub events: Events,
}

/// Serves until it is dropped; transfers that run then end with it.
pub(crate) async fn serve(socket: UdpSocket, site: Site) {
    let room = Arc::new(Semaphore::new(TRANSFERS_MAX));
    let mut transfers = tokio::task::JoinSet::new();
    let mut buffer = [0; packet::REQUEST_BYTES_MAX];
    loop {
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "a TFTP request was not received");
                continue;
            }
        };
        while transfers.try_join_next().is_some() {}
        let (Some(Packet::Read(request)), Ok(place)) = (
            Packet::decode(&buffer[..length]),
            room.clone().try_acquire_owned(),
        ) else {
            continue;
        };
        let site = site.clone();
        transfers.spawn(async move {
            let _place = place;
            if let Err(error) = site.transfer(request, peer).await {
                tracing::warn!(%peer, %error, "a TFTP transfer could not be made");
            }
        });
    }
}

impl Site {
    async fn transfer(&self, request: Request, peer: SocketAddr) -> std::io::Result<()> {
        // The peer answers to the port that it is answered from: a new one for each transfer.
        let socket = self.segment.udp(self.address, 0).await?;
        socket.connect(peer).await?;
        let path = request.file.trim_start_matches('/');
        let found = match self.shelf.find(path, peer.ip()).await {
            Ok(found) if found.content.length() <= FILE_BYTES_MAX => found,
            Ok(_) => return refuse(&socket, "the file is too large for TFTP: use HTTP").await,
            Err(missing) => {
                tracing::warn!(path, %peer, cause = ?missing, "a boot file is not given: {missing}");
                return refuse(&socket, &missing.to_string()).await;
            }
        };
        let bytes = found.content.read().await?;
        let terms = Terms::agreed(&request.options, bytes.len() as u64);
        let started = Instant::now();
        let outcome = transfer::send(&socket, &bytes, &terms).await;
        self.report(found, peer.ip(), outcome, started);
        Ok(())
    }

    fn report(&self, found: Found, from: IpAddr, outcome: Outcome, started: Instant) {
        let Found { node, file, .. } = found;
        let by = Transport::Tftp;
        self.events.tell(match outcome {
            Outcome::Whole { bytes } => BootStep::Fetched {
                node,
                file,
                by,
                from,
                bytes,
                took: started.elapsed(),
            },
            Outcome::SizeOnly => return,
            Outcome::Broken { bytes, why } => BootStep::Broken {
                node,
                file,
                by,
                from,
                bytes,
                why,
            },
        });
    }
}

async fn refuse(socket: &UdpSocket, why: &str) -> std::io::Result<()> {
    socket.send(&packet::error(packet::NOT_FOUND, why)).await?;
    Ok(())
}
