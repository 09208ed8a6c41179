//! Erasing by what every disk can do: discard, zero, write.

use super::EraseError;
use crate::device::direct::AlignedBuffer;
use crate::device::{Disk, ioctl};
use rustix::io::Errno;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// One call's share; a signal or a power-off need not wait longer than for that.
const CHUNK_BYTES: u64 = 1 << 30;
const WRITE_BYTES: usize = 4 << 20;
pub const MIB: u64 = 1 << 20;

fn chunks(range: Range<u64>, length: u64) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range
        .step_by(length as usize)
        .map(move |start| start..end.min(start + length))
}

/// Gives all blocks back, so that flash forgets them, then has the device set them to zero: a discarded block may read as
/// anything, its old content included.
pub fn discard(disk: &Disk, file: &File, done: &AtomicU64) -> Result<(), EraseError> {
    let kernel = |what| move |source: Errno| EraseError::Kernel { what, source };
    for chunk in chunks(0..disk.size_bytes, CHUNK_BYTES) {
        ioctl::discard(file, chunk.clone()).map_err(kernel("discard blocks"))?;
        let bytes = chunk.end - chunk.start;
        ioctl::zero_out(file, chunk).map_err(kernel("zero blocks"))?;
        done.fetch_add(bytes, Ordering::Relaxed);
    }
    file.sync_all().map_err(EraseError::Write)
}

/// Writes zeroes to each block.
pub fn overwrite(disk: &Disk, file: &File, done: &AtomicU64) -> Result<(), EraseError> {
    let zeroes = AlignedBuffer::new(WRITE_BYTES);
    for chunk in chunks(0..disk.size_bytes, WRITE_BYTES as u64) {
        let length = (chunk.end - chunk.start) as usize;
        file.write_all_at(&zeroes.bytes()[..length], chunk.start)
            .map_err(EraseError::Write)?;
        done.fetch_add(length as u64, Ordering::Relaxed);
    }
    file.sync_all().map_err(EraseError::Write)
}

/// Sets the first and the last MiB to zero: partition tables, and the marks of arrays and file systems.
pub fn zero_ends(disk: &Disk, file: &File) -> Result<(), EraseError> {
    let head = disk.size_bytes.min(MIB);
    let tail = disk.size_bytes.saturating_sub(MIB).max(head);
    for range in [0..head, tail..disk.size_bytes] {
        if !range.is_empty() {
            ioctl::zero_out(file, range).map_err(|source| EraseError::Kernel {
                what: "zero blocks",
                source,
            })?;
        }
    }
    file.sync_all().map_err(EraseError::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_overwritten_is_counted() {
        let file = tempfile::tempfile().unwrap();
        let done = AtomicU64::new(0);
        let disk = Disk {
            name: "sda".to_owned(),
            transport: crate::device::Transport::Scsi,
            size_bytes: 9 * MIB,
            model: None,
            serial: None,
            wwn: None,
            vendor: None,
            hctl: None,
            rotational: true,
            read_only: false,
            logical_block_bytes: 512,
            physical_block_bytes: 512,
            discard_max_bytes: 0,
        };
        overwrite(&disk, &file, &done).unwrap();
        assert_eq!(done.into_inner(), 9 * MIB);
        assert_eq!(file.metadata().unwrap().len(), 9 * MIB);
    }

    #[test]
    fn chunks_cover_a_range_without_gaps() {
        let parts: Vec<Range<u64>> = chunks(0..2500, 1000).collect();
        assert_eq!(parts, [0..1000, 1000..2000, 2000..2500]);
    }
}
