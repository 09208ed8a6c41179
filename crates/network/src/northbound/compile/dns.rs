//! Names of a network's ports, which OVN answers itself.

use super::super::desired::Desired;
use super::super::names;
use super::super::schema::{DNS, SWITCH};
use crate::ovsdb::Value;
use crate::plan::{NetworkPlan, Unit};
use std::collections::BTreeMap;
use std::net::IpAddr;

pub fn compile(plan: &NetworkPlan, desired: &mut Desired) {
    let mut forward: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut reverse: BTreeMap<String, String> = BTreeMap::new();
    for (name, address) in plan.ports.iter().flat_map(|port| &port.dns_names) {
        let name = name.to_lowercase();
        reverse
            .entry(reverse_name(*address))
            .or_insert_with(|| name.clone());
        forward.entry(name).or_default().push(address.to_string());
    }
    if forward.is_empty() {
        return;
    }
    let unit = Unit::Network(plan.id);
    let key = format!("dns/{}", plan.id);
    let forward = forward
        .into_iter()
        .map(|(name, addresses)| (name, addresses.join(" ")));
    desired
        .row(DNS, unit, key.clone())
        .set("records", Value::map(forward.chain(reverse)));
    desired
        .row(SWITCH, unit, names::network_key(plan.id))
        .refer("dns_records", key);
}

/// The name that asks for the name of an address (RFC 1035, section 3.5; RFC 3596, section 2.5).
fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let octets = address.octets();
            let nibbles = octets
                .iter()
                .rev()
                .map(|octet| format!("{:x}.{:x}.", octet & 15, octet >> 4));
            format!("{}ip6.arpa", nibbles.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_asked_for_backwards() {
        assert_eq!(
            reverse_name("10.1.2.3".parse().unwrap()),
            "3.2.1.10.in-addr.arpa"
        );
        assert_eq!(
            reverse_name("2001:db8::1".parse().unwrap()),
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }
}
