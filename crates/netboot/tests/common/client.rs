//! A client that speaks by script: DHCP as firmware does, and TFTP.

use corten_model::mac::Mac;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode, UnknownOption, borrowed};
use dhcproto::{Decodable, Decoder, Encodable};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

pub const LIMIT: Duration = Duration::from_secs(10);

/// What a client says of itself.
#[derive(Debug, Clone, Default)]
pub struct Says {
    pub mac: String,
    pub architecture: Option<u16>,
    pub vendor_class: &'static str,
    pub user_class: &'static str,
    pub ipxe: &'static [u8],
}

/// A BIOS card that asks for PXE.
pub fn bios(mac: &str) -> Says {
    Says {
        mac: mac.to_owned(),
        architecture: Some(0),
        vendor_class: "PXEClient:Arch:00000:UNDI:002001",
        ..Says::default()
    }
}

/// A UDP socket that needs no address, as firmware has none. To be made inside of a namespace.
pub fn socket(interface: &str, port: u16) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.bind_device(Some(interface.as_bytes())).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    socket.bind(&address.into()).unwrap();
    UdpSocket::from_std(socket.into()).unwrap()
}

pub fn message(kind: MessageType, says: &Says, more: Vec<DhcpOption>) -> Message {
    let mac: Mac = says.mac.parse().unwrap();
    let mut message = Message::default();
    message
        .set_flags(Flags::default().set_broadcast())
        .set_chaddr(&mac.0);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    if let Some(number) = says.architecture {
        options.insert(DhcpOption::ClientSystemArchitecture(number.into()));
    }
    if !says.vendor_class.is_empty() {
        let class = says.vendor_class.as_bytes().to_vec();
        options.insert(DhcpOption::ClassIdentifier(class));
    }
    if !says.user_class.is_empty() {
        options.insert(DhcpOption::UserClass(says.user_class.as_bytes().to_vec()));
        let features = UnknownOption::new(OptionCode::from(175), says.ipxe.to_vec());
        options.insert(DhcpOption::Unknown(features));
    }
    for option in more {
        options.insert(option);
    }
    message
}

/// Broadcasts a message and waits for the answer to it.
pub async fn ask(socket: &UdpSocket, message: &Message) -> Message {
    let everybody = (Ipv4Addr::BROADCAST, 67);
    let bytes = message.to_vec().unwrap();
    socket.send_to(&bytes, everybody).await.unwrap();
    answer_to(socket, message.xid()).await
}

pub async fn answer_to(socket: &UdpSocket, xid: u32) -> Message {
    let mut buffer = [0; 1500];
    loop {
        let received = timeout(LIMIT, socket.recv(&mut buffer)).await;
        let length = received.expect("an answer comes").unwrap();
        if borrowed::Message::new(&buffer[..length]).unwrap().xid() == xid {
            return Message::decode(&mut Decoder::new(&buffer[..length])).unwrap();
        }
    }
}

pub fn boot_file(message: &Message) -> Option<String> {
    match message.opts().get(OptionCode::BootfileName) {
        Some(DhcpOption::BootfileName(name)) => Some(String::from_utf8(name.clone()).unwrap()),
        _ => None,
    }
}

/// Fetches by TFTP, with the options of a boot ROM.
pub async fn tftp(socket: &UdpSocket, server: Ipv4Addr, file: &str) -> Result<Vec<u8>, String> {
    let request = format!("\0\x01{file}\0octet\0blksize\x001456\0tsize\x000\0");
    let to = (server, 69);
    socket.send_to(request.as_bytes(), to).await.unwrap();
    let mut content = Vec::new();
    let mut size = None;
    let mut buffer = [0; 2048];
    loop {
        let received = timeout(LIMIT, socket.recv_from(&mut buffer)).await;
        let (length, peer) = received.expect("TFTP answers").unwrap();
        let packet = &buffer[..length];
        let block = [packet[2], packet[3]];
        match packet[1] {
            3 => content.extend_from_slice(&packet[4..]),
            6 => {
                let text = String::from_utf8_lossy(&packet[2..]).into_owned();
                let mut words = text.split('\0');
                words.find(|word| *word == "tsize").unwrap();
                size = words.next().unwrap().parse().ok();
                assert!(text.contains("blksize\x001456\0"), "{text:?}");
            }
            _ => return Err(String::from_utf8_lossy(&packet[4..length - 1]).into_owned()),
        }
        let block = if packet[1] == 6 { [0, 0] } else { block };
        let acknowledged = [0, 4, block[0], block[1]];
        socket.send_to(&acknowledged, peer).await.unwrap();
        if packet[1] == 3 && length < 1456 + 4 {
            assert_eq!(size, Some(content.len()), "tsize tells the length");
            return Ok(content);
        }
    }
}
