//! Software RAID, by Debian's `mdadm`: arrays over whole disks, whose members are marked at their end (version 1.0).
//!
//! ```text
//!   create_configuration ──> mdadm --create, tagged corten0, corten1, …   ──> reboot ──> assemble: /dev/md0, /dev/md1, …
//!   delete_configuration, erase_devices ──> mdadm --stop ──> the members are disks again, and are erased as disks
//! ```
//!
//! **What boots.** A member of RAID 1 begins with the first byte of the image, and its mark stands behind the array's last one. So
//! firmware, which knows nothing of arrays, finds on each member alone what it would find on a single disk: UEFI the GPT and
//! the EFI system partition, with the loader `\EFI\BOOT\BOOTX64.EFI` in it, BIOS the boot code in the first sector. If a
//! disk fails, the server starts from the other one. Of no other level is the first member the beginning of the image, so
//! an image is written to RAID 1 only; RAID 0, 5, 6 and 1+0 are for data. The stock agent takes another way to the same end: it
//! makes arrays of partitions, and copies the EFI system partition to one for each disk.
//!
//! What is started must assemble the array before it mounts its root: the image's initial ramdisk needs `mdadm`, as Debian's and
//! Ubuntu's have it with the package, and Red Hat's with `rd.auto` on the kernel's command line. One without would mount one
//! member, and the other would fall behind.
//!
//! **Which array is what** is said by its number, which its members' marks keep (see [`crate::device::arrays`]): the root volume
//! is `/dev/md0`, and one that is said to be none has a number from 50 on and is written to only if a root device hint names
//! it.

mod assemble;
mod plan;

pub use assemble::assemble;
pub use plan::{LogicalDisk, RaidConfig};

use super::erase::{self, EraseError};
use super::program::{self, ProgramError};
use crate::boot::modules::Modules;
use crate::device::{self, Disk, Sysfs, arrays, hints};
use crate::protocol::RootDeviceHints;
use plan::Array;
use serde::Serialize;
use serde_json::Value;

