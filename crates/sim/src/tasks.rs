//! What each task does to a simulated guest: the same rules as on a real host, on data.

use crate::config::SimConfig;
use crate::guest::{Before, Guest, Rescue, network_data};
use corten_host::{
    ConfigDrive, DiskFormat, DiskSpec, ExitCause, GuestChange, GuestSpec, HostError, ImageRecord,
    ImageRef, Machine, NicSpec, RebootKind, Report, Shape, StopKind,
};
use corten_model::ids::{InstanceId, OperationId, PortId};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::{Component, Path};

const GIB: u64 = 1 << 30;
/// Disks beside its own and network cards that a guest can have together, as on a real host.
const DEVICES_MAX: usize = 16;
/// What the machine type carries, as on a real host.
const VCPUS_MAX: u32 = 255;

/// The host's image cache.
#[derive(Default)]
pub struct Images {
    records: BTreeMap<String, ImageRecord>,
}

impl Images {
    pub fn ensure(&mut self, image: &ImageRef, config: &SimConfig) -> Result<Report, HostError> {
        check_sha512(&image.sha512)?;
        let format = match image.format {
            DiskFormat::Raw | DiskFormat::Iso | DiskFormat::Ami => DiskFormat::Raw,
            DiskFormat::Aki | DiskFormat::Ari => {
                return Err(HostError::ImageRefused {
                    path: image.path.clone(),
                    reason: format!(
                        "an image of format {} is a kernel or its ramdisk, not a disk to boot from",
                        image.format
                    ),
                });
            }
            _ => DiskFormat::Qcow2,
        };
        let record = self
            .records
            .entry(image.sha512.clone())
            .or_insert_with(|| ImageRecord {
                sha512: image.sha512.clone(),
                format,
                size_bytes: config.image_virtual_size_bytes,
                virtual_size_bytes: config.image_virtual_size_bytes,
            });
        Ok(Report::Image {
            image: record.clone(),
        })
    }

    pub fn drop_image(&mut self, sha512: &str) -> Result<Report, HostError> {
        check_sha512(sha512)?;
        self.records.remove(sha512);
        Ok(Report::Done)
    }

    pub fn cached(&self, image: &ImageRef) -> Result<&ImageRecord, HostError> {
        self.records
            .get(&image.sha512)
            .ok_or_else(|| HostError::ImageNotCached {
                sha512: image.sha512.clone(),
            })
    }

    pub fn hashes(&self) -> Vec<String> {
        self.records.keys().cloned().collect()
    }
}

/// The spec as a host runs it, if a guest can be made of it here.
pub fn checked(spec: GuestSpec, images: &Images) -> Result<GuestSpec, HostError> {
    let spec = possible(spec)?;
    if let Some(image) = &spec.image {
        let needed_bytes = images.cached(image)?.virtual_size_bytes;
        check_root(spec.root_gib, needed_bytes)?;
    }
    spec.config_drive
        .as_ref()
        .map_or(Ok(()), check_config_drive)?;
    Ok(spec)
}

/// Refuses at once what could only fail at start. An image that asks for a firmware gets it.
fn possible(spec: GuestSpec) -> Result<GuestSpec, HostError> {
    let machine = Machine::parse(&spec.machine_properties)?;
    if !(1..=VCPUS_MAX).contains(&spec.vcpus) {
        invalid("vcpus", spec.vcpus, "a guest has 1 to 255 processors")?;
    }
    if spec.memory_mib == 0 {
        invalid("memory_mib", spec.memory_mib, "a guest needs memory")?;
    }
    spec.disks.iter().try_for_each(check_disk)?;
    check_nics(&spec.nics)?;
    Ok(GuestSpec {
        firmware: machine.firmware.unwrap_or(spec.firmware),
        ..spec
    })
}

fn check_root(root_gib: u64, needed_bytes: u64) -> Result<(), HostError> {
    if root_gib > 0 && needed_bytes > root_gib * GIB {
        return Err(HostError::RootDiskTooSmall {
            root_gib,
            needed_bytes,
        });
    }
    Ok(())
}

/// A disk as a host takes it. Whether its file exists is not asked: disks are data here.
fn check_disk(disk: &DiskSpec) -> Result<(), HostError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if disk.id.is_empty() || disk.id.len() > 36 || !disk.id.chars().all(legal) {
        let rule = "a disk's id has 1 to 36 letters, digits, '-' or '_'";
        return invalid("disk", &disk.id, rule);
    }
    if !matches!(disk.format, DiskFormat::Raw | DiskFormat::Qcow2) {
        return invalid("disk format", disk.format, "a disk is raw or qcow2");
    }
    Ok(())
}

