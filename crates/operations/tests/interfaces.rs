//! Network cards of instances: attached and detached under every disturbance, and what stop, shelve and delete leave
//! (K9, K69).
#![allow(clippy::unwrap_used, clippy::panic)]

mod harness;

use corten_host::HostError;
use corten_model::ids::InstanceId;
use corten_model::lifecycle::Command;
use corten_model::refusal::Reason;
use corten_network::plan::{Plan, Unit};
use corten_operations::instance::command::Rebuild;
use corten_operations::instance::edit::{self, Update};
use corten_operations::instance::networks::{Asked, Networks};
use corten_operations::instance::{addresses, command, interface, metadata, new, reshape};
use corten_operations::network::dns::{self, Found};
use corten_operations::network::network::{self, NetworkChange};
use corten_operations::network::port::{self, NewPort, PortChange};
use corten_operations::quota;
use corten_sim::TaskKind;
use corten_store::instances::Instance;
use corten_store::network::port::Port;
use corten_store::{Failure, Query, record, transitions};
use harness::network::{add_public_ip, given_id, network_id, own_admin, public_ips, spare_id};
use harness::{Cloud, End, image_id, member, survive_everything};
use std::collections::BTreeSet;

async fn attach(cloud: &Cloud, id: InstanceId, asked: Asked) {
    interface::accept_attach(&cloud.cx, &member(), id, asked)
        .await
        .unwrap();
}

fn on_the_network() -> Asked {
    Asked {
        network_id: Some(network_id()),
        ..Asked::default()
    }
}

#[tokio::test]
async fn attach_a_card_with_a_port_of_its_own() {
    survive_everything(
        async |cloud| cloud.running().await,
        async |cloud, id| attach(cloud, id, on_the_network()).await,
    )
    .await;
}

#[tokio::test]
async fn attach_a_port_that_was_given() {
    let asked = || Asked {
        port_id: Some(spare_id()),
        ..Asked::default()
    };
    survive_everything(
        async |cloud| cloud.running().await,
        async |cloud, id| attach(cloud, id, asked()).await,
    )
    .await;
}

#[tokio::test]
async fn detach() {
    let ask = async |cloud: &Cloud, id: InstanceId| {
        let port = cloud.instance(id).await.intent.nics[0].port_id;
        interface::detach(&cloud.cx, &member(), id, port)
            .await
            .unwrap();
    };
    survive_everything(async |cloud| cloud.running().await, ask).await;
}

/// A host that cannot plug the card ends the attach: the guest, its cards and the ports are as before.
#[tokio::test]
async fn a_card_that_cannot_be_plugged_leaves_nothing() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    let before = cloud.end(id).await;
    for (_, sim) in &cloud.hosts {
        let error = HostError::ImageNotCached {
            sha512: "00".to_owned(),
        };
        sim.fail_next(TaskKind::AttachNic, 1, error);
    }
    attach(&cloud, id, on_the_network()).await;
    cloud.drain().await;
    cloud.assert_nothing_leaked("not plugged").await;
    assert_eq!(cloud.end(id).await, before);
}

/// A guest that starts again is told of the cards that it has then.
#[tokio::test]
async fn the_config_drive_tells_of_the_cards_that_there_are() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    assert_eq!(cloud.end(id).await.described_cards, 2);
    attach(&cloud, id, on_the_network()).await;
    cloud.drain().await;
    let End {
        described_cards,
        cards,
        ..
    } = cloud.end(id).await;
    assert_eq!((described_cards, cards.len()), (3, 3));
    for left in [2, 1] {
        let port = cloud.instance(id).await.intent.nics[0].port_id;
        let detached = interface::detach(&cloud.cx, &member(), id, port).await;
        detached.unwrap();
        cloud.drain().await;
        assert_eq!(cloud.end(id).await.described_cards, left);
    }
}

