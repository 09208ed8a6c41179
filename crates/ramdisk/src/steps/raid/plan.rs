//! From a node's `target_raid_config` to the arrays that are to be made. Pure.

use super::RaidError;
use crate::device::arrays::DATA_FROM;
use crate::device::{Disk, Transport, hints};
use crate::protocol::RootDeviceHints;
use serde::Deserialize;
use serde_json::Value;

/// A mark has room for 31 characters, and begins with the array's [`Array::tag`] and a colon.
const NAME_MAX: usize = 20;

/// A node's `target_raid_config`. What is not known is refused, so that nothing is asked for and not made.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaidConfig {
    #[serde(default)]
    pub logical_disks: Vec<LogicalDisk>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogicalDisk {
    pub raid_level: String,
    pub size_gb: Value,
    #[serde(default)]
    pub controller: Option<String>,
    /// Which disks; without it all that are free, or as many of them as are asked for.
    #[serde(default)]
    pub physical_disks: Vec<RootDeviceHints>,
    #[serde(default)]
    pub number_of_physical_disks: Option<usize>,
    /// `hdd` or `ssd`.
    #[serde(default)]
    pub disk_type: Option<String>,
    /// `sata`, `scsi`, `sas` or `nvme`.
    #[serde(default)]
    pub interface_type: Option<String>,
    #[serde(default)]
    pub volume_name: Option<String>,
    /// `true`: an image is written to this one; `false`: only if a root device hint names it.
    #[serde(default)]
    pub is_root_volume: Option<bool>,
    #[serde(default)]
    pub share_physical_disks: bool,
}

/// An array as it is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    pub number: u32,
    /// In Ironic's words, such as `1+0`.
    pub raid_level: String,
    /// In mdadm's, such as `10`.
    pub level: &'static str,
    pub volume_name: String,
    pub is_root_volume: Option<bool>,
    pub members: Vec<Disk>,
}

impl Array {
    pub fn name(&self) -> String {
        format!("md{}", self.number)
    }

    /// Stands in the mark of each member as the host that the array is of, and keeps its number from boot to boot.
    pub fn tag(&self) -> String {
        format!("{}{}", super::assemble::TAG, self.number)
    }
}

/// mdadm's word for a level, and the fewest disks.
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

/// Which arrays are to be made of these disks, in the order of the configuration.
pub fn plan(wanted: &RaidConfig, free: &[Disk]) -> Result<Vec<Array>, RaidError> {
    if wanted.logical_disks.is_empty() {
        return Err(RaidError::Nothing);
    }
    let is_root = |logical: &&LogicalDisk| logical.is_root_volume == Some(true);
    let roots = wanted.logical_disks.iter().filter(is_root).count();
    if roots > 1 {
        return Err(RaidError::Roots(roots));
    }
    let mut free: Vec<Disk> = free
        .iter()
        .filter(|disk| !disk.read_only)
        .cloned()
        .collect();
    // The root volume is /dev/md0, whatever stands before it.
    let (mut next, mut next_data) = (u32::from(roots > 0), DATA_FROM);
    let mut arrays: Vec<Array> = Vec::new();
    for logical in &wanted.logical_disks {
        let number = match logical.is_root_volume {
            Some(true) => 0,
            Some(false) => count_up(&mut next_data),
            None => count_up(&mut next),
        };
        let array = one(logical, number, &mut free)?;
        if arrays
            .iter()
            .any(|other| other.volume_name == array.volume_name)
        {
            return Err(RaidError::NameTwice(array.volume_name));
        }
        arrays.push(array);
    }
    Ok(arrays)
}

fn count_up(next: &mut u32) -> u32 {
    *next += 1;
    *next - 1
}

fn one(logical: &LogicalDisk, number: u32, free: &mut Vec<Disk>) -> Result<Array, RaidError> {
    // Exhaustive, so that no field is taken and not heeded.
    let LogicalDisk {
        raid_level,
        size_gb,
        controller,
        physical_disks,
        number_of_physical_disks,
        disk_type,
        interface_type,
        volume_name,
        is_root_volume,
        share_physical_disks,
    } = logical;
    if let Some(other) = controller.as_deref().filter(|name| *name != "software") {
        return Err(RaidError::Controller(other.to_owned()));
    }
    if size_gb != "MAX" {
        return Err(RaidError::Size(size_gb.clone()));
    }
    if *share_physical_disks {
        return Err(RaidError::Shared);
    }
    let (mdadm_level, least) =
        level(raid_level).ok_or_else(|| RaidError::Level(raid_level.clone()))?;
    if *is_root_volume == Some(true) && mdadm_level != "1" {
        return Err(RaidError::RootLevel(raid_level.clone()));
    }
    let rotational = rotational(disk_type.as_deref())?;
    let transport = transport(interface_type.as_deref())?;
    let fits = |disk: &Disk| {
        rotational.is_none_or(|wanted| disk.rotational == wanted)
            && transport.is_none_or(|wanted| disk.transport == wanted)
    };
    let (mut fitting, rest): (Vec<Disk>, Vec<Disk>) = free.drain(..).partition(fits);
    *free = rest;
    let members = members(physical_disks, *number_of_physical_disks, &mut fitting)?;
    free.append(&mut fitting);
    free.sort_by(|a, b| a.name.cmp(&b.name));
    let least = number_of_physical_disks.unwrap_or(least).max(least);
    if members.len() < least {
        return Err(RaidError::TooFew {
            level: raid_level.clone(),
            least,
            found: members.len(),
        });
    }
    Ok(Array {
        number,
        raid_level: raid_level.clone(),
        level: mdadm_level,
        volume_name: named(volume_name.as_deref(), number)?,
        is_root_volume: *is_root_volume,
        members,
    })
}

