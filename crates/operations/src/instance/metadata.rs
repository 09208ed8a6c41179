//! What a guest is told about itself: the same documents on its config drive and from the metadata service.
//!
//! The forms are those of "Metadata service / config drive" in Nova's user guide: `openstack/{version}/…` with
//! `meta_data.json`, `network_data.json`, `user_data` and vendor data, and the tree of EC2. Rendering is pure; [`of`]
//! finds out who asks, by network and source address, for the service at 169.254.169.254.

use super::ports;
use crate::context::Context;
use crate::network::addresses::autoconfigured;
use crate::network::port::mac_of;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_model::ids::{InstanceId, NetworkId};
use corten_store::instances::{self, Instance};
use corten_store::network::network::Network;
use corten_store::network::port::{self, Address, FixedIp, Port};
use corten_store::network::subnet::{self, Subnet};
use corten_store::{Failure, Tx, record};
use ipnet::Ipv6Net;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

/// A network card with all that its guest is told of it.
#[derive(Debug, Clone)]
pub struct Card {
    pub tag: Option<String>,
    pub port: Port,
    pub network: Network,
    pub subnets: Vec<Subnet>,
    /// The first public address that leads to it.
    pub public_ip: Option<IpAddr>,
}

/// An instance as it is described to its guest.
#[derive(Debug, Clone)]
pub struct Metadata {
    pub instance: Instance,
    pub cards: Vec<Card>,
    /// Only for the config drive, which nobody but the guest reads.
    pub admin_pass: Option<String>,
    /// The zone of an instance that was not asked to be in one.
    pub default_zone: String,
}

/// A document, or the list of what is below a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub media_type: &'static str,
    pub bytes: Vec<u8>,
}

/// The versions of the OpenStack form, each with what it has that the one before has not.
const OPENSTACK_VERSIONS: [&str; 9] = [
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
];

const EC2_VERSIONS: [&str; 9] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
];

const LATEST: &str = "latest";
const DOCUMENTS: [(&str, &str); 5] = [
    ("meta_data.json", "2012-08-10"),
    ("user_data", "2012-08-10"),
    ("vendor_data.json", "2013-10-17"),
    ("network_data.json", "2015-10-15"),
    ("vendor_data2.json", "2016-10-06"),
];

/// Read as the others are, and posted to; on no config drive.
const PASSWORD: &str = "password";
const PASSWORD_SINCE: &str = "2013-04-04";

/// Whether a guest may post its password to this path.
pub fn takes_password(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    matches!(parts.as_slice(), ["openstack", version, PASSWORD]
        if is_one_of(&OPENSTACK_VERSIONS, version) && PASSWORD_SINCE <= *version)
}

fn text(bytes: impl Into<Vec<u8>>) -> Content {
    Content {
        media_type: "text/plain; charset=utf-8",
        bytes: bytes.into(),
    }
}

fn document(value: &Value) -> Content {
    Content {
        media_type: "application/json",
        bytes: value.to_string().into_bytes(),
    }
}

fn lines<'a>(names: impl IntoIterator<Item = &'a str>) -> Content {
    text(names.into_iter().collect::<Vec<_>>().join("\n"))
}

