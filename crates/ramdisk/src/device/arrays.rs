//! Software RAID as the kernel shows it, and which disks may be the root disk beside it.
//!
//! An array has the number that it was made with, however often the server is booted (see `steps::raid`). Its number says what
//! it is for: below [`DATA_FROM`] it may hold the system, below [`FOREIGN_FROM`] data, and all others were made by somebody else.

use super::{Disk, Sysfs, Transport, list};
use std::io;

/// Arrays of which the configuration says that they are not the root volume have numbers from this one on.
pub const DATA_FROM: u32 = 50;
/// Arrays that this program did not make have numbers from this one on.
pub const FOREIGN_FROM: u32 = 100;

/// An array that is assembled, or half assembled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// The kernel's name, such as `md0`.
    pub name: String,
    /// The kernel's word: `raid0`, `raid1`, `raid10`…
    pub level: String,
    /// Where and how its disks are marked: `1.0`, `1.2`, `external:imsm`…
    pub metadata: String,
    pub members: Vec<Member>,
}

/// A disk, or a partition of one, that an array consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// The disk that it is, or is on.
    pub disk: String,
}

impl Array {
    pub fn number(&self) -> Option<u32> {
        self.name.strip_prefix("md")?.parse().ok()
    }

    /// Whether it has whole disks for members. One of partitions is a part of what is on the disks.
    pub fn is_of_disks(&self) -> bool {
        !self.members.is_empty() && self.members.iter().all(|member| member.name == member.disk)
    }

    /// Whether each member alone looks like the array to firmware, which knows nothing of arrays: its content is the same, from
    /// the same place on, with the mark at the end.
    pub fn is_read_by_firmware(&self) -> bool {
        self.level == "raid1" && matches!(self.metadata.as_str(), "1.0" | "0.90")
    }

    fn has(&self, disk: &Disk) -> bool {
        self.members.iter().any(|member| member.disk == disk.name)
    }

    fn is_for_the_system(&self) -> bool {
        self.is_of_disks()
            && self.is_read_by_firmware()
            && self.number().is_some_and(|number| number < DATA_FROM)
    }
}

/// All arrays, by name.
pub fn arrays(sysfs: &Sysfs) -> Vec<Array> {
    let names = sysfs.names("block");
    names.iter().filter_map(|name| array(sysfs, name)).collect()
}

/// The array of this name.
pub fn array(sysfs: &Sysfs, name: &str) -> Option<Array> {
    if !sysfs.path(&format!("block/{name}/md")).exists() {
        return None;
    }
    let text = |file: &str| {
        sysfs
            .text(format!("block/{name}/md/{file}"))
            .unwrap_or_default()
    };
    let slaves = sysfs.names(&format!("block/{name}/slaves"));
    Some(Array {
        name: name.to_owned(),
        level: text("level"),
        metadata: text("metadata_version"),
        members: slaves
            .into_iter()
            .map(|slave| Member {
                disk: disk_of(sysfs, &slave).unwrap_or_else(|| slave.clone()),
                name: slave,
            })
            .collect(),
    })
}

/// The disk that a partition is on.
fn disk_of(sysfs: &Sysfs, name: &str) -> Option<String> {
    let disks = sysfs.names("block");
    disks
        .into_iter()
        .find(|disk| disk == name || sysfs.path(&format!("block/{disk}/{name}")).exists())
}

/// The arrays that use this disk or a partition of it.
pub fn users(sysfs: &Sysfs, disk: &str) -> Vec<String> {
    let below = sysfs.names(&format!("block/{disk}"));
    let holders = below
        .iter()
        .map(|part| format!("block/{disk}/{part}/holders"));
    let mut users: Vec<String> = std::iter::once(format!("block/{disk}/holders"))
        .chain(holders)
        .flat_map(|path| sysfs.names(&path))
        .filter(|name| name.starts_with("md"))
        .collect();
    users.sort();
    users.dedup();
    users
}

/// Whether it can be taken out: a memory card, a USB stick, also one that is screwed to the board.
pub fn is_removable(sysfs: &Sysfs, disk: &str) -> bool {
    sysfs.number(format!("block/{disk}/removable")) == Some(1)
}

/// What a server is made of beneath its arrays.
pub fn physical(sysfs: &Sysfs) -> io::Result<Vec<Disk>> {
    let mut disks = list(sysfs)?;
    disks.retain(|disk| disk.transport != Transport::Md);
    Ok(disks)
}

/// Arrays, and the disks that are in none: each byte of the server once.
pub fn top(sysfs: &Sysfs) -> io::Result<Vec<Disk>> {
    let mut arrays = arrays(sysfs);
    arrays.retain(Array::is_of_disks);
    let mut disks = list(sysfs)?;
    disks.retain(|disk| !arrays.iter().any(|array| array.has(disk)));
    Ok(disks)
}

/// Disks that a new array may be made of.
pub fn free(sysfs: &Sysfs) -> io::Result<Vec<Disk>> {
    let mut disks = top(sysfs)?;
    disks.retain(|disk| disk.transport != Transport::Md && !is_removable(sysfs, &disk.name));
    Ok(disks)
}

