//! What rows a plan wants. Pure: the same plan always wants the same rows.

mod dhcp;
mod dns;
mod nat;
mod qos;
mod router;
mod security;
mod switch;

use super::desired::Desired;
use crate::plan::{Family, Plan};
use std::net::IpAddr;

pub fn compile(plan: &Plan) -> Desired {
    let mut desired = Desired::default();
    match plan {
        Plan::Network(network) => switch::compile(network, &mut desired),
        Plan::Router(router) => router::compile(router, &mut desired),
        Plan::SecurityGroup(group) => security::compile_group(group, &mut desired),
        Plan::AddressGroup(group) => security::compile_addresses(group, &mut desired),
    }
    desired
}

pub use security::describe_group;

fn family(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

/// A string constant of OVN's expression language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A set of constants of OVN's expression language.
fn braced(items: impl IntoIterator<Item = impl ToString>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    format!("{{{}}}", items.join(", "))
}
