//! Servers that nobody enrolled are offered for enrolment with what they are made of, once each, and only where the operator
//! wants it; who is enrolled is left alone, and nobody fills the cloud by asking.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_model::ids::{InspectionRuleId, NodeId, NodePortId};
use corten_model::lifecycle::node::ProvisionState;
use corten_netboot::{Answer, Architecture, Asker, Directory as _};
use corten_operations::Settings;
use corten_operations::metal::discovery::offer;
use corten_operations::metal::discovery::report::Report;
use corten_operations::metal::node::{self, Edit, Reach};
use corten_operations::metal::ramdisk::directory::Rows;
use corten_operations::metal::ramdisk::{network, timeline};
use corten_operations::metal::rotate_key::rotate;
use corten_operations::metal::{Ident, inspection_rule, machine, port};
use corten_operations::settings::ProvisioningNetwork;
use corten_store::metal::Object;
use corten_store::metal::inspection_rule::{InspectionRule, RuleStep};
use corten_store::metal::node::Node;
use corten_store::metal::port::{NodePort, of_node};
use corten_store::{Failure, Query};
use harness::Cloud;
use harness::metal::{node_of, operator};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

const FIRST: &str = "52:54:00:77:00:01";
const SECOND: &str = "52:54:00:77:00:02";
const THIRD: &str = "52:54:00:77:00:03";

/// A cloud with one provisioning network, of so many addresses.
struct Site {
    cloud: Cloud,
    rows: Rows,
    _files: tempfile::TempDir,
}

fn lab(addresses: u8) -> ProvisioningNetwork {
    ProvisioningNetwork {
        name: "lab".to_owned(),
        conductor_group: "rack-1".to_owned(),
        interface: "eth1".to_owned(),
        address: "10.77.0.1/24".parse().unwrap(),
        first: [10, 77, 0, 50].into(),
        last: [10, 77, 0, 49 + addresses].into(),
        gateway: None,
        name_servers: Vec::new(),
        mtu: None,
        peers: Vec::new(),
        discover: true,
    }
}

impl Site {
    async fn open(addresses: u8, offers_max: u32) -> Self {
        let files = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, name).unwrap();
            path
        };
        let mut settings = Settings::default();
        settings.provisioning.kernel = file("kernel");
        settings.provisioning.ramdisk = file("ramdisk");
        settings.provisioning.offers_max = offers_max;
        settings.provisioning.networks = vec![lab(addresses)];
        let cloud = Cloud::with(settings).await;
        Self {
            rows: Rows::new(cloud.cx.clone(), lab(addresses)),
            cloud,
            _files: files,
        }
    }

    async fn ordinary() -> Self {
        Self::open(20, 10).await
    }

    async fn find(&self, asker: Asker) -> Option<Answer> {
        self.rows.find(asker).await.unwrap()
    }

    /// A card begins to boot: the token on its kernel's command line.
    async fn boot(&self, mac: &str) -> Option<String> {
        let answer = self.find(begins(mac)).await?;
        Some(token(&answer))
    }

    async fn offer(&self, token: Option<&str>, inventory: Value) -> Result<NodeId, Failure> {
        let facts = serde_json::from_value(inventory.clone()).unwrap();
        let report = Report::new(facts, inventory, Object::new())?;
        offer::make(&self.cloud.cx, token, report).await
    }

    /// Booted from this card, and offered.
    async fn discovered(&self, mac: &str, inventory: Value) -> NodeId {
        let token = self.boot(mac).await;
        self.offer(token.as_deref(), inventory).await.unwrap()
    }

    async fn refused(&self, token: Option<&str>, inventory: Value) -> String {
        let refused = self.offer(token, inventory).await.unwrap_err();
        assert!(matches!(refused, Failure::Refused(_)), "{refused:?}");
        refused.to_string()
    }

    async fn nodes(&self) -> Vec<Node> {
        let mut tx = self.cloud.cx.store.read().await.unwrap();
        Query::new().all(&mut tx).await.unwrap()
    }

    async fn ports(&self, node: NodeId) -> Vec<(String, bool)> {
        let mut tx = self.cloud.cx.store.read().await.unwrap();
        let ports: Vec<NodePort> = of_node(&mut tx, node).await.unwrap();
        let mut ports: Vec<_> = ports
            .into_iter()
            .map(|port| (port.address, port.pxe_enabled))
            .collect();
        ports.sort();
        ports
    }

    /// The operator gives it a name.
    async fn take_up(&self, id: NodeId) {
        let named = |node: &Node| {
            let mut node = node.clone();
            node.name = Some("mine".to_owned());
            Ok(Edit {
                node,
                secrets: BTreeMap::new(),
            })
        };
        let cx = &self.cloud.cx;
        node::update(cx, &operator(), &Ident::id(id), Reach::Write, named)
            .await
            .unwrap();
    }

    /// Does this to whatever is discovered.
    async fn rule(&self, op: &str, args: Value) {
        let step = |op: &str, args: Value| RuleStep {
            op: op.to_owned(),
            args,
            items: None,
            multiple: None,
        };
        let discovered = json!(["{plugin_data[auto_discovered]}", true]);
        let rule = InspectionRule {
            conditions: vec![step("eq", discovered)],
            actions: vec![step(op, args)],
            ..InspectionRule::blank(InspectionRuleId::random(), self.cloud.cx.now())
        };
        inspection_rule::create(&self.cloud.cx, &operator(), rule)
            .await
            .unwrap();
    }
}

