//! Finding BMCs in a range of addresses, with what their servers are made of: by Redfish, and who speaks none by IPMI.
//!
//! A BMC is first asked without a password; what its certificate is then is pinned, and only who shows it again gets one.

use super::found::{Told, name_of, object};
use super::ipmi;
use super::manifest::{Manifest, Server};
use anyhow::Context as _;
use corten_bmc::redfish::Redfish;
use corten_bmc::{Address, Bmc, Credentials, Inventory, Limits, Link, RedfishAddress, Trust, open};
use futures_util::stream::{self, StreamExt as _};
use ipnet::IpNet;
use reqwest::tls::TlsInfo;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// So many addresses are asked at the same time.
const AT_ONCE: usize = 64;
const CONNECT: Duration = Duration::from_secs(3);
const REQUEST: Duration = Duration::from_secs(20);

/// Where BMCs listen.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub redfish: u16,
    pub ipmi: Option<u16>,
}

/// What was found.
pub struct Found {
    servers: Vec<(Server, String)>,
    /// BMCs that answered and did not tell, with the reason.
    troubles: Vec<(String, String)>,
    asked: usize,
}

impl Found {
    /// A manifest of those that are not known, each with what it is made of as a comment.
    pub fn offer(&self, known: impl Fn(&Server) -> bool) -> String {
        let mut text = format!("# {} addresses were asked.\n", self.asked);
        for (url, why) in &self.troubles {
            let _ = writeln!(text, "# {url}: {why}");
        }
        for (server, about) in &self.servers {
            if known(server) {
                let _ = writeln!(text, "# {} is enrolled already.", server.name);
                continue;
            }
            let one = Manifest {
                server: vec![server.clone()],
            };
            let entry = toml::to_string(&one).unwrap_or_default();
            let _ = write!(text, "\n# {about}\n{entry}");
        }
        text
    }
}

/// Asks every address.
pub async fn servers(range: IpNet, ports: Ports, username: &str, password: &str) -> Found {
    let addresses: Vec<IpAddr> = range.hosts().collect();
    let asked = addresses.len();
    let mut answers = stream::iter(addresses)
        .map(|address| at(address, ports, username, password))
        .buffered(AT_ONCE);
    let mut found = Found {
        servers: Vec::new(),
        troubles: Vec::new(),
        asked,
    };
    while let Some((url, answer)) = answers.next().await {
        match answer {
            Ok(servers) => found.servers.extend(servers),
            Err(why) => found
                .troubles
                .extend(why.map(|why| (url, format!("{why:#}")))),
        }
    }
    found
}

/// The servers of the BMC at this address, and its name.
async fn at(address: IpAddr, ports: Ports, username: &str, password: &str) -> (String, Told) {
    let url = format!("https://{}", SocketAddr::new(address, ports.redfish));
    match first_contact(&url).await {
        Some(pin) => {
            let told = tell(&url, pin, username, password).await;
            (url, told.map_err(Some))
        }
        None => match ports.ipmi {
            Some(port) => ipmi::at(SocketAddr::new(address, port), username, password).await,
            None => (url, Err(None)),
        },
    }
}

/// The certificate of who answers as a Redfish service does, by its SHA-256.
async fn first_contact(url: &str) -> Option<[u8; 32]> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .tls_info(true)
        .connect_timeout(CONNECT)
        .timeout(REQUEST)
        .build()
        .ok()?;
    let answer = client.get(format!("{url}/redfish/v1/")).send().await.ok()?;
    let certificate = answer.extensions().get::<TlsInfo>()?.peer_certificate()?;
    let pin = Sha256::digest(certificate).into();
    let root: Value = answer.json().await.ok()?;
    root["RedfishVersion"].is_string().then_some(pin)
}

async fn tell(
    url: &str,
    pin: [u8; 32],
    username: &str,
    password: &str,
) -> anyhow::Result<Vec<(Server, String)>> {
    let credentials = || Credentials::new(username, password.to_owned());
    let address = RedfishAddress::new(url)?.with_trust(Trust::Pinned(pin));
    let service = Redfish::new(address.clone(), credentials(), Limits::default())?;
    let systems = service.systems().await;
    service.close().await;
    let systems = systems.context("its servers cannot be listed")?;
    let mut servers = Vec::new();
    for system in systems {
        let address = Address::Redfish(address.clone().with_system(&system));
        let bmc: Arc<dyn Bmc> = open(address, credentials(), Limits::default())?;
        let inventory = bmc.inventory().await;
        bmc.close().await;
        let inventory = inventory.with_context(|| format!("{system} cannot be read"))?;
        let info = json!({
            "redfish_address": url,
            "redfish_system_id": system,
            "redfish_username": username,
            "redfish_verify_ca": hex::encode(pin),
        });
        servers.push(describe(&inventory, info, &system));
    }
    Ok(servers)
}

/// A server of a manifest, and what it is for people.
fn describe(inventory: &Inventory, driver_info: Value, system: &str) -> (Server, String) {
    let identity = &inventory.identity;
    let last = system.rsplit('/').next().unwrap_or(system);
    // What has a link is likelier to be the card that it boots on.
    let mut cards: Vec<_> = inventory.network_cards.iter().collect();
    cards.sort_by_key(|card| card.link != Link::Up);
    let server = Server {
        name: name_of(identity, last),
        driver: "redfish".to_owned(),
        resource_class: None,
        conductor_group: None,
        boot_interface: None,
        inspect_interface: None,
        ports: cards.iter().map(|card| card.mac.clone()).collect(),
        driver_info: object(driver_info),
        properties: Map::new(),
        extra: Map::new(),
    };
    let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let disks: u64 = inventory
        .drives
        .iter()
        .filter_map(|drive| drive.capacity_bytes)
        .sum();
    let about = format!(
        "{} {}, serial {}: {} processors, {} MiB, {} disks with {} GiB, {} network cards",
        word(&identity.manufacturer),
        word(&identity.model),
        word(&identity.serial_number),
        inventory.processors.len(),
        inventory.memory_mib.unwrap_or(0),
        inventory.drives.len(),
        disks >> 30,
        cards.len(),
    );
    // A comment has one line, whatever a BMC says.
    (server, about.replace(['\n', '\r'], " "))
}
