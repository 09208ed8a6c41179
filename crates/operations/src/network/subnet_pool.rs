//! Subnet pools: making, changing and removing them.

use super::access::{self, Lendable, Narrow, lock, owner};
use super::rbac_policy::{self, SHARED, Shown, is_everyones};
use super::subnet_pool_check::{self as check, Lengths, overlaps};
use super::{invalid_input, quota};
use crate::context::Context;
use async_trait::async_trait;
use corten_iam::action::network::{SHARE, SUBNET_POOLS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{AddressScopeId, ProjectId, SubnetPoolId};
use corten_model::refusal::Refusal;
use corten_store::network::Standard;
use corten_store::network::address_scope::AddressScope;
use corten_store::network::rbac_policy::{EVERYONE, RbacPolicy, of_object};
use corten_store::network::subnet_pool::{self, SubnetPool};
use corten_store::{Failure, Query, Tx, record};
use ipnet::IpNet;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
pub struct NewSubnetPool {
    pub project_id: Option<ProjectId>,
    pub name: String,
    pub description: String,
    pub shared: bool,
    pub is_default: bool,
    pub prefixes: Vec<IpNet>,
    pub lengths: Lengths,
    pub default_quota: Option<i64>,
    pub address_scope_id: Option<AddressScopeId>,
    pub tags: BTreeSet<String>,
}

#[derive(Debug, Clone, Default)]
pub struct SubnetPoolChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub is_default: Option<bool>,
    pub prefixes: Option<Vec<IpNet>>,
    pub lengths: Lengths,
    pub default_quota: Option<Option<i64>>,
    pub address_scope_id: Option<Option<AddressScopeId>>,
}

#[async_trait]
impl Lendable for SubnetPool {
    const OBJECT_TYPE: &'static str = "subnetpool";

    fn follow(&mut self, grants: &[RbacPolicy]) {
        self.shared = is_everyones(grants, SHARED);
    }

    /// Who cuts subnets from a pool uses its address scope, too.
    async fn check_target(&self, tx: &mut Tx, target: &str) -> Result<(), Failure> {
        let Some(id) = self.address_scope_id else {
            return Ok(());
        };
        let scope = record::get::<AddressScope>(tx, id).await?;
        let scope = scope.ok_or_else(|| access::missing::<AddressScope>(id))?;
        let grants = of_object(tx, AddressScope::OBJECT_TYPE, &id.to_string()).await?;
        let is_lent = grants
            .iter()
            .any(|grant| [EVERYONE, target].contains(&grant.target.as_str()));
        if is_lent || scope.standard.project_id.as_str() == target {
            return Ok(());
        }
        Err(invalid_input(format!(
            "subnetpool {} cannot be shared with {target}: its address scope {id} is not shared with them",
            self.id
        ))
        .into())
    }

    async fn users(&self, tx: &mut Tx, _: &str) -> Result<BTreeSet<ProjectId>, Failure> {
        let subnets = subnet_pool::subnets_of(tx, self.id).await?;
        Ok(subnets
            .into_iter()
            .map(|subnet| subnet.standard.project_id)
            .collect())
    }
}

/// Makes pools, all or none.
pub async fn create(
    cx: &Context,
    actor: &Actor,
    new: Vec<NewSubnetPool>,
) -> Result<Vec<Shown<SubnetPool>>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut made = Vec::new();
    for new in new {
        made.push(insert(cx, actor, &mut tx, new).await?);
    }
    let shown = rbac_policy::shown(&mut tx, actor, made).await?;
    tx.commit().await?;
    Ok(shown)
}