fn check_number_of_devices(spec: &GuestSpec) -> Result<(), HostError> {
    let rule =
        "a guest has at most 16 disks beside its own and network cards together: detach one first";
    let disks = spec.disks.iter().map(|disk| ("disk", disk.id.clone()));
    let nics = spec.nics.iter().map(|nic| ("port", nic.port.to_string()));
    match disks.chain(nics).nth(DEVICES_MAX) {
        Some((field, surplus)) => invalid(field, surplus, rule),
        None => Ok(()),
    }
}

fn check_nics(nics: &[NicSpec]) -> Result<(), HostError> {
    let mut ports = BTreeSet::new();
    match nics.iter().find(|nic| !ports.insert(nic.port)) {
        Some(twice) => invalid(
            "port",
            twice.port,
            "a guest has one network card for a port",
        ),
        None => Ok(()),
    }
}

fn invalid(field: &str, value: impl ToString, rule: &str) -> Result<(), HostError> {
    Err(HostError::InvalidSpec {
        field: field.to_owned(),
        value: value.to_string(),
        rule: rule.to_owned(),
    })
}

/// Hands out pids that no other process of this host has had.
#[derive(Default)]
pub struct Pids(u32);

impl Pids {
    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(1);
        self.0.saturating_add(1000)
    }
}

impl Guest {
    pub fn start(&mut self, pids: &mut Pids) -> Result<Report, HostError> {
        if self.process.is_some() {
            return Ok(Report::Already);
        }
        if self.memory_saved {
            return Err(self.wrong_state("resume it, or reboot it hard to throw its memory away"));
        }
        check_number_of_devices(&self.spec)?;
        self.launch(pids.next());
        Ok(Report::Done)
    }

    pub fn stop(&mut self, graceful_secs: Option<u32>) -> Report {
        let kind = self.power_off(graceful_secs);
        self.memory_saved = false;
        Report::Stopped { kind }
    }

    fn power_off(&mut self, graceful_secs: Option<u32>) -> StopKind {
        let Some(process) = &self.process else {
            return StopKind::AlreadyOff;
        };
        // A guest that stands still hears nothing.
        let graceful = graceful_secs.is_some_and(|secs| secs > 0) && self.obeys && !process.paused;
        if graceful {
            self.write_console(b"[   99.000000] reboot: Power down\n");
        }
        self.end(ExitCause::Requested);
        if graceful {
            StopKind::Graceful
        } else {
            StopKind::PowerCut
        }
    }

    pub fn reboot(
        &mut self,
        operation: OperationId,
        graceful_secs: Option<u32>,
        pids: &mut Pids,
    ) -> Result<Report, HostError> {
        if self.rebooted_by == Some(operation) && self.process.is_some() {
            let kind = RebootKind::AlreadyDone;
            return Ok(Report::Rebooted { kind });
        }
        let kind = match (graceful_secs, self.power_off(graceful_secs)) {
            (Some(_), StopKind::Graceful) => RebootKind::Soft,
            (Some(_), StopKind::PowerCut) => RebootKind::SoftTurnedHard,
            _ => RebootKind::Hard,
        };
        self.memory_saved = false;
        self.start(pids)?;
        self.rebooted_by = Some(operation);
        Ok(Report::Rebooted { kind })
    }

    pub fn reset(&mut self) -> Result<Report, HostError> {
        self.must_live("only a guest with power has a reset button: start it")?;
        self.changes.push(GuestChange::Reset);
        self.boot();
        Ok(Report::Done)
    }

    pub fn pause(&mut self) -> Result<Report, HostError> {
        let process = self.must_live("only a running guest can be paused: start it")?;
        if process.paused {
            return Ok(Report::Already);
        }
        process.paused = true;
        self.changes.push(GuestChange::Paused);
        Ok(Report::Done)
    }

    pub fn unpause(&mut self) -> Result<Report, HostError> {
        let process = self.must_live("only a paused guest can be unpaused: start it")?;
        if !process.paused {
            return Ok(Report::Already);
        }
        process.paused = false;
        self.changes.push(GuestChange::Resumed);
        Ok(Report::Done)
    }

    pub fn suspend(&mut self) -> Result<Report, HostError> {
        match &self.process {
            None if self.memory_saved => return Ok(Report::Already),
            None => {
                return Err(self.wrong_state("only a running guest can be suspended: start it"));
            }
            Some(process) if !process.paused => self.changes.push(GuestChange::Paused),
            Some(_) => {}
        }
        self.memory_saved = true;
        self.end(ExitCause::Requested);
        Ok(Report::Done)
    }

