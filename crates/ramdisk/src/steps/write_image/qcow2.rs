//! Reads a qcow2 image (QEMU, docs/interop/qcow2.txt) from front to end, as it arrives.
//!
//! A cluster of the file is a table, data, or both are told only by tables; those usually come before what they describe
//! (`qemu-img` writes them so). What comes before its table waits in memory, up to a limit; beyond it the image is refused
//! with the advice to write it anew.

use super::layout::LayoutError;
use super::{Put, WriteError};
use flate2::{Decompress, FlushDecompress};
use ruzstd::decoding::StreamingDecoder;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;

/// How much may wait for its table.
const BACKLOG_BYTES: usize = 256 << 20;

/// Why an image is refused that is not complete at its end.
const TABLES_BEHIND: &str = "is cut off, or has its tables behind its data and so cannot be written as it arrives: write it anew \
                             with 'qemu-img convert -O qcow2'";

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
/// Reads as zeroes, whatever the cluster holds.
const ZERO: u64 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Deflate,
    Zstd,
}

struct Header {
    cluster_bits: u32,
    size_bytes: u64,
    l1_offset: u64,
    l1_entries: u64,
    packing: Packing,
}

/// A compressed cluster: so many bytes of the file are this cluster of the disk.
#[derive(Debug, Clone, Copy)]
struct Packed {
    length: u64,
    guest: u64,
}

pub struct Qcow2<R> {
    source: R,
    header: Header,
    /// Bytes of the file that the header was read from, and that `copy` begins with.
    first: Vec<u8>,
    l1: Vec<u8>,
    /// L2 tables that are still to come: cluster of the file → the disk's first byte that it maps.
    tables: HashMap<u64, u64>,
    /// Data clusters that are still to come: cluster of the file → place on the disk.
    wanted: HashMap<u64, u64>,
    /// Compressed clusters that are still to come, by their first byte in the file.
    packed: BTreeMap<u64, Packed>,
    backlog: Backlog,
    scratch: Vec<u8>,
}

/// Clusters that came, by number, of which not all is known.
#[derive(Default)]
struct Backlog {
    clusters: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
}

impl Backlog {
    fn keep(&mut self, cluster: u64, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        self.clusters.insert(cluster, bytes);
    }

    fn take(&mut self, cluster: u64) -> Option<Vec<u8>> {
        let bytes = self.clusters.remove(&cluster)?;
        self.bytes -= bytes.len();
        Some(bytes)
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, WriteError> {
    Err(LayoutError::Qcow2(why.into()).into())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, WriteError> {
        if bytes.len() < 112 {
            return refuse("ends within its header");
        }
        let version = u32_at(bytes, 4);
        if !(2..=3).contains(&version) {
            return refuse(format!("is of version {version}; 2 and 3 are known"));
        }
        if u64_at(bytes, 8) != 0 || u32_at(bytes, 16) != 0 {
            return refuse("has a backing file: flatten it with 'qemu-img convert'");
        }
        if u32_at(bytes, 32) != 0 {
            return refuse("is encrypted: decrypt it with 'qemu-img convert'");
        }
        if u32_at(bytes, 60) != 0 {
            return refuse("has snapshots: leave them behind with 'qemu-img convert'");
        }
        let cluster_bits = u32_at(bytes, 20);
        if !(9..=21).contains(&cluster_bits) {
            return refuse(format!(
                "has a broken header: clusters of 2^{cluster_bits} bytes"
            ));
        }
        let header = Self {
            cluster_bits,
            size_bytes: u64_at(bytes, 24),
            l1_entries: u64::from(u32_at(bytes, 36)),
            l1_offset: u64_at(bytes, 40),
            packing: if version >= 3 {
                packing(bytes)?
            } else {
                Packing::Deflate
            },
        };
        let mapped = u128::from(header.l1_entries) << (2 * cluster_bits - 3);
        if mapped < u128::from(header.size_bytes)
            || !header.l1_offset.is_multiple_of(header.cluster_bytes())
            || header.l1_offset == 0
            // 32 MiB, as in QEMU: of what follows from the header, memory is taken.
            || header.l1_entries > 4 << 20
        {
            return refuse("has a broken header: its L1 table cannot map its size");
        }
        Ok(header)
    }

    fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }
}

/// The features of a version 3 header.
fn packing(bytes: &[u8]) -> Result<Packing, WriteError> {
    let incompatible = u64_at(bytes, 72);
    // Dirty (reference counts only) and compression type are understood.
    match incompatible & !0b1001 {
        0 => {}
        0b10 => return refuse("is marked as corrupt: repair it with 'qemu-img check -r all'"),
        0b100 => {
            return refuse("keeps its data in another file: flatten it with 'qemu-img convert'");
        }
        bits => {
            return refuse(format!(
                "needs features {bits:#x}, which are not known: write it anew with 'qemu-img convert -O qcow2'"
            ));
        }
    }
    match (incompatible & 8 != 0, bytes[104]) {
        (false, _) | (true, 0) => Ok(Packing::Deflate),
        (true, 1) => Ok(Packing::Zstd),
        (true, other) => refuse(format!("is compressed by an unknown method ({other})")),
    }
}

impl<R: Read> Qcow2<R> {
    /// `first`: at least the header, already read from `source`.
    pub fn open(first: Vec<u8>, source: R) -> Result<Self, WriteError> {
        let header = Header::parse(&first)?;
        Ok(Self {
            source,
            first,
            l1: vec![0; (header.l1_entries * 8) as usize],
            header,
            tables: HashMap::new(),
            wanted: HashMap::new(),
            packed: BTreeMap::new(),
            backlog: Backlog::default(),
            scratch: Vec::new(),
        })
    }

