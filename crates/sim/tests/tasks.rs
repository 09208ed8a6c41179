//! Every task on a simulated guest: what it reaches, that repeating it changes nothing, and what it refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Lab, nic, volume};
use corten_host::{
    DiskFormat, ExitCause, GuestChange, GuestSpec, Hands, HostError, Power, RebootKind, Report,
    Shape, StopKind, Task,
};
use corten_model::ids::{InstanceId, OperationId};
use corten_sim::SimConfig;
use std::collections::BTreeMap;

#[tokio::test]
async fn every_task_given_twice_ends_as_if_given_once() {
    let lab = Lab::new().await;
    let directory = tempfile::tempdir().unwrap();
    let spec = lab.spec();
    let id = spec.id;
    let nic = nic();
    let course = [
        Task::CreateGuest { spec: spec.clone() },
        Task::Start { id },
        Task::Pause { id },
        Task::Unpause { id },
        Task::Suspend { id },
        Task::Resume { id },
        Task::AttachDisk {
            id,
            disk: volume("v1"),
        },
        Task::AttachNic { id, nic },
        Task::Reshape {
            id,
            shape: Shape {
                vcpus: 4,
                ..spec.shape()
            },
            graceful_secs: Some(60),
        },
        Task::RevertShape { id },
        Task::ConfirmShape { id },
        Task::Start { id },
        Task::Snapshot {
            id,
            target: directory.path().join("snapshot.qcow2"),
            format: DiskFormat::Qcow2,
        },
        Task::DetachDisk {
            id,
            disk: "v1".to_owned(),
        },
        Task::DetachNic { id, port: nic.port },
        Task::Rescue {
            id,
            image: lab.image.clone(),
            config_drive: None,
        },
        Task::Unrescue { id },
        Task::Reboot {
            id,
            graceful_secs: Some(60),
        },
        Task::Stop {
            id,
            graceful_secs: Some(60),
        },
        Task::UpdateConfigDrive {
            id,
            config_drive: None,
        },
        Task::Rebuild { spec },
        Task::DeleteGuest { id },
        Task::DropImage {
            sha512: lab.image.sha512.clone(),
        },
    ];
    for task in course {
        let first = lab.perform(task.clone()).await.unwrap();
        let after_first = (lab.host.observe(id).await.unwrap(), lab.host.leaks());
        let second = lab.perform(task.clone()).await.unwrap();
        let after_second = (lab.host.observe(id).await.unwrap(), lab.host.leaks());
        assert_eq!(
            after_first, after_second,
            "{task:?}: {first:?}, then {second:?}"
        );
    }
    assert!(lab.host.leaks().is_empty(), "{}", lab.host.leaks());
}

#[tokio::test]
async fn a_task_that_the_state_forbids_names_the_state_and_the_way_out() {
    let lab = Lab::new().await;
    let id = lab.created().await;
    for task in [
        Task::Pause { id },
        Task::Unpause { id },
        Task::Suspend { id },
        Task::Resume { id },
        Task::ResetGuest { id },
    ] {
        let error = lab.perform(task.clone()).await.unwrap_err();
        let HostError::WrongState { state, rule, .. } = &error else {
            panic!("{task:?}: {error}");
        };
        assert_eq!(state, "shut down");
        assert!(rule.contains("start it"), "{rule}");
    }
    lab.perform(Task::Start { id }).await.unwrap();
    lab.perform(Task::Suspend { id }).await.unwrap();
    assert_eq!(lab.power(id).await, Power::Suspended);
    let error = lab.perform(Task::Start { id }).await.unwrap_err();
    assert!(
        error.to_string().contains("suspended: resume it"),
        "{error}"
    );
}

#[tokio::test]
async fn a_guest_that_is_not_here_is_named() {
    let lab = Lab::new().await;
    let id = InstanceId::random();
    let expected = HostError::NoSuchGuest { id };
    assert_eq!(lab.perform(Task::Start { id }).await, Err(expected.clone()));
    assert_eq!(lab.host.console_log(id, None).await, Err(expected.clone()));
    assert_eq!(lab.host.diagnostics(id).await, Err(expected));
    assert_eq!(lab.host.observe(id).await, Ok(None));
    assert_eq!(
        lab.perform(Task::DeleteGuest { id }).await,
        Ok(Report::Already)
    );
}

