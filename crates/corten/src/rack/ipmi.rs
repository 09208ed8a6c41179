//! Finding BMCs that speak IPMI and no Redfish: who answers the presence ping of RMCP (ASF 2.0, 3.2.4.3) is asked through
//! `ipmitool`.

use super::found::{Told, name_of, object};
use super::manifest::Server;
use anyhow::Context as _;
use corten_bmc::{Address, Bmc, Credentials, Identity, IpmiAddress, Limits, open};
use serde_json::{Map, json};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

pub const PORT: u16 = 623;
/// A datagram may be lost.
const PINGS: usize = 2;
const WAIT: Duration = Duration::from_secs(1);

/// RMCP 1.0, no acknowledgement, class ASF; the enterprise of ASF, "presence ping", tag, reserved, no data.
const PING: [u8; 12] = [6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 0, 0, 0];

/// The server of one BMC. `Err(None)`: nobody is there who speaks IPMI.
pub async fn at(bmc: SocketAddr, username: &str, password: &str) -> (String, Told) {
    let url = format!("ipmi://{bmc}");
    if !answers(bmc).await {
        return (url, Err(None));
    }
    let told = tell(bmc, username, password).await;
    (url, told.map(|server| vec![server]).map_err(Some))
}

async fn answers(bmc: SocketAddr) -> bool {
    for _ in 0..PINGS {
        if let Ok(Ok(())) = timeout(WAIT, ping(bmc)).await {
            return true;
        }
    }
    false
}

async fn ping(bmc: SocketAddr) -> io::Result<()> {
    let any: IpAddr = match bmc {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(bmc).await?;
    socket.send(&PING).await?;
    let mut answer = [0; 64];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_pong(&answer[..length]) {
            return Ok(());
        }
    }
}

/// Whether this is the answer of one that speaks IPMI: "presence pong", with the uppermost bit of the supported entities.
fn is_pong(datagram: &[u8]) -> bool {
    let is_asf = datagram.first() == Some(&PING[0])
        && datagram.get(3..8) == Some(&PING[3..8])
        && datagram.get(8) == Some(&0x40);
    is_asf
        && datagram
            .get(20)
            .is_some_and(|entities| entities & 0x80 != 0)
}

async fn tell(bmc: SocketAddr, username: &str, password: &str) -> anyhow::Result<(Server, String)> {
    let address = IpmiAddress::new(&bmc.ip().to_string(), bmc.port())?;
    let credentials = Credentials::new(username, password.to_owned());
    let opened: Arc<dyn Bmc> = open(Address::Ipmi(address), credentials, Limits::default())?;
    let inventory = opened.inventory().await;
    opened.close().await;
    let inventory = inventory.context("it speaks IPMI, and its server cannot be read")?;
    Ok(describe(&inventory.identity, bmc, username))
}

/// A server of a manifest, and what it is for people.
fn describe(identity: &Identity, bmc: SocketAddr, username: &str) -> (Server, String) {
    let mut info = object(json!({"ipmi_address": bmc.ip(), "ipmi_username": username}));
    if bmc.port() != PORT {
        info.insert("ipmi_port".to_owned(), bmc.port().into());
    }
    let server = Server {
        name: name_of(identity, &bmc.ip().to_string()),
        driver: "ipmi".to_owned(),
        resource_class: None,
        conductor_group: None,
        boot_interface: None,
        inspect_interface: None,
        ports: Vec::new(),
        driver_info: info,
        properties: Map::new(),
        extra: Map::new(),
    };
    let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let about = format!(
        "{} {}, serial {}. IPMI tells no network cards: write the MAC address of the one that it boots on into ports",
        word(&identity.manufacturer),
        word(&identity.model),
        word(&identity.serial_number),
    );
    // A comment has one line, whatever a BMC says.
    (server, about.replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pong(entities: u8) -> Vec<u8> {
        let mut pong = vec![6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x40, 0, 0, 16];
        pong.extend([0, 0, 0x11, 0xbe, 0, 0, 0, 0, entities, 0, 0, 0, 0, 0, 0, 0]);
        pong
    }

    /// Answers each ping with this, on a port of loopback.
    async fn bmc(answer: Vec<u8>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut ping = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut ping).await {
                assert_eq!(ping[..length], PING);
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn who_answers_a_ping_and_speaks_ipmi_is_a_bmc() {
        assert!(answers(bmc(pong(0x81)).await).await);
        // A machine with ASF alone, one that echoes, and nobody.
        assert!(!answers(bmc(pong(0x01)).await).await);
        assert!(!answers(bmc(PING.to_vec()).await).await);
        let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = nobody.local_addr().unwrap();
        drop(nobody);
        assert!(!answers(address).await);
    }

    #[test]
    fn a_server_over_ipmi_is_written_with_its_driver() {
        let identity = Identity {
            manufacturer: Some("ACME\nInc".to_owned()),
            serial_number: Some("SN 7".to_owned()),
            ..Identity::default()
        };
        let (server, about) = describe(&identity, "10.9.0.7:623".parse().unwrap(), "root");
        assert_eq!(
            (server.name.as_str(), server.driver.as_str()),
            ("bm-sn-7", "ipmi")
        );
        let info = json!({"ipmi_address": "10.9.0.7", "ipmi_username": "root"});
        assert_eq!(server.driver_info, object(info));
        assert!(
            about.starts_with("ACME Inc unknown, serial SN 7."),
            "{about}"
        );
        let other = describe(
            &Identity::default(),
            "10.9.0.7:624".parse().unwrap(),
            "root",
        )
        .0;
        assert_eq!(other.name, "bm-10-9-0-7");
        assert_eq!(other.driver_info["ipmi_port"], 624);
    }
}
