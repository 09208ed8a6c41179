//! The metadata service as a guest asks it: who asks is what the listener says, and nothing else.
#![allow(clippy::unwrap_used, clippy::panic)]

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use corten_api::metadata::{Asker, router};
use corten_engine::SystemClock;
use corten_iam::policy::Policy;
use corten_model::ids::{InstanceId, NetworkId, PortId, ProjectId, SubnetId, UserId};
use corten_model::lifecycle::{InstanceClass, InstanceState};
use corten_model::time::Timestamp;
use corten_operations::context::Hosts;
use corten_operations::{Context, Settings};
use corten_sim::SimFabric;
use corten_store::instances::{self, Instance, Intent, Nic, Observed};
use corten_store::network::Standard;
use corten_store::network::network::{Network, Segment};
use corten_store::network::port::{Address, Binding, FixedIp, Port};
use corten_store::network::subnet::Subnet;
use corten_store::testing::{self, TestStore};
use corten_store::{Tx, record};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use tower::ServiceExt as _;

const NOW: Timestamp = Timestamp(0);
const MAC: &str = "fa:16:3e:01:02:03";

fn standard() -> Standard {
    Standard::new(
        ProjectId::from("p"),
        "private".to_owned(),
        String::new(),
        NOW,
    )
}

fn instance(port_id: PortId, network_id: NetworkId) -> Instance {
    Instance {
        id: InstanceId::random(),
        project_id: ProjectId::from("p"),
        user_id: UserId::from("u"),
        class: InstanceClass::Vm,
        state: InstanceState::REQUESTED,
        state_since: NOW,
        intent: Intent {
            name: "web".to_owned(),
            hostname: "web".to_owned(),
            nics: vec![Nic {
                port_id,
                network_id,
                own: true,
                fixed_ip: None,
                security_groups: BTreeSet::new(),
                tag: Some("front".to_owned()),
            }],
            ..Intent::default()
        },
        observed: Observed::default(),
        host_id: None,
        host_name: None,
        reservation_id: String::new(),
        launch_index: 0,
        created_at: NOW,
        updated_at: NOW,
        launched_at: None,
        terminated_at: None,
        fault: None,
        progress: 0,
        resize: None,
        guest_password: None,
        shelved_image_id: None,
        deleted: false,
    }
}

/// A network with one server at this address.
async fn add(tx: &mut Tx, ip: &str) -> (NetworkId, InstanceId) {
    let (network_id, port_id, subnet_id) =
        (NetworkId::random(), PortId::random(), SubnetId::random());
    let network = Network {
        id: network_id,
        standard: standard(),
        enabled: true,
        shared: false,
        external: false,
        is_default: false,
        port_security: true,
        mtu: 1442,
        dns_domain: String::new(),
        segment: Segment::Geneve { id: 1 },
        qos_policy_id: None,
        zone_hints: Vec::new(),
        vlan_transparent: false,
    };
    let subnet = Subnet {
        id: subnet_id,
        standard: standard(),
        network_id,
        cidr: "10.0.0.0/24".parse().unwrap(),
        gateway: None,
        dhcp: true,
        pools: Vec::new(),
        dns_servers: Vec::new(),
        host_routes: Vec::new(),
        ipv6_ra_mode: None,
        ipv6_address_mode: None,
        subnet_pool_id: None,
        service_types: Vec::new(),
        dns_publish_fixed_ip: false,
    };
    let instance = instance(port_id, network_id);
    let ip_address: IpAddr = ip.parse().unwrap();
    let port = Port {
        id: port_id,
        standard: standard(),
        network_id,
        mac_address: MAC.to_owned(),
        addresses: vec![FixedIp {
            subnet_id,
            ip_address,
        }],
        enabled: true,
        device_id: instance.id.to_string(),
        device_owner: "compute:nova".to_owned(),
        security_groups: BTreeSet::new(),
        port_security: true,
        allowed_pairs: Vec::new(),
        dhcp_options: Vec::new(),
        dns_name: String::new(),
        qos_policy_id: None,
        binding: Binding::default(),
        up: false,
    };
    let address = Address {
        subnet_id,
        address: ip_address,
        port_id,
    };
    record::insert(tx, &network).await.unwrap();
    record::insert(tx, &subnet).await.unwrap();
    record::insert(tx, &port).await.unwrap();
    record::insert(tx, &address).await.unwrap();
    record::insert(tx, &instance).await.unwrap();
    (network_id, instance.id)
}

