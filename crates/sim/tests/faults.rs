//! What goes wrong on order: failures, lost answers, outages, slowness, stale workers, crashes. And a large fleet.
#![allow(clippy::unwrap_used)]

mod common;

use common::Lab;
use corten_host::{ExitCause, Fence, GuestChange, Hands, HostError, Power, Report, Task};
use corten_model::ids::{InstanceId, OperationId};
use corten_sim::{SimConfig, SimHost, TaskKind};
use std::time::Duration;
use tokio::time::Instant;

fn full_disk() -> HostError {
    HostError::DiskFull {
        path: "/guests".into(),
        needed: Some(1),
        available: 0,
    }
}

#[tokio::test]
async fn the_next_tasks_of_a_kind_fail_and_do_nothing() {
    let lab = Lab::new().await;
    lab.host.fail_next(TaskKind::CreateGuest, 2, full_disk());
    for _ in 0..2 {
        let create = Task::CreateGuest { spec: lab.spec() };
        assert_eq!(lab.perform(create).await, Err(full_disk()));
    }
    assert!(lab.host.leaks().guests.is_empty());
    lab.created().await;
    assert_eq!(lab.host.performed(TaskKind::CreateGuest), 1);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_work_done() {
    let lab = Lab::new().await;
    let id = lab.created().await;
    lab.host.lose_answers(TaskKind::Start, 1, full_disk());
    assert_eq!(lab.perform(Task::Start { id }).await, Err(full_disk()));
    assert_eq!(lab.power(id).await, Power::Running);
    assert_eq!(lab.perform(Task::Start { id }).await, Ok(Report::Already));
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_is_refused_even_after_the_guest_is_gone() {
    let lab = Lab::new().await;
    let spec = lab.spec();
    let (id, operation) = (spec.id, OperationId::random());
    let create = Task::CreateGuest { spec };
    lab.perform_as(operation, 7, create.clone()).await.unwrap();
    lab.perform_as(operation, 8, Task::DeleteGuest { id })
        .await
        .unwrap();
    let expected = HostError::Fenced {
        id,
        operation,
        epoch: 7,
        seen: 8,
    };
    assert_eq!(
        lab.perform_as(operation, 7, create.clone()).await,
        Err(expected)
    );
    assert!(
        lab.host.leaks().guests.is_empty(),
        "the straggler made a guest"
    );
    let superseded = lab
        .perform_as(OperationId::random(), 6, create.clone())
        .await;
    assert!(
        matches!(superseded, Err(HostError::Fenced { seen: 8, .. })),
        "{superseded:?}"
    );
    lab.perform_as(operation, 9, create).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outage_ends_by_itself_or_by_healing() {
    let lab = Lab::new().await;
    let id = lab.running().await;
    lab.host.cut_off_for(Duration::from_secs(30));
    let error = lab.host.observe(id).await.unwrap_err();
    assert!(
        error.is_transient() && error.to_string().contains("sim-1"),
        "{error}"
    );
    assert!(lab.perform(Task::Pause { id }).await.is_err());
    assert!(lab.host.capacity().await.is_err());
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(
        lab.power(id).await,
        Power::Running,
        "the task of the outage had no effect"
    );
    lab.host.cut_off();
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(lab.host.observe_all().await.is_err());
    lab.host.heal();
    assert_eq!(lab.host.observe_all().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_task_goes_on_when_its_caller_leaves_and_others_wait_for_it() {
    let lab = Lab::new().await;
    let id = lab.created().await;
    lab.host.delay(TaskKind::Start, Duration::from_secs(10));
    let begun = Instant::now();
    let impatient = tokio::time::timeout(Duration::from_secs(1), lab.perform(Task::Start { id }));
    assert!(impatient.await.is_err(), "it takes 10 s");
    assert_eq!(lab.power(id).await, Power::Shutdown);
    // Comes second, so it finds the guest running.
    assert_eq!(lab.perform(Task::Pause { id }).await, Ok(Report::Done));
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert_eq!(lab.power(id).await, Power::Paused);
}

#[tokio::test]
async fn a_crash_is_told_and_seen() {
    let lab = Lab::new().await;
    let id = lab.running().await;
    let mut events = lab.host.subscribe();
    assert!(lab.host.crash(id));
    assert!(!lab.host.crash(id), "it is dead already");
    let event = events.try_recv().unwrap();
    assert!(
        matches!(
            &event.change,
            GuestChange::Ended {
                cause: ExitCause::Died { .. }
            }
        ),
        "{event:?}"
    );
    let observation = lab.host.observe(id).await.unwrap().unwrap();
    assert_eq!((observation.power, observation.pid), (Power::Crashed, None));
    lab.perform(Task::Start { id }).await.unwrap();
    assert_eq!(lab.power(id).await, Power::Running);
    lab.host.reboot_host();
    let observation = lab.host.observe(id).await.unwrap().unwrap();
    assert_eq!(
        (observation.power, observation.last_exit),
        (Power::Shutdown, Some(ExitCause::HostRebooted))
    );
}

#[tokio::test]
async fn leaks_name_every_file_and_process() {
    let lab = Lab::new().await;
    let id = lab.running().await;
    let image = lab.image.clone();
    lab.perform(Task::Rescue {
        id,
        image,
        config_drive: None,
    })
    .await
    .unwrap();
    let leaks = lab.host.leaks();
    let files = ["config.iso", "rescue.qcow2", "root.qcow2"].map(|file| format!("{id}/{file}"));
    assert_eq!(leaks.disks, files);
    assert_eq!((leaks.guests, leaks.processes), (vec![id], vec![id]));
    assert_eq!(leaks.images, std::slice::from_ref(&lab.image.sha512));
    lab.perform(Task::DeleteGuest { id }).await.unwrap();
    let leaks = lab.host.leaks();
    assert!(!leaks.is_empty(), "the image is still cached");
    assert!(leaks.without_images().is_empty(), "{leaks}");
}

#[tokio::test]
async fn memory_of_guests_that_are_gone_is_bounded() {
    let lab = Lab::new().await;
    for _ in 0..2_000 {
        let id = InstanceId::random();
        lab.perform(Task::DeleteGuest { id }).await.unwrap();
    }
    let survivor = lab.running().await;
    assert_eq!(lab.power(survivor).await, Power::Running);
    assert!(
        lab.host.remembered() <= 600,
        "{} guests remembered",
        lab.host.remembered()
    );
}

#[tokio::test]
async fn ten_thousand_hosts_fit_in_one_process() {
    let before = resident_mib();
    let hosts: Vec<_> = (0..10_000)
        .map(|number| SimHost::new(SimConfig::named(format!("sim-{number}"))))
        .collect();
    let lab = Lab::new().await;
    let fence = Fence {
        operation: OperationId::random(),
        epoch: 1,
    };
    for host in &hosts {
        let image = lab.image.clone();
        host.perform(fence, Task::EnsureImage { image })
            .await
            .unwrap();
        let spec = lab.spec();
        let id = spec.id;
        host.perform(fence, Task::CreateGuest { spec })
            .await
            .unwrap();
        host.perform(fence, Task::Start { id }).await.unwrap();
    }
    let used = resident_mib() - before;
    assert!(used < 200, "{used} MiB for 10,000 hosts with a guest each");
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        >> 10
}
