//! Quotas: what a project may have, what it has, and the check before it gets more.
//!
//! The limit of a resource is the first that is set of: the user's in the project, the project's, the class
//! `default`'s, and the operator's in `corten.toml`. -1 means no limit.

mod check;

pub use check::{
    check_fixed_ips, check_group_members, check_injected_files, check_instances, check_key_pairs,
    check_metadata_items, check_server_groups,
};

use crate::context::Context;
use crate::network::quota as network;
use crate::settings::{self, Settings};
use corten_iam::action::compute::{LIMITS_READ, QUOTAS_READ, QUOTAS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{ProjectId, UserId};
use corten_model::refusal::Refusal;
use corten_store::identity::project::Project;
use corten_store::instances::{self, Instance, Usage};
use corten_store::quotas::{self, Limits, Quota, QuotaClass};
use corten_store::{Failure, Query, Tx, keypairs, record, server_groups};
use std::collections::BTreeMap;

pub use corten_store::quotas::DEFAULT_CLASS;

/// How many addresses servers may have; it is counted here, as the network service does not know servers.
const FIXED_IPS: &str = "fixed_ips";

/// Every resource that has a quota, by Nova's names, with the operator's limit. Those of the network are for old
/// clients of the compute API: what they set is the network's own quota.
fn operators_limits(settings: &Settings) -> Limits {
    let Settings {
        quota,
        network_quota,
        ..
    } = settings;
    let settings::Quota {
        instances,
        cores,
        ram_mib,
        key_pairs,
        metadata_items,
        server_groups,
        server_group_members,
        injected_files,
        injected_file_content_bytes,
        injected_file_path_bytes,
    } = quota;
    [
        ("instances", *instances),
        ("cores", *cores),
        ("ram", *ram_mib),
        ("key_pairs", *key_pairs),
        ("metadata_items", *metadata_items),
        ("server_groups", *server_groups),
        ("server_group_members", *server_group_members),
        ("injected_files", *injected_files),
        ("injected_file_content_bytes", *injected_file_content_bytes),
        ("injected_file_path_bytes", *injected_file_path_bytes),
        (FIXED_IPS, -1),
        ("floating_ips", network_quota.floating_ips),
        ("security_groups", network_quota.security_groups),
        ("security_group_rules", network_quota.security_group_rules),
    ]
    .into_iter()
    .map(|(name, limit)| (name.to_owned(), limit))
    .collect()
}

/// What servers take, under the names of their quotas.
fn named(amount: Usage) -> [(&'static str, i64); 3] {
    let Usage {
        instances,
        vcpus,
        memory_mib,
    } = amount;
    [
        ("cores", vcpus),
        ("instances", instances),
        ("ram", memory_mib),
    ]
}

/// A resource's limit; -1 means none.
fn limit_of(limits: &Limits, name: &str) -> i64 {
    limits.get(name).copied().unwrap_or(-1)
}

/// The resources that have a quota, with the operator's limits.
pub fn known(cx: &Context) -> Limits {
    operators_limits(&cx.settings)
}

/// The limits that hold for a project, or for a user in it, apart from those of the network.
pub async fn limits(
    cx: &Context,
    tx: &mut Tx,
    project: &ProjectId,
    user: Option<&UserId>,
) -> Result<Limits, Failure> {
    let mut limits = class_limits(cx, tx, DEFAULT_CLASS).await?;
    for key in [
        Some(Quota::key(project, None)),
        user.map(|user| Quota::key(project, Some(user))),
    ]
    .into_iter()
    .flatten()
    {
        if let Some(quota) = record::get::<Quota>(tx, key).await? {
            limits.extend(quota.limits);
        }
    }
    Ok(limits)
}

/// The same with those of the network as they are kept there.
async fn all_limits(
    cx: &Context,
    tx: &mut Tx,
    project: &ProjectId,
    user: Option<&UserId>,
) -> Result<Limits, Failure> {
    let mut limits = limits(cx, tx, project, user).await?;
    let of_networks = network::limits(tx, cx, project).await?;
    for (name, resource) in network::OF_COMPUTE {
        let limit = of_networks.get(resource).copied().unwrap_or(-1);
        limits.insert(name.to_owned(), limit);
    }
    Ok(limits)
}

/// How many addresses the servers of a project may have; -1 means no limit.
pub(crate) async fn fixed_ips_limit(
    cx: &Context,
    tx: &mut Tx,
    project: &ProjectId,
) -> Result<i64, Failure> {
    let limits = limits(cx, tx, project, None).await?;
    Ok(limit_of(&limits, FIXED_IPS))
}

async fn class_limits(cx: &Context, tx: &mut Tx, class: &str) -> Result<Limits, Failure> {
    let mut limits = operators_limits(&cx.settings);
    if let Some(class) = record::get::<QuotaClass>(tx, class).await? {
        limits.extend(class.limits);
    }
    Ok(limits)
}

/// What a project, or a user in it, has of each resource that can be counted.
pub async fn in_use(
    tx: &mut Tx,
    project: &ProjectId,
    user: Option<&UserId>,
) -> Result<BTreeMap<String, i64>, Failure> {
    let amount = servers_of(tx, project, user).await?;
    let mut used: BTreeMap<_, _> = named(amount)
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
    used.insert(
        "server_groups".to_owned(),
        server_groups::count(tx, project, user).await?,
    );
    for (name, resource) in network::OF_COMPUTE {
        used.insert(name.to_owned(), network::used(tx, project, resource).await?);
    }
    let addresses = network::fixed_ips(tx, project).await?;
    used.insert(FIXED_IPS.to_owned(), addresses);
    if let Some(user) = user {
        used.insert("key_pairs".to_owned(), keypairs::count(tx, user).await?);
    }
    Ok(used)
}

async fn servers_of(
    tx: &mut Tx,
    project: &ProjectId,
    user: Option<&UserId>,
) -> Result<Usage, Failure> {
    let Some(user) = user else {
        return Ok(instances::usage(tx, project).await?);
    };
    let living = Query::<Instance>::new()
        .equals("project_id", project)
        .equals("user_id", user)
        .equals("deleted", false)
        .all(tx)
        .await?;
    let counted = living.iter().map(Instance::counted);
    Ok(counted.fold(Usage::default(), |sum, one| Usage {
        instances: sum.instances + one.instances,
        vcpus: sum.vcpus + one.vcpus,
        memory_mib: sum.memory_mib + one.memory_mib,
    }))
}

/// A project's limits beside what it has.
#[derive(Debug)]
pub struct Report {
    pub limits: Limits,
    pub used: BTreeMap<String, i64>,
}

async fn project_must_exist(tx: &mut Tx, project: &ProjectId) -> Result<(), Failure> {
    match record::get::<Project>(tx, project).await? {
        Some(_) => Ok(()),
        None => {
            Err(Refusal::invalid(format!("Project ID {project} is not a valid project.")).into())
        }
    }
}

/// The quota of a project, or of a user in it.
pub async fn show(
    cx: &Context,
    actor: &Actor,
    project: &ProjectId,
    user: Option<&UserId>,
) -> Result<Report, Failure> {
    cx.policy
        .check(actor, QUOTAS_READ, &Target::project(project))?;
    let mut tx = cx.store.read().await?;
    project_must_exist(&mut tx, project).await?;
    report(cx, &mut tx, project, user).await
}

async fn report(
    cx: &Context,
    tx: &mut Tx,
    project: &ProjectId,
    user: Option<&UserId>,
) -> Result<Report, Failure> {
    Ok(Report {
        limits: all_limits(cx, tx, project, user).await?,
        used: in_use(tx, project, user).await?,
    })
}

/// The quota of the actor's own project, or of another for who may read that.
pub async fn for_limits(
    cx: &Context,
    actor: &Actor,
    other: Option<&ProjectId>,
) -> Result<Report, Failure> {
    let project = other.or(actor.project_id()).ok_or_else(|| {
        Refusal::invalid("Limits belong to a project: ask with a token that is scoped to one, or name it as tenant_id.")
    })?;
    cx.policy
        .check(actor, LIMITS_READ, &Target::project(project))?;
    report(cx, &mut cx.store.read().await?, project, None).await
}

/// What a project has until somebody sets its quota.
pub async fn defaults(cx: &Context, actor: &Actor, project: &ProjectId) -> Result<Limits, Failure> {
    cx.policy
        .check(actor, QUOTAS_READ, &Target::project(project))?;
    let mut tx = cx.store.read().await?;
    project_must_exist(&mut tx, project).await?;
    class_limits(cx, &mut tx, DEFAULT_CLASS).await
}

/// Sets limits of a project, or of a user in it. Without `force` a limit cannot go below what is in use, nor a user's
/// above the project's.
pub async fn set(
    cx: &Context,
    actor: &Actor,
    project: &ProjectId,
    user: Option<&UserId>,
    mut changes: Limits,
    force: bool,
) -> Result<Limits, Failure> {
    cx.policy
        .check(actor, QUOTAS_WRITE, &Target::project(project))?;
    let mut tx = cx.store.write().await?;
    project_must_exist(&mut tx, project).await?;
    let of_networks = take_of_networks(&mut changes, user)?;
    if !of_networks.is_empty() {
        network::set_in(&mut tx, project, of_networks, force).await?;
    }
    if !force {
        let used = in_use(&mut tx, project, user).await?;
        let above = match user {
            Some(_) => limits(cx, &mut tx, project, None).await?,
            None => Limits::new(),
        };
        for (name, limit) in &changes {
            within(
                name,
                *limit,
                used.get(name).copied().unwrap_or(0),
                limit_of(&above, name),
            )?;
        }
    }
    let key = Quota::key(project, user);
    match record::lock::<Quota>(&mut tx, &key).await? {
        Some(mut quota) => {
            quota.limits.extend(changes);
            record::update(&mut tx, &quota).await?;
        }
        None => {
            let quota = Quota {
                project_id: project.clone(),
                user_id: user.cloned(),
                limits: changes,
            };
            record::insert(&mut tx, &quota).await?;
        }
    }
    let limits = all_limits(cx, &mut tx, project, user).await?;
    tx.commit().await?;
    Ok(limits)
}

/// Takes the network's limits out of these, by the network's names. They hold for a project as a whole.
fn take_of_networks(
    changes: &mut Limits,
    user: Option<&UserId>,
) -> Result<BTreeMap<String, i64>, Refusal> {
    let names = network::OF_COMPUTE.iter().map(|(name, _)| *name);
    let mut names = names.chain([FIXED_IPS]);
    if let (Some(user), Some(name)) = (user, names.find(|name| changes.contains_key(*name))) {
        return Err(Refusal::invalid(format!(
            "Quota {name} cannot be set for user {user}: networks are counted for projects as a whole."
        )));
    }
    let taken = network::OF_COMPUTE.iter().filter_map(|(name, resource)| {
        let limit = changes.remove(*name)?;
        Some(((*resource).to_owned(), limit))
    });
    Ok(taken.collect())
}

fn within(name: &str, limit: i64, least: i64, most: i64) -> Result<(), Refusal> {
    if limit >= 0 && limit < least {
        return Err(Refusal::invalid(format!(
            "Quota limit {limit} for {name} must be greater than or equal to already used and reserved {least}."
        )));
    }
    if most >= 0 && (limit < 0 || limit > most) {
        return Err(Refusal::invalid(format!(
            "Quota limit {limit} for {name} must be less than or equal to {most}."
        )));
    }
    Ok(())
}

/// Back to the defaults, for a project with all its users, or for one user in it. Old clients mean the network's too.
pub async fn reset(
    cx: &Context,
    actor: &Actor,
    project: &ProjectId,
    user: Option<&UserId>,
    with_networks: bool,
) -> Result<(), Failure> {
    cx.policy
        .check(actor, QUOTAS_WRITE, &Target::project(project))?;
    let mut tx = cx.store.write().await?;
    match user {
        None => {
            quotas::delete_project(&mut tx, project).await?;
            if with_networks {
                network::reset_of_compute(&mut tx, project).await?;
            }
        }
        Some(user) => {
            record::delete::<Quota>(&mut tx, Quota::key(project, Some(user))).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// The limits of a class; one that was never set has the operator's.
pub async fn show_class(cx: &Context, actor: &Actor, class: &str) -> Result<Limits, Failure> {
    cx.policy.check(actor, QUOTAS_WRITE, &Target::cloud())?;
    class_limits(cx, &mut cx.store.read().await?, class).await
}

pub async fn set_class(
    cx: &Context,
    actor: &Actor,
    class: &str,
    changes: Limits,
) -> Result<Limits, Failure> {
    cx.policy.check(actor, QUOTAS_WRITE, &Target::cloud())?;
    if class.is_empty() || class.chars().count() > 255 {
        return Err(Refusal::invalid("The name of a quota class has 1 to 255 characters.").into());
    }
    let mut tx = cx.store.write().await?;
    match record::lock::<QuotaClass>(&mut tx, class).await? {
        Some(mut found) => {
            found.limits.extend(changes);
            record::update(&mut tx, &found).await?;
        }
        None => {
            record::insert(
                &mut tx,
                &QuotaClass {
                    name: class.to_owned(),
                    limits: changes,
                },
            )
            .await?
        }
    }
    let limits = class_limits(cx, &mut tx, class).await?;
    tx.commit().await?;
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_stays_between_what_is_used_and_what_the_project_has() {
        assert!(
            within("cores", 4, 5, -1)
                .unwrap_err()
                .message
                .contains("greater than or equal to already used")
        );
        assert!(within("cores", -1, 5, -1).is_ok());
        assert!(within("cores", -1, 5, 20).is_err());
        assert!(within("cores", 21, 5, 20).is_err());
        assert!(within("cores", 20, 5, 20).is_ok());
    }

    #[test]
    fn every_setting_is_a_quota() {
        let all = operators_limits(&Settings::default());
        assert_eq!(all.len(), 14);
        assert_eq!(all["ram"], 51_200);
    }
}
