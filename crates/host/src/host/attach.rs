//! Disks that come and go: at once in a running guest, else at its next start.

use super::Inner;
use super::launch::assign_ports;
use crate::error::HostError;
use crate::guest::Guest;
use crate::guest_dir::GuestDir;
use crate::machine::{DiskBus, Machine};
use crate::qemu::command_line::BootDisk;
use crate::qemu::process::Process;
use crate::spec::{DiskFormat, DiskSpec, GuestSpec};
use crate::task::Report;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// For a guest's system to let go of a device.
const RELEASE_LIMIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The place in the boot order of a disk that came later: behind all others.
const LAST_TO_BOOT: u32 = 100;

impl Inner {
    pub(super) async fn attach_disk(
        &self,
        guest: &Arc<Guest>,
        disk: DiskSpec,
    ) -> Result<Report, HostError> {
        check_disk(&disk)?;
        let spec = guest.spec()?;
        let mut disks: Vec<DiskSpec> = spec
            .disks
            .iter()
            .filter(|known| known.id != disk.id)
            .cloned()
            .collect();
        let known = disks.len() < spec.disks.len();
        disks.push(disk.clone());
        let ports = assign_ports(&disks, &spec.nics, &guest.state().ports)?;
        let port = ports.get(&disk.id).copied();
        guest.update_state(|state| state.ports = ports)?;
        let Some(process) = self.live(guest).await? else {
            self.remember_disks(guest, &spec, disks)?;
            return Ok(if known { Report::Already } else { Report::Done });
        };
        let boot_disk = self.volume(&disk, LAST_TO_BOOT + u32::from(port.unwrap_or(0)), port);
        if has_device(&process, &boot_disk.device_id()).await? {
            self.remember_disks(guest, &spec, disks)?;
            return Ok(Report::Already);
        }
        self.user.own(&disk.path)?;
        plug(&process, &boot_disk, bus_of(&spec)?).await?;
        self.remember_disks(guest, &spec, disks)?;
        Ok(Report::Done)
    }

    pub(super) async fn detach_disk(
        &self,
        guest: &Arc<Guest>,
        id: &str,
    ) -> Result<Report, HostError> {
        let spec = guest.spec()?;
        let Some(disk) = spec.disks.iter().find(|disk| disk.id == id) else {
            return Ok(Report::Already);
        };
        if let Some(process) = self.live(guest).await? {
            let port = guest.state().ports.get(id).copied();
            unplug(&process, &self.volume(disk, LAST_TO_BOOT, port)).await?;
        }
        let rest = spec
            .disks
            .iter()
            .filter(|disk| disk.id != id)
            .cloned()
            .collect();
        self.remember_disks(guest, &spec, rest)?;
        guest.update_state(|state| {
            state.ports.remove(id);
        })?;
        Ok(Report::Done)
    }

    fn remember_disks(
        &self,
        guest: &Guest,
        spec: &GuestSpec,
        disks: Vec<DiskSpec>,
    ) -> Result<(), HostError> {
        let spec = GuestSpec {
            disks,
            ..spec.clone()
        };
        GuestDir::write_spec(guest.dir.path(), &spec)?;
        guest.set_spec(spec);
        Ok(())
    }
}

fn bus_of(spec: &GuestSpec) -> Result<DiskBus, HostError> {
    match Machine::parse(&spec.machine_properties)?.disk_bus {
        DiskBus::Sata => Err(HostError::WrongState {
            id: spec.id,
            state: "running".to_owned(),
            rule: "disks of a guest with hw_disk_bus=sata come and go while it is shut down: stop it first".to_owned(),
        }),
        bus => Ok(bus),
    }
}

async fn plug(process: &Process, disk: &BootDisk, bus: DiskBus) -> Result<(), HostError> {
    let device = disk.device(bus, 0)?;
    // An earlier attempt may have left the node without its device.
    let _ = process
        .execute("blockdev-del", json!({"node-name": disk.name}))
        .await;
    process.execute("blockdev-add", disk.blockdev()).await?;
    if let Err(error) = process.execute("device_add", device).await {
        let _ = process
            .execute("blockdev-del", json!({"node-name": disk.name}))
            .await;
        return Err(error);
    }
    Ok(())
}

async fn unplug(process: &Process, disk: &BootDisk) -> Result<(), HostError> {
    let what = "let go of the disk; unmount it in the guest, or stop the guest,";
    release_device(process, &disk.device_id(), what).await?;
    let nodes = process
        .execute("query-named-block-nodes", json!({"flat": true}))
        .await?;
    let is_there = nodes.as_array().is_some_and(|nodes| {
        nodes
            .iter()
            .any(|node| node["node-name"] == disk.name.as_str())
    });
    if is_there {
        process
            .execute("blockdev-del", json!({"node-name": disk.name}))
            .await?;
    }
    Ok(())
}

/// Asks the guest to let go of a device, and waits until it has. `what` says what it did not do in time.
pub(super) async fn release_device(
    process: &Process,
    device: &str,
    what: &str,
) -> Result<(), HostError> {
    let deadline = Instant::now() + RELEASE_LIMIT;
    // A refusal means that the guest was asked before.
    let _ = process.execute("device_del", json!({"id": device})).await;
    while has_device(process, device).await? {
        if Instant::now() >= deadline {
            return Err(HostError::TimedOut {
                id: process.id,
                what: what.to_owned(),
                secs: RELEASE_LIMIT.as_secs(),
            });
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

pub(super) async fn has_device(process: &Process, device: &str) -> Result<bool, HostError> {
    let devices = process
        .execute("qom-list", json!({"path": "/machine/peripheral"}))
        .await?;
    Ok(devices
        .as_array()
        .is_some_and(|devices| devices.iter().any(|known| known["name"] == device)))
}

/// Refuses a disk that QEMU could not open, or whose id could be taken for something else.
pub(super) fn check_disk(disk: &DiskSpec) -> Result<(), HostError> {
    let invalid = |field: &str, value: String, rule: &str| {
        Err(HostError::InvalidSpec {
            field: field.to_owned(),
            value,
            rule: rule.to_owned(),
        })
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if disk.id.is_empty() || disk.id.len() > 36 || !disk.id.chars().all(legal) {
        return invalid(
            "disk",
            disk.id.clone(),
            "a disk's id has 1 to 36 letters, digits, '-' or '_'",
        );
    }
    if !matches!(disk.format, DiskFormat::Raw | DiskFormat::Qcow2) {
        return invalid(
            "disk format",
            disk.format.to_string(),
            "a disk is raw or qcow2",
        );
    }
    if !disk.path.exists() {
        return invalid(
            "disk path",
            disk.path.display().to_string(),
            "there is no such file",
        );
    }
    Ok(())
}
