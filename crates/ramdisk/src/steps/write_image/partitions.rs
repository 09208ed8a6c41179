//! After an image is written: its GPT is told of the disk's real end, a config drive is added, the last partition grows. With the
//! older table, of a master boot record, the same is done as far as it has room.
//!
//! Whether a config drive has a place shows in the image's first MiB, which is written last: an image that has none for it is
//! refused before that, and nothing of it is left.

use super::mbr::Mbr;
use crate::protocol::{Growth, ImageInfo};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use gptman::{GPT, GPTPartitionEntry};
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
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
    #[error(
        "the image has no partition table that a config drive could be added to: use one that is partitioned with GPT or MBR"
    )]
    NoTable,
    #[error(
        "the image's partition table is an MBR, and all its four entries are in use: use an image that leaves one to the config \
         drive, or that is partitioned with GPT"
    )]
    NoEntry,
    #[error("the disk has no room of {mib} MiB for the config drive behind the image's partitions")]
    NoRoom { mib: u64 },
    #[error("the partition table cannot be changed")]
    Table(#[from] gptman::Error),
    #[error("the disk cannot be read or written")]
    Disk(#[from] io::Error),
}

impl PartitionError {
    /// Whether the image, or what is to be put beside it, is at fault, and not the disk.
    pub fn is_the_images(&self) -> bool {
        match self {
            Self::ConfigDrive(_)
            | Self::ConfigDriveSize { .. }
            | Self::NoTable
            | Self::NoEntry
            | Self::NoRoom { .. } => true,
            Self::Table(_) | Self::Disk(_) => false,
        }
    }
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

impl Finish {
    /// Refuses an image, by its first MiB, that the config drive cannot be added to.
    pub fn check(
        &self,
        head: &[u8],
        disk_bytes: u64,
        block_bytes: u64,
    ) -> Result<(), PartitionError> {
        if self.config_drive.is_none() {
            return Ok(());
        }
        if let Ok(mut gpt) = GPT::find_from(&mut Cursor::new(head)) {
            let sector_size = gpt.sector_size;
            gpt.header
                .update_from(&mut DiskEnd(disk_bytes), sector_size)?;
            return add_config_drive(&mut gpt).map(drop);
        }
        Mbr::read(head, disk_bytes, block_bytes)
            .ok_or(PartitionError::NoTable)?
            .add_config_drive(CONFIG_DRIVE_MIB)
            .map(drop)
    }
}

/// A disk of which only the size is asked.
struct DiskEnd(u64);

impl Seek for DiskEnd {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Ok(self.0)
    }
}

/// Does it, and tells what became of the last partition if it was to grow. `disk` is opened without `O_DIRECT`.
pub fn finish(
    disk: &mut File,
    finish: &Finish,
    block_bytes: u64,
) -> Result<Option<Growth>, PartitionError> {
    let (growth, drive_at) = match GPT::find_from(disk) {
        Ok(gpt) => finish_gpt(disk, gpt, finish)?,
        Err(_) => finish_mbr(disk, finish, block_bytes)?,
    };
    if let (Some(at), Some(drive)) = (drive_at, &finish.config_drive) {
        disk.seek(SeekFrom::Start(at))?;
        disk.write_all(drive)?;
    }
    disk.sync_all()?;
    Ok(finish.grow.then_some(growth))
}

/// Returns also the byte at which the config drive begins.
fn finish_gpt(
    disk: &mut File,
    mut gpt: GPT,
    finish: &Finish,
) -> Result<(Growth, Option<u64>), PartitionError> {
    let sector_size = gpt.sector_size;
    gpt.header.update_from(disk, sector_size)?;
    let drive_start = match &finish.config_drive {
        Some(_) => Some(add_config_drive(&mut gpt)?),
        None => None,
    };
    let mut growth = left("the partition table has no partition");
    if finish.grow
        && let Some((partition, size_bytes)) = grow_last(&mut gpt, drive_start)
    {
        growth = Growth::Grown {
            partition,
            size_bytes,
        };
    }
    gpt.write_into(disk)?;
    resize_protective_mbr(disk, sector_size)?;
    Ok((growth, drive_start.map(|start| start * sector_size)))
}

fn finish_mbr(
    disk: &mut File,
    finish: &Finish,
    block_bytes: u64,
) -> Result<(Growth, Option<u64>), PartitionError> {
    let disk_bytes = disk.seek(SeekFrom::End(0))?;
    let mut head = [0; 512];
    disk.read_exact_at(&mut head, 0)?;
    let Some(mut mbr) = Mbr::read(&head, disk_bytes, block_bytes) else {
        return match finish.config_drive {
            Some(_) => Err(PartitionError::NoTable),
            None => Ok((left("the image has no partition table"), None)),
        };
    };
    let drive_start = match &finish.config_drive {
        Some(_) => Some(mbr.add_config_drive(CONFIG_DRIVE_MIB)?),
        None => None,
    };
    let mut growth = left("the last partition stays as it is");
    if finish.grow {
        growth = match mbr.grow_last(drive_start) {
            Ok((partition, size_bytes)) => Growth::Grown {
                partition,
                size_bytes,
            },
            Err(reason) => Growth::Left { reason },
        };
    }
    mbr.write(disk)?;
    Ok((growth, drive_start.map(|start| start * block_bytes)))
}

fn left(reason: &str) -> Growth {
    Growth::Left {
        reason: reason.to_owned(),
    }
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

/// Lets the partition that is last on the disk reach to its end, or to the config drive. Returns its number and size in bytes.
fn grow_last(gpt: &mut GPT, drive_start: Option<u64>) -> Option<(u32, u64)> {
    let sector_size = gpt.sector_size;
    let align = MIB / sector_size;
    let end = drive_start.unwrap_or((gpt.header.last_usable_lba + 1) / align * align);
    let (number, entry) = gpt
        .iter_mut()
        .filter(|(_, entry)| entry.is_used() && Some(entry.starting_lba) != drive_start)
        .max_by_key(|(_, entry)| entry.ending_lba)?;
    entry.ending_lba = entry.ending_lba.max(end - 1);
    let sectors = entry.ending_lba + 1 - entry.starting_lba;
    Some((number, sectors * sector_size))
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
        let growth = finish(&mut file, &wanted, 512).unwrap();
        let gpt = GPT::find_from(&mut file).unwrap();
        assert_eq!(gpt.header.backup_lba, 200 * MIB / 512 - 1);
        let drive = &gpt[3];
        assert_eq!(drive.partition_name.as_str(), "config-2");
        assert_eq!(drive.size().unwrap() * 512, 64 * MIB);
        assert_eq!(gpt[2].ending_lba, drive.starting_lba - 1);
        assert_eq!((gpt[1].starting_lba, gpt[1].ending_lba), (2048, 4095));
        let size_bytes = gpt[2].size().unwrap() * 512;
        assert_eq!(
            growth,
            Some(Growth::Grown {
                partition: 2,
                size_bytes
            })
        );
        let mut content = [0; 6];
        file.read_exact_at(&mut content, drive.starting_lba * 512)
            .unwrap();
        assert_eq!(&content, b"an iso");

        finish(&mut file, &wanted, 512).unwrap();
        let again = GPT::find_from(&mut file).unwrap();
        assert_eq!(
            again.iter().filter(|(_, entry)| entry.is_used()).count(),
            3,
            "once is enough"
        );
    }

    #[test]
    fn an_image_without_a_table_stays_as_it_is_and_says_so() {
        let mut blank = tempfile::tempfile().unwrap();
        blank.set_len(2 * MIB).unwrap();
        let grow = Finish {
            config_drive: None,
            grow: true,
        };
        let growth = finish(&mut blank, &grow, 512).unwrap();
        assert!(
            matches!(&growth, Some(Growth::Left { reason }) if reason.contains("no partition table")),
            "{growth:?}"
        );
        assert_eq!(finish(&mut blank, &Finish::default(), 512).unwrap(), None);
    }

    #[test]
    fn a_disk_with_an_mbr_gets_a_config_drive_and_its_last_partition_grows() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(200 * MIB).unwrap();
        let mut head = [0; 512];
        // Active, Linux, from 1 MiB on, 4 MiB long.
        head[446..462].copy_from_slice(&[0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 32, 0, 0]);
        head[510..].copy_from_slice(&[0x55, 0xaa]);
        head[0] = 0xeb;
        file.write_all_at(&head, 0).unwrap();
        let wanted = Finish {
            config_drive: Some(b"an iso".to_vec()),
            grow: true,
        };
        wanted.check(&head, 200 * MIB, 512).unwrap();
        assert_eq!(
            finish(&mut file, &wanted, 512).unwrap(),
            Some(Growth::Grown {
                partition: 1,
                size_bytes: 135 * MIB
            })
        );
        let mut content = [0; 6];
        file.read_exact_at(&mut content, 136 * MIB).unwrap();
        assert_eq!(&content, b"an iso");
        let mut after = [0; 512];
        file.read_exact_at(&mut after, 0).unwrap();
        assert_eq!((after[0], after[446]), (0xeb, 0x80), "it still boots");
        assert_eq!(after[462 + 4], 0x83);
    }

    #[test]
    fn a_config_drive_that_has_no_place_or_is_none_is_refused() {
        let drive = Finish {
            config_drive: Some(vec![1]),
            grow: false,
        };
        let blank = vec![0; MIB as usize];
        assert!(matches!(
            drive.check(&blank, 200 * MIB, 512),
            Err(PartitionError::NoTable)
        ));
        assert!(Finish::default().check(&blank, 200 * MIB, 512).is_ok());

        let mut small = disk();
        let mut head = vec![0; MIB as usize];
        small.read_exact_at(&mut head, 0).unwrap();
        assert!(drive.check(&head, 200 * MIB, 512).is_ok());
        assert!(matches!(
            drive.check(&head, 60 * MIB, 512),
            Err(PartitionError::NoRoom { .. })
        ));
        small.set_len(60 * MIB).unwrap();
        assert!(matches!(
            finish(&mut small, &drive, 512),
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
