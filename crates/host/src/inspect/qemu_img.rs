//! The second opinion: `qemu-img info` as a confined child.

use super::{InspectError, Inspection, refuse};
use crate::error::HostError;
use crate::program::Program;
use crate::spec::DiskFormat;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// A VHD holds its size twice, once rounded to cylinders; QEMU may take either.
const VHD_ROUNDING_BYTES: u64 = 8 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    format: String,
    virtual_size: u64,
    backing_filename: Option<String>,
    #[serde(default)]
    format_specific: Value,
}

/// QEMU's name of the driver for a format.
pub fn driver(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Raw | DiskFormat::Iso | DiskFormat::Ami | DiskFormat::Ari | DiskFormat::Aki => {
            "raw"
        }
        DiskFormat::Qcow2 => "qcow2",
        DiskFormat::Vmdk => "vmdk",
        DiskFormat::Vdi => "vdi",
        DiskFormat::Vhd => "vpc",
        DiskFormat::Vhdx => "vhdx",
        DiskFormat::Ploop => "parallels",
    }
}

/// Asks `qemu-img` for format and size; they must be what the header said.
pub async fn confirm(
    path: &Path,
    ours: Inspection,
    qemu_img: &Path,
) -> Result<Inspection, InspectError> {
    let absolute = std::path::absolute(path).map_err(HostError::io("find", path))?;
    let driver = driver(ours.format);
    let printed = Program::new(qemu_img)
        .args(["info", "--output=json", "-f", driver])
        .arg(absolute)
        .confined()
        .run()
        .await;
    let printed = match printed {
        Ok(printed) => printed,
        Err(HostError::ProgramFailed { output, .. }) => {
            return refuse(format!(
                "qemu-img cannot read it as {}: {output}",
                ours.format
            ));
        }
        Err(error) => return Err(error.into()),
    };
    let info: Info =
        serde_json::from_slice(&printed).map_err(|error| HostError::ProgramFailed {
            program: qemu_img.display().to_string(),
            status: "unexpected output".to_owned(),
            output: error.to_string(),
        })?;
    compare(ours, &info, driver)
}

fn compare(ours: Inspection, theirs: &Info, driver: &str) -> Result<Inspection, InspectError> {
    if theirs.format != driver {
        return refuse(format!(
            "the image was declared as {}, but qemu-img finds {}",
            ours.format, theirs.format
        ));
    }
    if theirs.backing_filename.is_some() {
        return refuse("the image has a backing file: flatten it with 'qemu-img convert' first");
    }
    let specific = &theirs.format_specific["data"];
    if specific.get("data-file").is_some() {
        return refuse(
            "the image keeps its data in an external file: flatten it with 'qemu-img convert' first",
        );
    }
    if specific["extents"]
        .as_array()
        .is_some_and(|extents| extents.len() > 1)
    {
        return refuse("the image has several extents: export it as one file");
    }
    let rounding = match ours.format {
        DiskFormat::Vhd => VHD_ROUNDING_BYTES,
        // A raw disk that does not end with a sector is padded.
        _ if driver == "raw" => 511,
        _ => 0,
    };
    if ours.virtual_size_bytes.abs_diff(theirs.virtual_size) > rounding {
        return refuse(format!(
            "the image lies about its size: its header says {} bytes, qemu-img {}",
            ours.virtual_size_bytes, theirs.virtual_size
        ));
    }
    Ok(Inspection {
        format: ours.format,
        virtual_size_bytes: theirs.virtual_size,
    })
}
