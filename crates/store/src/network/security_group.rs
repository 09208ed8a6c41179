//! Security groups: what may reach, and leave, the ports in them. What no rule allows is dropped.

use super::{Standard, resource};
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{AddressGroupId, PortId, SecurityGroupId, SecurityGroupRuleId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The name of the group that every project has.
pub const DEFAULT: &str = "default";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    pub id: SecurityGroupId,
    #[serde(flatten)]
    pub standard: Standard,
    /// Answers to what was allowed are allowed.
    pub stateful: bool,
    pub is_default: bool,
}

impl Record for SecurityGroup {
    const TABLE: &'static str = "security_groups";
    const COLUMNS: &'static [&'static str] = &["project_id", "name", "default_of"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        let project = &self.standard.project_id;
        vec![
            project.into(),
            self.standard.name.as_str().into(),
            self.is_default.then(|| project.to_string()).into(),
        ]
    }
}

resource!(SecurityGroup, "Security group", "SecurityGroupNotFound");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub id: SecurityGroupRuleId,
    #[serde(flatten)]
    pub standard: Standard,
    pub security_group_id: SecurityGroupId,
    pub direction: Direction,
    pub ethertype: Ethertype,
    /// As it was asked for: a name or a number.
    pub protocol: Option<String>,
    /// The first port, or the type of ICMP.
    pub port_min: Option<u16>,
    /// The last port, or the code of ICMP.
    pub port_max: Option<u16>,
    pub remote: Remote,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ethertype {
    IPv4,
    IPv6,
}

impl Ethertype {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IPv4 => "IPv4",
            Self::IPv6 => "IPv6",
        }
    }
}

/// Whom a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", content = "of", rename_all = "snake_case")]
pub enum Remote {
    Anyone,
    Prefix(IpNet),
    Group(SecurityGroupId),
    AddressGroup(AddressGroupId),
}

impl Rule {
    /// What the rule says, in one text. Two rules that say the same are one.
    pub fn meaning(&self) -> String {
        let number = |number: Option<u16>| number.map_or("-".to_owned(), |n| n.to_string());
        format!(
            "{} {} {} {} {} {:?}",
            self.direction.as_str(),
            self.ethertype.as_str(),
            self.protocol.as_deref().unwrap_or("-"),
            number(self.port_min),
            number(self.port_max),
            self.remote
        )
    }
}

impl Record for Rule {
    const TABLE: &'static str = "security_group_rules";
    const COLUMNS: &'static [&'static str] = &[
        "project_id",
        "security_group_id",
        "remote_group_id",
        "remote_address_group_id",
        "meaning",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        let group = match &self.remote {
            Remote::Group(id) => Some(id.to_string()),
            _ => None,
        };
        let addresses = match &self.remote {
            Remote::AddressGroup(id) => Some(id.to_string()),
            _ => None,
        };
        vec![
            (&self.standard.project_id).into(),
            (&self.security_group_id).into(),
            group.into(),
            addresses.into(),
            self.meaning().into(),
        ]
    }
}

resource!(Rule, "Security group rule", "SecurityGroupRuleNotFound");

/// The rules of a group, oldest first.
pub async fn rules_of(tx: &mut Tx, group: SecurityGroupId) -> Result<Vec<Rule>> {
    let mut found: Vec<Rule> = Query::new()
        .equals("security_group_id", &group)
        .all(tx)
        .await?;
    found.sort_by_key(|rule| (rule.standard.created_at, rule.id));
    Ok(found)
}

/// A port in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub security_group_id: SecurityGroupId,
    pub port_id: PortId,
}

impl Member {
    pub fn of_port(port: PortId) -> Query<Self> {
        Query::new().equals("port_id", &port)
    }

    pub fn of_group(group: SecurityGroupId) -> Query<Self> {
        Query::new().equals("security_group_id", &group)
    }
}

impl Record for Member {
    const TABLE: &'static str = "security_group_members";
    const COLUMNS: &'static [&'static str] = &["security_group_id", "port_id"];

    fn id(&self) -> String {
        format!("{}/{}", self.security_group_id, self.port_id)
    }

    fn columns(&self) -> Vec<Value> {
        vec![(&self.security_group_id).into(), (&self.port_id).into()]
    }
}
