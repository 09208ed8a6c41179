//! Notices other DHCP servers: by their offers that reach this interface, and by a probe that no server of ours answers.
//!
//! A switch shows nobody an offer that goes to one station. So the probe asks as a client that wants its answer by broadcast.

use super::Others;
use super::request::Offer;
use crate::event::Sighting;
use corten_model::mac::Mac;
use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode};
use std::io;
use std::net::Ipv4Addr;
use tokio::net::UdpSocket;

/// Who the probe asks for: of the locally administered addresses, so that it is no card's own.
pub(super) const PROBE_MAC: Mac = Mac([0x02, 0xc0, 0x47, 0xe4, 0x00, 0x00]);

const FRAME_BYTES_MAX: usize = 2048;
const ETHERNET_BYTES: usize = 14;
const UDP_BYTES: usize = 8;

/// Tells of other servers, by the frames of a segment that are for DHCP clients, until it is dropped.
pub(crate) async fn watch(frames: UdpSocket, others: &Others) {
    let mut frame = [0; FRAME_BYTES_MAX];
    loop {
        // An interface that goes down is told as an error, once.
        let Ok(length) = frames.recv(&mut frame).await else {
            continue;
        };
        if let Some((from, offer)) = offer_in(&frame[..length]) {
            let Offer {
                server,
                to,
                offered,
            } = offer;
            others.noticed(server, Sighting::Offer { from, to, offered });
        }
    }
}

/// The offer that an Ethernet frame carries, and the address that the frame came from.
pub(super) fn offer_in(frame: &[u8]) -> Option<(Mac, Offer)> {
    let from = frame.get(6..12)?.try_into().ok().map(Mac)?;
    let packet = frame.get(ETHERNET_BYTES..)?;
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    let datagram = packet.get(header_bytes..)?;
    let offer = Offer::decode(datagram.get(UDP_BYTES..)?)?;
    Some((from, offer))
}

/// Asks the whole segment for an address.
pub(crate) async fn probe(socket: &UdpSocket) -> io::Result<()> {
    let mut message = Message::default();
    message
        .set_flags(Flags::default().set_broadcast())
        .set_chaddr(&PROBE_MAC.0);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(MessageType::Discover));
    let wanted = vec![OptionCode::SubnetMask, OptionCode::Router];
    options.insert(DhcpOption::ParameterRequestList(wanted));
    let bytes = message.to_vec().map_err(io::Error::other)?;
    let everybody = (Ipv4Addr::BROADCAST, super::PORT);
    socket.send_to(&bytes, everybody).await.map(drop)
}
