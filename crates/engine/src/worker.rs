//! A worker: claims what is runnable at its places and runs it, step by step, while its lease holds.

use crate::clock::Clock;
use crate::faults::{Faults, Point};
use crate::places::Places;
use crate::step::{Committed, StepCx, StepError, disturb};
use crate::workflow::{GiveUp, Place, Registry};
use corten_model::time::Timestamp;
use corten_store::operations::{self, Claim, Operation, Progress, Status};
use corten_store::{Error, Store, again};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tracing::Instrument;

/// An operation that is over its budget for so long has no worker at its place.
const ABANDONED_AFTER: Duration = Duration::from_secs(10);

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Names this process in the rows it leases.
    pub name: String,
    /// The places whose steps it can run.
    pub places: Places,
    /// Operations in hand at the same time.
    pub parallel: usize,
    /// How long a claim holds. A worker that dies is replaced after this; a living one renews at a third of it.
    pub lease: Duration,
    /// The longest pause between two tries of a step.
    pub longest_pause: Duration,
}

impl WorkerConfig {
    pub fn new(name: impl Into<String>, places: impl Into<Places>) -> Self {
        Self {
            name: name.into(),
            places: places.into(),
            parallel: 64,
            lease: Duration::from_secs(6),
            longest_pause: Duration::from_secs(30),
        }
    }
}

/// Runs operations. Any number may run, in any number of processes.
#[derive(Clone)]
pub struct Worker {
    store: Store,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    faults: Arc<dyn Faults>,
    config: Arc<WorkerConfig>,
}

impl Worker {
    pub fn new(
        store: Store,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
        faults: Arc<dyn Faults>,
        config: WorkerConfig,
    ) -> Self {
        Self {
            store,
            registry,
            clock,
            faults,
            config: Arc::new(config),
        }
    }