    pub fn size_bytes(&self) -> u64 {
        self.header.size_bytes
    }

    pub fn into_source(self) -> R {
        self.source
    }

    /// Hands out all data clusters.
    pub fn copy(&mut self, put: &mut Put<'_>) -> Result<(), WriteError> {
        for cluster in 0.. {
            let mut bytes = std::mem::take(&mut self.first);
            let missing = self.header.cluster_bytes() - bytes.len() as u64;
            self.source
                .by_ref()
                .take(missing)
                .read_to_end(&mut bytes)
                .map_err(WriteError::Read)?;
            if bytes.is_empty() {
                break;
            }
            let last = (bytes.len() as u64) < self.header.cluster_bytes();
            if last {
                // A file may end with the last sector of its last cluster.
                bytes.resize(self.header.cluster_bytes() as usize, 0);
            }
            self.take(cluster, bytes, put)?;
            if last {
                break;
            }
        }
        self.unpack_last(put)?;
        if self.tables.is_empty() && self.wanted.is_empty() && self.packed.is_empty() {
            Ok(())
        } else {
            refuse(TABLES_BEHIND)
        }
    }

    fn take(&mut self, cluster: u64, bytes: Vec<u8>, put: &mut Put<'_>) -> Result<(), WriteError> {
        if self.is_l1(cluster) {
            return self.take_l1(cluster, &bytes, put);
        }
        if let Some(guest) = self.tables.remove(&cluster) {
            return self.take_l2(guest, &bytes, put);
        }
        if let Some(guest) = self.wanted.remove(&cluster) {
            return self.put(guest, &bytes, put);
        }
        self.backlog.keep(cluster, bytes);
        self.unpack(cluster, put)?;
        self.trim(cluster)
    }

    fn is_l1(&self, cluster: u64) -> bool {
        let start = self.header.l1_offset >> self.header.cluster_bits;
        let end = self.header.l1_offset + self.l1.len() as u64;
        (start..end.div_ceil(self.header.cluster_bytes())).contains(&cluster)
    }

    fn take_l1(&mut self, cluster: u64, bytes: &[u8], put: &mut Put<'_>) -> Result<(), WriteError> {
        let from = ((cluster << self.header.cluster_bits) - self.header.l1_offset) as usize;
        let to = self.l1.len().min(from + bytes.len());
        self.l1[from..to].copy_from_slice(&bytes[..to - from]);
        let mapped_bits = 2 * self.header.cluster_bits - 3;
        let mut here = Vec::new();
        for at in (from..to).step_by(8) {
            let table = (u64_at(&self.l1, at) & OFFSET) >> self.header.cluster_bits;
            if table == 0 {
                continue;
            }
            let guest = (at as u64 / 8) << mapped_bits;
            match self.backlog.take(table) {
                Some(bytes) => here.push((guest, bytes)),
                None if table <= cluster => {
                    return refuse("names a cluster twice: check it with 'qemu-img check'");
                }
                None => {
                    self.tables.insert(table, guest);
                }
            }
        }
        for (guest, bytes) in here {
            self.take_l2(guest, &bytes, put)?;
        }
        Ok(())
    }

    fn take_l2(&mut self, guest: u64, table: &[u8], put: &mut Put<'_>) -> Result<(), WriteError> {
        for at in (0..table.len()).step_by(8) {
            let entry = u64_at(table, at);
            let guest = guest + ((at as u64 / 8) << self.header.cluster_bits);
            if entry & COMPRESSED != 0 {
                let (start, packed) = self.packed_entry(entry, guest);
                if self.packed.insert(start, packed).is_some() {
                    return refuse("has two clusters in one place: check it with 'qemu-img check'");
                }
                self.unpack(start >> self.header.cluster_bits, put)?;
            } else if entry & ZERO == 0 && entry & OFFSET != 0 {
                let cluster = (entry & OFFSET) >> self.header.cluster_bits;
                match self.backlog.take(cluster) {
                    Some(bytes) => self.put(guest, &bytes, put)?,
                    None => {
                        self.wanted.insert(cluster, guest);
                    }
                }
            }
        }
        Ok(())
    }

