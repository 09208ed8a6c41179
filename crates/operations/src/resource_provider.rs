//! Hosts and bare-metal nodes as Placement shows them: resource providers with inventories, traits and allocations.
//! Everything here is read from the rows that the choice of a host or a node itself works on.
//!
//! A node has one of its resource class (`bm.small` is `CUSTOM_BM_SMALL`), reserved while nobody can be given it, as Nova
//! over Ironic reports it.

use crate::context::Context;
use crate::metal::choosing::{custom_class, withheld};
use crate::placement::promised;
use crate::settings::Compute;
use corten_iam::action::placement::PLACEMENT_READ;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{AggregateUuid, InstanceId, NodeId, ProjectId, UserId};
use corten_model::refusal::Refusal;
use corten_store::hosts::{self, HostUsage, Resources};
use corten_store::instances::Instance;
use corten_store::metal::node::Node;
use corten_store::{Failure, Query, Tx, aggregates, record};
use std::collections::{BTreeMap, BTreeSet};

/// So much of each resource class.
pub type Amounts = BTreeMap<String, u64>;

/// What a host can carry, by the names of Placement's standard resource classes.
fn by_class(amount: Resources) -> [(&'static str, u64); 3] {
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

fn amounts(amount: Resources) -> Amounts {
    let classes = by_class(amount).into_iter();
    classes
        .filter(|(_, count)| *count > 0)
        .map(|(class, count)| (class.to_owned(), count))
        .collect()
}

/// How much of one resource class a provider has.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    pub class: String,
    pub total: u64,
    pub reserved: u64,
    pub allocation_ratio: f64,
    /// The most that may be promised in all: (total - reserved) × ratio.
    pub limit: u64,
    pub used: u64,
}

/// A host or a node.
#[derive(Debug, Clone)]
pub struct Provider {
    /// The host's id, or the node's.
    pub id: String,
    pub name: String,
    pub generation: u64,
    pub inventories: Vec<Inventory>,
    pub traits: BTreeSet<String>,
    pub aggregates: Vec<AggregateUuid>,
}

impl Provider {
    /// There is room for this much more, of every class.
    pub fn has_room(&self, wanted: &Amounts) -> bool {
        wanted.iter().all(|(class, count)| {
            let mut of_class = self.inventories.iter();
            of_class
                .find(|inventory| inventory.class == *class)
                .is_some_and(|inventory| inventory.used.saturating_add(*count) <= inventory.limit)
        })
    }

    fn of_host(compute: &Compute, usage: HostUsage, aggregates: Vec<AggregateUuid>) -> Self {
        let limit = promised(compute, &usage.host);
        Self {
            id: usage.host.id.to_string(),
            generation: usage.generation,
            inventories: inventories(compute, usage.host.facts.capacity, limit, usage.used),
            traits: traits_of_host(&usage),
            aggregates,
            name: usage.host.name,
        }
    }

    /// `None`: a node without a resource class can be given to nobody by a flavor.
    fn of_node(node: Node) -> Option<Self> {
        let class = custom_class(node.resource_class.as_deref()?);
        let used = u64::from(node.instance_id.is_some());
        let reserved = u64::from(used == 0 && withheld(&node).is_some());
        let changed = node.standard.updated_at.unwrap_or(node.standard.created_at);
        let mut traits = node.traits;
        traits.insert(COMPUTE_NODE.to_owned());
        Some(Self {
            id: node.id.to_string(),
            // Ironic's driver of Nova calls it so too.
            name: node.id.to_string(),
            generation: u64::try_from(changed.micros()).unwrap_or_default(),
            inventories: vec![Inventory {
                class,
                total: 1,
                reserved,
                allocation_ratio: 1.0,
                limit: 1 - reserved,
                used,
            }],
            traits,
            aggregates: Vec::new(),
        })
    }
}

const COMPUTE_NODE: &str = "COMPUTE_NODE";

/// Traits a host can have, for the list of all. Nodes have those that their operators give them beside.
const TRAITS: [&str; 4] = [
    COMPUTE_NODE,
    "COMPUTE_STATUS_DISABLED",
    "HW_ARCH_AARCH64",
    "HW_ARCH_X86_64",
];

/// Every trait there is: those that a host can have, and those that nodes have.
pub fn traits_of(providers: &[Provider]) -> BTreeSet<String> {
    let known = TRAITS.iter().map(|name| (*name).to_owned());
    let had = providers.iter().flat_map(|provider| &provider.traits);
    known.chain(had.cloned()).collect()
}

/// The resource classes of nodes.
pub fn custom_classes(providers: &[Provider]) -> BTreeSet<&str> {
    let inventories = providers.iter().flat_map(|provider| &provider.inventories);
    inventories
        .map(|inventory| inventory.class.as_str())
        .filter(|class| class.starts_with("CUSTOM_"))
        .collect()
}

fn traits_of_host(usage: &HostUsage) -> BTreeSet<String> {
    let mut traits = BTreeSet::from([COMPUTE_NODE.to_owned()]);
    if !usage.agent.service.enabled {
        traits.insert("COMPUTE_STATUS_DISABLED".to_owned());
    }
    match usage.host.facts.cpu.arch.as_str() {
        "x86_64" => traits.insert("HW_ARCH_X86_64".to_owned()),
        "aarch64" => traits.insert("HW_ARCH_AARCH64".to_owned()),
        _ => false,
    };
    traits
}

fn inventories(
    compute: &Compute,
    capacity: Resources,
    limit: Resources,
    used: Resources,
) -> Vec<Inventory> {
    let memory = compute.reserved_host_memory_mib.min(capacity.memory_mib);
    let rules = [
        (0, compute.cpu_allocation_ratio),
        (memory, compute.ram_allocation_ratio),
        (0, compute.disk_allocation_ratio),
    ];
    let amounts = by_class(capacity)
        .into_iter()
        .zip(by_class(limit).into_iter().zip(by_class(used)));
    amounts
        .zip(rules)
        .map(
            |(((class, total), ((_, limit), (_, used))), (reserved, allocation_ratio))| Inventory {
                class: class.to_owned(),
                total,
                reserved,
                allocation_ratio,
                limit,
                used,
            },
        )
        .collect()
}

/// Refuses with 403 who may not read Placement.
pub fn check_readable(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    cx.policy.check(actor, PLACEMENT_READ, &Target::cloud())
}

/// Every provider: hosts, oldest first, then nodes.
pub async fn list(cx: &Context, actor: &Actor) -> Result<Vec<Provider>, Failure> {
    check_readable(cx, actor)?;
    let mut tx = cx.store.read().await?;
    let mut found = hosts_of(cx, &mut tx).await?;
    let nodes: Vec<Node> = Query::new()
        .differs("resource_class", "")
        .all(&mut tx)
        .await?;
    found.extend(nodes.into_iter().filter_map(Provider::of_node));
    Ok(found)
}

async fn hosts_of(cx: &Context, tx: &mut Tx) -> Result<Vec<Provider>, Failure> {
    let sets = aggregates::all(tx).await?;
    let usages = hosts::with_usage(tx).await?;
    let provider = |usage: HostUsage| {
        let mine = sets
            .iter()
            .filter(|set| set.hosts.contains(&usage.host.name));
        let mine = mine.map(|set| set.uuid).collect();
        Provider::of_host(&cx.settings.compute, usage, mine)
    };
    Ok(usages.into_iter().map(provider).collect())
}

pub async fn show(cx: &Context, actor: &Actor, id: &str) -> Result<Provider, Failure> {
    check_readable(cx, actor)?;
    let mut tx = cx.store.read().await?;
    let wanted = id.to_lowercase();
    let mut hosts = hosts_of(cx, &mut tx).await?.into_iter();
    if let Some(host) = hosts.find(|host| host.id == wanted) {
        return Ok(host);
    }
    let node = match wanted.parse::<NodeId>() {
        Ok(node) => record::get::<Node>(&mut tx, node).await?,
        Err(_) => None,
    };
    let missing = || Refusal::not_found(format!("No resource provider with uuid {id} found"));
    Ok(node.and_then(Provider::of_node).ok_or_else(missing)?)
}

/// What an instance holds of a provider.
#[derive(Debug, Clone)]
pub struct Held {
    pub provider: String,
    pub generation: u64,
    pub consumer: InstanceId,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub amounts: Amounts,
}

/// A node that an instance is on, as something it holds.
async fn of_nodes(tx: &mut Tx, nodes: Vec<Node>) -> Result<Vec<Held>, Failure> {
    let consumers = nodes.iter().filter_map(|node| node.instance_id);
    let consumers: Vec<String> = consumers.map(|id| id.to_string()).collect();
    let instances: Vec<Instance> = Query::new().any_of("id", consumers).all(tx).await?;
    let instances: BTreeMap<_, _> = instances.iter().map(|one| (one.id, one)).collect();
    let mut held = Vec::new();
    for node in nodes {
        // Ironic's own clients set ids of instances that are none here.
        let Some(instance) = node.instance_id.and_then(|id| instances.get(&id)) else {
            continue;
        };
        let Some(provider) = Provider::of_node(node) else {
            continue;
        };
        let used = provider.inventories.into_iter();
        held.push(Held {
            provider: provider.id,
            generation: provider.generation,
            consumer: instance.id,
            project_id: instance.project_id.clone(),
            user_id: instance.user_id.clone(),
            amounts: used.map(|one| (one.class, one.used)).collect(),
        });
    }
    Ok(held)
}

async fn of_hosts(tx: &mut Tx, held: Vec<hosts::Allocation>) -> Result<Vec<Held>, Failure> {
    let usages = hosts::with_usage(tx).await?.into_iter();
    let generations: BTreeMap<_, _> = usages
        .map(|usage| (usage.host.id, usage.generation))
        .collect();
    let held = held.into_iter().map(|allocation| Held {
        provider: allocation.host_id.to_string(),
        generation: generations.get(&allocation.host_id).copied().unwrap_or(0),
        consumer: allocation.instance_id,
        project_id: allocation.project_id,
        user_id: allocation.user_id,
        amounts: amounts(allocation.resources),
    });
    Ok(held.collect())
}

/// What is promised of a provider.
pub async fn allocations_on(
    cx: &Context,
    actor: &Actor,
    provider: &Provider,
) -> Result<Vec<Held>, Failure> {
    check_readable(cx, actor)?;
    let mut tx = cx.store.read().await?;
    if let Ok(host) = provider.id.parse() {
        let held = hosts::allocations_on(&mut tx, host).await?;
        if !held.is_empty() {
            return of_hosts(&mut tx, held).await;
        }
    }
    let node = match provider.id.parse::<NodeId>() {
        Ok(node) => record::get(&mut tx, node).await?,
        Err(_) => None,
    };
    of_nodes(&mut tx, node.into_iter().collect()).await
}

/// What an instance holds.
pub async fn allocations_of(
    cx: &Context,
    actor: &Actor,
    consumer: InstanceId,
) -> Result<Vec<Held>, Failure> {
    check_readable(cx, actor)?;
    let mut tx = cx.store.read().await?;
    let held = hosts::allocations_of(&mut tx, consumer).await?;
    let mut all = of_hosts(&mut tx, held).await?;
    let nodes = Query::new()
        .equals("instance_id", consumer.to_string())
        .all(&mut tx)
        .await?;
    all.extend(of_nodes(&mut tx, nodes).await?);
    Ok(all)
}

/// How many allocations a project, or a user in it, has, and what they come to.
pub async fn held_by(
    cx: &Context,
    actor: &Actor,
    project: &ProjectId,
    user: Option<&UserId>,
) -> Result<(u64, Amounts), Failure> {
    check_readable(cx, actor)?;
    let mut tx = cx.store.read().await?;
    let (mut count, on_hosts) = hosts::held_by(&mut tx, project, user).await?;
    let mut sums = amounts(on_hosts);
    let nodes = Query::new().differs("instance_id", "").all(&mut tx).await?;
    for held in of_nodes(&mut tx, nodes).await? {
        if held.project_id == *project && user.is_none_or(|user| held.user_id == *user) {
            count += 1;
            for (class, amount) in held.amounts {
                *sums.entry(class).or_default() += amount;
            }
        }
    }
    Ok((count, sums))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_less_memory_than_is_reserved_has_none_to_give_and_not_less_than_none() {
        let compute = Compute::default();
        let capacity = Resources {
            vcpus: 8,
            memory_mib: 100,
            disk_gib: 100,
        };
        let found = inventories(
            &compute,
            capacity,
            Resources::default(),
            Resources::default(),
        );
        let reserved: Vec<_> = found.iter().map(|inventory| inventory.reserved).collect();
        assert_eq!(reserved, [0, 100, 0]);
    }

    #[test]
    fn what_no_inventory_has_fits_nowhere() {
        let provider = Provider {
            id: String::new(),
            name: String::new(),
            generation: 0,
            inventories: vec![Inventory {
                class: "CUSTOM_BM_SMALL".to_owned(),
                total: 1,
                reserved: 0,
                allocation_ratio: 1.0,
                limit: 1,
                used: 0,
            }],
            traits: BTreeSet::new(),
            aggregates: Vec::new(),
        };
        let wanted = |class: &str, count| Amounts::from([(class.to_owned(), count)]);
        assert!(provider.has_room(&wanted("CUSTOM_BM_SMALL", 1)));
        assert!(!provider.has_room(&wanted("CUSTOM_BM_SMALL", 2)));
        assert!(!provider.has_room(&wanted("VCPU", 1)));
    }
}