fn begins(mac: &str) -> Asker {
    Asker {
        mac: mac.parse().unwrap(),
        architecture: Some(Architecture::Bios),
        relay: None,
        begins_boot: true,
    }
}

/// A ramdisk, or any system, asks for an address; or a file is fetched.
fn goes_on(mac: &str) -> Asker {
    Asker {
        begins_boot: false,
        ..begins(mac)
    }
}

fn token(answer: &Answer) -> String {
    let line = answer.boot.as_ref().unwrap().command_line.to_string();
    assert!(line.contains("corten.discover=yes"), "{line}");
    assert!(!line.contains("corten.node"), "{line}");
    let mut words = line.split(' ');
    let token = words.find_map(|word| word.strip_prefix("corten.token="));
    token.unwrap().to_owned()
}

/// A server with a BMC, and with these cards.
fn inventory(macs: &[&str]) -> Value {
    let cards = macs
        .iter()
        .map(|mac| json!({"mac_address": mac, "name": "eth"}));
    json!({
        "interfaces": cards.collect::<Vec<_>>(),
        "cpu": {"count": 8, "architecture": "x86_64"},
        "memory": {"physical_mb": 16384, "total": 1},
        "disks": [{"name": "/dev/sda", "size": 64_u64 << 30}],
        "boot": {"current_boot_mode": "uefi", "pxe_interface": macs[0]},
        "system_vendor": {
            "manufacturer": "ACME", "product_name": "One", "serial_number": "B5RN72",
            "uuid": "4C4C4544-0042-3510-8052-B4C04F4E3732",
        },
        "bmc": {"interface": "KCS", "ipmi_version": "2.0"},
        "bmc_address": "10.9.0.11",
    })
}

/// Another server, of another maker.
fn other(macs: &[&str]) -> Value {
    let mut inventory = inventory(macs);
    inventory["system_vendor"] = json!({"manufacturer": "Apex", "serial_number": "None"});
    inventory
}