/// A config drive that cannot be written keeps no card: the attach is undone, and the drive tells what there is.
#[tokio::test]
async fn a_card_that_cannot_be_told_of_is_not_attached() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    let before = cloud.end(id).await;
    for (_, sim) in &cloud.hosts {
        let error = HostError::ImageNotCached {
            sha512: "00".to_owned(),
        };
        sim.fail_next(TaskKind::UpdateConfigDrive, 1, error);
    }
    attach(&cloud, id, on_the_network()).await;
    cloud.drain().await;
    cloud.assert_nothing_leaked("not described").await;
    assert_eq!(cloud.end(id).await, before);
}

/// K9: the ports are made in the state that says so.
#[tokio::test]
async fn networking_is_a_state_of_its_own() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    let mut tx = cloud.store.read().await.unwrap();
    let log = transitions::of_subject(&mut tx, "instance", &id.to_string())
        .await
        .unwrap();
    let states: Vec<_> = log
        .iter()
        .map(|transition| transition.to.as_str())
        .collect();
    assert!(states.contains(&"Networking"), "{states:?}");
}

/// K69: an ephemeral public IP lasts until the instance stops, is shelved or deleted; a static one stays.
#[tokio::test]
async fn ephemeral_public_ips_end_with_stop_shelve_and_delete() {
    for end in ["stop", "shelve", "delete"] {
        let cloud = Cloud::open().await;
        let id = cloud.running().await;
        add_public_ip(&cloud, id, 0, "10.0.0.210", true).await;
        add_public_ip(&cloud, id, 1, "10.0.0.211", false).await;
        match end {
            "stop" => cloud.simple(id, Command::Stop).await,
            "shelve" => reshape::shelve(&cloud.cx, &member(), id).await.unwrap(),
            _ => command::delete(&cloud.cx, &member(), id).await.unwrap(),
        }
        cloud.drain().await;
        let left: Vec<_> = public_ips(&cloud)
            .await
            .iter()
            .map(|ip| ip.ephemeral)
            .collect();
        assert_eq!(left, [false], "{end}");
        cloud.assert_nothing_leaked(end).await;
    }
}

async fn refusal_of(cloud: &Cloud, networks: Networks) -> (Reason, String) {
    let request = new::NewInstances {
        name: "refused".to_owned(),
        flavor_id: Some("1".into()),
        image_id: Some(image_id()),
        networks,
        min_count: 1,
        max_count: 1,
        ..new::NewInstances::default()
    };
    match new::create(&cloud.cx, &member(), request).await {
        Err(Failure::Refused(refusal)) => (refusal.reason, refusal.message),
        other => panic!("a refusal was expected: {other:?}"),
    }
}

/// What a create names that it cannot have is refused before anything is made.
#[tokio::test]
async fn creates_on_networks_that_cannot_be_are_refused() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    let taken = addresses::of(&cloud.cx, &[cloud.instance(id).await])
        .await
        .unwrap();
    let taken = taken[&id].all().next().unwrap().address;
    let cases = [
        (
            Asked {
                network_id: Some(corten_model::ids::NetworkId::random()),
                ..Asked::default()
            },
            Reason::Invalid,
            "could not be found",
        ),
        (
            Asked {
                port_id: Some(corten_model::ids::PortId::random()),
                ..Asked::default()
            },
            Reason::Invalid,
            "could not be found",
        ),
        (
            Asked {
                port_id: Some(given_id()),
                ..Asked::default()
            },
            Reason::Conflict,
            "is still in use",
        ),
        (
            Asked {
                fixed_ip: Some(taken),
                ..on_the_network()
            },
            Reason::Invalid,
            "is already in use on instance",
        ),
        (
            Asked {
                fixed_ip: Some("192.0.2.1".parse().unwrap()),
                ..on_the_network()
            },
            Reason::Invalid,
            "is not a valid IP",
        ),
    ];
    for (asked, reason, text) in cases {
        let (found, message) = refusal_of(&cloud, Networks::These(vec![asked])).await;
        assert_eq!(found, reason, "{message}");
        assert!(message.contains(text), "{message}");
    }
    let twice = vec![
        Asked {
            port_id: Some(spare_id()),
            ..Asked::default()
        },
        Asked {
            port_id: Some(spare_id()),
            ..Asked::default()
        },
    ];
    let (reason, message) = refusal_of(&cloud, Networks::These(twice)).await;
    assert_eq!(reason, Reason::Invalid, "{message}");
    cloud.assert_nothing_leaked("refused").await;
    let mut tx = cloud.store.read().await.unwrap();
    let spare: Port = record::get(&mut tx, spare_id()).await.unwrap().unwrap();
    assert_eq!(spare.device_id, "", "a refused create takes no port");
    let ports: Vec<Port> = Query::new().all(&mut tx).await.unwrap();
    assert_eq!(ports.len(), 3);
}