    /// Works until `stop` becomes true, then lets the steps in hand finish.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut wake_ups = self.store.wake_ups();
        let mut places = self.config.places.changes();
        let free = Arc::new(Semaphore::new(self.config.parallel));
        while !*stop.borrow() {
            // One look serves all the wake-ups that came before it.
            while wake_ups.try_recv().is_ok() {}
            places.mark_unchanged();
            let Ok(slot) = free.clone().acquire_owned().await else {
                return;
            };
            let room = free.available_permits() + 1;
            let claimed = match self.claim(room).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::error!(error = %error, "cannot look for work");
                    Vec::new()
                }
            };
            drop(slot);
            let found = claimed.len();
            for operation in claimed {
                let worker = self.clone();
                let slot = free.clone().acquire_owned().await;
                tokio::spawn(async move {
                    worker.work_on(operation).await;
                    drop(slot);
                });
            }
            if found == room {
                continue;
            }
            let pause = self.pause_until_due().await;
            tokio::select! {
                _ = wake_ups.recv() => {}
                _ = places.changed() => {}
                () = tokio::time::sleep(pause) => {}
                _ = stop.changed() => {}
            }
        }
        // All slots free means that nothing is in hand any more.
        let _ = free.acquire_many(self.config.parallel as u32).await;
    }

    async fn claim(&self, room: usize) -> Result<Vec<Operation>, Error> {
        let mut tx = self.store.write().await?;
        let now = self.clock.now();
        let claim = Claim {
            owner: &self.config.name,
            now,
            lease_until: now.plus(self.config.lease),
            limit: room,
        };
        let mut claimed = operations::claim(&mut tx, claim, &self.config.places.list()).await?;
        if claimed.is_empty() && self.config.places.contains(&Place::Control.to_string()) {
            // The host of these is away. Its steps cannot be run; to give up on them can.
            let since = now.minus(ABANDONED_AFTER);
            claimed = operations::claim_abandoned(&mut tx, claim, since).await?;
        }
        tx.commit().await?;
        Ok(claimed)
    }

    /// How long nothing can become runnable without a wake-up.
    async fn pause_until_due(&self) -> Duration {
        let longest = Duration::from_secs(5);
        let due = async {
            let mut tx = self.store.read().await?;
            operations::next_due(&mut tx, &self.config.places.list()).await
        };
        match due.await {
            Ok(Some(due)) => due.since(self.clock.now()).min(longest),
            Ok(None) => longest,
            Err(error) => {
                tracing::error!(error = %error, "cannot look for work");
                Duration::from_secs(1)
            }
        }
    }

    /// For tests and tools: runs what is runnable now, one operation after the other, and says how many steps' worth
    /// of claims it found.
    pub async fn run_once(&self) -> Result<usize, Error> {
        let claimed = self.claim(self.config.parallel).await?;
        let found = claimed.len();
        for operation in claimed {
            self.work_on(operation).await;
        }
        Ok(found)
    }

    /// For tests: the moment at which something becomes runnable.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        let mut tx = self.store.read().await?;
        operations::next_due(&mut tx, &self.config.places.list()).await
    }

    /// Runs the steps of one claimed operation for as long as they follow each other here.
    async fn work_on(&self, operation: Operation) {
        let span = tracing::info_span!(
            "operation",
            id = %operation.id,
            kind = operation.kind,
            subject = operation.subject_id,
            request = %operation.request_id,
        );
        let mut next = Some(operation);
        while let Some(operation) = next {
            next = self.one_step(operation).instrument(span.clone()).await;
        }
    }

    async fn one_step(&self, operation: Operation) -> Option<Operation> {
        let cx = StepCx {
            operation,
            store: self.store.clone(),
            clock: self.clock.clone(),
            faults: self.faults.clone(),
            registry: self.registry.clone(),
            lease: self.config.lease,
            places: self.config.places.clone(),
        };
        let operation = &cx.operation;
        let Some(entry) = self.registry.get(&operation.kind) else {
            tracing::error!(
                kind = operation.kind,
                "no workflow of this kind; another release's worker must run it"
            );
            return None;
        };
        let started = Instant::now();
        let step = || async {
            if operation.status == Status::Running {
                if operation.cancel_requested {
                    return self.unwind(GiveUp::Cancelled, &cx).await;
                }
                if cx.now() > operation.deadline {
                    return self
                        .unwind(GiveUp::OverBudget(operation.note.clone()), &cx)
                        .await;
                }
            }
            let run = async {
                disturb(&cx, Point::BeforeStep).await?;
                entry.workflow.run(operation, &cx).await
            };
            match run.await {
                Err(StepError::Fail(cause)) if operation.status == Status::Running => {
                    self.unwind(GiveUp::Failed(cause), &cx).await
                }
                outcome => outcome,
            }
        };
        let step = again(
            step,
            |outcome| matches!(outcome, Err(StepError::Store(error)) if error.is_collision()),
        );
        let outcome = tokio::select! {
            outcome = step => outcome,
            error = self.keep_lease(&cx) => Err(error.into()),
            () = over_budget(&cx) => Err(StepError::Retry(
                "It was still at work when its time budget was over.".to_owned(),
            )),
        };
        let labels = [("kind", operation.kind.clone())];
        metrics::histogram!("corten_operation_step_seconds", &labels)
            .record(started.elapsed().as_secs_f64());
        match outcome {
            Ok(committed) => {
                tracing::debug!(step = operation.step, "step committed");
                committed.goes_on
            }
            Err(error) => {
                self.after_error(error, &cx).await;
                None
            }
        }
    }

    /// Lets the workflow say what giving up means. What it commits also marks the operation as unwinding.
    async fn unwind(&self, why: GiveUp, cx: &StepCx) -> Result<Committed, StepError> {
        tracing::warn!(step = cx.operation.step, %why, "giving up");
        let operation = Operation {
            status: Status::Unwinding,
            ..cx.operation.clone()
        };
        let cx = &StepCx {
            operation,
            ..cx.clone()
        };
        let Some(entry) = self.registry.get(&cx.operation.kind) else {
            return Err(StepError::Retry("no workflow of this kind".to_owned()));
        };
        entry.workflow.give_up(why, &cx.operation, cx).await
    }

    async fn after_error(&self, error: StepError, cx: &StepCx) {
        let operation = &cx.operation;
        let why = match error {
            StepError::Killed => return,
            StepError::Store(Error::LeaseLost { .. }) => {
                tracing::info!(
                    step = operation.step,
                    "the lease is lost; another worker or command goes on"
                );
                return;
            }
            StepError::Store(error) => {
                let mut text = error.to_string();
                if let Some(source) = std::error::Error::source(&error) {
                    text = format!("{text}: {source}");
                }
                text
            }
            StepError::Retry(why) | StepError::Fail(why) => why,
        };
        let pause = self.pause_before_try(operation.attempt);
        tracing::warn!(
            step = operation.step,
            attempt = operation.attempt,
            why,
            ?pause,
            "step will be tried again"
        );
        if let Err(error) = self.try_later(cx, why, pause).await {
            tracing::error!(error = %error, "cannot record a retry; the lease will run out and the step run again");
        }
    }

    async fn try_later(&self, cx: &StepCx, why: String, pause: Duration) -> Result<(), Error> {
        let operation = &cx.operation;
        let mut tx = self.store.write().await?;
        operations::hold(&mut tx, operation.id, operation.epoch).await?;
        let kept = operations::get(&mut tx, operation.id).await?;
        let is_where_it_was =
            |kept: &Operation| kept.step == operation.step && kept.attempt == operation.attempt;
        if !kept.as_ref().is_some_and(is_where_it_was) {
            // The answer to the step's commit was lost, not the commit: the lease runs out and the next step is claimed.
            return Ok(());
        }
        let now = self.clock.now();
        let progress = Progress {
            status: operation.status,
            place: operation.place.clone(),
            step: operation.step.clone(),
            attempt: operation.attempt + 1,
            run_at: now.plus(pause),
            lease_until: None,
            deadline: operation.deadline,
            note: why,
            now,
        };
        operations::advance(&mut tx, operation.id, operation.epoch, progress).await?;
        tx.commit().await
    }

    /// 200 ms, doubled at each try.
    fn pause_before_try(&self, attempt: i64) -> Duration {
        let doubled = 200_u64.saturating_mul(1 << attempt.clamp(0, 20));
        Duration::from_millis(doubled).min(self.config.longest_pause)
    }

    /// Renews the lease for as long as the step takes; ends only with the error that lost it.
    async fn keep_lease(&self, cx: &StepCx) -> Error {
        loop {
            tokio::time::sleep(self.config.lease / 3).await;
            let until = self.clock.now().plus(self.config.lease);
            let renewed = async {
                let mut tx = self.store.write().await?;
                operations::extend_lease(&mut tx, cx.operation.id, cx.operation.epoch, until)
                    .await?;
                tx.commit().await
            };
            match renewed.await {
                Ok(()) => {}
                Err(error @ Error::LeaseLost { .. }) => return error,
                Err(error) => tracing::warn!(error = %error, "cannot renew a lease"),
            }
        }
    }
}

/// Comes back when a step has had its time. It is broken off then as a crash would: whose hands hang must not keep a
/// worker. What gives up or cleans up is left to its tries.
async fn over_budget(cx: &StepCx) {
    let deadline = cx.operation.deadline;
    if cx.operation.status != Status::Running || cx.now() > deadline {
        return std::future::pending().await;
    }
    while cx.now() <= deadline {
        let left = deadline.since(cx.now());
        tokio::time::sleep(left.max(Duration::from_millis(10))).await;
    }
}
