//! Plans through a real OVN: what its databases and its northd make of them. No packet is sent.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use common::plans::{self, address, group_id, port_id, rule};
use common::{Central, LIMIT, run};
use corten_network::plan::*;
use corten_network::{Fabric, NetworkError, OvnFabric, Repair};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

async fn fabric(central: &Central) -> OvnFabric {
    let fabric = OvnFabric::connect(central.northbound.remote(), central.southbound.remote());
    fabric.ready(LIMIT).await.unwrap();
    fabric
}

fn sets(plans: &[Plan]) -> Vec<Change> {
    plans.iter().cloned().map(Change::Set).collect()
}

fn assert_same(now: &BTreeSet<String>, before: &BTreeSet<String>) {
    let difference: Vec<_> = now.symmetric_difference(before).collect();
    assert!(difference.is_empty(), "{difference:#?}");
}

/// Waits until northd has what was written.
async fn settled(fabric: &OvnFabric) {
    assert!(fabric.settle(LIMIT).await.unwrap());
}

#[tokio::test]
async fn a_cloud_becomes_flows_and_goes_without_a_trace() {
    let central = Central::start();
    let fabric = fabric(&central).await;
    let cloud = plans::cloud();
    fabric.apply(sets(&cloud)).await.unwrap();
    settled(&fabric).await;
    let flows = || central.sbctl(&["lflow-list"]).lines().count();
    let first = flows();
    assert!(first > 500);
    settled(&fabric).await;
    assert_eq!(flows(), first, "the wait was for all of them");
    central.northd_has_no_complaint();
    // Nothing is done twice, and everything is as planned.
    assert_eq!(
        fabric.reconcile(cloud.clone()).await.unwrap(),
        Repair::default()
    );

    let gone = cloud
        .iter()
        .map(|plan| Change::Remove(plan.unit()))
        .collect();
    fabric.apply(gone).await.unwrap();
    for table in [
        "Logical_Switch",
        "Logical_Switch_Port",
        "Logical_Router",
        "Logical_Router_Port",
        "NAT",
        "ACL",
        "Port_Group",
        "Address_Set",
        "DHCP_Options",
        "DNS",
        "QoS",
        "Load_Balancer",
        "Logical_Router_Static_Route",
        "Gateway_Chassis",
    ] {
        assert_eq!(
            central.nbctl(&["--bare", "--columns=_uuid", "list", table]),
            "",
            "{table}"
        );
    }
}

