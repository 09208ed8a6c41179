//! Pages: whatever the rows, the order and the page's size, the pages together are the whole list, each row once.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Gadget, make_table};
use corten_store::record::{self, Direction};
use corten_store::testing::{self, TestStore};
use corten_store::{Query, Tx};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cmp::Ordering;

type Keys = Vec<(&'static str, Direction)>;

#[derive(Debug, Clone)]
struct Case {
    gadgets: Vec<Gadget>,
    keys: Keys,
    page: i64,
    least: i64,
}

fn cases() -> impl Strategy<Value = Case> {
    // Few different values, so that there are many ties.
    let gadget = ("[ab]", 0..3i64);
    let direction = prop_oneof![Just(Direction::Ascending), Just(Direction::Descending)];
    let key = (
        prop_oneof![Just("name"), Just("size"), Just("id")],
        direction,
    );
    (
        prop::collection::vec(gadget, 0..20),
        prop::collection::vec(key, 0..4),
        1..7i64,
        0..2i64,
    )
        .prop_map(|(values, keys, page, least)| {
            let gadgets = values.into_iter().enumerate();
            let gadgets = gadgets.map(|(index, (name, size))| {
                // The order of ids is not the order of insertion.
                Gadget::new(&format!("g{:02}", (index * 7) % 20), &name, size)
            });
            let mut seen = Vec::new();
            let keys = keys.into_iter().filter(|(column, _)| {
                let new = !seen.contains(column);
                seen.push(*column);
                new
            });
            Case {
                gadgets: gadgets.collect(),
                keys: keys.collect(),
                page,
                least,
            }
        })
}

/// The order that the list promises: the keys given, then the id in the direction of the last of them.
fn compare(keys: &Keys, left: &Gadget, right: &Gadget) -> Ordering {
    let last = keys
        .last()
        .map_or(Direction::Ascending, |(_, direction)| *direction);
    let by = |(column, direction): (&str, Direction)| {
        let ascending = match column {
            "name" => left.name.cmp(&right.name),
            "size" => left.size.cmp(&right.size),
            _ => left.id.cmp(&right.id),
        };
        match direction {
            Direction::Ascending => ascending,
            Direction::Descending => ascending.reverse(),
        }
    };
    keys.iter()
        .copied()
        .chain([("id", last)])
        .map(by)
        .fold(Ordering::Equal, Ordering::then)
}

fn query(case: &Case) -> Query<Gadget> {
    let query = Query::new().at_least("size", case.least);
    case.keys.iter().fold(query, |query, (column, direction)| {
        query.order_by(column, *direction)
    })
}

async fn all_pages(tx: &mut Tx, case: &Case) -> Vec<Gadget> {
    let mut rows: Vec<Gadget> = Vec::new();
    loop {
        let next = query(case).limit(case.page);
        let next = match rows.last() {
            Some(marker) => next.after(marker),
            None => next,
        };
        let page = next.all(tx).await.unwrap();
        assert!(page.len() as i64 <= case.page);
        if page.is_empty() {
            return rows;
        }
        rows.extend(page);
    }
}

async fn check(store: &TestStore, case: &Case) {
    // Never committed, so the next case starts from nothing.
    let mut tx = store.write().await.unwrap();
    for gadget in &case.gadgets {
        // Owners differ by NULL, so equal names are no conflict.
        record::insert(&mut tx, gadget).await.unwrap();
    }
    let mut expected: Vec<_> = case
        .gadgets
        .iter()
        .filter(|gadget| gadget.size >= case.least)
        .cloned()
        .collect();
    expected.sort_by(|left, right| compare(&case.keys, left, right));
    assert_eq!(
        query(case).all(&mut tx).await.unwrap(),
        expected,
        "the whole list of {case:?}"
    );
    assert_eq!(
        all_pages(&mut tx, case).await,
        expected,
        "the pages of {case:?}"
    );
}

fn property(open: impl AsyncFnOnce() -> TestStore, cases_tried: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let store = runtime.block_on(async {
        let store = open().await;
        make_table(&store).await;
        store
    });
    let mut runner = TestRunner::new(Config {
        cases: cases_tried,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&cases(), |case| {
        runtime.block_on(check(&store, &case));
        Ok(())
    });
    outcome.unwrap();
    runtime.block_on(async { drop(store) });
}

#[test]
fn pages_make_the_whole_list_on_sqlite() {
    property(testing::sqlite, 300);
}

#[test]
fn pages_make_the_whole_list_on_postgres() {
    property(testing::postgres, 100);
}