async fn insert(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    new: NewSubnetPool,
) -> Result<SubnetPool, Failure> {
    let NewSubnetPool {
        project_id,
        name,
        description,
        shared,
        is_default,
        prefixes,
        lengths,
        default_quota,
        address_scope_id,
        tags,
    } = new;
    let project = owner(cx, actor, project_id, SUBNET_POOLS_WRITE)?;
    if shared || is_default {
        cx.policy.check(actor, SHARE, &Target::cloud())?;
    }
    quota::check(tx, cx, &project, quota::SUBNET_POOL, 1).await?;
    let prefixes = check::prefixes(&prefixes)?;
    let is_ipv4 = prefixes.iter().any(|prefix| prefix.addr().is_ipv4());
    let (min, max, default) = check::usual_lengths(is_ipv4, lengths);
    let mut pool = SubnetPool {
        id: SubnetPoolId::random(),
        standard: Standard {
            tags,
            ..Standard::new(project, name, description, cx.now())
        },
        shared,
        is_default,
        prefixes,
        min_prefix_len: min,
        max_prefix_len: max,
        default_prefix_len: default,
        default_quota: checked_quota(default_quota)?,
        address_scope_id,
    };
    check::lengths(&mut pool, lengths)?;
    check_default(tx, &pool).await?;
    check_scope(cx, actor, tx, &pool).await?;
    record::insert(tx, &pool).await?;
    rbac_policy::set_everyone(tx, &pool, SHARED, shared).await?;
    Ok(pool)
}

fn checked_quota(quota: Option<i64>) -> Result<Option<i64>, Refusal> {
    match quota {
        Some(quota) if quota < 0 => Err(Refusal::invalid(format!(
            "Invalid input for default_quota. Reason: '{quota}' should be non-negative."
        ))),
        quota => Ok(quota),
    }
}

/// One pool of a family is what subnets are cut from that name none.
async fn check_default(tx: &mut Tx, pool: &SubnetPool) -> Result<(), Failure> {
    if !pool.is_default {
        return Ok(());
    }
    match default_of(tx, pool.ip_version()).await? {
        Some(other) if other.id != pool.id => Err(invalid_input(format!(
            "A default subnetpool for this IP family has already been set. Only one default may exist per IP family: \
             it is {}",
            other.id
        ))
        .into()),
        _ => Ok(()),
    }
}

pub(super) async fn default_of(tx: &mut Tx, ip_version: u8) -> Result<Option<SubnetPool>, Failure> {
    let all: Vec<SubnetPool> = Query::new().all(tx).await?;
    Ok(all
        .into_iter()
        .find(|pool| pool.is_default && pool.ip_version() == ip_version))
}

/// The pools of an address scope have prefixes of their own, all of one family.
async fn check_scope(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    pool: &SubnetPool,
) -> Result<(), Failure> {
    let Some(id) = pool.address_scope_id else {
        return Ok(());
    };
    let scope = access::get::<AddressScope>(cx, actor, tx, id).await?;
    if scope.ip_version != pool.ip_version() {
        return Err(Refusal::invalid(format!(
            "Illegal subnetpool association: subnetpool {} cannot associate with address scope {id} because subnetpool \
             ip_version is not {}.",
            pool.id, scope.ip_version
        ))
        .named("IllegalSubnetPoolIpVersionAssociationToAddressScope")
        .into());
    }
    // Two pools of a scope cannot take the same prefix at once.
    record::lock::<AddressScope>(tx, id).await?;
    for other in super::address_scope::pools_of(tx, id).await? {
        let clash = pool
            .prefixes
            .iter()
            .find(|own| other.prefixes.iter().any(|prefix| overlaps(own, prefix)));
        if let (Some(prefix), true) = (clash, other.id != pool.id) {
            return Err(Refusal::conflict(format!(
                "Failed to associate address scope: subnetpools within an address scope must have unique prefixes: \
                 {prefix} overlaps with subnetpool {}.",
                other.id
            ))
            .named("AddressScopePrefixConflict")
            .into());
        }
    }
    Ok(())
}

/// The pools that the actor sees.
pub async fn list(
    cx: &Context,
    actor: &Actor,
    narrow: Narrow,
) -> Result<Vec<Shown<SubnetPool>>, Failure> {
    rbac_policy::list_shown(cx, actor, narrow).await
}

pub async fn show(
    cx: &Context,
    actor: &Actor,
    id: SubnetPoolId,
) -> Result<Shown<SubnetPool>, Failure> {
    rbac_policy::get_shown(cx, actor, id).await
}

