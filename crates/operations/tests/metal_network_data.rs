//! Network boot, as far as a node's record and its ports decide it: a server whose address is fixed boots where no DHCP server of
//! ours is heard, a card that is not to boot is not answered, a server that nothing here starts is not tried, and a DHCP server
//! that is not ours is named in the story of the boot that it spoiled.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_model::ids::{NodeId, NodePortId};
use corten_model::lifecycle::node::{NodeVerb, ProvisionState};
use corten_model::time::Timestamp;
use corten_netboot::{
    Answer, Architecture, Asker, BootEvent, BootStep, Directory as _, MediaPlan, Sighting,
};
use corten_operations::Settings;
use corten_operations::metal::agent::{self, Beat};
use corten_operations::metal::node::{self, Edit, Reach};
use corten_operations::metal::ramdisk::directory::Rows;
use corten_operations::metal::ramdisk::{boot, timeline};
use corten_operations::metal::{Ident, driver, machine, port, provision};
use corten_operations::settings::ProvisioningNetwork;
use corten_store::metal::Object;
use corten_store::metal::boot_sign;
use corten_store::metal::node::{BootMethod, Node};
use corten_store::metal::port::NodePort;
use corten_store::{Failure, record};
use harness::Cloud;
use harness::metal::{after, node_of, operator, wish};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use tokio::sync::mpsc;

const FIRST: &str = "52:54:00:77:00:01";
const SECOND: &str = "52:54:00:77:00:02";
const FIXED: &str = "192.0.2.10";

fn lab() -> ProvisioningNetwork {
    ProvisioningNetwork {
        name: "lab".to_owned(),
        conductor_group: String::new(),
        interface: "eth1".to_owned(),
        address: "10.77.0.1/24".parse().unwrap(),
        first: [10, 77, 0, 50].into(),
        last: [10, 77, 0, 99].into(),
        gateway: None,
        name_servers: Vec::new(),
        mtu: None,
        peers: Vec::new(),
        discover: false,
    }
}

/// A cloud with one provisioning network.
struct Site {
    cloud: Cloud,
    rows: Rows,
}

impl Site {
    async fn open() -> Self {
        let mut settings = Settings::default();
        settings.provisioning.networks = vec![lab()];
        let cloud = Cloud::with(settings).await;
        Self {
            rows: Rows::new(cloud.cx.clone(), lab()),
            cloud,
        }
    }

    /// A node of this driver, with these cards.
    async fn enrol(&self, driver: &str, cards: &[&str]) -> NodeId {
        let cx = &self.cloud.cx;
        let driver = driver::of_node(&cx.metal, driver).unwrap();
        let edit = Edit {
            node: node::blank(NodeId::random(), driver, cx.now()),
            secrets: BTreeMap::new(),
        };
        let node = node::create(cx, &operator(), edit, false).await.unwrap();
        for card in cards {
            let card = (*card).to_owned();
            let blank = port::blank(NodePortId::random(), &node, card, cx.now());
            port::create(cx, &operator(), blank).await.unwrap();
        }
        node.id
    }

    /// The operator changes a node.
    async fn set(&self, id: NodeId, change: impl FnOnce(&mut Node) + Send) -> Result<(), String> {
        let edit = |node: &Node| {
            let mut node = node.clone();
            change(&mut node);
            Ok(Edit {
                node,
                secrets: BTreeMap::new(),
            })
        };
        let (cx, ident) = (&self.cloud.cx, Ident::id(id));
        let changed = node::update(cx, &operator(), &ident, Reach::Write, edit).await;
        changed.map(drop).map_err(|refused| refused.to_string())
    }

    async fn set_network_data(&self, id: NodeId, document: Value) -> Result<(), String> {
        self.set(id, |node| node.network_data = object(document))
            .await
    }

