//! Floating IPs and port forwardings over a fabric in memory: what it holds after each change, what is refused, and what
//! the log says of public IPs.
#![allow(clippy::unwrap_used, clippy::panic)]

mod router_fixture;

use corten_iam::actor::Actor;
use corten_network::plan::{Floating, Forward, ForwardProtocol};
use corten_operations::Settings;
use corten_operations::network::floating_ip::{FloatingIpChange, NewFloatingIp};
use corten_operations::network::ipam::Wanted;
use corten_operations::network::port::PortChange;
use corten_operations::network::port_forwarding::{NewPortForwarding, PortForwardingChange};
use corten_operations::network::router::RouterChange;
use corten_operations::network::{floating_ip, port, port_forwarding};
use corten_store::network::floating_ip::FloatingIp;
use corten_store::network::port::{FixedIp, Port};
use corten_store::{Query, record};
use router_fixture::{
    Cloud, actor, admin, ip, member, new_floating, new_forwarding, own_admin, refused, stranger,
};
use std::time::Duration;

#[tokio::test]
async fn a_floating_ip_leads_to_one_guest_and_moves_to_another() {
    let cloud = Cloud::open().await;
    let (router, network, subnet) = cloud.behind_a_router().await;
    let (first, second) = (cloud.port(network).await, cloud.port(network).await);
    let floating = cloud.floating().await;
    assert_eq!(cloud.plan(router).await.unwrap().floating, []);
    for port in [&first, &second] {
        let shown = cloud.lead(&floating, Some(port.id)).await.unwrap();
        assert_eq!(shown.floating.target.unwrap().router_id, router);
        let plan = cloud.plan(router).await.unwrap();
        let wanted = Floating {
            external: floating.address,
            internal: port.addresses[0].ip_address,
            port: None,
        };
        assert_eq!(plan.floating, [wanted]);
    }
    // Its own port is no station of the external network.
    assert_eq!(cloud.router_ports(cloud.outside).await.len(), 1);

    let another = cloud.floating().await;
    let twice = cloud.lead(&another, Some(second.id)).await;
    assert_eq!(refused(twice), "FloatingIPPortAlreadyAssociated");
    assert_eq!(
        refused(cloud.leave(router, subnet).await),
        "RouterInterfaceInUseByFloatingIP"
    );
    let no_gateway = RouterChange {
        gateway: Some(None),
        ..RouterChange::default()
    };
    let cleared = cloud.update(router, no_gateway).await;
    assert_eq!(refused(cleared), "RouterExternalGatewayInUseByFloatingIp");
    let held = port::delete(&cloud.cx, &admin(), floating.holder_id).await;
    assert_eq!(refused(held), "ServicePortInUse");

    cloud.lead(&floating, None).await.unwrap();
    assert_eq!(cloud.plan(router).await.unwrap().floating, []);
}

#[tokio::test]
async fn a_floating_ip_without_a_way_leads_nowhere() {
    let cloud = Cloud::open().await;
    let (network, subnet) = cloud.inside("10.0.0.0/24").await;
    let port = cloud.port(network).await;
    let floating = cloud.floating().await;
    let lead = async || refused(cloud.lead(&floating, Some(port.id)).await);
    assert_eq!(lead().await, "ExternalGatewayForFloatingIPNotFound");
    let router = cloud.router(None).await;
    cloud.join(router, subnet).await;
    assert_eq!(lead().await, "ExternalGatewayForFloatingIPNotFound");
    let new = NewFloatingIp {
        port_id: Some(port.id),
        ..new_floating(cloud.outside)
    };
    let made = floating_ip::create(&cloud.cx, &own_admin(), vec![new]).await;
    assert_eq!(refused(made), "ExternalGatewayForFloatingIPNotFound");
    let made = floating_ip::create(&cloud.cx, &own_admin(), vec![new_floating(network)]).await;
    assert_eq!(refused(made), "BadRequest");
    let new = NewFloatingIp {
        fixed_address: Some(ip("10.0.0.9")),
        ..new_floating(cloud.outside)
    };
    let made = floating_ip::create(&cloud.cx, &own_admin(), vec![new]).await;
    assert_eq!(refused(made), "BadRequest");
    // Nothing of what was refused holds an address.
    let mut tx = cloud.store.read().await.unwrap();
    let held: Vec<FloatingIp> = Query::new().all(&mut tx).await.unwrap();
    assert_eq!(held.len(), 1);
    let ports = Query::<Port>::new().equals("device_owner", "network:floatingip");
    assert_eq!(ports.count(&mut tx).await.unwrap(), 1);
}