fn service(store: &TestStore) -> Router {
    router(Arc::new(Context {
        store: (**store).clone(),
        policy: Arc::new(Policy::shipped().unwrap()),
        settings: Settings::default(),
        clock: Arc::new(SystemClock),
        hosts: Hosts::default(),
        fabric: Arc::new(SimFabric::default()),
        image_dir: std::path::PathBuf::new(),
        metal: corten_operations::metal::Metal::forgetful(None).unwrap(),
    }))
}

async fn ask(
    service: &Router,
    method: &str,
    path: &str,
    asker: Option<Asker>,
) -> (StatusCode, String) {
    send(service, method, path, asker, "").await
}

async fn send(
    service: &Router,
    method: &str,
    path: &str,
    asker: Option<Asker>,
    body: &str,
) -> (StatusCode, String) {
    // What a guest claims about itself is not believed.
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("x-forwarded-for", "10.0.0.9")
        .header("x-instance-id", "b7e1c0de-0000-4000-8000-00000000dead")
        .body(Body::from(body.to_owned()))
        .unwrap();
    if let Some(asker) = asker {
        request.extensions_mut().insert(asker);
    }
    let answer = service.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let bytes = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn two_tenants_with_one_address_are_told_apart_by_their_networks() {
    let store = testing::sqlite().await;
    let mut tx = store.write().await.unwrap();
    let ours = add(&mut tx, "10.0.0.9").await;
    let theirs = add(&mut tx, "10.0.0.9").await;
    tx.commit().await.unwrap();
    let service = service(&store);
    let at = |network_id, ip: &str| {
        Some(Asker {
            network_id,
            address: ip.parse().unwrap(),
        })
    };
    for (network, id) in [ours, theirs] {
        let path = "/openstack/latest/meta_data.json";
        let (status, text) = ask(&service, "GET", path, at(network, "10.0.0.9")).await;
        assert_eq!(status, StatusCode::OK);
        let told: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told["uuid"], id.to_string());
        assert_eq!(told["devices"][0]["tags"][0], "front");
    }
    // IPv6 alone: by the link-local address that the card makes of its MAC address.
    let link_local = at(ours.0, "fe80::f816:3eff:fe01:203");
    let (_, name) = ask(&service, "GET", "/latest/meta-data/hostname", link_local).await;
    assert_eq!(name, "web");
    let path = "/latest/meta-data/local-ipv4";
    assert_eq!(
        ask(&service, "GET", path, at(ours.0, "10.0.0.9")).await.1,
        "10.0.0.9"
    );
    assert_eq!(
        ask(&service, "GET", path, at(ours.0, "10.0.0.10")).await.0,
        StatusCode::NOT_FOUND,
        "nobody has that address"
    );
    assert_eq!(
        ask(&service, "GET", path, None).await.0,
        StatusCode::NOT_FOUND
    );
    let posted = ask(&service, "POST", path, at(ours.0, "10.0.0.9")).await.0;
    assert_eq!(posted, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_guest_posts_a_password_for_its_owner_once() {
    let store = testing::sqlite().await;
    let mut tx = store.write().await.unwrap();
    let (network_id, id) = add(&mut tx, "10.0.0.9").await;
    tx.commit().await.unwrap();
    let service = service(&store);
    let address = "10.0.0.9".parse().unwrap();
    let guest = Some(Asker {
        network_id,
        address,
    });
    let path = "/openstack/2013-10-17/password";
    let post = async |body: &str| send(&service, "POST", path, guest, body).await;
    let (_, before) = ask(&service, "GET", path, guest).await;
    assert_eq!(before, "");
    assert_eq!(post("").await.0, StatusCode::BAD_REQUEST);
    let (status, why) = post(&"x".repeat(1021)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(why.contains("1020"), "{why}");
    assert_eq!(
        post(&"x".repeat(5000)).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(post("encrypted").await.0, StatusCode::OK);
    let (status, why) = post("another").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(why.contains("clear"), "{why}");
    assert_eq!(ask(&service, "GET", path, guest).await.1, "encrypted");
    let kept = instances::get(&mut store.read().await.unwrap(), id).await;
    let kept = kept.unwrap().unwrap().guest_password;
    assert_eq!(kept.as_deref(), Some("encrypted"));
    // Where the service had no passwords yet, and where there is nothing to post to.
    for path in ["/openstack/2012-08-10/password", "/latest/password"] {
        let posted = send(&service, "POST", path, guest, "x").await.0;
        assert_eq!(posted, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
}
