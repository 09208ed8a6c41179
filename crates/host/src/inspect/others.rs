//! Headers of VirtualBox (VDI), Microsoft (VHD, VHDX) and Parallels (ploop) images.

use super::{Image, InspectError, refuse};

const SECTOR: u64 = 512;

/// VirtualBox: `VDIHeader1Plus`, little-endian.
pub fn check_vdi(image: &mut Image) -> Result<u64, InspectError> {
    let header = image.header(0, SECTOR, "vdi header")?;
    match header.u32_le(0x4c) {
        1 | 2 => Ok(header.u64_le(0x170)),
        kind => refuse(format!(
            "the vdi image is of type {kind}: only whole disks (types 1 and 2) are accepted"
        )),
    }
}

/// Microsoft "Virtual Hard Disk Image Format Specification": the footer at the end, big-endian.
pub fn check_vhd(image: &mut Image) -> Result<u64, InspectError> {
    let footer = image.header(image.length.saturating_sub(SECTOR), SECTOR, "vhd footer")?;
    if !footer.has(0, b"conectix") {
        return refuse("the vhd image has no footer: it is truncated");
    }
    match footer.u32_be(60) {
        2 | 3 => Ok(footer.u64_be(48)),
        4 => refuse("the vhd image is differencing, it needs its parent: merge it first"),
        kind => refuse(format!("the vhd image is of unknown type {kind}")),
    }
}

const REGION_TABLE_OFFSET: u64 = 192 << 10;
/// GUIDs as they lie in the file ([MS-VHDX] 2.2.3.2 and 2.6.2).
const METADATA_REGION: [u8; 16] = [
    0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e,
];
const FILE_PARAMETERS: [u8; 16] = [
    0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b,
];
const VIRTUAL_DISK_SIZE: [u8; 16] = [
    0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8,
];
const HAS_PARENT: u32 = 1 << 1;

/// Microsoft [MS-VHDX]: the region table leads to the metadata, which hold size and parent.
pub fn check_vhdx(image: &mut Image) -> Result<u64, InspectError> {
    let regions = image.header(REGION_TABLE_OFFSET, 64 << 10, "vhdx region table")?;
    if !regions.has(0, b"regi") {
        return refuse("the vhdx image has no region table");
    }
    let region = (0..regions.u32_le(8).min(2047) as usize).map(|index| 16 + 32 * index);
    let Some(entry) = region
        .into_iter()
        .find(|offset| regions.has(*offset, &METADATA_REGION))
    else {
        return refuse("the vhdx image has no metadata region");
    };
    let metadata_offset = regions.u64_le(entry + 16);
    let metadata = image.header(metadata_offset, 64 << 10, "vhdx metadata")?;
    if !metadata.has(0, b"metadata") {
        return refuse("the vhdx image has no metadata table");
    }
    let items: Vec<usize> = (0..usize::from(metadata.u16_le(10)).min(2047))
        .map(|index| 32 + 32 * index)
        .collect();
    let item_offset = |guid: &[u8; 16]| {
        let entry = items.iter().find(|offset| metadata.has(**offset, guid))?;
        metadata_offset.checked_add(u64::from(metadata.u32_le(entry + 16)))
    };
    let (Some(parameters), Some(size)) = (
        item_offset(&FILE_PARAMETERS),
        item_offset(&VIRTUAL_DISK_SIZE),
    ) else {
        return refuse("the vhdx image does not say how large its disk is");
    };
    if image.header(parameters, 8, "vhdx metadata")?.u32_le(4) & HAS_PARENT != 0 {
        return refuse("the vhdx image is differencing, it needs its parent: merge it first");
    }
    Ok(image.header(size, 8, "vhdx metadata")?.u64_le(0))
}

/// Parallels (QEMU, docs/interop/parallels.txt); the older signature counts sectors in 32 bits.
pub fn check_ploop(image: &mut Image) -> Result<u64, InspectError> {
    let header = image.header(0, 64, "ploop header")?;
    let sectors = if header.has(0, b"WithoutFreeSpace") {
        u64::from(header.u32_le(36))
    } else {
        header.u64_le(36)
    };
    sectors.checked_mul(SECTOR).map_or_else(
        || refuse("the ploop header is broken: its size does not fit"),
        Ok,
    )
}
