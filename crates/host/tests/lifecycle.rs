//! A guest's life with a real QEMU: every task, each given twice, and what a user would see of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Fixture, code_disk, list, obedient_disk, pids_of, spec, wait_for_event};
use corten_host::{
    ConfigDrive, ConfigDriveFile, DiskFormat, DiskSpec, ExitCause, Firmware, GuestChange,
    GuestSpec, Hands, HostError, Power, RebootKind, Report, StopKind, Task,
};
use corten_model::ids::OperationId;
use std::fs;
use std::process::Command;

#[tokio::test]
async fn a_guest_starts_stops_and_leaves_nothing() {
    let fixture = Fixture::new().await;
    let GuestSpec { id, .. } = fixture.running_guest("hello").await;
    assert_eq!(fixture.power(id).await, Power::Running);
    assert_eq!(
        fixture.host().console_log(id, Some(1)).await.unwrap(),
        b"hello\n"
    );
    let pid = fixture.pid(id).await;
    assert_eq!(
        pids_of(&id.to_string()),
        [pid],
        "a second start must not make a second process"
    );

    // The guest knows no ACPI, so the power is cut when the time is over.
    let stopped = fixture
        .twice(Task::Stop {
            id,
            graceful_secs: Some(1),
        })
        .await;
    assert_eq!(
        stopped,
        Report::Stopped {
            kind: StopKind::PowerCut
        }
    );
    assert_eq!(fixture.power(id).await, Power::Shutdown);
    assert_eq!(
        fixture.console(id).await,
        "hello\n",
        "the log of a stopped guest can still be read"
    );

    fixture.twice(Task::Start { id }).await;
    fixture.wait_for_console(id, "hello", 2).await;
    fixture.twice(Task::DeleteGuest { id }).await;
    assert_eq!(fixture.host().observe(id).await.unwrap(), None);
    assert_eq!(pids_of(&id.to_string()), [] as [u32; 0]);
    assert!(
        fixture.guest_files().is_empty(),
        "left behind: {:?}",
        fixture.guest_files()
    );
    let cgroups = list("/sys/fs/cgroup/memory".as_ref());
    let ours = cgroups
        .iter()
        .find(|path| path.ends_with(&fixture.config.cgroup))
        .map_or(Vec::new(), |path| list(path));
    assert!(
        ours.iter().all(|path| !path.is_dir()),
        "left behind: {ours:?}"
    );
}

#[tokio::test]
async fn a_process_is_unprivileged_sandboxed_and_in_its_cgroup() {
    let fixture = Fixture::new().await;
    let GuestSpec { id, .. } = fixture.running_guest("confined").await;
    let pid = fixture.pid(id).await;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(field("Seccomp:"), "2", "a seccomp filter is on");
    assert_eq!(field("NoNewPrivs:"), "1");
    let capacity = fixture.host().capacity().await.unwrap();
    if fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        assert_ne!(field("Uid:"), "0");
        assert_eq!(field("CapEff:"), "0000000000000000");
    }
    if capacity.confinement.cgroup.is_some() {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(
            cgroups.contains(&format!("/{}/{id}", fixture.config.cgroup)),
            "{cgroups}"
        );
    }
}

#[tokio::test]
async fn a_reboot_says_how_it_was_done_and_an_operation_reboots_once() {
    let fixture = Fixture::new().await;
    let GuestSpec { id, .. } = fixture.running_guest("boot").await;
    let hard = fixture
        .perform(Task::Reboot {
            id,
            graceful_secs: None,
        })
        .await
        .unwrap();
    assert_eq!(
        hard,
        Report::Rebooted {
            kind: RebootKind::Hard
        }
    );
    fixture.wait_for_console(id, "boot", 2).await;
    let pid = fixture.pid(id).await;
    let again = fixture
        .perform(Task::Reboot {
            id,
            graceful_secs: None,
        })
        .await
        .unwrap();
    assert_eq!(
        (again, fixture.pid(id).await),
        (
            Report::Rebooted {
                kind: RebootKind::AlreadyDone
            },
            pid
        )
    );

    let next = corten_host::Fence {
        operation: OperationId::random(),
        epoch: 1,
    };
    let soft = fixture
        .host()
        .perform(
            next,
            Task::Reboot {
                id,
                graceful_secs: Some(1),
            },
        )
        .await
        .unwrap();
    assert_eq!(
        soft,
        Report::Rebooted {
            kind: RebootKind::SoftTurnedHard
        }
    );
    fixture.wait_for_console(id, "boot", 3).await;

    let pid = fixture.pid(id).await;
    fixture.twice(Task::ResetGuest { id }).await;
    fixture.wait_for_console(id, "boot", 4).await;
    assert_eq!(fixture.pid(id).await, pid, "a reset keeps the process");
}

