//! Conductors: the control plane's processes, each of which can work on every node; and shards.

use super::driver;
use crate::context::Context;
use corten_iam::action::baremetal::{CONDUCTORS_READ, SHARDS_READ};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::NodeId;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::metal::node::Node;
use corten_store::{Failure, Query, Tx, services};
use std::collections::BTreeMap;

/// Under this name the processes of the control plane are registered.
const PROGRAM: &str = "nova-conductor";

pub struct Conductor {
    pub hostname: String,
    pub alive: bool,
    pub drivers: Vec<&'static str>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

async fn all(cx: &Context, tx: &mut Tx) -> Result<Vec<Conductor>, Failure> {
    let now = cx.now();
    let drivers: Vec<_> = driver::enabled(&cx.metal)
        .map(|driver| driver.name)
        .collect();
    let mut found: Vec<Conductor> = services::all(tx)
        .await?
        .into_iter()
        .filter(|seen| seen.service.program == PROGRAM)
        .map(|seen| Conductor {
            alive: seen.is_up(now),
            hostname: seen.service.host,
            drivers: drivers.clone(),
            created_at: seen.service.created_at,
            updated_at: seen.service.updated_at,
        })
        .collect();
    found.sort_by(|a, b| a.hostname.cmp(&b.hostname));
    Ok(found)
}

pub async fn list(cx: &Context, actor: &Actor) -> Result<Vec<Conductor>, Failure> {
    cx.policy.check(actor, CONDUCTORS_READ, &Target::cloud())?;
    all(cx, &mut cx.store.read().await?).await
}

/// Those that work now, for whoever may see what is shown under them.
pub async fn alive(cx: &Context) -> Result<Vec<Conductor>, Failure> {
    let mut all = all(cx, &mut cx.store.read().await?).await?;
    all.retain(|conductor| conductor.alive);
    Ok(all)
}

pub async fn show(cx: &Context, actor: &Actor, hostname: &str) -> Result<Conductor, Failure> {
    let found = list(cx, actor).await?;
    found
        .into_iter()
        .find(|conductor| conductor.hostname == hostname)
        .ok_or_else(|| {
            Refusal::not_found(format!("Conductor {hostname} could not be found.")).into()
        })
}

/// The conductor group that each of them is shown in: that of the provisioning networks, where all are of one. In truth they
/// work on the nodes of every group.
pub fn group(cx: &Context) -> &str {
    let networks = cx.settings.provisioning.networks.iter();
    let mut groups = networks.map(|network| network.conductor_group.as_str());
    let first = groups.next().unwrap_or_default();
    if groups.all(|group| group == first) {
        first
    } else {
        ""
    }
}

/// Which conductor each node is shown under: those that are alive share them. Any of them works on any node.
#[derive(Default)]
pub struct Assignment(Vec<String>);

impl Assignment {
    pub async fn read(cx: &Context) -> Result<Self, Failure> {
        let alive = alive(cx).await?.into_iter();
        Ok(Self(alive.map(|conductor| conductor.hostname).collect()))
    }

    pub fn of(&self, node: NodeId) -> Option<&str> {
        let count = u128::try_from(self.0.len())
            .ok()
            .filter(|count| *count > 0)?;
        let index = usize::try_from(node.0.as_u128() % count).ok()?;
        self.0.get(index).map(String::as_str)
    }
}

/// How many nodes each shard has; the name is empty for those in none.
pub async fn shards(
    cx: &Context,
    actor: &Actor,
) -> Result<BTreeMap<Option<String>, usize>, Failure> {
    cx.policy.check(actor, SHARDS_READ, &Target::cloud())?;
    let nodes: Vec<Node> = Query::new().all(&mut cx.store.read().await?).await?;
    let mut counts = BTreeMap::new();
    for node in nodes {
        *counts.entry(node.shard).or_default() += 1;
    }
    Ok(counts)
}