#[tokio::test]
async fn a_server_that_nobody_enrolled_is_offered_with_what_it_is_made_of() {
    let site = Site::ordinary().await;
    let cx = &site.cloud.cx;
    let answer = site.find(begins(FIRST)).await.unwrap();
    assert_eq!(answer.lease.address.addr(), Ipv4Addr::new(10, 77, 0, 50));
    let token = token(&answer);
    // iPXE asks anew, the script is fetched, and the ramdisk asks for its address: it is the same boot.
    for asker in [begins(FIRST), goes_on(FIRST)] {
        assert_eq!(site.find(asker).await.unwrap(), answer);
    }
    let id = site.offer(Some(&token), inventory(&[FIRST, SECOND])).await;
    let id = id.unwrap();
    assert_eq!(id, answer.node, "the signs of its boot are the node's");

    let node = node_of(&site.cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::Enroll);
    assert_eq!(node.conductor_group, "rack-1");
    assert_eq!(node.driver, "ipmi");
    assert_eq!(
        Value::from(node.driver_info.clone()),
        json!({"ipmi_address": "10.9.0.11"})
    );
    assert!(node.secrets.is_empty(), "no credentials");
    let properties = json!({"cpus": 8, "cpu_arch": "x86_64", "memory_mb": 16384, "local_gb": 63});
    assert_eq!(Value::from(node.properties.clone()), properties);
    assert_eq!(node.boot_mode.as_deref(), Some("uefi"));
    assert_eq!(node.inspection.inventory, Some(inventory(&[FIRST, SECOND])));
    assert_eq!(
        node.inspection.plugin_data.unwrap()["auto_discovered"],
        true
    );
    let ports = [(FIRST.to_owned(), true), (SECOND.to_owned(), false)];
    assert_eq!(site.ports(id).await, ports);

    let ident = Ident::id(id);
    let history = node::history(cx, &operator(), &ident).await.unwrap();
    let [line] = history.as_slice() else {
        panic!("{history:?}")
    };
    assert_eq!((line.from.as_deref(), line.to.as_str()), (None, "enroll"));
    for part in ["network lab", FIRST, "ACME One", "B5RN72"] {
        assert!(line.why.contains(part), "{}", line.why);
    }
    let signs = timeline::list(cx, &operator(), &ident).await.unwrap();
    assert_eq!(signs.last().unwrap().event, "discovered");

    // The token was good once, and the system that boots then gets no address.
    let again = site.refused(Some(&token), inventory(&[FIRST])).await;
    assert!(again.contains("used before"), "{again}");
    assert_eq!(site.find(goes_on(FIRST)).await, None);
}

#[tokio::test]
async fn a_server_that_boots_again_is_the_same_node() {
    let site = Site::ordinary().await;
    let id = site.discovered(FIRST, inventory(&[FIRST, SECOND])).await;
    // By another card, after another was put in the place of the first.
    let mut changed = inventory(&[SECOND, THIRD]);
    changed["memory"]["physical_mb"] = json!(32768);
    assert_eq!(site.discovered(SECOND, changed.clone()).await, id);
    assert_eq!(
        site.ports(id).await,
        [(SECOND.to_owned(), true), (THIRD.to_owned(), false)]
    );
    assert_eq!(
        node_of(&site.cloud, id).await.properties["memory_mb"],
        32768
    );
    // By its id and serial number alone, with none of the cards that were known.
    let fourth = "52:54:00:77:00:04";
    assert_eq!(site.discovered(fourth, inventory(&[fourth])).await, id);
    let mut without_uuid = inventory(&[FIRST]);
    without_uuid["system_vendor"]["uuid"] = json!("Not Settable");
    assert_eq!(site.discovered(FIRST, without_uuid).await, id);
    assert_eq!(site.nodes().await.len(), 1);
    let signs = timeline::list(&site.cloud.cx, &operator(), &Ident::id(id)).await;
    let signs: Vec<_> = signs.unwrap().into_iter().map(|sign| sign.event).collect();
    assert_eq!(
        signs
            .iter()
            .filter(|sign| *sign == "discovered again")
            .count(),
        3
    );
    // Removed, it is another node the next time.
    let ident = Ident::id(id);
    node::delete(&site.cloud.cx, &operator(), &ident)
        .await
        .unwrap();
    let anew = site.discovered(FIRST, inventory(&[FIRST])).await;
    assert!(anew != id);
    // What many servers have in common makes them no one.
    let one = site.discovered(SECOND, other(&[SECOND])).await;
    let two = site.discovered(THIRD, other(&[THIRD])).await;
    assert!(one != two && one != anew);
}

