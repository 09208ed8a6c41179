//! The rules of security groups: each allows something.

use super::access::{self, Narrow, list as visible, lock};
use super::{commit, quota};
use crate::context::Context;
use corten_iam::action::network::SECURITY_GROUPS_WRITE;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{AddressGroupId, ProjectId, SecurityGroupId, SecurityGroupRuleId};
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::Standard;
use corten_store::network::address_group::AddressGroup;
use corten_store::network::security_group::{
    Direction, Ethertype, Remote, Rule, SecurityGroup, rules_of,
};
use corten_store::{Error, Failure, Tx, record};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Neutron's names of protocols, with their numbers (IANA "Protocol Numbers").
const PROTOCOLS: [(&str, u8); 22] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("egp", 8),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6-encap", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ospf", 89),
    ("vrrp", 112),
    ("pgm", 113),
    ("sctp", 132),
    ("udplite", 136),
];
/// Other names of the ICMP of IPv6.
const ICMP6_NAMES: [&str; 2] = ["icmpv6", "ipv6-icmp"];

/// The number of a protocol, by name or number.
pub fn protocol_number(protocol: &str) -> Option<u8> {
    if ICMP6_NAMES.contains(&protocol) {
        return Some(58);
    }
    let named = PROTOCOLS.iter().find(|(name, _)| *name == protocol);
    named
        .map(|(_, number)| *number)
        .or_else(|| protocol.parse().ok())
}

#[derive(Debug, Clone)]
pub struct NewRule {
    pub project_id: Option<ProjectId>,
    pub security_group_id: SecurityGroupId,
    pub description: String,
    pub direction: Direction,
    pub ethertype: Ethertype,
    pub protocol: Option<String>,
    pub port_min: Option<i64>,
    pub port_max: Option<i64>,
    pub remote_prefix: Option<IpNet>,
    pub remote_group_id: Option<SecurityGroupId>,
    pub remote_address_group_id: Option<AddressGroupId>,
    pub tags: BTreeSet<String>,
}

/// Adds rules, all or none.
pub async fn create(
    cx: &Arc<Context>,
    actor: &Actor,
    new: Vec<NewRule>,
) -> Result<Vec<Rule>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut made = Vec::new();
    for new in new {
        made.push(insert(cx, actor, &mut tx, new).await?);
    }
    let units: BTreeSet<_> = made
        .iter()
        .map(|rule| Unit::SecurityGroup(rule.security_group_id))
        .collect();
    let units: Vec<_> = units.into_iter().collect();
    commit(tx, cx, &actor.origin(), &units).await?;
    Ok(made)
}

async fn insert(cx: &Context, actor: &Actor, tx: &mut Tx, new: NewRule) -> Result<Rule, Failure> {
    let group = lock::<SecurityGroup>(cx, actor, tx, new.security_group_id).await?;
    let project = new
        .project_id
        .clone()
        .filter(|project| !project.as_str().is_empty())
        .unwrap_or_else(|| group.standard.project_id.clone());
    cx.policy
        .check(actor, SECURITY_GROUPS_WRITE, &Target::project(&project))?;
    quota::check(tx, cx, &project, quota::SECURITY_GROUP_RULE, 1).await?;
    let remote = remote(cx, actor, tx, &new).await?;
    let protocol = plain_protocol(new.protocol.as_deref());
    let (port_min, port_max) = ports(
        protocol.as_deref(),
        new.ethertype,
        new.port_min,
        new.port_max,
    )?;
    let NewRule {
        project_id: _,
        security_group_id,
        description,
        direction,
        ethertype,
        protocol: _,
        port_min: _,
        port_max: _,
        remote_prefix: _,
        remote_group_id: _,
        remote_address_group_id: _,
        tags,
    } = new;
    let rule = Rule {
        id: SecurityGroupRuleId::random(),
        standard: Standard {
            tags,
            ..Standard::new(project, String::new(), description, cx.now())
        },
        security_group_id,
        direction,
        ethertype,
        protocol,
        port_min,
        port_max,
        remote,
    };
    match record::insert(tx, &rule).await {
        Ok(()) => Ok(rule),
        Err(Error::Exists { .. }) => Err(repeated(tx, &rule).await?.into()),
        Err(other) => Err(other.into()),
    }
}