#[tokio::test]
async fn an_external_network_runs_out_of_addresses() {
    let cloud = Cloud::open().await;
    let small = cloud.outside_network("198.51.100.0/30").await;
    let take = async || {
        let new = vec![new_floating(small)];
        floating_ip::create(&cloud.cx, &own_admin(), new).await
    };
    let only = take().await.unwrap().remove(0).floating;
    assert_eq!(refused(take().await), "ExternalIpAddressExhausted");
    floating_ip::delete(&cloud.cx, &own_admin(), only.id)
        .await
        .unwrap();
    assert_eq!(take().await.unwrap()[0].floating.address, only.address);
}

/// K70, K117: only a project's administrator sets public IPs, unless the operator lets members; none names an address
/// that was not given.
#[tokio::test]
async fn who_sets_public_ips_is_the_operators_choice() {
    let cloud = Cloud::open().await;
    let floating = cloud.floating().await;
    let ask = async |actor: &Actor| {
        let new = vec![new_floating(cloud.outside)];
        floating_ip::create(&cloud.cx, actor, new).await
    };
    refused(ask(&member()).await);
    let change = FloatingIpChange::default();
    refused(floating_ip::update(&cloud.cx, &member(), floating.id, change).await);
    refused(floating_ip::delete(&cloud.cx, &member(), floating.id).await);
    assert_eq!(
        floating_ip::show(&cloud.cx, &member(), floating.id)
            .await
            .unwrap()
            .floating,
        floating
    );
    let unseen = floating_ip::delete(&cloud.cx, &stranger(), floating.id).await;
    assert_eq!(refused(unseen), "FloatingIPNotFound");
    let named = NewFloatingIp {
        address: Some(ip("203.0.113.77")),
        ..new_floating(cloud.outside)
    };
    let named = floating_ip::create(&cloud.cx, &admin(), vec![named])
        .await
        .unwrap();
    assert_eq!(named[0].floating.address, ip("203.0.113.77"));

    let mut settings = Settings::default();
    settings.network.members_set_public_ips = true;
    let cloud = Cloud::with(settings).await;
    let new = vec![new_floating(cloud.outside)];
    let made = floating_ip::create(&cloud.cx, &member(), new)
        .await
        .unwrap();
    let reader = actor("p", &["reader"]);
    refused(floating_ip::delete(&cloud.cx, &reader, made[0].floating.id).await);
    floating_ip::delete(&cloud.cx, &member(), made[0].floating.id)
        .await
        .unwrap();
}

/// K144: it costs while it is held, whether it leads anywhere or not; the bill is a fold of the log.
#[tokio::test]
async fn the_log_says_how_long_a_public_ip_was_held() {
    let cloud = Cloud::open().await;
    let floating = cloud.floating().await;
    assert_eq!(cloud.log_of(&floating).await, [("Held".to_owned(), 0)]);
    cloud.clock.advance(Duration::from_secs(3600));
    floating_ip::delete(&cloud.cx, &own_admin(), floating.id)
        .await
        .unwrap();
    let wanted = [("Held".to_owned(), 0), ("Released".to_owned(), 3600)];
    assert_eq!(cloud.log_of(&floating).await, wanted);
}

/// K69: when the port that they lead to goes, an ephemeral public IP is released, and a static one stays.
#[tokio::test]
async fn a_port_takes_its_ephemeral_public_ip_along() {
    let cloud = Cloud::open().await;
    let (router, network, _) = cloud.behind_a_router().await;
    let (first, second) = (cloud.port(network).await, cloud.port(network).await);
    let (stays, goes) = (cloud.floating().await, cloud.floating().await);
    cloud.lead(&stays, Some(first.id)).await.unwrap();
    cloud.lead(&goes, Some(second.id)).await.unwrap();
    let mut tx = cloud.store.write().await.unwrap();
    let mut row: FloatingIp = record::lock(&mut tx, goes.id).await.unwrap().unwrap();
    row.ephemeral = true;
    record::update(&mut tx, &row).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(cloud.plan(router).await.unwrap().floating.len(), 2);

    for port in [first, second] {
        port::delete(&cloud.cx, &member(), port.id).await.unwrap();
    }
    assert_eq!(cloud.plan(router).await.unwrap().floating, []);
    let shown = floating_ip::show(&cloud.cx, &own_admin(), stays.id)
        .await
        .unwrap();
    assert_eq!(shown.floating.target, None);
    assert_eq!(cloud.log_of(&stays).await.len(), 1);
    let gone = floating_ip::show(&cloud.cx, &own_admin(), goes.id).await;
    assert_eq!(refused(gone), "FloatingIPNotFound");
    assert_eq!(cloud.log_of(&goes).await.last().unwrap().0, "Released");
    let holder = port::show(&cloud.cx, &admin(), goes.holder_id).await;
    assert_eq!(refused(holder), "PortNotFound");
}