const MDADM: &str = "/bin/mdadm";
const GIB: u64 = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub enum RaidError {
    #[error("the RAID configuration has no logical_disks: give one or more")]
    Nothing,
    #[error("the RAID level is '{0}', but software RAID has: 0, 1, 5, 6, 1+0")]
    Level(String),
    #[error(
        "the controller is '{0}', but the ramdisk makes only arrays of the controller 'software'"
    )]
    Controller(String),
    #[error("the array's size is '{0}', but arrays take whole disks: give MAX")]
    Size(Value),
    #[error("share_physical_disks is true, but arrays take whole disks: leave it away")]
    Shared,
    #[error("{field} is '{value}': give one of {known}")]
    Kind {
        field: &'static str,
        value: String,
        known: &'static str,
    },
    #[error(
        "number_of_physical_disks is {count}, but physical_disks lists {listed}: give one of them, or the same number"
    )]
    Count { count: usize, listed: usize },
    #[error(
        "the volume_name is '{name}': give 1 to {most} letters, digits, '.', '_' or '-', and no '.' or '-' at its beginning"
    )]
    Name { name: String, most: usize },
    #[error("two arrays have the volume_name '{0}': give each another")]
    NameTwice(String),
    #[error("is_root_volume is true for {0} arrays: one is booted from")]
    Roots(usize),
    #[error("the root volume has the RAID level {0}, which no firmware can read: make it level 1")]
    RootLevel(String),
    #[error(
        "RAID {level} needs {least} disks or more, but {found} are free of those that were asked for"
    )]
    TooFew {
        level: String,
        least: usize,
        found: usize,
    },
    #[error(
        "there are arrays already ({0}): remove them first, by the step delete_configuration or with delete_existing"
    )]
    Exist(String),
    #[error("the array {0} was made, but the kernel does not show it")]
    NotThere(String),
    #[error("the modules for arrays cannot be read")]
    Modules(#[source] std::io::Error),
    #[error("the disks cannot be listed")]
    Disks(#[source] std::io::Error),
    #[error(transparent)]
    Hint(#[from] hints::HintError),
    #[error(transparent)]
    Erase(#[from] EraseError),
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// What was made, in the form of a node's `raid_config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Built {
    pub logical_disks: Vec<BuiltDisk>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuiltDisk {
    pub controller: &'static str,
    pub raid_level: String,
    /// Of the array, in whole GiB.
    pub size_gb: u64,
    pub volume_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_root_volume: Option<bool>,
    pub number_of_physical_disks: usize,
    /// The members.
    pub physical_disks: Vec<RootDeviceHints>,
    /// By what the array is chosen as the root device.
    pub root_device_hint: RootDeviceHints,
}

/// Makes the arrays of disks that are in none. What is on them is lost.
pub fn create(wanted: &RaidConfig, sysfs: &Sysfs) -> Result<Built, RaidError> {
    let present = arrays::arrays(sysfs);
    if !present.is_empty() {
        let names: Vec<String> = present.into_iter().map(|array| array.name).collect();
        return Err(RaidError::Exist(names.join(", ")));
    }
    let free = arrays::free(sysfs).map_err(RaidError::Disks)?;
    let planned = plan::plan(wanted, &free)?;
    for array in &planned {
        make(array)?;
    }
    let logical_disks = planned.iter().map(|array| built(array, sysfs));
    Ok(Built {
        logical_disks: logical_disks.collect::<Result<_, _>>()?,
    })
}

fn make(array: &Array) -> Result<(), RaidError> {
    // Or else the array would begin with what the first member begins with.
    for disk in &array.members {
        erase::erase_metadata(disk)?;
    }
    if let Some(module) = module_of(&format!("raid{}", array.level)) {
        let modules = Modules::of_kernel();
        modules.map_err(RaidError::Modules)?.load(module);
    }
    let device = format!("/dev/{}", array.name());
    let (tag, count) = (array.tag(), array.members.len().to_string());
    let members: Vec<String> = array
        .members
        .iter()
        .map(|disk| disk.path().display().to_string())
        .collect();
    let mut arguments = vec![
        "--create",
        &device,
        "--force",
        "--run",
        "--metadata=1.0",
        "--homehost",
        &tag,
        "--name",
        &array.volume_name,
        "--level",
        array.level,
        "--raid-devices",
        &count,
    ];
    arguments.extend(members.iter().map(String::as_str));
    program::run(MDADM, &arguments)?;
    Ok(())
}

fn built(array: &Array, sysfs: &Sysfs) -> Result<BuiltDisk, RaidError> {
    let name = array.name();
    let disks = device::list(sysfs).map_err(RaidError::Disks)?;
    let size_bytes = disks
        .iter()
        .find(|disk| disk.name == name)
        .map(|disk| disk.size_bytes)
        .ok_or_else(|| RaidError::NotThere(name.clone()))?;
    Ok(BuiltDisk {
        controller: "software",
        raid_level: array.raid_level.clone(),
        size_gb: size_bytes / GIB,
        volume_name: array.volume_name.clone(),
        is_root_volume: array.is_root_volume,
        number_of_physical_disks: array.members.len(),
        physical_disks: array.members.iter().map(hints_of).collect(),
        root_device_hint: RootDeviceHints {
            name: Some(format!("/dev/{name}")),
            ..RootDeviceHints::default()
        },
    })
}

fn hints_of(disk: &Disk) -> RootDeviceHints {
    RootDeviceHints {
        name: Some(disk.path().display().to_string()),
        serial: disk.serial.clone(),
        wwn: disk.wwn.clone(),
        ..RootDeviceHints::default()
    }
}

/// The kernel's module for a level, by the kernel's word for it. No `modprobe` is there for the kernel to call.
fn module_of(level: &str) -> Option<&'static str> {
    Some(match level {
        "raid0" => "raid0",
        "raid1" => "raid1",
        "raid10" => "raid10",
        "raid4" | "raid5" | "raid6" => "raid456",
        _ => return None,
    })
}

/// Stops all arrays and removes their marks.
pub fn delete(sysfs: &Sysfs) -> Result<(), RaidError> {
    let present = arrays::arrays(sysfs);
    let members = present.into_iter().flat_map(|array| array.members);
    let mut places: Vec<String> = members.map(|member| member.name).collect();
    stop_all(sysfs)?;
    let disks = arrays::physical(sysfs).map_err(RaidError::Disks)?;
    places.extend(disks.into_iter().map(|disk| disk.name));
    // An array that another was made of is gone.
    places.retain(|name| !name.starts_with("md"));
    places.sort();
    places.dedup();
    for name in places {
        let path = format!("/dev/{name}");
        // It fails for a disk that has no mark.
        if program::run(MDADM, &["--examine", &path]).is_ok_and(|text| text.contains("Raid Level"))
        {
            program::run(MDADM, &["--zero-superblock", &path])?;
        }
    }
    Ok(())
}

/// Stops all arrays: their members are disks like any others.
pub fn stop_all(sysfs: &Sysfs) -> Result<(), RaidError> {
    for array in arrays::arrays(sysfs) {
        stop(sysfs, &array.name)?;
    }
    Ok(())
}

/// Stops the arrays that the last system had on partitions of this disk, which is to be written anew.
pub fn release(sysfs: &Sysfs, disk: &Disk) -> Result<(), RaidError> {
    for array in arrays::users(sysfs, &disk.name) {
        stop(sysfs, &array)?;
    }
    Ok(())
}

/// Stops an array after those that it is a member of.
fn stop(sysfs: &Sysfs, name: &str) -> Result<(), RaidError> {
    for user in arrays::users(sysfs, name) {
        stop(sysfs, &user)?;
    }
    // It may have been stopped already, for the sake of another one.
    if arrays::array(sysfs, name).is_some() {
        program::run(MDADM, &["--stop", &format!("/dev/{name}")])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    #[test]
    fn what_was_made_is_told_as_a_nodes_raid_config() {
        let directory = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for disk in ["sda", "sdb"] {
            write(&format!("block/{disk}/size"), "10485760");
            write(&format!("block/{disk}/serial"), &disk.to_uppercase());
            write(&format!("block/{disk}/device/model"), "M");
        }
        let sysfs = Sysfs::new(directory.path());
        let config = json!({"logical_disks": [{"raid_level": "1", "size_gb": "MAX", "volume_name": "system", "is_root_volume": true}]});
        let wanted: RaidConfig = serde_json::from_value(config).unwrap();
        let planned = plan::plan(&wanted, &arrays::free(&sysfs).unwrap()).unwrap();
        assert!(
            matches!(built(&planned[0], &sysfs), Err(RaidError::NotThere(name)) if name == "md0")
        );

        write("block/md0/size", "10485000");
        write("block/md0/md/level", "raid1");
        for member in ["sda", "sdb"] {
            write(&format!("block/md0/slaves/{member}/size"), "1");
        }
        assert_eq!(
            serde_json::to_value(built(&planned[0], &sysfs).unwrap()).unwrap(),
            json!({
                "controller": "software",
                "raid_level": "1",
                "size_gb": 4,
                "volume_name": "system",
                "is_root_volume": true,
                "number_of_physical_disks": 2,
                "physical_disks": [{"name": "/dev/sda", "serial": "SDA"}, {"name": "/dev/sdb", "serial": "SDB"}],
                "root_device_hint": {"name": "/dev/md0"},
            })
        );
        let again = create(&wanted, &sysfs).unwrap_err().to_string();
        assert!(
            again.contains("md0") && again.contains("delete_configuration"),
            "{again}"
        );
    }
}