#[tokio::test]
async fn one_operation_reboots_once_and_another_reboots_again() {
    let lab = Lab::new().await;
    let id = lab.running().await;
    let (first, second) = (OperationId::random(), OperationId::random());
    let soft = Task::Reboot {
        id,
        graceful_secs: Some(60),
    };
    let kind = async |operation, epoch| match lab.perform_as(operation, epoch, soft.clone()).await {
        Ok(Report::Rebooted { kind }) => kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(first, 1).await, RebootKind::Soft);
    assert_eq!(kind(first, 2).await, RebootKind::AlreadyDone);
    assert_eq!(kind(second, 3).await, RebootKind::Soft);
    lab.host.set_obedience(id, false);
    assert_eq!(
        kind(OperationId::random(), 4).await,
        RebootKind::SoftTurnedHard
    );
    let boots = lab.console(id).await.matches("Linux version").count();
    assert_eq!(boots, 4, "the start and three reboots");
}

#[tokio::test]
async fn a_stop_asks_first_and_cuts_the_power_of_a_guest_that_does_not_listen() {
    let lab = Lab::new().await;
    let stop = |id| Task::Stop {
        id,
        graceful_secs: Some(60),
    };
    let obedient = lab.running().await;
    let stopped = |kind| Ok(Report::Stopped { kind });
    assert_eq!(
        lab.perform(stop(obedient)).await,
        stopped(StopKind::Graceful)
    );
    assert_eq!(
        lab.perform(stop(obedient)).await,
        stopped(StopKind::AlreadyOff)
    );
    let deaf = lab.running().await;
    lab.host.set_obedience(deaf, false);
    assert_eq!(lab.perform(stop(deaf)).await, stopped(StopKind::PowerCut));
    let paused = lab.running().await;
    lab.perform(Task::Pause { id: paused }).await.unwrap();
    assert_eq!(lab.perform(stop(paused)).await, stopped(StopKind::PowerCut));
    assert_eq!(lab.power(paused).await, Power::Shutdown);
}

#[tokio::test]
async fn a_spec_that_cannot_be_is_refused_and_leaves_nothing() {
    let lab = Lab::with(SimConfig {
        image_virtual_size_bytes: 3 << 30,
        ..SimConfig::default()
    })
    .await;
    let create = async |change: &dyn Fn(&mut GuestSpec)| {
        let mut spec = lab.spec();
        change(&mut spec);
        lab.perform(Task::CreateGuest { spec }).await.unwrap_err()
    };
    let too_small = create(&|_| ()).await;
    assert!(
        matches!(too_small, HostError::RootDiskTooSmall { root_gib: 1, needed_bytes } if needed_bytes == 3 << 30),
        "{too_small}"
    );
    let unknown = create(&|spec| {
        spec.machine_properties = BTreeMap::from([("hw_disk_bus".to_owned(), "ide".to_owned())]);
    })
    .await;
    assert!(
        unknown.to_string().contains("virtio, scsi, sata"),
        "{unknown}"
    );
    let elsewhere = create(&|spec| {
        if let Some(image) = &mut spec.image {
            image.sha512 = "00".repeat(64);
        }
    })
    .await;
    assert!(
        elsewhere.to_string().contains("ensure it first"),
        "{elsewhere}"
    );
    assert_eq!(lab.host.leaks().without_images(), Default::default());
}

#[tokio::test]
async fn an_image_stays_while_a_guest_stands_on_it() {
    let lab = Lab::new().await;
    let id = lab.created().await;
    let sha512 = lab.image.sha512.clone();
    let drop_image = Task::DropImage {
        sha512: sha512.clone(),
    };
    assert_eq!(
        lab.perform(drop_image.clone()).await,
        Err(HostError::ImageInUse { sha512, id })
    );
    lab.perform(Task::DeleteGuest { id }).await.unwrap();
    lab.perform(drop_image).await.unwrap();
    assert!(lab.host.leaks().is_empty(), "{}", lab.host.leaks());
}