impl Metadata {
    /// What the service answers for a path; `None` where there is nothing.
    pub fn at(&self, path: &str) -> Option<Content> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match parts.as_slice() {
            [] => Some(lines(EC2_VERSIONS.into_iter().chain([LATEST]))),
            ["openstack"] => Some(lines(OPENSTACK_VERSIONS.into_iter().chain([LATEST]))),
            ["openstack", "content", name] => self.injected(name).map(text),
            ["openstack", version] if is_one_of(&OPENSTACK_VERSIONS, version) => {
                let known = DOCUMENTS
                    .iter()
                    .filter(|(name, since)| *since <= *version && self.openstack(name).is_some());
                let password = (PASSWORD_SINCE <= *version).then_some(PASSWORD);
                Some(lines(known.map(|(name, _)| *name).chain(password)))
            }
            ["openstack", _, PASSWORD] if takes_password(path) => {
                let password = self.instance.guest_password.as_deref();
                Some(text(password.unwrap_or_default()))
            }
            ["openstack", version, name] if is_one_of(&OPENSTACK_VERSIONS, version) => {
                let since = DOCUMENTS.iter().find(|(known, _)| known == name)?.1;
                (since <= *version).then(|| self.openstack(name)).flatten()
            }
            [version] if is_one_of(&EC2_VERSIONS, version) => {
                let user_data = self.user_data().map(|_| "user-data");
                Some(lines(["meta-data/"].into_iter().chain(user_data)))
            }
            [version, "user-data"] if is_one_of(&EC2_VERSIONS, version) => {
                self.user_data().map(text)
            }
            [version, "meta-data", below @ ..] if is_one_of(&EC2_VERSIONS, version) => {
                branch(&self.ec2(), below)
            }
            _ => None,
        }
    }

    /// The files of the config drive: their paths and contents.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for (index, _) in self.instance.intent.personality.iter().enumerate() {
            let name = format!("{index:04}");
            files.extend(
                self.injected(&name)
                    .map(|bytes| (format!("openstack/content/{name}"), bytes)),
            );
        }
        for (name, _) in DOCUMENTS {
            files.extend(
                self.openstack(name)
                    .map(|content| (format!("openstack/latest/{name}"), content.bytes)),
            );
        }
        files.push((
            "ec2/latest/meta-data.json".to_owned(),
            self.ec2().to_string().into_bytes(),
        ));
        files.extend(
            self.user_data()
                .map(|bytes| ("ec2/latest/user-data".to_owned(), bytes)),
        );
        files
    }

    fn openstack(&self, name: &str) -> Option<Content> {
        match name {
            "meta_data.json" => Some(document(&self.meta_data())),
            "network_data.json" => Some(document(&network_data(&self.cards))),
            "vendor_data.json" | "vendor_data2.json" => Some(document(&json!({}))),
            "user_data" => self.user_data().map(text),
            _ => None,
        }
    }

    fn user_data(&self) -> Option<Vec<u8>> {
        let encoded = self.instance.intent.user_data.as_ref()?;
        STANDARD.decode(encoded).ok()
    }

    fn injected(&self, name: &str) -> Option<Vec<u8>> {
        let (_, content) = self
            .instance
            .intent
            .personality
            .get(name.parse::<usize>().ok()?)?;
        Some(STANDARD.decode(content).unwrap_or_default())
    }

    fn zone(&self) -> &str {
        let zone = self.instance.intent.availability_zone.as_ref();
        zone.unwrap_or(&self.default_zone)
    }

    fn meta_data(&self) -> Value {
        let (instance, intent) = (&self.instance, &self.instance.intent);
        let mut meta_data = json!({
            "uuid": instance.id,
            "name": intent.name,
            "hostname": intent.hostname,
            "availability_zone": self.zone(),
            "launch_index": instance.launch_index,
            "project_id": instance.project_id,
            "meta": intent.metadata,
            "devices": self.devices(),
            "dedicated_cpus": [],
        });
        if let Some(key) = &intent.key {
            meta_data["public_keys"] = json!({ &key.name: key.public_key });
            meta_data["keys"] =
                json!([{"name": key.name, "type": key.kind, "data": key.public_key}]);
        }
        if let Some(password) = &self.admin_pass {
            meta_data["admin_pass"] = json!(password);
        }
        if !intent.personality.is_empty() {
            let files = intent.personality.iter().enumerate().map(|(index, (path, _))| {
                json!({"path": path, "content_path": format!("/content/{index:04}")})
            });
            meta_data["files"] = files.collect();
        }
        meta_data
    }

    /// The cards that have a tag, for programs in the guest that look for one.
    fn devices(&self) -> Value {
        let tagged = self.cards.iter().filter_map(|card| {
            let tag = card.tag.as_ref()?;
            Some(json!({
                "type": "nic",
                "bus": "none",
                "address": "none",
                "mac": card.port.mac_address,
                "tags": [tag],
            }))
        });
        tagged.collect()
    }

    fn ec2(&self) -> Value {
        let (instance, intent) = (&self.instance, &self.instance.intent);
        let mut tree = json!({
            "ami-id": intent.image.as_ref().map(|image| short("ami", image.id.0.simple())),
            "ami-launch-index": instance.launch_index,
            "ami-manifest-path": "unknown",
            "block-device-mapping": {"ami": "vda", "root": "/dev/vda"},
            "hostname": intent.hostname,
            "instance-action": "none",
            "instance-id": short("i", instance.id.0.simple()),
            "instance-type": intent.flavor.name,
            "local-hostname": intent.hostname,
            "placement": {"availability-zone": self.zone()},
            "public-hostname": intent.hostname,
            "reservation-id": instance.reservation_id,
        });
        let first = self.cards.first();
        let ipv4 = first.and_then(|card| {
            let addresses = card.port.addresses.iter();
            addresses
                .map(|fixed| fixed.ip_address)
                .find(IpAddr::is_ipv4)
        });
        tree["local-ipv4"] = json!(ipv4.map_or(String::new(), |ip| ip.to_string()));
        let public = first.and_then(|card| card.public_ip);
        tree["public-ipv4"] = json!(public.map_or(String::new(), |ip| ip.to_string()));
        if let Some(card) = first {
            tree["mac"] = json!(card.port.mac_address);
        }
        if let Some(key) = &intent.key {
            tree["public-keys"] =
                json!({"0": {"_name": format!("0={}", key.name), "openssh-key": key.public_key}});
        }
        tree
    }
}