pub async fn update(
    cx: &Context,
    actor: &Actor,
    id: SubnetPoolId,
    change: SubnetPoolChange,
) -> Result<Shown<SubnetPool>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut pool = lock::<SubnetPool>(cx, actor, &mut tx, id).await?;
    let SubnetPoolChange {
        name,
        description,
        is_default,
        prefixes,
        lengths,
        default_quota,
        address_scope_id,
    } = change;
    if is_default.is_some() {
        cx.policy.check(actor, SHARE, &Target::cloud())?;
    }
    let standard = &mut pool.standard;
    standard.name = name.unwrap_or(std::mem::take(&mut standard.name));
    standard.description = description.unwrap_or(std::mem::take(&mut standard.description));
    pool.is_default = is_default.unwrap_or(pool.is_default);
    let changes_scope = address_scope_id.is_some() || prefixes.is_some();
    if let Some(wanted) = prefixes {
        let all: Vec<IpNet> = wanted.iter().chain(&pool.prefixes).copied().collect();
        check::prefixes(&all)?;
        let wanted = check::prefixes(&wanted)?;
        check::grows(&pool.prefixes, &wanted)?;
        pool.prefixes = wanted;
    }
    pool.default_quota = match default_quota {
        None => pool.default_quota,
        Some(quota) => checked_quota(quota)?,
    };
    pool.address_scope_id = address_scope_id.unwrap_or(pool.address_scope_id);
    check::lengths(&mut pool, lengths)?;
    check_default(&mut tx, &pool).await?;
    if changes_scope {
        check_scope(cx, actor, &mut tx, &pool).await?;
    }
    pool.standard.touch(cx.now());
    record::update(&mut tx, &pool).await?;
    let shown = rbac_policy::shown_one(&mut tx, actor, pool).await?;
    tx.commit().await?;
    Ok(shown)
}

/// Adds prefixes, and answers with all there are.
pub async fn add_prefixes(
    cx: &Context,
    actor: &Actor,
    id: SubnetPoolId,
    more: Vec<IpNet>,
) -> Result<Vec<IpNet>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut pool = lock::<SubnetPool>(cx, actor, &mut tx, id).await?;
    let all: Vec<IpNet> = pool.prefixes.iter().chain(&more).copied().collect();
    pool.prefixes = check::prefixes(&all)?;
    check_scope(cx, actor, &mut tx, &pool).await?;
    keep(cx, tx, pool).await
}

/// Takes prefixes out that no subnet was cut from, and answers with what is left.
pub async fn remove_prefixes(
    cx: &Context,
    actor: &Actor,
    id: SubnetPoolId,
    gone: Vec<IpNet>,
) -> Result<Vec<IpNet>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut pool = lock::<SubnetPool>(cx, actor, &mut tx, id).await?;
    let gone: Vec<IpNet> = gone.iter().map(IpNet::trunc).collect();
    for subnet in subnet_pool::subnets_of(&mut tx, id).await? {
        if let Some(prefix) = gone.iter().find(|prefix| overlaps(prefix, &subnet.cidr)) {
            return Err(Refusal::invalid(format!(
                "Illegal update to prefixes: One or more of the prefixes to be removed is in use by a subnet: {prefix} \
                 by {}.",
                subnet.id
            ))
            .named("IllegalSubnetPoolPrefixUpdate")
            .into());
        }
    }
    pool.prefixes = check::without(&pool.prefixes, &gone);
    if pool.prefixes.is_empty() {
        return Err(Refusal::invalid(
            "Empty subnet pool prefix list: a pool keeps at least one prefix.",
        )
        .named("EmptySubnetPoolPrefixList")
        .into());
    }
    keep(cx, tx, pool).await
}

async fn keep(cx: &Context, mut tx: Tx, mut pool: SubnetPool) -> Result<Vec<IpNet>, Failure> {
    pool.standard.touch(cx.now());
    record::update(&mut tx, &pool).await?;
    tx.commit().await?;
    Ok(pool.prefixes)
}

/// Removes a pool that no subnet was cut from.
pub async fn delete(cx: &Context, actor: &Actor, id: SubnetPoolId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let pool = lock::<SubnetPool>(cx, actor, &mut tx, id).await?;
    if let Some(subnet) = subnet_pool::subnets_of(&mut tx, id).await?.first() {
        return Err(Refusal::invalid(format!(
            "Unable to delete subnet pool: Subnet pool has existing allocations, for example subnet {}.",
            subnet.id
        ))
        .named("SubnetPoolDeleteError")
        .into());
    }
    rbac_policy::forget(&mut tx, &pool).await?;
    record::delete::<SubnetPool>(&mut tx, id).await?;
    tx.commit().await?;
    Ok(())
}
