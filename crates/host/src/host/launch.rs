//! Starting a guest's QEMU process, and taking one that runs under control.

use super::Inner;
use crate::capacity;
use crate::cgroup::Limits;
use crate::console;
use crate::disks;
use crate::error::HostError;
use crate::guest::Guest;
use crate::guest_dir::{self, GuestState, Run};
use crate::hands::{Accelerator, GuestChange, GuestEvent};
use crate::machine::Machine;
use crate::qemu::command_line::{self, BootDisk, HOT_PLUG_PORTS, Launch};
use crate::qemu::process::{self, Process, Start};
use crate::spec::{DiskFormat, DiskSpec, Firmware, GuestSpec, NicSpec};
use corten_model::ids::PortId;
use sha2::{Digest, Sha512};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// For a process that has closed its connection to be gone.
const END_LIMIT: Duration = Duration::from_secs(5);

impl Inner {
    /// The guest's process, if it has one; one that was started in an earlier life of ours is adopted.
    pub(super) async fn live(&self, guest: &Arc<Guest>) -> Result<Option<Arc<Process>>, HostError> {
        if let Some(process) = guest.process() {
            if !process.qmp.is_closed() {
                return Ok(Some(process));
            }
            // It is just ending; its end is recorded in a moment.
            process.wait_ended(END_LIMIT).await;
            return Ok(None);
        }
        let Some(run) = guest.state().run else {
            return Ok(None);
        };
        let Some(pidfd) = process::open(run.pid, guest.id) else {
            self.note_unseen_end(guest)?;
            return Ok(None);
        };
        let qmp = process::reconnect(guest.id, &guest.dir).await?;
        guest
            .watch(run.pid, pidfd, qmp, None, self.events.clone())
            .map(Some)
    }

    /// As [`Self::live`], for questions: they do not interfere with a task that is just starting the guest.
    pub(super) async fn live_now(
        &self,
        guest: &Arc<Guest>,
    ) -> Result<Option<Arc<Process>>, HostError> {
        match (guest.process(), guest.turn.try_lock()) {
            (Some(process), _) if !process.qmp.is_closed() => Ok(Some(process)),
            (_, Ok(_turn)) => self.live(guest).await,
            (_, Err(_)) => Ok(None),
        }
    }

    pub(super) fn run_of(&self, pid: u32) -> Run {
        Run {
            pid,
            boot_id: capacity::boot_id(),
        }
    }

    /// Starts QEMU with the guest's processors standing still. `memory` is what a suspended guest left.
    pub(super) async fn launch(
        &self,
        guest: &Arc<Guest>,
        memory: Option<File>,
    ) -> Result<Arc<Process>, HostError> {
        let spec = guest.spec()?;
        let ports = assign_ports(&spec.disks, &spec.nics, &guest.state().ports)?;
        guest.update_state(|state| state.ports = ports)?;
        let accelerator = self.acceleration().await.accelerator;
        let arguments = self.arguments(guest, &spec, accelerator, memory.is_some())?;
        self.prepare_files(guest, &spec)?;
        self.plug_all(&spec.nics).await?;
        let (id, dir) = (guest.id, &guest.dir);
        let start = Start {
            dir,
            user: &self.user,
            namespace: self.switch.as_ref().map(|switch| switch.namespace()),
            qemu: &self.config.qemu,
            arguments,
            memory,
        };
        let mut child = start.spawn()?;
        let Some(pid) = child.id() else {
            return Err(HostError::DiedAtStart {
                id,
                status: "at once".to_owned(),
                output: process::last_words(dir),
            });
        };
        let run = self.run_of(pid);
        guest.update_state(|state| state.run = Some(run))?;
        let qmp = match process::greet(id, dir, &mut child).await {
            Ok(qmp) => qmp,
            Err(error) => {
                // A process that has ended by itself cannot be killed, and need not.
                let _ = child.kill().await;
                guest.update_state(|state| state.run = None)?;
                dir.remove_sockets()?;
                return Err(error);
            }
        };
        let pidfd = process::open(pid, id).ok_or_else(|| HostError::DiedAtStart {
            id,
            status: "after its greeting".to_owned(),
            output: process::last_words(dir),
        })?;
        let limits = Limits {
            vcpus: spec.vcpus,
            memory_mib: spec.memory_mib,
            accelerator,
        };
        self.limit(guest, pid, limits);
        let process = guest.watch(pid, pidfd, qmp, Some(child), self.events.clone())?;
        // Nobody listening is fine.
        let _ = self.events.send(GuestEvent {
            id,
            change: GuestChange::Started { pid },
        });
        Ok(process)
    }

    fn arguments(
        &self,
        guest: &Guest,
        spec: &GuestSpec,
        accelerator: Accelerator,
        incoming: bool,
    ) -> Result<Vec<String>, HostError> {
        let disks = self.boot_disks(guest, spec, &guest.state());
        let nics = self.boot_nics(spec, &guest.state())?;
        let uefi_code = if spec.firmware == Firmware::Uefi {
            disks::ovmf()?.0
        } else {
            ""
        };
        command_line::arguments(&Launch {
            spec,
            machine: Machine::parse(&spec.machine_properties)?,
            accelerator,
            disks: &disks,
            nics: &nics,
            uefi_code,
            incoming,
        })
    }

