//! Hosts as Placement shows them: resource providers with inventories, traits and allocations. Everything here is read
//! from the rows that the scheduler itself works on.

use crate::context::Context;
use crate::placement::promised;
use crate::settings::Compute;
use corten_iam::action::placement::PLACEMENT_READ;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{AggregateUuid, HostId, InstanceId, ProjectId, UserId};
use corten_model::refusal::Refusal;
use corten_store::hosts::{self, Allocation, HostUsage, Resources};
use corten_store::{Failure, aggregates};
use std::collections::BTreeMap;

/// What a host can carry, by the names of Placement's standard resource classes.
pub fn by_class(amount: Resources) -> [(&'static str, u64); 3] {
    let Resources {
        vcpus,
        memory_mib,
        disk_gib,
    } = amount;
    [
        ("VCPU", vcpus),
        ("MEMORY_MB", memory_mib),
        ("DISK_GB", disk_gib),
    ]
}

/// How much of one resource class a provider has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Inventory {
    pub class: &'static str,
    pub total: u64,
    pub reserved: u64,
    pub allocation_ratio: f64,
}

/// A host as a resource provider.
#[derive(Debug, Clone)]
pub struct Provider {
    pub usage: HostUsage,
    pub inventories: [Inventory; 3],
    /// The most that may be promised in all: (total - reserved) × ratio.
    pub limit: Resources,
    pub traits: Vec<&'static str>,
    pub aggregates: Vec<AggregateUuid>,
}

impl Provider {
    pub fn id(&self) -> HostId {
        self.usage.host.id
    }

    /// There is room for this much more.
    pub fn has_room(&self, amount: Resources) -> bool {
        self.usage.used.plus(amount).fits_in(self.limit)
    }
}

/// Traits a host can have, for the list of all.
pub const TRAITS: [&str; 4] = [
    "COMPUTE_NODE",
    "COMPUTE_STATUS_DISABLED",
    "HW_ARCH_AARCH64",
    "HW_ARCH_X86_64",
];

fn traits(usage: &HostUsage) -> Vec<&'static str> {
    let mut traits = vec!["COMPUTE_NODE"];
    if !usage.agent.service.enabled {
        traits.push("COMPUTE_STATUS_DISABLED");
    }
    match usage.host.facts.cpu.arch.as_str() {
        "x86_64" => traits.push("HW_ARCH_X86_64"),
        "aarch64" => traits.push("HW_ARCH_AARCH64"),
        _ => {}
    }
    traits
}

fn inventories(compute: &Compute, capacity: Resources) -> [Inventory; 3] {
    let plain = |class, total, allocation_ratio| Inventory {
        class,
        total,
        reserved: 0,
        allocation_ratio,
    };
    let memory = plain(
        "MEMORY_MB",
        capacity.memory_mib,
        compute.ram_allocation_ratio,
    );
    [
        plain("VCPU", capacity.vcpus, compute.cpu_allocation_ratio),
        Inventory {
            reserved: compute.reserved_host_memory_mib.min(capacity.memory_mib),
            ..memory
        },
        plain("DISK_GB", capacity.disk_gib, compute.disk_allocation_ratio),
    ]
}

/// Refuses with 403 who may not read Placement.
pub fn check_readable(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    cx.policy.check(actor, PLACEMENT_READ, &Target::cloud())
}

/// Every provider, oldest first.
pub async fn list(cx: &Context, actor: &Actor) -> Result<Vec<Provider>, Failure> {
    cx.policy.check(actor, PLACEMENT_READ, &Target::cloud())?;
    let mut tx = cx.store.read().await?;
    let sets = aggregates::all(&mut tx).await?;
    let compute = &cx.settings.compute;
    let provider = |usage: HostUsage| Provider {
        inventories: inventories(compute, usage.host.facts.capacity),
        limit: promised(compute, &usage.host),
        traits: traits(&usage),
        aggregates: sets
            .iter()
            .filter(|set| set.hosts.contains(&usage.host.name))
            .map(|set| set.uuid)
            .collect(),
        usage,
    };
    Ok(hosts::with_usage(&mut tx)
        .await?
        .into_iter()
        .map(provider)
        .collect())
}

pub async fn show(cx: &Context, actor: &Actor, id: &str) -> Result<Provider, Failure> {
    let found = list(cx, actor)
        .await?
        .into_iter()
        .find(|provider| provider.id().to_string() == id.to_lowercase());
    let missing = || Refusal::not_found(format!("No resource provider with uuid {id} found"));
    Ok(found.ok_or_else(missing)?)
}

/// What is promised of a provider.
pub async fn allocations_on(
    cx: &Context,
    actor: &Actor,
    id: HostId,
) -> Result<Vec<Allocation>, Failure> {
    cx.policy.check(actor, PLACEMENT_READ, &Target::cloud())?;
    Ok(hosts::allocations_on(&mut cx.store.read().await?, id).await?)
}

/// What an instance holds, and the generation of each provider it holds it on.
pub async fn allocations_of(
    cx: &Context,
    actor: &Actor,
    consumer: InstanceId,
) -> Result<Vec<(Allocation, u64)>, Failure> {
    cx.policy.check(actor, PLACEMENT_READ, &Target::cloud())?;
    let mut tx = cx.store.read().await?;
    let generations: BTreeMap<_, _> = hosts::with_usage(&mut tx)
        .await?
        .into_iter()
        .map(|usage| (usage.host.id, usage.generation))
        .collect();
    let held = hosts::allocations_of(&mut tx, consumer).await?;
    let generation = |host| generations.get(&host).copied().unwrap_or(0);
    Ok(held
        .into_iter()
        .map(|allocation| (allocation.clone(), generation(allocation.host_id)))
        .collect())
}

/// How many allocations a project, or a user in it, has, and what they come to.
pub async fn held_by(
    cx: &Context,
    actor: &Actor,
    project: &ProjectId,
    user: Option<&UserId>,
) -> Result<(u64, Resources), Failure> {
    cx.policy.check(actor, PLACEMENT_READ, &Target::cloud())?;
    Ok(hosts::held_by(&mut cx.store.read().await?, project, user).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inventories_add_up_to_what_the_scheduler_promises() {
        let compute = Compute::default();
        let capacity = Resources {
            vcpus: 8,
            memory_mib: 16_384,
            disk_gib: 100,
        };
        let [cpu, memory, disk] = inventories(&compute, capacity);
        let limit = |inventory: Inventory| {
            ((inventory.total - inventory.reserved) as f64 * inventory.allocation_ratio) as u64
        };
        assert_eq!([limit(cpu), limit(memory), limit(disk)], [32, 15_872, 100]);
        // A host with less memory than is reserved has none to give, not less than none.
        let [_, memory, _] = inventories(
            &compute,
            Resources {
                memory_mib: 100,
                ..capacity
            },
        );
        assert_eq!(limit(memory), 0);
    }
}
