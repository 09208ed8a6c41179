//! Ports: what a guest, a router or a service plugs into a network, with the addresses it holds.

use super::security_group::Member;
use super::{Standard, resource};
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::record::{self, Query, Record, Value};
use corten_model::ids::{NetworkId, PortId, QosPolicyId, SecurityGroupId, SubnetId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    pub id: PortId,
    #[serde(flatten)]
    pub standard: Standard,
    pub network_id: NetworkId,
    /// Lower case, with colons.
    pub mac_address: String,
    pub addresses: Vec<FixedIp>,
    pub enabled: bool,
    /// What it is plugged into: an instance, a router; empty for nothing yet.
    pub device_id: String,
    pub device_owner: String,
    pub security_groups: BTreeSet<SecurityGroupId>,
    /// Only its own addresses may be sent from it, and its groups' rules hold.
    pub port_security: bool,
    pub allowed_pairs: Vec<AllowedPair>,
    pub dhcp_options: Vec<DhcpOption>,
    pub dns_name: String,
    pub qos_policy_id: Option<QosPolicyId>,
    pub binding: Binding,
    /// The fabric says that its host has wired it.
    pub up: bool,
}

/// An address of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FixedIp {
    pub subnet_id: SubnetId,
    pub ip_address: IpAddr,
}

/// Other addresses that may be sent from a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedPair {
    /// The port's own if none is given.
    pub mac_address: Option<String>,
    pub ip_address: IpNet,
}

/// Something that DHCP tells this port alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpOption {
    pub name: String,
    pub value: String,
    pub ip_version: u8,
}

/// Where a port is plugged in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The host's name; empty while it is on none.
    pub host: String,
    /// `normal`, `direct`, `baremetal`, …
    pub vnic_type: String,
    pub profile: serde_json::Map<String, serde_json::Value>,
}

impl Record for Port {
    const TABLE: &'static str = "ports";
    const COLUMNS: &'static [&'static str] = &[
        "project_id",
        "name",
        "network_id",
        "mac_address",
        "device_id",
        "device_owner",
        "host",
        "qos_policy_id",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.standard.project_id).into(),
            self.standard.name.as_str().into(),
            (&self.network_id).into(),
            self.mac_address.as_str().into(),
            self.device_id.as_str().into(),
            self.device_owner.as_str().into(),
            self.binding.host.as_str().into(),
            self.qos_policy_id.map(|id| id.to_string()).into(),
        ]
    }
}

resource!(Port, "Port", "PortNotFound");

/// An address in use: the constraint that gives it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub subnet_id: SubnetId,
    pub address: IpAddr,
    pub port_id: PortId,
}

impl Address {
    pub fn key(subnet: SubnetId, address: IpAddr) -> String {
        format!("{subnet}/{address}")
    }
}

impl Record for Address {
    const TABLE: &'static str = "addresses";
    const COLUMNS: &'static [&'static str] = &["subnet_id", "port_id"];

    fn id(&self) -> String {
        Self::key(self.subnet_id, self.address)
    }

    fn columns(&self) -> Vec<Value> {
        vec![(&self.subnet_id).into(), (&self.port_id).into()]
    }
}

/// The ports of a network.
pub async fn of_network(tx: &mut Tx, network: NetworkId) -> Result<Vec<Port>> {
    Query::new().equals("network_id", &network).all(tx).await
}

/// What is plugged into an instance, a router or another device, in the order it was made.
pub async fn of_device(tx: &mut Tx, device: &str) -> Result<Vec<Port>> {
    let mut found: Vec<Port> = Query::new().equals("device_id", device).all(tx).await?;
    found.sort_by_key(|port| (port.standard.created_at, port.id));
    Ok(found)
}

/// The addresses that a subnet has given out.
pub async fn addresses_of_subnet(tx: &mut Tx, subnet: SubnetId) -> Result<Vec<Address>> {
    Query::new().equals("subnet_id", &subnet).all(tx).await
}

/// Adds a port with its places in security groups. Its addresses are claimed one by one ([`claim`]).
pub async fn insert(tx: &mut Tx, port: &Port) -> Result<()> {
    record::insert(tx, port).await?;
    join_groups(tx, port).await
}

/// Writes a port and its places in security groups.
pub async fn update(tx: &mut Tx, port: &Port) -> Result<()> {
    record::update(tx, port).await?;
    Member::of_port(port.id).delete(tx).await?;
    join_groups(tx, port).await
}

async fn join_groups(tx: &mut Tx, port: &Port) -> Result<()> {
    for group in &port.security_groups {
        let member = Member {
            security_group_id: *group,
            port_id: port.id,
        };
        record::insert(tx, &member).await?;
    }
    Ok(())
}

/// Takes an address for a port. False if another has it.
pub async fn claim(tx: &mut Tx, address: Address) -> Result<bool> {
    match record::insert(tx, &address).await {
        Ok(()) => Ok(true),
        Err(Error::Exists { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives an address back.
pub async fn release(tx: &mut Tx, fixed: FixedIp) -> Result<()> {
    record::delete::<Address>(tx, Address::key(fixed.subnet_id, fixed.ip_address)).await?;
    Ok(())
}
