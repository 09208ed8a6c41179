//! Whatever comes over the wire, nothing panics, and what is read is what was written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::client::{Says, ask, message, socket};
use common::{Lab, SERVER, inside, lease};
use corten_model::ids::NodeId;
use corten_netboot::Answer;
use corten_netboot::dhcp::reply;
use corten_netboot::dhcp::request::{Kind, Offer, Request};
use corten_netboot::tftp::packet::Packet;
use dhcproto::Encodable;
use dhcproto::v4::{MessageType, OptionCode, borrowed};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::Ipv4Addr;

/// A message whose fixed part is right, with any options.
fn with_options(options: &[u8]) -> Vec<u8> {
    let says = Says {
        mac: "52:54:00:77:00:10".to_owned(),
        ..Says::default()
    };
    let mut bytes = message(MessageType::Discover, &says, vec![])
        .to_vec()
        .unwrap();
    // The final option's place is taken.
    bytes.pop();
    bytes.extend(options);
    bytes
}

fn option() -> impl Strategy<Value = Vec<u8>> {
    let known = prop_oneof![
        Just(50),
        Just(53),
        Just(54),
        Just(60),
        Just(77),
        Just(82),
        Just(93),
        Just(97),
        Just(121),
        Just(175),
        any::<u8>()
    ];
    (known, vec(any::<u8>(), 0..40), any::<Option<u8>>()).prop_map(|(code, data, lie)| {
        let length = lie.unwrap_or(data.len() as u8);
        [vec![code, length], data].concat()
    })
}

fn answer() -> Answer {
    Answer {
        node: NodeId::random(),
        lease: lease("10.77.0.60/24"),
        boot: None,
    }
}

/// All that is done with a datagram.
fn digest(datagram: &[u8]) {
    Packet::decode(datagram);
    Offer::decode(datagram);
    let Some(request) = Request::decode(datagram) else {
        return;
    };
    let (reply, _) = reply::to(&request, &answer(), SERVER, Some("boot/x"));
    if let Some(reply) = reply {
        let bytes = reply.encode().unwrap();
        let read = borrowed::Message::new(&bytes).unwrap();
        assert!(
            read.opts()
                .any(|option| option.code() == OptionCode::MessageType)
        );
        assert_eq!(read.chaddr(), request.mac.0);
    }
}

proptest! {
    #[test]
    fn any_datagram_is_digested(datagram in vec(any::<u8>(), 0..1500)) {
        digest(&datagram);
    }

    #[test]
    fn any_options_are_digested(options in vec(option(), 0..12)) {
        digest(&with_options(&options.concat()));
    }

    #[test]
    fn any_change_to_a_message_is_digested(at in 0_usize..300, to: u8, cut in 0_usize..300) {
        let mut bytes = with_options(&[93, 2, 0, 7, 60, 9, b'P', b'X', b'E', b'C', b'l', b'i', b'e', b'n', b't', 255]);
        let length = bytes.len();
        bytes[at % length] = to;
        bytes.truncate(length - cut % length);
        digest(&bytes);
    }

    #[test]
    fn a_request_reads_what_a_client_wrote(mac: [u8; 6], architecture: u16) {
        let mac = corten_model::mac::Mac(mac);
        let says = Says { mac: mac.to_string(), architecture: Some(architecture), ..Says::default() };
        let bytes = message(MessageType::Discover, &says, vec![]).to_vec().unwrap();
        let read = Request::decode(&bytes).unwrap();
        prop_assert_eq!((read.kind, read.mac), (Kind::Discover, mac));
        let expected = corten_netboot::Architecture::from_option(architecture);
        prop_assert_eq!(read.client.architecture, Some(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_sent_rubbish_still_answers() {
    let lab = Lab::new().await;
    lab.know("52:54:00:77:00:10", "10.77.0.60/24", None);
    inside(&lab.station, || async {
        let socket = socket("eth0", 68);
        let rubbish = [
            vec![],
            vec![1],
            vec![0xff; 1472],
            // What a decoder of all there is stumbles over: an interface type of one byte, an address of 200.
            with_options(&[94, 1, 1, 255]),
            {
                let mut long = with_options(&[255]);
                long[2] = 200;
                long
            },
            with_options(&[82, 200, 1]),
            with_options(&[93, 0, 94, 1, 1, 97, 0, 255]),
        ];
        for port in [67, 69] {
            for datagram in &rubbish {
                let to = (Ipv4Addr::BROADCAST, port);
                socket.send_to(datagram, to).await.unwrap();
            }
        }
        let says = Says {
            mac: "52:54:00:77:00:10".to_owned(),
            ..Says::default()
        };
        let answer = ask(&socket, &message(MessageType::Discover, &says, vec![])).await;
        assert_eq!(answer.yiaddr(), Ipv4Addr::new(10, 77, 0, 60));
    })
    .await;
}
