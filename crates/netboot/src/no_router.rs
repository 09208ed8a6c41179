//! Tells clients at once that there is no IPv6 router here (RFC 4861, section 6.2.6).
//!
//! iPXE configures IPv4 and IPv6 together and waits for a router for fifteen seconds, at each of its starts, though all that it
//! needs is there. An advertisement of a router with no lifetime, no prefix and no flags ends the wait and changes nothing
//! else: nobody takes a route or an address from it.

use std::net::{Ipv6Addr, SocketAddrV6};
use tokio::net::UdpSocket;

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Type, code, a checksum that the kernel fills in, and then: no hop limit, no flags, no lifetime, no times.
const ADVERTISEMENT: [u8; 16] = [
    ROUTER_ADVERTISEMENT,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
];

/// Answers whoever looks for a router, until it is dropped.
pub(crate) async fn serve((socket, interface_index): (UdpSocket, u32)) {
    let everybody = SocketAddrV6::new(ALL_NODES, 0, 0, interface_index);
    let mut message = [0; 1500];
    loop {
        // An interface that goes down is told as an error, once.
        let Ok(length) = socket.recv(&mut message).await else {
            continue;
        };
        if message[..length].first() == Some(&ROUTER_SOLICITATION)
            && let Err(error) = socket.send_to(&ADVERTISEMENT, everybody).await
        {
            tracing::debug!(%error, "no IPv6 router could not be told");
        }
    }
}
