//! What a project may have of networks: Neutron's quotas.

use crate::context::Context;
use corten_iam::action::network::{QUOTAS_READ, QUOTAS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::ProjectId;
use corten_model::refusal::Refusal;
use corten_store::network::address_group::AddressGroup;
use corten_store::network::floating_ip::FloatingIp;
use corten_store::network::network::Network;
use corten_store::network::port::Port;
use corten_store::network::quota::NetworkQuota;
use corten_store::network::rbac_policy::RbacPolicy;
use corten_store::network::router::Router;
use corten_store::network::security_group::{Rule, SecurityGroup};
use corten_store::network::subnet::Subnet;
use corten_store::network::subnet_pool::SubnetPool;
use corten_store::network::trunk::Trunk;
use corten_store::quotas::{self, QuotaClass};
use corten_store::{Failure, Query, Record, Tx, record};
use std::collections::BTreeMap;

pub const NETWORK: &str = "network";
pub const SUBNET: &str = "subnet";
pub const SUBNET_POOL: &str = "subnetpool";
pub const PORT: &str = "port";
pub const ROUTER: &str = "router";
pub const FLOATING_IP: &str = "floatingip";
pub const SECURITY_GROUP: &str = "security_group";
pub const SECURITY_GROUP_RULE: &str = "security_group_rule";
pub const ADDRESS_GROUP: &str = "address_group";
pub const RBAC_POLICY: &str = "rbac_policy";
pub const TRUNK: &str = "trunk";

/// What is counted.
pub const RESOURCES: [&str; 11] = [
    NETWORK,
    SUBNET,
    SUBNET_POOL,
    PORT,
    ROUTER,
    FLOATING_IP,
    SECURITY_GROUP,
    SECURITY_GROUP_RULE,
    ADDRESS_GROUP,
    RBAC_POLICY,
    TRUNK,
];

/// What old clients of the compute API call some of them.
pub const OF_COMPUTE: [(&str, &str); 3] = [
    ("floating_ips", FLOATING_IP),
    ("security_groups", SECURITY_GROUP),
    ("security_group_rules", SECURITY_GROUP_RULE),
];

/// What every project may have that has no quota of its own; -1 means no limit. An administrator may have set some of
/// it by the compute API.
async fn defaults(tx: &mut Tx, cx: &Context) -> Result<BTreeMap<&'static str, i64>, Failure> {
    let quota = &cx.settings.network_quota;
    let mut defaults = BTreeMap::from([
        (NETWORK, quota.networks),
        (SUBNET, quota.subnets),
        (SUBNET_POOL, quota.subnet_pools),
        (PORT, quota.ports),
        (ROUTER, quota.routers),
        (FLOATING_IP, quota.floating_ips),
        (SECURITY_GROUP, quota.security_groups),
        (SECURITY_GROUP_RULE, quota.security_group_rules),
        (ADDRESS_GROUP, quota.address_groups),
        (RBAC_POLICY, quota.rbac_policies),
        (TRUNK, quota.trunks),
    ]);
    let class: Option<QuotaClass> = record::get(tx, quotas::DEFAULT_CLASS).await?;
    let class = class.map(|class| class.limits).unwrap_or_default();
    for (name, resource) in OF_COMPUTE {
        if let Some(limit) = class.get(name) {
            defaults.insert(resource, *limit);
        }
    }
    Ok(defaults)
}

/// What a project may have.
pub async fn limits(
    tx: &mut Tx,
    cx: &Context,
    project: &ProjectId,
) -> Result<BTreeMap<&'static str, i64>, Failure> {
    let mut limits = defaults(tx, cx).await?;
    let own: Option<NetworkQuota> = record::get(tx, project).await?;
    for (name, limit) in own.map(|quota| quota.limits).unwrap_or_default() {
        if let Some(known) = RESOURCES.into_iter().find(|known| *known == name) {
            limits.insert(known, limit);
        }
    }
    Ok(limits)
}

