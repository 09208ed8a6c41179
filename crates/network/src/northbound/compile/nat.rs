//! Address translation at a router: SNAT, floating IPs, port forwarding.

use super::super::desired::Desired;
use super::super::names;
use super::super::schema::{LOAD_BALANCER, NAT, ROUTER};
use crate::plan::{ForwardProtocol, RouterPlan, Unit};
use std::net::{IpAddr, SocketAddr};

pub fn compile(plan: &RouterPlan, desired: &mut Desired) {
    for snat in &plan.snat {
        let key = format!("snat/{}/{}/{}", plan.id, snat.external, snat.internal);
        let (external, internal) = (snat.external, snat.internal.trunc().to_string());
        translate(plan, key, "snat", external, internal, desired);
    }
    for floating in &plan.floating {
        let key = format!("floating/{}/{}", plan.id, floating.external);
        let internal = floating.internal.to_string();
        translate(
            plan,
            key.clone(),
            "dnat_and_snat",
            floating.external,
            internal,
            desired,
        );
        if let Some((port, mac)) = floating.port {
            desired
                .row(NAT, Unit::Router(plan.id), key)
                .text("logical_port", names::port(port))
                .text("external_mac", mac.to_string());
        }
    }
    forward(plan, desired);
}

fn translate(
    plan: &RouterPlan,
    key: String,
    kind: &str,
    external: IpAddr,
    internal: String,
    desired: &mut Desired,
) {
    let unit = Unit::Router(plan.id);
    desired
        .row(NAT, unit, key.clone())
        .text("type", kind)
        .text("external_ip", external.to_string())
        .text("logical_ip", internal);
    desired
        .row(ROUTER, unit, names::router_key(plan.id))
        .refer("nat", key);
}

/// OVN's load balancers do for ports what NAT does for addresses: one for each protocol, with one server each.
fn forward(plan: &RouterPlan, desired: &mut Desired) {
    let unit = Unit::Router(plan.id);
    for forward in &plan.forwards {
        let protocol = match forward.protocol {
            ForwardProtocol::Tcp => "tcp",
            ForwardProtocol::Udp => "udp",
            ForwardProtocol::Sctp => "sctp",
        };
        let key = format!("forwards/{}/{protocol}", plan.id);
        let outside = SocketAddr::new(forward.external, forward.external_port);
        let inside = SocketAddr::new(forward.internal, forward.internal_port);
        desired
            .row(LOAD_BALANCER, unit, key.clone())
            .text("name", format!("forwards-{}-{protocol}", plan.id))
            .text("protocol", protocol)
            .pair("vips", &outside.to_string(), inside.to_string());
        desired
            .row(ROUTER, unit, names::router_key(plan.id))
            .refer("load_balancer", key);
    }
}