/// The addresses of servers have a quota of their own, which the compute API of old sets.
#[tokio::test]
async fn servers_have_as_many_addresses_as_the_quota_grants() {
    let cloud = Cloud::open().await;
    let limits = [("fixed_ips".to_owned(), 2)].into();
    quota::set_class(&cloud.cx, &own_admin(), quota::DEFAULT_CLASS, limits)
        .await
        .unwrap();
    let id = cloud.running().await;
    assert_eq!(cloud.end(id).await.cards.len(), 2);
    let (reason, message) = refusal_of(&cloud, Networks::These(vec![on_the_network()])).await;
    assert_eq!(reason, Reason::OverQuota, "{message}");
    let spare = Asked {
        port_id: Some(spare_id()),
        ..Asked::default()
    };
    for asked in [on_the_network(), spare] {
        let attached = interface::accept_attach(&cloud.cx, &member(), id, asked).await;
        let Err(Failure::Refused(refusal)) = attached else {
            panic!("a refusal was expected: {attached:?}");
        };
        assert_eq!(refusal.reason, Reason::OverQuota, "{}", refusal.message);
    }
    let added = interface::add_address(&cloud.cx, &member(), id, network_id()).await;
    let Err(Failure::Refused(refusal)) = added else {
        panic!("a refusal was expected: {added:?}");
    };
    assert_eq!(refusal.reason, Reason::OverQuota, "{}", refusal.message);
    cloud.assert_nothing_leaked("over quota").await;
    let port = cloud.instance(id).await.intent.nics[0].port_id;
    interface::detach(&cloud.cx, &member(), id, port)
        .await
        .unwrap();
    cloud.drain().await;
    attach(&cloud, id, on_the_network()).await;
    cloud.drain().await;
    assert_eq!(cloud.end(id).await.cards.len(), 2);
}

/// The names that the fabric answers in the harness's network.
fn names(cloud: &Cloud) -> BTreeSet<String> {
    let plan = cloud.fabric.plans().remove(&Unit::Network(network_id()));
    let Some(Plan::Network(plan)) = plan else {
        panic!("the fabric does not have the network");
    };
    let names = plan.ports.iter().flat_map(|port| &port.dns_names);
    names.map(|(name, _)| name.clone()).collect()
}