    fn prepare_files(&self, guest: &Guest, spec: &GuestSpec) -> Result<(), HostError> {
        for disk in &spec.disks {
            self.user.own(&disk.path)?;
        }
        console::prepare(&guest.dir, &self.user)?;
        guest.dir.prepare_sockets(&self.user)
    }

    /// Limits are a defence in depth: a guest runs without them rather than not at all.
    fn limit(&self, guest: &Guest, pid: u32, limits: Limits) {
        if let Err(error) = self.cgroups.place(guest.id, pid, limits) {
            tracing::warn!(guest = %guest.id, %error, "a guest runs without some of its limits");
        }
    }

    /// The guest's disks in the order that it sees them.
    fn boot_disks(&self, guest: &Guest, spec: &GuestSpec, state: &GuestState) -> Vec<BootDisk> {
        let rescued = state.rescue_image.is_some();
        let own = |name: &str, file: &str, format: DiskFormat, boot_index: Option<u32>| BootDisk {
            name: name.to_owned(),
            file: file.to_owned(),
            format,
            read_only: false,
            boot_index,
            serial: None,
            port: None,
        };
        let drive = if rescued {
            guest_dir::RESCUE_CONFIG_DRIVE
        } else {
            guest_dir::CONFIG_DRIVE
        };
        let candidates = [
            own("rescue", guest_dir::RESCUE, DiskFormat::Qcow2, Some(0)),
            own("root", guest_dir::ROOT, DiskFormat::Qcow2, Some(1)),
            match guest.dir.has(guest_dir::EPHEMERAL_LAYER) {
                true => own(
                    "ephemeral",
                    guest_dir::EPHEMERAL_LAYER,
                    DiskFormat::Qcow2,
                    None,
                ),
                false => own("ephemeral", guest_dir::EPHEMERAL, DiskFormat::Raw, None),
            },
            own("swap", guest_dir::SWAP, DiskFormat::Raw, None),
        ];
        let mut disks: Vec<BootDisk> = candidates
            .into_iter()
            .filter(|disk| guest.dir.has(&disk.file) && (rescued || disk.file != guest_dir::RESCUE))
            .collect();
        let volumes = spec.disks.iter().enumerate();
        disks.extend(volumes.map(|(index, disk)| {
            self.volume(disk, 2 + index as u32, state.ports.get(&disk.id).copied())
        }));
        if guest.dir.has(drive) {
            disks.push(BootDisk {
                read_only: true,
                ..own("config", drive, DiskFormat::Raw, None)
            });
        }
        disks
    }

    /// A disk that comes and goes. Its node's name is short, as QEMU wants it.
    pub(super) fn volume(&self, disk: &DiskSpec, boot_index: u32, port: Option<u8>) -> BootDisk {
        BootDisk {
            name: format!(
                "vol-{}",
                hex::encode(&Sha512::digest(disk.id.as_bytes())[..12])
            ),
            file: self.path_from_guest(&disk.path),
            format: disk.format,
            read_only: disk.read_only,
            boot_index: Some(boot_index),
            serial: Some(disk.id.chars().take(20).collect()),
            port,
        }
    }

    /// The guests' user may have no access to the directories above ours, so paths below it are relative.
    fn path_from_guest(&self, path: &Path) -> String {
        match path.strip_prefix(&self.config.data_dir) {
            Ok(below) => format!("../../{}", below.display()),
            Err(_) => path.display().to_string(),
        }
    }
}

/// The name under which a network card's root port is remembered. It is longer than any disk's.
pub(super) fn nic_key(port: PortId) -> String {
    format!("nic-{port}")
}

/// A root port for each disk and network card; those that have one keep it.
pub(super) fn assign_ports(
    disks: &[DiskSpec],
    nics: &[NicSpec],
    taken: &BTreeMap<String, u8>,
) -> Result<BTreeMap<String, u8>, HostError> {
    let disks = disks.iter().map(|disk| ("disk", disk.id.clone()));
    let nics = nics.iter().map(|nic| ("port", nic_key(nic.port)));
    let devices: Vec<(&str, String)> = disks.chain(nics).collect();
    let mut ports: BTreeMap<String, u8> = devices
        .iter()
        .filter_map(|(_, key)| taken.get_key_value(key))
        .map(|(key, port)| (key.clone(), *port))
        .collect();
    for (field, key) in devices {
        if ports.contains_key(&key) {
            continue;
        }
        let free = (0..HOT_PLUG_PORTS).find(|port| !ports.values().any(|taken| taken == port));
        let Some(port) = free else {
            return Err(HostError::InvalidSpec {
                field: field.to_owned(),
                value: key,
                rule: format!(
                    "a guest has at most {HOT_PLUG_PORTS} disks beside its own and network cards together: detach one first"
                ),
            });
        };
        ports.insert(key, port);
    }
    Ok(ports)
}
