//! VMware images (VMware "Virtual Disk Format 5.0"): only those that keep everything in one file.

use super::{Image, InspectError, refuse};

const SECTOR: u64 = 512;
const DESCRIPTOR_MAX_BYTES: u64 = 64 << 10;
const ONE_FILE_TYPES: [&str; 2] = ["monolithicSparse", "streamOptimized"];

/// Checks header and descriptor and returns the virtual size in bytes.
pub fn check(image: &mut Image) -> Result<u64, InspectError> {
    if !image.header(0, 4, "vmdk header")?.has(0, b"KDMV") {
        return refuse(
            "the vmdk image is a descriptor that names other files, or of an old kind: export it as one file \
             (monolithicSparse or streamOptimized)",
        );
    }
    let header = image.header(0, SECTOR, "vmdk header")?;
    let capacity_sectors = header.u64_le(12);
    let (offset, length) = (header.u64_le(28), header.u64_le(36));
    let (Some(offset), Some(length), Some(capacity)) = (
        offset.checked_mul(SECTOR),
        length.checked_mul(SECTOR),
        capacity_sectors.checked_mul(SECTOR),
    ) else {
        return refuse("the vmdk header is broken: its sizes do not fit in 64 bits");
    };
    if offset == 0 || length == 0 || length > DESCRIPTOR_MAX_BYTES {
        return refuse("the vmdk image has no descriptor of its own, or one that is too long");
    }
    let descriptor = image.header(offset, length, "vmdk descriptor")?;
    check_descriptor(&String::from_utf8_lossy(&descriptor.0), capacity_sectors)?;
    Ok(capacity)
}

fn check_descriptor(descriptor: &str, capacity_sectors: u64) -> Result<(), InspectError> {
    let lines = || {
        descriptor
            .lines()
            .map(|line| line.trim_matches(['\0', ' ', '\t', '\r']))
    };
    let value_of = |key: &str| {
        lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case(key)
                .then(|| value.trim().trim_matches('"').to_owned())
        })
    };
    let kind = value_of("createType").unwrap_or_default();
    if !ONE_FILE_TYPES.contains(&kind.as_str()) {
        return refuse(format!(
            "the vmdk image is of type '{kind}', which needs other files: export it as {}",
            ONE_FILE_TYPES.join(" or ")
        ));
    }
    if value_of("parentCID").is_some_and(|parent| !parent.eq_ignore_ascii_case("ffffffff"))
        || value_of("parentFileNameHint").is_some()
    {
        return refuse("the vmdk image is a snapshot that needs its parent: export the whole disk");
    }
    let extents: Vec<&str> = lines().filter(|line| is_extent(line)).collect();
    let [extent] = extents[..] else {
        return refuse(format!(
            "the vmdk image has {} extents, only one is accepted",
            extents.len()
        ));
    };
    check_extent(extent, capacity_sectors)
}

fn is_extent(line: &str) -> bool {
    ["RW", "RDONLY", "NOACCESS"].iter().any(|access| {
        line.get(..access.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(access))
            && line[access.len()..].starts_with([' ', '\t'])
    })
}

/// `RW 20480 SPARSE "name.vmdk"`: sparse data in this very file.
fn check_extent(extent: &str, capacity_sectors: u64) -> Result<(), InspectError> {
    let mut words = extent.split_whitespace().skip(1);
    let sectors = words.next().and_then(|count| count.parse::<u64>().ok());
    let kind = words.next().unwrap_or_default();
    if kind != "SPARSE" {
        return refuse(format!(
            "the vmdk image has an extent of type '{kind}', only SPARSE is accepted"
        ));
    }
    let name = extent.split('"').nth(1).unwrap_or_default();
    if name.contains(['/', '\\']) {
        return refuse("the vmdk image names a path for its extent");
    }
    if sectors != Some(capacity_sectors) {
        return refuse("the vmdk image lies about its size: descriptor and header differ");
    }
    Ok(())
}
