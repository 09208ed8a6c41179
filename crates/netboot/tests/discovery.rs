//! Servers that nobody enrolled, on the wire: who begins to boot over the network is told from who only wants an address, and
//! what boots goes on with the address that it was given.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use async_trait::async_trait;
use common::client::{Says, answer_to, ask, bios, boot_file, message, socket};
use common::{HTTP, SERVER, inside, lease, namespace_file};
use corten_model::ids::NodeId;
use corten_model::mac::Mac;
use corten_netboot::{
    Answer, Asker, Boot, BootServer, Config, Directory, DirectoryError, LoaderPaths, Loaders,
    MediaPlan,
};
use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, MessageType};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

const NEW: &str = "52:54:00:77:00:31";
const OTHER: &str = "52:54:00:77:00:32";

/// Knows nobody, and gives the next address to who begins to boot.
#[derive(Default)]
struct Discoverer(Mutex<HashMap<Mac, Answer>>);

#[async_trait]
impl Directory for Discoverer {
    async fn find(&self, asker: Asker) -> Result<Option<Answer>, DirectoryError> {
        let mut known = self.0.lock().unwrap();
        let next = 70 + known.len();
        if asker.begins_boot {
            known.entry(asker.mac).or_insert_with(|| Answer {
                node: NodeId::random(),
                lease: lease(&format!("10.77.0.{next}/24")),
                boot: Some(Boot {
                    kernel: "kernel".into(),
                    ramdisk: "ramdisk".into(),
                    command_line: "corten.discover=yes".parse().unwrap(),
                    secure_boot: false,
                }),
            });
        }
        Ok(known.get(&asker.mac).cloned())
    }

    async fn media(&self, _: &str) -> Result<Option<MediaPlan>, DirectoryError> {
        Ok(None)
    }
}

fn system(mac: &str) -> Says {
    Says {
        mac: mac.to_owned(),
        vendor_class: "udhcp 1.35.0",
        ..Says::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_begins_to_boot_is_let_in_and_then_goes_on() {
    let lab = common::Lab::without_server();
    let config = Config {
        namespace: Some(namespace_file(&lab.network)),
        interface: "br0".to_owned(),
        address: SERVER,
        http_port: 8080,
        peers: Vec::new(),
        probe_every: None,
    };
    let loaders = Loaders::load(&LoaderPaths::debian()).unwrap();
    let directory = Arc::new(Discoverer::default());
    let started = BootServer::start(config, loaders, directory.clone()).await;
    let (_server, _events) = started.unwrap();
    inside(&lab.station, || async {
        let socket = socket("eth0", 68);
        let everybody = (Ipv4Addr::BROADCAST, 67);
        let mut silent = Vec::new();
        // A system that only wants an address, and firmware that asks for one that nobody offered it.
        for (kind, says) in [
            (MessageType::Discover, system(NEW)),
            (MessageType::Discover, system(OTHER)),
            (MessageType::Request, bios(OTHER)),
            (MessageType::Inform, bios(OTHER)),
        ] {
            let wants = vec![DhcpOption::RequestedIpAddress([10, 77, 0, 70].into())];
            let message = message(kind, &says, wants);
            let bytes = message.to_vec().unwrap();
            socket.send_to(&bytes, everybody).await.unwrap();
            silent.push(message.xid());
        }
        let discover = message(MessageType::Discover, &bios(NEW), vec![]);
        let bytes = discover.to_vec().unwrap();
        socket.send_to(&bytes, everybody).await.unwrap();
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).await.unwrap();
        let first = dhcproto::v4::borrowed::Message::new(&buffer[..length]).unwrap();
        assert_eq!(first.xid(), discover.xid(), "{silent:?} are not answered");

        socket.send_to(&bytes, everybody).await.unwrap();
        let offer = answer_to(&socket, discover.xid()).await;
        assert_eq!(offer.yiaddr(), Ipv4Addr::new(10, 77, 0, 70));
        let loader = format!("boot/{NEW}/bios/ipxe.kpxe");
        assert_eq!(boot_file(&offer), Some(loader));
        let ipxe = Says {
            user_class: "iPXE",
            ipxe: &[0x13, 1, 1],
            ..bios(NEW)
        };
        let script = ask(&socket, &message(MessageType::Discover, &ipxe, vec![])).await;
        let expected = format!("http://{HTTP}/boot/{NEW}/bios/boot.ipxe");
        assert_eq!(boot_file(&script), Some(expected));
        // The ramdisk asks as a system does.
        let ramdisk = message(MessageType::Discover, &system(NEW), vec![]);
        let ramdisk = ask(&socket, &ramdisk).await;
        assert_eq!(
            (ramdisk.yiaddr(), boot_file(&ramdisk)),
            (offer.yiaddr(), None)
        );
    })
    .await;
    let known = directory.0.lock().unwrap();
    let macs: Vec<String> = known.keys().map(ToString::to_string).collect();
    assert_eq!(macs, [NEW]);
}
