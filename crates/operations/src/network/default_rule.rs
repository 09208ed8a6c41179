//! Default security group rules: choosing what new groups begin with. Groups that are there keep theirs.

use super::access::missing;
use super::security_group_rule::{check_prefix, plain_protocol, ports, several_remotes};
use crate::context::Context;
use corten_iam::action::network::{INFO_READ, SHARE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{AddressGroupId, ProjectId, SecurityGroupId, SecurityGroupRuleId};
use corten_model::refusal::Refusal;
use corten_store::network::Standard;
use corten_store::network::address_group::AddressGroup;
use corten_store::network::default_rule::{DefaultRemote, DefaultRule, Own};
use corten_store::network::security_group::{Direction, Ethertype, Remote, SecurityGroup};
use corten_store::{Failure, Query, Tx, record, sequences};
use ipnet::IpNet;

/// The group that a default rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteGroup {
    /// The one that begins with the rule.
    Own,
    This(SecurityGroupId),
}

#[derive(Debug, Clone)]
pub struct NewDefaultRule {
    pub description: String,
    pub direction: Direction,
    pub ethertype: Ethertype,
    pub protocol: Option<String>,
    pub port_min: Option<i64>,
    pub port_max: Option<i64>,
    pub remote_prefix: Option<IpNet>,
    pub remote_group: Option<RemoteGroup>,
    pub remote_address_group_id: Option<AddressGroupId>,
    pub in_default_groups: bool,
    pub in_other_groups: bool,
}

/// What groups of a kind begin with.
pub(super) async fn for_groups(tx: &mut Tx, is_default: bool) -> Result<Vec<DefaultRule>, Failure> {
    let all: Vec<DefaultRule> = Query::new().all(tx).await?;
    let begins = |rule: &DefaultRule| {
        if is_default {
            rule.in_default_groups
        } else {
            rule.in_other_groups
        }
    };
    Ok(all.into_iter().filter(begins).collect())
}

pub async fn create(
    cx: &Context,
    actor: &Actor,
    new: NewDefaultRule,
) -> Result<DefaultRule, Failure> {
    cx.policy.check(actor, SHARE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    // Two that say the same cannot be added at once.
    sequences::next(&mut tx, "default_security_group_rules").await?;
    let remote = remote(&mut tx, &new).await?;
    let protocol = plain_protocol(new.protocol.as_deref());
    let (port_min, port_max) = ports(
        protocol.as_deref(),
        new.ethertype,
        new.port_min,
        new.port_max,
    )?;
    let NewDefaultRule {
        description,
        direction,
        ethertype,
        protocol: _,
        port_min: _,
        port_max: _,
        remote_prefix: _,
        remote_group: _,
        remote_address_group_id: _,
        in_default_groups,
        in_other_groups,
    } = new;
    let nobody = ProjectId::from("");
    let rule = DefaultRule {
        id: SecurityGroupRuleId::random(),
        standard: Standard::new(nobody, String::new(), description, cx.now()),
        direction,
        ethertype,
        protocol,
        port_min,
        port_max,
        remote,
        in_default_groups,
        in_other_groups,
    };
    check_new(&mut tx, &rule).await?;
    record::insert(&mut tx, &rule).await?;
    tx.commit().await?;
    Ok(rule)
}

async fn remote(tx: &mut Tx, new: &NewDefaultRule) -> Result<DefaultRemote, Failure> {
    let other = match (
        new.remote_prefix,
        new.remote_group,
        new.remote_address_group_id,
    ) {
        (None, None, None) => Remote::Anyone,
        (Some(prefix), None, None) => {
            check_prefix(prefix, new.ethertype)?;
            Remote::Prefix(prefix)
        }
        (None, Some(RemoteGroup::Own), None) => return Ok(DefaultRemote::Own(Own::Parent)),
        (None, Some(RemoteGroup::This(id)), None) => {
            let found = record::get::<SecurityGroup>(tx, id).await?;
            Remote::Group(found.ok_or_else(|| missing::<SecurityGroup>(id))?.id)
        }
        (None, None, Some(id)) => {
            let found = record::get::<AddressGroup>(tx, id).await?;
            Remote::AddressGroup(found.ok_or_else(|| missing::<AddressGroup>(id))?.id)
        }
        _ => return Err(several_remotes().into()),
    };
    Ok(DefaultRemote::Other(other))
}

/// A kind of group begins with each rule once.
async fn check_new(tx: &mut Tx, rule: &DefaultRule) -> Result<(), Failure> {
    let all: Vec<DefaultRule> = Query::new().all(tx).await?;
    let clashes = |other: &&DefaultRule| {
        other.meaning() == rule.meaning()
            && ((other.in_default_groups && rule.in_default_groups)
                || (other.in_other_groups && rule.in_other_groups))
    };
    match all.iter().find(clashes) {
        None => Ok(()),
        Some(other) => Err(Refusal::conflict(format!(
            "Default Security group rule already exists. Rule id is {}.",
            other.id
        ))
        .named("DefaultSecurityGroupRuleExists")
        .into()),
    }
}

/// What groups begin with, for everyone to see.
pub async fn list(cx: &Context, actor: &Actor) -> Result<Vec<DefaultRule>, Failure> {
    check_reader(cx, actor)?;
    let mut tx = cx.store.read().await?;
    let mut all: Vec<DefaultRule> = Query::new().all(&mut tx).await?;
    all.sort_by_key(|rule| (rule.standard.created_at, rule.id));
    Ok(all)
}

fn check_reader(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    cx.policy.check(actor, INFO_READ, &Target::cloud())
}

pub async fn show(
    cx: &Context,
    actor: &Actor,
    id: SecurityGroupRuleId,
) -> Result<DefaultRule, Failure> {
    check_reader(cx, actor)?;
    let mut tx = cx.store.read().await?;
    let found = record::get::<DefaultRule>(&mut tx, id).await?;
    Ok(found.ok_or_else(|| missing::<DefaultRule>(id))?)
}

pub async fn delete(cx: &Context, actor: &Actor, id: SecurityGroupRuleId) -> Result<(), Failure> {
    cx.policy.check(actor, SHARE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    if !record::delete::<DefaultRule>(&mut tx, id).await? {
        return Err(missing::<DefaultRule>(id).into());
    }
    tx.commit().await?;
    Ok(())
}
