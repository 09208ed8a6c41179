//! What happened on the wire, as a stream from which the floor above writes each node's boot timeline.

use crate::client::Client;
use corten_model::ids::NodeId;
use corten_model::mac::Mac;
use corten_model::time::Timestamp;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// So many wait to be read; the boots of a few hundred nodes at once.
const WAITING_MAX: usize = 4096;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEvent {
    pub at: Timestamp,
    pub step: BootStep,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootStep {
    /// A known client looks for an address: the first sign that a server came up.
    Discovered {
        node: NodeId,
        mac: Mac,
        client: Client,
    },
    /// It took its address, and was told this boot file.
    Leased {
        node: NodeId,
        mac: Mac,
        address: Ipv4Addr,
        boot_file: Option<String>,
    },
    /// It was told to boot, and there is no loader for its architecture, or none that its firmware would start.
    NoLoader {
        node: NodeId,
        mac: Mac,
        client: Client,
    },
    /// It wanted an address that is not its own, and was told no.
    WrongAddress {
        node: NodeId,
        mac: Mac,
        wanted: Ipv4Addr,
    },
    /// It found its address in use by somebody else.
    Declined {
        node: NodeId,
        mac: Mac,
        address: Ipv4Addr,
    },
    /// A file went out whole. `node` is none for virtual media, which is asked for by a BMC; `file` then is its name.
    Fetched {
        node: Option<NodeId>,
        file: String,
        by: Transport,
        from: IpAddr,
        bytes: u64,
        took: Duration,
    },
    /// A file went out in part. A client that only looked at its size, or that asked for a range, is not meant.
    Broken {
        node: Option<NodeId>,
        file: String,
        by: Transport,
        from: IpAddr,
        bytes: u64,
        why: String,
    },
    /// A client that nobody knows has asked so often, and got nothing. Told at the first time and whenever it has doubled.
    Unknown { mac: Mac, times: u64 },
    /// Another DHCP server is on the segment. Told as [`BootStep::Unknown`] is, and again of a client that it was not told of for a
    /// minute.
    Rogue {
        /// What it calls itself (option 54).
        server: Ipv4Addr,
        seen: Sighting,
        times: u64,
    },
    /// The reader of this stream was too slow, and so many events before this one are gone.
    Missed { events: u64 },
}

/// How another DHCP server was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// Its offer passed by.
    Offer {
        /// The Ethernet address that it came from: the server's, or its router's.
        from: Mac,
        /// Who it was for; the probe's own if it was an answer to it.
        to: Mac,
        offered: Ipv4Addr,
    },
    /// A client said in its request that it had chosen it.
    Choice { by: Mac, address: Option<Ipv4Addr> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tftp,
    Http,
}

/// Where events are told. Telling never waits.
#[derive(Debug, Clone)]
pub struct Events {
    sender: mpsc::Sender<BootEvent>,
    missed: Arc<AtomicU64>,
}

impl Events {
    pub fn channel() -> (Self, mpsc::Receiver<BootEvent>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let missed = Arc::default();
        (Self { sender, missed }, receiver)
    }

    pub(crate) fn tell(&self, step: BootStep) {
        let missed = self.missed.swap(0, Ordering::Relaxed);
        if missed > 0 && !self.send(BootStep::Missed { events: missed }) {
            self.missed.fetch_add(missed, Ordering::Relaxed);
        }
        if !self.send(step) {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn send(&self, step: BootStep) -> bool {
        let at = now();
        !matches!(
            self.sender.try_send(BootEvent { at, step }),
            Err(mpsc::error::TrySendError::Full(_))
        )
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(since.as_micros().min(i64::MAX as u128) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_is_told_how_much_it_missed() {
        let (events, mut receiver) = Events::channel();
        let step = |times| BootStep::Unknown {
            mac: Mac([2; 6]),
            times,
        };
        for times in 0..WAITING_MAX as u64 + 3 {
            events.tell(step(times));
        }
        while receiver.try_recv().is_ok() {}
        events.tell(step(7));
        assert_eq!(
            receiver.try_recv().unwrap().step,
            BootStep::Missed { events: 3 }
        );
        assert_eq!(receiver.try_recv().unwrap().step, step(7));
    }
}