fn rotational(disk_type: Option<&str>) -> Result<Option<bool>, RaidError> {
    match disk_type {
        None => Ok(None),
        Some("hdd") => Ok(Some(true)),
        Some("ssd") => Ok(Some(false)),
        Some(other) => Err(RaidError::Kind {
            field: "disk_type",
            value: other.to_owned(),
            known: "hdd, ssd",
        }),
    }
}

fn transport(interface_type: Option<&str>) -> Result<Option<Transport>, RaidError> {
    match interface_type {
        None => Ok(None),
        Some("sata") => Ok(Some(Transport::Ata)),
        Some("scsi" | "sas") => Ok(Some(Transport::Scsi)),
        Some("nvme") => Ok(Some(Transport::Nvme)),
        Some(other) => Err(RaidError::Kind {
            field: "interface_type",
            value: other.to_owned(),
            known: "sata, scsi, sas, nvme",
        }),
    }
}

/// Takes the members out of the disks that fit: one for each hint, or the first so many by name, or all.
fn members(
    wanted: &[RootDeviceHints],
    count: Option<usize>,
    fitting: &mut Vec<Disk>,
) -> Result<Vec<Disk>, RaidError> {
    if wanted.is_empty() {
        let count = count.unwrap_or(fitting.len()).min(fitting.len());
        return Ok(fitting.drain(..count).collect());
    }
    if let Some(count) = count.filter(|count| *count != wanted.len()) {
        return Err(RaidError::Count {
            count,
            listed: wanted.len(),
        });
    }
    let mut taken = Vec::new();
    for hint in wanted {
        let name = hints::choose(fitting, Some(hint))?.name.clone();
        let (chosen, rest) = fitting.drain(..).partition(|disk| disk.name == name);
        *fitting = rest;
        taken.extend::<Vec<Disk>>(chosen);
    }
    Ok(taken)
}