#[tokio::test]
async fn who_is_enrolled_is_left_alone() {
    let site = Site::ordinary().await;
    let cx = &site.cloud.cx;
    let late = site.boot(THIRD).await;
    let id = site.discovered(FIRST, inventory(&[FIRST, SECOND])).await;
    site.take_up(id).await;
    let before = node_of(&site.cloud, id).await;
    assert_eq!(site.find(begins(FIRST)).await, None);
    assert_eq!(site.find(begins(SECOND)).await, None);
    // A card that nobody knew is in the same server.
    let refused = site
        .refused(late.as_deref(), inventory(&[THIRD, SECOND]))
        .await;
    assert!(refused.contains("is enrolled"), "{refused}");
    assert_eq!(node_of(&site.cloud, id).await, before);
    assert_eq!(site.nodes().await.len(), 1);
    assert_eq!(site.ports(id).await.len(), 2);

    // A node of the operator's own making is none of discovery's, also while it is in `enroll`.
    let own = harness::metal::enroll(&site.cloud, false).await;
    let mut node = node_of(&site.cloud, own).await;
    let fourth = "52:54:00:77:00:04".to_owned();
    let card = port::blank(NodePortId::random(), &node, fourth.clone(), cx.now());
    port::create(cx, &operator(), card).await.unwrap();
    assert_eq!(site.find(begins(&fourth)).await, None);

    // Once it is booted for its own sake, its card has the address that is its own.
    let (mut tx, network) = (cx.store.write().await.unwrap(), lab(20));
    node.conductor_group.clone_from(&network.conductor_group);
    let taken_up = node_of(&site.cloud, id).await;
    let leases = network::lease_all(&mut tx, &network, &taken_up)
        .await
        .unwrap();
    let others = network::lease_all(&mut tx, &network, &node).await.unwrap();
    tx.commit().await.unwrap();
    let lent = site
        .find(goes_on(THIRD))
        .await
        .unwrap()
        .lease
        .address
        .addr();
    let mut addresses: Vec<_> = leases
        .iter()
        .chain(&others)
        .map(|lease| lease.address)
        .collect();
    addresses.push(lent);
    addresses.sort();
    addresses.dedup();
    // The offer's second card is not meant for booting, and has none.
    assert_eq!(addresses.len(), 3, "nobody has another's address");
}

#[tokio::test]
async fn only_who_begins_to_boot_here_is_let_in() {
    let site = Site::ordinary().await;
    let relayed = Asker {
        relay: Some([10, 78, 0, 1].into()),
        ..begins(FIRST)
    };
    let of_another_kind = Asker {
        architecture: Some(Architecture::UefiArm64),
        ..begins(FIRST)
    };
    for asker in [goes_on(FIRST), relayed, of_another_kind] {
        assert_eq!(site.find(asker).await, None, "{asker:?}");
    }
    let off = ProvisioningNetwork {
        discover: false,
        ..lab(20)
    };
    let off = Rows::new(site.cloud.cx.clone(), off);
    assert_eq!(off.find(begins(FIRST)).await.unwrap(), None);
    for token in [None, Some("guessed")] {
        let refused = site.refused(token, inventory(&[FIRST])).await;
        assert!(
            refused.contains("No unknown server was booted"),
            "{refused}"
        );
    }
    assert!(site.nodes().await.is_empty());
}

#[tokio::test]
async fn a_report_that_is_refused_leaves_everything_as_it_was() {
    let site = Site::ordinary().await;
    let token = site.boot(FIRST).await;
    // Of another server, or with nothing that names a server.
    site.refused(token.as_deref(), inventory(&[SECOND])).await;
    let nothing = json!({"interfaces": [{"mac_address": "none"}]});
    site.refused(token.as_deref(), nothing).await;
    assert!(site.nodes().await.is_empty());
    // Two offers that are one server after all: an operator must say which.
    let two = [SECOND, THIRD];
    for mac in two {
        site.discovered(mac, other(&[mac])).await;
    }
    let refused = site
        .refused(token.as_deref(), other(&[FIRST, SECOND, THIRD]))
        .await;
    assert!(
        refused.contains("delete those that are not it"),
        "{refused}"
    );
    assert_eq!(site.nodes().await.len(), 2);
    site.offer(token.as_deref(), inventory(&[FIRST]))
        .await
        .unwrap();
}

