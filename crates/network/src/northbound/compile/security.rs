//! Security groups: what a guarded port may send and receive. Nothing, but for what a group allows.

use super::super::desired::Desired;
use super::super::names;
use super::super::schema::{ACL, ADDRESS_SET, PORT_GROUP};
use crate::ovsdb::Value;
use crate::plan::{
    AddressGroupPlan, Direction, Family, NetworkPlan, PortPlan, Ports, Protocol, Remote, Rule,
    SecurityGroupPlan, Unit,
};
use corten_model::ids::SecurityGroupId;
use ipnet::IpNet;

const DROP: i64 = 1001;
const ALLOW: i64 = 1002;
/// No rule of a group overrides it.
const FORBID: i64 = 1003;

/// What guarded ports may do without any rule: be told their addresses, and find neighbours and routers.
/// Answers of DHCP and DNS are OVN's own and pass by themselves.
const ALLOWANCES: [(&str, Direction, &str); 5] = [
    (
        "dhcp",
        Direction::Egress,
        "ip4 && udp.src == 68 && udp.dst == 67",
    ),
    (
        "dhcpv6",
        Direction::Egress,
        "ip6 && udp.src == 546 && udp.dst == 547",
    ),
    ("neighbours", Direction::Egress, "nd_ns || nd_na || nd_rs"),
    ("multicast", Direction::Egress, "mldv1 || mldv2"),
    ("neighbours", Direction::Ingress, "nd_ns || nd_na || nd_ra"),
];

/// What guarded ports may not do whatever their groups allow: pass for the network's DHCP server. OVN lets router
/// advertisements pass before it looks at any rule, so nothing is said of them here.
const PRETENCES: [(&str, Direction, &str); 2] = [
    ("dhcp-server", Direction::Egress, "ip4 && udp.dst == 68"),
    ("dhcpv6-server", Direction::Egress, "ip6 && udp.dst == 546"),
];

/// The group of a network's guarded ports, with what holds for all of them.
pub fn compile_guard(plan: &NetworkPlan, desired: &mut Desired) {
    let unit = Unit::Network(plan.id);
    let name = names::guarded_ports(plan.id);
    let key = names::guarded_ports_key(plan.id);
    desired
        .row(PORT_GROUP, unit, key.clone())
        .text("name", name.clone());
    let drops = [Direction::Ingress, Direction::Egress]
        .map(|direction| ("ip", direction, "ip", DROP, "drop"));
    let allowances =
        ALLOWANCES.map(|(what, direction, which)| (what, direction, which, ALLOW, "allow"));
    let pretences =
        PRETENCES.map(|(what, direction, which)| (what, direction, which, FORBID, "drop"));
    let all = drops.into_iter().chain(allowances).chain(pretences);
    for (what, direction, which, priority, action) in all {
        let (word, end) = ends(direction);
        let acl = format!("{key}/{action}/{what}/{word}");
        desired
            .row(ACL, unit, acl.clone())
            .set("priority", Value::one(priority))
            .text("direction", word)
            .text("match", format!("{end} == @{name} && ({which})"))
            .text("action", action);
        desired
            .row(PORT_GROUP, unit, key.clone())
            .refer("acls", acl);
    }
}

/// Puts a port into its groups. A port without port security is in none: nothing would be enforced on it, and it is
/// not what a rule about the group means.
pub fn compile_membership(network: &NetworkPlan, port: &PortPlan, desired: &mut Desired) {
    if !port.guarded {
        return;
    }
    desired.member(
        names::guarded_ports_key(network.id),
        names::port_key(port.id),
    );
    for group in &port.security_groups {
        desired.member(names::security_group_key(*group), names::port_key(port.id));
    }
}

/// The group itself, without rules.
pub fn describe_group(id: SecurityGroupId, desired: &mut Desired) {
    desired
        .row(
            PORT_GROUP,
            Unit::SecurityGroup(id),
            names::security_group_key(id),
        )
        .text("name", names::security_group(id));
}

