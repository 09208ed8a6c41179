//! Cutting ranges for subnets from the prefixes of subnet pools.

use super::access;
use super::addresses::{address, number};
use super::invalid_input;
use super::subnet::NewSubnet;
use super::subnet_pool_check::overlaps;
use crate::context::Context;
use corten_iam::actor::Actor;
use corten_model::ids::{AddressScopeId, ProjectId, SubnetPoolId};
use corten_model::refusal::Refusal;
use corten_store::network::subnet::Subnet;
use corten_store::network::subnet_pool::{self, SubnetPool};
use corten_store::{Failure, Query, Tx, record};
use ipnet::IpNet;
use std::collections::BTreeSet;

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
    match super::subnet_pool::default_of(tx, new.ip_version).await? {
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
    present: &[Subnet],
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
    Err(no_space(pool, length))
}

/// As many prefixes of a pool as a refusal names.
const PREFIXES_NAMED: usize = 5;

fn no_space(pool: &SubnetPool, length: u8) -> Refusal {
    let name = match pool.standard.name.as_str() {
        "" => pool.id.to_string(),
        name => format!("{name} ({})", pool.id),
    };
    let named: Vec<String> = pool
        .prefixes
        .iter()
        .take(PREFIXES_NAMED)
        .map(ToString::to_string)
        .collect();
    let mut prefixes = named.join(", ");
    let more = pool.prefixes.len() - named.len();
    if more > 0 {
        prefixes = format!("{prefixes} and {more} more");
    }
    let largest = pool.prefixes.iter().map(IpNet::prefix_len).min();
    let (why, remedy) = match largest {
        Some(largest) if largest > length => (
            "none of them is that large",
            format!("Ask for /{largest} or smaller (`--prefix-length {largest}`)"),
        ),
        _ => (
            "no part of that size is free in them",
            "Ask for a smaller subnet (a longer `--prefix-length`), delete subnets of the pool that are not needed"
                .to_owned(),
        ),
    };
    Refusal::conflict(format!(
        "Failed to allocate subnet: Insufficient prefix space to allocate subnet size in the pool. A subnet of size \
         /{length} was asked for from pool {name}, whose prefixes are {prefixes}: {why}. {remedy}, or add a prefix to \
         the pool (`openstack subnet pool set --pool-prefix PREFIX {}`).",
        pool.id
    ))
    .named("SubnetAllocationError")
}