fn named(wanted: Option<&str>, number: u32) -> Result<String, RaidError> {
    let Some(name) = wanted else {
        return Ok(format!("md{number}"));
    };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty()
        || name.len() > NAME_MAX
        || name.starts_with(['-', '.'])
        || !name.bytes().all(known)
    {
        return Err(RaidError::Name {
            name: name.to_owned(),
            most: NAME_MAX,
        });
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn disk(name: &str) -> Disk {
        Disk {
            name: name.to_owned(),
            transport: match name.starts_with("nvme") {
                true => Transport::Nvme,
                false => Transport::Scsi,
            },
            size_bytes: 1 << 40,
            model: None,
            serial: Some(name.to_uppercase()),
            wwn: None,
            vendor: None,
            hctl: None,
            rotational: !name.starts_with("nvme"),
            read_only: false,
            logical_block_bytes: 512,
            physical_block_bytes: 512,
            discard_max_bytes: 0,
        }
    }

    fn planned(logical: Value) -> Result<Vec<Array>, RaidError> {
        let config: RaidConfig = serde_json::from_value(json!({"logical_disks": logical})).unwrap();
        let names = ["nvme0n1", "nvme1n1", "sda", "sdb", "sdc", "sdd"];
        plan(&config, &names.map(disk))
    }

    fn members(array: &Array) -> Vec<&str> {
        array
            .members
            .iter()
            .map(|disk| disk.name.as_str())
            .collect()
    }

    #[test]
    fn disks_are_taken_once_by_hint_by_kind_by_number_or_all_that_are_left() {
        let arrays = planned(json!([
            {"raid_level": "1", "size_gb": "MAX", "controller": "software", "physical_disks": [{"serial": "SDC"}, {"name": "/dev/sda"}]},
            {"raid_level": "0", "size_gb": "MAX"},
        ]))
        .unwrap();
        assert_eq!(members(&arrays[0]), ["sdc", "sda"]);
        assert_eq!(members(&arrays[1]), ["nvme0n1", "nvme1n1", "sdb", "sdd"]);
        assert_eq!((arrays[0].number, arrays[1].number), (0, 1));

        let arrays = planned(json!([
            {"raid_level": "1", "size_gb": "MAX", "disk_type": "hdd", "number_of_physical_disks": 2},
            {"raid_level": "1", "size_gb": "MAX", "disk_type": "ssd", "interface_type": "nvme"},
            {"raid_level": "0", "size_gb": "MAX", "interface_type": "sas"},
        ]))
        .unwrap();
        assert_eq!(members(&arrays[0]), ["sda", "sdb"]);
        assert_eq!(members(&arrays[1]), ["nvme0n1", "nvme1n1"]);
        assert_eq!(members(&arrays[2]), ["sdc", "sdd"]);
    }

    #[test]
    fn the_root_volume_is_the_first_array_and_one_that_is_not_is_far_behind() {
        let arrays = planned(json!([
            {"raid_level": "0", "size_gb": "MAX", "number_of_physical_disks": 2, "is_root_volume": false},
            {"raid_level": "1", "size_gb": "MAX", "number_of_physical_disks": 2, "volume_name": "data"},
            {"raid_level": "1", "size_gb": "MAX", "is_root_volume": true, "volume_name": "system"},
        ]))
        .unwrap();
        let named: Vec<_> = arrays
            .iter()
            .map(|array| (array.name(), array.volume_name.as_str()))
            .collect();
        let named: Vec<_> = named
            .iter()
            .map(|(name, volume)| (&**name, *volume))
            .collect();
        assert_eq!(
            named,
            [("md50", "md50"), ("md1", "data"), ("md0", "system")]
        );
        assert_eq!(arrays[2].tag(), "corten0");
    }

    #[test]
    fn what_cannot_be_made_is_refused_before_anything_is() {
        let error = |logical| planned(logical).unwrap_err().to_string();
        for level in ["7", "JBOD", "5+0", "6+0", "2"] {
            let text = error(json!([{"raid_level": level, "size_gb": "MAX"}]));
            assert!(text.contains(&format!("'{level}'")), "{text}");
        }
        let with = |field: &str, value: Value| {
            let mut logical = json!({"raid_level": "1", "size_gb": "MAX"});
            logical[field] = value;
            error(json!([logical]))
        };
        assert!(with("size_gb", json!(100)).contains("MAX"));
        assert!(with("controller", json!("perc")).contains("perc"));
        assert!(with("disk_type", json!("tape")).contains("'tape'"));
        assert!(with("interface_type", json!("ide")).contains("'ide'"));
        assert!(with("share_physical_disks", json!(true)).contains("share_physical_disks"));
        assert!(with("number_of_physical_disks", json!(7)).contains("7 disks"));
        for name in ["", "a b", "-a", "a-name-that-is-too-long"] {
            assert!(with("volume_name", json!(name)).contains(&format!("'{name}'")));
        }
        assert!(error(json!([])).contains("logical_disks"));
        assert!(error(json!([{"raid_level": "6", "size_gb": "MAX", "physical_disks": [{"serial": "SDA"}]}])).contains("4 disks"));
        let root = json!({"raid_level": "5", "size_gb": "MAX", "is_root_volume": true});
        assert!(error(json!([root])).contains("root volume"));
        let pair = json!({"raid_level": "1", "size_gb": "MAX", "number_of_physical_disks": 2, "is_root_volume": true});
        assert!(error(json!([pair, pair])).contains("is_root_volume"));
        let same = json!({"raid_level": "1", "size_gb": "MAX", "number_of_physical_disks": 2, "volume_name": "x"});
        assert!(error(json!([same, same])).contains("'x'"));
        let pair = json!([{"serial": "SDA"}, {"serial": "SDB"}]);
        let counted = json!({
            "raid_level": "1", "size_gb": "MAX", "number_of_physical_disks": 3, "physical_disks": pair});
        assert!(error(json!([counted])).contains("lists 2"));
        let twice = json!([{"raid_level": "1", "size_gb": "MAX", "physical_disks": [{"serial": "SDA"}, {"serial": "SDA"}]}]);
        assert!(matches!(planned(twice), Err(RaidError::Hint(_))));
    }

    #[test]
    fn a_word_that_is_not_known_is_refused_by_its_name() {
        for (config, word) in [
            (
                json!({"logical_disks": [], "stripe_size": 1}),
                "stripe_size",
            ),
            (
                json!({"logical_disks": [{"raid_level": "1", "size_gb": "MAX", "colour": 1}]}),
                "colour",
            ),
        ] {
            let error = serde_json::from_value::<RaidConfig>(config).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
