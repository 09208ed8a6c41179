//! Hosts, allocations, services, sequences, quotas and instances: the queries with SQL of their own, on both engines.
#![allow(clippy::unwrap_used)]

use corten_model::ids::{HostId, InstanceId, ProjectId, UserId};
use corten_model::lifecycle::{InstanceClass, InstanceState, PowerState, VmState};
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use corten_store::hosts::{self, Allocation, CpuInfo, Host, HostFacts, Resources};
use corten_store::instances::{self, Flavor, Instance, Intent, Observed, SUBJECT};
use corten_store::services::{self, COMPUTE, Service, ServiceId};
use corten_store::{Store, Tx, on_both_engines, quotas, record, sequences, transitions};
use std::collections::BTreeSet;

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

const fn resources(vcpus: u64, memory_mib: u64, disk_gib: u64) -> Resources {
    Resources {
        vcpus,
        memory_mib,
        disk_gib,
    }
}

/// A host with its agent.
async fn add_host(tx: &mut Tx, name: &str, number: i64) -> Host {
    let service = Service {
        id: ServiceId::random(),
        number,
        program: COMPUTE.to_owned(),
        host: name.to_owned(),
        enabled: true,
        disabled_reason: None,
        forced_down: false,
        created_at: NOW,
        updated_at: None,
    };
    record::insert(tx, &service).await.unwrap();
    let host = Host {
        id: HostId::random(),
        number,
        name: name.to_owned(),
        service_id: service.id,
        facts: HostFacts {
            capacity: resources(8, 8192, 100),
            cpu: CpuInfo::default(),
            address: "127.0.0.1".to_owned(),
            hypervisor_type: "fake".to_owned(),
            hypervisor_version: 7_002_000,
            booted_at: NOW,
        },
        created_at: NOW,
    };
    record::insert(tx, &host).await.unwrap();
    host
}

fn allocation(host: HostId, project: &str, resources: Resources) -> Allocation {
    Allocation {
        host_id: host,
        instance_id: InstanceId::random(),
        project_id: ProjectId::from(project),
        user_id: UserId::from("ann"),
        resources,
        created_at: NOW,
    }
}