    /// The operator says whether a node boots on this card.
    async fn set_pxe_enabled(&self, address: &str, enabled: bool) {
        let mut tx = self.cloud.cx.store.read().await.unwrap();
        let card = corten_store::Query::<NodePort>::new().equals("address", address);
        let card = card.first(&mut tx).await.unwrap().unwrap();
        drop(tx);
        let edit = |port: &NodePort| {
            Ok(NodePort {
                pxe_enabled: enabled,
                ..port.clone()
            })
        };
        port::update(&self.cloud.cx, &operator(), &Ident::id(card.id), edit)
            .await
            .unwrap();
    }

    /// A boot of a node begins, for the first time or after others.
    async fn plan(&self, id: NodeId, attempt: u32) -> Result<Node, String> {
        let cx = &self.cloud.cx;
        let mut tx = cx.store.write().await.unwrap();
        let mut node = record::lock::<Node>(&mut tx, id).await.unwrap().unwrap();
        boot::plan(&mut tx, cx, &mut node, attempt, Vec::new(), cx.now())
            .await
            .map_err(|refused: Failure| refused.to_string())?;
        node.provision.state = ProvisionState::CleanWait;
        record::update(&mut tx, &node).await.unwrap();
        tx.commit().await.unwrap();
        Ok(node)
    }

    /// A card begins to boot over the network.
    async fn asks(&self, mac: &str) -> Option<Answer> {
        let asker = Asker {
            mac: mac.parse().unwrap(),
            architecture: Some(Architecture::UefiX64),
            relay: None,
            begins_boot: true,
        };
        self.rows.find(asker).await.unwrap()
    }

    /// What the BMC of a node fetches.
    async fn media(&self, node: &Node) -> MediaPlan {
        let url = boot::media_url(&self.cloud.cx, node).unwrap().unwrap();
        let name = url.rsplit('/').next().unwrap();
        let name = name.strip_suffix(".iso").unwrap();
        self.rows.media(name).await.unwrap().unwrap()
    }
}

fn object(document: Value) -> Object {
    document.as_object().cloned().unwrap()
}

/// A card at another site, behind a router.
fn elsewhere(mac: &str) -> Value {
    json!({
        "links": [{"id": "nic", "type": "phy", "ethernet_mac_address": mac}],
        "networks": [{
            "id": "boot", "network_id": "site-2", "link": "nic", "type": "ipv4",
            "ip_address": FIXED, "netmask": "255.255.255.128",
            "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}],
        }],
        "services": [{"type": "dns", "address": "192.0.2.53"}],
    })
}

#[tokio::test]
async fn a_server_at_another_site_is_told_its_address_by_its_image_and_called_back_there() {
    let site = Site::open().await;
    let id = site.enrol(driver::REDFISH, &[FIRST, SECOND]).await;
    site.plan(id, 1).await.unwrap();
    let here = site.asks(FIRST).await.unwrap().lease.address.addr();
    assert_eq!(here, Ipv4Addr::new(10, 77, 0, 50));

    let mut before = node_of(&site.cloud, id).await;
    boot::forget(&mut before);
    before.provision.state = ProvisionState::Manageable;
    let mut tx = site.cloud.cx.store.write().await.unwrap();
    record::update(&mut tx, &before).await.unwrap();
    tx.commit().await.unwrap();
    let document = elsewhere(SECOND);
    site.set_network_data(id, document).await.unwrap();
    for attempt in [1, 2] {
        let node = site.plan(id, attempt).await.unwrap();
        assert_eq!(node.boot.unwrap().method, BootMethod::VirtualMedia);
    }
    let node = node_of(&site.cloud, id).await;
    let plan = site.media(&node).await;
    let line = plan.boot.command_line.as_str();
    for words in [
        " ip=192.0.2.10::192.0.2.1:255.255.255.128:::none:192.0.2.53",
        " BOOTIF=01-52-54-00-77-00-02 ",
        " ipa-api-url=https://10.77.0.1:6385 ",
    ] {
        assert!(line.contains(words), "{line}");
    }
    let (mac, lease) = plan.network.unwrap();
    assert_eq!(mac.to_string(), SECOND);
    assert_eq!(lease.address.to_string(), "192.0.2.10/25");
    assert_eq!(lease.gateway, Some([192, 0, 2, 1].into()));
    for card in [FIRST, SECOND] {
        assert_eq!(site.asks(card).await, None, "no DHCP for {card}");
    }

    let cx = &site.cloud.cx;
    let token = machine::secret(cx, &node, "boot/token").unwrap();
    let text = id.to_string();
    let found = agent::lookup(cx, &[], Some(&text), token.as_deref()).await;
    let token = found.unwrap().token;
    let beat = async |host: &str| {
        let beat = Beat {
            url: format!("https://{host}:9999"),
            token: token.clone(),
            ..Beat::default()
        };
        agent::heartbeat(cx, &Ident::id(id), beat).await
    };
    for strange in ["192.0.2.11", "10.77.0.50"] {
        let refused = beat(strange).await.unwrap_err().to_string();
        assert!(refused.contains("not https at an address"), "{refused}");
    }
    beat(FIXED).await.unwrap();
}

