//! Resizing a guest with a real QEMU: another shape, the way back to the very same disk, and making it final.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Fixture, code_disk, list, spec};
use corten_host::{DiskFormat, GuestSpec, Hands, HostError, Power, Report, Shape, Task};
use corten_model::ids::{InstanceId, OperationId};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Prints "gen" and a letter, writes the next letter to its own disk, and prints a dot when that is done. So each boot
/// shows which boots before it this disk remembers.
fn counting_disk() -> Vec<u8> {
    let mut code = vec![
        0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, // ds = es = ss = 0
        0xbc, 0x00, 0x7c, // sp = 0x7c00
        0x88, 0x16, 0xd0, 0x7c, // keep dl, the disk we came from
        0xbe, 0x80, 0x7c, // si = the text
        0xba, 0xf8, 0x03, // dx = the serial port
        0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8, // print up to 0
        0xa0, 0xc0, 0x7c, 0xee, // print the letter
        0xb0, b'\n', 0xee, //
        0xfe, 0x06, 0xc0, 0x7c, // the next letter
        0xb8, 0x01, 0x03, 0xb9, 0x01, 0x00, 0xb6, 0x00, // write one sector: the first
        0x8a, 0x16, 0xd0, 0x7c, 0xbb, 0x00, 0x7c, 0xcd, 0x13, // of that disk, from here
        0xba, 0xf8, 0x03, 0xb0, b'.', 0xee, 0xb0, b'\n', 0xee, //
        0xf4, 0xeb, 0xfd, // halt
    ];
    code.resize(0x80, 0x90);
    code.extend(b"gen \0");
    code.resize(0xc0, 0);
    code.push(b'A');
    code_disk(&code)
}

const SMALL: Shape = Shape {
    vcpus: 1,
    memory_mib: 32,
    root_gib: 1,
    ephemeral_gib: 0,
    swap_mib: 0,
};
const LARGE: Shape = Shape {
    vcpus: 2,
    memory_mib: 48,
    root_gib: 2,
    ephemeral_gib: 1,
    swap_mib: 16,
};

fn reshape(id: InstanceId, shape: Shape) -> Task {
    Task::Reshape {
        id,
        shape,
        graceful_secs: None,
    }
}

/// A guest that has booted once from a disk of its own, in the small shape.
async fn counting_guest(fixture: &Fixture) -> InstanceId {
    let GuestSpec { id, .. } = fixture.guest_of(&counting_disk()).await;
    boots_as(fixture, id, 'A').await;
    id
}

/// Starts the guest and waits until it has printed this letter and written the next one.
async fn boots_as(fixture: &Fixture, id: InstanceId, letter: char) {
    let before = fixture.console(id).await.matches('.').count();
    fixture.twice(Task::Start { id }).await;
    fixture.wait_for_console(id, ".", before + 1).await;
    let console = fixture.console(id).await;
    assert!(
        console.ends_with(&format!("gen {letter}\n.\n")),
        "boot {letter} was expected: {console}"
    );
}

fn guest_dir(fixture: &Fixture, id: InstanceId) -> PathBuf {
    fixture.config.data_dir.join(format!("guests/{id}"))
}

/// The disks and notes that lie in the guest's directory.
fn names(fixture: &Fixture, id: InstanceId) -> Vec<String> {
    let fleeting = ["sockets", "qemu.log", "console.log", "state.json"];
    let mut names: Vec<_> = list(&guest_dir(fixture, id))
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !fleeting.contains(&name.as_str()))
        .collect();
    names.sort();
    names
}

