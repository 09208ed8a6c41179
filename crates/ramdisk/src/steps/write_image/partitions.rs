//! After an image is written: its GPT is told of the disk's real end, a config drive is added, the last partition grows.

use crate::protocol::ImageInfo;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use gptman::{GPT, GPTPartitionEntry};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

const MIB: u64 = 1 << 20;
/// A config drive's partition is at least so large, as the stock agent makes it.
const CONFIG_DRIVE_MIB: u64 = 64;
const CONFIG_DRIVE_NAME: &str = "config-2";
/// "Linux filesystem data", 0FC63DAF-8483-4772-8E79-3D69D8477DE4, as it stands on disk.
const LINUX_DATA: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    #[error("the config drive is not gzip in base64: {0}")]
    ConfigDrive(String),
    #[error("the config drive has {bytes} bytes; at most {most} are taken")]
    ConfigDriveSize { bytes: u64, most: u64 },
    #[error("the image has no GPT, so {0}: use an image that is partitioned with GPT")]
    NoGpt(&'static str),
    #[error("the disk has no room of {mib} MiB for the config drive behind the image's partitions")]
    NoRoom { mib: u64 },
    #[error("the partition table cannot be changed")]
    Table(#[from] gptman::Error),
    #[error("the disk cannot be read or written")]
    Disk(#[from] io::Error),
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Finish {
    /// An ISO file system.
    config_drive: Option<Vec<u8>>,
    grow: bool,
}

impl Finish {
    /// Refuses a config drive that cannot be one before anything is written.
    pub fn wanted(image: &ImageInfo, config_drive: Option<&str>) -> Result<Self, PartitionError> {
        Ok(Self {
            config_drive: config_drive
                .or(image.configdrive.as_deref())
                .map(unpack)
                .transpose()?,
            grow: image.grow,
        })
    }
}

fn unpack(text: &str) -> Result<Vec<u8>, PartitionError> {
    let most = CONFIG_DRIVE_MIB * MIB;
    let text: String = text.split_ascii_whitespace().collect();
    let packed = STANDARD
        .decode(text)
        .map_err(|error| PartitionError::ConfigDrive(error.to_string()))?;
    let mut drive = Vec::new();
    GzDecoder::new(packed.as_slice())
        .take(most + 1)
        .read_to_end(&mut drive)
        .map_err(|error| PartitionError::ConfigDrive(error.to_string()))?;
    if drive.len() as u64 > most {
        return Err(PartitionError::ConfigDriveSize {
            bytes: drive.len() as u64,
            most,
        });
    }
    Ok(drive)
}

/// Does it. `disk` is opened without `O_DIRECT`.
pub fn finish(disk: &mut File, finish: &Finish) -> Result<(), PartitionError> {
    let Ok(mut gpt) = GPT::find_from(disk) else {
        return match finish {
            Finish {
                config_drive: Some(_),
                ..
            } => Err(PartitionError::NoGpt("it can have no config drive")),
            Finish { grow: true, .. } => {
                Err(PartitionError::NoGpt("its last partition cannot grow"))
            }
            Finish {
                config_drive: None,
                grow: false,
            } => Ok(()),
        };
    };
    let sector_size = gpt.sector_size;
    gpt.header.update_from(disk, sector_size)?;
    let drive_start = match &finish.config_drive {
        Some(_) => Some(add_config_drive(&mut gpt)?),
        None => None,
    };
    if finish.grow {
        grow_last(&mut gpt, drive_start);
    }
    gpt.write_into(disk)?;
    resize_protective_mbr(disk, sector_size)?;
    if let (Some(start), Some(drive)) = (drive_start, &finish.config_drive) {
        disk.seek(SeekFrom::Start(start * sector_size))?;
        disk.write_all(drive)?;
    }
    disk.sync_all()?;
    Ok(())
}

/// The protective MBR names the disk's size too; its boot code stays as it is.
fn resize_protective_mbr(disk: &mut File, sector_size: u64) -> io::Result<()> {
    let mut mbr = [0_u8; 512];
    disk.read_exact_at(&mut mbr, 0)?;
    let entries = (0..4).map(|index| 446 + 16 * index);
    let used: Vec<usize> = entries.filter(|at| mbr[at + 4] != 0).collect();
    // A hybrid MBR says more than that the disk has a GPT, and is left alone.
    let [at] = used[..] else {
        return Ok(());
    };
    if mbr[at + 4] == 0xee && mbr[510..] == [0x55, 0xaa] {
        let sectors = disk.seek(SeekFrom::End(0))? / sector_size;
        let length = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
        mbr[at + 12..at + 16].copy_from_slice(&length.to_le_bytes());
        disk.write_all_at(&mbr, 0)?;
    }
    Ok(())
}

/// Adds the partition at the disk's end and returns its first sector.
fn add_config_drive(gpt: &mut GPT) -> Result<u64, PartitionError> {
    let sectors = CONFIG_DRIVE_MIB * MIB / gpt.sector_size;
    let align = MIB / gpt.sector_size;
    let no_room = PartitionError::NoRoom {
        mib: CONFIG_DRIVE_MIB,
    };
    let existing = gpt
        .iter()
        .find(|(_, entry)| entry.is_used() && entry.partition_name.as_str() == CONFIG_DRIVE_NAME)
        .map(|(number, _)| number);
    if let Some(number) = existing {
        return Ok(gpt[number].starting_lba);
    }
    let end = gpt.header.last_usable_lba + 1;
    let start = end.saturating_sub(sectors) / align * align;
    let used = gpt
        .iter()
        .filter(|(_, entry)| entry.is_used())
        .map(|(_, entry)| entry.ending_lba)
        .max()
        .unwrap_or(gpt.header.first_usable_lba);
    let free = gpt
        .iter()
        .find(|(_, entry)| entry.is_unused())
        .map(|(number, _)| number);
    let (true, Some(number)) = (start > used, free) else {
        return Err(no_room);
    };
    gpt[number] = GPTPartitionEntry {
        partition_type_guid: LINUX_DATA,
        unique_partition_guid: uuid::Uuid::new_v4().to_bytes_le(),
        starting_lba: start,
        ending_lba: start + sectors - 1,
        attribute_bits: 0,
        partition_name: CONFIG_DRIVE_NAME.into(),
    };
    Ok(start)
}

/// Lets the partition that is last on the disk reach to its end, or to the config drive.
fn grow_last(gpt: &mut GPT, drive_start: Option<u64>) {
    let align = MIB / gpt.sector_size;
    let end = drive_start.unwrap_or((gpt.header.last_usable_lba + 1) / align * align);
    let last = gpt
        .iter_mut()
        .filter(|(_, entry)| entry.is_used() && Some(entry.starting_lba) != drive_start)
        .max_by_key(|(_, entry)| entry.ending_lba);
    if let Some((_, entry)) = last {
        entry.ending_lba = entry.ending_lba.max(end - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    /// A disk of 200 MiB with an image of 20 MiB on it, that has two partitions.
    fn disk() -> File {
        let mut image = tempfile::tempfile().unwrap();
        image.set_len(20 * MIB).unwrap();
        let mut gpt = GPT::new_from(&mut image, 512, [7; 16]).unwrap();
        for (number, start, end) in [(1, 2048, 4095), (2, 4096, 30_000)] {
            gpt[number] = GPTPartitionEntry {
                partition_type_guid: LINUX_DATA,
                unique_partition_guid: [number as u8; 16],
                starting_lba: start,
                ending_lba: end,
                attribute_bits: 0,
                partition_name: "p".into(),
            };
        }
        gpt.write_into(&mut image).unwrap();
        GPT::write_protective_mbr_into(&mut image, 512).unwrap();
        image.set_len(200 * MIB).unwrap();
        image
    }

    fn packed(drive: &[u8]) -> String {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(drive).unwrap();
        STANDARD.encode(encoder.finish().unwrap())
    }

    #[test]
    fn a_config_drive_is_added_at_the_end_and_the_root_grows_up_to_it() {
        let mut file = disk();
        let wanted = Finish {
            config_drive: Some(unpack(&packed(b"an iso")).unwrap()),
            grow: true,
        };
        finish(&mut file, &wanted).unwrap();
        let gpt = GPT::find_from(&mut file).unwrap();
        assert_eq!(gpt.header.backup_lba, 200 * MIB / 512 - 1);
        let drive = &gpt[3];
        assert_eq!(drive.partition_name.as_str(), "config-2");
        assert_eq!(drive.size().unwrap() * 512, 64 * MIB);
        assert_eq!(gpt[2].ending_lba, drive.starting_lba - 1);
        assert_eq!((gpt[1].starting_lba, gpt[1].ending_lba), (2048, 4095));
        let mut content = [0; 6];
        file.read_exact_at(&mut content, drive.starting_lba * 512)
            .unwrap();
        assert_eq!(&content, b"an iso");

        finish(&mut file, &wanted).unwrap();
        let again = GPT::find_from(&mut file).unwrap();
        assert_eq!(
            again.iter().filter(|(_, entry)| entry.is_used()).count(),
            3,
            "once is enough"
        );
    }

    #[test]
    fn a_disk_without_gpt_or_room_and_a_drive_that_is_none_are_refused() {
        let mut blank = tempfile::tempfile().unwrap();
        blank.set_len(2 * MIB).unwrap();
        let grow = Finish {
            config_drive: None,
            grow: true,
        };
        assert!(matches!(
            finish(&mut blank, &grow),
            Err(PartitionError::NoGpt(_))
        ));
        assert!(finish(&mut blank, &Finish::default()).is_ok());

        let mut small = disk();
        small.set_len(60 * MIB).unwrap();
        let drive = Finish {
            config_drive: Some(vec![1]),
            grow: false,
        };
        assert!(matches!(
            finish(&mut small, &drive),
            Err(PartitionError::NoRoom { .. })
        ));

        assert!(matches!(unpack("%%%"), Err(PartitionError::ConfigDrive(_))));
        let huge = packed(&vec![0; (CONFIG_DRIVE_MIB * MIB) as usize + 1]);
        assert!(matches!(
            unpack(&huge),
            Err(PartitionError::ConfigDriveSize { .. })
        ));
    }
}