    pub fn resume(&mut self, pids: &mut Pids) -> Result<Report, HostError> {
        match &mut self.process {
            Some(process) if process.paused => {
                process.paused = false;
                self.changes.push(GuestChange::Resumed);
            }
            Some(_) => return Ok(Report::Already),
            None if self.memory_saved => {
                self.launch(pids.next());
                self.memory_saved = false;
            }
            None => {
                return Err(self.wrong_state("only a suspended guest can be resumed: start it"));
            }
        }
        Ok(Report::Done)
    }

    pub fn rebuild(&mut self, spec: GuestSpec, images: &Images) -> Result<Report, HostError> {
        let spec = checked(spec, images)?;
        self.end(ExitCause::Requested);
        self.memory_saved = false;
        self.rescue = None;
        self.before = None;
        self.last_exit = None;
        self.console.clear();
        self.has_config_drive = spec.config_drive.is_some();
        self.network_data = network_data(spec.config_drive.as_ref());
        self.taps
            .retain(|port| spec.nics.iter().any(|nic| nic.port == *port));
        self.spec = GuestSpec {
            config_drive: None,
            ..spec
        };
        Ok(Report::Done)
    }

    pub fn rescue(
        &mut self,
        image: &ImageRef,
        config_drive: Option<&ConfigDrive>,
        images: &Images,
        pids: &mut Pids,
    ) -> Result<Report, HostError> {
        if self.rescue.is_some() {
            return self.start(pids);
        }
        images.cached(image)?;
        config_drive.map_or(Ok(()), check_config_drive)?;
        self.stop(None);
        self.rescue = Some(Rescue {
            image: image.sha512.clone(),
            has_config_drive: config_drive.is_some(),
        });
        self.start(pids)?;
        Ok(Report::Done)
    }

    pub fn unrescue(&mut self, pids: &mut Pids) -> Result<Report, HostError> {
        if self.rescue.is_some() {
            self.stop(None);
            self.rescue = None;
        }
        self.start(pids)
    }

    pub fn update_config_drive(
        &mut self,
        config_drive: Option<&ConfigDrive>,
    ) -> Result<Report, HostError> {
        config_drive.map_or(Ok(()), check_config_drive)?;
        self.has_config_drive = config_drive.is_some();
        self.network_data = network_data(config_drive);
        Ok(Report::Done)
    }

    pub fn attach_disk(&mut self, disk: DiskSpec) -> Result<Report, HostError> {
        check_disk(&disk)?;
        if self.spec.disks.iter().any(|known| known.id == disk.id) {
            return Ok(Report::Already);
        }
        self.spec.disks.push(disk);
        if let Err(error) = check_number_of_devices(&self.spec) {
            self.spec.disks.pop();
            return Err(error);
        }
        Ok(Report::Done)
    }

    pub fn detach_disk(&mut self, disk: &str) -> Report {
        let before = self.spec.disks.len();
        self.spec.disks.retain(|known| known.id != disk);
        if self.spec.disks.len() < before {
            Report::Done
        } else {
            Report::Already
        }
    }

    pub fn attach_nic(&mut self, nic: NicSpec) -> Result<Report, HostError> {
        let known = self.spec.nics.contains(&nic);
        let before = self.spec.nics.clone();
        self.spec.nics.retain(|other| other.port != nic.port);
        self.spec.nics.push(nic);
        if let Err(error) = check_number_of_devices(&self.spec) {
            self.spec.nics = before;
            return Err(error);
        }
        let is_plugged = self.process.is_some() && !self.taps.insert(nic.port);
        Ok(if is_plugged || known && self.process.is_none() {
            Report::Already
        } else {
            Report::Done
        })
    }

    pub fn detach_nic(&mut self, port: PortId) -> Report {
        self.taps.remove(&port);
        let before = self.spec.nics.len();
        self.spec.nics.retain(|known| known.port != port);
        if self.spec.nics.len() < before {
            Report::Done
        } else {
            Report::Already
        }
    }

    pub fn reshape(
        &mut self,
        operation: OperationId,
        shape: Shape,
        graceful_secs: Option<u32>,
        config: &SimConfig,
    ) -> Result<Report, HostError> {
        if self
            .before
            .as_ref()
            .is_some_and(|before| before.by == operation)
        {
            return Ok(Report::Already);
        }
        // A reshape that nobody confirmed is final for the next one.
        self.before = None;
        let old = self.spec.shape();
        let target = possible(self.spec.clone().reshaped(shape))?;
        for (field, old, new) in [
            ("root_gib", old.root_gib, shape.root_gib),
            ("ephemeral_gib", old.ephemeral_gib, shape.ephemeral_gib),
        ] {
            if new < old {
                let rule = format!("a disk is never made smaller, and this one has {old} GiB");
                invalid(field, new, &rule)?;
            }
        }
        check_root(shape.root_gib, self.root_bytes(config))?;
        self.stop(graceful_secs);
        self.before = Some(Before {
            shape: old,
            by: operation,
        });
        self.spec = target;
        Ok(Report::Done)
    }

