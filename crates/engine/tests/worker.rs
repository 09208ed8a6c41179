//! The engine's promises, on a workflow that knows no cloud: two steps that each leave a mark with its hands.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use async_trait::async_trait;
use corten_engine::*;
use corten_model::ids::OperationId;
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use corten_store::operations::{self, Claim, Operation, Status};
use corten_store::{Error, Store, Tx};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Step {
    Paint,
    Polish,
    Clean,
}

/// Paints and polishes; if it has to give up, cleans.
#[derive(Clone, Default)]
struct Craft {
    done: Arc<Mutex<Vec<Step>>>,
    /// Somebody asks it to stop, here, while a step is worked on.
    asked_to_stop_in: Arc<Mutex<Option<Store>>>,
}

#[async_trait]
impl Workflow for Craft {
    type Step = Step;
    type Input = String;

    fn kind(&self) -> &'static str {
        "craft"
    }

    fn budget(&self, _: &Step) -> Duration {
        Duration::from_secs(60)
    }

    async fn run(&self, step: Step, _: &String, cx: &StepCx) -> Result<Committed, StepError> {
        self.done.lock().unwrap().push(step);
        let asked = self.asked_to_stop_in.lock().unwrap().take();
        if let Some(store) = asked {
            let mut tx = store.write().await?;
            operations::request_cancel(&mut tx, cx.operation().id, cx.now()).await?;
            tx.commit().await?;
        }
        let tx = cx.commit().await?;
        match step {
            Step::Paint => tx.next(Place::Control, Step::Polish).await,
            Step::Polish => tx.done().await,
            Step::Clean => tx.failed("cleaned up").await,
        }
    }

    async fn give_up(&self, _: GiveUp, _: &String, cx: &StepCx) -> Result<Committed, StepError> {
        cx.commit().await?.next(Place::Control, Step::Clean).await
    }
}

/// Disturbs once: at the given step and point.
struct Once(Mutex<Option<(Step, Point, Fault)>>);

impl Faults for Once {
    fn at<'a>(
        &'a self,
        operation: &'a Operation,
        point: Point,
    ) -> Pin<Box<dyn Future<Output = Fault> + Send + 'a>> {
        let mut planned = self.0.lock().unwrap();
        let step: Step = serde_json::from_str(&operation.step).unwrap();
        let now = matches!(&*planned, Some((at, when, _)) if *at == step && *when == point);
        let fault = if now {
            planned.take().map(|(_, _, fault)| fault)
        } else {
            None
        };
        Box::pin(std::future::ready(fault.unwrap_or(Fault::None)))
    }
}

struct Shop {
    _dir: tempfile::TempDir,
    store: Store,
    craft: Craft,
    clock: Arc<ManualClock>,
    places: Places,
    worker: Worker,
}

