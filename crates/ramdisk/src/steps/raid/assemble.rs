//! Finds the arrays that the server's disks are marked with, and assembles them, each under the number that it was made with.

use super::{MDADM, module_of, stop};
use crate::boot::modules::Modules;
use crate::device::Sysfs;
use crate::device::arrays::{self, FOREIGN_FROM};
use crate::journal::chain;
use crate::steps::program;
use std::collections::BTreeSet;

/// What the arrays that we made are tagged with, before their number.
pub const TAG: &str = "corten";

const START_READ_ONLY: &str = "/sys/module/md_mod/parameters/start_ro";

/// Assembles what can be, also with disks missing. What cannot is told of in the log: a server with broken disks can still be
/// inspected and erased.
pub fn assemble(sysfs: &Sysfs) {
    if arrays::physical(sysfs).is_ok_and(|disks| disks.is_empty()) {
        return;
    }
    let marks = match program::run(MDADM, &["--examine", "--scan", "--verbose"]) {
        Ok(text) => marks(&text),
        Err(error) => return tracing::warn!("no arrays are assembled: {}", chain(&error)),
    };
    let mut modules = match Modules::of_kernel() {
        Ok(modules) => modules,
        Err(error) => return tracing::warn!("the modules for arrays cannot be read: {error}"),
    };
    modules.load("md-mod");
    // Until something is written to an array its marks stay as they are: one that starts before all its disks are there
    // loses none of them, and a stranger's server is left as it was.
    if let Err(error) = std::fs::write(START_READ_ONLY, "1") {
        tracing::warn!("arrays are not started read-only: {error}");
    }
    for (number, mark) in numbered(&marks) {
        let device = format!("/dev/md{number}");
        if let Some(module) = mark.level.as_deref().and_then(module_of) {
            modules.load(module);
        }
        let uuid = format!("--uuid={}", mark.uuid);
        match program::run(MDADM, &["--assemble", &device, &uuid, "--run"]) {
            Ok(_) => tracing::info!("the array {} is assembled as {device}", mark.name()),
            Err(error) => tracing::warn!(
                "the array {} cannot be assembled: {}",
                mark.name(),
                chain(&error)
            ),
        }
    }
    release_the_lame(sysfs);
}

/// An array that did not start would keep its disks from all use.
fn release_the_lame(sysfs: &Sysfs) {
    for array in arrays::arrays(sysfs) {
        let state = sysfs.text(format!("block/{}/md/array_state", array.name));
        if state.as_deref() == Some("inactive")
            && let Err(error) = stop(sysfs, &array.name)
        {
            tracing::warn!("{}: {}", array.name, chain(&error));
        }
    }
}

/// What `mdadm --examine --scan` tells of one array.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mark {
    uuid: String,
    level: Option<String>,
    /// `HOST:NAME`.
    set: Option<String>,
}

impl Mark {
    fn name(&self) -> &str {
        self.set.as_deref().unwrap_or(&self.uuid)
    }

    /// The number that we gave it.
    fn number(&self) -> Option<u32> {
        let (host, _) = self.set.as_deref()?.split_once(':')?;
        let number = host.strip_prefix(TAG)?.parse().ok()?;
        (number < FOREIGN_FROM).then_some(number)
    }
}

/// `ARRAY /dev/md/system level=raid1 metadata=1.0 num-devices=2 UUID=… name=corten0:system`. Arrays of the firmware's own RAID
/// (`imsm`, `ddf`) are sets within containers, and are left to the firmware.
fn marks(text: &str) -> Vec<Mark> {
    let mut marks = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("ARRAY")) {
        let value = |name: &str| {
            let mut words = line.split_ascii_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let of_firmware = value("container").is_some()
            || value("metadata").is_some_and(|kind| matches!(kind, "imsm" | "ddf"));
        if let (Some(uuid), false) = (value("UUID"), of_firmware) {
            marks.push(Mark {
                uuid: uuid.to_owned(),
                level: value("level").map(str::to_owned),
                set: value("name").map(str::to_owned),
            });
        }
    }
    marks
}

/// Each array once. Of two with the same number, of which one came with a disk from another server, the second is a stranger.
fn numbered(marks: &[Mark]) -> Vec<(u32, &Mark)> {
    let mut taken = BTreeSet::new();
    let mut foreign = FOREIGN_FROM;
    marks
        .iter()
        .map(
            |mark| match mark.number().filter(|number| taken.insert(*number)) {
                Some(number) => (number, mark),
                None => {
                    foreign += 1;
                    (foreign - 1, mark)
                }
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_keep_their_numbers_and_others_get_one_behind_them() {
        let text = "\
ARRAY /dev/md/system  level=raid1 metadata=1.0 num-devices=2 UUID=0a:1 name=corten0:system\n   devices=/dev/vda,/dev/vdb\n
ARRAY /dev/md/tenant  level=raid5 metadata=1.2 num-devices=3 UUID=0b:2 name=web:tenant\n   devices=/dev/vdc1\n
ARRAY /dev/md/old  level=raid1 metadata=1.0 num-devices=2 UUID=0c:3 name=corten0:old\n   devices=/dev/vdf\n
ARRAY /dev/md/data  level=raid0 metadata=1.0 num-devices=2 UUID=0d:4 name=corten50:data\n   devices=/dev/vdg\n
ARRAY metadata=imsm UUID=0e:5\n
ARRAY /dev/md/Volume0 container=0e:5 member=0 UUID=0f:6\n
ARRAY /dev/md7 level=raid1 metadata=0.90 num-devices=2 UUID=10:7\n";
        let marks = marks(text);
        let numbers: Vec<(u32, &str)> = numbered(&marks)
            .into_iter()
            .map(|(number, mark)| (number, mark.uuid.as_str()))
            .collect();
        assert_eq!(
            numbers,
            [
                (0, "0a:1"),
                (100, "0b:2"),
                (101, "0c:3"),
                (50, "0d:4"),
                (102, "10:7")
            ]
        );
        assert_eq!(marks[1].level.as_deref(), Some("raid5"));
        assert!(super::marks("").is_empty());
    }
}
