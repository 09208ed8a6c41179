//! A DHCP client's message, as far as it is looked at.
//!
//! It is read through `dhcproto`'s borrowed message, which hands out options as bytes. Its owned one decodes every option, and
//! a client that says that its hardware address has 200 bytes, or that fills option 94 wrongly, can end that with a panic.

use crate::client::{Client, Stage};
use corten_model::mac::Mac;
use dhcproto::v4::{self, HType, OptionCode, borrowed};
use std::net::Ipv4Addr;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub kind: Kind,
    pub mac: Mac,
    pub client: Client,
    pub(crate) xid: u32,
    pub(crate) flags: v4::Flags,
    /// The address that it has already (`ciaddr`).
    pub(crate) has: Option<Ipv4Addr>,
    /// The address that it would like (option 50).
    pub(crate) wants: Option<Ipv4Addr>,
    /// The server that it has chosen (option 54).
    pub(crate) chosen: Option<Ipv4Addr>,
    /// The relay that it came through (`giaddr`).
    pub(crate) relay: Option<Ipv4Addr>,
    /// What must go back as it came: the relay's own information (RFC 3046) and the machine's identifier (RFC 4578).
    pub(crate) echoed: Vec<(OptionCode, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Discover,
    Request,
    Decline,
    Release,
    Inform,
}

/// A server's offer, as it passes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    pub server: Ipv4Addr,
    pub to: Mac,
    pub offered: Ipv4Addr,
}

const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;
const OFFER: u8 = 2;

impl Request {
    /// None for what is malformed, of another link layer, or not from a client.
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        let message = Message::read(datagram, BOOT_REQUEST)?;
        let kind = match message.kind? {
            1 => Kind::Discover,
            3 => Kind::Request,
            4 => Kind::Decline,
            7 => Kind::Release,
            8 => Kind::Inform,
            _ => return None,
        };
        let option = |code| message.option(code);
        let client = Client::from_options(
            option(OptionCode::ClientSystemArchitecture),
            option(OptionCode::ClassIdentifier),
            option(OptionCode::UserClass),
            option(OptionCode::from(175)),
        );
        let echoed = [
            OptionCode::RelayAgentInformation,
            OptionCode::ClientMachineIdentifier,
        ];
        Some(Self {
            kind,
            mac: message.mac,
            client,
            xid: message.fixed.xid(),
            flags: message.fixed.flags(),
            has: specified(message.fixed.ciaddr()),
            wants: option(OptionCode::RequestedIpAddress).and_then(address),
            chosen: option(OptionCode::ServerIdentifier).and_then(address),
            relay: specified(message.fixed.giaddr()),
            echoed: echoed
                .into_iter()
                .filter_map(|code| Some((code, message.option(code)?.to_vec())))
                .collect(),
        })
    }

    /// Whether it looks for an address in order to boot over the network.
    pub fn begins_boot(&self) -> bool {
        self.kind == Kind::Discover && self.client.stage != Stage::AddressOnly
    }
}

impl Offer {
    /// None for what is malformed, or no offer.
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        let message = Message::read(datagram, BOOT_REPLY)?;
        if message.kind? != OFFER {
            return None;
        }
        let named = message.option(OptionCode::ServerIdentifier);
        Some(Self {
            server: named.and_then(address)?,
            to: message.mac,
            offered: message.fixed.yiaddr(),
        })
    }
}

struct Message<'a> {
    fixed: borrowed::Message<'a>,
    mac: Mac,
    kind: Option<u8>,
    options: Vec<(OptionCode, Vec<u8>)>,
}

impl<'a> Message<'a> {
    fn read(datagram: &'a [u8], direction: u8) -> Option<Self> {
        let fixed = borrowed::Message::new(datagram).ok()?;
        if u8::from(fixed.opcode()) != direction || fixed.htype() != HType::Eth {
            return None;
        }
        // Its length is the sender's word, and would be taken for it.
        if fixed.hlen() != 6 {
            return None;
        }
        let mac = Mac(fixed.chaddr().try_into().ok()?);
        let options: Vec<_> = fixed
            .opts()
            .map(|option| (option.code(), option.data().to_vec()))
            .collect();
        let mut message = Self {
            fixed,
            mac,
            kind: None,
            options,
        };
        message.kind = message
            .option(OptionCode::MessageType)
            .and_then(|bytes| bytes.first().copied());
        Some(message)
    }

    fn option(&self, code: OptionCode) -> Option<&[u8]> {
        self.options
            .iter()
            .find(|(other, _)| *other == code)
            .map(|(_, data)| data.as_slice())
    }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.try_into().ok()?;
    Some(octets.into())
}

fn specified(address: Ipv4Addr) -> Option<Ipv4Addr> {
    Some(address).filter(|address| !address.is_unspecified())
}
