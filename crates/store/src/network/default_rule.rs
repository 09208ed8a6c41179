//! Default security group rules: what new security groups begin with. Administrators choose them for the whole cloud.

use super::security_group::{Direction, Ethertype, Remote, Rule, SecurityGroup};
use super::{Standard, resource};
use crate::record::{Record, Value};
use corten_model::ids::SecurityGroupRuleId;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultRule {
    pub id: SecurityGroupRuleId,
    #[serde(flatten)]
    pub standard: Standard,
    pub direction: Direction,
    pub ethertype: Ethertype,
    pub protocol: Option<String>,
    pub port_min: Option<u16>,
    pub port_max: Option<u16>,
    pub remote: DefaultRemote,
    /// The group that every project has begins with it.
    pub in_default_groups: bool,
    /// Every other group begins with it.
    pub in_other_groups: bool,
}

/// Whom a default rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DefaultRemote {
    /// The ports of the group itself, which is not there yet.
    Own(Own),
    Other(Remote),
}

/// Neutron's word for the group itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Own {
    #[serde(rename = "PARENT")]
    Parent,
}

impl DefaultRule {
    /// The rule of a group that begins with it.
    pub fn of(&self, group: &SecurityGroup, id: SecurityGroupRuleId, standard: Standard) -> Rule {
        Rule {
            id,
            standard,
            security_group_id: group.id,
            direction: self.direction,
            ethertype: self.ethertype,
            protocol: self.protocol.clone(),
            port_min: self.port_min,
            port_max: self.port_max,
            remote: match self.remote {
                DefaultRemote::Own(Own::Parent) => Remote::Group(group.id),
                DefaultRemote::Other(remote) => remote,
            },
        }
    }

    /// What it says, in one text.
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

impl Record for DefaultRule {
    const TABLE: &'static str = "default_security_group_rules";
    const COLUMNS: &'static [&'static str] = &[];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        Vec::new()
    }
}

resource!(
    DefaultRule,
    "Default Security Group rule",
    "DefaultSecurityGroupRuleNotFound"
);
