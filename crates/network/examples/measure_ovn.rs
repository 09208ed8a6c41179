//! What networks cost on OVN's control plane: one port, and 1,000 ports on 100 networks.
//!
//! `cargo run --release -p corten-network --example measure_ovn`
#![allow(clippy::unwrap_used, reason = "a tool for developers")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::plans::{self, group_id, rule};
use common::{Central, LIMIT};
use corten_network::plan::{Change, Direction, NetworkPlan, Plan, Remote};
use corten_network::{Fabric, OvnFabric};
use std::time::{Duration, Instant};

const NETWORKS: u128 = 100;
const PORTS: u8 = 10;
const ROUNDS: usize = 100;

#[tokio::main]
async fn main() {
    let central = Central::start();
    let fabric = OvnFabric::connect(central.northbound.remote(), central.southbound.remote());
    fabric.ready(LIMIT).await.unwrap();
    timed("barrier, empty", fabric.settle(LIMIT)).await;
    one_port(&fabric, "empty otherwise").await;

    let cloud = cloud();
    let changes: Vec<_> = cloud.iter().cloned().map(Change::Set).collect();
    println!("{NETWORKS} networks with a router and {PORTS} ports each, one security group:");
    let started = Instant::now();
    for change in changes {
        fabric.apply(vec![change]).await.unwrap();
    }
    println!("  applied one by one: {:?}", started.elapsed());
    timed("then the barrier", fabric.settle(LIMIT)).await;
    timed(
        "a full reconcile that finds nothing",
        fabric.reconcile(cloud.clone()),
    )
    .await;
    println!(
        "  logical flows: {}",
        central
            .sbctl(&["--bare", "--columns=_uuid", "list", "Logical_Flow"])
            .lines()
            .count()
    );
    memory(&central);
    barrier_alone(&fabric).await;
    one_port(&fabric, "beside them").await;
    timed(
        "a full reconcile that removes everything",
        fabric.reconcile(Vec::new()),
    )
    .await;
    timed("then the barrier", fabric.settle(LIMIT)).await;
    timed(
        "a full reconcile that writes everything",
        fabric.reconcile(cloud),
    )
    .await;
    timed("then the barrier", fabric.settle(LIMIT)).await;
}

/// A port comes and goes on a network of ten.
async fn one_port(fabric: &OvnFabric, where_: &str) {
    let mut network = network(5000);
    fabric
        .apply(vec![Change::Set(Plan::Network(network.clone()))])
        .await
        .unwrap();
    fabric.settle(LIMIT).await.unwrap();
    let port = network.ports.pop().unwrap();
    let (mut applied, mut settled) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut plan = network.clone();
        if round % 2 == 1 {
            plan.ports.push(port.clone());
        }
        let started = Instant::now();
        fabric
            .apply(vec![Change::Set(Plan::Network(plan))])
            .await
            .unwrap();
        applied.push(started.elapsed());
        fabric.settle(LIMIT).await.unwrap();
        settled.push(started.elapsed());
    }
    println!(
        "one port, {where_}: applied {:?}, with northd's barrier {:?} (median of {ROUNDS})",
        median(applied),
        median(settled)
    );
    fabric
        .apply(vec![Change::Remove(Plan::Network(network).unit())])
        .await
        .unwrap();
}

/// What the wait costs when nothing was changed.
async fn barrier_alone(fabric: &OvnFabric) {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        fabric.settle(LIMIT).await.unwrap();
        times.push(started.elapsed());
    }
    println!(
        "  the barrier alone: {:?} (median of {ROUNDS})",
        median(times)
    );
}

fn network(number: u128) -> NetworkPlan {
    let mut network = plans::network(number);
    for host in 10..10 + PORTS {
        let mut port = plans::port(number, host);
        port.security_groups = vec![group_id(1)];
        network.ports.push(port);
    }
    network
}

fn cloud() -> Vec<Plan> {
    let rules = vec![
        rule(1, Direction::Egress, None, Remote::Anyone),
        rule(2, Direction::Ingress, None, Remote::Group(group_id(1))),
    ];
    let mut plans = vec![Plan::SecurityGroup(plans::group(1, rules))];
    for number in 1..=NETWORKS {
        let mut router = plans::router(number);
        router.interfaces.push(plans::interface(number));
        let mut network = network(number);
        network
            .ports
            .push(plans::router_port(number, 1, &router, false));
        plans.extend([Plan::Network(network), Plan::Router(router)]);
    }
    plans
}

async fn timed<T>(what: &str, work: impl Future<Output = Result<T, corten_network::NetworkError>>) {
    let started = Instant::now();
    work.await.unwrap();
    println!("  {what}: {:?}", started.elapsed());
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn memory(central: &Central) {
    for (daemon, kib) in central.memory_kib() {
        println!("  memory of {daemon}: {} MiB", kib / 1024);
    }
}
