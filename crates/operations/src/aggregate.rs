//! Aggregates: sets of hosts, and the rules that keep every host in at most one availability zone.

use crate::context::Context;
use crate::instance::named::image_of;
use crate::instance::spec::image_ref;
use corten_host::{Fence, Task};
use corten_iam::action::compute::{HOSTS_READ, HOSTS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{AggregateUuid, ImageId, OperationId};
use corten_model::refusal::Refusal;
use corten_store::aggregates::{self, AVAILABILITY_ZONE, Aggregate};
use corten_store::{Error, Failure, Tx, hosts, record, sequences};
use std::collections::{BTreeMap, BTreeSet};

/// A change of metadata: `None` removes the key.
pub type MetadataChange = BTreeMap<String, Option<String>>;

fn missing(number: i64) -> Refusal {
    Refusal::no_such("Aggregate", number)
}

pub async fn list(cx: &Context, actor: &Actor) -> Result<Vec<Aggregate>, Failure> {
    cx.policy.check(actor, HOSTS_READ, &Target::cloud())?;
    Ok(aggregates::all(&mut cx.store.read().await?).await?)
}

pub async fn show(cx: &Context, actor: &Actor, number: i64) -> Result<Aggregate, Failure> {
    cx.policy.check(actor, HOSTS_READ, &Target::cloud())?;
    let found = aggregates::by_number(&mut cx.store.read().await?, number).await?;
    Ok(found.ok_or_else(|| missing(number))?)
}

pub async fn create(
    cx: &Context,
    actor: &Actor,
    name: String,
    availability_zone: Option<String>,
) -> Result<Aggregate, Failure> {
    cx.policy.check(actor, HOSTS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    let aggregate = Aggregate {
        uuid: AggregateUuid::random(),
        number: sequences::next(&mut tx, "aggregates").await?,
        name,
        hosts: Vec::new(),
        metadata: availability_zone
            .map(|zone| (AVAILABILITY_ZONE.to_owned(), zone))
            .into_iter()
            .collect(),
        created_at: cx.now(),
        updated_at: None,
    };
    record::insert(&mut tx, &aggregate)
        .await
        .map_err(|error| name_taken(error, &aggregate.name))?;
    tx.commit().await?;
    Ok(aggregate)
}

fn name_taken(error: Error, name: &str) -> Failure {
    match error {
        Error::Exists { .. } => {
            Refusal::conflict(format!("Aggregate {name} already exists.")).into()
        }
        other => other.into(),
    }
}

/// The aggregate with this number, locked, and all others.
async fn lock(tx: &mut Tx, number: i64) -> Result<(Aggregate, Vec<Aggregate>), Failure> {
    let found = aggregates::by_number(tx, number)
        .await?
        .ok_or_else(|| missing(number))?;
    let aggregate = record::lock::<Aggregate>(tx, found.uuid)
        .await?
        .ok_or_else(|| missing(number))?;
    let mut others = aggregates::all(tx).await?;
    others.retain(|other| other.uuid != aggregate.uuid);
    Ok((aggregate, others))
}

/// Changes the name, the availability zone, or both.
pub async fn update(
    cx: &Context,
    actor: &Actor,
    number: i64,
    name: Option<String>,
    availability_zone: Option<Option<String>>,
) -> Result<Aggregate, Failure> {
    cx.policy.check(actor, HOSTS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    let (mut aggregate, others) = lock(&mut tx, number).await?;
    if let Some(name) = name {
        aggregate.name = name;
    }
    if let Some(zone) = availability_zone {
        let change = MetadataChange::from([(AVAILABILITY_ZONE.to_owned(), zone)]);
        change_metadata(&mut tx, &mut aggregate, &others, change).await?;
    }
    aggregate.updated_at = Some(cx.now());
    record::update(&mut tx, &aggregate)
        .await
        .map_err(|error| name_taken(error, &aggregate.name))?;
    tx.commit().await?;
    Ok(aggregate)
}

/// Adds, replaces and removes metadata; the availability zone is part of it.
pub async fn set_metadata(
    cx: &Context,
    actor: &Actor,
    number: i64,
    change: MetadataChange,
) -> Result<Aggregate, Failure> {
    cx.policy.check(actor, HOSTS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    let (mut aggregate, others) = lock(&mut tx, number).await?;
    change_metadata(&mut tx, &mut aggregate, &others, change).await?;
    aggregate.updated_at = Some(cx.now());
    record::update(&mut tx, &aggregate).await?;
    tx.commit().await?;
    Ok(aggregate)
}

async fn change_metadata(
    tx: &mut Tx,
    aggregate: &mut Aggregate,
    others: &[Aggregate],
    change: MetadataChange,
) -> Result<(), Failure> {
    if let Some(zone) = change.get(AVAILABILITY_ZONE) {
        let wrong = |reason: String| {
            Refusal::invalid(format!(
                "Cannot update aggregate {}. Reason: {reason}.",
                aggregate.number
            ))
        };
        let zone = zone
            .as_deref()
            .filter(|zone| !zone.is_empty())
            .ok_or_else(|| {
                wrong(format!(
                    "Aggregate {} does not support empty named availability zone",
                    aggregate.name
                ))
            })?;
        let elsewhere = other_zones(others, &aggregate.hosts, zone);
        if !elsewhere.is_empty() {
            return Err(wrong(already_in(&elsewhere)).into());
        }
        if aggregate.availability_zone() != Some(zone)
            && count_instances(tx, &aggregate.hosts).await? > 0
        {
            return Err(
                wrong("One or more hosts contain instances in this zone".to_owned()).into(),
            );
        }
    }
    for (key, value) in change {
        match value {
            Some(value) => aggregate.metadata.insert(key, value),
            None => aggregate.metadata.remove(&key),
        };
    }
    Ok(())
}

/// The zones other than `zone` that other aggregates put some of these hosts in.
fn other_zones<'a>(others: &'a [Aggregate], hosts: &[String], zone: &str) -> Vec<&'a str> {
    others
        .iter()
        .filter(|other| other.hosts.iter().any(|host| hosts.contains(host)))
        .filter_map(Aggregate::availability_zone)
        .filter(|other| *other != zone)
        .collect()
}

fn already_in(zones: &[&str]) -> String {
    format!(
        "One or more hosts already in availability zone(s) {}",
        zones.join(", ")
    )
}

async fn count_instances(tx: &mut Tx, names: &[String]) -> Result<u64, Failure> {
    let usage = hosts::with_usage(tx).await?;
    Ok(usage
        .iter()
        .filter(|usage| names.contains(&usage.host.name))
        .map(|usage| usage.instances)
        .sum())
}

/// An aggregate with hosts is not deleted: its hosts would change their availability zone unasked.
pub async fn delete(cx: &Context, actor: &Actor, number: i64) -> Result<(), Failure> {
    cx.policy.check(actor, HOSTS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    let (aggregate, _) = lock(&mut tx, number).await?;
    if !aggregate.hosts.is_empty() {
        return Err(Refusal::invalid(format!(
            "Cannot remove aggregate {number}. Reason: Host aggregate is not empty: remove {} first.",
            aggregate.hosts.join(", ")
        ))
        .into());
    }
    record::delete::<Aggregate>(&mut tx, aggregate.uuid).await?;
    tx.commit().await?;
    Ok(())
}

pub async fn add_host(
    cx: &Context,
    actor: &Actor,
    number: i64,
    host: &str,
) -> Result<Aggregate, Failure> {
    cx.policy.check(actor, HOSTS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    let (mut aggregate, others) = lock(&mut tx, number).await?;
    if hosts::by_name(&mut tx, host).await?.is_none() {
        return Err(Refusal::no_such("Compute host", host).into());
    }
    if aggregate.hosts.iter().any(|member| member == host) {
        return Err(
            Refusal::conflict(format!("Aggregate {number} already has host {host}.")).into(),
        );
    }
    if let Some(zone) = aggregate.availability_zone() {
        let hosts = [host.to_owned()];
        let wrong = |reason: &str| {
            Refusal::conflict(format!(
                "Cannot add host to aggregate {number}. Reason: {reason}."
            ))
        };
        let elsewhere = other_zones(&others, &hosts, zone);
        if !elsewhere.is_empty() {
            return Err(wrong(&already_in(&elsewhere)).into());
        }
        let zone_before = zone_of(&others, host);
        if zone_before != Some(zone) {
            stays_in_zone(&mut tx, &hosts, zone_before, Some(zone))
                .await?
                .map_err(|reason| wrong(&reason))?;
        }
    }
    aggregate.hosts.push(host.to_owned());
    aggregate.updated_at = Some(cx.now());
    record::update(&mut tx, &aggregate).await?;
    tx.commit().await?;
    Ok(aggregate)
}

pub async fn remove_host(
    cx: &Context,
    actor: &Actor,
    number: i64,
    host: &str,
) -> Result<Aggregate, Failure> {
    cx.policy.check(actor, HOSTS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    let (mut aggregate, others) = lock(&mut tx, number).await?;
    let index = aggregate
        .hosts
        .iter()
        .position(|member| member == host)
        .ok_or_else(|| {
            Refusal::not_found(format!(
                "Cannot remove host {host} in aggregate {number}: it is not in there."
            ))
        })?;
    let after = zone_of(&others, host);
    if aggregate.availability_zone().is_some() && after != aggregate.availability_zone() {
        stays_in_zone(
            &mut tx,
            &[host.to_owned()],
            aggregate.availability_zone(),
            after,
        )
        .await?
        .map_err(|reason| {
            Refusal::conflict(format!(
                "Cannot remove host from aggregate {number}. Reason: {reason}."
            ))
        })?;
    }
    aggregate.hosts.remove(index);
    aggregate.updated_at = Some(cx.now());
    record::update(&mut tx, &aggregate).await?;
    tx.commit().await?;
    Ok(aggregate)
}

/// Starts to fetch images into the caches of an aggregate's hosts, so that servers there start sooner. This is a wish:
/// a host that cannot, or is away, fetches the image when a server needs it.
pub async fn cache_images(
    cx: &Context,
    actor: &Actor,
    number: i64,
    images: &BTreeSet<ImageId>,
) -> Result<(), Failure> {
    cx.policy.check(actor, HOSTS_WRITE, &Target::cloud())?;
    let mut wanted = Vec::new();
    for image in images {
        wanted.push(image_ref(cx, &image_of(cx, actor, *image).await?)?);
    }
    let mut tx = cx.store.read().await?;
    let aggregate = aggregates::by_number(&mut tx, number)
        .await?
        .ok_or_else(|| missing(number))?;
    for usage in hosts::with_usage(&mut tx).await? {
        if !aggregate.hosts.contains(&usage.host.name) {
            continue;
        }
        let Ok(hands) = cx.hosts.get(usage.host.id) else {
            continue;
        };
        let wanted = wanted.clone();
        tokio::spawn(async move {
            for image in wanted {
                let fence = Fence {
                    operation: OperationId::random(),
                    epoch: 1,
                };
                if let Err(error) = hands.perform(fence, Task::EnsureImage { image }).await {
                    tracing::warn!(host = usage.host.name, %error, "an image was not cached ahead");
                }
            }
        });
    }
    Ok(())
}

/// The zone that these aggregates put a host in.
fn zone_of<'a>(aggregates: &'a [Aggregate], host: &str) -> Option<&'a str> {
    aggregates
        .iter()
        .filter(|aggregate| aggregate.hosts.iter().any(|member| member == host))
        .find_map(Aggregate::availability_zone)
}

/// The zone of a host cannot change under its instances.
async fn stays_in_zone(
    tx: &mut Tx,
    host: &[String],
    from: Option<&str>,
    to: Option<&str>,
) -> Result<Result<(), String>, Failure> {
    let count = count_instances(tx, host).await?;
    if count == 0 {
        return Ok(Ok(()));
    }
    Ok(Err(format!(
        "The availability zone of the host would change from '{}' to '{}' but the host already has {count} \
         instance(s). Move the instances away from this host, then try again",
        from.unwrap_or("none"),
        to.unwrap_or("none")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_model::time::Timestamp;

    fn aggregate(number: i64, zone: Option<&str>, hosts: &[&str]) -> Aggregate {
        Aggregate {
            uuid: AggregateUuid::random(),
            number,
            name: format!("a{number}"),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            metadata: zone
                .map(|zone| (AVAILABILITY_ZONE.to_owned(), zone.to_owned()))
                .into_iter()
                .collect(),
            created_at: Timestamp(0),
            updated_at: None,
        }
    }

    #[test]
    fn a_host_has_the_zone_of_the_aggregate_that_names_one() {
        let all = [
            aggregate(1, None, &["h1", "h2"]),
            aggregate(2, Some("east"), &["h1"]),
        ];
        assert_eq!(zone_of(&all, "h1"), Some("east"));
        assert_eq!(zone_of(&all, "h2"), None);
    }

    #[test]
    fn a_second_zone_for_a_host_is_seen_the_same_zone_twice_is_no_conflict() {
        let others = [
            aggregate(1, Some("east"), &["h1"]),
            aggregate(2, Some("west"), &["h2"]),
        ];
        assert_eq!(other_zones(&others, &["h1".to_owned()], "north"), ["east"]);
        assert!(other_zones(&others, &["h1".to_owned()], "east").is_empty());
        assert!(other_zones(&others, &["h3".to_owned()], "north").is_empty());
    }
}
