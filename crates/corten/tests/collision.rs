//! Whoever asks never hears of a deadlock: a request that PostgreSQL undid in favour of another is answered again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::Cloud;
use corten_store::testing::{self, TestStore};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const GROUPS: &str = "/compute/v2.1/os-server-groups";

/// So many inserts of server groups meet a deadlock before one is left in peace.
async fn collide(store: &TestStore, times: u32) {
    let sql = [
        "DROP TRIGGER IF EXISTS collides ON server_groups".to_owned(),
        "DROP SEQUENCE IF EXISTS collisions".to_owned(),
        "CREATE SEQUENCE collisions".to_owned(),
        format!(
            "CREATE OR REPLACE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF nextval('collisions') <= {times} THEN RAISE EXCEPTION USING ERRCODE = '40P01'; END IF; \
                 RETURN NEW; END $$"
        ),
        "CREATE TRIGGER collides BEFORE INSERT ON server_groups FOR EACH ROW EXECUTE FUNCTION collide()"
            .to_owned(),
    ];
    let mut tx = store.write().await.unwrap();
    for sql in sql {
        corten_store::sql::query(sql)
            .execute(tx.conn())
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
}

fn group(name: &str) -> Value {
    json!({"server_group": {"name": name, "policy": "affinity"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_collided_is_answered_as_if_it_had_not() {
    let store = testing::postgres().await;
    collide(&store, 2).await;
    let url = store.url();
    let cloud = Cloud::start(&format!(
        "[server]\ndatabase = \"{url}\"\n[host]\nenabled = false\n[network]\nenabled = false\n"
    ))
    .await;
    let demo = cloud.demo().await;
    demo.post(GROUPS, group("once")).await;
    let listed = demo.get(GROUPS).await;
    let names = listed["server_groups"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|group| &group["name"]).collect();
    assert_eq!(names, ["once"]);

    // What collides for ever is told, and nothing of it is kept.
    collide(&store, 1_000_000).await;
    let answer = demo.ask(Method::POST, GROUPS, Some(&group("never"))).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    let listed = demo.get(GROUPS).await;
    assert_eq!(listed["server_groups"].as_array().unwrap().len(), 1);
}
