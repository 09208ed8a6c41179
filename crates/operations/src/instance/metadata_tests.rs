//! What guests are told, document by document.

use super::*;
use corten_model::ids::{PortId, ProjectId, SubnetId, UserId};
use corten_model::lifecycle::{InstanceClass, InstanceState};
use corten_model::time::Timestamp;
use corten_store::instances::{Intent, Key, Observed};
use corten_store::network::Standard;
use corten_store::network::network::Segment;
use corten_store::network::port::Binding;
use corten_store::network::subnet::{Ipv6Mode, Route};

const NOW: Timestamp = Timestamp(0);

fn standard() -> Standard {
    Standard::new(ProjectId::from("p"), "n".to_owned(), String::new(), NOW)
}

fn subnet(cidr: &str, dhcp: bool, mode: Option<Ipv6Mode>) -> Subnet {
    let cidr: ipnet::IpNet = cidr.parse().unwrap();
    Subnet {
        id: SubnetId::random(),
        standard: standard(),
        network_id: NetworkId::random(),
        cidr,
        gateway: cidr.hosts().next(),
        dhcp,
        pools: Vec::new(),
        dns_servers: vec!["192.0.2.53".parse().unwrap()],
        host_routes: vec![Route {
            destination: "198.51.100.0/24".parse().unwrap(),
            nexthop: cidr.hosts().next().unwrap(),
        }],
        ipv6_ra_mode: mode,
        ipv6_address_mode: mode,
        subnet_pool_id: None,
        service_types: Vec::new(),
        dns_publish_fixed_ip: false,
    }
}

/// A card with one address of each subnet.
fn card(subnets: Vec<Subnet>, tag: Option<&str>) -> Card {
    let network = Network {
        id: NetworkId::random(),
        standard: standard(),
        enabled: true,
        shared: false,
        external: false,
        is_default: false,
        port_security: true,
        mtu: 1442,
        dns_domain: String::new(),
        segment: Segment::Geneve { id: 1 },
        qos_policy_id: None,
        zone_hints: Vec::new(),
        vlan_transparent: false,
    };
    let addresses = subnets.iter().map(|subnet| FixedIp {
        subnet_id: subnet.id,
        ip_address: subnet.cidr.hosts().nth(8).unwrap(),
    });
    let port = Port {
        id: PortId::random(),
        standard: standard(),
        network_id: network.id,
        mac_address: "fa:16:3e:01:02:03".to_owned(),
        addresses: addresses.collect(),
        enabled: true,
        device_id: String::new(),
        device_owner: String::new(),
        security_groups: BTreeSet::new(),
        port_security: true,
        allowed_pairs: Vec::new(),
        dhcp_options: Vec::new(),
        dns_name: String::new(),
        qos_policy_id: None,
        binding: Binding::default(),
        up: false,
    };
    Card {
        tag: tag.map(str::to_owned),
        port,
        network,
        subnets,
        public_ip: Some("198.51.100.7".parse().unwrap()),
    }
}

fn described(cards: Vec<Card>) -> Metadata {
    let instance = Instance {
        id: InstanceId::random(),
        project_id: ProjectId::from("p"),
        user_id: UserId::from("u"),
        class: InstanceClass::Vm,
        state: InstanceState::REQUESTED,
        state_since: NOW,
        intent: Intent {
            name: "Web".to_owned(),
            hostname: "web".to_owned(),
            key: Some(Key {
                name: "mine".to_owned(),
                kind: "ssh".to_owned(),
                public_key: "ssh-ed25519 AAAA".to_owned(),
            }),
            user_data: Some(STANDARD.encode("#!/bin/sh")),
            personality: vec![("/etc/motd".to_owned(), STANDARD.encode("hello"))],
            ..Intent::default()
        },
        observed: Observed::default(),
        host_id: None,
        host_name: None,
        reservation_id: "r-1".to_owned(),
        launch_index: 0,
        created_at: NOW,
        updated_at: NOW,
        launched_at: None,
        terminated_at: None,
        fault: None,
        progress: 0,
        resize: None,
        guest_password: None,
        shelved_image_id: None,
        deleted: false,
    };
    Metadata {
        instance,
        cards,
        admin_pass: Some("secret".to_owned()),
        default_zone: "nova".to_owned(),
    }
}

fn at(metadata: &Metadata, path: &str) -> String {
    let content = metadata
        .at(path)
        .unwrap_or_else(|| panic!("{path} is there"));
    String::from_utf8(content.bytes).unwrap()
}

fn json_at(metadata: &Metadata, path: &str) -> Value {
    serde_json::from_str(&at(metadata, path)).unwrap()
}