#[tokio::test]
async fn what_leads_to_an_address_ends_with_it() {
    let cloud = Cloud::open().await;
    let (router, network, subnet) = cloud.behind_a_router().await;
    let port = cloud.port(network).await;
    let floating = cloud.floating().await;
    cloud.lead(&floating, Some(port.id)).await.unwrap();
    let elsewhere = Wanted {
        subnet_id: Some(subnet),
        ip_address: Some(ip("10.0.0.99")),
    };
    let change = PortChange {
        addresses: Some(vec![elsewhere]),
        ..PortChange::default()
    };
    let moved = port::update(&cloud.cx, &member(), port.id, change)
        .await
        .unwrap();
    let wanted = FixedIp {
        subnet_id: subnet,
        ip_address: ip("10.0.0.99"),
    };
    assert_eq!(moved.addresses, [wanted]);
    assert_eq!(cloud.plan(router).await.unwrap().floating, []);
}

#[tokio::test]
async fn ports_of_a_floating_ip_lead_to_ports_of_guests() {
    let cloud = Cloud::open().await;
    let (router, network, subnet) = cloud.behind_a_router().await;
    let (first, second) = (cloud.port(network).await, cloud.port(network).await);
    let floating = cloud.floating().await;
    let forward =
        async |new| port_forwarding::create(&cloud.cx, &own_admin(), floating.id, new).await;
    let made = forward(new_forwarding(first.id, 2222, 22)).await.unwrap();
    let wanted = Forward {
        external: floating.address,
        external_port: 2222,
        protocol: ForwardProtocol::Tcp,
        internal: first.addresses[0].ip_address,
        internal_port: 22,
    };
    assert_eq!(cloud.plan(router).await.unwrap().forwards, [wanted]);

    // One outside port leads to one place, and one place has one outside port.
    assert_eq!(
        refused(forward(new_forwarding(second.id, 2222, 80)).await),
        "BadRequest"
    );
    assert_eq!(
        refused(forward(new_forwarding(first.id, 2223, 22)).await),
        "BadRequest"
    );
    let other = NewPortForwarding {
        internal_address: Some(ip("10.0.0.200")),
        ..new_forwarding(second.id, 8080, 80)
    };
    assert_eq!(refused(forward(other).await), "BadRequest");
    let whole = cloud.lead(&floating, Some(second.id)).await;
    assert_eq!(refused(whole), "FipInUseByPortForwarding");
    let another = cloud.floating().await;
    let to_forwarded = cloud.lead(&another, Some(first.id)).await;
    assert_eq!(refused(to_forwarded), "PortHasPortForwarding");
    cloud.lead(&another, Some(second.id)).await.unwrap();
    let of_bound = forward(new_forwarding(second.id, 8080, 80)).await;
    assert_eq!(refused(of_bound), "PortHasBindingFloatingIP");
    let new = new_forwarding(first.id, 8080, 80);
    let on_bound = port_forwarding::create(&cloud.cx, &own_admin(), another.id, new).await;
    assert_eq!(refused(on_bound), "FloatingIPPortAlreadyAssociated");
    let released = floating_ip::delete(&cloud.cx, &own_admin(), floating.id).await;
    assert_eq!(refused(released), "FipInUseByPortForwarding");
    cloud.lead(&another, None).await.unwrap();
    assert_eq!(
        refused(cloud.leave(router, subnet).await),
        "RouterInterfaceInUseByFloatingIP"
    );

    let change = PortForwardingChange {
        external_port: Some(8022),
        ..PortForwardingChange::default()
    };
    port_forwarding::update(&cloud.cx, &own_admin(), floating.id, made.id, change)
        .await
        .unwrap();
    let wanted = Forward {
        external_port: 8022,
        ..wanted
    };
    assert_eq!(cloud.plan(router).await.unwrap().forwards, [wanted]);
    let change = PortForwardingChange::default();
    let wrong = port_forwarding::update(&cloud.cx, &own_admin(), another.id, made.id, change).await;
    assert_eq!(refused(wrong), "PortForwardingNotFound");

    port_forwarding::delete(&cloud.cx, &own_admin(), floating.id, made.id)
        .await
        .unwrap();
    assert_eq!(cloud.plan(router).await.unwrap().forwards, []);
    floating_ip::delete(&cloud.cx, &own_admin(), floating.id)
        .await
        .unwrap();
}

#[tokio::test]
async fn forwardings_end_with_the_port_that_they_lead_to() {
    let cloud = Cloud::open().await;
    let (router, network, _) = cloud.behind_a_router().await;
    let port = cloud.port(network).await;
    let floating = cloud.floating().await;
    let new = new_forwarding(port.id, 2222, 22);
    port_forwarding::create(&cloud.cx, &own_admin(), floating.id, new)
        .await
        .unwrap();
    assert_eq!(cloud.plan(router).await.unwrap().forwards.len(), 1);
    port::delete(&cloud.cx, &member(), port.id).await.unwrap();
    assert_eq!(cloud.plan(router).await.unwrap().forwards, []);
    let left = port_forwarding::list(&cloud.cx, &own_admin(), floating.id)
        .await
        .unwrap();
    assert_eq!(left, []);
}
