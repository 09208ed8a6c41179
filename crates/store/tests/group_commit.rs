//! Group commit on SQLite: many writers at once, each told only of what is on disk.

#![allow(clippy::unwrap_used)]

use corten_model::ids::TransitionId;
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use corten_store::transitions::{self, Transition};
use corten_store::{Query, Store, testing};
use std::time::Duration;

fn line(number: usize) -> Transition {
    Transition {
        id: TransitionId::next(),
        at: Timestamp(number as i64),
        subject_kind: "test".to_owned(),
        subject_id: number.to_string(),
        project_id: None,
        from: None,
        to: "there".to_owned(),
        why: "a test".to_owned(),
        origin: Origin::system(),
        lasted_micros: 0,
    }
}

async fn count(store: &Store) -> i64 {
    let mut tx = store.read().await.unwrap();
    Query::<Transition>::new().count(&mut tx).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_commit_that_was_confirmed_can_be_read_and_every_other_is_undone() {
    let store = testing::sqlite().await;
    let writers = (0..200).map(|number| {
        let store = (*store).clone();
        tokio::spawn(async move {
            let mut tx = store.write().await.unwrap();
            transitions::append(&mut tx, &line(number)).await.unwrap();
            // Every fourth changes its mind.
            if number % 4 == 0 {
                return;
            }
            tx.commit().await.unwrap();
            let mut tx = store.read().await.unwrap();
            let found = transitions::of_subject(&mut tx, "test", &number.to_string())
                .await
                .unwrap();
            assert_eq!(
                found.len(),
                1,
                "a confirmed commit is visible to a reader at once"
            );
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(count(&store).await, 150);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_that_are_dropped_while_they_wait_hold_up_nobody() {
    let store = testing::sqlite().await;
    for round in 0..20 {
        let writers: Vec<_> = (0..8)
            .map(|number| {
                let store = (*store).clone();
                tokio::spawn(async move {
                    let mut tx = store.write().await.unwrap();
                    transitions::append(&mut tx, &line(round * 8 + number))
                        .await
                        .unwrap();
                    tx.commit().await.unwrap();
                })
            })
            .collect();
        for writer in writers.iter().step_by(2) {
            writer.abort();
        }
        for writer in writers.into_iter().skip(1).step_by(2) {
            tokio::time::timeout(Duration::from_secs(10), writer)
                .await
                .unwrap()
                .unwrap();
        }
    }
    let mut tx = store.write().await.unwrap();
    transitions::append(&mut tx, &line(9999)).await.unwrap();
    tx.commit().await.unwrap();
    assert!(count(&store).await > 80);
}

#[tokio::test]
async fn a_store_that_was_closed_has_kept_everything() {
    let store = testing::sqlite().await;
    let mut tx = store.write().await.unwrap();
    transitions::append(&mut tx, &line(1)).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    let again = Store::open(store.url()).await.unwrap();
    assert_eq!(count(&again).await, 1);
}
