//! What a known client is answered (RFC 2131 section 4.3, RFC 4578, UEFI section 24.7). Pure: a request and the directory's
//! answer in, a message and what to tell out.

use super::request::{Kind, Request};
use crate::client::Stage;
use crate::directory::{Answer, Lease};
use crate::event::BootStep;
use dhcproto::v4::{DhcpOption, DhcpOptions, Message, MessageType, Opcode, UnknownOption};
use dhcproto::{Encodable, error::EncodeError};
use std::net::{Ipv4Addr, SocketAddrV4};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// Old boot ROMs expect a message of BOOTP's length.
const MESSAGE_BYTES_MIN: usize = 300;

/// A message and where it goes.
#[derive(Debug)]
pub struct Reply {
    pub to: SocketAddrV4,
    message: Message,
}

impl Reply {
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = self.message.to_vec()?;
        bytes.resize(bytes.len().max(MESSAGE_BYTES_MIN), 0);
        Ok(bytes)
    }
}

/// Answers a request of a client that is known. Nothing is sent where the client expects nothing.
pub fn to(
    request: &Request,
    answer: &Answer,
    server: Ipv4Addr,
    boot_file: Option<&str>,
) -> (Option<Reply>, Option<BootStep>) {
    let (node, mac) = (answer.node, request.mac);
    let address = answer.lease.address.addr();
    let reply = |kind| {
        Some(message(
            kind,
            request,
            Some(&answer.lease),
            server,
            boot_file,
        ))
    };
    match request.kind {
        Kind::Discover => {
            let client = request.client;
            let step = BootStep::Discovered { node, mac, client };
            (reply(MessageType::Offer), Some(step))
        }
        Kind::Request => match request.wants.or(request.has) {
            Some(wanted) if wanted != address => {
                let step = BootStep::WrongAddress { node, mac, wanted };
                let no = message(MessageType::Nak, request, None, server, None);
                (Some(no), Some(step))
            }
            Some(_) => {
                let boot_file = boot_file.map(str::to_owned);
                let step = BootStep::Leased {
                    node,
                    mac,
                    address,
                    boot_file,
                };
                (reply(MessageType::Ack), Some(step))
            }
            None => (None, None),
        },
        Kind::Inform => (reply(MessageType::Ack), None),
        Kind::Decline => (None, Some(BootStep::Declined { node, mac, address })),
        // An address is its node's for good, so there is nothing to take back.
        Kind::Release => (None, None),
    }
}

fn message(
    kind: MessageType,
    request: &Request,
    lease: Option<&Lease>,
    server: Ipv4Addr,
    boot_file: Option<&str>,
) -> Reply {
    let informs = request.kind == Kind::Inform;
    let mut message = Message::default();
    message
        .set_opcode(Opcode::BootReply)
        .set_xid(request.xid)
        .set_flags(request.flags)
        .set_chaddr(&request.mac.0)
        .set_giaddr(request.relay.unwrap_or(Ipv4Addr::UNSPECIFIED));
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(server));
    for (code, data) in &request.echoed {
        options.insert(DhcpOption::Unknown(UnknownOption::new(*code, data.clone())));
    }
    if let Some(lease) = lease {
        add_lease(options, lease, !informs);
        if !informs {
            message.set_yiaddr(lease.address.addr());
        }
        message.set_ciaddr(request.has.unwrap_or(Ipv4Addr::UNSPECIFIED));
        add_boot_file(&mut message, request.client.stage, server, boot_file);
    }
    let to = destination(request, kind == MessageType::Nak);
    Reply { to, message }
}

/// A client without an address cannot answer ARP yet, so it is told by broadcast whether it asks for that or not.
fn destination(request: &Request, refused: bool) -> SocketAddrV4 {
    match (request.relay, request.has) {
        (Some(relay), _) => SocketAddrV4::new(relay, SERVER_PORT),
        (None, Some(address)) if !refused => SocketAddrV4::new(address, CLIENT_PORT),
        _ => SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT),
    }
}

