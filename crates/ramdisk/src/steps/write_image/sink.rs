//! Writes an image's pieces to a disk so that there is either the whole image or nothing.
//!
//! The first MiB holds what makes a disk an operating system: partition table and boot code. It is zeroed before anything
//! is written, kept in memory, and written last, once the checksum is known to be right ([`Sink::commit`]). If the image
//! turns out wrong, all that was written is zeroed again ([`Sink::abandon`]). A power cut in between leaves a disk that
//! does not boot.
//!
//! A thread of its own writes, so that the next piece is downloaded and unpacked meanwhile.

use super::WriteError;
use crate::device::direct::{ALIGNMENT, AlignedBuffer};
use crate::device::ioctl;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// What is held back.
pub const HEAD_BYTES: u64 = 1 << 20;
/// The size of one write.
const PIECE_BYTES: usize = 4 << 20;
/// Writes that may wait for the disk.
const QUEUE: usize = 3;
/// One zeroing call's share.
const ZERO_BYTES: u64 = 1 << 30;

struct Piece {
    offset: u64,
    length: usize,
    buffer: AlignedBuffer,
}

pub struct Sink {
    disk: Arc<File>,
    disk_bytes: u64,
    /// The disk's own block: writes are of whole ones.
    block_bytes: u64,
    head: Vec<u8>,
    /// The piece that is being filled.
    piece: Piece,
    queue: Option<SyncSender<Piece>>,
    free: Receiver<AlignedBuffer>,
    writer: Option<JoinHandle<io::Result<()>>>,
    written: Extents,
}

impl Sink {
    /// Zeroes the disk's ends, where tables and marks of what was there may stand.
    pub fn begin(disk: File, disk_bytes: u64, block_bytes: u64) -> Result<Self, WriteError> {
        let disk = Arc::new(disk);
        zero(&disk, 0..HEAD_BYTES.min(disk_bytes))?;
        zero(&disk, disk_bytes.saturating_sub(HEAD_BYTES)..disk_bytes)?;
        let (queue, pieces) = sync_channel::<Piece>(QUEUE);
        let (give_back, free) = sync_channel(QUEUE + 2);
        let target = Arc::clone(&disk);
        let writer = std::thread::spawn(move || {
            for piece in pieces {
                target.write_all_at(&piece.buffer.bytes()[..piece.length], piece.offset)?;
                // The receiver is gone only when no more buffers are needed.
                give_back.send(piece.buffer).ok();
            }
            Ok(())
        });
        Ok(Self {
            disk,
            disk_bytes,
            block_bytes,
            head: vec![0; HEAD_BYTES as usize],
            piece: Piece {
                offset: 0,
                length: 0,
                buffer: AlignedBuffer::new(PIECE_BYTES),
            },
            queue: Some(queue),
            free,
            writer: Some(writer),
            written: Extents::default(),
        })
    }

    /// Takes a piece of the image. Pieces may come in any order, but not over each other, and begin at a block.
    pub fn put(&mut self, mut offset: u64, mut bytes: &[u8]) -> Result<(), WriteError> {
        let end = offset + bytes.len() as u64;
        if end > self.disk_bytes {
            return Err(WriteError::TooLarge {
                image_bytes: end,
                disk_bytes: self.disk_bytes,
            });
        }
        if offset < HEAD_BYTES {
            let length = bytes.len().min((HEAD_BYTES - offset) as usize);
            let (head, rest) = bytes.split_at(length);
            self.head[offset as usize..offset as usize + length].copy_from_slice(head);
            offset += length as u64;
            bytes = rest;
        }
        while !bytes.is_empty() {
            if offset != self.piece.offset + self.piece.length as u64
                || self.piece.length == PIECE_BYTES
            {
                self.flush()?;
                self.piece.offset = offset;
            }
            let length = bytes.len().min(PIECE_BYTES - self.piece.length);
            let (now, rest) = bytes.split_at(length);
            let filled = self.piece.length;
            self.piece.buffer.bytes_mut()[filled..filled + length].copy_from_slice(now);
            self.piece.length += length;
            offset += length as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// The image's first MiB, once all of it was put.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Hands the piece to the writer; what is missing of its last block is filled with zeroes.
    fn flush(&mut self) -> Result<(), WriteError> {
        if self.piece.length == 0 {
            return Ok(());
        }
        let length = self
            .piece
            .length
            .next_multiple_of(self.block_bytes as usize);
        self.piece.buffer.bytes_mut()[self.piece.length..length].fill(0);
        let offset = self.piece.offset;
        self.written.add(offset..offset + length as u64);
        let buffer = self
            .free
            .try_recv()
            .unwrap_or_else(|_| AlignedBuffer::new(PIECE_BYTES));
        let piece = Piece {
            offset,
            length,
            buffer: std::mem::replace(&mut self.piece.buffer, buffer),
        };
        self.piece.length = 0;
        match self.queue.as_ref().map(|queue| queue.send(piece)) {
            Some(Ok(())) => Ok(()),
            // The writer ends before the queue only by an error.
            _ => self.join(),
        }
    }

    /// Ends the writer.
    fn join(&mut self) -> Result<(), WriteError> {
        self.queue = None;
        match self.writer.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result.map_err(WriteError::Write),
            Some(Err(_)) => Err(WriteError::Write(io::Error::other(
                "the writing thread ended",
            ))),
        }
    }

    /// Makes the disk hold the image: what the image left out becomes zero, and the first MiB is written at the end.
    pub fn commit(mut self, image_bytes: u64) -> Result<(), WriteError> {
        if image_bytes > self.disk_bytes {
            return Err(WriteError::TooLarge {
                image_bytes,
                disk_bytes: self.disk_bytes,
            });
        }
        self.flush()?;
        self.join()?;
        let end = image_bytes
            .next_multiple_of(self.block_bytes)
            .min(self.disk_bytes);
        for gap in self.written.gaps(HEAD_BYTES..end) {
            zero(&self.disk, gap)?;
        }
        self.disk.sync_all().map_err(WriteError::Write)?;

        let length = HEAD_BYTES.min(self.disk_bytes) as usize;
        let mut head = AlignedBuffer::new(length.next_multiple_of(ALIGNMENT));
        head.bytes_mut()[..length].copy_from_slice(&self.head[..length]);
        self.disk
            .write_all_at(&head.bytes()[..length], 0)
            .map_err(WriteError::Write)?;
        self.disk.sync_all().map_err(WriteError::Write)
    }

    /// Takes back all that was written.
    pub fn abandon(mut self) -> Result<(), WriteError> {
        self.piece.length = 0;
        // What the writer met matters no more: all of it is zeroed.
        self.join().ok();
        for extent in self.written.all() {
            zero(&self.disk, extent)?;
        }
        self.disk.sync_all().map_err(WriteError::Write)
    }
}

/// Makes a part of a disk, or of a file in place of one, read as zeroes.
fn zero(disk: &File, range: Range<u64>) -> Result<(), WriteError> {
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start + ZERO_BYTES);
        let result = match ioctl::zero_out(disk, start..end) {
            Err(Errno::NOTTY) => {
                let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(disk, how, start, end - start)
            }
            result => result,
        };
        result.map_err(|error| WriteError::Write(error.into()))?;
        start = end;
    }
    Ok(())
}

