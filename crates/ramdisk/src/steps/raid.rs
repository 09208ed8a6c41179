//! Software RAID, by Debian's `mdadm`: arrays over whole disks, with the marks (version 1.0, at the end) that firmware does
//! not trip over.

use super::program::{self, ProgramError};
use crate::device::{Disk, Sysfs, hints};
use crate::protocol::RootDeviceHints;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const MDADM: &str = "/bin/mdadm";

#[derive(Debug, thiserror::Error)]
pub enum RaidError {
    #[error("the RAID level is '{0}', but software RAID has: 0, 1, 5, 6, 1+0")]
    Level(String),
    #[error(
        "the controller is '{0}', but the ramdisk makes only arrays of the controller 'software'"
    )]
    Controller(String),
    #[error("the array's size is '{0}', but arrays take whole disks: give MAX")]
    Size(Value),
    #[error(
        "RAID {level} needs {least} disks or more, but {found} are free of those that were asked for"
    )]
    TooFew {
        level: String,
        least: usize,
        found: usize,
    },
    #[error(transparent)]
    Hint(#[from] hints::HintError),
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// A node's `target_raid_config`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RaidConfig {
    #[serde(default)]
    pub logical_disks: Vec<LogicalDisk>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct LogicalDisk {
    pub raid_level: String,
    pub size_gb: Value,
    #[serde(default)]
    pub controller: Option<String>,
    /// Which disks; without it all that are free.
    #[serde(default)]
    pub physical_disks: Vec<RootDeviceHints>,
}

/// An array as it is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Array {
    pub device: String,
    pub level: String,
    pub members: Vec<String>,
}

/// Makes the arrays.
pub fn create(wanted: &RaidConfig, disks: &[Disk]) -> Result<Vec<Array>, RaidError> {
    let arrays = plan(wanted, disks)?;
    for array in &arrays {
        let count = array.members.len().to_string();
        let mut arguments = vec![
            "--create",
            &array.device,
            "--force",
            "--run",
            "--metadata=1.0",
            "--level",
            &array.level,
            "--raid-devices",
            &count,
        ];
        arguments.extend(array.members.iter().map(String::as_str));
        program::run(MDADM, &arguments)?;
    }
    Ok(arrays)
}

/// Stops all arrays and removes their marks.
pub fn delete(sysfs: &Sysfs, disks: &[Disk]) -> Result<(), RaidError> {
    for name in sysfs
        .names("block")
        .iter()
        .filter(|name| name.starts_with("md"))
    {
        program::run(MDADM, &["--stop", &format!("/dev/{name}")])?;
    }
    for disk in disks {
        let path = disk.path().display().to_string();
        // It fails for a disk that has no mark.
        if program::run(MDADM, &["--examine", &path]).is_ok_and(|text| text.contains("Raid Level"))
        {
            program::run(MDADM, &["--zero-superblock", &path])?;
        }
    }
    Ok(())
}

fn level(text: &str) -> Option<(&'static str, usize)> {
    Some(match text {
        "0" => ("0", 2),
        "1" => ("1", 2),
        "5" => ("5", 3),
        "6" => ("6", 4),
        "1+0" => ("10", 4),
        _ => return None,
    })
}

fn plan(wanted: &RaidConfig, disks: &[Disk]) -> Result<Vec<Array>, RaidError> {
    let mut free: Vec<Disk> = disks
        .iter()
        .filter(|disk| !disk.read_only)
        .cloned()
        .collect();
    let mut arrays = Vec::new();
    for (number, logical) in wanted.logical_disks.iter().enumerate() {
        if let Some(other) = logical
            .controller
            .as_deref()
            .filter(|name| *name != "software")
        {
            return Err(RaidError::Controller(other.to_owned()));
        }
        if logical.size_gb != "MAX" {
            return Err(RaidError::Size(logical.size_gb.clone()));
        }
        let (level, least) = level(&logical.raid_level)
            .ok_or_else(|| RaidError::Level(logical.raid_level.clone()))?;
        let members = if logical.physical_disks.is_empty() {
            std::mem::take(&mut free)
        } else {
            take(&mut free, &logical.physical_disks)?
        };
        if members.len() < least {
            return Err(RaidError::TooFew {
                level: logical.raid_level.clone(),
                least,
                found: members.len(),
            });
        }
        arrays.push(Array {
            device: format!("/dev/md{number}"),
            level: level.to_owned(),
            members: members
                .iter()
                .map(|disk| disk.path().display().to_string())
                .collect(),
        });
    }
    Ok(arrays)
}

/// Takes one disk out of `free` for each hint.
fn take(free: &mut Vec<Disk>, wanted: &[RootDeviceHints]) -> Result<Vec<Disk>, RaidError> {
    let mut taken = Vec::new();
    for hint in wanted {
        let name = hints::choose(free, Some(hint))?.name.clone();
        let (chosen, rest) = free.drain(..).partition(|disk| disk.name == name);
        *free = rest;
        taken.extend::<Vec<Disk>>(chosen);
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Transport;
    use serde_json::json;

    fn disk(name: &str) -> Disk {
        Disk {
            name: name.to_owned(),
            transport: Transport::Scsi,
            size_bytes: 1 << 40,
            model: None,
            serial: Some(name.to_uppercase()),
            wwn: None,
            vendor: None,
            hctl: None,
            rotational: true,
            read_only: false,
            logical_block_bytes: 512,
            physical_block_bytes: 512,
            discard_max_bytes: 0,
        }
    }

    fn planned(logical: Value) -> Result<Vec<Array>, RaidError> {
        let config: RaidConfig = serde_json::from_value(json!({"logical_disks": logical})).unwrap();
        plan(&config, &["sda", "sdb", "sdc", "sdd"].map(disk))
    }

    #[test]
    fn disks_are_taken_once_by_hint_or_all_that_are_left() {
        let arrays = planned(json!([
            {"raid_level": "1", "size_gb": "MAX", "controller": "software", "physical_disks": [{"serial": "SDC"}, {"name": "/dev/sda"}]},
            {"raid_level": "0", "size_gb": "MAX"},
        ]))
        .unwrap();
        assert_eq!(arrays[0].members, ["/dev/sdc", "/dev/sda"]);
        assert_eq!(
            (arrays[1].device.as_str(), &arrays[1].members[..]),
            (
                "/dev/md1",
                &["/dev/sdb".to_owned(), "/dev/sdd".to_owned()][..]
            )
        );
    }

    #[test]
    fn what_cannot_be_made_is_refused_before_anything_is() {
        let error = |logical| planned(logical).unwrap_err().to_string();
        assert!(error(json!([{"raid_level": "7", "size_gb": "MAX"}])).contains("'7'"));
        assert!(error(json!([{"raid_level": "1", "size_gb": 100}])).contains("MAX"));
        assert!(
            error(json!([{"raid_level": "1", "size_gb": "MAX", "controller": "perc"}]))
                .contains("perc")
        );
        assert!(error(json!([{"raid_level": "6", "size_gb": "MAX", "physical_disks": [{"serial": "SDA"}]}])).contains("4 disks"));
        let twice = json!([{"raid_level": "1", "size_gb": "MAX", "physical_disks": [{"serial": "SDA"}, {"serial": "SDA"}]}]);
        assert!(matches!(planned(twice), Err(RaidError::Hint(_))));
    }
}