/// The group has a rule that says the same.
async fn repeated(tx: &mut Tx, rule: &Rule) -> Result<Refusal, Failure> {
    let group = rule.security_group_id;
    let present = rules_of(tx, group).await?;
    let meaning = rule.meaning();
    let same = present.iter().find(|other| other.meaning() == meaning);
    let its_id = same.map_or_else(String::new, |same| format!(" Rule id is {}.", same.id));
    Ok(Refusal::conflict(format!(
        "Security group rule already exists.{its_id} Group {group} has one that says: {}. Use that one, or ask for one \
         that differs.",
        in_words(rule)
    ))
    .named("SecurityGroupRuleExists"))
}

/// What a rule says, for people.
fn in_words(rule: &Rule) -> String {
    let protocol = rule.protocol.as_deref().unwrap_or("any protocol");
    let is_icmp = matches!(protocol_number(protocol), Some(1 | 58));
    let ports = match (rule.port_min, rule.port_max) {
        (None, None) => String::new(),
        (Some(kind), None) if is_icmp => format!(", type {kind}"),
        (Some(kind), Some(code)) if is_icmp => format!(", type {kind}, code {code}"),
        (Some(min), Some(max)) => format!(", ports {min} to {max}"),
        (Some(port), None) | (None, Some(port)) => format!(", port {port}"),
    };
    let remote = match &rule.remote {
        Remote::Anyone => "anywhere".to_owned(),
        Remote::Prefix(prefix) => prefix.to_string(),
        Remote::Group(id) => format!("group {id}"),
        Remote::AddressGroup(id) => format!("address group {id}"),
    };
    let way = match rule.direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    format!(
        "{} {} {protocol}{ports}, {way} {remote}",
        rule.direction.as_str(),
        rule.ethertype.as_str()
    )
}

/// Lower case; none for what stands for all.
pub(super) fn plain_protocol(asked: Option<&str>) -> Option<String> {
    let protocol = asked.map(str::to_ascii_lowercase);
    protocol.filter(|name| name != "any" && name != "0")
}

/// A prefix is of the rule's own family.
pub(super) fn check_prefix(prefix: IpNet, ethertype: Ethertype) -> Result<(), Refusal> {
    if prefix.addr().is_ipv4() == (ethertype == Ethertype::IPv4) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "Conflicting value ethertype {} for CIDR {prefix}",
        ethertype.as_str()
    ))
    .named("SecurityGroupRuleParameterConflict"))
}

async fn remote(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    new: &NewRule,
) -> Result<Remote, Failure> {
    match (
        new.remote_prefix,
        new.remote_group_id,
        new.remote_address_group_id,
    ) {
        (None, None, None) => Ok(Remote::Anyone),
        (Some(prefix), None, None) => {
            check_prefix(prefix, new.ethertype)?;
            Ok(Remote::Prefix(prefix))
        }
        (None, Some(group), None) => {
            access::get::<SecurityGroup>(cx, actor, tx, group).await?;
            Ok(Remote::Group(group))
        }
        (None, None, Some(group)) => {
            access::get::<AddressGroup>(cx, actor, tx, group).await?;
            Ok(Remote::AddressGroup(group))
        }
        _ => Err(several_remotes().into()),
    }
}

pub(super) fn several_remotes() -> Refusal {
    Refusal::invalid(
        "Only remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.",
    )
    .named("SecurityGroupMultipleRemoteEntites")
}

