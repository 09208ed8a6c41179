//! A router: its ports, gateway and routes.

use super::super::desired::Desired;
use super::super::names;
use super::super::schema::{GATEWAY_CHASSIS, ROUTER, ROUTER_PORT, STATIC_ROUTE};
use super::{family, nat};
use crate::ovsdb::Value;
use crate::plan::{Family, Ipv6Mode, Mac, RouterGateway, RouterInterface, RouterPlan, Unit};
use corten_model::ids::PortId;
use ipnet::IpNet;
use std::net::IpAddr;

const HIGHEST_PRIORITY: i64 = 32_767;

pub fn compile(plan: &RouterPlan, desired: &mut Desired) {
    let row = desired.row(ROUTER, Unit::Router(plan.id), names::router_key(plan.id));
    row.text("name", names::router(plan.id))
        .pair("external_ids", "corten-name", plan.name.clone())
        // Many routers share an external network: each learns only the neighbours that it talks to.
        .pair("options", "dynamic_neigh_routers", "true")
        .pair("options", "always_learn_from_arp_request", "false");
    if !plan.enabled {
        row.set("enabled", Value::one(false));
    }
    for interface in &plan.interfaces {
        compile_interface(plan, interface, desired);
    }
    if let Some(gateway) = &plan.gateway {
        compile_gateway(plan, gateway, desired);
    }
    for (to, via) in &plan.routes {
        route(plan, *to, *via, None, desired);
    }
    nat::compile(plan, desired);
}

fn compile_interface(plan: &RouterPlan, interface: &RouterInterface, desired: &mut Desired) {
    port(
        plan,
        interface.port,
        interface.mac,
        &interface.addresses,
        interface.mtu,
        desired,
    );
    let Some(mode) = interface.ipv6 else { return };
    let mode = match mode {
        Ipv6Mode::Slaac => "slaac",
        Ipv6Mode::Stateless => "dhcpv6_stateless",
        Ipv6Mode::Stateful => "dhcpv6_stateful",
    };
    let key = names::router_port_key(interface.port);
    let row = desired.row(ROUTER_PORT, Unit::Router(plan.id), key);
    row.pair("ipv6_ra_configs", "address_mode", mode)
        .pair("ipv6_ra_configs", "send_periodic", "true")
        .pair("ipv6_ra_configs", "mtu", interface.mtu.to_string());
    if let Some(server) = interface.announced_dns {
        row.pair("ipv6_ra_configs", "rdnss", server.to_string());
    }
}

fn compile_gateway(plan: &RouterPlan, gateway: &RouterGateway, desired: &mut Desired) {
    let unit = Unit::Router(plan.id);
    port(
        plan,
        gateway.port,
        gateway.mac,
        &gateway.addresses,
        gateway.mtu,
        desired,
    );
    for (chassis, priority) in gateway.chassis.iter().zip((1..=HIGHEST_PRIORITY).rev()) {
        let key = format!("gateway/{}/{chassis}", gateway.port);
        desired
            .row(GATEWAY_CHASSIS, unit, key.clone())
            .text(
                "name",
                format!("{}_{chassis}", names::router_port(gateway.port)),
            )
            .text("chassis_name", chassis.clone())
            .set("priority", Value::one(priority));
        desired
            .row(ROUTER_PORT, unit, names::router_port_key(gateway.port))
            .refer("gateway_chassis", key);
    }
    for next_hop in &gateway.next_hops {
        let everywhere = match family(*next_hop) {
            Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
            Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
        };
        route(plan, everywhere, *next_hop, Some(gateway.port), desired);
    }
}

fn port(
    plan: &RouterPlan,
    id: PortId,
    mac: Mac,
    addresses: &[IpNet],
    mtu: u16,
    desired: &mut Desired,
) {
    let unit = Unit::Router(plan.id);
    let key = names::router_port_key(id);
    let row = desired.row(ROUTER_PORT, unit, key.clone());
    row.text("name", names::router_port(id))
        .text("mac", mac.to_string())
        .set(
            "networks",
            Value::set(addresses.iter().map(ToString::to_string)),
        );
    // Only where a packet can come that is too large are lengths looked at: it costs a lookup.
    if mtu < largest_mtu(plan) {
        row.pair("options", "gateway_mtu", mtu.to_string());
    }
    desired
        .row(ROUTER, unit, names::router_key(plan.id))
        .refer("ports", key);
}

fn largest_mtu(plan: &RouterPlan) -> u16 {
    let interfaces = plan.interfaces.iter().map(|interface| interface.mtu);
    let gateway = plan.gateway.iter().map(|gateway| gateway.mtu);
    interfaces.chain(gateway).max().unwrap_or(0)
}

fn route(plan: &RouterPlan, to: IpNet, via: IpAddr, out: Option<PortId>, desired: &mut Desired) {
    let unit = Unit::Router(plan.id);
    let key = format!("route/{}/{to}/{via}", plan.id);
    let row = desired.row(STATIC_ROUTE, unit, key.clone());
    row.text("route_table", "")
        .text("ip_prefix", to.to_string())
        .text("nexthop", via.to_string());
    if let Some(port) = out {
        row.text("output_port", names::router_port(port));
    }
    desired
        .row(ROUTER, unit, names::router_key(plan.id))
        .refer("static_routes", key);
}
