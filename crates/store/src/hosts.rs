//! Hypervisor hosts: what each can carry, and what of it is promised to whom.
//!
//! An [`Allocation`] is the only record of a promise. [`claim`] makes one under the lock of its host's row, so a host
//! is never promised twice; the allocation lives and dies in the same transactions as the instance that holds it.

use crate::db::Tx;
use crate::error::{Error, Result, classify};
use crate::record::{Direction, Query, Record, Value, insert, lock};
use crate::services::{self, Seen, ServiceId};
use crate::sql::{self, Row, SqlError};
use corten_model::ids::{HostId, InstanceId, ProjectId, UserId};
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// An amount of what instances need from a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub vcpus: u64,
    pub memory_mib: u64,
    pub disk_gib: u64,
}

impl Resources {
    pub fn plus(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_add(other.vcpus),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
            disk_gib: self.disk_gib.saturating_add(other.disk_gib),
        }
    }

    /// What is left of `self` after `used`; nothing where more is used than there is.
    pub fn minus(self, used: Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_sub(used.vcpus),
            memory_mib: self.memory_mib.saturating_sub(used.memory_mib),
            disk_gib: self.disk_gib.saturating_sub(used.disk_gib),
        }
    }

    pub fn fits_in(self, room: Self) -> bool {
        self.vcpus <= room.vcpus
            && self.memory_mib <= room.memory_mib
            && self.disk_gib <= room.disk_gib
    }
}

/// What a host's processor is, as its agent found it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuInfo {
    pub arch: String,
    pub vendor: String,
    pub model: String,
    pub sockets: u32,
    pub cores: u32,
    pub threads: u32,
    pub features: Vec<String>,
}

/// What an agent tells of its host when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    pub capacity: Resources,
    pub cpu: CpuInfo,
    pub address: String,
    /// `QEMU` or `fake`.
    pub hypervisor_type: String,
    /// Major × 1,000,000 + minor × 1,000 + release: 7.2.0 is 7002000.
    pub hypervisor_version: i64,
    /// When the machine started.
    pub booted_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    pub id: HostId,
    /// The id below microversion 2.53.
    pub number: i64,
    pub name: String,
    /// Its agent, which holds whether the host is enabled and alive.
    pub service_id: ServiceId,
    pub facts: HostFacts,
    pub created_at: Timestamp,
}

impl Record for Host {
    const TABLE: &'static str = "hosts";
    const COLUMNS: &'static [&'static str] = &["number", "name", "service_id"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            self.number.into(),
            self.name.as_str().into(),
            self.service_id.to_string().into(),
        ]
    }
}

/// What of a host is promised to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    pub host_id: HostId,
    pub instance_id: InstanceId,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub resources: Resources,
    pub created_at: Timestamp,
}

impl Allocation {
    /// An instance holds at most one allocation per host; two while it moves.
    pub fn key(instance: InstanceId, host: HostId) -> String {
        format!("{instance}/{host}")
    }
}

impl Record for Allocation {
    const TABLE: &'static str = "allocations";
    const COLUMNS: &'static [&'static str] = &[
        "host_id",
        "instance_id",
        "project_id",
        "user_id",
        "vcpus",
        "memory_mib",
        "disk_gib",
    ];

    fn id(&self) -> String {
        Self::key(self.instance_id, self.host_id)
    }

    fn columns(&self) -> Vec<Value> {
        let Resources {
            vcpus,
            memory_mib,
            disk_gib,
        } = self.resources;
        let number = |amount: u64| Value::Int(Some(i64::try_from(amount).unwrap_or(i64::MAX)));
        vec![
            (&self.host_id).into(),
            (&self.instance_id).into(),
            (&self.project_id).into(),
            (&self.user_id).into(),
            number(vcpus),
            number(memory_mib),
            number(disk_gib),
        ]
    }
}

/// A host with its agent and what is promised of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostUsage {
    pub host: Host,
    pub agent: Seen,
    pub used: Resources,
    pub instances: u64,
    /// Rises with every change of the host and every claim on it.
    pub generation: u64,
}

impl HostUsage {
    /// New instances may be placed here.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.agent.service.enabled && self.agent.is_up(now)
    }
}