#[tokio::test]
async fn network_data_without_effect_is_not_taken() {
    let site = Site::open().await;
    let id = site.enrol(driver::REDFISH, &[FIRST]).await;
    let mut bond = elsewhere(FIRST);
    bond["links"][0]["type"] = json!("bond");
    let why = site.set_network_data(id, bond).await.unwrap_err();
    assert!(why.contains("joins no cards"), "{why}");

    let ipxe = |node: &mut Node| {
        node.interfaces.insert("boot".to_owned(), "ipxe".to_owned());
    };
    site.set_network_data(id, elsewhere(FIRST)).await.unwrap();
    let why = site.set(id, ipxe).await.unwrap_err();
    assert!(why.contains("boot_interface is ipxe"), "{why}");
    site.set_network_data(id, json!({})).await.unwrap();
    site.set(id, ipxe).await.unwrap();
    let why = site.set_network_data(id, elsewhere(FIRST)).await;
    assert!(why.unwrap_err().contains("redfish-virtual-media"));

    let over_ipmi = site.enrol(driver::IPMI, &[SECOND]).await;
    let why = site.set_network_data(over_ipmi, elsewhere(SECOND)).await;
    assert!(why.unwrap_err().contains("speaks Redfish"));
}

#[tokio::test]
async fn a_fixed_address_that_leads_nowhere_is_refused_before_the_boot() {
    let site = Site::open().await;
    let id = site.enrol(driver::REDFISH, &[FIRST]).await;
    let why = async |document: Value| {
        site.set_network_data(id, document).await.unwrap();
        site.plan(id, 1).await.unwrap_err()
    };
    let refused = why(elsewhere(SECOND)).await;
    assert!(
        refused.contains(SECOND) && refused.contains(FIRST),
        "{refused}"
    );
    let mut alone = elsewhere(FIRST);
    alone["networks"][0]["routes"] = json!([]);
    let refused = why(alone.clone()).await;
    assert!(refused.contains("no default route"), "{refused}");
    alone["networks"][0]["netmask"] = json!("255.255.255.0");
    for (address, reason) in [
        ("10.77.0.60", "gives out by DHCP"),
        ("10.77.0.1", "the control plane's own"),
    ] {
        alone["networks"][0]["ip_address"] = json!(address);
        let refused = why(alone.clone()).await;
        assert!(refused.contains(reason), "{refused}");
    }
    // On our own network, beside the range.
    alone["networks"][0]["ip_address"] = json!("10.77.0.120");
    site.set_network_data(id, alone).await.unwrap();
    site.plan(id, 1).await.unwrap();
}