/// Parts of a disk, joined where they touch.
#[derive(Debug, Default)]
struct Extents(BTreeMap<u64, u64>);

impl Extents {
    fn add(&mut self, extent: Range<u64>) {
        let before = self.0.range_mut(..=extent.start).next_back();
        match before {
            Some((_, end)) if *end == extent.start => *end = extent.end,
            _ => {
                self.0.insert(extent.start, extent.end);
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(start, end)| *start..*end)
    }

    /// The parts of `range` that are in no extent.
    fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut from = range.start;
        for extent in self.all() {
            if extent.start > from {
                gaps.push(from..extent.start.min(range.end));
            }
            from = from.max(extent.end);
        }
        if from < range.end {
            gaps.push(from..range.end);
        }
        gaps.retain(|gap| gap.start < gap.end);
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: u64 = 24 << 20;

    /// A disk full of another tenant's bytes.
    fn dirty() -> (tempfile::NamedTempFile, File) {
        let disk = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(disk.path(), vec![0xaa; DISK as usize]).unwrap();
        let file = File::options()
            .read(true)
            .write(true)
            .open(disk.path())
            .unwrap();
        (disk, file)
    }

    #[test]
    fn a_committed_image_replaces_all_that_was_there_and_gaps_are_zero() {
        let (disk, file) = dirty();
        let mut sink = Sink::begin(file, DISK, 512).unwrap();
        sink.put(12 << 20, &[3; 5 << 20]).unwrap();
        sink.put(0, &[1; 2 << 20]).unwrap();
        sink.put(17 << 20, &[4; 700]).unwrap();
        sink.commit((18 << 20) + 100).unwrap();

        let got = std::fs::read(disk.path()).unwrap();
        let mut expected = vec![0; (18 << 20) + 512];
        expected[..2 << 20].fill(1);
        expected[12 << 20..17 << 20].fill(3);
        expected[17 << 20..(17 << 20) + 700].fill(4);
        assert!(got[..expected.len()] == expected);
        let tail = (DISK - HEAD_BYTES) as usize;
        assert!(
            got[tail..].iter().all(|byte| *byte == 0),
            "an old backup table may stand there"
        );
    }

    #[test]
    fn an_abandoned_image_leaves_nothing_and_no_old_partition_table() {
        let (disk, file) = dirty();
        let mut sink = Sink::begin(file, DISK, 512).unwrap();
        sink.put(0, &[1; 9 << 20]).unwrap();
        sink.put(12 << 20, &[2; 4 << 20]).unwrap();
        sink.put(16 << 20, &[2; 1]).unwrap();
        sink.abandon().unwrap();
        let got = std::fs::read(disk.path()).unwrap();
        assert!(!got.iter().any(|byte| [1, 2].contains(byte)));
        assert!(got[..9 << 20].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_is_beyond_the_disk_is_refused() {
        let (_disk, file) = dirty();
        let mut sink = Sink::begin(file, DISK, 512).unwrap();
        assert!(matches!(
            sink.put(DISK - 1, &[1; 2]),
            Err(WriteError::TooLarge { .. })
        ));
    }

    #[test]
    fn gaps_lie_between_extents() {
        let mut extents = Extents::default();
        extents.add(20..30);
        extents.add(0..5);
        extents.add(5..10);
        extents.add(30..31);
        assert_eq!(extents.all().collect::<Vec<_>>(), [0..10, 20..31]);
        assert_eq!(extents.gaps(3..50), [10..20, 31..50]);
        assert_eq!(extents.gaps(0..25).first(), Some(&(10..20)));
    }
}
