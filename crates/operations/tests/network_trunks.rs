//! Trunks: which ports may be parents and sub-ports, and what the fabric is told of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod network_fixture;

use corten_model::ids::{NetworkId, PortId};
use corten_model::refusal::Reason;
use corten_network::plan::PortKind;
use corten_operations::network::network::NewNetwork;
use corten_operations::network::port::{self, NewPort, PortChange};
use corten_operations::network::trunk::{self, NewTrunk, TrunkChange};
use corten_store::network::trunk::SubPort;
use network_fixture::{Cloud, assert_refused, member};
use std::collections::BTreeSet;

fn new_trunk(port_id: PortId, sub_ports: Vec<SubPort>) -> NewTrunk {
    NewTrunk {
        project_id: None,
        name: String::new(),
        description: String::new(),
        enabled: true,
        port_id,
        sub_ports,
        tags: BTreeSet::new(),
    }
}

fn sub(port_id: PortId, vlan: u16) -> SubPort {
    SubPort { port_id, vlan }
}

async fn kind(cloud: &Cloud, network: NetworkId, port: PortId) -> PortKind {
    let plan = cloud.plan(network).await;
    let found = plan.ports.into_iter().find(|plan| plan.id == port);
    found.unwrap().kind
}

#[tokio::test]
async fn a_sub_port_is_told_to_the_fabric_and_let_go_again() {
    let cloud = Cloud::open().await;
    let (cx, ann) = (&cloud.cx, member("ann"));
    let (outer, inner) = (cloud.network(&ann).await, cloud.network(&ann).await);
    let parent = cloud.port(&ann, outer).await.id;
    let child = cloud.port(&ann, inner).await.id;
    let made = trunk::create(cx, &ann, new_trunk(parent, vec![sub(child, 7)])).await;
    let id = made.unwrap().trunk.id;
    let tagged = PortKind::Sub { parent, vlan: 7 };
    assert_eq!(kind(&cloud, inner, child).await, tagged);
    let row = port::show(cx, &ann, child).await.unwrap();
    assert_eq!(row.device_owner, "trunk:subport");
    let change = TrunkChange {
        enabled: Some(false),
        ..TrunkChange::default()
    };
    trunk::update(cx, &ann, id, change).await.unwrap();
    assert_eq!(kind(&cloud, inner, child).await, PortKind::Guest);
    assert_refused(
        trunk::remove_sub_ports(cx, &ann, id, vec![child]).await,
        Reason::Conflict,
        "TrunkDisabled",
    );
    let change = TrunkChange {
        enabled: Some(true),
        ..TrunkChange::default()
    };
    trunk::update(cx, &ann, id, change).await.unwrap();
    assert_eq!(kind(&cloud, inner, child).await, tagged);
    trunk::delete(cx, &ann, id).await.unwrap();
    assert_eq!(kind(&cloud, inner, child).await, PortKind::Guest);
    let row = port::show(cx, &ann, child).await.unwrap();
    assert_eq!(row.device_owner, "");
    port::delete(cx, &ann, child).await.unwrap();
    port::delete(cx, &ann, parent).await.unwrap();
}

#[tokio::test]
async fn ports_that_cannot_be_in_a_trunk_are_refused() {
    let cloud = Cloud::open().await;
    let (cx, ann) = (&cloud.cx, member("ann"));
    let network = cloud.network(&ann).await;
    let port = async || cloud.port(&ann, network).await.id;
    let (parent, child, other) = (port().await, port().await, port().await);
    let made = trunk::create(cx, &ann, new_trunk(parent, vec![sub(child, 7)])).await;
    let id = made.unwrap().trunk.id;
    let add = async |more| trunk::add_sub_ports(cx, &ann, id, vec![more]).await;
    let conflict = Reason::Conflict;
    assert_refused(add(sub(other, 7)).await, conflict, "DuplicateSubPort");
    assert_refused(
        add(sub(parent, 8)).await,
        conflict,
        "PortInUseAsTrunkParent",
    );
    assert_refused(add(sub(child, 8)).await, conflict, "PortInUseAsSubPort");
    assert_refused(
        add(sub(PortId::random(), 8)).await,
        Reason::NotFound,
        "PortNotFound",
    );
    for vlan in [0, 4095] {
        assert_refused(add(sub(other, vlan)).await, Reason::Invalid, "InvalidInput");
    }
    let plugged = NewPort {
        device_id: "a-guest".to_owned(),
        ..NewPort::on(network)
    };
    let plugged = cloud.port_of(&ann, plugged).await.id;
    assert_refused(add(sub(plugged, 8)).await, conflict, "PortInUse");
    let again = async |port, subs| trunk::create(cx, &ann, new_trunk(port, subs)).await;
    assert_refused(again(parent, Vec::new()).await, conflict, "ParentPortInUse");
    assert_refused(
        again(child, Vec::new()).await,
        conflict,
        "PortInUseAsSubPort",
    );
    assert_refused(
        again(other, vec![sub(child, 9)]).await,
        conflict,
        "PortInUseAsSubPort",
    );
    let narrow = NewNetwork {
        mtu: Some(1000),
        ..NewNetwork::default()
    };
    let narrow = cloud.network_of(&ann, narrow).await;
    let narrow = cloud.port(&ann, narrow).await.id;
    assert_refused(
        again(narrow, vec![sub(other, 9)]).await,
        conflict,
        "SubPortMtuGreaterThanTrunkPortMtu",
    );
    // Its ports stay while it does.
    assert_refused(
        port::delete(cx, &ann, parent).await,
        conflict,
        "PortInUseAsTrunkParent",
    );
    assert_refused(
        port::delete(cx, &ann, child).await,
        conflict,
        "PortInUseAsSubPort",
    );
    let disguise = PortChange {
        device_owner: Some(String::new()),
        ..PortChange::default()
    };
    assert_refused(
        port::update(cx, &ann, child, disguise).await,
        conflict,
        "PortInUseAsSubPort",
    );
    assert_refused(
        trunk::remove_sub_ports(cx, &ann, id, vec![other]).await,
        Reason::NotFound,
        "SubPortNotFound",
    );
    let shown = trunk::show(cx, &ann, id).await.unwrap();
    assert_eq!(shown.trunk.sub_ports, [sub(child, 7)]);
    let hidden = trunk::show(cx, &member("bob"), id).await;
    assert_refused(hidden, Reason::NotFound, "TrunkNotFound");
}