fn short(prefix: &str, id: impl std::fmt::Display) -> String {
    format!("{prefix}-{}", &id.to_string()[..8])
}

fn is_one_of(versions: &[&str], version: &str) -> bool {
    version == LATEST || versions.contains(&version)
}

/// The list of what is below a place in the tree, or the value that is there.
fn branch(tree: &Value, below: &[&str]) -> Option<Content> {
    let found = below.iter().try_fold(tree, |tree, name| {
        tree.as_object()?.get(*name).filter(|_| *name != "_name")
    })?;
    Some(match found {
        Value::Object(members) => text(names(members).join("\n")),
        Value::String(value) => text(value.as_str()),
        Value::Null => text(""),
        other => text(other.to_string()),
    })
}

fn names(members: &Map<String, Value>) -> Vec<String> {
    let shown = members.iter().filter(|(name, _)| *name != "_name");
    shown
        .map(|(name, value)| match (value.get("_name"), value) {
            (Some(Value::String(shown)), _) => shown.clone(),
            (_, Value::Object(_)) => format!("{name}/"),
            _ => name.clone(),
        })
        .collect()
}

/// `network_data.json`: a link for each card, and a network for each of its addresses.
pub fn network_data(cards: &[Card]) -> Value {
    let (mut links, mut networks, mut servers) = (Vec::new(), Vec::new(), BTreeSet::new());
    for card in cards {
        let port = &card.port;
        let link = format!("tap{}", &port.id.to_string()[..11]);
        links.push(json!({
            "id": link,
            "vif_id": port.id,
            "type": "ovs",
            "mtu": card.network.mtu,
            "ethernet_mac_address": port.mac_address,
        }));
        for fixed in &port.addresses {
            let Some(subnet) = card
                .subnets
                .iter()
                .find(|subnet| subnet.id == fixed.subnet_id)
            else {
                continue;
            };
            servers.extend(subnet.dns_servers.iter().copied());
            let mut network = address(fixed, subnet);
            network["id"] = json!(format!("network{}", networks.len()));
            network["link"] = json!(link);
            network["network_id"] = json!(port.network_id);
            networks.push(network);
        }
    }
    let services = servers
        .iter()
        .map(|server| json!({"type": "dns", "address": server}));
    json!({"links": links, "networks": networks, "services": services.collect::<Vec<_>>()})
}

