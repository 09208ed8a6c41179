//! Starting what is on the disk: whether the firmware will find it, and the restart.

use crate::device::{Disk, Sysfs, arrays};
use gptman::GPT;
use rustix::system::{RebootCommand, reboot};
use std::fs::File;
use std::io::{self, Read};

/// "EFI System", C12A7328-F81F-11D2-BA4B-00A0C93EC93B, as it stands on disk.
const EFI_SYSTEM: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];

#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("the disk {disk} cannot be read")]
    Read {
        disk: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "the server's firmware is UEFI, but the image on {disk} has no EFI system partition: use an image for UEFI, or set the server to BIOS"
    )]
    NoEsp { disk: String },
    #[error(
        "the server's firmware is BIOS, but the image on {disk} has no boot code: use an image for BIOS, or set the server to UEFI"
    )]
    NoBootCode { disk: String },
    #[error(
        "no firmware can start what is on the array {array} ({level}, metadata {metadata}): make the root volume RAID 1 by the step \
         create_configuration, or name a disk by a root device hint"
    )]
    Array {
        array: String,
        level: String,
        metadata: String,
    },
}

impl BootError {
    /// The type of the error, in the stock agent's words: whether the image is at fault.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoEsp { .. } | Self::NoBootCode { .. } => "InvalidImage",
            Self::Read { .. } | Self::Array { .. } => "CommandExecutionError",
        }
    }
}

/// Refuses an array that firmware, which finds but its members, cannot start a system from; see `steps::raid`.
pub fn check_array(sysfs: &Sysfs, disk: &Disk) -> Result<(), BootError> {
    match arrays::array(sysfs, &disk.name) {
        Some(array) if !array.is_read_by_firmware() => Err(BootError::Array {
            array: array.name,
            level: array.level,
            metadata: array.metadata,
        }),
        _ => Ok(()),
    }
}

pub fn is_uefi(sysfs: &Sysfs) -> bool {
    sysfs.path("firmware/efi").exists()
}

/// A whole-disk image brings its own boot loader. UEFI finds it by itself in the EFI system partition, as
/// `\EFI\BOOT\BOOTX64.EFI`, BIOS in the first sector; here is checked that there is one.
pub fn check_bootable(disk: &Disk, uefi: bool) -> Result<&'static str, BootError> {
    let read = |source| BootError::Read {
        disk: disk.name.clone(),
        source,
    };
    let mut file = File::open(disk.path()).map_err(read)?;
    bootable(&mut file, uefi).map_err(read)?.ok_or_else(|| {
        let disk = disk.name.clone();
        if uefi {
            BootError::NoEsp { disk }
        } else {
            BootError::NoBootCode { disk }
        }
    })
}

fn bootable(file: &mut File, uefi: bool) -> io::Result<Option<&'static str>> {
    let mut sector = [0; 512];
    file.read_exact(&mut sector)?;
    let signed = sector[510..] == [0x55, 0xaa];
    if !uefi {
        let code = sector[..440].iter().any(|byte| *byte != 0);
        return Ok((signed && code).then_some("BIOS starts the boot code in the first sector"));
    }
    let gpt = GPT::find_from(file).is_ok_and(|gpt| {
        gpt.iter()
            .any(|(_, entry)| entry.partition_type_guid == EFI_SYSTEM)
    });
    let mbr = signed && (0..4).any(|index| sector[446 + 16 * index + 4] == 0xef);
    Ok((gpt || mbr).then_some("UEFI starts the loader in the EFI system partition"))
}

/// Restarts the server; does not return but by an error.
pub fn restart() -> io::Result<()> {
    rustix::fs::sync();
    Ok(reboot(RebootCommand::Restart)?)
}

/// Switches the server off; does not return but by an error.
pub fn power_off() -> io::Result<()> {
    rustix::fs::sync();
    Ok(reboot(RebootCommand::PowerOff)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn firmware_starts_raid_1_and_no_other_level() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("block/md0/size", "8");
        write("block/md0/md/metadata_version", "1.0");
        write("block/md0/slaves/sda/size", "8");
        write("block/sda/size", "9");
        let sysfs = Sysfs::new(root.path());
        let check = |level: &str| {
            write("block/md0/md/level", level);
            let disks = crate::device::list(&sysfs).unwrap();
            check_array(&sysfs, &disks[0])
        };
        assert!(check("raid1").is_ok());
        let refused = check("raid5").unwrap_err().to_string();
        assert!(
            refused.contains("md0 (raid5, metadata 1.0)") && refused.contains("RAID 1"),
            "{refused}"
        );
    }

    #[test]
    fn firmware_finds_a_loader_or_is_told_that_there_is_none() {
        let mut disk = tempfile::tempfile().unwrap();
        disk.set_len(8 << 20).unwrap();
        let check = |disk: &mut File, uefi| {
            io::Seek::rewind(disk).unwrap();
            bootable(disk, uefi).unwrap().is_some()
        };
        assert!(!check(&mut disk, true) && !check(&mut disk, false));

        let mut gpt = GPT::new_from(&mut disk, 512, [1; 16]).unwrap();
        gpt[1] = gptman::GPTPartitionEntry {
            partition_type_guid: EFI_SYSTEM,
            unique_partition_guid: [2; 16],
            starting_lba: 2048,
            ending_lba: 4095,
            attribute_bits: 0,
            partition_name: "ESP".into(),
        };
        gpt.write_into(&mut disk).unwrap();
        GPT::write_protective_mbr_into(&mut disk, 512).unwrap();
        assert!(check(&mut disk, true));
        assert!(!check(&mut disk, false), "a table without boot code");
        disk.write_all_at(&[0xeb], 0).unwrap();
        assert!(check(&mut disk, false));
    }
}