#[test]
fn each_address_says_how_the_guest_gets_it() {
    let subnets = vec![
        subnet("10.0.0.0/24", true, None),
        subnet("10.1.0.0/24", false, None),
        subnet("2001:db8::/64", true, Some(Ipv6Mode::Slaac)),
        subnet("2001:db8:1::/64", true, Some(Ipv6Mode::Dhcpv6Stateful)),
        subnet("2001:db8:2::/64", false, None),
    ];
    let card = card(subnets, None);
    let data = network_data(std::slice::from_ref(&card));
    let kinds: Vec<_> = data["networks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|network| network["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "ipv4_dhcp",
            "ipv4",
            "ipv6_slaac",
            "ipv6_dhcpv6-stateful",
            "ipv6"
        ]
    );
    let fixed = &data["networks"][1];
    assert_eq!(fixed["ip_address"], "10.1.0.9");
    assert_eq!(fixed["netmask"], "255.255.255.0");
    assert_eq!(
        fixed["routes"],
        json!([
            {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.1.0.1"},
            {"network": "198.51.100.0", "netmask": "255.255.255.0", "gateway": "10.1.0.1"},
        ])
    );
    assert_eq!(
        data["networks"][0]["ip_address"],
        Value::Null,
        "DHCP tells it"
    );
    let link = &data["links"][0];
    assert_eq!(link["ethernet_mac_address"], "fa:16:3e:01:02:03");
    assert_eq!(link["mtu"], 1442);
    assert_eq!(data["networks"][4]["link"], link["id"]);
    assert_eq!(
        data["services"],
        json!([{"type": "dns", "address": "192.0.2.53"}])
    );
}

#[test]
fn tags_of_cards_are_devices() {
    let subnets = || vec![subnet("10.0.0.0/24", true, None)];
    let metadata = described(vec![card(subnets(), Some("front")), card(subnets(), None)]);
    let devices = &json_at(&metadata, "/openstack/latest/meta_data.json")["devices"];
    assert_eq!(devices.as_array().unwrap().len(), 1);
    assert_eq!(devices[0]["tags"], json!(["front"]));
    assert_eq!(devices[0]["mac"], "fa:16:3e:01:02:03");
}

#[test]
fn documents_came_with_their_versions() {
    let metadata = described(Vec::new());
    assert!(
        at(&metadata, "/openstack")
            .lines()
            .any(|line| line == "2018-08-27")
    );
    assert!(at(&metadata, "/openstack/").ends_with("latest"));
    let oldest = at(&metadata, "/openstack/2012-08-10");
    assert_eq!(oldest, "meta_data.json\nuser_data");
    assert!(at(&metadata, "/openstack/latest").contains("network_data.json"));
    assert!(
        metadata
            .at("/openstack/2012-08-10/network_data.json")
            .is_none()
    );
    assert!(metadata.at("/openstack/2011-01-01").is_none());
    assert!(metadata.at("/openstack/latest/secrets.json").is_none());
    assert_eq!(
        json_at(&metadata, "/openstack/latest/vendor_data2.json"),
        json!({})
    );
    assert_eq!(at(&metadata, "/openstack/latest/user_data"), "#!/bin/sh");
    assert_eq!(at(&metadata, "/openstack/content/0000"), "hello");
    assert!(metadata.at("/openstack/content/0001").is_none());
}

#[test]
fn the_tree_of_ec2_is_walked_name_by_name() {
    let metadata = described(vec![card(vec![subnet("10.0.0.0/24", true, None)], None)]);
    assert!(at(&metadata, "/").contains("2009-04-04\nlatest"));
    assert_eq!(at(&metadata, "/latest"), "meta-data/\nuser-data");
    let names = at(&metadata, "/latest/meta-data/");
    for name in ["instance-id", "local-ipv4", "placement/", "public-keys/"] {
        assert!(names.lines().any(|line| line == name), "{name} in {names}");
    }
    assert_eq!(at(&metadata, "/latest/meta-data/local-ipv4"), "10.0.0.9");
    assert_eq!(
        at(&metadata, "/latest/meta-data/public-ipv4"),
        "198.51.100.7"
    );
    assert_eq!(
        at(&metadata, "/2009-04-04/meta-data/mac"),
        "fa:16:3e:01:02:03"
    );
    assert_eq!(at(&metadata, "/latest/meta-data/public-keys/"), "0=mine");
    assert_eq!(
        at(&metadata, "/latest/meta-data/public-keys/0/"),
        "openssh-key"
    );
    let key = at(&metadata, "/latest/meta-data/public-keys/0/openssh-key");
    assert_eq!(key, "ssh-ed25519 AAAA");
    assert_eq!(
        at(&metadata, "/latest/meta-data/placement/availability-zone"),
        "nova"
    );
    assert!(
        metadata
            .at("/latest/meta-data/public-keys/0/_name")
            .is_none()
    );
    assert!(metadata.at("/latest/meta-data/nothing").is_none());
    assert_eq!(at(&metadata, "/latest/user-data"), "#!/bin/sh");
}

#[test]
fn the_config_drive_holds_the_same_documents() {
    let metadata = described(Vec::new());
    let files: std::collections::BTreeMap<_, _> = metadata.files().into_iter().collect();
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "ec2/latest/meta-data.json",
            "ec2/latest/user-data",
            "openstack/content/0000",
            "openstack/latest/meta_data.json",
            "openstack/latest/network_data.json",
            "openstack/latest/user_data",
            "openstack/latest/vendor_data.json",
            "openstack/latest/vendor_data2.json",
        ]
    );
    let served = metadata.at("/openstack/latest/meta_data.json").unwrap();
    assert_eq!(files["openstack/latest/meta_data.json"], served.bytes);
    let meta_data = json_at(&metadata, "/openstack/latest/meta_data.json");
    assert_eq!(meta_data["admin_pass"], "secret");
    assert_eq!(meta_data["files"][0]["content_path"], "/content/0000");
}