    pub fn confirm_shape(&mut self) -> Report {
        match self.before.take() {
            Some(_) => Report::Done,
            None => Report::Already,
        }
    }

    pub fn revert_shape(&mut self) -> Report {
        let Some(before) = self.before.take() else {
            return Report::Already;
        };
        self.stop(None);
        self.spec = self.spec.clone().reshaped(before.shape);
        Report::Done
    }

    /// What the guest sees as the size of its root disk.
    fn root_bytes(&self, config: &SimConfig) -> u64 {
        match (self.spec.root_gib, &self.spec.image) {
            (0, Some(_)) => config.image_virtual_size_bytes,
            (gib, _) => gib * GIB,
        }
    }

    /// Writes an empty image of the root disk's size, so that what reads the snapshot finds a true one.
    pub fn snapshot(
        &self,
        target: &Path,
        format: DiskFormat,
        config: &SimConfig,
    ) -> Result<Report, HostError> {
        if !matches!(format, DiskFormat::Raw | DiskFormat::Qcow2) {
            return Err(HostError::UnsupportedSnapshotFormat { format });
        }
        if !self.files().contains(&"root.qcow2") {
            return Err(HostError::WrongState {
                id: self.id(),
                state: "without a root disk".to_owned(),
                rule: "take a snapshot of its volume instead".to_owned(),
            });
        }
        let virtual_size_bytes = self.root_bytes(config);
        let written = File::create(target).and_then(|mut file| match format {
            DiskFormat::Raw => file.set_len(virtual_size_bytes),
            _ => file.write_all(&empty_qcow2(virtual_size_bytes)),
        });
        let size = written.and_then(|()| Ok(target.metadata()?.len()));
        let size_bytes = size.map_err(|error| HostError::Io {
            doing: "write".to_owned(),
            path: target.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Report::Snapshot {
            format,
            size_bytes,
            virtual_size_bytes,
        })
    }
}

/// The image whose drop the guest forbids.
pub fn in_use(sha512: &str, id: InstanceId) -> HostError {
    HostError::ImageInUse {
        sha512: sha512.to_owned(),
        id,
    }
}

/// A version 2 header, an L1 table without entries, and a reference count for each cluster of the file.
fn empty_qcow2(virtual_size_bytes: u64) -> Vec<u8> {
    const CLUSTER_BITS: u32 = 16;
    const CLUSTER: usize = 1 << CLUSTER_BITS;
    // An L2 table is one cluster of 8-byte entries, each for one cluster of the disk.
    let covered_by_l2 = (CLUSTER as u64 / 8) << CLUSTER_BITS;
    let l1_entries = virtual_size_bytes.div_ceil(covered_by_l2).max(1);
    let l1_clusters = (l1_entries as usize * 8).div_ceil(CLUSTER);
    let mut image = vec![0; CLUSTER * (3 + l1_clusters)];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &2u32.to_be_bytes());
    put(20, &CLUSTER_BITS.to_be_bytes());
    put(24, &virtual_size_bytes.to_be_bytes());
    put(36, &(l1_entries as u32).to_be_bytes());
    put(40, &(3 * CLUSTER as u64).to_be_bytes());
    put(48, &(CLUSTER as u64).to_be_bytes());
    put(56, &1u32.to_be_bytes());
    // The table of reference counts has one block, which counts each cluster of this file once.
    put(CLUSTER, &(2 * CLUSTER as u64).to_be_bytes());
    for cluster in 0..3 + l1_clusters {
        put(2 * CLUSTER + 2 * cluster, &1u16.to_be_bytes());
    }
    image
}

fn check_sha512(sha512: &str) -> Result<(), HostError> {
    let legal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if sha512.len() == 128 && sha512.chars().all(legal) {
        return Ok(());
    }
    let value: String = sha512.chars().take(140).collect();
    invalid(
        "sha512",
        value,
        "a SHA-512 has 128 lower-case hexadecimal digits",
    )
}

fn check_config_drive(config_drive: &ConfigDrive) -> Result<(), HostError> {
    for file in &config_drive.files {
        let plain = Path::new(&file.path)
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
        if !plain || file.path.is_empty() {
            let rule = "its path must be relative and stay inside the drive";
            return invalid("config drive file", &file.path, rule);
        }
    }
    Ok(())
}
