//! From rows to the scheduler's question and back: what an instance asks for, what hosts have, what is claimed.

use crate::context::Context;
use crate::settings::Compute;
use corten_model::ids::{HostId, InstanceId};
use corten_scheduler::{self as scheduler, Request, Stock};
use corten_store::hosts::{self, Allocation, Host, Resources};
use corten_store::instances::{self, Flavor, Instance};
use corten_store::server_groups::{GroupPolicy, ServerGroup};
use corten_store::{Error, Tx, aggregates, record};
use serde_json::Value;
use std::collections::BTreeSet;

/// What an instance asks of a host.
pub async fn request(tx: &mut Tx, instance: &Instance) -> Result<Request, Error> {
    let intent = &instance.intent;
    let (group, group_has_members) = match intent.server_group_id {
        Some(id) => match record::get::<ServerGroup>(tx, id).await? {
            Some(group) => {
                let members = instances::of_group(tx, id).await?;
                let placed = members
                    .iter()
                    .any(|member| member.id != instance.id && member.host_id.is_some());
                (Some(group_policy(&group)), placed)
            }
            None => (None, false),
        },
        None => (None, false),
    };
    let image_property = |name: &str| {
        intent
            .image
            .as_ref()
            .and_then(|image| image.properties.get(name).cloned())
    };
    let wants_same = intent.scheduler_hints.contains_key("same_host");
    Ok(Request {
        vcpus: intent.flavor.vcpus,
        memory_mib: intent.flavor.memory_mib,
        disk_gib: intent.flavor.disk_gib(),
        zone: intent.availability_zone.clone(),
        host: None,
        architecture: image_property("hw_architecture").or_else(|| image_property("architecture")),
        tried: BTreeSet::new(),
        same_host: match wants_same {
            true => Some(hosts_of_hint(tx, instance, "same_host").await?),
            false => None,
        },
        different_host: hosts_of_hint(tx, instance, "different_host").await?,
        group,
        group_has_members,
    })
}

fn group_policy(group: &ServerGroup) -> scheduler::GroupPolicy {
    match group.policy {
        GroupPolicy::Affinity => scheduler::GroupPolicy::Affinity,
        GroupPolicy::AntiAffinity => scheduler::GroupPolicy::AntiAffinity {
            max_per_host: group.max_server_per_host.unwrap_or(1) as usize,
        },
        GroupPolicy::SoftAffinity => scheduler::GroupPolicy::SoftAffinity,
        GroupPolicy::SoftAntiAffinity => scheduler::GroupPolicy::SoftAntiAffinity,
    }
}

/// The hosts of the servers that a hint names: one id or a list of ids.
async fn hosts_of_hint(
    tx: &mut Tx,
    instance: &Instance,
    hint: &str,
) -> Result<BTreeSet<HostId>, Error> {
    let named: Vec<&str> = match instance.intent.scheduler_hints.get(hint) {
        Some(Value::String(id)) => vec![id],
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mut hosts = BTreeSet::new();
    for id in named
        .into_iter()
        .filter_map(|id| id.parse::<InstanceId>().ok())
    {
        hosts.extend(
            instances::get(tx, id)
                .await?
                .and_then(|other| other.host_id),
        );
    }
    Ok(hosts)
}

/// Every host as the scheduler sees it.
pub async fn inventory(
    tx: &mut Tx,
    cx: &Context,
    instance: &Instance,
) -> Result<Vec<scheduler::Host>, Error> {
    let now = cx.now();
    let compute = &cx.settings.compute;
    let zones = aggregates::zones(tx).await?;
    let members = match instance.intent.server_group_id {
        Some(group) => instances::of_group(tx, group).await?,
        None => Vec::new(),
    };
    let usages = hosts::with_usage(tx).await?;
    let view = |usage: hosts::HostUsage| {
        let total = promised(compute, &usage.host);
        let stock = |total: u64, used: u64| Stock {
            total: signed(total),
            used: signed(used),
        };
        let here =
            |member: &&Instance| member.id != instance.id && member.host_id == Some(usage.host.id);
        scheduler::Host {
            id: usage.host.id,
            zone: zones
                .get(&usage.host.name)
                .unwrap_or(&compute.default_availability_zone)
                .clone(),
            up: usage.agent.is_up(now),
            enabled: usage.agent.service.enabled,
            architecture: usage.host.facts.cpu.arch.clone(),
            vcpus: stock(total.vcpus, usage.used.vcpus),
            memory_mib: stock(total.memory_mib, usage.used.memory_mib),
            disk_gib: stock(total.disk_gib, usage.used.disk_gib),
            group_members: members.iter().filter(here).count(),
            name: usage.host.name,
        }
    };
    Ok(usages.into_iter().map(view).collect())
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// What a host may promise: its capacity less what is reserved, times the allocation ratios.
pub fn promised(compute: &Compute, host: &Host) -> Resources {
    let times = |amount: u64, ratio: f64| (amount as f64 * ratio) as u64;
    let capacity = host.facts.capacity;
    let memory_mib = capacity
        .memory_mib
        .saturating_sub(compute.reserved_host_memory_mib);
    Resources {
        vcpus: times(capacity.vcpus, compute.cpu_allocation_ratio),
        memory_mib: times(memory_mib, compute.ram_allocation_ratio),
        disk_gib: times(capacity.disk_gib, compute.disk_allocation_ratio),
    }
}

/// Claims what an instance asks for on a host; false if another claim was faster and it does not fit any more.
pub async fn claim(
    tx: &mut Tx,
    cx: &Context,
    instance: &Instance,
    host: HostId,
) -> Result<bool, Error> {
    let allocation = allocation(cx, instance, host, resources(&instance.intent.flavor));
    hosts::claim(tx, &allocation, |host| promised(&cx.settings.compute, host)).await
}

/// Claims more for an instance on the host it is on; false if that does not fit, and then the caller rolls back.
pub async fn claim_more(
    tx: &mut Tx,
    cx: &Context,
    instance: &Instance,
    host: HostId,
    whole: Resources,
) -> Result<bool, Error> {
    hosts::release(tx, instance.id, Some(host)).await?;
    let allocation = allocation(cx, instance, host, whole);
    hosts::claim(tx, &allocation, |host| promised(&cx.settings.compute, host)).await
}

/// Gives back what an instance holds on its host beyond its flavor.
pub async fn claim_less(
    tx: &mut Tx,
    cx: &Context,
    instance: &Instance,
    host: HostId,
) -> Result<(), Error> {
    hosts::release(tx, instance.id, Some(host)).await?;
    record::insert(
        tx,
        &allocation(cx, instance, host, resources(&instance.intent.flavor)),
    )
    .await
}

fn allocation(cx: &Context, instance: &Instance, host: HostId, resources: Resources) -> Allocation {
    Allocation {
        host_id: host,
        instance_id: instance.id,
        project_id: instance.project_id.clone(),
        user_id: instance.user_id.clone(),
        resources,
        created_at: cx.now(),
    }
}

/// What a flavor takes of a host.
pub fn resources(flavor: &Flavor) -> Resources {
    let amount = |number: i64| u64::try_from(number).unwrap_or(0);
    Resources {
        vcpus: amount(flavor.vcpus),
        memory_mib: amount(flavor.memory_mib),
        disk_gib: amount(flavor.disk_gib()),
    }
}
