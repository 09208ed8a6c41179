//! How things are called in the northbound database. Every name follows from an id.

use crate::plan::Family;
use corten_model::ids::{
    AddressGroupId, NetworkId, PortId, RouterId, SecurityGroupId, SecurityGroupRuleId, SubnetId,
};
use uuid::Uuid;

/// The `external_ids` that mark our rows: the unit that a row belongs to, and its key, which no other row has.
pub const UNIT: &str = "corten-unit";
pub const KEY: &str = "corten-key";

/// The UUID of a new row with this key.
pub fn row_uuid(key: &str) -> Uuid {
    const NAMESPACE: Uuid = Uuid::from_u128(0x7ce9_2a54_8f0b_4b6e_9c35_d1a0_44be_60f7);
    Uuid::new_v5(&NAMESPACE, key.as_bytes())
}

pub fn network(id: NetworkId) -> String {
    format!("network-{id}")
}

/// Also the `iface-id` of the interface on the host.
pub fn port(id: PortId) -> String {
    id.to_string()
}

pub fn provider_port(id: NetworkId) -> String {
    format!("provider-{id}")
}

pub fn router(id: RouterId) -> String {
    format!("router-{id}")
}

pub fn router_port(id: PortId) -> String {
    format!("router-port-{id}")
}

// Names of groups and sets stand in matches, where a dash would be an operator.

pub fn security_group(id: SecurityGroupId) -> String {
    format!("group_{}", id.0.simple())
}

/// Its guarded ports, which drop what no security group allows.
pub fn guarded_ports(id: NetworkId) -> String {
    format!("guarded_{}", id.0.simple())
}

pub fn address_group(id: AddressGroupId, family: Family) -> String {
    format!("addresses_{}_{}", id.0.simple(), of_family(family))
}

/// The address set that OVN derives of the addresses of a group's ports.
pub fn member_addresses(id: SecurityGroupId, family: Family) -> String {
    format!("{}_{}", security_group(id), of_family(family))
}

fn of_family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip4",
        Family::V6 => "ip6",
    }
}

pub fn network_key(id: NetworkId) -> String {
    format!("network/{id}")
}

pub fn port_key(id: PortId) -> String {
    format!("port/{id}")
}

/// The port whose row has this key.
pub fn port_of_key(key: &str) -> Option<PortId> {
    key.strip_prefix("port/")?.parse().ok()
}

pub fn provider_port_key(id: NetworkId) -> String {
    format!("provider-port/{id}")
}

pub fn dhcp_key(subnet: SubnetId, port: Option<PortId>) -> String {
    match port {
        None => format!("dhcp/{subnet}"),
        Some(port) => format!("dhcp/{subnet}/{port}"),
    }
}

pub fn router_key(id: RouterId) -> String {
    format!("router/{id}")
}

pub fn router_port_key(id: PortId) -> String {
    format!("router-port/{id}")
}

pub fn security_group_key(id: SecurityGroupId) -> String {
    format!("security-group/{id}")
}

pub fn rule_key(id: SecurityGroupRuleId) -> String {
    format!("rule/{id}")
}

pub fn guarded_ports_key(id: NetworkId) -> String {
    format!("guarded-ports/{id}")
}

pub fn address_group_key(id: AddressGroupId, family: Family) -> String {
    format!("address-group/{id}/{}", of_family(family))
}