#[tokio::test]
async fn a_guest_that_obeys_the_power_button_goes_down_by_itself() {
    let fixture = Fixture::new().await;
    let GuestSpec { id, .. } = fixture.guest_of(&obedient_disk(false)).await;
    fixture.twice(Task::Start { id }).await;
    fixture.wait_for_console(id, "up", 1).await;
    let soft = fixture
        .perform(Task::Reboot {
            id,
            graceful_secs: Some(30),
        })
        .await
        .unwrap();
    assert_eq!(
        soft,
        Report::Rebooted {
            kind: RebootKind::Soft
        }
    );
    fixture.wait_for_console(id, "up", 2).await;
    let stopped = fixture
        .twice(Task::Stop {
            id,
            graceful_secs: Some(30),
        })
        .await;
    assert_eq!(
        stopped,
        Report::Stopped {
            kind: StopKind::Graceful
        }
    );
    assert_eq!(
        fixture.observe(id).await.last_exit,
        Some(ExitCause::Requested)
    );
}

#[tokio::test]
async fn a_guest_that_powers_itself_off_has_not_crashed() {
    let mut fixture = Fixture::new().await;
    let mut events = fixture.host().subscribe();
    let GuestSpec { id, .. } = fixture.guest_of(&obedient_disk(true)).await;
    fixture.twice(Task::Start { id }).await;
    let off = GuestChange::Ended {
        cause: ExitCause::GuestShutdown,
    };
    wait_for_event(&mut events, |event| event.change == off).await;
    assert_eq!(fixture.power(id).await, Power::Shutdown);

    // The same while nobody watches.
    let spec = fixture.guest_of(&obedient_disk(false)).await;
    fixture.twice(Task::Start { id: spec.id }).await;
    fixture.wait_for_console(spec.id, "up", 1).await;
    let qmp = fixture.config.run_dir.join(format!("{}/qmp.sock", spec.id));
    fixture.host = None;
    let ask = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\ns.recv(4096)\n\
               s.send(b'{\"execute\":\"qmp_capabilities\"}{\"execute\":\"system_powerdown\"}')\n\
               while s.recv(4096): pass\n";
    Command::new("python3")
        .args(["-c", ask])
        .arg(&qmp)
        .output()
        .unwrap();
    while !pids_of(&spec.id.to_string()).is_empty() {
        tokio::task::yield_now().await;
    }
    fixture.restart().await;
    let observation = fixture.observe(spec.id).await;
    assert_eq!(
        (observation.power, observation.last_exit),
        (Power::Shutdown, Some(ExitCause::GuestShutdown))
    );
}

#[tokio::test]
async fn a_kernel_panic_is_a_crash() {
    let fixture = Fixture::new().await;
    let mut events = fixture.host().subscribe();
    // Bit 0 on the pvpanic device's port.
    let GuestSpec { id, .. } = fixture
        .guest_of(&code_disk(&[0xba, 0x05, 0x05, 0xb0, 0x01, 0xee, 0xf4]))
        .await;
    fixture.twice(Task::Start { id }).await;
    let panicked = GuestChange::Ended {
        cause: ExitCause::GuestPanicked,
    };
    wait_for_event(&mut events, |event| event.change == panicked).await;
    assert_eq!(fixture.power(id).await, Power::Crashed);
}

