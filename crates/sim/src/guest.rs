//! One simulated guest: what a real one would have on disk and in its process, as data.

use corten_host::{
    ConfigDrive, CpuDiagnostics, Diagnostics, DiskDiagnostics, ExitCause, Firmware, GuestChange,
    GuestSpec, HostError, NicDiagnostics, Observation, Power, Shape,
};
use corten_model::ids::{InstanceId, OperationId, PortId};
use std::collections::BTreeSet;
use tokio::time::Instant;

/// A console log is cut to half of this when it grows beyond it.
const CONSOLE_MAX_BYTES: usize = 64 << 10;

pub struct Guest {
    /// Without the content of its config drive, as a real host keeps it.
    pub spec: GuestSpec,
    pub has_config_drive: bool,
    /// What the config drive tells of networks.
    pub network_data: Option<Vec<u8>>,
    pub process: Option<Process>,
    /// The ports whose taps were made. They stay while the guest is off, as on a real host.
    pub taps: BTreeSet<PortId>,
    /// Suspended: its memory is on disk.
    pub memory_saved: bool,
    /// Boots from a rescue disk.
    pub rescue: Option<Rescue>,
    /// The shape that can be gone back to.
    pub before: Option<Before>,
    /// The last operation whose reboot is done.
    pub rebooted_by: Option<OperationId>,
    pub last_exit: Option<ExitCause>,
    /// Powers off when it is asked to.
    pub obeys: bool,
    pub console: Vec<u8>,
    /// What happened since the host last told.
    pub changes: Vec<GuestChange>,
}

pub struct Process {
    pub pid: u32,
    pub paused: bool,
    pub started_at: Instant,
}

/// What a reshape left behind until it is confirmed or reverted.
pub struct Before {
    pub shape: Shape,
    /// The operation that reshaped.
    pub by: OperationId,
}

pub struct Rescue {
    /// SHA-512 of the image under the rescue disk.
    pub image: String,
    pub has_config_drive: bool,
}

/// The one document of a config drive that is kept.
pub fn network_data(config_drive: Option<&ConfigDrive>) -> Option<Vec<u8>> {
    let mut files = config_drive?.files.iter();
    let found = files.find(|file| file.path.ends_with("/network_data.json"))?;
    Some(found.content.clone())
}

impl Guest {
    pub fn new(spec: GuestSpec, obeys: bool) -> Self {
        let has_config_drive = spec.config_drive.is_some();
        let network_data = network_data(spec.config_drive.as_ref());
        Self {
            spec: GuestSpec {
                config_drive: None,
                ..spec
            },
            has_config_drive,
            network_data,
            process: None,
            taps: BTreeSet::new(),
            memory_saved: false,
            rescue: None,
            before: None,
            rebooted_by: None,
            last_exit: None,
            obeys,
            console: Vec::new(),
            changes: Vec::new(),
        }
    }

    pub fn id(&self) -> InstanceId {
        self.spec.id
    }

    /// A new process, which boots and writes to the console; a resumed guest goes on in silence.
    pub fn launch(&mut self, pid: u32) {
        self.taps.extend(self.spec.nics.iter().map(|nic| nic.port));
        self.process = Some(Process {
            pid,
            paused: false,
            started_at: Instant::now(),
        });
        self.changes.push(GuestChange::Started { pid });
        if !self.memory_saved {
            self.boot();
        }
        self.changes.push(GuestChange::Resumed);
    }

    pub fn boot(&mut self) {
        let name = &self.spec.name;
        let mode = if self.rescue.is_some() {
            "rescue disk"
        } else {
            "root disk"
        };
        let boot = format!(
            "[    0.000000] Linux version 6.1.0-sim ({name})\n\
             [    0.000000] Command line: console=ttyS0,115200\n\
             [    0.010000] Memory: {memory} MiB available\n\
             [    0.020000] smp: Brought up 1 node, {vcpus} CPUs\n\
             [    0.100000] virtio_blk virtio0: booting from the {mode}\n\
             [    0.200000] EXT4-fs (vda1): mounted filesystem\n\
             [    0.300000] Run /sbin/init as init process\n\
             Starting services\n\
             cloud-init: hostname is {name}\n\
             cloud-init: finished\n\
             reached userland\n\
             {name} login: \n",
            memory = self.spec.memory_mib,
            vcpus = self.spec.vcpus,
        );
        self.write_console(boot.as_bytes());
    }

    pub fn write_console(&mut self, bytes: &[u8]) {
        self.console.extend_from_slice(bytes);
        if self.console.len() > CONSOLE_MAX_BYTES {
            let surplus = self.console.len() - CONSOLE_MAX_BYTES / 2;
            self.console.drain(..surplus);
        }
    }

    /// The end of the console log.
    pub fn console_tail(&self, lines: Option<usize>) -> Vec<u8> {
        let Some(lines) = lines else {
            return self.console.clone();
        };
        let all: Vec<&[u8]> = self
            .console
            .split_inclusive(|byte| *byte == b'\n')
            .collect();
        all[all.len().saturating_sub(lines)..].concat()
    }