#[tokio::test]
async fn every_kind_of_port_is_bound_as_planned() {
    let central = Central::start();
    let fabric = fabric(&central).await;
    fabric.apply(sets(&plans::cloud())).await.unwrap();
    settled(&fabric).await;
    let binding = |condition: &str, columns: &str| {
        let columns = format!("--columns={columns}");
        let found = central.sbctl(&["--bare", &columns, "find", "Port_Binding", condition]);
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let of = |host, columns: &str| binding(&format!("logical_port={}", port_id(2, host)), columns);
    assert_eq!(
        binding("type=localnet", "tag,options"),
        "7 network_name=physnet1"
    );
    assert_eq!(of(20, "tag,parent_port"), format!("77 {}", port_id(1, 11)));
    let sources = central.nbctl(&["lsp-get-port-security", &port_id(2, 21).to_string()]);
    let sources: BTreeSet<_> = sources.lines().collect();
    let own = "0a:00:00:02:00:15 10.0.2.200 10.0.2.21";
    assert_eq!(sources, ["02:00:00:00:00:01 10.0.3.0/24", own].into());
    let flows = central.sbctl(&["lflow-list"]);
    let has = |words: &[&str]| {
        flows
            .lines()
            .any(|flow| words.iter().all(|word| flow.contains(word)))
    };
    assert!(has(&["put_dhcp_opts(offerip = 10.0.2.22,", "mtu = 1300"]));
    assert!(has(&[
        "put_dhcpv6_opts(ia_addr = fd00:0:1::b,",
        "dns_server = {2001:db8::53}"
    ]));
    assert!(has(&[
        "put_nd_ra_opts",
        "slaac",
        "prefix = fd00:0:2::/64",
        "rdnss = 2001:db8::53"
    ]));
    assert!(
        !has(&["put_dhcpv6_opts", "fd00:0:2::b"]),
        "SLAAC leases nothing"
    );
    assert!(
        has(&["10.0.200.102", "02:00:00:00:00:02"]),
        "a distributed floating IP has a MAC of its own"
    );
    assert_eq!(
        of(23, "requested_chassis"),
        "",
        "there is no such chassis yet"
    );
    assert_eq!(of(23, "options"), "requested-chassis=host-1");
    let off = format!("\"{}\"", port_id(2, 23));
    let dropped = "reg0[15] = 1; next;";
    assert!(has(&["ls_in_check_port_sec", &off, dropped]));
    let to_it = "eth.dst == 0a:00:00:02:00:17), action=(outport";
    assert!(
        !has(&["ls_in_l2_lkup", to_it]),
        "nothing goes to a port that is off"
    );
    assert!(has(&[
        "ls_in_l2_lkup",
        "eth.dst == 0a:00:00:02:00:16), action=(outport"
    ]));
}

#[tokio::test]
async fn packets_would_go_where_the_plans_say() {
    let central = Central::start();
    let fabric = fabric(&central).await;
    let cloud = plans::cloud();
    fabric.apply(sets(&cloud)).await.unwrap();
    settled(&fabric).await;
    let first = "network-00000000-0000-0000-0000-000100000000";
    let from = |host: u8, rest: &str| {
        let port = port_id(1, host);
        central.trace(
            first,
            &format!("inport == \"{port}\" && eth.src == 0a:00:00:01:00:{host:02x} && ip.ttl == 64 && {rest}"),
        )
    };
    let to = |host: u8| format!("eth.dst == 0a:00:00:01:00:{host:02x} && ip4.dst == 10.0.1.{host}");
    let output =
        |network, host| format!("output to \"{}\"", &port_id(network, host).to_string()[..6]);

    // Within the group: passes, from the port's own addresses.
    let said = from(
        11,
        &format!("ip4.src == 10.0.1.11 && {} && tcp && tcp.dst == 80", to(12)),
    );
    assert!(said.contains(&output(1, 12)), "{said}");
    let column = ["--bare", "--columns=port_security", "find", "Port_Binding"];
    let port = format!("logical_port={}", port_id(1, 11));
    let allowed = central.sbctl(&[&column[..], &[&port]].concat());
    assert_eq!(
        allowed.trim(),
        "0a:00:00:01:00:0b 10.0.1.11 fd00:0:1::b",
        "hosts drop what comes from elsewhere"
    );
    // DHCP is answered, names are resolved, the address is the planned one.
    let said = from(
        11,
        "eth.dst == ff:ff:ff:ff:ff:ff && ip4.src == 0.0.0.0 && ip4.dst == 255.255.255.255 && udp.src == 68 && udp.dst == 67",
    );
    assert!(said.contains("offerip = 10.0.1.11"), "{said}");
    assert!(said.contains("169.254.169.254/32, 10.0.1.2"), "{said}");
    let said = from(
        11,
        &format!("ip4.src == 10.0.1.11 && {} && udp.dst == 53", to(2)),
    );
    assert!(said.contains("dns_lookup"), "{said}");
    // Through the router the other network is reached, whose group lets nothing in.
    let second = "eth.dst == 0a:00:00:01:00:01 && ip4.src == 10.0.1.11 && ip4.dst == 10.0.2.11 && tcp.dst == 80";
    assert!(!from(11, second).contains(&output(2, 11)));
    let mut open = plans::group(
        2,
        vec![rule(
            6,
            Direction::Ingress,
            None,
            Remote::Group(group_id(1)),
        )],
    );
    fabric
        .apply(vec![Change::Set(Plan::SecurityGroup(open.clone()))])
        .await
        .unwrap();
    settled(&fabric).await;
    let said = from(11, second);
    assert!(said.contains(&output(2, 11)), "{said}");
    open.rules.clear();
    fabric
        .apply(vec![Change::Set(Plan::SecurityGroup(open))])
        .await
        .unwrap();
    settled(&fabric).await;
    assert!(!from(11, second).contains(&output(2, 11)));
}

#[tokio::test]
async fn a_guest_passes_for_no_dhcp_server_whatever_its_group_allows() {
    let central = Central::start();
    let fabric = fabric(&central).await;
    fabric.apply(sets(&plans::cloud())).await.unwrap();
    let all = |number, direction, family| Rule {
        family,
        ..rule(number, direction, None, Remote::Anyone)
    };
    let rules = vec![
        all(7, Direction::Ingress, Family::V4),
        all(8, Direction::Egress, Family::V4),
        all(9, Direction::Ingress, Family::V6),
        all(10, Direction::Egress, Family::V6),
    ];
    let open = Plan::SecurityGroup(plans::group(1, rules));
    fabric.apply(vec![Change::Set(open)]).await.unwrap();
    settled(&fabric).await;
    let output = format!("output to \"{}\"", &port_id(1, 12).to_string()[..6]);
    let arrives = |what: &str| {
        let packet = format!(
            "inport == \"{}\" && eth.src == 0a:00:00:01:00:0b && eth.dst == 0a:00:00:01:00:0c \
             && ip.ttl == 64 && {what}",
            port_id(1, 11)
        );
        let network = "network-00000000-0000-0000-0000-000100000000";
        central.trace(network, &packet).contains(&output)
    };
    let v4 = "ip4.src == 10.0.1.11 && ip4.dst == 10.0.1.12 && udp.src == 67";
    let v6 = "ip6.src == fd00:0:1::b && ip6.dst == fd00:0:1::c && udp.src == 547";
    assert!(arrives(&format!("{v4} && udp.dst == 69")));
    assert!(!arrives(&format!("{v4} && udp.dst == 68")));
    assert!(arrives(&format!("{v6} && udp.dst == 547")));
    assert!(!arrives(&format!("{v6} && udp.dst == 546")));
}

#[tokio::test]
async fn a_database_that_was_emptied_is_filled_again() {
    let mut central = Central::start();
    let fabric = fabric(&central).await;
    let cloud = plans::cloud();
    fabric.apply(sets(&cloud)).await.unwrap();
    let before = central.dump();

    let mut disturbed = fabric.disturbed();
    disturbed.mark_unchanged();
    central.replace_northbound();
    tokio::time::timeout(LIMIT, disturbed.changed())
        .await
        .unwrap()
        .unwrap();
    let repair = fabric.reconcile(cloud.clone()).await.unwrap();
    assert_eq!(repair.units.len(), cloud.len());
    assert_same(&central.dump(), &before);
    settled(&fabric).await;
    assert_eq!(fabric.reconcile(cloud).await.unwrap(), Repair::default());
}

#[tokio::test]
async fn a_database_that_was_restored_from_a_copy_keeps_its_rows() {
    let central = Central::start();
    let fabric = fabric(&central).await;
    let mut cloud = plans::cloud();
    fabric.apply(sets(&cloud)).await.unwrap();
    let copy = run("ovsdb-client", &["backup", &central.northbound.socket()]);
    // After the copy was made, a port came and another went.
    let Plan::Network(network) = &mut cloud[0] else {
        panic!()
    };
    network.ports.pop();
    network.ports.push(plans::port(1, 50));
    fabric.apply(sets(&cloud[..1])).await.unwrap();
    let now = central.dump();

    let mut disturbed = fabric.disturbed();
    central.restore(&copy);
    tokio::time::timeout(LIMIT, disturbed.changed())
        .await
        .unwrap()
        .unwrap();
    let repair = fabric.reconcile(cloud.clone()).await.unwrap();
    assert_eq!(repair.units, [cloud[0].unit()].into(), "{repair:?}");
    assert_same(&central.dump(), &now);
    assert_eq!(fabric.reconcile(cloud).await.unwrap(), Repair::default());
}

#[tokio::test]
async fn what_others_edited_is_told_and_put_right() {
    let central = Central::start();
    let fabric = fabric(&central).await;
    let cloud = plans::cloud();
    fabric.apply(sets(&cloud)).await.unwrap();
    settled(&fabric).await;
    let mut disturbed = fabric.disturbed();
    assert_eq!(*disturbed.borrow(), 0, "our own changes disturb nobody");
    let before = central.dump();
    let port = port_id(1, 11).to_string();
    let guarded = "guarded_00000000000000000000000100000000";
    let router = "router-00000000-0000-0000-0000-00010000bbbb";
    let group = "group_0000000000000000000000010000cccc";
    let edits: [&[&str]; 9] = [
        &["acl-add", guarded, "to-lport", "2000", "ip", "allow"],
        &["acl-del", group, "to-lport"],
        &["lsp-set-port-security", &port],
        &["lsp-set-addresses", &port, "0a:00:00:01:00:0b 10.0.1.77"],
        &["lsp-del", &port],
        &["pg-set-ports", guarded, &port],
        &["lr-nat-del", router],
        &["lr-route-add", router, "192.0.2.0/25", "10.0.1.99"],
        // A group of somebody else whose rules would let anything in.
        &[
            "pg-add", "theirs", &port, "--", "acl-add", "theirs", "to-lport", "3000", "ip", "allow",
        ],
    ];
    for edit in edits {
        disturbed.mark_unchanged();
        central.nbctl(edit);
        tokio::time::timeout(LIMIT, disturbed.changed())
            .await
            .unwrap()
            .unwrap();
        let repair = fabric.reconcile(cloud.clone()).await.unwrap();
        assert!(!repair.is_empty(), "{edit:?}");
        assert_same(&central.dump(), &before);
    }
    assert_eq!(fabric.reconcile(cloud).await.unwrap(), Repair::default());
    let theirs = central.nbctl(&[
        "--bare",
        "--columns=ports",
        "find",
        "Port_Group",
        "name=theirs",
    ]);
    assert_eq!(theirs.trim(), "");
}

#[tokio::test]
async fn two_writers_do_not_undo_each_others_work() {
    let central = Central::start();
    let (one, two) = (fabric(&central).await, fabric(&central).await);
    let with_port = |host: u8| {
        let mut network = plans::network(u128::from(host));
        let mut port = plans::port(u128::from(host), host);
        port.security_groups = vec![group_id(1)];
        network.ports.push(port);
        vec![Change::Set(Plan::Network(network))]
    };
    // Both make the same group at the same moment, and put their ports into it.
    for host in (10..30).step_by(2) {
        let (first, second) =
            tokio::join!(one.apply(with_port(host)), two.apply(with_port(host + 1)));
        first.unwrap();
        second.unwrap();
    }
    let members = central.nbctl(&[
        "--bare",
        "--columns=ports",
        "find",
        "Port_Group",
        "name=group_0000000000000000000000010000cccc",
    ]);
    assert_eq!(members.split_whitespace().count(), 20);
    for fabric in [&one, &two] {
        assert_eq!(
            *fabric.disturbed().borrow(),
            0,
            "another control plane is not another hand"
        );
    }
    // The same change by both is one change.
    let (first, second) = tokio::join!(one.apply(with_port(40)), two.apply(with_port(40)));
    first.unwrap();
    second.unwrap();
    let ports = central.nbctl(&[
        "--bare",
        "--columns=name",
        "find",
        "Logical_Switch_Port",
        "type=localport",
    ]);
    assert_eq!(ports.split_whitespace().count(), 21);
}

#[tokio::test]
async fn a_database_that_is_away_is_said_and_nothing_is_called_done() {
    let mut central = Central::start();
    let fabric = fabric(&central).await;
    let cloud = plans::cloud();
    fabric.apply(sets(&cloud)).await.unwrap();
    central.stop_northbound();
    let away = loop {
        match fabric.apply(sets(&cloud)).await {
            Err(error) => break error,
            // The replica still held what was asked for: the loss is not noticed yet.
            Ok(()) => tokio::task::yield_now().await,
        }
    };
    assert!(away.is_transient());
    assert!(
        matches!(&away, NetworkError::Unreachable { remote, .. } if remote.contains("nb.sock")),
        "{away}"
    );
    assert!(fabric.settle(Duration::from_secs(1)).await.is_err());
    central.start_northbound();
    fabric.ready(LIMIT).await.unwrap();
    fabric.apply(sets(&cloud)).await.unwrap();
}

#[tokio::test]
async fn those_who_wait_at_the_same_time_share_barriers() {
    let central = Central::start();
    let fabric = std::sync::Arc::new(fabric(&central).await);
    settled(&fabric).await;
    let nb_cfg = || {
        central
            .nbctl(&["get", "NB_Global", ".", "nb_cfg"])
            .trim()
            .parse::<u32>()
            .unwrap()
    };
    let before = nb_cfg();
    let waits: Vec<_> = (0..50)
        .map(|_| {
            let fabric = fabric.clone();
            tokio::spawn(async move { fabric.settle(LIMIT).await })
        })
        .collect();
    for wait in waits {
        assert!(wait.await.unwrap().unwrap());
    }
    assert!(
        (1..=5).contains(&(nb_cfg() - before)),
        "{}",
        nb_cfg() - before
    );
}

#[tokio::test]
async fn a_dead_host_bounds_the_wait_and_is_named() {
    let central = Central::start();
    let fabric = fabric(&central).await;
    settled(&fabric).await;
    central.sbctl(&["chassis-add", "host-1", "geneve", "127.0.0.1"]);
    central.sbctl(&["create", "Chassis_Private", "name=host-1"]);
    let started = Instant::now();
    assert!(!fabric.settle(Duration::from_millis(300)).await.unwrap());
    assert!(started.elapsed() < LIMIT);
    let chassis = fabric.chassis().await.unwrap();
    assert_eq!(chassis.len(), 1);
    assert_eq!(chassis[0].name, "host-1");
    assert_eq!(
        chassis[0].tunnels,
        [("geneve".to_owned(), "127.0.0.1".to_owned())]
    );
    // It comes to life and follows.
    let follow = async {
        loop {
            let wanted = central.nbctl(&["get", "NB_Global", ".", "nb_cfg"]);
            let column = format!("nb_cfg={}", wanted.trim());
            central.sbctl(&["set", "Chassis_Private", "host-1", &column]);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        settled = fabric.settle(LIMIT) => assert!(settled.unwrap()),
        () = follow => {}
    }
}

#[tokio::test]
async fn ports_that_come_up_are_told() {
    let mut central = Central::start();
    let fabric = fabric(&central).await;
    let mut cloud = plans::cloud();
    fabric.apply(sets(&cloud)).await.unwrap();
    settled(&fabric).await;
    // It would take back what this test writes in its place.
    central.stop_northd();
    let mut seen = fabric.ports_up();
    assert_eq!(seen.up.len(), 3, "OVN calls ports of routers up at once");
    let port = port_id(1, 11);
    let up = |truth: &str| {
        central.nbctl(&[
            "set",
            "Logical_Switch_Port",
            &port.to_string(),
            &format!("up={truth}"),
        ])
    };
    up("true");
    assert_eq!(seen.changes.recv().await.unwrap(), (port, true));
    assert!(fabric.ports_up().up.contains(&port));
    up("false");
    assert_eq!(seen.changes.recv().await.unwrap(), (port, false));
    up("true");
    assert_eq!(seen.changes.recv().await.unwrap(), (port, true));
    assert_eq!(
        *fabric.disturbed().borrow(),
        0,
        "what OVN writes is no disturbance"
    );
    let Plan::Network(network) = &mut cloud[0] else {
        panic!()
    };
    network.ports.retain(|other| other.id != port);
    fabric.apply(sets(&cloud)).await.unwrap();
    assert_eq!(seen.changes.recv().await.unwrap(), (port, false));
    assert_eq!(
        *fabric.disturbed().borrow(),
        0,
        "that a port leaves its groups is no disturbance"
    );
    assert_eq!(address(1, 11).to_string(), "10.0.1.11");
}
