//! What a step gets, and how it ends.

use crate::clock::Clock;
use crate::faults::{Fault, Faults, Point};
use crate::places::Places;
use crate::workflow::{GiveUp, Place, Registry};
use corten_model::ids::OperationId;
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use corten_store::operations::{self, Operation, Progress, Status};
use corten_store::{Failure, Store, Tx};
use serde::Serialize;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// Why a step did not commit.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Trouble that may pass: try again later.
    #[error("{0}")]
    Retry(String),
    /// No use in trying again.
    #[error("{0}")]
    Fail(String),
    #[error(transparent)]
    Store(#[from] corten_store::Error),
    /// A test's fault: this worker is dead.
    #[error("the worker was killed by a test")]
    Killed,
}

/// A refusal will be the same the next time; trouble may pass.
impl From<Failure> for StepError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => Self::Fail(refusal.message),
            Failure::Store(error) => Self::Store(error),
            Failure::Outside { doing, source } => Self::Retry(format!("{doing} failed: {source}")),
        }
    }
}

/// Proof of who may act now. A host refuses a call with an older epoch than it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    pub operation: OperationId,
    pub epoch: i64,
}

/// What a step works with.
#[derive(Clone)]
pub struct StepCx {
    pub(crate) operation: Operation,
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: Arc<dyn Faults>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) lease: Duration,
    /// The places of the worker: where the next step is elsewhere, the lease is given back.
    pub(crate) places: Places,
}

impl StepCx {
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// Where the changes of this operation come from.
    pub fn origin(&self) -> Origin {
        self.operation.origin()
    }

    pub fn fence(&self) -> Fence {
        Fence {
            operation: self.operation.id,
            epoch: self.operation.epoch,
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A snapshot to read from before the hands go to work.
    pub async fn read(&self) -> Result<Tx, StepError> {
        Ok(self.store.read().await?)
    }

    /// Refuses to go on for a worker whose lease is gone: before hands do what no epoch fences.
    pub async fn check_lease(&self) -> Result<(), StepError> {
        let Fence { operation, epoch } = self.fence();
        let mut tx = self.store.read().await?;
        let held = operations::get(&mut tx, operation)
            .await?
            .is_some_and(|kept| kept.epoch == epoch && kept.finished_at.is_none());
        if held {
            Ok(())
        } else {
            let operation = operation.to_string();
            Err(corten_store::Error::LeaseLost { operation, epoch }.into())
        }
    }

    /// The transaction that ends this step: proves that the lease still holds.
    pub async fn commit(&self) -> Result<StepTx<'_>, StepError> {
        let mut tx = self.store.write().await?;
        operations::hold(&mut tx, self.operation.id, self.operation.epoch).await?;
        Ok(StepTx { tx, cx: self })
    }
}

/// How a step ended. Only [`StepTx`] makes one.
#[must_use]
pub struct Committed {
    /// The operation as it goes on under the same lease; `None` if this worker has no more to do with it.
    pub(crate) goes_on: Option<Operation>,
}

/// The transaction that ends a step: write the rows through it, then say what comes next.
pub struct StepTx<'a> {
    tx: Tx,
    cx: &'a StepCx,
}

impl Deref for StepTx<'_> {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl DerefMut for StepTx<'_> {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.tx
    }
}

impl StepTx<'_> {
    /// Goes on with `step` at `place`, at once.
    pub async fn next(self, place: Place, step: impl Serialize) -> Result<Committed, StepError> {
        let now = self.cx.now();
        let place = place.to_string();
        let keeps = self.cx.places.contains(&place);
        self.go_on(place, step, now, keeps.then_some(now), String::new())
            .await
    }

    /// Goes on with `step` not before `until`. `note` says what it waits for.
    pub async fn wait(
        self,
        until: Timestamp,
        place: Place,
        step: impl Serialize,
        note: impl Into<String>,
    ) -> Result<Committed, StepError> {
        self.go_on(place.to_string(), step, until, None, note.into())
            .await
    }

    async fn go_on(
        mut self,
        place: String,
        step: impl Serialize,
        run_at: Timestamp,
        keep_from: Option<Timestamp>,
        note: String,
    ) -> Result<Committed, StepError> {
        let cx = self.cx;
        let step = serde_json::to_string(&step).map_err(|error| {
            StepError::Fail(format!("The next step cannot be written: {error}"))
        })?;
        let budget = cx
            .registry
            .get(&cx.operation.kind)
            .map_or(Duration::ZERO, |entry| entry.budget(&step));
        let deadline = run_at.plus(budget);
        let progress = Progress {
            status: cx.operation.status,
            place: place.clone(),
            step: step.clone(),
            attempt: 0,
            run_at,
            lease_until: keep_from.map(|now| now.plus(cx.lease)),
            deadline,
            note: note.clone(),
            now: cx.now(),
        };
        let (operation, epoch) = (cx.operation.id, cx.operation.epoch);
        let cancel_requested =
            operations::advance(&mut self.tx, operation, epoch, progress).await?;
        self.seal().await?;
        let next = keep_from.map(|_| Operation {
            place,
            step,
            attempt: 0,
            run_at,
            deadline,
            cancel_requested,
            note,
            ..cx.operation.clone()
        });
        Ok(Committed { goes_on: next })
    }

    /// The goal is reached.
    pub async fn done(self) -> Result<Committed, StepError> {
        self.end(Status::Done, "").await
    }

    /// The operation ends without its goal; `cause` is for people.
    pub async fn failed(self, cause: &str) -> Result<Committed, StepError> {
        self.end(Status::Failed, cause).await
    }

    /// The operation ends because somebody asked it to.
    pub async fn cancelled(self, note: &str) -> Result<Committed, StepError> {
        self.end(Status::Cancelled, note).await
    }

    /// The operation ends as the workflow gave it up.
    pub async fn given_up(self, why: &GiveUp) -> Result<Committed, StepError> {
        let cause = why.to_string();
        match why {
            GiveUp::Cancelled => self.cancelled(&cause).await,
            GiveUp::Failed(_) | GiveUp::OverBudget(_) => self.failed(&cause).await,
        }
    }

    async fn end(mut self, status: Status, note: &str) -> Result<Committed, StepError> {
        let cx = self.cx;
        operations::finish(
            &mut self.tx,
            cx.operation.id,
            cx.operation.epoch,
            status,
            note,
            cx.now(),
        )
        .await?;
        self.seal().await?;
        let labels = [
            ("kind", cx.operation.kind.clone()),
            ("status", status.as_str().to_owned()),
        ];
        metrics::counter!("corten_operations_ended_total", &labels).increment(1);
        Ok(Committed { goes_on: None })
    }

    /// The commit, with the points where a test may disturb it.
    async fn seal(self) -> Result<(), StepError> {
        let Self { tx, cx } = self;
        disturb(cx, Point::BeforeCommit).await?;
        tx.commit().await?;
        match cx.faults.at(&cx.operation, Point::AfterCommit).await {
            Fault::None | Fault::Retry(_) | Fault::Fail(_) => Ok(()),
            Fault::Kill => Err(StepError::Killed),
        }
    }
}

/// Lets a test's fault happen at `point`.
pub(crate) async fn disturb(cx: &StepCx, point: Point) -> Result<(), StepError> {
    match cx.faults.at(&cx.operation, point).await {
        Fault::None => Ok(()),
        Fault::Kill => Err(StepError::Killed),
        Fault::Retry(why) => Err(StepError::Retry(why)),
        Fault::Fail(cause) => Err(StepError::Fail(cause)),
    }
}
