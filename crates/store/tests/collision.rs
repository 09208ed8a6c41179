//! Collisions on a real PostgreSQL: a deadlock is told for what it is, and work that met one is done again to its end.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Gadget, add, make_table};
use corten_store::testing::{self, TestStore};
use corten_store::{Error, Store, again, record};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Barrier;

async fn two_gadgets() -> TestStore {
    let store = testing::postgres().await;
    make_table(&store).await;
    add(
        &store,
        &[Gadget::new("a", "a", 0), Gadget::new("b", "b", 0)],
    )
    .await;
    store
}

/// Counts in both gadgets, in this order. At its first try it waits until the other has its first gadget, too.
async fn count(
    store: &Store,
    [first, second]: [&str; 2],
    meet: Option<&Barrier>,
) -> Result<(), Error> {
    let mut tx = store.write().await?;
    let mut one: Gadget = record::lock(&mut tx, first).await?.unwrap();
    if let Some(meet) = meet {
        meet.wait().await;
    }
    let mut other: Gadget = record::lock(&mut tx, second).await?.unwrap();
    one.size += 1;
    other.size += 1;
    record::update(&mut tx, &one).await?;
    record::update(&mut tx, &other).await?;
    tx.commit().await
}

async fn sizes(store: &Store) -> [i64; 2] {
    let mut tx = store.read().await.unwrap();
    let a: Gadget = record::get(&mut tx, "a").await.unwrap().unwrap();
    let b: Gadget = record::get(&mut tx, "b").await.unwrap().unwrap();
    [a.size, b.size]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_a_deadlock_is_told_that_it_collided() {
    let store = two_gadgets().await;
    let meet = Barrier::new(2);
    let (one, other) = tokio::join!(
        count(&store, ["a", "b"], Some(&meet)),
        count(&store, ["b", "a"], Some(&meet)),
    );
    let errors: Vec<_> = [one, other].into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].is_collision(), "{errors:?}");
    assert_eq!(sizes(&store).await, [1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_met_a_deadlock_is_done_again() {
    let store = two_gadgets().await;
    let meet = Arc::new(Barrier::new(2));
    let tries = AtomicU32::new(0);
    let work = |order: [&'static str; 2]| {
        let (store, meet, tries) = (&store, &meet, &tries);
        let mut is_first = true;
        again(
            move || {
                let meet = std::mem::take(&mut is_first).then(|| Arc::clone(meet));
                tries.fetch_add(1, Ordering::SeqCst);
                async move { count(store, order, meet.as_deref()).await }
            },
            |outcome| matches!(outcome, Err(error) if error.is_collision()),
        )
    };
    let (one, other) = tokio::join!(work(["a", "b"]), work(["b", "a"]));
    one.unwrap();
    other.unwrap();
    assert_eq!(sizes(&store).await, [2, 2]);
    assert_eq!(tries.load(Ordering::SeqCst), 3);
}

/// The same error as a deadlock's, from a statement.
async fn collide(store: &Store) -> Error {
    let mut tx = store.write().await.unwrap();
    let raised =
        corten_store::sql::query("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")
            .execute(tx.conn())
            .await;
    Error::Database {
        doing: "a test",
        source: raised.unwrap_err(),
    }
}

#[tokio::test]
async fn work_that_committed_a_part_is_not_done_again_and_none_for_ever() {
    let store = two_gadgets().await;
    for (commits, wanted) in [(false, 5), (true, 1)] {
        let tries = AtomicU32::new(0);
        let outcome = again(
            || async {
                tries.fetch_add(1, Ordering::SeqCst);
                if commits {
                    count(&store, ["a", "b"], None).await.unwrap();
                }
                collide(&store).await
            },
            Error::is_collision,
        )
        .await;
        assert!(outcome.is_collision(), "{outcome:?}");
        assert_eq!(tries.load(Ordering::SeqCst), wanted, "commits: {commits}");
    }
    assert_eq!(sizes(&store).await, [1, 1]);
}