fn instance(project: &str, vcpus: i64) -> Instance {
    Instance {
        id: InstanceId::random(),
        project_id: ProjectId::from(project),
        user_id: UserId::from("ann"),
        class: InstanceClass::Vm,
        state: InstanceState {
            vm: VmState::Building,
            task: None,
            power: PowerState::NoState,
        },
        state_since: NOW,
        intent: Intent {
            name: "web".to_owned(),
            flavor: Flavor {
                vcpus,
                memory_mib: 512 * vcpus,
                ..Flavor::default()
            },
            ..Intent::default()
        },
        observed: Observed::default(),
        host_id: None,
        host_name: None,
        reservation_id: "r-1".to_owned(),
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

on_both_engines! {
    async fn hosts_are_listed_with_what_is_promised_of_them(store) {
        let mut tx = store.write().await.unwrap();
        let (busy, idle) = (add_host(&mut tx, "busy", 1).await, add_host(&mut tx, "idle", 2).await);
        services::heartbeat(&mut tx, busy.service_id, NOW).await.unwrap();
        for amount in [resources(1, 512, 10), resources(2, 1024, 0)] {
            assert!(hosts::claim(&mut tx, &allocation(busy.id, "demo", amount), |host| host.facts.capacity).await.unwrap());
        }
        tx.commit().await.unwrap();
        let mut tx = store.read().await.unwrap();
        let listed = hosts::with_usage(&mut tx).await.unwrap();
        let shown: Vec<_> = listed.iter().map(|usage| (usage.host.id, usage.used, usage.instances, usage.is_usable(NOW))).collect();
        assert_eq!(shown, [(busy.id, resources(3, 1536, 10), 2, true), (idle.id, Resources::default(), 0, false)]);
        let (count, held) = hosts::held_by(&mut tx, &ProjectId::from("demo"), None).await.unwrap();
        assert_eq!((count, held), (2, resources(3, 1536, 10)));
        let other = hosts::held_by(&mut tx, &ProjectId::from("demo"), Some(&UserId::from("bob"))).await.unwrap();
        assert_eq!(other, (0, Resources::default()));
        assert_eq!(hosts::allocations_on(&mut tx, busy.id).await.unwrap().len(), 2);
        assert_eq!(hosts::by_name(&mut tx, "idle").await.unwrap(), Some(idle));
    }

    async fn a_host_is_never_promised_twice_however_many_ask(store) {
        let mut tx = store.write().await.unwrap();
        let host = add_host(&mut tx, "small", 1).await;
        tx.commit().await.unwrap();
        let askers: Vec<_> = (0..20).map(|_| tokio::spawn(ask((**store).clone(), host.id))).collect();
        let mut granted = 0;
        for asker in askers {
            granted += u64::from(asker.await.unwrap());
        }
        assert_eq!(granted, 8, "8 processors, one for each");
        let mut tx = store.read().await.unwrap();
        let usage = hosts::with_usage(&mut tx).await.unwrap().remove(0);
        assert_eq!((usage.used.vcpus, usage.instances), (8, 8));
    }

    async fn what_is_released_can_be_promised_again(store) {
        let mut tx = store.write().await.unwrap();
        let host = add_host(&mut tx, "small", 1).await;
        let whole = allocation(host.id, "demo", resources(8, 1, 1));
        let next = allocation(host.id, "demo", resources(1, 1, 1));
        assert!(hosts::claim(&mut tx, &whole, |host| host.facts.capacity).await.unwrap());
        assert!(!hosts::claim(&mut tx, &next, |host| host.facts.capacity).await.unwrap());
        assert_eq!(hosts::release(&mut tx, whole.instance_id, Some(host.id)).await.unwrap(), 1);
        assert_eq!(hosts::release(&mut tx, whole.instance_id, None).await.unwrap(), 0);
        assert!(hosts::claim(&mut tx, &next, |host| host.facts.capacity).await.unwrap());
        let nowhere = allocation(HostId::random(), "demo", resources(1, 1, 1));
        assert!(!hosts::claim(&mut tx, &nowhere, |host| host.facts.capacity).await.unwrap());
    }

    async fn a_heartbeat_moves_only_the_moment(store) {
        let mut tx = store.write().await.unwrap();
        let host = add_host(&mut tx, "h1", 1).await;
        let later = Timestamp(NOW.micros() + 1);
        services::heartbeat(&mut tx, host.service_id, later).await.unwrap();
        let seen = services::all(&mut tx).await.unwrap().remove(0);
        assert_eq!((seen.at, seen.service.id, seen.service.updated_at), (later, host.service_id, None));
        let found = services::find(&mut tx, COMPUTE, "h1").await.unwrap();
        assert_eq!(found, Some(seen.service));
        assert_eq!(services::find(&mut tx, COMPUTE, "h2").await.unwrap(), None);
    }

    async fn a_sequence_never_gives_a_number_twice(store) {
        let mut tx = store.read().await.unwrap();
        assert!(sequences::is_untouched(&mut tx, "flavors").await.unwrap());
        drop(tx);
        let takers: Vec<_> = (0..10).map(|_| tokio::spawn(take((**store).clone()))).collect();
        let mut numbers = BTreeSet::new();
        for taker in takers {
            numbers.insert(taker.await.unwrap());
        }
        assert_eq!(numbers, (1..=10).collect());
        let mut tx = store.read().await.unwrap();
        assert!(!sequences::is_untouched(&mut tx, "flavors").await.unwrap());
    }

    async fn one_transaction_at_a_time_decides_about_a_quota(store) {
        let deciders: Vec<_> = (0..12).map(|_| tokio::spawn(decide((**store).clone()))).collect();
        let mut allowed = 0;
        for decider in deciders {
            allowed += u64::from(decider.await.unwrap());
        }
        assert_eq!(allowed, 5, "the quota is 5 instances");
        let mut tx = store.write().await.unwrap();
        quotas::delete_project(&mut tx, &ProjectId::from("demo")).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn a_change_of_state_is_counted_and_logged(store) {
        let origin = Origin::system();
        let mut tx = store.write().await.unwrap();
        let mut server = instance("demo", 2);
        instances::insert(&mut tx, &server, "asked for", &origin).await.unwrap();
        instances::insert(&mut tx, &instance("demo", 3), "asked for", &origin).await.unwrap();
        instances::insert(&mut tx, &instance("other", 9), "asked for", &origin).await.unwrap();
        let later = Timestamp(NOW.micros() + 5_000_000);
        let active = InstanceState { vm: VmState::Active, task: None, power: PowerState::Running };
        instances::change_state(&mut tx, &mut server, active, "booted", &origin, later).await.unwrap();
        let usage = instances::usage(&mut tx, &ProjectId::from("demo")).await.unwrap();
        assert_eq!((usage.instances, usage.vcpus, usage.memory_mib), (2, 5, 2560));
        let log = transitions::of_subject(&mut tx, SUBJECT, &server.id.to_string()).await.unwrap();
        let story: Vec<_> = log.iter().map(|entry| (entry.why.as_str(), entry.lasted_micros)).collect();
        assert_eq!(story, [("asked for", 0), ("booted", 5_000_000)]);
        assert_eq!(log[1].from.as_deref(), Some(log[0].to.as_str()));
        let gone = InstanceState { vm: VmState::Deleted, ..active };
        instances::change_state(&mut tx, &mut server, gone, "deleted", &origin, later).await.unwrap();
        let usage = instances::usage(&mut tx, &ProjectId::from("demo")).await.unwrap();
        assert_eq!((usage.instances, usage.vcpus), (1, 3), "what is deleted takes nothing");
        assert_eq!(instances::get(&mut tx, server.id).await.unwrap(), None);
        let nothing = instances::usage(&mut tx, &ProjectId::from("nobody")).await.unwrap();
        assert_eq!(nothing, instances::Usage::default());
    }
}

/// Asks for one processor of a host.
async fn ask(store: Store, host: HostId) -> bool {
    let mut tx = store.write().await.unwrap();
    let wanted = allocation(host, "demo", resources(1, 1, 1));
    let granted = hosts::claim(&mut tx, &wanted, |host| host.facts.capacity)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    granted
}

async fn take(store: Store) -> i64 {
    let mut tx = store.write().await.unwrap();
    let number = sequences::next(&mut tx, "flavors").await.unwrap();
    tx.commit().await.unwrap();
    number
}

/// Adds an instance if there are fewer than five.
async fn decide(store: Store) -> bool {
    let project = ProjectId::from("demo");
    let mut tx = store.write().await.unwrap();
    quotas::serialize(&mut tx, &project).await.unwrap();
    let allowed = instances::usage(&mut tx, &project).await.unwrap().instances < 5;
    if allowed {
        instances::insert(&mut tx, &instance("demo", 1), "", &Origin::system())
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    allowed
}
