//! What the host does when things go wrong: crashes, restarts, stragglers, bad input, full disks.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Fixture, boot_disk, list, pids_of, spec, wait_for_event};
use corten_host::{
    Acceleration, Accelerator, ConfigDrive, ConfigDriveFile, DiskFormat, ExitCause, GuestChange,
    GuestSpec, Hands, HostConfig, HostError, Power, QemuHost, Report, StopKind, Task,
};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

fn kill_9(pid: u32) {
    assert!(
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn a_killed_qemu_is_seen_at_once_with_its_cause() {
    let fixture = Fixture::new().await;
    let mut events = fixture.host().subscribe();
    let GuestSpec { id, .. } = fixture.running_guest("crash").await;
    let pid = fixture.pid(id).await;
    wait_for_event(&mut events, |event| {
        event.change == GuestChange::Started { pid }
    })
    .await;
    let killed = Instant::now();
    kill_9(pid);
    let event = wait_for_event(&mut events, |event| {
        matches!(event.change, GuestChange::Ended { .. })
    })
    .await;
    assert!(
        killed.elapsed() < Duration::from_secs(3),
        "at once, not at the next poll: {:?}",
        killed.elapsed()
    );
    let GuestChange::Ended {
        cause: ExitCause::Died { status, .. },
    } = &event.change
    else {
        panic!("{event:?}")
    };
    assert_eq!((event.id, status.as_str()), (id, "signal 9"));
    let observation = fixture.observe(id).await;
    assert_eq!((observation.power, observation.pid), (Power::Crashed, None));

    fixture.twice(Task::Start { id }).await;
    fixture.wait_for_console(id, "crash", 2).await;
    assert_eq!(
        fixture.power(id).await,
        Power::Running,
        "a crashed guest starts again"
    );
}

#[tokio::test]
async fn a_new_host_adopts_the_guests_that_run() {
    let mut fixture = Fixture::new().await;
    let runs = fixture.running_guest("adopted").await.id;
    let dies = fixture.running_guest("doomed").await.id;
    let off = fixture.guest("off").await.id;
    let (pid, doomed) = (fixture.pid(runs).await, fixture.pid(dies).await);
    fixture.host = None;
    assert_eq!(
        pids_of(&runs.to_string()),
        [pid],
        "guests outlive the host process"
    );
    kill_9(doomed);
    let gone = async {
        while !pids_of(&dies.to_string()).is_empty() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(common::LIMIT, gone).await.unwrap();
    // As after a crash between starting a process and writing down its pid.
    let state = fixture
        .config
        .data_dir
        .join(format!("guests/{runs}/state.json"));
    fs::write(&state, "{}").unwrap();

    fixture.restart().await;
    let mut observed = fixture.host().observe_all().await.unwrap();
    observed.sort_by_key(|observation| observation.power as u8);
    let seen: Vec<_> = observed
        .iter()
        .map(|observation| (observation.id, observation.power, observation.pid))
        .collect();
    assert_eq!(
        seen,
        [
            (runs, Power::Running, Some(pid)),
            (off, Power::Shutdown, None),
            (dies, Power::Crashed, None)
        ]
    );

    fixture.twice(Task::Start { id: runs }).await;
    assert_eq!(
        pids_of(&runs.to_string()),
        [pid],
        "an adopted guest is not started twice"
    );
    fixture.twice(Task::Pause { id: runs }).await;
    assert_eq!(fixture.power(runs).await, Power::Paused);
    fixture.twice(Task::Unpause { id: runs }).await;
    let mut events = fixture.host().subscribe();
    kill_9(pid);
    let event = wait_for_event(&mut events, |event| {
        matches!(event.change, GuestChange::Ended { .. })
    })
    .await;
    assert!(
        matches!(
            event.change,
            GuestChange::Ended {
                cause: ExitCause::Died { .. }
            }
        ),
        "{event:?}"
    );
    fixture.twice(Task::DeleteGuest { id: runs }).await;
}

#[tokio::test]
async fn a_console_that_is_flooded_stays_within_its_bound() {
    let mut fixture = Fixture::new().await;
    let bound = 64 << 10;
    fixture.config.console_log_max_bytes = bound;
    fixture.restart().await;
    let disk = boot_disk("all work and no play makes this a long log\n", true);
    let image = fixture.store_image("flood.img", &disk, DiskFormat::Raw);
    fixture
        .twice(Task::EnsureImage {
            image: image.clone(),
        })
        .await;
    let spec = spec(Some(image));
    let id = spec.id;
    fixture.twice(Task::CreateGuest { spec }).await;
    fixture.twice(Task::Start { id }).await;
    let log = fixture
        .config
        .data_dir
        .join(format!("guests/{id}/console.log"));
    let length = || fs::metadata(&log).map_or(0, |metadata| metadata.len());
    let (mut written, mut seen, mut cuts) = (0, 0, 0);
    let deadline = Instant::now() + common::LIMIT;
    while cuts < 2 {
        assert!(
            Instant::now() < deadline,
            "the log is cut in time; it has {seen} bytes"
        );
        let now = length();
        cuts += u32::from(now < seen);
        written += now.saturating_sub(seen);
        seen = now;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(written > bound, "the guest wrote more than the bound");
    assert!(fixture.console(id).await.len() as u64 <= bound);
    fixture
        .twice(Task::Stop {
            id,
            graceful_secs: None,
        })
        .await;
}

#[tokio::test]
async fn a_qemu_that_is_missing_or_dies_at_start_says_why() {
    let mut fixture = Fixture::new().await;
    let GuestSpec { id, .. } = fixture.guest("dies").await;
    fixture.config.qemu = "qemu-system-of-nowhere".into();
    fixture.restart().await;
    let error = fixture.perform(Task::Start { id }).await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("install the Debian package qemu-system-x86"),
        "{error}"
    );

    let script = fixture.dir.path().join("host/qemu");
    fs::write(
        &script,
        "#!/bin/sh\necho 'cannot set up guest memory' >&2\nexit 1\n",
    )
    .unwrap();
    Command::new("chmod")
        .arg("755")
        .arg(&script)
        .status()
        .unwrap();
    fixture.config.qemu = script;
    fixture.restart().await;
    let error = fixture.perform(Task::Start { id }).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "QEMU ended at start (exit status 1): cannot set up guest memory"
    );
    assert_eq!(fixture.power(id).await, Power::Shutdown);

    fixture.config.qemu = "qemu-system-x86_64".into();
    fixture.restart().await;
    fixture.twice(Task::Start { id }).await;
    fixture.wait_for_console(id, "dies", 1).await;
}

#[tokio::test]
async fn a_full_disk_leaves_no_partial_file() {
    let mut fixture = Fixture::new().await;
    let image = fixture.image("full");
    fixture.config.disk_reserve_bytes = u64::MAX;
    fixture.restart().await;
    // A file that guests' QEMU may not read where it is must be copied.
    Command::new("chmod")
        .arg("600")
        .arg(&image.path)
        .status()
        .unwrap();
    let error = fixture
        .perform(Task::EnsureImage {
            image: image.clone(),
        })
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            HostError::DiskFull {
                needed: Some(1_048_576),
                available: 0,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        list(&fixture.config.data_dir.join("images")),
        [] as [PathBuf; 0]
    );
    let error = fixture
        .perform(Task::CreateGuest { spec: spec(None) })
        .await
        .unwrap_err();
    assert!(matches!(error, HostError::DiskFull { .. }), "{error}");
    assert!(fixture.guest_files().is_empty());

    fixture.config.disk_reserve_bytes = 0;
    fixture.restart().await;
    fixture.twice(Task::EnsureImage { image }).await;
}

#[tokio::test]
async fn an_image_is_verified_and_kept_once() {
    let fixture = Fixture::new().await;
    let image = fixture.image("kept");
    let report = fixture
        .twice(Task::EnsureImage {
            image: image.clone(),
        })
        .await;
    let Report::Image { image: record } = report else {
        panic!("{report:?}")
    };
    assert_eq!(
        (record.format, record.virtual_size_bytes),
        (DiskFormat::Raw, 1 << 20)
    );
    assert_eq!(
        list(&fixture.config.data_dir.join("images")).len(),
        2,
        "the image and its record"
    );
    let host = fixture.host();
    assert_eq!(
        host.cached_images().await.unwrap(),
        std::slice::from_ref(&image.sha512)
    );
    fixture
        .twice(Task::DropImage {
            sha512: image.sha512.clone(),
        })
        .await;
    assert_eq!(host.cached_images().await.unwrap(), [""; 0]);
    assert_eq!(list(&fixture.config.data_dir.join("images")).len(), 0);

    fs::write(&image.path, b"something else").unwrap();
    let error = fixture
        .perform(Task::EnsureImage {
            image: image.clone(),
        })
        .await
        .unwrap_err();
    assert!(matches!(error, HostError::WrongChecksum { .. }), "{error}");
    let escape = corten_host::ImageRef {
        sha512: "../../etc/passwd".to_owned(),
        ..image
    };
    let error = fixture
        .perform(Task::EnsureImage { image: escape })
        .await
        .unwrap_err();
    assert!(matches!(error, HostError::InvalidSpec { .. }), "{error}");
    assert_eq!(list(&fixture.config.data_dir.join("images")).len(), 0);
}

#[tokio::test]
async fn a_foreign_format_is_converted_on_its_way_in() {
    let fixture = Fixture::new().await;
    let raw = fixture.store_image(
        "foreign.img",
        &boot_disk("converted\n", false),
        DiskFormat::Raw,
    );
    let vmdk = fixture.dir.path().join("foreign.vmdk");
    let convert = Command::new("qemu-img")
        .args(["convert", "-O", "vmdk"])
        .args([&raw.path, &vmdk])
        .status()
        .unwrap();
    assert!(convert.success());
    let image = common::image_of(vmdk, DiskFormat::Vmdk);
    let report = fixture
        .twice(Task::EnsureImage {
            image: image.clone(),
        })
        .await;
    let Report::Image { image: record } = report else {
        panic!("{report:?}")
    };
    assert_eq!(
        (record.format, record.virtual_size_bytes),
        (DiskFormat::Qcow2, 1 << 20)
    );
    let spec = spec(Some(image));
    fixture
        .twice(Task::CreateGuest { spec: spec.clone() })
        .await;
    fixture.twice(Task::Start { id: spec.id }).await;
    fixture.wait_for_console(spec.id, "converted", 1).await;
}

#[tokio::test]
async fn an_impossible_spec_is_refused_before_anything_is_made() {
    let fixture = Fixture::new().await;
    let big = fixture.dir.path().join("big.qcow2");
    let create = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(&big)
        .arg("2G")
        .status()
        .unwrap();
    assert!(create.success());
    let image = common::image_of(big, DiskFormat::Qcow2);
    let drive = |path: &str| ConfigDrive {
        files: vec![ConfigDriveFile {
            path: path.to_owned(),
            content: Vec::new(),
        }],
    };
    let bus = [("hw_disk_bus".to_owned(), "floppy".to_owned())].into();
    let refused = [
        (
            GuestSpec {
                machine_properties: bus,
                ..spec(None)
            },
            "the legal values are virtio, scsi, sata",
        ),
        (
            GuestSpec {
                vcpus: 0,
                ..spec(None)
            },
            "vcpus '0' is not possible",
        ),
        (
            GuestSpec {
                config_drive: Some(drive("../escape")),
                ..spec(None)
            },
            "must be relative",
        ),
        (spec(Some(image.clone())), "is not in the host's cache"),
    ];
    for (spec, rule) in refused {
        let error = fixture
            .perform(Task::CreateGuest { spec })
            .await
            .unwrap_err();
        assert!(error.to_string().contains(rule), "{error}");
    }
    fixture
        .twice(Task::EnsureImage {
            image: image.clone(),
        })
        .await;
    let error = fixture
        .perform(Task::CreateGuest {
            spec: spec(Some(image)),
        })
        .await
        .unwrap_err();
    assert_eq!(
        error,
        HostError::RootDiskTooSmall {
            root_gib: 1,
            needed_bytes: 2 << 30
        }
    );
    assert!(
        fixture.guest_files().is_empty(),
        "left behind: {:?}",
        fixture.guest_files()
    );
    let stranger = Task::Stop {
        id: spec(None).id,
        graceful_secs: None,
    };
    assert!(matches!(
        fixture.perform(stranger).await,
        Err(HostError::NoSuchGuest { .. })
    ));
}

#[tokio::test]
async fn what_an_interrupted_task_left_is_cleared_away() {
    let mut fixture = Fixture::new().await;
    let image = fixture.image("interrupted");
    let guests = fixture.config.data_dir.join("guests");
    let spec = GuestSpec {
        image: Some(image.clone()),
        ..spec(None)
    };
    fs::create_dir(guests.join(format!(".new-{}", spec.id))).unwrap();
    fs::create_dir(guests.join(format!(".old-{}", common::spec(None).id))).unwrap();
    fs::write(
        fixture
            .config
            .data_dir
            .join(format!("images/{}.part", image.sha512)),
        b"half",
    )
    .unwrap();
    fixture.twice(Task::EnsureImage { image }).await;
    fixture
        .twice(Task::CreateGuest { spec: spec.clone() })
        .await;
    fixture.restart().await;
    assert_eq!(list(&guests).len(), 1);
    let stopped = fixture
        .twice(Task::Stop {
            id: spec.id,
            graceful_secs: None,
        })
        .await;
    assert_eq!(
        stopped,
        Report::Stopped {
            kind: StopKind::AlreadyOff
        }
    );
    fixture.twice(Task::Start { id: spec.id }).await;
    fixture.wait_for_console(spec.id, "interrupted", 1).await;
}

#[tokio::test]
async fn acceleration_is_what_a_guest_really_ran_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = HostConfig::new(dir.path().join("host"));
    let host = QemuHost::open(config.clone(), None).await.unwrap();
    let capacity = host.capacity().await.unwrap();
    let Acceleration {
        accelerator,
        reason,
    } = &capacity.acceleration;
    // KVM is claimed only where it exists; where it exists and is not used, the reason says what went wrong.
    match (fs::exists("/dev/kvm").unwrap(), accelerator) {
        (false, accelerator) => assert_eq!(*accelerator, Accelerator::Tcg),
        (true, Accelerator::Tcg) => assert!(reason.contains("/dev/kvm"), "{reason}"),
        (true, Accelerator::Kvm) => assert_eq!(reason, "a guest ran on /dev/kvm"),
    }
    assert!(capacity.vcpus > 0 && capacity.memory_mib > 0 && capacity.disk_gib > 0);
    assert!(
        capacity.hypervisor_version.split('.').count() >= 2,
        "{}",
        capacity.hypervisor_version
    );
    // The second time it is remembered.
    let opened = Instant::now();
    drop(host);
    let again = QemuHost::open(config, None)
        .await
        .unwrap()
        .capacity()
        .await
        .unwrap();
    assert_eq!(again.acceleration, capacity.acceleration);
    assert!(
        opened.elapsed() < Duration::from_secs(2),
        "a probe that was made is not made again"
    );
}
