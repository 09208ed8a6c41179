//! DHCP for those that are known, and an eye on those who also answer.

pub mod reply;
pub mod request;
mod rogue;

use crate::client::Stage;
use crate::directory::{Answer, Asker};
use crate::event::{BootStep, Events, Sighting};
use crate::shelf::Shelf;
use crate::tally::Tally;
use corten_model::mac::Mac;
use request::{Kind, Request};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use rogue::probe;
pub(crate) use rogue::watch;

pub(crate) const PORT: u16 = 67;
/// What an Ethernet frame can carry, and more than any client sends.
const DATAGRAM_BYTES_MAX: usize = 1500;
/// A client that another server answers is told of again after so long, so that each of its boots has it in its timeline.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// More questions at once wait for the client's next try.
const QUESTIONS_MAX: usize = 256;

/// What the server knows of itself and of its kind.
pub(crate) struct Site {
    pub socket: UdpSocket,
    pub address: Ipv4Addr,
    pub shelf: Arc<Shelf>,
    pub events: Events,
    pub others: Others,
    pub unknown: Tally<Mac>,
}

/// The other DHCP servers of the segment: which may be there, and how often which that may not was seen.
pub(crate) struct Others {
    own: Ipv4Addr,
    peers: Vec<Ipv4Addr>,
    seen: Tally<(Ipv4Addr, Mac)>,
    events: Events,
}

impl Others {
    pub fn new(own: Ipv4Addr, peers: Vec<Ipv4Addr>, events: Events) -> Self {
        Self {
            own,
            peers,
            seen: Tally::default(),
            events,
        }
    }

    fn noticed(&self, server: Ipv4Addr, seen: Sighting) {
        if server == self.own || self.peers.contains(&server) {
            return;
        }
        let client = match seen {
            Sighting::Offer { to, .. } => to,
            Sighting::Choice { by, .. } => by,
        };
        let key = (server, client);
        let told = if client == rogue::PROBE_MAC {
            self.seen.count(key)
        } else {
            self.seen.count_again(key, TOLD_AGAIN_AFTER)
        };
        if let Some(times) = told {
            tracing::warn!(%server, ?seen, times, "another DHCP server is on the provisioning network");
            self.events.tell(BootStep::Rogue {
                server,
                seen,
                times,
            });
        }
    }
}

/// Serves until it is dropped.
pub(crate) async fn serve(site: Arc<Site>) {
    let room = Arc::new(Semaphore::new(QUESTIONS_MAX));
    let mut questions = JoinSet::new();
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    loop {
        let length = match site.socket.recv_from(&mut buffer).await {
            Ok((length, _)) => length,
            Err(error) => {
                tracing::debug!(%error, "a DHCP message was not received");
                continue;
            }
        };
        while questions.try_join_next().is_some() {}
        let Some(request) = Request::decode(&buffer[..length]) else {
            continue;
        };
        // A server's broadcasts come back to it.
        if request.mac == rogue::PROBE_MAC {
            continue;
        }
        if let Ok(place) = room.clone().try_acquire_owned() {
            let site = site.clone();
            questions.spawn(async move {
                let _place = place;
                site.answer(request).await;
            });
        }
    }
}

impl Site {
    async fn answer(&self, request: Request) {
        if let Some(server) = request.chosen.filter(|&server| server != self.address) {
            let seen = Sighting::Choice {
                by: request.mac,
                address: request.wants.or(request.has),
            };
            return self.others.noticed(server, seen);
        }
        let asker = Asker {
            mac: request.mac,
            architecture: request.client.architecture,
            relay: request.relay,
            begins_boot: request.begins_boot(),
        };
        match self.shelf.directory().find(asker).await {
            Ok(Some(answer)) => {
                if let Err(error) = self.tell(&request, &answer).await {
                    tracing::warn!(mac = %request.mac, %error, "a DHCP answer could not be sent");
                }
            }
            Ok(None) => {
                let mac = request.mac;
                if let Some(times) = self.unknown.count(mac) {
                    tracing::info!(%mac, times, "a client that nobody knows asks for an address");
                    self.events.tell(BootStep::Unknown { mac, times });
                }
            }
            Err(error) => {
                tracing::warn!(mac = %request.mac, cause = ?error, "no DHCP answer: {error}");
            }
        }
    }

    async fn tell(&self, request: &Request, answer: &Answer) -> io::Result<()> {
        let boot_file = self.boot_file(request, answer);
        let (reply, step) = reply::to(request, answer, self.address, boot_file.as_deref());
        if let Some(step) = step {
            self.events.tell(step);
        }
        if let Some(reply) = reply {
            let bytes = reply.encode().map_err(io::Error::other)?;
            self.socket.send_to(&bytes, reply.to).await?;
        }
        Ok(())
    }

    fn boot_file(&self, request: &Request, answer: &Answer) -> Option<String> {
        let boot = answer.boot.as_ref()?;
        if request.client.stage == Stage::AddressOnly {
            return None;
        }
        let file = self.shelf.boot_file(request.mac, request.client, boot);
        if file.is_none() && request.kind == Kind::Discover {
            self.events.tell(BootStep::NoLoader {
                node: answer.node,
                mac: request.mac,
                client: request.client,
            });
        }
        file
    }
}

/// Sends a probe now and then.
pub(crate) async fn keep_probing(site: Arc<Site>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        if let Err(error) = probe(&site.socket).await {
            tracing::warn!(%error, "other DHCP servers could not be probed for");
        }
    }
}
