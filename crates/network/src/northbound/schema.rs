//! The tables and columns of the northbound database that are written, and how (ovn-nb(5)).

use crate::ovsdb::Monitored;

pub const DATABASE: &str = "OVN_Northbound";

pub const ACL: &str = "ACL";
pub const ADDRESS_SET: &str = "Address_Set";
pub const DHCP_OPTIONS: &str = "DHCP_Options";
pub const DNS: &str = "DNS";
pub const GATEWAY_CHASSIS: &str = "Gateway_Chassis";
pub const GLOBAL: &str = "NB_Global";
pub const LOAD_BALANCER: &str = "Load_Balancer";
pub const NAT: &str = "NAT";
pub const PORT_GROUP: &str = "Port_Group";
pub const QOS: &str = "QoS";
pub const ROUTER: &str = "Logical_Router";
pub const ROUTER_PORT: &str = "Logical_Router_Port";
pub const STATIC_ROUTE: &str = "Logical_Router_Static_Route";
pub const SWITCH: &str = "Logical_Switch";
pub const SWITCH_PORT: &str = "Logical_Switch_Port";

/// Everything that is watched. A column that is written is listed in [`kind`] too.
pub const MONITORED: Monitored = Monitored(&[
    (
        ACL,
        &["priority", "direction", "match", "action", "external_ids"],
    ),
    (ADDRESS_SET, &["name", "addresses", "external_ids"]),
    (DHCP_OPTIONS, &["cidr", "options", "external_ids"]),
    (DNS, &["records", "external_ids"]),
    (
        GATEWAY_CHASSIS,
        &["name", "chassis_name", "priority", "external_ids"],
    ),
    (GLOBAL, &["nb_cfg", "sb_cfg", "hv_cfg"]),
    (LOAD_BALANCER, &["name", "vips", "protocol", "external_ids"]),
    (
        NAT,
        &[
            "type",
            "external_ip",
            "external_mac",
            "logical_ip",
            "logical_port",
            "external_ids",
        ],
    ),
    (PORT_GROUP, &["name", "ports", "acls", "external_ids"]),
    (
        QOS,
        &[
            "priority",
            "direction",
            "match",
            "bandwidth",
            "external_ids",
        ],
    ),
    (
        ROUTER,
        &[
            "name",
            "enabled",
            "options",
            "ports",
            "static_routes",
            "policies",
            "nat",
            "load_balancer",
            "external_ids",
        ],
    ),
    (
        ROUTER_PORT,
        &[
            "name",
            "mac",
            "networks",
            "options",
            "gateway_chassis",
            "ipv6_ra_configs",
            "enabled",
            "external_ids",
        ],
    ),
    (
        STATIC_ROUTE,
        &[
            "ip_prefix",
            "nexthop",
            "output_port",
            "policy",
            "route_table",
            "external_ids",
        ],
    ),
    (
        SWITCH,
        &[
            "name",
            "ports",
            "acls",
            "qos_rules",
            "dns_records",
            "load_balancer",
            "other_config",
            "external_ids",
        ],
    ),
    (
        SWITCH_PORT,
        &[
            "name",
            "type",
            "options",
            "parent_name",
            "tag",
            "addresses",
            "port_security",
            "enabled",
            "dhcpv4_options",
            "dhcpv6_options",
            "up",
            "external_ids",
        ],
    ),
]);

/// How a column is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// At most one element: it is replaced.
    Single,
    /// Elements are added and taken away, so that what others add meanwhile is not lost and a large set is not sent.
    Set,
    Map,
}

pub fn kind(column: &str) -> Kind {
    match column {
        "external_ids" | "options" | "other_config" | "records" | "vips" | "bandwidth"
        | "ipv6_ra_configs" => Kind::Map,
        "ports" | "acls" | "qos_rules" | "dns_records" | "load_balancer" | "static_routes"
        | "policies" | "nat" | "addresses" | "port_security" | "networks" | "gateway_chassis" => {
            Kind::Set
        }
        _ => Kind::Single,
    }
}

/// The columns that plans say everything about. The members of port groups are said by ports, and what remains is
/// written by OVN.
pub fn owned(table: &'static str) -> impl Iterator<Item = &'static str> {
    let columns = MONITORED.tables().find(|(name, _)| *name == table);
    let columns = columns.map_or(&[][..], |(_, columns)| columns);
    columns.iter().copied().filter(move |column| match table {
        PORT_GROUP => *column != "ports",
        SWITCH_PORT => *column != "up",
        GLOBAL => false,
        _ => true,
    })
}

/// Rows of these tables live only as long as another row refers to them.
pub fn is_child(table: &str) -> bool {
    matches!(
        table,
        ACL | GATEWAY_CHASSIS | NAT | QOS | ROUTER_PORT | STATIC_ROUTE | SWITCH_PORT
    )
}

/// Whether rows can be told apart by name, should their mark be lost.
pub fn is_named(table: &str) -> bool {
    matches!(
        table,
        ADDRESS_SET | GATEWAY_CHASSIS | PORT_GROUP | ROUTER | ROUTER_PORT | SWITCH | SWITCH_PORT
    )
}
