//! Subnet pools: making, changing and removing them, and cutting ranges for subnets from their prefixes.

use super::access::{self, Lendable, Narrow, list as visible, lock, owner};
use super::addresses::{address, number};
use super::rbac_policy::{self, SHARED, Shown, is_everyones};
use super::subnet::NewSubnet;
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
use corten_store::network::rbac_policy::RbacPolicy;
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

async fn default_of(tx: &mut Tx, ip_version: u8) -> Result<Option<SubnetPool>, Failure> {
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
    if !access::sees_all(cx, actor) && scope.standard.project_id != pool.standard.project_id {
        return Err(Refusal::invalid(format!(
            "Illegal subnetpool association: subnetpool {} cannot be associated with address scope {id}: it is \
             another project's.",
            pool.id
        ))
        .named("IllegalSubnetPoolAssociationToAddressScope")
        .into());
    }
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
    let mut tx = cx.store.read().await?;
    let found = visible(cx, actor, &mut tx, narrow).await?;
    rbac_policy::shown(&mut tx, actor, found).await
}

pub async fn show(
    cx: &Context,
    actor: &Actor,
    id: SubnetPoolId,
) -> Result<Shown<SubnetPool>, Failure> {
    let mut tx = cx.store.read().await?;
    let pool = access::get(cx, actor, &mut tx, id).await?;
    rbac_policy::shown_one(&mut tx, actor, pool).await
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

/// The pool that a new subnet is cut from: the one that was named, or the default of its family.
pub(super) async fn chosen(tx: &mut Tx, new: &NewSubnet) -> Result<Option<SubnetPoolId>, Failure> {
    if !new.use_default_pool {
        return Ok(new.subnet_pool_id);
    }
    if new.subnet_pool_id.is_some() {
        return Err(Refusal::invalid(
            "Bad subnets request: subnetpool_id and use_default_subnetpool cannot both be specified.",
        )
        .named("BadRequest")
        .into());
    }
    match default_of(tx, new.ip_version).await? {
        Some(pool) => Ok(Some(pool.id)),
        None => Err(Refusal::invalid(format!(
            "Bad subnets request: No default subnetpool found for IPv{}.",
            new.ip_version
        ))
        .named("BadRequest")
        .into()),
    }
}

/// The subnets of a network that have an IP version come from one pool, or from pools of one address scope.
pub(super) async fn check_affinity(
    tx: &mut Tx,
    new: Option<SubnetPoolId>,
    ip_version: u8,
    present: &[corten_store::network::subnet::Subnet],
) -> Result<(), Failure> {
    let Some(id) = new else { return Ok(()) };
    let others: BTreeSet<SubnetPoolId> = present
        .iter()
        .filter(|subnet| subnet.cidr.addr().is_ipv4() == (ip_version == 4))
        .filter_map(|subnet| subnet.subnet_pool_id)
        .collect();
    if others.iter().all(|other| *other == id) {
        return Ok(());
    }
    let ids = others.iter().chain([&id]).map(ToString::to_string);
    let pools: Vec<SubnetPool> = Query::new().any_of("id", ids).all(tx).await?;
    let scopes: BTreeSet<Option<AddressScopeId>> =
        pools.iter().map(|pool| pool.address_scope_id).collect();
    if scopes.len() == 1 && !scopes.contains(&None) {
        return Ok(());
    }
    if scopes.iter().any(Option::is_some) {
        return Err(Refusal::invalid(
            "Subnet pools of subnets on the same network must belong to the same address scope.",
        )
        .named("NetworkAddressScopeAffinityError")
        .into());
    }
    Err(Refusal::invalid(
        "Subnets hosted on the same network must be allocated from the same subnet pool.",
    )
    .named("NetworkSubnetPoolAffinityError")
    .into())
}

/// The range of a new subnet: the one asked for, or the first of the size asked for that is free.
pub(super) async fn cut(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    project: &ProjectId,
    new: &NewSubnet,
    asked: Option<IpNet>,
) -> Result<IpNet, Failure> {
    let Some(id) = new.subnet_pool_id else {
        return Err(Refusal::invalid(
            "Bad subnets request: a subnetpool must be specified in the absence of a cidr.",
        )
        .named("BadRequest")
        .into());
    };
    access::get::<SubnetPool>(cx, actor, tx, id).await?;
    // Two subnets of a pool cannot be cut at once.
    let pool: SubnetPool = record::lock(tx, id)
        .await?
        .ok_or_else(|| access::missing::<SubnetPool>(id))?;
    if pool.ip_version() != new.ip_version {
        return Err(invalid_input(format!(
            "subnet pool {id} has addresses of IP version {}, the subnet is of version {}",
            pool.ip_version(),
            new.ip_version
        ))
        .into());
    }
    let cut = subnet_pool::subnets_of(tx, id).await?;
    let taken: Vec<IpNet> = cut.iter().map(|subnet| subnet.cidr).collect();
    let length = asked
        .map(|range| range.prefix_len())
        .or(new.prefix_len)
        .unwrap_or(pool.default_prefix_len);
    check_length(&pool, length)?;
    let own: Vec<IpNet> = cut
        .iter()
        .filter(|subnet| subnet.standard.project_id == *project)
        .map(|subnet| subnet.cidr)
        .collect();
    check_quota(&pool, &own, length)?;
    match asked {
        Some(range) => this(&pool, &taken, range.trunc()),
        None => first_free(&pool, &taken, length),
    }
    .map_err(Failure::from)
}

fn check_length(pool: &SubnetPool, length: u8) -> Result<(), Refusal> {
    if length < pool.min_prefix_len {
        return Err(Refusal::invalid(format!(
            "Unable to allocate subnet with prefix length {length}, minimum allowed prefix is {}.",
            pool.min_prefix_len
        ))
        .named("MinPrefixSubnetAllocationError"));
    }
    if length > pool.max_prefix_len {
        return Err(Refusal::invalid(format!(
            "Unable to allocate subnet with prefix length {length}, maximum allowed prefix is {}.",
            pool.max_prefix_len
        ))
        .named("MaxPrefixSubnetAllocationError"));
    }
    Ok(())
}

/// A pool's quota counts addresses of IPv4 and /64s of IPv6.
fn check_quota(pool: &SubnetPool, own: &[IpNet], length: u8) -> Result<(), Refusal> {
    let Some(quota) = pool.default_quota else {
        return Ok(());
    };
    let unit = if pool.ip_version() == 4 { 32 } else { 64 };
    let units = |length: u8| 1_u128 << unit.max(length).saturating_sub(length);
    let used: u128 = own.iter().map(|range| units(range.prefix_len())).sum();
    if used + units(length) > u128::try_from(quota).unwrap_or(0) {
        return Err(Refusal::conflict(format!(
            "Per-tenant subnet pool prefix quota exceeded: {used} of {quota} are in use, {} more were asked for.",
            units(length)
        ))
        .named("SubnetPoolQuotaExceeded"));
    }
    Ok(())
}

fn this(pool: &SubnetPool, taken: &[IpNet], range: IpNet) -> Result<IpNet, Refusal> {
    let is_in_pool = pool.prefixes.iter().any(|prefix| prefix.contains(&range));
    if is_in_pool && !taken.iter().any(|other| overlaps(other, &range)) {
        return Ok(range);
    }
    Err(Refusal::conflict(
        "Failed to allocate subnet: Cannot allocate requested subnet from the available set of prefixes.",
    )
    .named("SubnetAllocationError"))
}

fn first_free(pool: &SubnetPool, taken: &[IpNet], length: u8) -> Result<IpNet, Refusal> {
    for prefix in &pool.prefixes {
        let is_ipv4 = prefix.addr().is_ipv4();
        let bits = if is_ipv4 { 32 } else { 128 };
        let step = 1_u128.checked_shl(bits - u32::from(length)).unwrap_or(0);
        let (mut at, last) = (number(prefix.network()), number(prefix.broadcast()));
        while length >= prefix.prefix_len() && at <= last {
            let Ok(range) = IpNet::new(address(at, is_ipv4), length) else {
                break;
            };
            match taken.iter().find(|other| overlaps(other, &range)) {
                None => return Ok(range),
                // Behind the range in the way, at a multiple of the size.
                Some(other) => {
                    let behind = number(other.broadcast()).max(number(range.broadcast()));
                    let Some(next) = behind.checked_add(1) else {
                        break;
                    };
                    at = next.div_ceil(step.max(1)) * step.max(1);
                }
            }
        }
    }
    Err(Refusal::conflict(
        "Failed to allocate subnet: Insufficient prefix space to allocate subnet size in the pool.",
    )
    .named("SubnetAllocationError"))
}
