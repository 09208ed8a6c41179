//! Many at once: 200 servers are created 20 at a time on simulated hosts and deleted again. No answer is a failure of
//! the control plane, nothing stays allocated, and the memory is what it was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Actor, Cloud, Shape, guests, until};
use reqwest::{Method, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const SERVERS: usize = 200;
const AT_A_TIME: usize = 20;
const LIMIT: Duration = Duration::from_secs(120);
/// What a burst after the first may add to the memory, in KiB: caches and the allocator's slack.
const SLACK_KIB: u64 = 24 << 10;

/// Does `work` for each number, so many at a time.
async fn at_a_time<F>(work: impl Fn(usize) -> F + Send + Sync + 'static)
where
    F: Future<Output = ()> + Send,
{
    let (next, work) = (Arc::new(AtomicUsize::new(0)), Arc::new(work));
    let mut workers = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (next, work) = (next.clone(), work.clone());
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if number >= SERVERS {
                    return;
                }
                work(number).await;
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done.unwrap();
    }
}

async fn names_with(admin: &Actor, status: &str) -> Vec<String> {
    let found = admin
        .get(&format!("/compute/v2.1/servers?status={status}&limit=1000"))
        .await;
    let servers = found["servers"].as_array().expect("a list");
    servers
        .iter()
        .map(|server| server["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn burst(admin: &Actor, shape: &Arc<Shape>) {
    let (actor, of_shape) = (admin.clone(), shape.clone());
    at_a_time(move |number| {
        let (actor, shape) = (actor.clone(), of_shape.clone());
        async move {
            actor
                .create_server(&shape, &format!("burst-{number}"))
                .await;
        }
    })
    .await;
    let active = until("all are ACTIVE", LIMIT, async || {
        assert_eq!(names_with(admin, "ERROR").await, Vec::<String>::new());
        let active = names_with(admin, "ACTIVE").await;
        (active.len() == SERVERS).then_some(active)
    })
    .await;
    let (actor, active) = (admin.clone(), Arc::new(active));
    at_a_time(move |number| {
        let (actor, active) = (actor.clone(), active.clone());
        async move {
            let path = format!("/compute/v2.1/servers/{}", active[number]);
            let answer = actor.ask(Method::DELETE, &path, None).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
        }
    })
    .await;
    until("all are gone", LIMIT, async || {
        let left = admin.get("/compute/v2.1/servers?limit=1000").await;
        left["servers"].as_array()?.is_empty().then_some(())
    })
    .await;
    guests::assert_nothing_allocated(admin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_200_leaves_nothing_behind() {
    let mut cloud = Cloud::simulated(8).await;
    let admin = cloud.admin().await;
    let image = cloud.image(&admin, "empty", vec![0; 1 << 20]).await;
    let shape = Arc::new(Shape::new(&admin, image).await);
    burst(&admin, &shape).await;
    let warm = cloud.memory_kib();
    burst(&admin, &shape).await;
    burst(&admin, &shape).await;
    let after = cloud.memory_kib();
    println!("memory after the first burst {warm} KiB, after the third {after} KiB");
    assert!(
        after <= warm + SLACK_KIB,
        "memory grew from {warm} to {after} KiB"
    );
    assert!(cloud.is_alive());
    let failed: Vec<_> = cloud
        .log()
        .lines()
        .filter(|line| line.contains("ERROR"))
        .map(str::to_owned)
        .collect();
    assert_eq!(failed, Vec::<String>::new());
}