/// What `qemu-img` says of a disk, whether or not a guest uses it.
fn info(fixture: &Fixture, id: InstanceId, disk: &str) -> Value {
    let output = Command::new("qemu-img")
        .args(["info", "-U", "--output=json"])
        .arg(guest_dir(fixture, id).join(disk))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn seen_by_guest(fixture: &Fixture, id: InstanceId) -> (usize, u64, usize) {
    let seen = fixture.host().diagnostics(id).await.unwrap();
    (seen.cpus.len(), seen.memory_maximum_mib, seen.disks.len())
}

#[tokio::test]
async fn a_revert_brings_back_shape_and_disk_exactly() {
    let mut fixture = Fixture::new().await;
    let id = counting_guest(&fixture).await;
    let before = names(&fixture, id);
    let done = fixture.twice(reshape(id, LARGE)).await;
    assert_eq!(done, Report::Done);
    assert_eq!(fixture.power(id).await, Power::Shutdown);
    boots_as(&fixture, id, 'B').await;
    assert_eq!(seen_by_guest(&fixture, id).await, (2, 48, 3));
    assert_eq!(
        info(&fixture, id, "root.qcow2")["virtual-size"],
        json!(2u64 << 30)
    );
    assert_eq!(
        fs::metadata(guest_dir(&fixture, id).join("swap.raw"))
            .unwrap()
            .len(),
        16 << 20
    );

    // The way back is not lost with the process that knew it.
    fixture.restart().await;
    fixture.twice(Task::RevertShape { id }).await;
    assert_eq!(names(&fixture, id), before, "nothing is left over");
    assert_eq!(
        info(&fixture, id, "root.qcow2")["virtual-size"],
        json!(1u64 << 30)
    );
    boots_as(&fixture, id, 'B').await;
    assert_eq!(seen_by_guest(&fixture, id).await, (1, 32, 1));
    fixture.twice(Task::DeleteGuest { id }).await;
    assert!(fixture.guest_files().is_empty());
}

#[tokio::test]
async fn a_confirmed_reshape_keeps_what_the_guest_wrote_and_nothing_of_before() {
    let mut fixture = Fixture::new().await;
    let id = counting_guest(&fixture).await;
    let image = info(&fixture, id, "root.qcow2")["backing-filename"].clone();
    fixture.twice(reshape(id, LARGE)).await;
    boots_as(&fixture, id, 'B').await;
    let pid = fixture.pid(id).await;
    fixture.twice(Task::ConfirmShape { id }).await;
    assert_eq!(fixture.pid(id).await, pid, "the guest goes on meanwhile");
    let merged = ["ephemeral.raw", "root.qcow2", "spec.json", "swap.raw"];
    assert_eq!(names(&fixture, id), merged);
    assert_eq!(
        info(&fixture, id, "root.qcow2")["backing-filename"],
        image,
        "the disk stands on its image again"
    );
    assert_eq!(
        fixture.twice(Task::RevertShape { id }).await,
        Report::Already,
        "there is no way back"
    );
    stop(&fixture, id).await;
    boots_as(&fixture, id, 'C').await;

    // Again, now with the guest off while it is confirmed, and with an ephemeral disk that grows.
    fixture.operation = OperationId::random();
    let shape = Shape {
        ephemeral_gib: 2,
        swap_mib: 0,
        ..LARGE
    };
    fixture.twice(reshape(id, shape)).await;
    boots_as(&fixture, id, 'D').await;
    stop(&fixture, id).await;
    fixture.twice(Task::ConfirmShape { id }).await;
    let merged = ["ephemeral.qcow2", "root.qcow2", "spec.json"];
    assert_eq!(names(&fixture, id), merged);
    let ephemeral = info(&fixture, id, "ephemeral.qcow2");
    assert_eq!(ephemeral["virtual-size"], json!(2u64 << 30));
    assert_eq!(ephemeral.get("backing-filename"), None);
    boots_as(&fixture, id, 'E').await;

    // And once more, back from a layered ephemeral disk.
    fixture.operation = OperationId::random();
    let shape = Shape {
        ephemeral_gib: 3,
        ..shape
    };
    fixture.twice(reshape(id, shape)).await;
    boots_as(&fixture, id, 'F').await;
    fixture.twice(Task::RevertShape { id }).await;
    assert_eq!(names(&fixture, id), merged);
    assert_eq!(
        info(&fixture, id, "ephemeral.qcow2")["virtual-size"],
        json!(2u64 << 30)
    );
    boots_as(&fixture, id, 'F').await;
}

async fn stop(fixture: &Fixture, id: InstanceId) {
    let task = Task::Stop {
        id,
        graceful_secs: None,
    };
    fixture.twice(task).await;
}

#[tokio::test]
async fn a_snapshot_of_a_reshaped_guest_has_what_lies_below() {
    let fixture = Fixture::new().await;
    let id = counting_guest(&fixture).await;
    fixture.twice(reshape(id, LARGE)).await;
    boots_as(&fixture, id, 'B').await;
    let target = fixture.dir.path().join("snapshot.qcow2");
    let task = Task::Snapshot {
        id,
        target: target.clone(),
        format: DiskFormat::Qcow2,
    };
    fixture.twice(task).await;
    let image = common::image_of(target, DiskFormat::Qcow2);
    fixture
        .twice(Task::EnsureImage {
            image: image.clone(),
        })
        .await;
    let copy = GuestSpec {
        root_gib: 2,
        ..spec(Some(image))
    };
    let copy_id = copy.id;
    fixture.twice(Task::CreateGuest { spec: copy }).await;
    boots_as(&fixture, copy_id, 'C').await;
}

/// As a crash in the middle leaves it: disks are layered, but nothing says that the reshape is complete.
fn break_off(fixture: &Fixture, id: InstanceId) {
    let path = guest_dir(fixture, id).join("before.json");
    let mut before: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(before["complete"], json!(true));
    before["complete"] = json!(false);
    fs::write(path, before.to_string()).unwrap();
}

#[tokio::test]
async fn a_reshape_that_was_broken_off_goes_on_or_back() {
    let mut fixture = Fixture::new().await;
    let id = counting_guest(&fixture).await;
    let before = names(&fixture, id);
    fixture.twice(reshape(id, LARGE)).await;
    break_off(&fixture, id);
    fixture.restart().await;
    let refused = fixture.perform(Task::ConfirmShape { id }).await;
    assert!(
        matches!(&refused, Err(HostError::WrongState { .. })),
        "{refused:?}"
    );
    assert_eq!(fixture.twice(reshape(id, LARGE)).await, Report::Done);
    boots_as(&fixture, id, 'B').await;
    assert_eq!(seen_by_guest(&fixture, id).await, (2, 48, 3));

    break_off(&fixture, id);
    fixture.restart().await;
    fixture.twice(Task::RevertShape { id }).await;
    assert_eq!(names(&fixture, id), before);
    boots_as(&fixture, id, 'B').await;
    assert_eq!(seen_by_guest(&fixture, id).await, (1, 32, 1));

    // Before the layers were made, only the notes and the links are there.
    fixture.twice(reshape(id, SMALL)).await;
    break_off(&fixture, id);
    let root = guest_dir(&fixture, id).join("root.qcow2");
    fs::remove_file(&root).unwrap();
    fs::hard_link(root.with_extension("qcow2.before"), &root).unwrap();
    fixture.twice(Task::RevertShape { id }).await;
    assert_eq!(names(&fixture, id), before);
    boots_as(&fixture, id, 'C').await;
}

#[tokio::test]
async fn what_nobody_confirmed_is_final_for_the_next_reshape() {
    let mut fixture = Fixture::new().await;
    let id = counting_guest(&fixture).await;
    fixture.twice(reshape(id, LARGE)).await;
    boots_as(&fixture, id, 'B').await;
    fixture.operation = OperationId::random();
    let larger = Shape {
        memory_mib: 64,
        ..LARGE
    };
    fixture.twice(reshape(id, larger)).await;
    fixture.twice(Task::RevertShape { id }).await;
    boots_as(&fixture, id, 'C').await;
    assert_eq!(seen_by_guest(&fixture, id).await, (2, 48, 3));
    assert_eq!(
        info(&fixture, id, "root.qcow2")["virtual-size"],
        json!(2u64 << 30)
    );
}

#[tokio::test]
async fn an_impossible_shape_is_refused_while_the_guest_goes_on() {
    let fixture = Fixture::new().await;
    let id = counting_guest(&fixture).await;
    fixture.twice(reshape(id, LARGE)).await;
    fixture.twice(Task::ConfirmShape { id }).await;
    boots_as(&fixture, id, 'B').await;
    let (pid, before) = (fixture.pid(id).await, names(&fixture, id));
    let refused = [
        (
            "root_gib",
            Shape {
                root_gib: 1,
                ..LARGE
            },
        ),
        (
            "ephemeral_gib",
            Shape {
                ephemeral_gib: 0,
                ..LARGE
            },
        ),
        ("vcpus", Shape { vcpus: 0, ..LARGE }),
    ];
    let mut fixture = fixture;
    fixture.operation = OperationId::random();
    for (wrong, shape) in refused {
        let refusal = fixture.perform(reshape(id, shape)).await;
        assert!(
            matches!(&refusal, Err(HostError::InvalidSpec { field, .. }) if field == wrong),
            "{wrong}: {refusal:?}"
        );
    }
    assert_eq!(fixture.pid(id).await, pid);
    assert_eq!(names(&fixture, id), before);
}

#[tokio::test]
async fn a_rebuild_ends_the_way_back() {
    let fixture = Fixture::new().await;
    let id = counting_guest(&fixture).await;
    fixture.twice(reshape(id, LARGE)).await;
    let image = fixture.image("rebuilt");
    fixture
        .twice(Task::EnsureImage {
            image: image.clone(),
        })
        .await;
    let rebuilt = GuestSpec {
        id,
        ..spec(Some(image))
    };
    fixture.twice(Task::Rebuild { spec: rebuilt }).await;
    assert_eq!(names(&fixture, id), ["root.qcow2", "spec.json"]);
    assert_eq!(
        fixture.twice(Task::RevertShape { id }).await,
        Report::Already
    );
}