impl Shop {
    async fn open(fault: Option<(Step, Point, Fault)>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}", dir.path().join("db").display()))
            .await
            .unwrap();
        let craft = Craft::default();
        let clock = Arc::new(ManualClock::starting_at(Timestamp(1_000_000)));
        let registry = Arc::new(Registry::default().with(craft.clone()));
        let places = Places::from(vec!["control".to_owned()]);
        let config = WorkerConfig::new("test", places.clone());
        let worker = Worker::new(
            store.clone(),
            registry,
            clock.clone(),
            Arc::new(Once(Mutex::new(fault))),
            config,
        );
        Self {
            _dir: dir,
            store,
            craft,
            clock,
            places,
            worker,
        }
    }

    async fn submit(&self) -> Result<OperationId, Error> {
        self.try_submit_at(Place::Control).await
    }

    async fn submit_at(&self, place: Place) -> OperationId {
        self.try_submit_at(place).await.unwrap()
    }

    async fn try_submit_at(&self, place: Place) -> Result<OperationId, Error> {
        let mut tx = self.store.write().await?;
        let submission = Submission {
            workflow: &self.craft,
            subject: Subject {
                kind: "bowl",
                id: "1".to_owned(),
                project_id: None,
            },
            origin: Origin::system(),
            place,
            step: Step::Paint,
            input: "blue".to_owned(),
        };
        let id = submit(&mut tx, self.clock.now(), submission).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Takes the operation away for good, as a worker that is never heard of again.
    async fn claim(&self, tx: &mut Tx, owner: &str) -> Operation {
        let claim = Claim {
            owner,
            now: self.clock.now(),
            lease_until: Timestamp(i64::MAX),
            limit: 1,
        };
        let places = ["control".to_owned()];
        operations::claim(tx, claim, &places)
            .await
            .unwrap()
            .remove(0)
    }

    /// Runs until nothing is left, moving the clock over leases and pauses.
    async fn drain(&self) -> Operation {
        for _ in 0..100 {
            self.worker.run_once().await.unwrap();
            match self.worker.next_due().await.unwrap() {
                Some(due) => self.clock.advance_to(due),
                None => break,
            }
        }
        let mut tx = self.store.read().await.unwrap();
        operations::list(&mut tx, operations::Filter::default())
            .await
            .unwrap()
            .remove(0)
    }

    async fn read(&self, id: OperationId) -> Operation {
        let mut tx = self.store.read().await.unwrap();
        operations::get(&mut tx, id).await.unwrap().unwrap()
    }

    fn did(&self) -> Vec<Step> {
        self.craft.done.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn steps_run_in_order_and_the_operation_ends() {
    let shop = Shop::open(None).await;
    shop.submit().await.unwrap();
    assert_eq!(shop.drain().await.status, Status::Done);
    assert_eq!(shop.did(), [Step::Paint, Step::Polish]);
}

#[tokio::test]
async fn a_worker_killed_at_any_point_is_replaced_and_no_committed_step_is_repeated() {
    for (point, expected) in [
        (Point::BeforeStep, vec![Step::Paint, Step::Polish]),
        (
            Point::BeforeCommit,
            vec![Step::Paint, Step::Paint, Step::Polish],
        ),
        (Point::AfterCommit, vec![Step::Paint, Step::Polish]),
    ] {
        let shop = Shop::open(Some((Step::Paint, point, Fault::Kill))).await;
        shop.submit().await.unwrap();
        assert_eq!(shop.drain().await.status, Status::Done, "{point:?}");
        assert_eq!(shop.did(), expected, "{point:?}");
    }
}

#[tokio::test]
async fn trouble_is_tried_again_after_a_pause_with_its_reason_in_the_row() {
    let shop = Shop::open(Some((
        Step::Polish,
        Point::BeforeStep,
        Fault::Retry("no cloth".to_owned()),
    )))
    .await;
    let id = shop.submit().await.unwrap();
    shop.worker.run_once().await.unwrap();
    let mut tx = shop.store.read().await.unwrap();
    let waiting = operations::get(&mut tx, id).await.unwrap().unwrap();
    assert_eq!((waiting.note.as_str(), waiting.attempt), ("no cloth", 1));
    drop(tx);
    assert_eq!(shop.drain().await.status, Status::Done);
}

#[tokio::test]
async fn a_cause_that_will_not_pass_leads_to_the_clean_up() {
    let shop = Shop::open(Some((
        Step::Polish,
        Point::BeforeStep,
        Fault::Fail("broken".to_owned()),
    )))
    .await;
    shop.submit().await.unwrap();
    let ended = shop.drain().await;
    assert_eq!(
        (ended.status, ended.note.as_str()),
        (Status::Failed, "cleaned up")
    );
    assert_eq!(shop.did(), [Step::Paint, Step::Clean]);
}

#[tokio::test]
async fn a_cancelled_operation_cleans_up_and_says_so() {
    let shop = Shop::open(None).await;
    let id = shop.submit().await.unwrap();
    let mut tx = shop.store.write().await.unwrap();
    assert!(
        operations::request_cancel(&mut tx, id, shop.clock.now())
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    let ended = shop.drain().await;
    assert_eq!(
        (ended.status, ended.note.as_str()),
        (Status::Failed, "cleaned up")
    );
    assert_eq!(shop.did(), [Step::Clean]);
}

#[tokio::test]
async fn who_is_asked_to_stop_while_a_step_is_worked_on_begins_no_other() {
    let shop = Shop::open(None).await;
    *shop.craft.asked_to_stop_in.lock().unwrap() = Some(shop.store.clone());
    shop.submit().await.unwrap();
    shop.drain().await;
    assert_eq!(shop.did(), [Step::Paint, Step::Clean]);
}

#[tokio::test]
async fn an_operation_over_its_budget_gives_up_by_itself() {
    let shop = Shop::open(None).await;
    shop.submit().await.unwrap();
    shop.clock.advance(Duration::from_secs(61));
    shop.drain().await;
    assert_eq!(shop.did(), [Step::Clean]);
}

#[tokio::test]
async fn only_one_operation_at_a_time_works_on_a_subject() {
    let shop = Shop::open(None).await;
    shop.submit().await.unwrap();
    assert!(matches!(shop.submit().await, Err(Error::Exists { .. })));
    shop.drain().await;
    shop.submit().await.unwrap();
}

#[tokio::test]
async fn a_superseded_operation_cannot_write_any_more() {
    let shop = Shop::open(None).await;
    let id = shop.submit().await.unwrap();
    let mut tx = shop.store.write().await.unwrap();
    let old = shop.claim(&mut tx, "old").await;
    operations::supersede(&mut tx, "bowl", "1", "broken by a hammer", shop.clock.now())
        .await
        .unwrap();
    let refused = operations::hold(&mut tx, id, old.epoch).await;
    assert!(matches!(refused, Err(Error::LeaseLost { .. })));
    tx.commit().await.unwrap();
    shop.submit().await.unwrap();
    let mut tx = shop.store.write().await.unwrap();
    let new = shop.claim(&mut tx, "new").await;
    assert!(
        new.epoch > old.epoch,
        "a host can tell the new command from the old one"
    );
}

#[tokio::test]
async fn a_running_worker_starts_at_once_when_work_is_committed() {
    let shop = Shop::open(None).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let worker = shop.worker.clone();
    let running = tokio::spawn(async move { worker.run(stopped).await });
    shop.submit().await.unwrap();
    let ended = async {
        loop {
            if shop.did().len() == 2 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    // Far less than the worker's longest pause between two looks.
    tokio::time::timeout(Duration::from_secs(2), ended)
        .await
        .unwrap();
    stop.send(true).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn an_operation_whose_place_is_away_is_given_up_when_it_is_over_its_budget() {
    let shop = Shop::open(None).await;
    let id = shop.submit_at(Place::Host("gone".to_owned())).await;
    assert_eq!(shop.worker.run_once().await.unwrap(), 0);
    let deadline = shop.read(id).await.deadline;
    shop.clock.advance_to(deadline);
    assert_eq!(shop.worker.run_once().await.unwrap(), 0);
    shop.clock
        .advance_to(deadline.plus(Duration::from_secs(10)));
    assert_eq!(shop.worker.run_once().await.unwrap(), 1);
    assert_eq!(shop.read(id).await.status, Status::Failed);
}

#[tokio::test]
async fn a_place_that_comes_is_worked_for_and_one_that_goes_is_not() {
    let shop = Shop::open(None).await;
    let place = Place::Host("1".to_owned());
    let id = shop.submit_at(place.clone()).await;
    shop.places.add(&place);
    shop.places.remove(&place);
    assert_eq!(shop.worker.run_once().await.unwrap(), 0);
    shop.places.add(&place);
    assert_eq!(shop.worker.run_once().await.unwrap(), 1);
    assert_eq!(shop.read(id).await.status, Status::Done);
}

/// Never gets done with its first step; gives up at once.
struct Hangs;

#[async_trait]
impl Workflow for Hangs {
    type Step = Step;
    type Input = String;

    fn kind(&self) -> &'static str {
        "craft"
    }

    fn budget(&self, _: &Step) -> Duration {
        Duration::from_millis(50)
    }

    async fn run(&self, _: Step, _: &String, _: &StepCx) -> Result<Committed, StepError> {
        std::future::pending().await
    }

    async fn give_up(&self, why: GiveUp, _: &String, cx: &StepCx) -> Result<Committed, StepError> {
        cx.commit().await?.failed(&why.to_string()).await
    }
}

#[tokio::test]
async fn a_step_that_hangs_is_broken_off_at_its_deadline_and_given_up() {
    let shop = Shop::open(None).await;
    let worker = Worker::new(
        shop.store.clone(),
        Arc::new(Registry::default().with(Hangs)),
        Arc::new(SystemClock),
        Arc::new(NoFaults),
        WorkerConfig::new("test", shop.places.clone()),
    );
    let mut tx = shop.store.write().await.unwrap();
    let submission = Submission {
        workflow: &Hangs,
        subject: Subject {
            kind: "bowl",
            id: "1".to_owned(),
            project_id: None,
        },
        origin: Origin::system(),
        place: Place::Control,
        step: Step::Paint,
        input: String::new(),
    };
    let id = submit(&mut tx, SystemClock.now(), submission)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(async move { worker.run(stopped).await });
    let ended = async {
        loop {
            let operation = shop.read(id).await;
            if operation.status == Status::Failed {
                return operation;
            }
            tokio::task::yield_now().await;
        }
    };
    let operation = tokio::time::timeout(Duration::from_secs(20), ended)
        .await
        .unwrap();
    assert!(
        operation.note.contains("still at work"),
        "{}",
        operation.note
    );
    stop.send(true).unwrap();
    running.await.unwrap();
}