/// The first and last port of a rule, or its ICMP type and code. The texts are those that OpenStack's clients know.
pub(super) fn ports(
    protocol: Option<&str>,
    ethertype: Ethertype,
    min: Option<i64>,
    max: Option<i64>,
) -> Result<(Option<u16>, Option<u16>), Refusal> {
    let number = match protocol {
        None => None,
        Some(name) => Some(protocol_number(name).ok_or_else(|| {
            Refusal::invalid(format!(
                "Security group rule protocol {name} not supported. Only protocol values {} and integer \
                 representations [0 to 255] are supported.",
                PROTOCOLS.map(|(name, _)| name).join(", ")
            ))
            .named("SecurityGroupRuleInvalidProtocol")
        })?),
    };
    // The extension headers of IPv6, and its ICMP.
    if matches!(number, Some(43 | 44 | 58..=60)) && ethertype == Ethertype::IPv4 {
        return Err(conflict(ethertype, protocol));
    }
    match number {
        Some(1 | 58) => icmp(min, max),
        // Those whose ports the fabric looks into.
        Some(6 | 17 | 132) => range(min, max),
        _ if min.is_none() && max.is_none() => Ok((None, None)),
        None => Err(Refusal::invalid(
            "Must also specify protocol if port range is given.",
        )
        .named("SecurityGroupProtocolRequiredWithPorts")),
        Some(_) => Err(Refusal::invalid(format!(
            "Invalid port range specified for protocol {}: this cloud looks into the ports of tcp, udp and sctp.",
            protocol.unwrap_or_default()
        ))
        .named("SecurityGroupInvalidProtocolForPort")),
    }
}

fn conflict(ethertype: Ethertype, protocol: Option<&str>) -> Refusal {
    Refusal::invalid(format!(
        "Invalid ethertype {} for protocol {}.",
        ethertype.as_str(),
        protocol.unwrap_or_default()
    ))
    .named("SecurityGroupEthertypeConflictWithProtocol")
}

fn range(min: Option<i64>, max: Option<i64>) -> Result<(Option<u16>, Option<u16>), Refusal> {
    let port = |value: i64| match u16::try_from(value) {
        Ok(port @ 1..) => Ok(port),
        _ => Err(
            Refusal::invalid(format!("Invalid value for port {value}: it is 1 to 65535."))
                .named("SecurityGroupInvalidPortValue"),
        ),
    };
    let backwards = || {
        Refusal::invalid(
            "For TCP/UDP protocols, port_range_min must be <= port_range_max: give both, also for one port.",
        )
        .named("SecurityGroupInvalidPortRange")
    };
    match (min, max) {
        (None, None) => Ok((None, None)),
        (Some(min), Some(max)) => {
            let (min, max) = (port(min)?, port(max)?);
            if min > max {
                return Err(backwards());
            }
            Ok((Some(min), Some(max)))
        }
        _ => Err(backwards()),
    }
}

fn icmp(kind: Option<i64>, code: Option<i64>) -> Result<(Option<u16>, Option<u16>), Refusal> {
    let byte = |field: &str, value: i64| {
        u8::try_from(value).map(u16::from).map_err(|_| {
            Refusal::invalid(format!(
                "Invalid value for ICMP {field} ({}) {value}. It must be 0 to 255.",
                if field == "type" {
                    "port-range-min"
                } else {
                    "port-range-max"
                }
            ))
            .named("SecurityGroupInvalidIcmpValue")
        })
    };
    match (kind, code) {
        (None, Some(code)) => Err(Refusal::invalid(format!(
            "ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing."
        ))
        .named("SecurityGroupMissingIcmpType")),
        (kind, code) => Ok((
            kind.map(|kind| byte("type", kind)).transpose()?,
            code.map(|code| byte("code", code)).transpose()?,
        )),
    }
}

/// The rules that the actor sees.
pub async fn list(cx: &Context, actor: &Actor, narrow: Narrow) -> Result<Vec<Rule>, Failure> {
    let mut tx = cx.store.read().await?;
    visible(cx, actor, &mut tx, narrow).await
}

