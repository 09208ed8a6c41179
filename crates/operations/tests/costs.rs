//! What work costs: the statements of a create and of a list do not grow with the number of servers that are there.
#![allow(clippy::unwrap_used, clippy::panic)]

mod harness;

use corten_operations::instance::list::{self, Filter, Page, SortKey};
use corten_store::record::Direction;
use harness::Cloud;

/// A create with one card from the request to Active, with every claim of the worker and what the fabric is told.
const MOST_PER_CREATE: u64 = 90;

async fn statements_of(cloud: &Cloud, work: impl Future<Output = ()>) -> u64 {
    let before = cloud.cx.store.statements();
    work.await;
    cloud.cx.store.statements() - before
}

async fn create(cloud: &Cloud) {
    cloud.create().await;
    cloud.run_until_killed().await;
}

async fn list_all(cloud: &Cloud, expected: usize) {
    let page = Page {
        sort: vec![(SortKey::Column("created_at"), Direction::Descending)],
        marker: None,
        limit: 1000,
    };
    let found = list::list(&cloud.cx, &Filter::default(), &page)
        .await
        .unwrap();
    assert_eq!(found.len(), expected);
}

#[tokio::test]
async fn a_create_and_a_list_cost_as_much_with_ten_servers_as_with_one() {
    let cloud = Cloud::open().await;
    // It takes the port that is given, and has a card more than the others.
    create(&cloud).await;
    let list_of_one = statements_of(&cloud, list_all(&cloud, 1)).await;
    let first = statements_of(&cloud, create(&cloud)).await;
    for _ in 0..7 {
        create(&cloud).await;
    }
    let last = statements_of(&cloud, create(&cloud)).await;
    let list_of_ten = statements_of(&cloud, list_all(&cloud, 10)).await;
    assert_eq!(
        first, last,
        "statements of the second and of the tenth create"
    );
    assert!(
        first <= MOST_PER_CREATE,
        "a create takes {first} statements"
    );
    assert_eq!((list_of_one, list_of_ten), (1, 1));
}
