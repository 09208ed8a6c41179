//! qcow2 headers (QEMU, docs/interop/qcow2.txt).

use super::{Image, InspectError, refuse};

const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const KNOWN: u64 = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2;

const EXTENSION_END: u32 = 0;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

/// Checks the header and returns the virtual size in bytes.
pub fn check(image: &mut Image) -> Result<u64, InspectError> {
    let header = image.header(0, 72, "qcow2 header")?;
    if header.u64_be(8) != 0 || header.u32_be(16) != 0 {
        return refuse(
            "the qcow2 image has a backing file: flatten it with 'qemu-img convert' first",
        );
    }
    if header.u32_be(32) != 0 {
        return refuse("the qcow2 image is encrypted, which is not supported: decrypt it first");
    }
    let cluster_bits = header.u32_be(20);
    if !(9..=21).contains(&cluster_bits) {
        return refuse(format!(
            "the qcow2 header is broken: clusters of 2^{cluster_bits} bytes"
        ));
    }
    let l1_end = header
        .u64_be(40)
        .saturating_add(u64::from(header.u32_be(36)) * 8);
    if l1_end > image.length {
        return refuse("the qcow2 image is truncated: its L1 table is beyond its end");
    }
    let header_length = if header.u32_be(4) >= 3 {
        check_version_3(image)?
    } else {
        72
    };
    check_extensions(image, header_length, cluster_bits)?;
    Ok(header.u64_be(24))
}

/// Checks what version 3 adds and returns the header's length.
fn check_version_3(image: &mut Image) -> Result<u64, InspectError> {
    let header = image.header(0, 104, "qcow2 header")?;
    let features = header.u64_be(72);
    if features & EXTERNAL_DATA != 0 {
        return refuse(
            "the qcow2 image keeps its data in an external file: flatten it with 'qemu-img convert' first",
        );
    }
    if features & !KNOWN != 0 {
        return refuse(format!(
            "the qcow2 image needs unknown features (bits {:#x})",
            features & !KNOWN
        ));
    }
    if features & CORRUPT != 0 {
        return refuse(
            "the qcow2 image is marked as corrupt: repair it with 'qemu-img check -r all' first",
        );
    }
    let length = header.u32_be(100);
    if !(104..=4096).contains(&length) {
        return refuse(format!(
            "the qcow2 header is broken: it claims to be {length} bytes long"
        ));
    }
    Ok(u64::from(length))
}

/// No header extension may name another file. They end, at the latest, with the first cluster.
fn check_extensions(image: &mut Image, start: u64, cluster_bits: u32) -> Result<(), InspectError> {
    let end = 1u64 << cluster_bits;
    let mut offset = start;
    while offset + 8 <= end {
        let extension = image.header(offset, 8, "qcow2 header extensions")?;
        match extension.u32_be(0) {
            EXTENSION_END => break,
            EXTENSION_DATA_FILE => return refuse("the qcow2 image names an external data file"),
            EXTENSION_BACKING_FORMAT => {
                return refuse("the qcow2 image names the format of a backing file");
            }
            _ => offset += 8 + u64::from(extension.u32_be(4)).next_multiple_of(8),
        }
    }
    Ok(())
}
