//! Hypervisor hosts, the services that run on them and on the control plane, and the availability zones they are in.

use crate::agent;
use crate::context::Context;
use corten_iam::action::compute::{HOSTS_READ, HOSTS_WRITE, ZONES_READ};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::HostId;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::hosts::{Host, HostFacts, HostUsage};
use corten_store::instances::Instance;
use corten_store::services::{Seen, Service, ServiceId};
use corten_store::{Failure, Query, Tx, aggregates, hosts, record, sequences, services};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The zone that Nova shows for services of the control plane.
pub const INTERNAL_ZONE: &str = "internal";

/// An agent starts: its host is made or brought up to date. The host keeps its id, its numbers and whether an
/// administrator disabled it.
pub async fn register(
    cx: &Context,
    id: HostId,
    name: &str,
    facts: HostFacts,
) -> Result<Host, Failure> {
    let mut tx = cx.store.write().await?;
    let service = ensure_service(cx, &mut tx, services::COMPUTE, name).await?;
    let host = match record::lock::<Host>(&mut tx, id).await? {
        Some(mut host) => {
            if host.name != name {
                return Err(Refusal::conflict(format!(
                    "Host {id} is known as '{}', not '{name}': give the machine its name back, or start its agent \
                     with a new data directory.",
                    host.name
                ))
                .into());
            }
            host.facts = facts;
            record::update(&mut tx, &host).await?;
            host
        }
        None => {
            let number = sequences::next(&mut tx, "hosts").await?;
            let host = Host {
                id,
                number,
                name: name.to_owned(),
                service_id: service.id,
                facts,
                created_at: cx.now(),
            };
            record::insert(&mut tx, &host).await?;
            host
        }
    };
    tx.commit().await?;
    Ok(host)
}

/// [`register`] with what the host at this address says of its machine.
pub async fn register_capacity(
    cx: &Context,
    id: HostId,
    address: IpAddr,
    capacity: &corten_host::HostCapacity,
) -> Result<Host, Failure> {
    let facts = HostFacts {
        capacity: hosts::Resources {
            vcpus: capacity.vcpus.into(),
            memory_mib: capacity.memory_mib,
            disk_gib: capacity.disk_gib,
        },
        cpu: hosts::CpuInfo {
            arch: capacity.cpu_arch.clone(),
            vendor: capacity.cpu_vendor.clone(),
            model: capacity.cpu_model.clone(),
            sockets: 1,
            cores: capacity.vcpus,
            threads: 1,
            features: capacity.cpu_features.clone(),
        },
        address: address.to_string(),
        hypervisor_type: "QEMU".to_owned(),
        hypervisor_version: version_number(&capacity.hypervisor_version),
        booted_at: cx.now(),
    };
    register(cx, id, &capacity.hostname, facts).await
}

