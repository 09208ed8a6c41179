//! Opening a database, the log of transitions, and wake-ups within a process and between two.
#![allow(clippy::unwrap_used)]

use corten_model::ids::{OperationId, ProjectId, TransitionId};
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use corten_store::transitions::{self, Transition};
use corten_store::{Store, WakeUp, on_both_engines, testing};
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

const PATIENCE: Duration = Duration::from_secs(10);

fn transition(
    subject: &str,
    from: Option<&str>,
    to: &str,
    operation: Option<OperationId>,
) -> Transition {
    Transition {
        id: TransitionId::next(),
        at: Timestamp(1_700_000_000_000_000),
        subject_kind: "instance".to_owned(),
        subject_id: subject.to_owned(),
        project_id: Some(ProjectId::from("demo")),
        from: from.map(str::to_owned),
        to: to.to_owned(),
        why: "because".to_owned(),
        origin: Origin {
            operation_id: operation,
            ..Origin::system()
        },
        lasted_micros: 0,
    }
}

async fn wake(store: &Store, places: &[&str]) {
    let mut tx = store.write().await.unwrap();
    for place in places {
        tx.wake(*place);
    }
    tx.commit().await.unwrap();
}

async fn hear(receiver: &mut Receiver<WakeUp>) -> String {
    tokio::time::timeout(PATIENCE, receiver.recv())
        .await
        .unwrap()
        .unwrap()
        .place
}

on_both_engines! {
    async fn a_database_that_is_opened_again_is_as_it_was(store) {
        let mut tx = store.write().await.unwrap();
        let first = transition("i1", None, "building", None);
        transitions::append(&mut tx, &first).await.unwrap();
        tx.commit().await.unwrap();
        let again = Store::open(store.url()).await.unwrap();
        assert_eq!(again.dialect(), store.dialect());
        let mut tx = again.read().await.unwrap();
        assert_eq!(transitions::of_subject(&mut tx, "instance", "i1").await.unwrap(), [first]);
        drop(tx);
        again.close().await;
    }

    async fn transitions_are_told_in_their_order(store) {
        let operation = OperationId::random();
        let log = [
            transition("i1", None, "building", Some(operation)),
            transition("i2", None, "building", None),
            transition("i1", Some("building"), "active", Some(operation)),
        ];
        for entry in &log {
            let mut tx = store.write().await.unwrap();
            transitions::append(&mut tx, entry).await.unwrap();
            tx.commit().await.unwrap();
        }
        let mut tx = store.read().await.unwrap();
        let expected = [log[0].clone(), log[2].clone()];
        assert_eq!(transitions::of_subject(&mut tx, "instance", "i1").await.unwrap(), expected);
        assert_eq!(transitions::of_operation(&mut tx, operation).await.unwrap(), expected);
    }

    async fn a_committed_wake_up_is_heard_and_a_dropped_one_is_not(store) {
        let mut heard = store.wake_ups();
        let mut tx = store.write().await.unwrap();
        tx.wake("never");
        drop(tx);
        wake(store, &["control", "host:1", "control"]).await;
        assert_eq!(hear(&mut heard).await, "control");
        assert_eq!(hear(&mut heard).await, "host:1");
        // What follows is heard next, so the doubled and the dropped wake-up are not on their way.
        wake(store, &["last"]).await;
        assert_eq!(hear(&mut heard).await, "last");
        assert_eq!(heard.try_recv(), Err(TryRecvError::Empty));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_wake_up_reaches_the_other_processes() {
    let here = testing::postgres().await;
    let there = Store::open(here.url()).await.unwrap();
    let (mut heard_here, mut heard_there) = (here.wake_ups(), there.wake_ups());
    wake(&here, &["host:7"]).await;
    assert_eq!(hear(&mut heard_there).await, "host:7");
    assert_eq!(hear(&mut heard_here).await, "host:7");
    wake(&there, &["control"]).await;
    assert_eq!(hear(&mut heard_here).await, "control");
    there.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_listener_that_lost_its_connection_hears_again() {
    let store = testing::postgres().await;
    let mut heard = store.wake_ups();
    let mut tx = store.write().await.unwrap();
    corten_store::sql::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
             AND pid <> pg_backend_pid() AND query LIKE 'LISTEN%'",
    )
    .execute(tx.conn())
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let told = async {
        loop {
            wake(&store, &["control"]).await;
            if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(100), heard.recv()).await
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_says_so() {
    let error = Store::open("sqlite:/nonexistent/corten.db")
        .await
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("opening the database"),
        "{error}"
    );
}