#[tokio::test]
async fn events_tell_the_story_of_a_guest() {
    let lab = Lab::new().await;
    let mut events = lab.host.subscribe();
    let id = lab.running().await;
    for task in [
        Task::Pause { id },
        Task::Unpause { id },
        Task::ResetGuest { id },
        Task::DeleteGuest { id },
    ] {
        lab.perform(task).await.unwrap();
    }
    let mut story = Vec::new();
    while let Ok(event) = events.try_recv() {
        assert_eq!(event.id, id);
        story.push(event.change);
    }
    let GuestChange::Started { pid } = story[0] else {
        panic!("{story:?}");
    };
    let expected = [
        GuestChange::Started { pid },
        GuestChange::Resumed,
        GuestChange::Paused,
        GuestChange::Resumed,
        GuestChange::Reset,
        GuestChange::Ended {
            cause: ExitCause::Requested,
        },
    ];
    assert_eq!(story, expected);
}

#[tokio::test]
async fn the_console_log_grows_with_each_boot_and_is_bounded() {
    let lab = Lab::new().await;
    let id = lab.running().await;
    let tail = lab.host.console_log(id, Some(2)).await.unwrap();
    assert_eq!(
        String::from_utf8(tail).unwrap(),
        "reached userland\nweb login: \n"
    );
    lab.host.write_console(id, &"x".repeat(1 << 20));
    let length = lab.console(id).await.len();
    assert!((1..=64 << 10).contains(&length), "{length} bytes");
}

#[tokio::test]
async fn diagnostics_and_capacity_show_what_runs() {
    let lab = Lab::new().await;
    let id = lab.running().await;
    let diagnostics = lab.host.diagnostics(id).await.unwrap();
    assert_eq!(
        (diagnostics.cpus.len(), diagnostics.memory_maximum_mib),
        (2, 512)
    );
    assert!(diagnostics.config_drive);
    let capacity = lab.host.capacity().await.unwrap();
    assert_eq!((capacity.memory_used_mib, capacity.disk_used_gib), (512, 1));
    lab.perform(Task::Stop {
        id,
        graceful_secs: None,
    })
    .await
    .unwrap();
    assert_eq!(lab.host.capacity().await.unwrap().memory_used_mib, 0);
    let error = lab.host.diagnostics(id).await.unwrap_err();
    assert!(matches!(error, HostError::WrongState { .. }), "{error}");
}

#[tokio::test]
async fn a_snapshot_is_a_file_of_the_root_disks_size() {
    let lab = Lab::new().await;
    let id = lab.running().await;
    let directory = tempfile::tempdir().unwrap();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let target = directory.path().join(format.as_str());
        let task = Task::Snapshot {
            id,
            target: target.clone(),
            format,
        };
        let Report::Snapshot {
            virtual_size_bytes,
            size_bytes,
            ..
        } = lab.perform(task).await.unwrap()
        else {
            panic!("no snapshot");
        };
        assert_eq!(virtual_size_bytes, 1 << 30);
        assert_eq!(target.metadata().unwrap().len(), size_bytes);
    }
    let header = std::fs::read(directory.path().join("qcow2")).unwrap();
    assert_eq!(
        (&header[..4], &header[24..32]),
        (b"QFI\xfb".as_slice(), (1u64 << 30).to_be_bytes().as_slice())
    );
    let vmdk = Task::Snapshot {
        id,
        target: directory.path().join("vmdk"),
        format: DiskFormat::Vmdk,
    };
    let error = lab.perform(vmdk).await.unwrap_err();
    assert!(error.to_string().contains("use raw or qcow2"), "{error}");
}