/// What the root disk is chosen of. If nothing is said of it (`hinted`), then it is the first array that was made for the system;
/// where there is none, a disk that is in no array and cannot be taken out; and if each is in one, an array of somebody else's
/// that firmware reads.
pub fn roots(sysfs: &Sysfs, hinted: bool) -> io::Result<Vec<Disk>> {
    let mut disks = top(sysfs)?;
    if hinted {
        return Ok(disks);
    }
    let arrays = arrays(sysfs);
    let first = arrays
        .iter()
        .filter(|array| array.is_for_the_system())
        .min_by_key(|array| array.number());
    let fixed = |disk: &Disk| disk.transport != Transport::Md && !is_removable(sysfs, &disk.name);
    if let Some(first) = first {
        disks.retain(|disk| disk.name == first.name);
    } else if disks.iter().any(fixed) {
        disks.retain(fixed);
    } else {
        disks.retain(|disk| {
            let of_disk = |array: &&Array| array.name == disk.name;
            let array = arrays.iter().find(of_disk);
            array.is_some_and(Array::is_read_by_firmware)
        });
    }
    Ok(disks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Disks of 8 GiB, and arrays with their level, mark and members.
    fn server(
        disks: &[&str],
        arrays: &[(&str, &str, &str, &[&str])],
    ) -> (tempfile::TempDir, Sysfs) {
        let directory = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for disk in disks {
            write(&format!("block/{disk}/size"), "16777216\n");
            write(&format!("block/{disk}/device/model"), "M\n");
            write(&format!("block/{disk}/{disk}1/partition"), "1\n");
        }
        for (name, level, metadata, members) in arrays {
            write(&format!("block/{name}/size"), "16777000\n");
            write(&format!("block/{name}/md/level"), level);
            write(&format!("block/{name}/md/metadata_version"), metadata);
            for member in *members {
                write(&format!("block/{name}/slaves/{member}/size"), "1\n");
                let disk = member.trim_end_matches('1');
                let at = match *member == disk {
                    true => format!("block/{disk}/holders/{name}/size"),
                    false => format!("block/{disk}/{member}/holders/{name}/size"),
                };
                write(&at, "1\n");
            }
        }
        let sysfs = Sysfs::new(directory.path());
        (directory, sysfs)
    }

    fn names(disks: io::Result<Vec<Disk>>) -> Vec<String> {
        disks.unwrap().into_iter().map(|disk| disk.name).collect()
    }

    #[test]
    fn an_array_stands_for_its_disks_and_is_the_root_disk_if_nothing_else_is_said() {
        let (_directory, sysfs) = server(
            &["sda", "sdb", "sdc"],
            &[("md0", "raid1", "1.0", &["sda", "sdb"])],
        );
        let disks = list(&sysfs).unwrap();
        assert_eq!(disks[0].transport, Transport::Md);
        assert_eq!(disks[0].size_bytes, 16_777_000 * 512);
        assert_eq!(names(physical(&sysfs)), ["sda", "sdb", "sdc"]);
        assert_eq!(names(top(&sysfs)), ["md0", "sdc"]);
        assert_eq!(names(free(&sysfs)), ["sdc"]);
        assert_eq!(names(roots(&sysfs, false)), ["md0"]);
        assert_eq!(names(roots(&sysfs, true)), ["md0", "sdc"]);
        assert_eq!(users(&sysfs, "sda"), ["md0"]);
    }

    #[test]
    fn arrays_for_data_and_of_others_are_not_guessed_before_a_disk() {
        let (_directory, sysfs) = server(
            &["sda", "sdb", "sdc", "sdd", "sde"],
            &[
                ("md100", "raid1", "1.0", &["sda", "sdb"]),
                ("md50", "raid1", "1.0", &["sdc", "sdd"]),
            ],
        );
        assert_eq!(names(roots(&sysfs, false)), ["sde"]);
        let (_directory, sysfs) = server(
            &["sda", "sdb"],
            &[("md100", "raid1", "1.0", &["sda", "sdb"])],
        );
        assert_eq!(names(roots(&sysfs, false)), ["md100"]);
    }

    #[test]
    fn an_array_of_partitions_is_a_part_of_what_is_on_the_disks() {
        let (_directory, sysfs) = server(
            &["sda", "sdb"],
            &[("md100", "raid1", "1.2", &["sda1", "sdb1"])],
        );
        assert_eq!(names(list(&sysfs)), ["sda", "sdb"]);
        assert_eq!(names(roots(&sysfs, false)), ["sda", "sdb"]);
        assert_eq!(users(&sysfs, "sdb"), ["md100"]);
        assert!(!array(&sysfs, "md100").unwrap().is_read_by_firmware());
        assert_eq!(array(&sysfs, "sda"), None);
    }

    #[test]
    fn a_memory_card_is_the_root_disk_only_if_that_is_said() {
        let (directory, sysfs) = server(&["sda", "sdb"], &[]);
        fs::write(directory.path().join("block/sda/removable"), "1\n").unwrap();
        assert_eq!(names(physical(&sysfs)), ["sda", "sdb"]);
        assert_eq!(names(roots(&sysfs, false)), ["sdb"]);
        assert_eq!(names(roots(&sysfs, true)), ["sda", "sdb"]);
        assert_eq!(names(free(&sysfs)), ["sdb"]);
    }
}