    /// The process ends, if there is one.
    pub fn end(&mut self, cause: ExitCause) {
        if self.process.take().is_some() {
            self.last_exit = Some(cause.clone());
            self.changes.push(GuestChange::Ended { cause });
        }
    }

    pub fn power(&self) -> Power {
        match &self.process {
            Some(process) if process.paused => Power::Paused,
            Some(_) => Power::Running,
            None if self.memory_saved => Power::Suspended,
            None if self.last_exit.as_ref().is_some_and(ExitCause::is_crash) => Power::Crashed,
            None => Power::Shutdown,
        }
    }

    pub fn observation(&self) -> Observation {
        Observation {
            id: self.id(),
            power: self.power(),
            pid: self.process.as_ref().map(|process| process.pid),
            rescued: self.rescue.is_some(),
            last_exit: if self.process.is_some() {
                None
            } else {
                self.last_exit.clone()
            },
        }
    }

    pub fn wrong_state(&self, rule: &str) -> HostError {
        let state = if self.memory_saved {
            "suspended"
        } else {
            "shut down"
        };
        HostError::WrongState {
            id: self.id(),
            state: state.to_owned(),
            rule: rule.to_owned(),
        }
    }

    /// The process, which `rule` needs.
    pub fn must_live(&mut self, rule: &str) -> Result<&mut Process, HostError> {
        if self.process.is_none() {
            return Err(self.wrong_state(rule));
        }
        self.process
            .as_mut()
            .ok_or(HostError::NoSuchGuest { id: self.spec.id })
    }

    /// Does the guest keep this image from being dropped?
    pub fn stands_on(&self, sha512: &str) -> bool {
        let root = self.spec.image.as_ref().map(|image| image.sha512.as_str());
        let rescue = self.rescue.as_ref().map(|rescue| rescue.image.as_str());
        root == Some(sha512) || rescue == Some(sha512)
    }

    /// The files that a real host would have in the guest's directory.
    pub fn files(&self) -> Vec<&'static str> {
        let spec = &self.spec;
        let rescue_drive = self
            .rescue
            .as_ref()
            .is_some_and(|rescue| rescue.has_config_drive);
        let has_root = spec.image.is_some() || spec.root_gib > 0;
        let before = self.before.as_ref().map(|before| before.shape);
        [
            ("root.qcow2", has_root),
            ("root.qcow2.before", has_root && before.is_some()),
            ("before.json", before.is_some()),
            (
                "ephemeral.raw.before",
                before.is_some_and(|shape| shape.ephemeral_gib > 0),
            ),
            ("ephemeral.raw", spec.ephemeral_gib > 0),
            ("swap.raw", spec.swap_mib > 0),
            ("uefi-variables.fd", spec.firmware == Firmware::Uefi),
            ("config.iso", self.has_config_drive),
            ("rescue.qcow2", self.rescue.is_some()),
            ("rescue-config.iso", rescue_drive),
            ("memory.state", self.memory_saved),
        ]
        .into_iter()
        .filter(|(_, present)| *present)
        .map(|(name, _)| name)
        .collect()
    }

    pub fn diagnostics(&self, process: &Process) -> Diagnostics {
        let spec = &self.spec;
        let uptime = process.started_at.elapsed();
        let idle_disk = |name: String| DiskDiagnostics {
            name,
            read_bytes: 0,
            read_requests: 0,
            write_bytes: 0,
            write_requests: 0,
            errors: 0,
        };
        let own = [
            ("rescue.qcow2", "rescue"),
            ("root.qcow2", "root"),
            ("ephemeral.raw", "ephemeral"),
            ("swap.raw", "swap"),
        ];
        let files = self.files();
        let own = own.into_iter().filter(|(file, _)| files.contains(file));
        let idle_nic = |nic: &corten_host::NicSpec| NicDiagnostics {
            mac: nic.mac.to_string(),
            tap: format!("sim{}", &nic.port.to_string()[..8]),
            rx_octets: 0,
            rx_packets: 0,
            rx_errors: 0,
            rx_drop: 0,
            tx_octets: 0,
            tx_packets: 0,
            tx_errors: 0,
            tx_drop: 0,
        };
        Diagnostics {
            power: self.power(),
            uptime_secs: uptime.as_secs(),
            config_drive: self.has_config_drive,
            cpus: (0..spec.vcpus)
                .map(|id| CpuDiagnostics {
                    id,
                    time_ns: u64::try_from(uptime.as_nanos()).unwrap_or(u64::MAX),
                })
                .collect(),
            memory_maximum_mib: spec.memory_mib,
            memory_used_mib: spec.memory_mib,
            disks: own
                .map(|(_, name)| idle_disk(name.to_owned()))
                .chain(spec.disks.iter().map(|disk| idle_disk(disk.id.clone())))
                .collect(),
            nics: spec.nics.iter().map(idle_nic).collect(),
        }
    }
}