#[tokio::test]
async fn a_reshape_can_be_gone_back_from_until_it_is_confirmed() {
    let lab = Lab::new().await;
    let id = lab.running().await;
    let small = lab.spec().shape();
    let large = Shape {
        vcpus: 4,
        root_gib: 8,
        ..small
    };
    let reshape = |shape| Task::Reshape {
        id,
        shape,
        graceful_secs: Some(60),
    };
    let by = OperationId::random();
    assert_eq!(
        lab.perform_as(by, 2, reshape(large)).await,
        Ok(Report::Done)
    );
    assert_eq!(lab.power(id).await, Power::Shutdown);
    assert_eq!(
        lab.perform_as(by, 3, reshape(large)).await,
        Ok(Report::Already)
    );
    lab.perform_as(by, 3, Task::Start { id }).await.unwrap();
    assert_eq!(lab.host.diagnostics(id).await.unwrap().cpus.len(), 4);
    lab.perform_as(by, 4, Task::RevertShape { id })
        .await
        .unwrap();
    lab.perform_as(by, 4, Task::Start { id }).await.unwrap();
    assert_eq!(lab.host.diagnostics(id).await.unwrap().cpus.len(), 2);
}

#[tokio::test]
async fn a_reshape_is_reverted_or_confirmed_and_never_makes_a_disk_smaller() {
    let lab = Lab::new().await;
    let id = lab.running().await;
    let small = lab.spec().shape();
    let large = Shape {
        vcpus: 4,
        root_gib: 8,
        ..small
    };
    let reshape = async |shape| {
        let task = Task::Reshape {
            id,
            shape,
            graceful_secs: None,
        };
        lab.perform_as(OperationId::random(), 1, task).await
    };
    reshape(large).await.unwrap();
    let kept = format!("{id}/root.qcow2.before");
    assert!(lab.host.leaks().disks.contains(&kept));
    lab.perform(Task::RevertShape { id }).await.unwrap();
    assert!(!lab.host.leaks().disks.contains(&kept));
    reshape(large).await.unwrap();
    lab.perform(Task::ConfirmShape { id }).await.unwrap();
    assert_eq!(
        lab.perform(Task::RevertShape { id }).await,
        Ok(Report::Already)
    );
    let error = reshape(small).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("never made smaller, and this one has 8 GiB"),
        "{error}"
    );
}

#[tokio::test]
async fn a_tap_comes_with_the_start_stays_over_a_stop_and_goes_with_the_guest() {
    let lab = Lab::new().await;
    let (first, second) = (nic(), nic());
    let spec = GuestSpec {
        nics: vec![first],
        ..lab.spec()
    };
    let id = spec.id;
    lab.perform(Task::CreateGuest { spec }).await.unwrap();
    assert_eq!(lab.host.leaks().nics, []);
    lab.perform(Task::Start { id }).await.unwrap();
    lab.perform(Task::AttachNic { id, nic: second })
        .await
        .unwrap();
    lab.perform(Task::DetachNic {
        id,
        port: first.port,
    })
    .await
    .unwrap();
    lab.perform(Task::Stop {
        id,
        graceful_secs: None,
    })
    .await
    .unwrap();
    assert_eq!(lab.host.leaks().nics, [second.port]);
    lab.perform(Task::DeleteGuest { id }).await.unwrap();
    assert_eq!(lab.host.leaks().nics, []);
}

#[tokio::test]
async fn a_guest_has_sixteen_disks_and_cards_and_one_card_for_a_port() {
    let lab = Lab::new().await;
    let id = lab.running().await;
    for number in 0..8 {
        lab.perform(Task::AttachDisk {
            id,
            disk: volume(&format!("v{number}")),
        })
        .await
        .unwrap();
        lab.perform(Task::AttachNic { id, nic: nic() })
            .await
            .unwrap();
    }
    let error = lab
        .perform(Task::AttachNic { id, nic: nic() })
        .await
        .unwrap_err();
    assert!(error.to_string().contains("at most 16"), "{error}");
    assert_eq!(lab.host.leaks().nics.len(), 8);
    let card = nic();
    let twice = GuestSpec {
        nics: vec![card, card],
        ..lab.spec()
    };
    let error = lab
        .perform(Task::CreateGuest { spec: twice })
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("one network card for a port"),
        "{error}"
    );
}
