//! Limits of processor, memory and processes for each guest, by cgroup version 2 or 1.
//!
//! Where this machine lets us make no cgroups, guests run without: that is told, and is no failure.

use crate::hands::Accelerator;
use corten_model::ids::InstanceId;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
const PERIOD_US: u64 = 100_000;
/// Threads of QEMU besides the guest's processors: main loop, VNC, disk I/O.
const HELPER_THREADS: u64 = 256;
/// Memory that QEMU takes besides the guest's own.
const OVERHEAD_MIB: u64 = 512;
/// Emulation keeps up to 1 GiB of translated code.
const EMULATION_OVERHEAD_MIB: u64 = 1280;

/// What one guest may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub vcpus: u32,
    pub memory_mib: u64,
    pub accelerator: Accelerator,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    /// One tree for all controllers.
    Unified(PathBuf),
    /// One tree per controller: its name and our parent in it.
    PerController(Vec<(&'static str, PathBuf)>),
    None,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    layout: Layout,
    /// What this machine does not let us limit, and why.
    pub weaknesses: Vec<String>,
}

impl Cgroups {
    /// Finds the cgroup version of this machine and makes the parent of all guests.
    pub fn prepare(parent: &str) -> Self {
        let mount = Path::new(MOUNT);
        if mount.join("cgroup.controllers").exists() {
            Self::prepare_unified(mount, parent)
        } else {
            Self::prepare_per_controller(mount, parent)
        }
    }

    fn prepare_unified(mount: &Path, parent: &str) -> Self {
        let directory = mount.join(parent);
        if let Err(error) = make(&directory) {
            let weakness = format!(
                "guests have no cgroup: {} cannot be made: {error}",
                directory.display()
            );
            return Self {
                layout: Layout::None,
                weaknesses: vec![weakness],
            };
        }
        let mut weaknesses = Vec::new();
        for controller in CONTROLLERS {
            let enable = format!("+{controller}");
            let enabled = [mount, directory.as_path()]
                .iter()
                .try_for_each(|level| fs::write(level.join("cgroup.subtree_control"), &enable));
            if let Err(error) = enabled {
                weaknesses.push(format!(
                    "guests have no {controller} limit: the controller cannot be enabled: {error}"
                ));
            }
        }
        Self {
            layout: Layout::Unified(directory),
            weaknesses,
        }
    }

    fn prepare_per_controller(mount: &Path, parent: &str) -> Self {
        let mut weaknesses = Vec::new();
        let mut parents = Vec::new();
        for controller in CONTROLLERS {
            let directory = mount.join(controller).join(parent);
            let made = if mount.join(controller).join("cgroup.procs").exists() {
                make(&directory)
            } else {
                Err(io::ErrorKind::NotFound.into())
            };
            match made {
                Ok(()) => parents.push((controller, directory)),
                Err(error) => {
                    let shown = directory.display();
                    weaknesses.push(format!(
                        "guests have no {controller} limit: {shown} cannot be made: {error}"
                    ));
                }
            }
        }
        let layout = if parents.is_empty() {
            Layout::None
        } else {
            Layout::PerController(parents)
        };
        Self { layout, weaknesses }
    }

    /// Where guests' cgroups are, for people.
    pub fn describe(&self) -> Option<String> {
        match &self.layout {
            Layout::Unified(parent) => Some(parent.display().to_string()),
            Layout::PerController(parents) => {
                let names: Vec<_> = parents
                    .iter()
                    .map(|(_, parent)| parent.display().to_string())
                    .collect();
                Some(names.join(", "))
            }
            Layout::None => None,
        }
    }

    /// Puts a guest's process under its limits. The first thing that fails is returned; the rest is done.
    pub fn place(&self, id: InstanceId, pid: u32, limits: Limits) -> io::Result<()> {
        let mut outcome = Ok(());
        for (group, settings) in self.groups(id, limits) {
            let placed = make(&group).and_then(|()| {
                for (file, value) in settings {
                    match fs::write(group.join(file), value) {
                        // A controller that could not be enabled is told once, as a weakness of the host.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        other => other?,
                    }
                }
                fs::write(group.join("cgroup.procs"), pid.to_string())
            });
            outcome = outcome.and(placed);
        }
        outcome
    }

    /// Removes a guest's cgroup; its processes must be gone.
    pub fn remove(&self, id: InstanceId) -> io::Result<()> {
        let no_limits = Limits {
            vcpus: 1,
            memory_mib: 1,
            accelerator: Accelerator::Tcg,
        };
        for (group, _) in self.groups(id, no_limits) {
            match fs::remove_dir(&group) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the groups of guests that are gone, as far as they are empty.
    pub fn sweep(&self, is_gone: impl Fn(InstanceId) -> bool) {
        let parents: Vec<&Path> = match &self.layout {
            Layout::Unified(parent) => vec![parent],
            Layout::PerController(parents) => {
                parents.iter().map(|(_, parent)| parent.as_path()).collect()
            }
            Layout::None => Vec::new(),
        };
        let listings = parents
            .into_iter()
            .filter_map(|parent| fs::read_dir(parent).ok());
        for group in listings.flatten().flatten() {
            let id = group
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<InstanceId>().ok());
            if id.is_some_and(&is_gone) {
                // One that is not empty belongs to another host on this machine.
                let _ = fs::remove_dir(group.path());
            }
        }
    }

    fn groups(
        &self,
        id: InstanceId,
        limits: Limits,
    ) -> Vec<(PathBuf, Vec<(&'static str, String)>)> {
        let name = id.to_string();
        match &self.layout {
            Layout::Unified(parent) => {
                let settings = CONTROLLERS
                    .iter()
                    .flat_map(|controller| unified_settings(controller, limits))
                    .collect();
                vec![(parent.join(name), settings)]
            }
            Layout::PerController(parents) => parents
                .iter()
                .map(|(controller, parent)| {
                    (
                        parent.join(&name),
                        per_controller_settings(controller, limits),
                    )
                })
                .collect(),
            Layout::None => Vec::new(),
        }
    }
}

impl Limits {
    /// A quarter of a processor is for QEMU's own work.
    fn cpu_quota_us(self) -> u64 {
        u64::from(self.vcpus) * PERIOD_US + PERIOD_US / 4
    }

    fn memory_bytes(self) -> u64 {
        let overhead = match self.accelerator {
            Accelerator::Kvm => OVERHEAD_MIB,
            Accelerator::Tcg => OVERHEAD_MIB + EMULATION_OVERHEAD_MIB,
        };
        (self.memory_mib + overhead) << 20
    }

    fn processes(self) -> u64 {
        u64::from(self.vcpus) + HELPER_THREADS
    }
}

fn unified_settings(controller: &str, limits: Limits) -> Vec<(&'static str, String)> {
    match controller {
        "cpu" => vec![("cpu.max", format!("{} {PERIOD_US}", limits.cpu_quota_us()))],
        "memory" => vec![("memory.max", limits.memory_bytes().to_string())],
        _ => vec![("pids.max", limits.processes().to_string())],
    }
}

fn per_controller_settings(controller: &str, limits: Limits) -> Vec<(&'static str, String)> {
    match controller {
        "cpu" => vec![
            ("cpu.cfs_period_us", PERIOD_US.to_string()),
            ("cpu.cfs_quota_us", limits.cpu_quota_us().to_string()),
        ],
        "memory" => vec![("memory.limit_in_bytes", limits.memory_bytes().to_string())],
        _ => vec![("pids.max", limits.processes().to_string())],
    }
}

/// Makes a cgroup; the kernel fills it. Not recursive: the parent must be one too.
fn make(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_leave_room_for_qemu_itself() {
        let limits = Limits {
            vcpus: 2,
            memory_mib: 1024,
            accelerator: Accelerator::Kvm,
        };
        assert_eq!(limits.cpu_quota_us(), 225_000);
        assert_eq!(limits.memory_bytes(), 1536 << 20);
        assert_eq!(
            unified_settings("cpu", limits),
            [("cpu.max", "225000 100000".to_owned())]
        );
    }

    #[test]
    fn a_machine_without_cgroups_says_so() {
        let nowhere = tempfile::tempdir().unwrap();
        let cgroups = Cgroups::prepare_per_controller(nowhere.path(), "corten");
        assert_eq!(cgroups.describe(), None);
        assert_eq!(cgroups.weaknesses.len(), CONTROLLERS.len());
        let limits = Limits {
            vcpus: 1,
            memory_mib: 1,
            accelerator: Accelerator::Tcg,
        };
        assert!(cgroups.place(InstanceId::random(), 1, limits).is_ok());
    }
}
