//! Guests as the machine sees them: QEMU's processes and files below a data directory, and an image to start them with.

use super::{Actor, until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the image writes to its serial line.
pub const GREETING: &str = "hello from the boot sector";

/// A boot sector that writes [`GREETING`] to COM1 and halts, on a disk of 1 MiB.
pub fn boot_sector() -> Vec<u8> {
    #[rustfmt::skip]
    let code = [
        0xfa,               // cli
        0xfc,               // cld
        0x31, 0xc0,         // xor ax, ax
        0x8e, 0xd8,         // mov ds, ax
        0xbe, 0x17, 0x7c,   // mov si, text (0x7c00 + the length of this code)
        0xba, 0xf8, 0x03,   // mov dx, 0x3f8
        0xac,               // next: lodsb
        0x84, 0xc0,         // test al, al
        0x74, 0x03,         // jz halt
        0xee,               // out dx, al
        0xeb, 0xf8,         // jmp next
        0xf4,               // halt: hlt
        0xeb, 0xfd,         // jmp halt
    ];
    let mut disk = vec![0; 1 << 20];
    disk[..code.len()].copy_from_slice(&code);
    let text = format!("{GREETING}\r\n");
    disk[code.len()..code.len() + text.len()].copy_from_slice(text.as_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

fn guests_dir(data: &Path) -> PathBuf {
    data.join("host/guests")
}

/// The directory of one guest.
pub fn directory(data: &Path, id: &str) -> PathBuf {
    let name = files(data).into_iter().find(|name| name.contains(id));
    guests_dir(data).join(name.expect("a directory of the guest"))
}

/// The processes that run in a directory of a guest, with that directory.
fn processes(data: &Path) -> Vec<(Pid, PathBuf)> {
    let guests = guests_dir(data);
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let found = entries.filter_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let directory = fs::read_link(entry.path().join("cwd")).ok()?;
        directory.starts_with(&guests).then_some((pid, directory))
    });
    found.collect()
}

/// The processes of one guest.
pub fn of_guest(data: &Path, id: &str) -> Vec<Pid> {
    let found = processes(data).into_iter();
    found
        .filter(|(_, directory)| directory.to_string_lossy().contains(id))
        .map(|(pid, _)| pid)
        .collect()
}

/// The processes of all guests.
pub fn all(data: &Path) -> Vec<Pid> {
    processes(data).into_iter().map(|(pid, _)| pid).collect()
}

/// `kill -9` of a process.
pub fn kill9(pid: Pid) {
    kill_process(pid, Signal::KILL).unwrap();
}

/// Ends what a test leaves behind.
pub fn end_all(data: &Path) {
    for pid in all(data) {
        // An error means that it has just ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The names of everything that guests have on disk.
pub fn files(data: &Path) -> Vec<String> {
    let entries = fs::read_dir(guests_dir(data)).unwrap().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Waits until the guest has booted: its greeting is on the console that its owner reads.
pub async fn greeted(owner: &Actor, id: &str) {
    until(
        format!("the greeting of {id}"),
        Duration::from_secs(60),
        async || owner.console(id).await.contains(GREETING).then_some(()),
    )
    .await;
}

/// Nothing is left of any guest: no process, no file, and no capacity that is taken.
pub async fn assert_nothing_left(admin: &Actor, data: &Path) {
    until(
        "the end of every guest's process",
        Duration::from_secs(60),
        async || all(data).is_empty().then_some(()),
    )
    .await;
    assert_eq!(
        files(data),
        Vec::<String>::new(),
        "files of guests that are gone"
    );
    assert_nothing_allocated(admin).await;
}

/// No host has capacity that is taken.
pub async fn assert_nothing_allocated(admin: &Actor) {
    let providers = admin.get("/placement/resource_providers").await;
    let providers = providers["resource_providers"]
        .as_array()
        .expect("a list")
        .clone();
    assert!(!providers.is_empty());
    for provider in providers {
        let id = provider["uuid"].as_str().unwrap();
        let usages = admin
            .get(&format!("/placement/resource_providers/{id}/usages"))
            .await;
        let taken = usages["usages"].as_object().expect("usages");
        assert!(
            taken.values().all(|amount| amount == 0),
            "{}: {taken:?}",
            provider["name"]
        );
        let allocations = admin
            .get(&format!("/placement/resource_providers/{id}/allocations"))
            .await;
        assert_eq!(
            allocations["allocations"],
            serde_json::json!({}),
            "{}",
            provider["name"]
        );
    }
}