/// How a guest gets one of its addresses.
fn address(fixed: &FixedIp, subnet: &Subnet) -> Value {
    let version = if fixed.ip_address.is_ipv4() { 4 } else { 6 };
    let services: Vec<_> = subnet
        .dns_servers
        .iter()
        .map(|server| json!({"type": "dns", "address": server}))
        .collect();
    let kind = match subnet.ipv6_address_mode {
        Some(mode) if version == 6 => Some(format!("ipv6_{}", mode.as_str())),
        _ if subnet.dhcp => Some(format!("ipv{version}_dhcp")),
        _ => None,
    };
    if let Some(kind) = kind {
        return json!({"type": kind, "services": services});
    }
    let gateway = subnet.gateway.map(|gateway| {
        let everywhere = if version == 4 {
            ("0.0.0.0", "0.0.0.0")
        } else {
            ("::", "::")
        };
        json!({"network": everywhere.0, "netmask": everywhere.1, "gateway": gateway})
    });
    let more = subnet.host_routes.iter().map(|route| {
        json!({
            "network": route.destination.network(),
            "netmask": route.destination.netmask(),
            "gateway": route.nexthop,
        })
    });
    json!({
        "type": format!("ipv{version}"),
        "ip_address": fixed.ip_address,
        "netmask": subnet.cidr.netmask(),
        "routes": gateway.into_iter().chain(more).collect::<Vec<_>>(),
        "services": services,
    })
}

/// The instance that asks the metadata service of a network from this address, if one does.
pub async fn of(
    cx: &Context,
    network: NetworkId,
    source: IpAddr,
) -> Result<Option<Metadata>, Failure> {
    let mut tx = cx.store.read().await?;
    let Some(port) = holder(&mut tx, network, source).await? else {
        return Ok(None);
    };
    let Ok(id) = port.device_id.parse::<InstanceId>() else {
        return Ok(None);
    };
    let Some(instance) = instances::get(&mut tx, id).await? else {
        return Ok(None);
    };
    // Whoever has a port may write any id into it: the instance must know the port as its own.
    if !instance
        .intent
        .nics
        .iter()
        .any(|nic| nic.port_id == port.id)
    {
        return Ok(None);
    }
    Ok(Some(Metadata {
        cards: ports::cards(&mut tx, &instance).await?,
        instance,
        admin_pass: None,
        default_zone: cx.settings.compute.default_availability_zone.clone(),
    }))
}

/// Whether who asks from this address is a guest of this host.
pub async fn is_asked_on(
    tx: &mut Tx,
    host: &str,
    network: NetworkId,
    source: IpAddr,
) -> Result<bool, Failure> {
    let port = holder(tx, network, source).await?;
    Ok(port.is_some_and(|port| port.binding.host == host))
}

/// The port of a network that has this address, be it the link-local one that its guest makes.
async fn holder(tx: &mut Tx, network: NetworkId, source: IpAddr) -> Result<Option<Port>, Failure> {
    if let IpAddr::V6(link_local) = source
        && link_local.is_unicast_link_local()
    {
        return Ok(port::of_network(tx, network)
            .await?
            .into_iter()
            .find(|port| own_link_local(port) == Some(link_local)));
    }
    for subnet in subnet::of_network(tx, network).await? {
        let key = Address::key(subnet.id, source);
        if let Some(held) = record::get::<Address>(tx, key).await? {
            return Ok(record::get::<Port>(tx, held.port_id).await?);
        }
    }
    Ok(None)
}

fn own_link_local(port: &Port) -> Option<Ipv6Addr> {
    let prefix: Ipv6Net = "fe80::/64".parse().ok()?;
    Some(autoconfigured(prefix, mac_of(port).ok()?))
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