#[tokio::test]
async fn offers_and_boots_are_bounded() {
    let site = Site::open(4, 2).await;
    // Half of the addresses are kept for the servers that are enrolled.
    let (first, second) = (site.boot(FIRST).await, site.boot(SECOND).await);
    assert_eq!(site.boot(THIRD).await, None);
    // A boot that took too long makes room; it is found by its own card again.
    site.cloud.clock.advance(Duration::from_secs(2 * 900 + 1));
    let third = site.boot(THIRD).await;
    assert!(third.is_some());
    site.refused(first.as_deref(), other(&[FIRST])).await;
    let first = site.boot(FIRST).await;
    assert_ne!(site.boot(SECOND).await, second, "there is no room again");

    let one = site.offer(first.as_deref(), other(&[FIRST])).await.unwrap();
    site.offer(third.as_deref(), other(&[THIRD])).await.unwrap();
    site.cloud.clock.advance(Duration::from_secs(2 * 900 + 1));
    assert_eq!(site.boot(SECOND).await, None, "two are offered");
    // Those that are offered may still boot.
    assert!(site.boot(FIRST).await.is_some());
    site.take_up(one).await;
    let second = site.boot(SECOND).await;
    let waits = site.boot("52:54:00:77:00:04").await;
    assert!(
        waits.is_none(),
        "both boots that there may be are under way"
    );
    site.offer(second.as_deref(), other(&[SECOND]))
        .await
        .unwrap();
    assert_eq!(
        node_of(&site.cloud, one).await.name.as_deref(),
        Some("mine")
    );
}

/// A boot that began while there was room is told to come again.
#[tokio::test]
async fn an_offer_waits_for_room() {
    let site = Site::open(20, 1).await;
    let (first, second) = (site.boot(FIRST).await, site.boot(SECOND).await);
    let one = site.offer(first.as_deref(), other(&[FIRST])).await.unwrap();
    let refused = site.refused(second.as_deref(), other(&[SECOND])).await;
    assert!(refused.contains("as soon as there is room"), "{refused}");
    node::delete(&site.cloud.cx, &operator(), &Ident::id(one))
        .await
        .unwrap();
    site.offer(second.as_deref(), other(&[SECOND]))
        .await
        .unwrap();
    assert_eq!(site.nodes().await.len(), 1);
}

#[tokio::test]
async fn a_boots_token_outlives_a_new_key_and_the_old_key_is_gone() {
    let site = Site::ordinary().await;
    let cx = &site.cloud.cx;
    let before = site.boot(FIRST).await;
    let rotated = rotate(&cx.store, &cx.metal.vault).await.unwrap();
    assert_eq!(rotated.sealed, 1);
    assert_eq!(site.boot(FIRST).await, before);
    site.offer(before.as_deref(), inventory(&[FIRST]))
        .await
        .unwrap();
}

#[tokio::test]
async fn rules_of_the_operators_are_applied_to_an_offer() {
    let site = Site::ordinary().await;
    let args = json!(["driver_info/ipmi_password", "calvin"]);
    site.rule("set-attribute", args).await;
    let id = site.discovered(FIRST, inventory(&[FIRST])).await;
    let node = node_of(&site.cloud, id).await;
    let place = "driver_info/ipmi_password";
    let password = machine::secret(&site.cloud.cx, &node, place).unwrap();
    assert_eq!(password.as_deref(), Some("calvin"));
    assert!(!Value::from(node.driver_info).to_string().contains("calvin"));

    site.rule("fail", json!(["not one of ours"])).await;
    let id = site.discovered(SECOND, other(&[SECOND])).await;
    let node = node_of(&site.cloud, id).await;
    let why = node.last_error.unwrap();
    assert!(why.contains("not one of ours"), "{why}");
    assert_eq!(node.provision.state, ProvisionState::Enroll);
}
