//! The fabric of a cloud, by OVN: plans go to the northbound database, hosts are seen in the southbound one.

use super::compile::compile;
use super::desired::Desired;
use super::diff::{Scope, diff};
use super::schema::{self, GLOBAL};
use super::southbound;
use super::watch::Watch;
use crate::error::NetworkError;
use crate::fabric::{Chassis, Fabric, PortsUp, Repair};
use crate::ovsdb::{Client, Mutation, Operation, Remote, Replica};
use crate::plan::{Change, Plan, Unit};
use async_trait::async_trait;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::Instant;
use uuid::Uuid;

/// A transaction that other writers overtook is made anew this often.
const ATTEMPTS: usize = 10;
/// A host may take this long to follow before it is not called alive.
const GRACE: Duration = Duration::from_secs(5);

/// Networks by OVN. One is enough for a process; several processes may write the same database.
pub struct OvnFabric {
    northbound: Client,
    southbound: Client,
    watch: Arc<Mutex<Watch>>,
    writing: AsyncMutex<()>,
    barrier: AsyncMutex<Option<Barrier>>,
}

/// A number that every host repeats once it has all that was written before.
struct Barrier {
    raised: Instant,
    nb_cfg: i64,
}

impl OvnFabric {
    /// Connects in the background; until it is connected, calls fail as [`NetworkError::Unreachable`].
    pub fn connect(northbound: Remote, southbound: Remote) -> Self {
        let watch = Arc::new(Mutex::new(Watch::new()));
        let watching = watch.clone();
        let observer =
            Box::new(move |replica: &Replica, event: &_| lock(&watching).take(replica, event));
        Self {
            northbound: Client::connect_observed(
                northbound,
                schema::DATABASE,
                schema::MONITORED,
                observer,
            ),
            southbound: Client::connect(southbound, southbound::DATABASE, southbound::MONITORED),
            watch,
            writing: AsyncMutex::default(),
            barrier: AsyncMutex::default(),
        }
    }

    /// Waits until both databases are connected.
    pub async fn ready(&self, limit: Duration) -> Result<(), NetworkError> {
        self.northbound.ready(limit).await?;
        self.southbound.ready(limit).await
    }