/// Every host with its agent and its usage, in one query, oldest first.
pub async fn with_usage(tx: &mut Tx) -> Result<Vec<HostUsage>> {
    let failed = classify(Host::TABLE, "listing hosts with their usage");
    let rows = sql::query(
        "SELECT h.body AS host, h.generation AS generation, s.body AS service, s.seen_at AS seen_at, \
                COALESCE(a.instances, 0) AS instances, COALESCE(a.vcpus, 0) AS vcpus, \
                COALESCE(a.memory_mib, 0) AS memory_mib, COALESCE(a.disk_gib, 0) AS disk_gib \
         FROM hosts h JOIN compute_services s ON s.id = h.service_id \
         LEFT JOIN (SELECT host_id, COUNT(*) AS instances, CAST(SUM(vcpus) AS BIGINT) AS vcpus, \
                           CAST(SUM(memory_mib) AS BIGINT) AS memory_mib, CAST(SUM(disk_gib) AS BIGINT) AS disk_gib \
                    FROM allocations GROUP BY host_id) a ON a.host_id = h.id \
         ORDER BY h.number",
    )
    .fetch_all(tx.conn())
    .await
    .map_err(&failed)?;
    rows.iter()
        .map(|row| {
            let host: String = row.try_get("host").map_err(&failed)?;
            let host = serde_json::from_str(&host).map_err(|source| Error::Unreadable {
                table: Host::TABLE,
                id: host.chars().take(80).collect(),
                source,
            })?;
            let service: String = row.try_get("service").map_err(&failed)?;
            let seen_at = row.try_get("seen_at").map_err(&failed)?;
            Ok(HostUsage {
                host,
                agent: Seen {
                    service: services::decode(&service)?,
                    at: Timestamp(seen_at),
                },
                used: resources(row).map_err(&failed)?,
                instances: unsigned(row, "instances").map_err(&failed)?,
                generation: unsigned(row, "generation").map_err(&failed)?,
            })
        })
        .collect()
}

fn unsigned(row: &Row, column: &str) -> Result<u64, SqlError> {
    let number: i64 = row.try_get(column)?;
    Ok(u64::try_from(number).unwrap_or(0))
}

fn resources(row: &Row) -> Result<Resources, SqlError> {
    Ok(Resources {
        vcpus: unsigned(row, "vcpus")?,
        memory_mib: unsigned(row, "memory_mib")?,
        disk_gib: unsigned(row, "disk_gib")?,
    })
}

const SUM: &str = "SELECT COUNT(*) AS instances, CAST(COALESCE(SUM(vcpus), 0) AS BIGINT) AS vcpus, \
     CAST(COALESCE(SUM(memory_mib), 0) AS BIGINT) AS memory_mib, \
     CAST(COALESCE(SUM(disk_gib), 0) AS BIGINT) AS disk_gib FROM allocations";

/// Promises part of a host. `limit` is the most that may be promised of it in all, allocation ratios included. False,
/// and nothing is written, if there is no room or no such host.
pub async fn claim(
    tx: &mut Tx,
    allocation: &Allocation,
    limit: impl FnOnce(&Host) -> Resources,
) -> Result<bool> {
    let Some(host) = lock::<Host>(tx, allocation.host_id).await? else {
        return Ok(false);
    };
    let failed = classify(Allocation::TABLE, "adding up a host's allocations");
    let row = sql::query(format!("{SUM} WHERE host_id = $1"))
        .bind(allocation.host_id.to_string())
        .fetch_one(tx.conn())
        .await
        .map_err(&failed)?;
    let used = resources(&row).map_err(&failed)?;
    if !used.plus(allocation.resources).fits_in(limit(&host)) {
        return Ok(false);
    }
    insert(tx, allocation).await?;
    Ok(true)
}

/// Gives back what an instance holds, on one host or on all.
pub async fn release(tx: &mut Tx, instance: InstanceId, host: Option<HostId>) -> Result<u64> {
    let mut query = Query::<Allocation>::new().equals("instance_id", &instance);
    if let Some(host) = host {
        query = query.equals("host_id", &host);
    }
    query.delete(tx).await
}

/// What an instance holds.
pub async fn allocations_of(tx: &mut Tx, instance: InstanceId) -> Result<Vec<Allocation>> {
    Query::new().equals("instance_id", &instance).all(tx).await
}

/// What is promised of a host.
pub async fn allocations_on(tx: &mut Tx, host: HostId) -> Result<Vec<Allocation>> {
    Query::new()
        .equals("host_id", &host)
        .order_by("instance_id", Direction::Ascending)
        .all(tx)
        .await
}

/// What a project, or one user in it, holds on all hosts, and how many allocations that is.
pub async fn held_by(
    tx: &mut Tx,
    project: &ProjectId,
    user: Option<&UserId>,
) -> Result<(u64, Resources)> {
    let failed = classify(Allocation::TABLE, "adding up a project's allocations");
    let user = user.map(ToString::to_string);
    let condition = if user.is_some() {
        "project_id = $1 AND user_id = $2"
    } else {
        "project_id = $1"
    };
    let sql = format!("{SUM} WHERE {condition}");
    let mut query = sql::query(sql).bind(project.to_string());
    if let Some(user) = user {
        query = query.bind(user);
    }
    let row = query.fetch_one(tx.conn()).await.map_err(&failed)?;
    Ok((
        unsigned(&row, "instances").map_err(&failed)?,
        resources(&row).map_err(&failed)?,
    ))
}

pub async fn by_name(tx: &mut Tx, name: &str) -> Result<Option<Host>> {
    Query::new().equals("name", name).first(tx).await
}