fn add_lease(options: &mut DhcpOptions, lease: &Lease, with_times: bool) {
    options.insert(DhcpOption::SubnetMask(lease.address.netmask()));
    if let Some(gateway) = lease.gateway {
        options.insert(DhcpOption::Router(vec![gateway]));
    }
    if !lease.name_servers.is_empty() {
        options.insert(DhcpOption::DomainNameServer(lease.name_servers.clone()));
    }
    if let Some(mtu) = lease.mtu {
        options.insert(DhcpOption::InterfaceMtu(mtu));
    }
    if let Some(hostname) = &lease.hostname {
        options.insert(DhcpOption::Hostname(hostname.clone()));
    }
    if with_times {
        let secs = u32::try_from(lease.duration.as_secs()).unwrap_or(u32::MAX);
        options.insert(DhcpOption::AddressLeaseTime(secs));
    }
}

fn add_boot_file(message: &mut Message, stage: Stage, server: Ipv4Addr, file: Option<&str>) {
    let Some(file) = file else { return };
    message.set_siaddr(server);
    // Firmware reads the header, iPXE the option, and some of each only one of them.
    message.set_fname_str(file);
    let options = message.opts_mut();
    options.insert(DhcpOption::BootfileName(file.as_bytes().to_vec()));
    match stage {
        Stage::Pxe => {
            let name = server.to_string().into_bytes();
            options.insert(DhcpOption::TFTPServerName(name));
        }
        // Firmware takes a URL only from who says that it is meant for HTTP boot.
        Stage::HttpBoot => {
            options.insert(DhcpOption::ClassIdentifier(b"HTTPClient".to_vec()));
        }
        Stage::Ipxe | Stage::AddressOnly => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_model::ids::NodeId;
    use dhcproto::v4::OptionCode;
    use std::time::Duration;

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    fn answer() -> Answer {
        Answer {
            node: NodeId::random(),
            lease: Lease {
                address: "192.0.2.10/25".parse().unwrap(),
                gateway: Some([192, 0, 2, 2].into()),
                name_servers: vec![[192, 0, 2, 53].into()],
                mtu: Some(9000),
                hostname: Some("node-1".to_owned()),
                duration: Duration::from_secs(600),
            },
            boot: None,
        }
    }

    fn request(kind: MessageType, has: Option<Ipv4Addr>) -> Request {
        let mut message = Message::default();
        message.set_chaddr(&[2, 0, 0, 0, 0, 1]);
        message.set_ciaddr(has.unwrap_or(Ipv4Addr::UNSPECIFIED));
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        Request::decode(&message.to_vec().unwrap()).unwrap()
    }

    fn reply(request: &Request) -> Reply {
        to(request, &answer(), SERVER, None).0.unwrap()
    }

    #[test]
    fn all_of_a_lease_is_told() {
        let offer = reply(&request(MessageType::Discover, None)).message;
        for expected in [
            DhcpOption::SubnetMask([255, 255, 255, 128].into()),
            DhcpOption::Router(vec![[192, 0, 2, 2].into()]),
            DhcpOption::DomainNameServer(vec![[192, 0, 2, 53].into()]),
            DhcpOption::InterfaceMtu(9000),
            DhcpOption::Hostname("node-1".to_owned()),
            DhcpOption::AddressLeaseTime(600),
            DhcpOption::ServerIdentifier(SERVER),
        ] {
            assert_eq!(
                offer.opts().get(OptionCode::from(&expected)),
                Some(&expected)
            );
        }
    }

    #[test]
    fn who_has_an_address_is_told_there_and_the_others_by_broadcast() {
        let broadcast = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
        let renews = reply(&request(MessageType::Request, Some(OWN)));
        assert_eq!(renews.to, SocketAddrV4::new(OWN, 68));
        assert_eq!(reply(&request(MessageType::Discover, None)).to, broadcast);
        // One that has somebody else's address must hear the no without using it.
        let wrong = reply(&request(MessageType::Request, Some([192, 0, 2, 99].into())));
        assert_eq!(wrong.message.opts().msg_type(), Some(MessageType::Nak));
        assert_eq!(wrong.to, broadcast);
    }

    #[test]
    fn who_only_asks_is_given_no_address() {
        let informed = reply(&request(MessageType::Inform, Some(OWN)));
        assert_eq!(informed.message.yiaddr(), Ipv4Addr::UNSPECIFIED);
        let time = OptionCode::AddressLeaseTime;
        assert_eq!(informed.message.opts().get(time), None);
        for kind in [MessageType::Decline, MessageType::Release] {
            let (silence, _) = to(&request(kind, None), &answer(), SERVER, None);
            assert!(silence.is_none(), "{kind:?}");
        }
    }
}