/// What a project has.
pub async fn used(tx: &mut Tx, project: &ProjectId, resource: &str) -> Result<i64, Failure> {
    async fn count<T: Record>(tx: &mut Tx, project: &ProjectId) -> Result<i64, Failure> {
        Ok(Query::<T>::new()
            .equals("project_id", project)
            .count(tx)
            .await?)
    }
    match resource {
        NETWORK => count::<Network>(tx, project).await,
        SUBNET => count::<Subnet>(tx, project).await,
        SUBNET_POOL => count::<SubnetPool>(tx, project).await,
        // What comes with a network is not the project's doing.
        PORT => Ok(Query::<Port>::new()
            .equals("project_id", project)
            .differs("device_owner", super::network::SERVICE_OWNER)
            .count(tx)
            .await?),
        ROUTER => count::<Router>(tx, project).await,
        FLOATING_IP => count::<FloatingIp>(tx, project).await,
        SECURITY_GROUP => count::<SecurityGroup>(tx, project).await,
        SECURITY_GROUP_RULE => count::<Rule>(tx, project).await,
        ADDRESS_GROUP => count::<AddressGroup>(tx, project).await,
        RBAC_POLICY => count::<RbacPolicy>(tx, project).await,
        TRUNK => count::<Trunk>(tx, project).await,
        _ => Ok(0),
    }
}

/// Refuses with 409 what would exceed the project's quota. The caller writes what it asked for in the same
/// transaction; until that ends, nobody else passes this check for the project.
pub(crate) async fn check(
    tx: &mut Tx,
    cx: &Context,
    project: &ProjectId,
    resource: &'static str,
    more: i64,
) -> Result<(), Failure> {
    quotas::serialize(tx, project).await?;
    let limit = limits(tx, cx, project)
        .await?
        .get(resource)
        .copied()
        .unwrap_or(-1);
    if limit < 0 {
        return Ok(());
    }
    let used = used(tx, project, resource).await?;
    if used + more > limit {
        return Err(Refusal::conflict(format!(
            "Quota exceeded for resources: ['{resource}']. {used} of {limit} are in use, {more} more were asked for."
        ))
        .named("OverQuota")
        .into());
    }
    Ok(())
}

/// What a project may have and has of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub limit: i64,
    pub used: i64,
}

fn check_reader(cx: &Context, actor: &Actor, project: &ProjectId) -> Result<(), Refusal> {
    cx.policy
        .check(actor, QUOTAS_READ, &Target::project(project))
}

/// A project's limits, for those who may read them.
pub async fn show(
    cx: &Context,
    actor: &Actor,
    project: &ProjectId,
) -> Result<BTreeMap<&'static str, i64>, Failure> {
    check_reader(cx, actor, project)?;
    limits(&mut cx.store.read().await?, cx, project).await
}

/// What a project would have without a quota of its own.
pub async fn show_default(
    cx: &Context,
    actor: &Actor,
    project: &ProjectId,
) -> Result<BTreeMap<&'static str, i64>, Failure> {
    check_reader(cx, actor, project)?;
    defaults(&mut cx.store.read().await?, cx).await
}

/// A project's limits beside what it has.
pub async fn usage(
    cx: &Context,
    actor: &Actor,
    project: &ProjectId,
) -> Result<BTreeMap<&'static str, Usage>, Failure> {
    check_reader(cx, actor, project)?;
    let mut tx = cx.store.read().await?;
    let mut usage = BTreeMap::new();
    for (resource, limit) in limits(&mut tx, cx, project).await? {
        let used = used(&mut tx, project, resource).await?;
        usage.insert(resource, Usage { limit, used });
    }
    Ok(usage)
}

