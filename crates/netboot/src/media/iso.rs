//! An ISO 9660 image that boots on BIOS and UEFI, as a disc (El Torito) and as a disk (MBR). Read `mod.rs` for its map.

use super::layout::{Extent, Layout, SECTOR_BYTES, both_u16, both_u32, record};
use crate::content::Content;
use std::ops::Range;

/// The first of the volume descriptors; what is before is left to the system.
const DESCRIPTORS: u32 = 16;
const CATALOGUE: u32 = 19;
const PATH_TABLES: u32 = 20;
/// What boot code counts in.
const DISK_SECTOR_BYTES: u64 = 512;
const MBR_CODE_BYTES: usize = 432;
const LABEL: &str = "CORTEN";
/// Where ISOLINUX expects to be told about itself.
const BOOT_INFO: Range<usize> = 8..64;

#[derive(Debug, thiserror::Error)]
pub enum IsoError {
    #[error("{path} has {bytes} bytes, and a file on an ISO 9660 image has less than 4 GiB")]
    TooLarge { path: String, bytes: u64 },
    #[error("{one} and {other} have the same short name: rename one")]
    SameName { one: String, other: String },
    #[error("the loader {0} is not what it should be: {1}")]
    Loader(&'static str, &'static str),
}

/// What firmware starts.
pub(super) struct BootImages<'a> {
    pub bios: (&'static str, &'a [u8]),
    pub efi: (&'static str, Content),
    pub mbr: &'a [u8],
}

/// Lays out an image with these files, by path.
pub(super) fn lay_out<'a>(
    files: impl IntoIterator<Item = (&'a str, Content)>,
    boot: &BootImages<'_>,
) -> Result<Content, IsoError> {
    let (bios_path, bios) = boot.bios;
    let (efi_path, efi) = &boot.efi;
    let mut all: Vec<(String, Content)> = files
        .into_iter()
        .map(|(path, content)| (path.to_owned(), content))
        .collect();
    // Of its final length; its bytes are known when its place is.
    all.push((bios_path.to_owned(), Content::memory(bios.to_vec())));
    all.push(((*efi_path).to_owned(), efi.clone()));
    let layout = Layout::of(all, PATH_TABLES)?;
    let extent = |path| layout.file(path).map(|file| file.extent);
    let (Some(bios_at), Some(efi_at)) = (extent(bios_path), extent(efi_path)) else {
        return Err(IsoError::Loader(bios_path, "it has no place"));
    };

    let mut head = vec![0; CATALOGUE as usize * SECTOR_BYTES as usize];
    head[..512].copy_from_slice(&master_boot_record(boot.mbr, bios_at, efi_at, layout.end)?);
    let at = DESCRIPTORS as usize * SECTOR_BYTES as usize;
    let descriptors = [primary(&layout, LABEL), boot_record(), terminator()].concat();
    head[at..].copy_from_slice(&descriptors);
    head.extend(catalogue(bios_at, efi_at));
    head.extend(tables(&layout)?);

    let mut parts = vec![Content::memory(head)];
    for file in &layout.files {
        parts.push(if file.path == bios_path {
            Content::memory(with_boot_info(bios, bios_at)?)
        } else {
            file.content.clone()
        });
        parts.push(padding(file.content.length()));
    }
    Ok(Content::joined(parts))
}

/// A disc with these files, by path, that nothing boots from.
pub(super) fn data<'a>(
    label: &str,
    files: impl IntoIterator<Item = (&'a str, Content)>,
) -> Result<Content, IsoError> {
    let all = files
        .into_iter()
        .map(|(path, content)| (path.to_owned(), content));
    let layout = Layout::of(all.collect(), PATH_TABLES)?;
    let mut head = vec![0; DESCRIPTORS as usize * SECTOR_BYTES as usize];
    head.extend(primary(&layout, label));
    head.extend(terminator());
    head.resize(PATH_TABLES as usize * SECTOR_BYTES as usize, 0);
    head.extend(tables(&layout)?);
    let mut parts = vec![Content::memory(head)];
    for file in &layout.files {
        parts.push(file.content.clone());
        parts.push(padding(file.content.length()));
    }
    Ok(Content::joined(parts))
}

