//! A node's `network_data` (API 1.66): the address of the card that it boots on, where no DHCP server of ours is heard.
//!
//! It is OpenStack's `network_data.json`, as far as a ramdisk can be told of it. What it says goes into the node's
//! virtual-media image, as the kernel's `ip=` and as the same document, and the ramdisk is called back at this address. So a
//! server at another site boots over routers alone: its BMC fetches the image, and its ramdisk calls home.
//!
//! | part | what it may be |
//! | --- | --- |
//! | `links` | one card, by its `ethernet_mac_address`; no bond and no VLAN |
//! | `networks` | one of the type `ipv4` on that link, with `ip_address`, `netmask` and a default route in `routes` |
//! | `services` | one name server (`dns`) |

use super::driver::{FAKE, IPMI};
use crate::settings::ProvisioningNetwork;
use corten_model::mac::Mac;
use corten_model::refusal::Refusal;
use corten_netboot::Lease;
use corten_store::metal::node::Node;
use ipnet::Ipv4Net;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::time::Duration;

/// The way to boot that reads the address from its image and asks no DHCP server.
const VIRTUAL_MEDIA: &str = "redfish-virtual-media";
/// Kinds of links that are a card as it is.
const CARDS: &[&str] = &[
    "phy",
    "ethernet",
    "vif",
    "bridge",
    "dvs",
    "hw_veb",
    "hyperv",
    "ovs",
    "tap",
    "vhostuser",
];
/// What a card has by itself; the ramdisk does not change it.
const MTU: f64 = 1500.0;

/// The card that a node boots on, and its address there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedAddress {
    pub mac: Mac,
    /// With the length of its network's prefix.
    pub address: Ipv4Net,
    pub gateway: Option<Ipv4Addr>,
    pub name_server: Option<Ipv4Addr>,
}

