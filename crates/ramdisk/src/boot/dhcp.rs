//! A DHCP client (RFC 2131) for one card and one lease: the ramdisk lives for hours, and asks for no renewal before half of
//! the lease is over.

use rand::Rng;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
/// The server is to answer by broadcast: the card has no address yet.
const BROADCAST: u16 = 0x8000;
const HEADER: usize = 240;

const FIRST_PATIENCE: Duration = Duration::from_secs(2);
const LONGEST_PATIENCE: Duration = Duration::from_secs(16);

#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    #[error("no DHCP server answers on {interface} after {tries} tries")]
    Silence { interface: String, tries: u32 },
    #[error("DHCP cannot be spoken on {interface}")]
    Socket {
        interface: String,
        #[source]
        source: io::Error,
    },
}

/// What a server gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    pub server: Ipv4Addr,
    pub seconds: u32,
}

/// A card that asks.
pub struct Client {
    interface: String,
    mac: [u8; 6],
    socket: UdpSocket,
}

impl Client {
    pub fn new(interface: &str, mac: [u8; 6]) -> Result<Self, DhcpError> {
        let socket = open(interface).map_err(|source| DhcpError::Socket {
            interface: interface.to_owned(),
            source,
        })?;
        Ok(Self {
            interface: interface.to_owned(),
            mac,
            socket,
        })
    }

    /// Asks until a server has given a lease. A switch port may take half a minute to let the first packet through.
    pub fn acquire(&self, tries: u32) -> Result<Lease, DhcpError> {
        let mut patience = FIRST_PATIENCE;
        for _ in 0..tries {
            let transaction: u32 = rand::rng().random();
            if let Some(lease) = self.try_once(transaction, patience)? {
                return Ok(lease);
            }
            patience = LONGEST_PATIENCE.min(patience * 2);
        }
        Err(DhcpError::Silence {
            interface: self.interface.clone(),
            tries,
        })
    }

    /// Asks for the same address again, as half of the lease is over.
    pub fn renew(&self, lease: &Lease) -> Result<Option<Lease>, DhcpError> {
        let transaction: u32 = rand::rng().random();
        self.send(&encode(REQUEST, transaction, self.mac, Some(lease)))?;
        self.receive(transaction, ACK, LONGEST_PATIENCE)
    }

    fn try_once(&self, transaction: u32, patience: Duration) -> Result<Option<Lease>, DhcpError> {
        self.send(&encode(DISCOVER, transaction, self.mac, None))?;
        let Some(offer) = self.receive(transaction, OFFER, patience)? else {
            return Ok(None);
        };
        self.send(&encode(REQUEST, transaction, self.mac, Some(&offer)))?;
        self.receive(transaction, ACK, patience)
    }

    fn send(&self, packet: &[u8]) -> Result<(), DhcpError> {
        let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
        match self.socket.send_to(packet, everybody) {
            // The cable's light is not on yet.
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => Ok(()),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn receive(
        &self,
        transaction: u32,
        kind: u8,
        patience: Duration,
    ) -> Result<Option<Lease>, DhcpError> {
        let until = Instant::now() + patience;
        let mut buffer = [0; 1500];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket
                .set_read_timeout(Some(left))
                .map_err(|source| self.failed(source))?;
            match self.socket.recv(&mut buffer) {
                Ok(length) => match decode(&buffer[..length], transaction) {
                    Some((got, lease)) if got == kind => return Ok(lease),
                    Some((NAK, _)) => return Ok(None),
                    _ => {}
                },
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) => {}
                Err(source) => return Err(self.failed(source)),
            }
        }
    }

    fn failed(&self, source: io::Error) -> DhcpError {
        DhcpError::Socket {
            interface: self.interface.clone(),
            source,
        }
    }
}

fn open(interface: &str) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    let everywhere: SocketAddr = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68).into();
    socket.bind(&everywhere.into())?;
    Ok(socket.into())
}

