//! Rows on both engines: written, read, changed, listed and counted, alone and by many at once.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Gadget, add, make_table};
use corten_store::record::{self, Direction};
use corten_store::{Error, Query, Store, Tx, on_both_engines};
use std::collections::BTreeSet;

async fn names(tx: &mut Tx, query: Query<Gadget>) -> Vec<String> {
    let rows = query.all(tx).await.unwrap();
    rows.into_iter().map(|gadget| gadget.name).collect()
}

on_both_engines! {
    async fn a_row_comes_back_as_it_was_written(store) {
        make_table(store).await;
        let mut gadget = Gadget::new("g1", "wheel", i64::MAX);
        gadget.owner = Some("ann".to_owned());
        gadget.weight = Some(i64::MIN);
        add(store, &[gadget.clone(), Gadget::new("g2", "axle", 0)]).await;
        let mut tx = store.read().await.unwrap();
        assert_eq!(record::get(&mut tx, "g1").await.unwrap(), Some(gadget));
        assert_eq!(record::get(&mut tx, "g2").await.unwrap(), Some(Gadget::new("g2", "axle", 0)));
        assert_eq!(record::get::<Gadget>(&mut tx, "g3").await.unwrap(), None);
    }

    async fn a_change_is_written_to_body_and_columns(store) {
        make_table(store).await;
        add(store, &[Gadget::new("g1", "wheel", 1)]).await;
        let mut tx = store.write().await.unwrap();
        let mut gadget: Gadget = record::lock(&mut tx, "g1").await.unwrap().unwrap();
        gadget.name = "spoke".to_owned();
        gadget.weight = Some(7);
        assert!(record::update(&mut tx, &gadget).await.unwrap());
        assert!(!record::update(&mut tx, &Gadget::new("g9", "ghost", 1)).await.unwrap());
        assert_eq!(record::lock::<Gadget>(&mut tx, "g9").await.unwrap(), None);
        tx.commit().await.unwrap();
        let mut tx = store.read().await.unwrap();
        let found = Query::<Gadget>::new().equals("weight", 7).equals("name", "spoke").all(&mut tx);
        assert_eq!(found.await.unwrap(), [gadget]);
    }

    async fn a_deleted_row_is_gone(store) {
        make_table(store).await;
        add(store, &[Gadget::new("g1", "wheel", 1), Gadget::new("g2", "axle", 1), Gadget::new("g3", "hub", 2)]).await;
        let mut tx = store.write().await.unwrap();
        assert!(record::delete::<Gadget>(&mut tx, "g1").await.unwrap());
        assert!(!record::delete::<Gadget>(&mut tx, "g1").await.unwrap());
        assert_eq!(Query::<Gadget>::new().equals("size", 1).delete(&mut tx).await.unwrap(), 1);
        tx.commit().await.unwrap();
        let mut tx = store.read().await.unwrap();
        assert_eq!(names(&mut tx, Query::new()).await, ["hub"]);
    }

    async fn every_comparison_selects_what_it_says(store) {
        make_table(store).await;
        let mut gadgets: Vec<_> = (1..=5).map(|n| Gadget::new(&format!("g{n}"), &format!("n{n}"), n)).collect();
        gadgets[0].owner = Some("ann".to_owned());
        gadgets[1].owner = Some("bob".to_owned());
        gadgets[1].weight = Some(9);
        add(store, &gadgets).await;
        let mut tx = store.read().await.unwrap();
        let query = Query::<Gadget>::new;
        let none: [&str; 0] = [];
        for (selected, expected) in [
            (query().equals("name", "n3"), vec!["n3"]),
            (query().differs("size", 3), vec!["n1", "n2", "n4", "n5"]),
            (query().at_least("size", 4), vec!["n4", "n5"]),
            (query().at_most("size", 2), vec!["n1", "n2"]),
            (query().at_least("size", 2).at_most("size", 3), vec!["n2", "n3"]),
            (query().is_null("owner"), vec!["n3", "n4", "n5"]),
            (query().not_null("owner"), vec!["n1", "n2"]),
            (query().any_of("name", ["n5", "n1", "nine"]), vec!["n1", "n5"]),
            (query().any_of("size", [2, 4]), vec!["n2", "n4"]),
            (query().any_of("name", none), vec![]),
            (query().either(("owner", "ann"), ("weight", 9)), vec!["n1", "n2"]),
            (query().either(("owner", "ann"), ("size", 5)).differs("name", "n1"), vec!["n5"]),
            // NULL equals nothing, not even NULL: that is what is_null is for.
            (query().equals("owner", None::<String>), vec![]),
            (query().order_by("size", Direction::Descending).limit(2), vec!["n5", "n4"]),
        ] {
            assert_eq!(names(&mut tx, selected).await, expected);
        }
        assert_eq!(query().at_least("size", 2).count(&mut tx).await.unwrap(), 4);
        assert_eq!(query().equals("size", 77).count(&mut tx).await.unwrap(), 0);
        let first = query().order_by("size", Direction::Descending).first(&mut tx).await.unwrap();
        assert_eq!(first.map(|gadget| gadget.size), Some(5));
        assert_eq!(query().equals("size", 77).first(&mut tx).await.unwrap(), None);
    }

    async fn text_is_compared_byte_by_byte(store) {
        make_table(store).await;
        let written = ["a", "B", "_", "ä", "10", "9", "a b", "A"];
        let gadgets: Vec<_> = written.iter().map(|name| Gadget::new(name, name, 0)).collect();
        add(store, &gadgets).await;
        let mut tx = store.read().await.unwrap();
        let mut expected = written.to_vec();
        expected.sort_unstable();
        let sorted = Query::new().order_by("name", Direction::Ascending);
        assert_eq!(names(&mut tx, sorted).await, expected);
        assert_eq!(names(&mut tx, Query::new().equals("name", "A")).await, ["A"]);
    }

    async fn a_key_that_is_taken_is_told_and_the_transaction_goes_on(store) {
        make_table(store).await;
        let owned = |id: &str| Gadget { owner: Some("ann".to_owned()), ..Gadget::new(id, "wheel", 1) };
        add(store, &[owned("g1")]).await;
        let mut tx = store.write().await.unwrap();
        for taken in [owned("g1"), owned("g2"), Gadget { owner: None, ..owned("g1") }] {
            let error = record::insert(&mut tx, &taken).await.unwrap_err();
            assert!(matches!(error, Error::Exists { table: "gadgets" }), "{error:?}");
        }
        record::insert(&mut tx, &Gadget::new("g3", "wheel", 1)).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = store.read().await.unwrap();
        assert_eq!(Query::<Gadget>::new().count(&mut tx).await.unwrap(), 2);
    }

    async fn an_update_to_a_taken_key_is_told_and_the_commit_is_refused(store) {
        make_table(store).await;
        let owned = |id: &str, name: &str| Gadget { owner: Some("ann".to_owned()), ..Gadget::new(id, name, 1) };
        add(store, &[owned("g1", "wheel"), owned("g2", "axle")]).await;
        let mut tx = store.write().await.unwrap();
        record::insert(&mut tx, &owned("g3", "hub")).await.unwrap();
        let error = record::update(&mut tx, &owned("g2", "wheel")).await.unwrap_err();
        assert!(matches!(error, Error::Exists { table: "gadgets" }), "{error:?}");
        assert!(matches!(tx.commit().await, Err(Error::Spoiled)));
        let mut tx = store.read().await.unwrap();
        assert_eq!(names(&mut tx, Query::new()).await, ["wheel", "axle"]);
    }

    async fn a_row_that_others_refer_to_stays(store) {
        make_table(store).await;
        add(store, &[Gadget::new("g1", "wheel", 1)]).await;
        let mut tx = store.write().await.unwrap();
        corten_store::sql::query("INSERT INTO parts (id, gadget_id) VALUES ('p1', 'g1')").execute(tx.conn()).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = store.write().await.unwrap();
        let error = record::delete::<Gadget>(&mut tx, "g1").await.unwrap_err();
        assert!(matches!(error, Error::Referenced { table: "gadgets" }), "{error:?}");
    }

    async fn a_dropped_transaction_undoes_everything(store) {
        make_table(store).await;
        add(store, &[Gadget::new("g1", "wheel", 1)]).await;
        let mut tx = store.write().await.unwrap();
        record::insert(&mut tx, &Gadget::new("g2", "axle", 1)).await.unwrap();
        record::update(&mut tx, &Gadget::new("g1", "spoke", 2)).await.unwrap();
        drop(tx);
        let mut tx = store.write().await.unwrap();
        record::delete::<Gadget>(&mut tx, "g1").await.unwrap();
        drop(tx);
        let mut tx = store.read().await.unwrap();
        let rows = Query::<Gadget>::new().all(&mut tx).await.unwrap();
        assert_eq!(rows, [Gadget::new("g1", "wheel", 1)]);
    }

    async fn a_reader_sees_one_snapshot_and_does_not_wait(store) {
        make_table(store).await;
        add(store, &[Gadget::new("g1", "wheel", 1)]).await;
        let mut reader = store.read().await.unwrap();
        assert_eq!(names(&mut reader, Query::new()).await, ["wheel"]);
        let mut writer = store.write().await.unwrap();
        record::insert(&mut writer, &Gadget::new("g2", "axle", 1)).await.unwrap();
        assert_eq!(names(&mut reader, Query::new()).await, ["wheel"]);
        writer.commit().await.unwrap();
        assert_eq!(names(&mut reader, Query::new()).await, ["wheel"], "the snapshot is of before the commit");
        let mut later = store.read().await.unwrap();
        assert_eq!(Query::<Gadget>::new().count(&mut later).await.unwrap(), 2);
    }

    async fn concurrent_changes_of_one_row_are_never_lost(store) {
        make_table(store).await;
        add(store, &[Gadget::new("g1", "counter", 0)]).await;
        let workers: Vec<_> = (0..8).map(|_| tokio::spawn(increment((**store).clone(), 25))).collect();
        for worker in workers {
            worker.await.unwrap();
        }
        let mut tx = store.read().await.unwrap();
        let gadget: Gadget = record::get(&mut tx, "g1").await.unwrap().unwrap();
        assert_eq!(gadget.size, 8 * 25);
    }

    async fn of_many_who_want_one_key_one_gets_it(store) {
        make_table(store).await;
        let contenders: Vec<_> = (0..12).map(|number| tokio::spawn(contend((**store).clone(), number))).collect();
        let mut winners = BTreeSet::new();
        for contender in contenders {
            winners.extend(contender.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
    }
}

async fn increment(store: Store, times: usize) {
    for _ in 0..times {
        let mut tx = store.write().await.unwrap();
        let mut gadget: Gadget = record::lock(&mut tx, "g1").await.unwrap().unwrap();
        gadget.size += 1;
        record::update(&mut tx, &gadget).await.unwrap();
        tx.commit().await.unwrap();
    }
}

/// The number, if its gadget got the name.
async fn contend(store: Store, number: i64) -> Option<i64> {
    let mut tx = store.write().await.unwrap();
    let gadget = Gadget {
        owner: Some("ann".to_owned()),
        ..Gadget::new(&format!("g{number}"), "the name", number)
    };
    match record::insert(&mut tx, &gadget).await {
        Ok(()) => {
            tx.commit().await.unwrap();
            Some(number)
        }
        Err(Error::Exists { .. }) => None,
        Err(error) => panic!("{error:?}"),
    }
}