pub async fn show(cx: &Context, actor: &Actor, id: SecurityGroupRuleId) -> Result<Rule, Failure> {
    let mut tx = cx.store.read().await?;
    access::get(cx, actor, &mut tx, id).await
}

pub async fn delete(
    cx: &Arc<Context>,
    actor: &Actor,
    id: SecurityGroupRuleId,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let rule = lock::<Rule>(cx, actor, &mut tx, id).await?;
    record::delete::<Rule>(&mut tx, id).await?;
    let unit = Unit::SecurityGroup(rule.security_group_id);
    commit(tx, cx, &actor.origin(), &[unit]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(protocol: Option<&str>, min: Option<i64>, max: Option<i64>) -> String {
        ports(protocol, Ethertype::IPv4, min, max)
            .unwrap_err()
            .message
    }

    #[test]
    fn rules_that_mean_nothing_are_refused_in_the_words_that_clients_know() {
        assert!(
            refused(Some("tcp"), Some(80), Some(79))
                .contains("port_range_min must be <= port_range_max")
        );
        assert!(refused(Some("tcp"), Some(0), Some(80)).contains("Invalid value for port 0"));
        assert!(
            refused(Some("icmp"), None, Some(3)).contains("ICMP type (port-range-min) is missing")
        );
        assert!(refused(Some("icmp"), Some(300), None).contains("Invalid value for ICMP type"));
        assert!(refused(Some("icmp"), Some(3), Some(256)).contains("Invalid value for ICMP code"));
        assert!(refused(Some("bogus"), None, None).contains("bogus not supported"));
        assert!(refused(None, Some(1), Some(2)).contains("Must also specify protocol"));
        assert!(refused(Some("icmpv6"), None, None).contains("Invalid ethertype"));
    }

    #[test]
    fn a_rule_is_said_in_words() {
        let now = corten_model::time::Timestamp::from_micros(0);
        let rule = Rule {
            id: SecurityGroupRuleId::random(),
            standard: Standard::new("p".into(), String::new(), String::new(), now),
            security_group_id: SecurityGroupId::random(),
            direction: Direction::Ingress,
            ethertype: Ethertype::IPv4,
            protocol: Some("tcp".to_owned()),
            port_min: Some(22),
            port_max: Some(22),
            remote: Remote::Prefix("0.0.0.0/0".parse().unwrap()),
        };
        assert_eq!(
            in_words(&rule),
            "ingress IPv4 tcp, ports 22 to 22, from 0.0.0.0/0"
        );
        let ping = Rule {
            direction: Direction::Egress,
            protocol: Some("icmp".to_owned()),
            port_min: Some(8),
            port_max: None,
            remote: Remote::Anyone,
            ..rule.clone()
        };
        assert_eq!(in_words(&ping), "egress IPv4 icmp, type 8, to anywhere");
        let group = SecurityGroupId::random();
        let all = Rule {
            protocol: None,
            port_min: None,
            port_max: None,
            remote: Remote::Group(group),
            ..rule
        };
        assert_eq!(
            in_words(&all),
            format!("ingress IPv4 any protocol, from group {group}")
        );
    }

    #[test]
    fn ports_are_a_range_and_icmp_is_a_type() {
        let of = |protocol, ethertype, min, max| ports(Some(protocol), ethertype, min, max);
        assert_eq!(
            of("tcp", Ethertype::IPv4, Some(22), Some(22)),
            Ok((Some(22), Some(22)))
        );
        assert!(refused(Some("tcp"), Some(22), None).contains("give both"));
        assert_eq!(
            of("icmpv6", Ethertype::IPv6, Some(128), None),
            Ok((Some(128), None))
        );
        assert_eq!(of("47", Ethertype::IPv4, None, None), Ok((None, None)));
    }
}