/// The projects that have quotas of their own, with their limits.
pub async fn list(
    cx: &Context,
    actor: &Actor,
) -> Result<Vec<(ProjectId, BTreeMap<&'static str, i64>)>, Failure> {
    cx.policy.check(actor, QUOTAS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.read().await?;
    let own: Vec<NetworkQuota> = Query::new().all(&mut tx).await?;
    let mut found = Vec::new();
    for quota in own {
        let limits = limits(&mut tx, cx, &quota.project_id).await?;
        found.push((quota.project_id, limits));
    }
    Ok(found)
}

/// Gives a project limits of its own. Below what it has only by force.
pub async fn update(
    cx: &Context,
    actor: &Actor,
    project: &ProjectId,
    change: BTreeMap<String, i64>,
    force: bool,
) -> Result<BTreeMap<&'static str, i64>, Failure> {
    cx.policy.check(actor, QUOTAS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    set_in(&mut tx, project, change, force).await?;
    let limits = limits(&mut tx, cx, project).await?;
    tx.commit().await?;
    Ok(limits)
}

/// The same in a transaction that does more, for who may.
pub(crate) async fn set_in(
    tx: &mut Tx,
    project: &ProjectId,
    change: BTreeMap<String, i64>,
    force: bool,
) -> Result<(), Failure> {
    quotas::serialize(tx, project).await?;
    for (name, limit) in &change {
        check_limit(tx, project, name, *limit, force).await?;
    }
    let present = record::lock::<NetworkQuota>(tx, project).await?;
    let is_new = present.is_none();
    let mut quota = present.unwrap_or_else(|| NetworkQuota {
        project_id: project.clone(),
        limits: BTreeMap::new(),
    });
    quota.limits.extend(change);
    if is_new {
        record::insert(tx, &quota).await?;
    } else {
        record::update(tx, &quota).await?;
    }
    Ok(())
}

/// Takes the limits away that the compute API sets.
pub(crate) async fn reset_of_compute(tx: &mut Tx, project: &ProjectId) -> Result<(), Failure> {
    let Some(mut quota) = record::lock::<NetworkQuota>(tx, project).await? else {
        return Ok(());
    };
    for (_, resource) in OF_COMPUTE {
        quota.limits.remove(resource);
    }
    if quota.limits.is_empty() {
        record::delete::<NetworkQuota>(tx, project).await?;
    } else {
        record::update(tx, &quota).await?;
    }
    Ok(())
}

/// How many addresses the servers of a project have.
pub(crate) async fn fixed_ips(tx: &mut Tx, project: &ProjectId) -> Result<i64, Failure> {
    let ports: Vec<Port> = Query::new().equals("project_id", project).all(tx).await?;
    let of_servers = ports
        .iter()
        .filter(|port| port.device_owner.starts_with("compute:"));
    let count: usize = of_servers.map(|port| port.addresses.len()).sum();
    Ok(count as i64)
}

async fn check_limit(
    tx: &mut Tx,
    project: &ProjectId,
    name: &str,
    limit: i64,
    force: bool,
) -> Result<(), Failure> {
    if !RESOURCES.contains(&name) {
        return Err(Refusal::invalid(format!(
            "Unrecognized attribute(s) '{name}': what is counted is {}.",
            RESOURCES.join(", ")
        ))
        .into());
    }
    if !(-1..=i64::from(i32::MAX)).contains(&limit) {
        return Err(Refusal::invalid(format!(
            "Invalid input for {name}. Reason: '{limit}' is no limit: -1 is none, else it is 0 to 2147483647."
        ))
        .into());
    }
    let used = used(tx, project, name).await?;
    if !force && limit >= 0 && limit < used {
        return Err(Refusal::invalid(format!(
            "Quota limit {limit} of {name} is below the {used} that project {project} has: set it with force, or \
             delete some."
        ))
        .named("InvalidQuotaValue")
        .into());
    }
    Ok(())
}

/// Takes a project's own limits away.
pub async fn reset(cx: &Context, actor: &Actor, project: &ProjectId) -> Result<(), Failure> {
    cx.policy.check(actor, QUOTAS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    if !record::delete::<NetworkQuota>(&mut tx, project).await? {
        return Err(
            Refusal::not_found(format!("Quota for tenant {project} could not be found."))
                .named("TenantQuotaNotFound")
                .into(),
        );
    }
    tx.commit().await?;
    Ok(())
}