/// Major × 1,000,000 + minor × 1,000 + release of `7.2.22`.
fn version_number(text: &str) -> i64 {
    let mut parts = text.split('.').map(|part| part.parse::<i64>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    next() * 1_000_000 + next() * 1_000 + next()
}

/// A program of the control plane starts.
pub async fn register_service(cx: &Context, program: &str, host: &str) -> Result<Service, Failure> {
    let mut tx = cx.store.write().await?;
    let service = ensure_service(cx, &mut tx, program, host).await?;
    tx.commit().await?;
    Ok(service)
}

async fn ensure_service(
    cx: &Context,
    tx: &mut Tx,
    program: &str,
    host: &str,
) -> Result<Service, Failure> {
    let service = match services::find(tx, program, host).await? {
        Some(service) => service,
        None => {
            let service = Service {
                id: ServiceId::random(),
                number: sequences::next(tx, "compute_services").await?,
                program: program.to_owned(),
                host: host.to_owned(),
                enabled: true,
                disabled_reason: None,
                forced_down: false,
                created_at: cx.now(),
                updated_at: None,
            };
            record::insert(tx, &service).await?;
            service
        }
    };
    services::heartbeat(tx, service.id, cx.now()).await?;
    Ok(service)
}

/// These services are alive.
pub async fn heartbeat(cx: &Context, alive: &[ServiceId]) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    for id in alive {
        services::heartbeat(&mut tx, *id, cx.now()).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Refuses with 403 who may not see hosts.
pub fn check_readable(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    cx.policy.check(actor, HOSTS_READ, &Target::cloud())
}

/// Every host with its agent and its usage.
pub async fn list(cx: &Context, actor: &Actor) -> Result<Vec<HostUsage>, Failure> {
    cx.policy.check(actor, HOSTS_READ, &Target::cloud())?;
    Ok(hosts::with_usage(&mut cx.store.read().await?).await?)
}

/// The living instances of the given hosts.
pub async fn instances_on(
    cx: &Context,
    actor: &Actor,
    hosts: &[HostId],
) -> Result<Vec<Instance>, Failure> {
    cx.policy.check(actor, HOSTS_READ, &Target::cloud())?;
    let mut tx = cx.store.read().await?;
    let mut found = Vec::new();
    for hosts in hosts.chunks(500) {
        found.extend(
            Query::<Instance>::new()
                .any_of("host_id", hosts)
                .equals("deleted", false)
                .all(&mut tx)
                .await?,
        );
    }
    Ok(found)
}

/// A service with the availability zone it is shown in.
#[derive(Debug, Clone)]
pub struct ServiceInZone {
    pub seen: Seen,
    pub zone: String,
}

async fn in_zones(cx: &Context, tx: &mut Tx) -> Result<Vec<ServiceInZone>, Failure> {
    let zones = aggregates::zones(tx).await?;
    let all = services::all(tx).await?;
    Ok(all
        .into_iter()
        .map(|seen| ServiceInZone {
            zone: zone_of(cx, &zones, &seen.service),
            seen,
        })
        .collect())
}

fn zone_of(cx: &Context, zones: &BTreeMap<String, String>, service: &Service) -> String {
    if service.program != services::COMPUTE {
        return INTERNAL_ZONE.to_owned();
    }
    zones
        .get(&service.host)
        .cloned()
        .unwrap_or_else(|| cx.settings.compute.default_availability_zone.clone())
}

/// Every service, oldest first.
pub async fn list_services(cx: &Context, actor: &Actor) -> Result<Vec<ServiceInZone>, Failure> {
    cx.policy.check(actor, HOSTS_READ, &Target::cloud())?;
    in_zones(cx, &mut cx.store.read().await?).await
}

/// The services by zone, for who asks which zones there are. Anyone may.
pub async fn zones(cx: &Context, actor: &Actor) -> Result<BTreeMap<String, Vec<Seen>>, Failure> {
    cx.policy.check(actor, ZONES_READ, &Target::cloud())?;
    let mut zones: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    for ServiceInZone { seen, zone } in in_zones(cx, &mut cx.store.read().await?).await? {
        zones.entry(zone).or_default().push(seen);
    }
    Ok(zones)
}

/// [`zones`] with the hosts in them, for who may see hosts.
pub async fn zones_in_detail(
    cx: &Context,
    actor: &Actor,
) -> Result<BTreeMap<String, Vec<Seen>>, Failure> {
    cx.policy.check(actor, HOSTS_READ, &Target::cloud())?;
    zones(cx, actor).await
}

/// How a service is named in a request: by id, or by program and host below microversion 2.53.
#[derive(Debug, Clone)]
pub enum ServiceRef {
    Id(ServiceId),
    Number(i64),
    Place { program: String, host: String },
}

impl ServiceRef {
    async fn lock(&self, tx: &mut Tx) -> Result<Service, Failure> {
        let (found, missing) = match self {
            Self::Id(id) => (
                record::lock::<Service>(tx, *id).await?,
                format!("Service {id} could not be found."),
            ),
            Self::Number(number) => {
                let found = Query::<Service>::new()
                    .equals("number", *number)
                    .first(tx)
                    .await?;
                (found, format!("Service {number} could not be found."))
            }
            Self::Place { program, host } => (
                services::find(tx, program, host).await?,
                format!("Could not find binary {program} on host {host}."),
            ),
        };
        let found = found.ok_or_else(|| Refusal::not_found(&missing))?;
        Ok(record::lock::<Service>(tx, found.id)
            .await?
            .ok_or_else(|| Refusal::not_found(missing))?)
    }
}

/// What an administrator changes about a service; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct ServiceChange {
    pub enabled: Option<bool>,
    /// Only with `enabled: Some(false)`.
    pub disabled_reason: Option<String>,
    pub forced_down: Option<bool>,
}

/// Takes a host out of use or back, or says that it is down whatever its heartbeat.
pub async fn change_service(
    cx: &Context,
    actor: &Actor,
    which: &ServiceRef,
    change: ServiceChange,
) -> Result<ServiceInZone, Failure> {
    cx.policy.check(actor, HOSTS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    let mut service = which.lock(&mut tx).await?;
    apply(&mut service, change, cx.now())?;
    record::update(&mut tx, &service).await?;
    let changed = in_zones(cx, &mut tx)
        .await?
        .into_iter()
        .find(|entry| entry.seen.service.id == service.id);
    tx.commit().await?;
    changed.ok_or_else(|| Refusal::no_such("Service", service.id).into())
}

fn apply(service: &mut Service, change: ServiceChange, now: Timestamp) -> Result<(), Refusal> {
    if service.program != services::COMPUTE {
        return Err(Refusal::invalid(format!(
            "Updating a {} service is not supported. Only nova-compute services can be updated.",
            service.program
        )));
    }
    let ServiceChange {
        enabled,
        disabled_reason,
        forced_down,
    } = change;
    match enabled {
        Some(true) if disabled_reason.is_some() => {
            return Err(Refusal::invalid(
                "Specifying 'disabled_reason' with status 'enabled' is invalid.",
            ));
        }
        Some(enabled) => {
            service.enabled = enabled;
            service.disabled_reason = disabled_reason;
        }
        None if forced_down.is_none() => {
            return Err(Refusal::invalid(
                "No updates were requested. Fields 'status' or 'forced_down' should be specified.",
            ));
        }
        None => {}
    }
    if let Some(forced_down) = forced_down {
        service.forced_down = forced_down;
    }
    service.updated_at = Some(now);
    Ok(())
}

/// Removes a service that is gone for good, and its host with it. Refused while the host has instances.
pub async fn delete_service(
    cx: &Context,
    actor: &Actor,
    which: &ServiceRef,
) -> Result<(), Failure> {
    cx.policy.check(actor, HOSTS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    let service = which.lock(&mut tx).await?;
    if let Some(host) = Query::<Host>::new()
        .equals("service_id", service.id.to_string())
        .first(&mut tx)
        .await?
    {
        if !hosts::allocations_on(&mut tx, host.id).await?.is_empty() {
            return Err(Refusal::conflict(
                "Unable to delete compute service that is hosting instances. Migrate or delete the instances first.",
            )
            .into());
        }
        for mut aggregate in aggregates::all(&mut tx).await? {
            if aggregate.hosts.contains(&host.name) {
                aggregate.hosts.retain(|member| *member != host.name);
                record::update(&mut tx, &aggregate).await?;
            }
        }
        agent::forget(&mut tx, host.id).await?;
        record::delete::<Host>(&mut tx, host.id).await?;
    }
    record::delete::<Service>(&mut tx, service.id).await?;
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(program: &str) -> Service {
        Service {
            id: ServiceId::random(),
            number: 1,
            program: program.to_owned(),
            host: "h1".to_owned(),
            enabled: true,
            disabled_reason: None,
            forced_down: false,
            created_at: Timestamp(0),
            updated_at: None,
        }
    }

    #[test]
    fn a_reason_comes_and_goes_with_being_disabled() {
        let mut agent = service(services::COMPUTE);
        let reason = Some("new disk".to_owned());
        let off = ServiceChange {
            enabled: Some(false),
            disabled_reason: reason.clone(),
            forced_down: None,
        };
        apply(&mut agent, off, Timestamp(1)).unwrap();
        assert!(!agent.enabled);
        assert_eq!(agent.disabled_reason, reason);
        let on = ServiceChange {
            enabled: Some(true),
            ..ServiceChange::default()
        };
        apply(&mut agent, on, Timestamp(2)).unwrap();
        assert!(agent.enabled);
        assert_eq!(agent.disabled_reason, None);
    }

    #[test]
    fn an_empty_change_and_a_control_plane_service_are_refused() {
        assert!(
            apply(
                &mut service(services::COMPUTE),
                ServiceChange::default(),
                Timestamp(1)
            )
            .is_err()
        );
        let down = ServiceChange {
            forced_down: Some(true),
            ..ServiceChange::default()
        };
        assert!(
            apply(&mut service("nova-scheduler"), down, Timestamp(1))
                .unwrap_err()
                .message
                .contains("nova-scheduler")
        );
        let contradiction = ServiceChange {
            enabled: Some(true),
            disabled_reason: Some("x".to_owned()),
            forced_down: None,
        };
        assert!(apply(&mut service(services::COMPUTE), contradiction, Timestamp(1)).is_err());
    }

    #[test]
    fn a_service_is_down_when_it_is_not_heard_of_or_forced_down() {
        let now = Timestamp(1_000_000_000);
        let mut seen = Seen {
            service: service(services::COMPUTE),
            at: now.minus(services::DOWN_AFTER),
        };
        assert!(seen.is_up(now));
        assert!(!seen.is_up(Timestamp(now.micros() + 1)));
        seen.service.forced_down = true;
        assert!(!seen.is_up(now.minus(services::DOWN_AFTER)));
    }
}