pub fn compile_group(plan: &SecurityGroupPlan, desired: &mut Desired) {
    describe_group(plan.id, desired);
    let unit = Unit::SecurityGroup(plan.id);
    let action = if plan.stateful {
        "allow-related"
    } else {
        "allow-stateless"
    };
    for rule in &plan.rules {
        let Some(which) = which(rule) else { continue };
        let (direction, end) = ends(rule.direction);
        let key = names::rule_key(rule.id);
        desired
            .row(ACL, unit, key.clone())
            .set("priority", Value::one(ALLOW))
            .text("direction", direction)
            .text(
                "match",
                format!("{end} == @{} && {which}", names::security_group(plan.id)),
            )
            .text("action", action);
        desired
            .row(PORT_GROUP, unit, names::security_group_key(plan.id))
            .refer("acls", key);
    }
}

pub fn compile_addresses(plan: &AddressGroupPlan, desired: &mut Desired) {
    for family in [Family::V4, Family::V6] {
        let addresses = plan
            .addresses
            .iter()
            .filter(|network| of_family(network) == family);
        desired
            .row(
                ADDRESS_SET,
                Unit::AddressGroup(plan.id),
                names::address_group_key(plan.id, family),
            )
            .text("name", names::address_group(plan.id, family))
            .set(
                "addresses",
                Value::set(addresses.map(|network| network.trunc().to_string())),
            );
    }
}

/// OVN's word for a direction, and which end of a frame's way the guarded port is at.
fn ends(direction: Direction) -> (&'static str, &'static str) {
    match direction {
        Direction::Ingress => ("to-lport", "outport"),
        Direction::Egress => ("from-lport", "inport"),
    }
}

/// The packets that a rule means. None when there can be none: a remote prefix of the other family.
fn which(rule: &Rule) -> Option<String> {
    let ip = match rule.family {
        Family::V4 => "ip4",
        Family::V6 => "ip6",
    };
    let end = match rule.direction {
        Direction::Ingress => "src",
        Direction::Egress => "dst",
    };
    let remote = match rule.remote {
        Remote::Anyone => None,
        Remote::Prefix(network) if of_family(&network) != rule.family => return None,
        Remote::Prefix(network) if network.prefix_len() == 0 => None,
        Remote::Prefix(network) => Some(network.trunc().to_string()),
        Remote::Group(id) => Some(format!("${}", names::member_addresses(id, rule.family))),
        Remote::AddressGroup(id) => Some(format!("${}", names::address_group(id, rule.family))),
    };
    let remote = remote.map(|remote| format!("{ip}.{end} == {remote}"));
    let protocol = rule
        .protocol
        .map(|protocol| which_protocol(protocol, rule.family));
    let parts: Vec<_> = [Some(ip.to_owned()), remote, protocol]
        .into_iter()
        .flatten()
        .collect();
    Some(parts.join(" && "))
}

fn which_protocol(protocol: Protocol, family: Family) -> String {
    let with_ports = |word: &str, ports: Option<Ports>| match ports {
        None => word.to_owned(),
        Some((first, last)) if first == last => format!("{word}.dst == {first}"),
        Some((first, last)) => format!("{word}.dst >= {first} && {word}.dst <= {last}"),
    };
    let icmp = match family {
        Family::V4 => "icmp4",
        Family::V6 => "icmp6",
    };
    match protocol {
        Protocol::Tcp(ports) => with_ports("tcp", ports),
        Protocol::Udp(ports) => with_ports("udp", ports),
        Protocol::Sctp(ports) => with_ports("sctp", ports),
        Protocol::Icmp(None) => icmp.to_owned(),
        Protocol::Icmp(Some((kind, None))) => format!("{icmp}.type == {kind}"),
        Protocol::Icmp(Some((kind, Some(code)))) => {
            format!("{icmp}.type == {kind} && {icmp}.code == {code}")
        }
        Protocol::Number(number) => format!("ip.proto == {number}"),
    }
}

fn of_family(network: &IpNet) -> Family {
    super::family(network.addr())
}
