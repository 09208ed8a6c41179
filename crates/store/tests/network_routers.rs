//! Floating IPs and port forwardings on both engines: found by what they lead to, and leading there once.
#![allow(clippy::unwrap_used, clippy::panic)]

use corten_model::ids::{
    FloatingIpId, NetworkId, PortForwardingId, PortId, ProjectId, RouterId, SubnetId,
};
use corten_model::time::Timestamp;
use corten_store::network::Standard;
use corten_store::network::floating_ip::{self, FloatingIp, Target};
use corten_store::network::network::{Network, Segment};
use corten_store::network::port_forwarding::{self, PortForwarding};
use corten_store::{Error, Store, Tx, on_both_engines, record};
use std::net::IpAddr;

fn standard() -> Standard {
    Standard::new(
        ProjectId::from("p"),
        String::new(),
        String::new(),
        Timestamp(0),
    )
}

async fn network(tx: &mut Tx) -> NetworkId {
    let network = Network {
        id: NetworkId::random(),
        standard: standard(),
        enabled: true,
        shared: false,
        external: true,
        is_default: false,
        port_security: false,
        mtu: 1500,
        dns_domain: String::new(),
        segment: Segment::Geneve { id: 1 },
        qos_policy_id: None,
        zone_hints: Vec::new(),
        vlan_transparent: false,
    };
    record::insert(tx, &network).await.unwrap();
    network.id
}

fn inside() -> IpAddr {
    "10.0.0.5".parse().unwrap()
}

fn floating(network_id: NetworkId, target: Option<(PortId, RouterId)>) -> FloatingIp {
    FloatingIp {
        id: FloatingIpId::random(),
        standard: standard(),
        network_id,
        subnet_id: SubnetId::random(),
        address: "203.0.113.5".parse().unwrap(),
        holder_id: PortId::random(),
        target: target.map(|(port_id, router_id)| Target {
            port_id,
            address: inside(),
            router_id,
        }),
        dns_name: String::new(),
        dns_domain: String::new(),
        qos_policy_id: None,
        ephemeral: false,
    }
}

fn forwarding(floating_ip_id: FloatingIpId, port: u16, router_id: RouterId) -> PortForwarding {
    PortForwarding {
        id: PortForwardingId::random(),
        standard: standard(),
        floating_ip_id,
        protocol: "tcp".to_owned(),
        external_port: port,
        internal_port: port,
        port_id: PortId::random(),
        internal_address: inside(),
        router_id,
    }
}

async fn exists<T: corten_store::Record>(store: &Store, row: &T) -> bool {
    let mut tx = store.write().await.unwrap();
    match record::insert(&mut tx, row).await {
        Ok(()) => false,
        Err(Error::Exists { .. }) => true,
        Err(other) => panic!("{other}"),
    }
}

on_both_engines! {
    async fn a_router_knows_what_it_translates(store) {
        let mut tx = store.write().await.unwrap();
        let outside = network(&mut tx).await;
        let (router, other) = (RouterId::random(), RouterId::random());
        let port = PortId::random();
        let leads = floating(outside, Some((port, router)));
        let (idle, elsewhere) = (floating(outside, None), floating(outside, Some((PortId::random(), other))));
        for row in [&leads, &idle, &elsewhere] {
            record::insert(&mut tx, row).await.unwrap();
        }
        let here = forwarding(idle.id, 80, router);
        let there = forwarding(elsewhere.id, 80, other);
        for row in [&here, &there] {
            record::insert(&mut tx, row).await.unwrap();
        }
        tx.commit().await.unwrap();
        let mut tx = store.write().await.unwrap();
        assert_eq!(floating_ip::of_router(&mut tx, router).await.unwrap(), std::slice::from_ref(&leads));
        assert_eq!(floating_ip::of_port(&mut tx, port).await.unwrap(), [leads]);
        assert_eq!(port_forwarding::of_router(&mut tx, router).await.unwrap(), std::slice::from_ref(&here));
        let ids = [idle.id.to_string(), RouterId::random().to_string()];
        assert_eq!(port_forwarding::of_floating_ips(&mut tx, ids).await.unwrap(), [here]);
        // What is forwarded of a floating IP goes with it.
        record::delete::<FloatingIp>(&mut tx, idle.id).await.unwrap();
        assert_eq!(port_forwarding::of_router(&mut tx, router).await.unwrap(), []);
        assert_eq!(port_forwarding::of_router(&mut tx, other).await.unwrap(), [there]);
    }

    async fn an_inside_address_has_one_outside_on_a_network(store) {
        let mut tx = store.write().await.unwrap();
        let (outside, another) = (network(&mut tx).await, network(&mut tx).await);
        let target = Some((PortId::random(), RouterId::random()));
        record::insert(&mut tx, &floating(outside, target)).await.unwrap();
        record::insert(&mut tx, &floating(outside, None)).await.unwrap();
        tx.commit().await.unwrap();
        assert!(exists(store, &floating(outside, target)).await);
        assert!(!exists(store, &floating(another, target)).await);
        assert!(!exists(store, &floating(outside, None)).await);
    }

    async fn a_port_outside_leads_to_one_place_and_back(store) {
        let mut tx = store.write().await.unwrap();
        let outside = network(&mut tx).await;
        let (one, two) = (floating(outside, None), floating(outside, None));
        let router = RouterId::random();
        let first = forwarding(one.id, 80, router);
        record::insert(&mut tx, &one).await.unwrap();
        record::insert(&mut tx, &two).await.unwrap();
        record::insert(&mut tx, &first).await.unwrap();
        tx.commit().await.unwrap();
        let mut same_outside = forwarding(one.id, 80, router);
        same_outside.internal_port = 81;
        let mut same_inside = forwarding(one.id, 80, router);
        same_inside.external_port = 81;
        let mut other_protocol = forwarding(one.id, 80, router);
        other_protocol.protocol = "udp".to_owned();
        assert!(exists(store, &same_outside).await);
        assert!(exists(store, &same_inside).await);
        assert!(!exists(store, &other_protocol).await);
        assert!(!exists(store, &forwarding(two.id, 80, router)).await);
    }
}