#[tokio::test]
async fn a_guest_pauses_and_goes_on() {
    let fixture = Fixture::new().await;
    let GuestSpec { id, .. } = fixture.running_guest("pause").await;
    fixture.twice(Task::Pause { id }).await;
    assert_eq!(fixture.power(id).await, Power::Paused);
    fixture.twice(Task::Unpause { id }).await;
    assert_eq!(fixture.power(id).await, Power::Running);
    fixture
        .perform(Task::Stop {
            id,
            graceful_secs: None,
        })
        .await
        .unwrap();
    let refusal = fixture.perform(Task::Pause { id }).await.unwrap_err();
    assert!(
        matches!(&refusal, HostError::WrongState { state, .. } if state == "shut down"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_suspended_guest_goes_on_where_it_was() {
    let mut fixture = Fixture::new().await;
    let GuestSpec { id, .. } = fixture.running_guest("suspend").await;
    fixture.twice(Task::Suspend { id }).await;
    assert_eq!(fixture.power(id).await, Power::Suspended);
    assert_eq!(pids_of(&id.to_string()), [] as [u32; 0]);
    let refusal = fixture.perform(Task::Start { id }).await.unwrap_err();
    assert!(
        refusal.to_string().contains("suspended: resume it"),
        "{refusal}"
    );

    fixture.restart().await;
    assert_eq!(
        fixture.power(id).await,
        Power::Suspended,
        "a new host knows it too"
    );
    fixture.twice(Task::Resume { id }).await;
    assert_eq!(fixture.power(id).await, Power::Running);
    assert_eq!(
        fixture.console(id).await.matches("suspend").count(),
        1,
        "it went on and did not boot again"
    );
    let memory = fixture
        .config
        .data_dir
        .join(format!("guests/{id}/memory.state"));
    assert!(
        !memory.exists(),
        "memory that was used must not be used again"
    );
    fixture.twice(Task::ResetGuest { id }).await;
    fixture.wait_for_console(id, "suspend", 2).await;
}

#[tokio::test]
async fn rebuild_gives_another_system_under_the_same_id() {
    let fixture = Fixture::new().await;
    let old = fixture.running_guest("oldsystem").await;
    let image = fixture.image("newsystem");
    let spec = GuestSpec {
        image: Some(image.clone()),
        root_gib: 0,
        ..old.clone()
    };
    let refusal = fixture
        .perform(Task::Rebuild { spec: spec.clone() })
        .await
        .unwrap_err();
    assert!(
        matches!(refusal, HostError::ImageNotCached { .. }),
        "{refusal}"
    );
    assert_eq!(
        fixture.power(old.id).await,
        Power::Running,
        "a refused rebuild changes nothing"
    );

    fixture.twice(Task::EnsureImage { image }).await;
    fixture.twice(Task::Rebuild { spec }).await;
    assert_eq!(fixture.power(old.id).await, Power::Shutdown);
    fixture.twice(Task::Start { id: old.id }).await;
    fixture.wait_for_console(old.id, "newsystem", 1).await;
    assert!(!fixture.console(old.id).await.contains("oldsystem"));

    // The old image is free, the new one is not.
    let old_hash = old.image.unwrap().sha512;
    fixture.twice(Task::DropImage { sha512: old_hash }).await;
    let new_hash = fixture.image("newsystem").sha512;
    let refusal = fixture
        .perform(Task::DropImage { sha512: new_hash })
        .await
        .unwrap_err();
    assert!(
        matches!(refusal, HostError::ImageInUse { id, .. } if id == old.id),
        "{refusal}"
    );
}

#[tokio::test]
async fn rescue_boots_another_disk_and_unrescue_the_own_one() {
    let fixture = Fixture::new().await;
    let GuestSpec { id, .. } = fixture.running_guest("own").await;
    let image = fixture.image("rescuer");
    fixture
        .twice(Task::EnsureImage {
            image: image.clone(),
        })
        .await;
    let config_drive = Some(drive("openstack/latest/meta_data.json", b"{}"));
    fixture
        .twice(Task::Rescue {
            id,
            image,
            config_drive,
        })
        .await;
    fixture.wait_for_console(id, "rescuer", 1).await;
    assert!(fixture.observe(id).await.rescued);
    let disks = fixture.host().diagnostics(id).await.unwrap().disks;
    let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(
        names,
        ["rescue", "root", "config"],
        "the own disk is behind the rescue disk"
    );

    // A reboot stays in rescue.
    fixture
        .perform(Task::Reboot {
            id,
            graceful_secs: None,
        })
        .await
        .unwrap();
    fixture.wait_for_console(id, "rescuer", 2).await;
    fixture.twice(Task::Unrescue { id }).await;
    fixture.wait_for_console(id, "own", 2).await;
    assert!(!fixture.observe(id).await.rescued);
}

#[tokio::test]
async fn all_kinds_of_disks_are_there() {
    let fixture = Fixture::new().await;
    let image = fixture.image("disks");
    fixture
        .twice(Task::EnsureImage {
            image: image.clone(),
        })
        .await;
    let volume = fixture.dir.path().join("host/volume.raw");
    fs::write(&volume, vec![0; 1 << 20]).unwrap();
    let disk = |id: &str| DiskSpec {
        id: id.to_owned(),
        path: volume.clone(),
        format: DiskFormat::Raw,
        read_only: false,
    };
    let spec = GuestSpec {
        ephemeral_gib: 1,
        swap_mib: 16,
        config_drive: Some(drive("openstack/latest/user_data", b"#cloud-config\n")),
        machine_properties: [("hw_qemu_guest_agent".to_owned(), "yes".to_owned())].into(),
        ..spec(Some(image))
    };
    let id = spec.id;
    fixture.twice(Task::CreateGuest { spec }).await;
    let iso = fixture
        .config
        .data_dir
        .join(format!("guests/{id}/config.iso"));
    assert_eq!(
        &fs::read(&iso).unwrap()[32_808..32_816],
        b"config-2",
        "cloud-init looks for this label"
    );
    let listed = Command::new("isoinfo")
        .arg("-R")
        .arg("-f")
        .arg("-i")
        .arg(&iso)
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&listed.stdout).contains("/openstack/latest/user_data"),
        "{listed:?}"
    );

    // A volume comes while the guest is off, goes, and comes again while it runs.
    fixture
        .twice(Task::AttachDisk {
            id,
            disk: disk("vol-1"),
        })
        .await;
    fixture
        .twice(Task::DetachDisk {
            id,
            disk: "vol-1".to_owned(),
        })
        .await;
    fixture.twice(Task::Start { id }).await;
    fixture.wait_for_console(id, "disks", 1).await;
    let disk_count = async || fixture.host().diagnostics(id).await.unwrap().disks.len();
    assert_eq!(disk_count().await, 4, "root, ephemeral, swap, config drive");
    fixture
        .twice(Task::AttachDisk {
            id,
            disk: disk("5c8a9d4e-0000-4000-8000-000000000001"),
        })
        .await;
    assert_eq!(disk_count().await, 5);
    fixture
        .perform(Task::Reboot {
            id,
            graceful_secs: None,
        })
        .await
        .unwrap();
    fixture.wait_for_console(id, "disks", 2).await;
    assert_eq!(
        disk_count().await,
        5,
        "what was plugged in is there after a reboot"
    );
}

#[tokio::test]
async fn a_guest_with_uefi_gets_variables_of_its_own() {
    let fixture = Fixture::new().await;
    let spec = GuestSpec {
        firmware: Firmware::Uefi,
        ..spec(None)
    };
    let id = spec.id;
    fixture.twice(Task::CreateGuest { spec }).await;
    fixture.twice(Task::Start { id }).await;
    assert_eq!(fixture.power(id).await, Power::Running);
    let diagnostics = fixture.host().diagnostics(id).await.unwrap();
    assert_eq!(
        (diagnostics.cpus.len(), diagnostics.memory_maximum_mib),
        (1, 32)
    );
}

#[tokio::test]
async fn a_snapshot_boots_whether_taken_of_a_running_or_a_stopped_guest() {
    let fixture = Fixture::new().await;
    let GuestSpec { id, .. } = fixture.running_guest("snapshot").await;
    let live = fixture.dir.path().join("live.qcow2");
    let report = fixture
        .twice(Task::Snapshot {
            id,
            target: live.clone(),
            format: DiskFormat::Qcow2,
        })
        .await;
    assert!(
        matches!(
            report,
            Report::Snapshot {
                virtual_size_bytes: 1_073_741_824,
                ..
            }
        ),
        "{report:?}"
    );
    assert_eq!(fixture.power(id).await, Power::Running);
    fixture
        .perform(Task::Stop {
            id,
            graceful_secs: None,
        })
        .await
        .unwrap();
    let cold = fixture.dir.path().join("cold.raw");
    fixture
        .twice(Task::Snapshot {
            id,
            target: cold.clone(),
            format: DiskFormat::Raw,
        })
        .await;
    assert_eq!(&fs::read(&cold).unwrap()[510..512], [0x55, 0xaa]);

    let image = common::image_of(live, DiskFormat::Qcow2);
    fixture
        .twice(Task::EnsureImage {
            image: image.clone(),
        })
        .await;
    let spec = spec(Some(image));
    fixture
        .twice(Task::CreateGuest { spec: spec.clone() })
        .await;
    fixture.twice(Task::Start { id: spec.id }).await;
    fixture.wait_for_console(spec.id, "snapshot", 1).await;
}

#[tokio::test]
async fn the_console_listens_on_short_paths() {
    let fixture = Fixture::new().await;
    let GuestSpec { id, .. } = fixture.running_guest("console").await;
    let consoles = fixture.host().consoles(id).await.unwrap();
    for socket in [&consoles.serial, &consoles.vnc] {
        assert!(socket.as_os_str().len() < 108);
        tokio::net::UnixStream::connect(socket).await.unwrap();
    }
    fixture
        .perform(Task::Stop {
            id,
            graceful_secs: None,
        })
        .await
        .unwrap();
    assert!(matches!(
        fixture.host().consoles(id).await,
        Err(HostError::WrongState { .. })
    ));
}

fn drive(path: &str, content: &[u8]) -> ConfigDrive {
    ConfigDrive {
        files: vec![ConfigDriveFile {
            path: path.to_owned(),
            content: content.to_vec(),
        }],
    }
}
