//! A network: a logical switch and its ports.

use super::super::desired::Desired;
use super::super::names;
use super::super::schema::{SWITCH, SWITCH_PORT};
use super::{dhcp, dns, qos, security};
use crate::ovsdb::Value;
use crate::plan::{Mac, NetworkPlan, PortKind, PortPlan, Unit};
use std::collections::BTreeMap;

pub fn compile(plan: &NetworkPlan, desired: &mut Desired) {
    let unit = Unit::Network(plan.id);
    let key = names::network_key(plan.id);
    desired
        .row(SWITCH, unit, key.clone())
        .text("name", names::network(plan.id))
        .pair("external_ids", "corten-name", plan.name.clone());
    provider_port(plan, desired);
    for port in &plan.ports {
        compile_port(plan, port, desired);
        let switch = desired.row(SWITCH, unit, key.clone());
        switch.refer("ports", names::port_key(port.id));
    }
    security::compile_guard(plan, desired);
    dhcp::compile(plan, desired);
    dns::compile(plan, desired);
    qos::compile(plan, desired);
}

/// Joins the switch to the bridge that each host maps the physical network to.
fn provider_port(plan: &NetworkPlan, desired: &mut Desired) {
    let Some(provider) = &plan.provider else {
        return;
    };
    let unit = Unit::Network(plan.id);
    let key = names::provider_port_key(plan.id);
    let port = desired.row(SWITCH_PORT, unit, key.clone());
    port.text("name", names::provider_port(plan.id))
        .text("type", "localnet")
        .text("addresses", "unknown")
        .pair("options", "network_name", provider.physical_network.clone());
    if let Some(vlan) = provider.vlan {
        port.set("tag", Value::one(vlan));
    }
    if !plan.enabled {
        port.set("enabled", Value::one(false));
    }
    desired
        .row(SWITCH, unit, names::network_key(plan.id))
        .refer("ports", key);
}

fn compile_port(network: &NetworkPlan, plan: &PortPlan, desired: &mut Desired) {
    let unit = Unit::Network(network.id);
    let row = desired.row(SWITCH_PORT, unit, names::port_key(plan.id));
    row.text("name", names::port(plan.id)).text("type", "");
    if !(plan.enabled && network.enabled) {
        row.set("enabled", Value::one(false));
    }
    if let Some(host) = &plan.host {
        row.pair("options", "requested-chassis", host.clone());
    }
    match plan.kind {
        PortKind::Guest => {}
        PortKind::Service => {
            row.text("type", "localport");
        }
        PortKind::Sub { parent, vlan } => {
            row.set("parent_name", Value::one(names::port(parent)));
            row.set("tag", Value::one(vlan));
        }
        PortKind::Router { gateway, .. } => {
            row.text("type", "router").text("addresses", "router");
            row.pair("options", "router-port", names::router_port(plan.id));
            if gateway {
                // Neighbours outside learn of an address at once when it moves here.
                row.pair("options", "nat-addresses", "router");
            }
            return;
        }
    }
    row.set("addresses", Value::set(addresses(plan)));
    if plan.guarded {
        row.set("port_security", Value::set(allowed_sources(plan)));
    }
    security::compile_membership(network, plan, desired);
}

/// Where frames to the port's addresses go, and from what OVN answers ARP for it.
fn addresses(plan: &PortPlan) -> Vec<String> {
    let own = plan
        .addresses
        .iter()
        .map(|(_, address)| address.to_string());
    let own = [plan.mac.to_string()]
        .into_iter()
        .chain(own)
        .collect::<Vec<_>>()
        .join(" ");
    let unknown = plan.unknown_addresses.then(|| "unknown".to_owned());
    [own].into_iter().chain(unknown).collect()
}

/// What the port may send from: one line for each MAC, with the addresses that it may have.
fn allowed_sources(plan: &PortPlan) -> Vec<String> {
    let mut by_mac: BTreeMap<Mac, Vec<String>> = BTreeMap::new();
    let own = plan
        .addresses
        .iter()
        .map(|(_, address)| address.to_string());
    by_mac.entry(plan.mac).or_default().extend(own);
    for pair in &plan.allowed_pairs {
        let addresses = by_mac.entry(pair.mac.unwrap_or(plan.mac)).or_default();
        let network = pair.addresses;
        if network.prefix_len() == network.max_prefix_len() {
            addresses.push(network.addr().to_string());
        } else {
            addresses.push(network.trunc().to_string());
        }
    }
    let lines = by_mac.into_iter().map(|(mac, mut addresses)| {
        addresses.sort();
        addresses.dedup();
        let words = [mac.to_string()].into_iter().chain(addresses);
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect()
}
