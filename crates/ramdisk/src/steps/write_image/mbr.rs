//! The partition table of a master boot record: four primary partitions, in the first sector.

use super::partitions::PartitionError;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

const MIB: u64 = 1 << 20;
const TABLE: usize = 446;
const SECTOR_BYTES: usize = 512;
/// Places and lengths have 32 bits.
const SECTORS_MAX: u64 = 1 << 32;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
const PROTECTIVE: u8 = 0xee;
const LINUX: u8 = 0x83;

#[derive(Debug, Clone)]
pub struct Mbr {
    sector: [u8; SECTOR_BYTES],
    block_bytes: u64,
    /// The sectors of the disk that the table can name.
    end: u64,
}

impl Mbr {
    /// Reads the table in a disk's first bytes. None: there is none, but a file system or an ISO, or it is not to be understood.
    pub fn read(head: &[u8], disk_bytes: u64, block_bytes: u64) -> Option<Self> {
        let sector: [u8; SECTOR_BYTES] = head.get(..SECTOR_BYTES)?.try_into().ok()?;
        let mbr = Self {
            sector,
            block_bytes,
            end: (disk_bytes / block_bytes).min(SECTORS_MAX),
        };
        let mut used: Vec<Range<u64>> = mbr.used().map(|(_, sectors)| sectors).collect();
        used.sort_by_key(|sectors| sectors.start);
        let sound = used
            .iter()
            .all(|sectors| sectors.start > 0 && !sectors.is_empty() && sectors.end <= mbr.end)
            && used.windows(2).all(|pair| pair[0].end <= pair[1].start)
            && (0..4).all(|index| {
                let entry = mbr.entry(index);
                matches!(entry[0], 0 | 0x80) && entry[4] != PROTECTIVE
            });
        (mbr.sector[510..] == [0x55, 0xaa] && !used.is_empty() && sound).then_some(mbr)
    }

    fn entry(&self, index: usize) -> &[u8] {
        &self.sector[TABLE + 16 * index..TABLE + 16 * (index + 1)]
    }

    /// Number (from 0) and place of each partition.
    fn used(&self) -> impl Iterator<Item = (usize, Range<u64>)> {
        (0..4).filter_map(|index| {
            let entry = self.entry(index);
            let number = |at: usize| {
                u64::from(u32::from_le_bytes([
                    entry[at],
                    entry[at + 1],
                    entry[at + 2],
                    entry[at + 3],
                ]))
            };
            (entry[4] != 0).then(|| (index, number(8)..number(8) + number(12)))
        })
    }