    async fn write(&self, scope: &Scope, desired: &Desired) -> Result<Repair, NetworkError> {
        let _writing = self.writing.lock().await;
        let mut attempts = 1;
        loop {
            // What a lost connection left behind says nothing of the database as it is.
            self.northbound.reachable()?;
            let difference = self
                .northbound
                .read(|replica| diff(replica, &lock(&self.watch).index, scope, desired));
            if difference.operations.is_empty() {
                return Ok(difference.repair);
            }
            let _ours = Ours::expect(&self.watch, difference.touched);
            match self.northbound.transact(&difference.operations).await {
                Ok(_) => return Ok(difference.repair),
                // The answer comes after the update that the other writer caused: the replica is current again.
                Err(error) if is_overtaken(&error) && attempts < ATTEMPTS => attempts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Raises the barrier. Calls that wait while one is under way share the next.
    async fn raise(&self) -> Result<i64, NetworkError> {
        let called = Instant::now();
        let mut last = self.barrier.lock().await;
        if let Some(barrier) = last.as_ref().filter(|barrier| barrier.raised > called) {
            return Ok(barrier.nb_cfg);
        }
        let raised = Instant::now();
        let nb_cfg = match self.raise_by_one().await? {
            Some(nb_cfg) => nb_cfg,
            None => self.raise_first().await?,
        };
        *last = Some(Barrier { raised, nb_cfg });
        Ok(nb_cfg)
    }

    /// None when the database is so empty that it has nothing to raise.
    async fn raise_by_one(&self) -> Result<Option<i64>, NetworkError> {
        let mutate = Operation::Mutate {
            table: GLOBAL,
            rows: Vec::new(),
            mutations: vec![Mutation::add("nb_cfg", 1)],
        };
        let select = Operation::Select {
            table: GLOBAL,
            rows: Vec::new(),
            columns: vec!["nb_cfg"],
        };
        let outcomes = self.northbound.transact(&[mutate, select]).await?;
        let rows = outcomes
            .get(1)
            .map(|selected| selected.rows.as_slice())
            .unwrap_or_default();
        Ok(rows.first().and_then(|row| row.get("nb_cfg")?.as_integer()))
    }

    /// In an empty database; northd may make the row at the same moment.
    async fn raise_first(&self) -> Result<i64, NetworkError> {
        let inserted = self.northbound.transact(&[first_global()]).await;
        match (self.raise_by_one().await?, inserted) {
            (Some(nb_cfg), _) => Ok(nb_cfg),
            (None, Err(error)) => Err(error),
            (None, Ok(_)) => Ok(0),
        }
    }
}

#[async_trait]
impl Fabric for OvnFabric {
    async fn apply(&self, changes: Vec<Change>) -> Result<(), NetworkError> {
        let changes: BTreeMap<Unit, Change> = changes
            .into_iter()
            .map(|change| (change.unit(), change))
            .collect();
        let mut desired = Desired::default();
        for change in changes.values() {
            match change {
                Change::Set(plan) => desired.merge(compile(plan)),
                Change::Remove(_) => {}
            }
        }
        let scope = Scope::Units(changes.into_keys().collect());
        self.write(&scope, &desired).await?;
        Ok(())
    }

    async fn settle(&self, limit: Duration) -> Result<bool, NetworkError> {
        let deadline = Instant::now() + limit;
        let nb_cfg = self.raise().await?;
        let reached = |replica: &Replica| (global(replica, "hv_cfg") >= nb_cfg).then_some(());
        let left = deadline.saturating_duration_since(Instant::now());
        if self.northbound.wait_until(left, reached).await.is_some() {
            return Ok(true);
        }
        self.northbound.reachable()?;
        let behind = self
            .southbound
            .read(|replica| southbound::behind(replica, nb_cfg));
        tracing::warn!(
            ?behind,
            ?limit,
            "hosts do not have the newest state of networks yet"
        );
        Ok(false)
    }

    async fn reconcile(&self, all: Vec<Plan>) -> Result<Repair, NetworkError> {
        let mut desired = Desired::default();
        for plan in &all {
            desired.merge(compile(plan));
        }
        drop(all);
        let repair = self.write(&Scope::All, &desired).await?;
        if !repair.is_empty() {
            let (inserted, updated, deleted) = (repair.inserted, repair.updated, repair.deleted);
            tracing::info!(inserted, updated, deleted, units = ?repair.units, "networks were put right");
        }
        Ok(repair)
    }

    fn ports_up(&self) -> PortsUp {
        lock(&self.watch).ports_up()
    }

    fn disturbed(&self) -> watch::Receiver<u64> {
        lock(&self.watch).disturbed()
    }

    async fn chassis(&self) -> Result<Vec<Chassis>, NetworkError> {
        self.southbound.reachable()?;
        let newest = self.northbound.read(|replica| global(replica, "nb_cfg"));
        let last = self.barrier.lock().await;
        let raised = last.as_ref().map(|barrier| barrier.raised);
        let in_grace = raised.is_some_and(|raised| raised.elapsed() < GRACE);
        Ok(self.southbound.read(|replica| {
            let behind = southbound::behind(replica, newest);
            southbound::chassis(replica, if in_grace { &[] } else { &behind })
        }))
    }
}

/// While it lives, changes of these rows are taken for ours.
struct Ours<'a>(&'a Mutex<Watch>);

impl<'a> Ours<'a> {
    fn expect(watch: &'a Mutex<Watch>, rows: HashSet<Uuid>) -> Self {
        lock(watch).expect(rows);
        Self(watch)
    }
}

impl Drop for Ours<'_> {
    fn drop(&mut self) {
        lock(self.0).done();
    }
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the transaction was made from what is no longer so: a row is not as expected (RFC 7047, section 5.2.6), or
/// is there already.
fn is_overtaken(error: &NetworkError) -> bool {
    matches!(error, NetworkError::Refused { error, .. } if error == "timed out" || error == "duplicate uuid")
}

fn global(replica: &Replica, column: &str) -> i64 {
    let row = replica.only(GLOBAL).map(|(_, row)| row);
    row.and_then(|row| row.get(column)?.as_integer())
        .unwrap_or(0)
}

fn first_global() -> Operation {
    Operation::Insert {
        table: GLOBAL,
        uuid: None,
        name: None,
        row: BTreeMap::new(),
    }
}