/// What fills the last sector of a file.
fn padding(length: u64) -> Content {
    let missing = length.next_multiple_of(SECTOR_BYTES) - length;
    Content::memory(vec![0; missing as usize])
}

/// The path tables and the directories.
fn tables(layout: &Layout) -> Result<Vec<u8>, IsoError> {
    let mut bytes = Vec::new();
    for table in [layout.path_table(false), layout.path_table(true)] {
        bytes.extend(in_sectors(table));
    }
    for index in 0..layout.directories.len() {
        bytes.extend(layout.render(index)?);
    }
    Ok(bytes)
}

fn in_sectors(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(SECTOR_BYTES as usize), 0);
    bytes
}

/// The volume descriptor of all (ISO 9660 section 8.4).
fn primary(layout: &Layout, label: &str) -> Vec<u8> {
    let table_bytes = layout.path_table(false).len();
    let table_sectors = table_bytes.div_ceil(SECTOR_BYTES as usize) as u32;
    let root: Extent = layout.directories[0].extent;
    let mut bytes = b"\x01CD001\x01\x00".to_vec();
    bytes.extend(padded("LINUX", 32));
    bytes.extend(padded(label, 32));
    bytes.extend([0; 8]);
    bytes.extend(both_u32(layout.end));
    bytes.extend([0; 32]);
    bytes.extend(both_u16(1)); // volumes of the set
    bytes.extend(both_u16(1)); // of which this is the first
    bytes.extend(both_u16(SECTOR_BYTES as u16));
    bytes.extend(both_u32(table_bytes as u32));
    bytes.extend(PATH_TABLES.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend((PATH_TABLES + table_sectors).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(record(&[0], root, true, &[]));
    bytes.extend(padded("", 128)); // volume set
    bytes.extend(padded("", 128)); // publisher
    bytes.extend(padded("", 128)); // preparer
    bytes.extend(padded("CORTEN", 128));
    bytes.extend(padded("", 3 * 37)); // files about copyright, abstract and sources: none
    for _ in ["created", "modified"] {
        bytes.extend(b"1980010100000000\x00");
    }
    for _ in ["expires", "effective"] {
        bytes.extend(b"0000000000000000\x00");
    }
    bytes.extend([1, 0]); // structure version
    in_sectors(bytes)
}

fn padded(text: &str, length: usize) -> Vec<u8> {
    format!("{text:<length$}").into_bytes()
}

/// Points to the boot catalogue (El Torito section 2.0).
fn boot_record() -> Vec<u8> {
    let mut bytes = b"\x00CD001\x01EL TORITO SPECIFICATION".to_vec();
    bytes.resize(71, 0);
    bytes.extend(CATALOGUE.to_le_bytes());
    in_sectors(bytes)
}

fn terminator() -> Vec<u8> {
    in_sectors(b"\xffCD001\x01".to_vec())
}

/// The boot catalogue (El Torito section 2.1): one image for BIOS, and a section with one for UEFI (UEFI section 13.3.2.1).
fn catalogue(bios: Extent, efi: Extent) -> Vec<u8> {
    const PLATFORM_BIOS: u8 = 0;
    const PLATFORM_EFI: u8 = 0xef;
    const BOOTABLE: u8 = 0x88;
    const FINAL_SECTION: u8 = 0x91;
    /// ISOLINUX loads the rest of itself.
    const BIOS_SECTORS: u16 = 4;
    let entry = |sectors: u16, sector: u32| {
        let mut bytes = vec![BOOTABLE, 0, 0, 0, 0, 0];
        bytes.extend(sectors.to_le_bytes());
        bytes.extend(sector.to_le_bytes());
        bytes.resize(32, 0);
        bytes
    };
    let mut validation = [0; 32];
    validation[..2].copy_from_slice(&[1, PLATFORM_BIOS]);
    validation[30..].copy_from_slice(&[0x55, 0xaa]);
    let sum = validation.chunks_exact(2).fold(0_u16, |sum, pair| {
        sum.wrapping_add(u16::from_le_bytes([pair[0], pair[1]]))
    });
    validation[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    let mut section = [0; 32];
    section[..4].copy_from_slice(&[FINAL_SECTION, PLATFORM_EFI, 1, 0]);

    let mut bytes = validation.to_vec();
    bytes.extend(entry(BIOS_SECTORS, bios.sector));
    bytes.extend(section);
    // A count that has no room is told as none: firmware then takes what the file system in it says.
    let efi_sectors = u64::from(efi.bytes).div_ceil(DISK_SECTOR_BYTES);
    let count = u16::try_from(efi_sectors).unwrap_or_default();
    bytes.extend(entry(count, efi.sector));
    in_sectors(bytes)
}

/// ISOLINUX with its own place and checksum in it (the "boot info table" of its manual).
fn with_boot_info(isolinux: &[u8], at: Extent) -> Result<Vec<u8>, IsoError> {
    let mut bytes = isolinux.to_vec();
    if bytes.len() < BOOT_INFO.end || !bytes.len().is_multiple_of(4) {
        return Err(IsoError::Loader(
            "isolinux.bin",
            "it has no boot info table",
        ));
    }
    let sum = bytes[BOOT_INFO.end..]
        .chunks_exact(4)
        .fold(0_u32, |sum, word| {
            sum.wrapping_add(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        });
    let mut table = [DESCRIPTORS, at.sector, at.bytes, sum]
        .map(u32::to_le_bytes)
        .concat();
    table.resize(BOOT_INFO.len(), 0);
    bytes[BOOT_INFO].copy_from_slice(&table);
    Ok(bytes)
}

/// Boot code that starts ISOLINUX, and a partition table with the EFI system partition. The first entry only makes BIOSes
/// that look for an active partition content: it is of no type, because firmware refuses partitions that overlap.
fn master_boot_record(
    code: &[u8],
    bios: Extent,
    efi: Extent,
    end: u32,
) -> Result<[u8; 512], IsoError> {
    const ACTIVE: u8 = 0x80;
    const TYPE_NONE: u8 = 0;
    const TYPE_EFI: u8 = 0xef;
    const NO_GEOMETRY: [u8; 3] = [0xfe, 0xff, 0xff];
    let Some(code) = code.get(..MBR_CODE_BYTES) else {
        return Err(IsoError::Loader("isohdpfx.bin", "it is too short"));
    };
    let per_sector = (SECTOR_BYTES / DISK_SECTOR_BYTES) as u32;
    let partition = |status: u8, kind: u8, start: u32, sectors: u32| {
        let mut bytes = vec![status];
        bytes.extend(NO_GEOMETRY);
        bytes.push(kind);
        bytes.extend(NO_GEOMETRY);
        bytes.extend(start.to_le_bytes());
        bytes.extend(sectors.to_le_bytes());
        bytes
    };
    let mut bytes = code.to_vec();
    bytes.extend(u64::from(bios.sector * per_sector).to_le_bytes());
    bytes.extend(*b"CRTN\0\0");
    bytes.extend(partition(ACTIVE, TYPE_NONE, 0, end * per_sector));
    let efi_sectors = u64::from(efi.bytes).div_ceil(DISK_SECTOR_BYTES) as u32;
    bytes.extend(partition(0, TYPE_EFI, efi.sector * per_sector, efi_sectors));
    bytes.resize(510, 0);
    bytes.extend([0x55, 0xaa]);
    bytes
        .try_into()
        .map_err(|_| IsoError::Loader("isohdpfx.bin", "it does not fit into a sector"))
}