    fn set(&mut self, index: usize, sectors: &Range<u64>) {
        let entry = &mut self.sector[TABLE + 16 * index..TABLE + 16 * (index + 1)];
        // Cylinders, heads and sectors reach 8 GB far; beyond that these bytes are to say so.
        entry[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
        let length = u32::try_from(sectors.end - sectors.start).unwrap_or(u32::MAX);
        entry[8..12].copy_from_slice(&(sectors.start as u32).to_le_bytes());
        entry[12..].copy_from_slice(&length.to_le_bytes());
    }

    /// Adds a primary partition at the disk's end, as the stock agent does, and returns its first sector.
    pub fn add_config_drive(&mut self, mib: u64) -> Result<u64, PartitionError> {
        let (sectors, align) = (mib * MIB / self.block_bytes, MIB / self.block_bytes);
        let start = self.end.saturating_sub(sectors) / align * align;
        if self.used().any(|(_, used)| used.end > start) {
            return Err(PartitionError::NoRoom { mib });
        }
        let Some(index) = (0..4).find(|index| self.entry(*index)[4] == 0) else {
            return Err(PartitionError::NoEntry);
        };
        self.sector[TABLE + 16 * index..TABLE + 16 * index + 8]
            .copy_from_slice(&[0, 0xfe, 0xff, 0xff, LINUX, 0xfe, 0xff, 0xff]);
        self.set(index, &(start..start + sectors));
        Ok(start)
    }

    /// Lets the partition that is last on the disk reach to its end, or to the config drive. Returns its number, from 1, and its
    /// size in bytes, or why it stays as it is.
    pub fn grow_last(&mut self, drive_start: Option<u64>) -> Result<(u32, u64), String> {
        let align = MIB / self.block_bytes;
        let end = drive_start.unwrap_or(self.end / align * align);
        let last = self
            .used()
            .filter(|(_, used)| Some(used.start) != drive_start)
            .max_by_key(|(_, used)| used.end);
        let Some((index, used)) = last else {
            return Err("the partition table has no partition".to_owned());
        };
        if EXTENDED.contains(&self.entry(index)[4]) {
            return Err(format!(
                "the last partition, {}, is an extended one, and what is in it is left to the image",
                index + 1
            ));
        }
        let grown = used.start..end.max(used.end);
        self.set(index, &grown);
        Ok((
            index as u32 + 1,
            (grown.end - grown.start) * self.block_bytes,
        ))
    }

    pub fn write(&self, disk: &File) -> io::Result<()> {
        disk.write_all_at(&self.sector, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with these kinds, first sectors and lengths.
    fn head(entries: &[(u8, u32, u32)]) -> Vec<u8> {
        let mut head = vec![0; SECTOR_BYTES];
        for (index, (kind, start, length)) in entries.iter().enumerate() {
            let at = TABLE + 16 * index;
            head[at + 4] = *kind;
            head[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
            head[at + 12..at + 16].copy_from_slice(&length.to_le_bytes());
        }
        head[510..].copy_from_slice(&[0x55, 0xaa]);
        head
    }

    fn mbr(entries: &[(u8, u32, u32)], disk_bytes: u64) -> Option<Mbr> {
        Mbr::read(&head(entries), disk_bytes, 512)
    }

    #[test]
    fn the_last_primary_partition_grows_up_to_the_config_drive() {
        let mut mbr = mbr(&[(0x83, 2048, 4096), (0x83, 6144, 4096)], 200 * MIB).unwrap();
        let drive = mbr.add_config_drive(64).unwrap();
        assert_eq!(drive, 136 * MIB / 512);
        assert_eq!(mbr.grow_last(Some(drive)), Ok((2, 133 * MIB)));
        let used: Vec<Range<u64>> = mbr.used().map(|(_, used)| used).collect();
        assert_eq!(used, [2048..6144, 6144..drive, drive..200 * MIB / 512]);
        assert_eq!(mbr.entry(2)[4], LINUX);
    }

    #[test]
    fn what_cannot_grow_says_why_and_four_partitions_leave_no_entry() {
        let mut logical = mbr(&[(0x83, 2048, 2048), (0x05, 4096, 4096)], 200 * MIB).unwrap();
        assert!(logical.grow_last(None).unwrap_err().contains("extended"));
        let full = [
            (0x83, 2048, 2048),
            (0x83, 4096, 2048),
            (0x83, 6144, 2048),
            (0x82, 8192, 2048),
        ];
        let refused = mbr(&full, 200 * MIB).unwrap().add_config_drive(64);
        assert!(matches!(refused, Err(PartitionError::NoEntry)));
        let refused = mbr(&full[..1], 60 * MIB).unwrap().add_config_drive(64);
        assert!(matches!(refused, Err(PartitionError::NoRoom { mib: 64 })));
    }

    #[test]
    fn a_disk_that_is_too_large_for_the_table_is_used_as_far_as_it_reaches() {
        let mut mbr = mbr(&[(0x83, 2048, 4096)], 8 << 40).unwrap();
        let drive = mbr.add_config_drive(64).unwrap();
        assert_eq!(drive, SECTORS_MAX - 64 * MIB / 512);
        assert_eq!(mbr.grow_last(Some(drive)).unwrap().0, 1);
    }

    #[test]
    fn file_systems_and_isos_have_no_table() {
        assert!(mbr(&[], 200 * MIB).is_none());
        // An ISO that is a disk too describes itself from its first sector on.
        assert!(mbr(&[(0x17, 0, 4096)], 200 * MIB).is_none());
        assert!(mbr(&[(0xee, 1, 4096)], 200 * MIB).is_none());
        assert!(mbr(&[(0x83, 2048, 4096), (0x83, 4096, 4096)], 200 * MIB).is_none());
        assert!(mbr(&[(0x83, 2048, 4_000_000)], 200 * MIB).is_none());
        let mut code = head(&[(0x83, 2048, 4096)]);
        code[TABLE] = 0x33;
        assert!(Mbr::read(&code, 200 * MIB, 512).is_none());
        assert!(Mbr::read(&[0; 100], 200 * MIB, 512).is_none());
    }
}