/// A guest is known by its host name; a port that was given a name of its own keeps it.
#[tokio::test]
async fn names_follow_the_host_name() {
    let cloud = Cloud::open().await;
    let named = PortChange {
        dns_name: Some("front".to_owned()),
        ..PortChange::default()
    };
    let named = port::update(&cloud.cx, &member(), given_id(), named).await;
    named.unwrap();
    let id = cloud.running().await;
    let known = |names: &[&str]| {
        let names = names.iter().map(|name| format!("{name}.cloud.internal"));
        names.collect::<BTreeSet<_>>()
    };
    // The spare port has no name of its own.
    let wanted = known(&["front", "guest", "host-10-0-0-201"]);
    assert_eq!(names(&cloud), wanted);
    let update = Update {
        hostname: Some("db".to_owned()),
        ..Update::default()
    };
    edit::update(&cloud.cx, &member(), id, update)
        .await
        .unwrap();
    cloud.drain().await;
    assert_eq!(names(&cloud), known(&["db", "front", "host-10-0-0-201"]));
    let change = Rebuild {
        hostname: Some("web".to_owned()),
        ..Rebuild::default()
    };
    command::rebuild(&cloud.cx, &member(), id, change)
        .await
        .unwrap();
    cloud.drain().await;
    assert_eq!(names(&cloud), known(&["front", "host-10-0-0-201", "web"]));
    cloud.assert_nothing_leaked("renamed").await;

    let find = async |name: &str| dns::find(&cloud.cx, network_id(), name).await.unwrap();
    let front = Found::Addresses(vec!["10.0.0.200".parse().unwrap()]);
    assert_eq!(find("front.cloud.internal").await, front);
    for nobody in [
        "db.cloud.internal",
        "cloud.internal",
        "a.front.cloud.internal",
    ] {
        assert_eq!(find(nobody).await, Found::Nothing, "{nobody}");
    }
    for outside in ["www.example.org", "front.mycloud.internal", "internal", ""] {
        assert_eq!(find(outside).await, Found::Elsewhere, "{outside}");
    }
    // A domain of the network's own may have names that others publish.
    let change = NetworkChange {
        dns_domain: Some("Example.org.".to_owned()),
        ..NetworkChange::default()
    };
    network::update(&cloud.cx, &member(), network_id(), change)
        .await
        .unwrap();
    assert_eq!(find("front.example.org").await, front);
    for outside in ["www.example.org", "front.cloud.internal"] {
        assert_eq!(find(outside).await, Found::Elsewhere, "{outside}");
    }
}

/// Who asks the metadata service is known by network and address alone.
#[tokio::test]
async fn metadata_is_found_by_network_and_address() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    let shown = addresses::of(&cloud.cx, &[cloud.instance(id).await])
        .await
        .unwrap();
    let address = shown[&id].all().next().unwrap().address;
    let found = metadata::of(&cloud.cx, network_id(), address)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.instance.id, id);
    assert_eq!(found.admin_pass, None, "only the config drive has it");
    assert_eq!(found.cards.len(), 2);
    // A port that only says that it is the instance's is told nothing.
    let forged = NewPort {
        device_id: id.to_string(),
        ..NewPort::on(network_id())
    };
    let forged = port::create(&cloud.cx, &member(), vec![forged])
        .await
        .unwrap();
    let forged = forged[0].addresses[0].ip_address;
    assert!(
        metadata::of(&cloud.cx, network_id(), forged)
            .await
            .unwrap()
            .is_none()
    );
    let elsewhere = corten_model::ids::NetworkId::random();
    assert!(
        metadata::of(&cloud.cx, elsewhere, address)
            .await
            .unwrap()
            .is_none()
    );
    let nobody = "10.0.0.77".parse().unwrap();
    assert!(
        metadata::of(&cloud.cx, network_id(), nobody)
            .await
            .unwrap()
            .is_none()
    );
}

/// However many servers a page has, their addresses are read with the same few statements.
#[tokio::test]
async fn the_addresses_of_a_page_are_a_few_statements() {
    let cloud = Cloud::open().await;
    let request = new::NewInstances {
        name: "many".to_owned(),
        flavor_id: Some("1".into()),
        image_id: Some(image_id()),
        networks: Networks::These(vec![on_the_network(), on_the_network()]),
        min_count: 8,
        max_count: 8,
        ..new::NewInstances::default()
    };
    new::create(&cloud.cx, &member(), request).await.unwrap();
    cloud.drain().await;
    let mut tx = cloud.store.read().await.unwrap();
    let page: Vec<Instance> = Query::new().all(&mut tx).await.unwrap();
    drop(tx);
    let before = cloud.store.statements();
    let shown = addresses::of(&cloud.cx, &page).await.unwrap();
    let asked = cloud.store.statements() - before;
    assert!((1..=8).contains(&asked), "{asked} statements");
    let all = |id: &InstanceId| shown[id].all().count();
    assert!(page.iter().all(|one| all(&one.id) == 2), "{shown:?}");
}