    /// Where a compressed cluster lies: the offset in the low bits, above it the number of further sectors.
    fn packed_entry(&self, entry: u64, guest: u64) -> (u64, Packed) {
        let offset_bits = 62 - (self.header.cluster_bits - 8);
        let start = entry & ((1 << offset_bits) - 1);
        let sectors = (entry & !COMPRESSED & !(1 << 63)) >> offset_bits;
        let end = (start / 512 + sectors + 1) * 512;
        let length = end - start;
        (start, Packed { length, guest })
    }

    /// Unpacks what is complete now that `cluster` is there.
    fn unpack(&mut self, cluster: u64, put: &mut Put<'_>) -> Result<(), WriteError> {
        let begin = cluster << self.header.cluster_bits;
        let earliest = begin.saturating_sub(2 * self.header.cluster_bytes());
        let complete: Vec<u64> = self
            .packed
            .range(earliest..begin + self.header.cluster_bytes())
            .filter(|(start, packed)| self.has(**start, packed.length))
            .map(|(start, _)| *start)
            .collect();
        self.unpack_all(complete, put)
    }

    /// At the end of the file: the sectors of the last cluster may reach beyond it.
    fn unpack_last(&mut self, put: &mut Put<'_>) -> Result<(), WriteError> {
        let begun: Vec<u64> = self
            .packed
            .keys()
            .copied()
            .filter(|start| self.has(*start, 1))
            .collect();
        self.unpack_all(begun, put)
    }

    fn unpack_all(&mut self, starts: Vec<u64>, put: &mut Put<'_>) -> Result<(), WriteError> {
        for start in starts {
            if let Some(packed) = self.packed.remove(&start) {
                let bytes = self.gather(start, packed.length);
                let plain = self.inflate(&bytes)?;
                self.put(packed.guest, &plain, put)?;
                self.scratch = plain;
            }
        }
        Ok(())
    }

    fn has(&self, start: u64, length: u64) -> bool {
        let bits = self.header.cluster_bits;
        (start >> bits..=(start + length - 1) >> bits)
            .all(|cluster| self.backlog.clusters.contains_key(&cluster))
    }

    fn gather(&self, start: u64, length: u64) -> Vec<u8> {
        let bits = self.header.cluster_bits;
        let mut bytes = Vec::with_capacity(length as usize);
        for cluster in start >> bits..=(start + length - 1) >> bits {
            let Some(content) = self.backlog.clusters.get(&cluster) else {
                break;
            };
            let begin = cluster << bits;
            let from = start.saturating_sub(begin) as usize;
            let to = content.len().min((start + length - begin) as usize);
            bytes.extend_from_slice(&content[from..to]);
        }
        bytes
    }

    fn inflate(&mut self, bytes: &[u8]) -> Result<Vec<u8>, WriteError> {
        let mut plain = std::mem::take(&mut self.scratch);
        plain.clear();
        plain.resize(self.header.cluster_bytes() as usize, 0);
        let complete = match self.header.packing {
            Packing::Deflate => {
                let mut inflater = Decompress::new(false);
                inflater
                    .decompress(bytes, &mut plain, FlushDecompress::Finish)
                    .is_ok_and(|_| inflater.total_out() == plain.len() as u64)
            }
            Packing::Zstd => StreamingDecoder::new(bytes)
                .is_ok_and(|mut decoder| decoder.read_exact(&mut plain).is_ok()),
        };
        if complete {
            Ok(plain)
        } else {
            refuse("has a compressed cluster that cannot be unpacked")
        }
    }

    fn put(&self, guest: u64, bytes: &[u8], put: &mut Put<'_>) -> Result<(), WriteError> {
        let Some(room) = self
            .header
            .size_bytes
            .checked_sub(guest)
            .filter(|room| *room > 0)
        else {
            return refuse("has data beyond its own end");
        };
        put(
            guest,
            &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))],
        )
    }

    /// Lets go of the oldest clusters. Those that hold only compressed data that was unpacked are missed by nobody; were one
    /// needed again, it would be missing at the end and the image be refused.
    fn trim(&mut self, newest: u64) -> Result<(), WriteError> {
        let l1_end = self.header.l1_offset + self.l1.len() as u64;
        let l1_came = (newest + 1) << self.header.cluster_bits >= l1_end;
        // A compressed cluster lies in at most three clusters of the file.
        let room = if l1_came && self.tables.is_empty() {
            4 * self.header.cluster_bytes() as usize
        } else {
            BACKLOG_BYTES
        };
        while self.backlog.bytes > room {
            let Some((&oldest, _)) = self.backlog.clusters.first_key_value() else {
                break;
            };
            if !l1_came {
                return refuse(TABLES_BEHIND);
            }
            self.backlog.take(oldest);
        }
        Ok(())
    }
}