#[tokio::test]
async fn a_card_that_is_not_to_boot_is_neither_answered_nor_booted_on() {
    let site = Site::open().await;
    let id = site.enrol(driver::REDFISH, &[FIRST, SECOND]).await;
    site.set_pxe_enabled(FIRST, false).await;
    let node = site.plan(id, 1).await.unwrap();
    assert_eq!(site.asks(FIRST).await, None);
    assert!(site.asks(SECOND).await.unwrap().boot.is_some());
    let (mac, _) = site.media(&node).await.network.unwrap();
    assert_eq!(mac.to_string(), SECOND);

    // At once, and not with the next boot only.
    let mut tx = site.cloud.cx.store.write().await.unwrap();
    let card = corten_store::Query::<NodePort>::new().equals("address", SECOND);
    let mut card = card.first(&mut tx).await.unwrap().unwrap();
    card.pxe_enabled = false;
    record::update(&mut tx, &card).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(site.asks(SECOND).await, None);
    let why = site.plan(id, 1).await.unwrap_err();
    assert!(
        why.contains("pxe_enabled") && why.contains(FIRST) && why.contains(SECOND),
        "{why}"
    );
    let bare = site.enrol(driver::REDFISH, &[]).await;
    let why = site.plan(bare, 1).await.unwrap_err();
    assert!(why.contains("has no port"), "{why}");
}

#[tokio::test]
async fn a_server_that_no_loader_starts_is_refused_when_its_verb_is_asked_for() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[NodeVerb::Manage]).await;
    let mut node = node_of(&cloud, id).await;
    node.properties
        .insert("cpu_arch".to_owned(), json!("aarch64"));
    let mut tx = cloud.cx.store.write().await.unwrap();
    record::update(&mut tx, &node).await.unwrap();
    tx.commit().await.unwrap();
    let verb = wish(NodeVerb::Provide);
    let refused = provision::set(&cloud.cx, &operator(), &Ident::id(id), verb).await;
    let why = refused.unwrap_err().to_string();
    assert!(
        why.contains("aarch64") && why.contains("boot loaders here"),
        "{why}"
    );
    assert!(node_of(&cloud, id).await.boot.is_none());
}

#[tokio::test]
async fn a_rogue_dhcp_server_is_in_the_timeline_of_the_node_that_it_answered() {
    let site = Site::open().await;
    let id = site.enrol(driver::REDFISH, &[FIRST]).await;
    let other = site.enrol(driver::REDFISH, &[SECOND]).await;
    let (tell, events) = mpsc::channel(8);
    let server = Ipv4Addr::new(10, 77, 0, 9);
    let at = |secs: i64| Timestamp::from_micros(secs * 1_000_000);
    let offer = |to: &str| Sighting::Offer {
        from: "02:00:00:00:00:09".parse().unwrap(),
        to: to.parse().unwrap(),
        offered: [10, 77, 0, 200].into(),
    };
    let choice = Sighting::Choice {
        by: FIRST.parse().unwrap(),
        address: None,
    };
    // The last one is nobody's card.
    for (secs, seen) in [
        (10, offer(FIRST)),
        (11, choice),
        (12, offer("02:00:00:00:00:77")),
    ] {
        let step = BootStep::Rogue {
            server,
            seen,
            times: 1,
        };
        tell.send(BootEvent { at: at(secs), step }).await.unwrap();
    }
    drop(tell);
    timeline::follow(site.cloud.cx.clone(), "lab".to_owned(), events).await;

    let mut tx = site.cloud.cx.store.read().await.unwrap();
    let signs = boot_sign::of_node(&mut tx, id, at(0)).await.unwrap();
    let events: Vec<_> = signs.iter().map(|sign| sign.event.as_str()).collect();
    assert_eq!(events, ["rogue dhcp", "rogue dhcp"]);
    let told = timeline::rogues(&mut tx, id, at(5)).await.unwrap();
    assert_eq!(
        told,
        "; a DHCP server that is not ours, 10.77.0.9 (02:00:00:00:00:09), answered 52:54:00:77:00:01"
    );
    let nothing = timeline::rogues(&mut tx, id, at(20)).await.unwrap();
    assert_eq!(nothing, "", "an earlier boot's");
    assert_eq!(timeline::rogues(&mut tx, other, at(0)).await.unwrap(), "");
}