impl FixedAddress {
    /// What is written into the image of a boot. Nothing is asked again, so nothing runs out.
    pub fn lease(&self) -> Lease {
        Lease {
            address: self.address,
            gateway: self.gateway,
            name_servers: self.name_server.into_iter().collect(),
            mtu: None,
            hostname: None,
            duration: Duration::ZERO,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    links: Vec<Value>,
    networks: Vec<Value>,
    services: Vec<Service>,
}

/// Names are for people and for other services.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    id: String,
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    ethernet_mac_address: String,
    mtu: Option<f64>,
    #[serde(rename = "vif_id")]
    _vif_id: Option<IgnoredAny>,
    #[serde(rename = "name")]
    _name: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    #[serde(rename = "id")]
    _id: IgnoredAny,
    #[serde(rename = "network_id")]
    _network_id: Option<IgnoredAny>,
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    link: String,
    ip_address: Ipv4Addr,
    netmask: Ipv4Addr,
    #[serde(default)]
    routes: Vec<Route>,
    #[serde(default)]
    services: Vec<Service>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    network: Ipv4Addr,
    netmask: Ipv4Addr,
    gateway: Ipv4Addr,
    #[serde(default)]
    services: Vec<Service>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

/// What a node's `network_data` says; `None` if it has none.
pub fn of_node(node: &Node) -> Result<Option<FixedAddress>, Refusal> {
    if node.network_data.is_empty() {
        return Ok(None);
    }
    let document = Value::Object(node.network_data.clone());
    let fixed = read(document).map_err(|why| wrong(node, why))?;
    Ok(Some(fixed))
}

fn wrong(node: &Node, why: impl Display) -> Refusal {
    Refusal::invalid(format!("The network_data of node {}: {why}.", node.id))
}

/// Refuses a change that would leave a node with a `network_data` of which something had no effect. One that nothing is changed
/// about is judged when the node is booted.
pub fn check_change(before: &Node, after: &Node) -> Result<(), Refusal> {
    let same = before.network_data == after.network_data
        && before.driver == after.driver
        && before.driver_part("boot") == after.driver_part("boot");
    if same { Ok(()) } else { check(after) }
}

/// Refuses a node's `network_data` that cannot be honoured, or that the node's way to boot would not read.
pub fn check(node: &Node) -> Result<(), Refusal> {
    if of_node(node)?.is_none() {
        return Ok(());
    }
    let way = node.driver_part("boot");
    match node.driver.as_str() {
        FAKE => Ok(()),
        IPMI => Err(wrong(
            node,
            "it is written into an image for a virtual drive, and the driver ipmi has none: a server whose address is fixed needs a \
             BMC that speaks Redfish",
        )),
        _ if way == VIRTUAL_MEDIA => Ok(()),
        _ => Err(wrong(
            node,
            format!(
                "it is read by boots from virtual media alone, and its boot_interface is {way}, which asks a DHCP server: set \
                 boot_interface to {VIRTUAL_MEDIA}, or unset network_data"
            ),
        )),
    }
}

/// Refuses, before a boot, an address from which the control plane is not reached, or that somebody else may be given.
pub fn check_site(
    node: &Node,
    fixed: &FixedAddress,
    network: &ProvisioningNetwork,
) -> Result<(), Refusal> {
    let (address, home) = (fixed.address.addr(), network.address.addr());
    if address == home {
        return Err(wrong(node, format!("{address} is the control plane's own")));
    }
    if (network.first..=network.last).contains(&address) {
        return Err(wrong(
            node,
            format!(
                "{address} is one of the addresses from {} to {} that the provisioning network {} gives out by DHCP: take one \
                 outside of them, or unset network_data",
                network.first, network.last, network.name
            ),
        ));
    }
    if fixed.gateway.is_none() && !fixed.address.contains(&home) {
        return Err(wrong(
            node,
            format!(
                "{} has no default route, and the ramdisk calls {home}, which is not in its network: add to routes \
                 {{\"network\": \"0.0.0.0\", \"netmask\": \"0.0.0.0\", \"gateway\": …}}",
                fixed.address
            ),
        ));
    }
    Ok(())
}

fn read(document: Value) -> Result<FixedAddress, String> {
    let Document {
        links,
        networks,
        services,
    } = parse("it", document)?;
    let link: Link = parse("links[0]", card(only("links", links)?)?)?;
    let mac = link.ethernet_mac_address.replace('-', ":");
    let mac: Mac = mac
        .parse()
        .map_err(|error| format!("links[0]: ethernet_mac_address: {error}"))?;
    if let Some(mtu) = link.mtu.filter(|&mtu| mtu != MTU) {
        return Err(format!(
            "links[0]: mtu is {mtu}, and the ramdisk leaves its card at {MTU}: leave mtu out"
        ));
    }
    let Network {
        _id,
        _network_id,
        _kind,
        link: on,
        ip_address,
        netmask,
        routes,
        services: of_network,
    } = parse("networks[0]", ipv4(only("networks", networks)?)?)?;
    if on != link.id {
        return Err(format!(
            "networks[0]: link is '{on}', and the link is '{}'",
            link.id
        ));
    }
    let address = Ipv4Net::with_netmask(ip_address, netmask).map_err(|_| {
        format!(
            "networks[0]: netmask is {netmask}, which is no mask: give one such as 255.255.255.0"
        )
    })?;
    if !is_stations(address) {
        return Err(format!(
            "networks[0]: ip_address is {ip_address} with the netmask {netmask}, which is no station's own address"
        ));
    }
    let (gateway, of_route) = default_route(address, routes)?;
    let services = services.into_iter().chain(of_network).chain(of_route);
    Ok(FixedAddress {
        mac,
        address,
        gateway,
        name_server: name_server(services)?,
    })
}

/// Reads a part of the document that is at this place.
fn parse<T: DeserializeOwned>(place: &str, value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("{place}: {error}"))
}

fn only(what: &str, list: Vec<Value>) -> Result<Value, String> {
    let count = list.len();
    match <[Value; 1]>::try_from(list) {
        Ok([only]) => Ok(only),
        Err(_) => Err(format!(
            "it has {count} {what}, and the ramdisk brings up one card, the one that the server boots on, with one address: give \
             that one"
        )),
    }
}

fn kind(value: &Value) -> &str {
    value["type"].as_str().unwrap_or_default()
}

/// A link that is a card as it is.
fn card(link: Value) -> Result<Value, String> {
    let why = match kind(&link) {
        kind if CARDS.contains(&kind) => return Ok(link),
        "bond" => "a bond, and the ramdisk joins no cards: give the link of the one that the server boots on, with the type phy"
            .to_owned(),
        "vlan" => "a VLAN, and the ramdisk sends no tagged frames: have the switch carry the network untagged to the card, and give \
             the card's link with the type phy"
            .to_owned(),
        other => format!("of the type '{other}': give phy for a card"),
    };
    Err(format!("links[0] is {why}"))
}

/// A network whose address is written in the document.
fn ipv4(network: Value) -> Result<Value, String> {
    let why = match kind(&network) {
        "ipv4" => return Ok(network),
        "ipv4_dhcp" => "and a ramdisk is called back only at an address that is known here",
        "ipv6" | "ipv6_dhcp" | "ipv6_slaac" => "and ramdisks call home over IPv4",
        _ => "which is none of OpenStack's",
    };
    Err(format!(
        "networks[0] is of the type '{}', {why}: give ipv4 with ip_address and netmask",
        kind(&network)
    ))
}

/// Whether a station can have this address: it is no group's, no network's and no broadcast.
fn is_stations(net: Ipv4Net) -> bool {
    let address = net.addr();
    let of_all = net.prefix_len() < 31 && (address == net.network() || address == net.broadcast());
    !(of_all || address.is_unspecified() || address.is_multicast() || address.is_broadcast())
}

/// The gateway of the default route, with what its route says of services.
fn default_route(
    address: Ipv4Net,
    routes: Vec<Route>,
) -> Result<(Option<Ipv4Addr>, Vec<Service>), String> {
    let count = routes.len();
    let mut routes = routes.into_iter();
    let Some(route) = routes.next() else {
        return Ok((None, Vec::new()));
    };
    let Route {
        network,
        netmask,
        gateway,
        services,
    } = route;
    if count > 1 || !network.is_unspecified() || !netmask.is_unspecified() {
        return Err(
            "networks[0]: routes may hold the default route, network 0.0.0.0 with netmask 0.0.0.0, and the ramdisk takes no other: \
             leave the others out"
                .to_owned(),
        );
    }
    if !address.contains(&gateway) || gateway == address.addr() {
        return Err(format!(
            "networks[0]: the gateway {gateway} is no other station of {}",
            address.trunc()
        ));
    }
    Ok((Some(gateway), services))
}

/// The one name server. It may be told in several places.
fn name_server(services: impl Iterator<Item = Service>) -> Result<Option<Ipv4Addr>, String> {
    let mut found: Option<Ipv4Addr> = None;
    for Service { kind, address } in services {
        if kind != "dns" {
            return Err(format!(
                "services: '{kind}' is none that the ramdisk uses: give dns, or none"
            ));
        }
        let address: Ipv4Addr = address.parse().map_err(|_| {
            format!("services: dns at '{address}' has no IPv4 address, and ramdisks have no other")
        })?;
        if found.is_some_and(|found| found != address) {
            return Err("services: the ramdisk asks one name server: give one".to_owned());
        }
        found = Some(address);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({
            "links": [{
                "id": "nic", "type": "phy", "ethernet_mac_address": "52-54-00-77-00-0A", "mtu": 1500, "vif_id": "x",
            }],
            "networks": [{
                "id": "boot", "network_id": "site-2", "link": "nic", "type": "ipv4",
                "ip_address": "192.0.2.10", "netmask": "255.255.255.128",
                "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}],
            }],
            "services": [{"type": "dns", "address": "192.0.2.53"}],
        })
    }

    #[test]
    fn a_card_with_one_address_is_read() {
        let fixed = read(document()).unwrap();
        assert_eq!(fixed.mac.to_string(), "52:54:00:77:00:0a");
        assert_eq!(fixed.address.to_string(), "192.0.2.10/25");
        assert_eq!(fixed.gateway, Some([192, 0, 2, 1].into()));
        assert_eq!(fixed.name_server, Some([192, 0, 2, 53].into()));
        assert_eq!(fixed.lease().mtu, None);
    }

    #[test]
    fn what_a_ramdisk_cannot_do_is_refused_with_the_reason() {
        let refused = |place: &str, value: Value| {
            let mut changed = document();
            match changed.pointer_mut(place) {
                Some(part) => *part = value,
                None => {
                    let (parent, key) = place.rsplit_once('/').unwrap();
                    changed.pointer_mut(parent).unwrap()[key] = value;
                }
            }
            read(changed).unwrap_err()
        };
        let link = document()["links"][0].clone();
        let route = |network: &str, gateway: &str| json!([{"network": network, "netmask": "0.0.0.0", "gateway": gateway}]);
        for (place, value, reason) in [
            ("/links/0/type", json!("bond"), "joins no cards"),
            ("/links/0/type", json!("vlan"), "untagged"),
            ("/links/0/type", json!("token-ring"), "give phy"),
            ("/links/0/mtu", json!(9000), "leave mtu out"),
            (
                "/links/0/bond_mode",
                json!("802.1ad"),
                "unknown field `bond_mode`",
            ),
            (
                "/links/0/ethernet_mac_address",
                json!("no"),
                "not a MAC address",
            ),
            ("/links", json!([link, link]), "2 links"),
            ("/links", json!([]), "0 links"),
            ("/networks", json!([]), "0 networks"),
            ("/networks/0/link", json!("other"), "the link is 'nic'"),
            ("/networks/0/type", json!("ipv4_dhcp"), "called back only"),
            ("/networks/0/type", json!("ipv6"), "over IPv4"),
            (
                "/networks/0/ip_address",
                json!("192.0.2.127"),
                "no station's own",
            ),
            (
                "/networks/0/ip_address",
                json!("192.0.2.300"),
                "networks[0]",
            ),
            ("/networks/0/netmask", json!("255.0.255.0"), "no mask"),
            (
                "/networks/0/routes",
                route("0.0.0.0", "198.51.100.1"),
                "no other station",
            ),
            (
                "/networks/0/routes",
                route("10.0.0.0", "192.0.2.1"),
                "takes no other",
            ),
            ("/services/0/type", json!("ntp"), "give dns"),
            ("/services/0/address", json!("2001:db8::53"), "IPv4"),
            (
                "/services",
                json!([{"type": "dns", "address": "192.0.2.53"}, {"type": "dns", "address": "192.0.2.54"}]),
                "one name server",
            ),
            ("/extra", json!(1), "unknown field `extra`"),
        ] {
            let why = refused(place, value);
            assert!(why.contains(reason), "{place}: {why}");
        }
        let why = read(json!({"links": [], "networks": []})).unwrap_err();
        assert!(why.contains("missing field `services`"), "{why}");
    }
}