fn encode(kind: u8, transaction: u32, mac: [u8; 6], wanted: Option<&Lease>) -> Vec<u8> {
    let mut packet = vec![0; HEADER];
    packet[0] = 1; // a request
    packet[1] = 1; // Ethernet
    packet[2] = 6;
    packet[4..8].copy_from_slice(&transaction.to_be_bytes());
    packet[10..12].copy_from_slice(&BROADCAST.to_be_bytes());
    packet[28..34].copy_from_slice(&mac);
    packet[236..240].copy_from_slice(&COOKIE);
    packet.extend_from_slice(&[53, 1, kind]);
    if let Some(lease) = wanted {
        packet.extend_from_slice(&[50, 4]);
        packet.extend_from_slice(&lease.address.octets());
        packet.extend_from_slice(&[54, 4]);
        packet.extend_from_slice(&lease.server.octets());
    }
    // Netmask, gateway, name servers, lease time.
    packet.extend_from_slice(&[55, 4, 1, 3, 6, 51]);
    packet.push(255);
    // Old relays pass on nothing shorter (RFC 1542, 2.1).
    packet.resize(packet.len().max(300), 0);
    packet
}

/// The message's kind, and the lease where it names one.
fn decode(packet: &[u8], transaction: u32) -> Option<(u8, Option<Lease>)> {
    if packet.len() < HEADER
        || packet[0] != 2
        || packet[4..8] != transaction.to_be_bytes()
        || packet[236..240] != COOKIE
    {
        return None;
    }
    let option = |wanted: u8| {
        options(&packet[HEADER..])
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let addresses = |wanted: u8| -> Vec<Ipv4Addr> {
        option(wanted)
            .unwrap_or_default()
            .chunks_exact(4)
            .map(|octets| Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]))
            .collect()
    };
    let address = Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
    let lease = addresses(54).first().map(|server| Lease {
        address,
        prefix: addresses(1)
            .first()
            .map_or(24, |mask| mask.to_bits().leading_ones() as u8),
        gateway: addresses(3).first().copied(),
        dns: addresses(6),
        server: *server,
        seconds: option(51)
            .and_then(|value| value.try_into().ok())
            .map_or(3600, u32::from_be_bytes),
    });
    Some((
        *option(53)?.first()?,
        lease.filter(|lease| !lease.address.is_unspecified()),
    ))
}

/// Kind and value of each option, as far as they are whole.
fn options(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        loop {
            match bytes {
                [0, rest @ ..] => bytes = rest,
                [kind, length, rest @ ..] if *kind != 255 => {
                    let (value, after) = rest.split_at_checked(usize::from(*length))?;
                    bytes = after;
                    return Some((*kind, value));
                }
                _ => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u8, transaction: u32) -> Vec<u8> {
        let mut packet = vec![0; HEADER];
        packet[0] = 2;
        packet[4..8].copy_from_slice(&transaction.to_be_bytes());
        packet[16..20].copy_from_slice(&[10, 0, 2, 15]);
        packet[236..240].copy_from_slice(&COOKIE);
        packet.extend_from_slice(&[53, 1, kind, 0, 1, 4, 255, 255, 255, 128, 3, 4, 10, 0, 2, 2]);
        packet.extend_from_slice(&[
            6, 8, 10, 0, 2, 3, 8, 8, 8, 8, 51, 4, 0, 1, 0x51, 0x80, 54, 4, 10, 0, 2, 2, 255,
        ]);
        packet
    }

    #[test]
    fn an_answer_holds_the_lease() {
        let (kind, lease) = decode(&answer(ACK, 7), 7).unwrap();
        assert_eq!(kind, ACK);
        assert_eq!(
            lease,
            Some(Lease {
                address: Ipv4Addr::new(10, 0, 2, 15),
                prefix: 25,
                gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
                dns: vec![Ipv4Addr::new(10, 0, 2, 3), Ipv4Addr::new(8, 8, 8, 8)],
                server: Ipv4Addr::new(10, 0, 2, 2),
                seconds: 86_400,
            })
        );
    }

    #[test]
    fn answers_to_others_and_broken_ones_are_passed_over() {
        let whole = answer(OFFER, 7);
        assert_eq!(decode(&whole, 8), None);
        for length in 0..whole.len() {
            // It must not panic; what is cut off within its options may still say its kind.
            decode(&whole[..length], 7);
        }
    }

    #[test]
    fn a_request_asks_for_what_was_offered() {
        let (_, lease) = decode(&answer(OFFER, 7), 7).unwrap();
        let packet = encode(REQUEST, 9, [2, 0, 0, 0, 0, 1], lease.as_ref());
        let got: Vec<(u8, &[u8])> = options(&packet[HEADER..]).collect();
        assert_eq!(got[0], (53, &[REQUEST][..]));
        assert_eq!(got[1], (50, &[10, 0, 2, 15][..]));
        assert_eq!(packet[28..34], [2, 0, 0, 0, 0, 1]);
        assert!(packet.len() >= 300);
    }
}
