//! Questions about networks on both engines: what follows a policy, and which trunk a port is in.
#![allow(clippy::unwrap_used, clippy::panic)]

use corten_model::ids::{NetworkId, PortId, ProjectId, QosPolicyId, TrunkId};
use corten_model::time::Timestamp;
use corten_store::network::network::{Network, Segment};
use corten_store::network::port::{self, Binding, Port};
use corten_store::network::trunk::{self, SubPort, Trunk};
use corten_store::network::{Standard, qos_policy};
use corten_store::{on_both_engines, record};
use std::collections::BTreeSet;

fn standard() -> Standard {
    let project = ProjectId::from("p");
    Standard::new(project, String::new(), String::new(), Timestamp(1))
}

fn network(policy: Option<QosPolicyId>) -> Network {
    Network {
        id: NetworkId::random(),
        standard: standard(),
        enabled: true,
        shared: false,
        external: false,
        is_default: false,
        port_security: true,
        mtu: 1500,
        dns_domain: String::new(),
        segment: Segment::Geneve { id: 1 },
        qos_policy_id: policy,
        zone_hints: Vec::new(),
        vlan_transparent: false,
    }
}

fn port(network: NetworkId, mac: &str, policy: Option<QosPolicyId>) -> Port {
    Port {
        id: PortId::random(),
        standard: standard(),
        network_id: network,
        mac_address: mac.to_owned(),
        addresses: Vec::new(),
        enabled: true,
        device_id: String::new(),
        device_owner: String::new(),
        security_groups: BTreeSet::new(),
        port_security: true,
        allowed_pairs: Vec::new(),
        dhcp_options: Vec::new(),
        dns_name: String::new(),
        qos_policy_id: policy,
        binding: Binding::default(),
        up: false,
    }
}

on_both_engines! {
    async fn what_follows_a_policy_is_found_and_forgotten(store) {
        let policy = QosPolicyId::random();
        let (by_network, plain) = (network(Some(policy)), network(None));
        let mut own = port(plain.id, "fa:16:3e:00:00:01", Some(policy));
        let mut tx = store.write().await.unwrap();
        record::insert(&mut tx, &by_network).await.unwrap();
        record::insert(&mut tx, &plain).await.unwrap();
        port::insert(&mut tx, &own).await.unwrap();
        port::insert(&mut tx, &port(plain.id, "fa:16:3e:00:00:02", None)).await.unwrap();
        assert_eq!(qos_policy::networks_of(&mut tx, policy).await.unwrap(), [by_network]);
        assert_eq!(qos_policy::ports_of(&mut tx, policy).await.unwrap(), [own.clone()]);
        own.qos_policy_id = None;
        port::update(&mut tx, &own).await.unwrap();
        assert_eq!(qos_policy::ports_of(&mut tx, policy).await.unwrap(), []);
        tx.commit().await.unwrap();
    }

    async fn a_trunk_is_found_by_its_ports(store) {
        let network = network(None);
        let parent = port(network.id, "fa:16:3e:00:00:01", None);
        let child = port(network.id, "fa:16:3e:00:00:02", None);
        let trunk = Trunk {
            id: TrunkId::random(),
            standard: standard(),
            enabled: true,
            port_id: parent.id,
            sub_ports: vec![SubPort { port_id: child.id, vlan: 7 }],
        };
        let mut tx = store.write().await.unwrap();
        record::insert(&mut tx, &network).await.unwrap();
        port::insert(&mut tx, &parent).await.unwrap();
        port::insert(&mut tx, &child).await.unwrap();
        record::insert(&mut tx, &trunk).await.unwrap();
        assert_eq!(trunk::of_parent(&mut tx, parent.id).await.unwrap(), Some(trunk.clone()));
        assert_eq!(trunk::of_parent(&mut tx, child.id).await.unwrap(), None);
        assert_eq!(trunk::of_sub_port(&mut tx, child.id).await.unwrap(), Some(trunk));
        assert_eq!(trunk::of_sub_port(&mut tx, parent.id).await.unwrap(), None);
        tx.commit().await.unwrap();
    }
}
