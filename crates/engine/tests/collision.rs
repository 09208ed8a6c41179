//! A step that the database undid in favour of another transaction is run again at once, on a real PostgreSQL.

#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use corten_engine::*;
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use corten_store::operations::{self, Status};
use corten_store::testing;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[derive(Debug, Serialize, Deserialize)]
enum Step {
    Only,
}

/// Has nothing to do but to commit.
#[derive(Clone, Default)]
struct Craft {
    runs: Arc<AtomicU32>,
}

#[async_trait]
impl Workflow for Craft {
    type Step = Step;
    type Input = ();

    fn kind(&self) -> &'static str {
        "craft"
    }

    fn budget(&self, _: &Step) -> Duration {
        Duration::from_secs(60)
    }

    async fn run(&self, _: Step, _: &(), cx: &StepCx) -> Result<Committed, StepError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        cx.commit().await?.done().await
    }

    async fn give_up(&self, _: GiveUp, _: &(), cx: &StepCx) -> Result<Committed, StepError> {
        cx.commit().await?.failed("given up").await
    }
}

/// The end of an operation meets a deadlock, twice.
const COLLIDE: [&str; 3] = [
    "CREATE SEQUENCE collisions",
    "CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('collisions') <= 2 THEN RAISE EXCEPTION USING ERRCODE = '40P01'; END IF; \
         RETURN NEW; END $$",
    "CREATE TRIGGER collides BEFORE UPDATE ON operations FOR EACH ROW \
         WHEN (NEW.status = 'done') EXECUTE FUNCTION collide()",
];

#[tokio::test]
async fn a_step_that_collided_is_run_again_at_once() {
    let store = testing::postgres().await;
    let mut tx = store.write().await.unwrap();
    for sql in COLLIDE {
        corten_store::sql::query(sql)
            .execute(tx.conn())
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    let craft = Craft::default();
    let clock = Arc::new(ManualClock::starting_at(Timestamp(1_000_000)));
    let mut tx = store.write().await.unwrap();
    let submission = Submission {
        workflow: &craft,
        subject: Subject {
            kind: "bowl",
            id: "1".to_owned(),
            project_id: None,
        },
        origin: Origin::system(),
        place: Place::Control,
        step: Step::Only,
        input: (),
    };
    let id = submit(&mut tx, clock.now(), submission).await.unwrap();
    tx.commit().await.unwrap();
    let worker = Worker::new(
        (*store).clone(),
        Arc::new(Registry::default().with(craft.clone())),
        clock,
        Arc::new(NoFaults),
        WorkerConfig::new("test", vec!["control".to_owned()]),
    );
    assert_eq!(worker.run_once().await.unwrap(), 1);
    let mut tx = store.read().await.unwrap();
    let ended = operations::get(&mut tx, id).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.attempt), (Status::Done, 0));
    assert_eq!(craft.runs.load(Ordering::SeqCst), 3);
}
