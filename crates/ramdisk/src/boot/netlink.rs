//! The kernel's message sockets: devices that appear, and the settings of network cards.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send,
    socket_with,
};
use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

// linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
/// NETLINK_ROUTE is the number 0, which is no number.
const ROUTE: Option<Protocol> = None;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const REPLACE: u16 = 0x100;
const CREATE: u16 = 0x400;
const ERROR: u16 = 2;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const ROUTE_OUT: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const UP: u32 = 0x1;
/// All multicast: a switch announces itself to an address that no card listens to by itself.
const ALL_MULTICAST: u32 = 0x200;

fn open(protocol: Option<Protocol>, groups: u32) -> Result<OwnedFd, Errno> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// Announcements of devices, from the moment this is opened.
pub struct Uevents(OwnedFd);

impl Uevents {
    pub fn open() -> io::Result<Self> {
        Ok(Self(open(Some(netlink::KOBJECT_UEVENT), 1)?))
    }

    /// The next announcement, or none within `patience`.
    pub fn next(&self, patience: Duration) -> io::Result<Option<HashMap<String, String>>> {
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        let mut sockets = [PollFd::new(&self.0, PollFlags::IN)];
        if poll(&mut sockets, Some(&timeout))? == 0 {
            return Ok(None);
        }
        let mut buffer = [0; 8192];
        match recv(&self.0, &mut buffer, RecvFlags::empty()) {
            Ok((length, _)) => Ok(Some(parse_event(&buffer[..length]))),
            // More came at once than the socket holds; that something happened is still true.
            Err(Errno::NOBUFS) => Ok(Some(HashMap::new())),
            Err(error) => Err(error.into()),
        }
    }
}

/// `add@/devices/…`, then `NAME=value`s, each ended by a zero.
fn parse_event(message: &[u8]) -> HashMap<String, String> {
    message
        .split(|byte| *byte == 0)
        .filter_map(|part| std::str::from_utf8(part).ok()?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Settings of network cards.
pub struct Route(OwnedFd);

impl Route {
    pub fn open() -> io::Result<Self> {
        Ok(Self(open(ROUTE, 0)?))
    }

    pub fn set_up(&self, index: u32, up: bool) -> io::Result<()> {
        self.ask(NEW_LINK, 0, link(index, up))
    }

    pub fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        self.ask(
            NEW_ADDRESS,
            CREATE | REPLACE,
            address_of(index, address, prefix),
        )
    }

    pub fn add_default_route(&self, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
        self.ask(NEW_ROUTE, CREATE | REPLACE, default_route(index, gateway))
    }

    fn ask(&self, kind: u16, flags: u16, body: Vec<u8>) -> io::Result<()> {
        send(
            &self.0,
            &message(kind, REQUEST | ACK | flags, &body),
            SendFlags::empty(),
        )?;
        let mut answer = [0; 4096];
        let (length, _) = recv(&self.0, &mut answer, RecvFlags::empty())?;
        acknowledged(&answer[..length])
    }
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + body.len());
    bytes.extend_from_slice(&(16 + body.len() as u32).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]); // sequence and sender: one question at a time
    bytes.extend_from_slice(body);
    bytes
}

/// An error message with the number 0 says yes.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    match answer {
        [
            _,
            _,
            _,
            _,
            k0,
            k1,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            e0,
            e1,
            e2,
            e3,
            ..,
        ] if u16::from_ne_bytes([*k0, *k1]) == ERROR => {
            match i32::from_ne_bytes([*e0, *e1, *e2, *e3]) {
                0 => Ok(()),
                error => Err(io::Error::from_raw_os_error(-error)),
            }
        }
        _ => Err(io::Error::other(
            "the kernel's answer is not an acknowledgement",
        )),
    }
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
}

/// `struct ifinfomsg`
fn link(index: u32, up: bool) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend_from_slice(&index.to_ne_bytes());
    body.extend_from_slice(&(if up { UP | ALL_MULTICAST } else { 0 }).to_ne_bytes());
    body.extend_from_slice(&(UP | ALL_MULTICAST).to_ne_bytes());
    body
}

/// `struct ifaddrmsg`
fn address_of(index: u32, address: Ipv4Addr, prefix: u8) -> Vec<u8> {
    let mut body = vec![AddressFamily::INET.as_raw() as u8, prefix, 0, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    attribute(&mut body, LOCAL, &address.octets());
    attribute(&mut body, ADDRESS, &address.octets());
    body
}

/// `struct rtmsg`: main table, by boot, everywhere, unicast.
fn default_route(index: u32, gateway: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![
        AddressFamily::INET.as_raw() as u8,
        0,
        0,
        0,
        254,
        3,
        0,
        1,
        0,
        0,
        0,
        0,
    ];
    attribute(&mut body, ROUTE_GATEWAY, &gateway.octets());
    attribute(&mut body, ROUTE_OUT, &index.to_ne_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_names_and_values() {
        let event = parse_event(b"add@/devices/x\0ACTION=add\0MODALIAS=virtio:d2v1\0SEQNUM=7\0");
        assert_eq!(event["MODALIAS"], "virtio:d2v1");
        assert_eq!(event.len(), 3);
    }

    #[test]
    fn a_message_says_its_length_and_a_refusal_is_an_error() {
        let body = address_of(3, Ipv4Addr::new(10, 0, 0, 9), 24);
        let bytes = message(NEW_ADDRESS, REQUEST, &body);
        assert_eq!(bytes.len(), 16 + 8 + 8 + 8);
        assert_eq!(bytes[..4], (bytes.len() as u32).to_ne_bytes());
        assert!(bytes.windows(4).any(|part| part == [10, 0, 0, 9]));

        let answer = |error: i32| {
            let mut body = error.to_ne_bytes().to_vec();
            body.extend_from_slice(&[0; 16]);
            message(ERROR, 0, &body)
        };
        assert!(acknowledged(&answer(0)).is_ok());
        let refused = acknowledged(&answer(-1)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(1));
        assert!(acknowledged(&[]).is_err());
    }
}
