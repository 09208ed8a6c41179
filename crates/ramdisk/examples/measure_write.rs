//! Measures how fast an image is written beside `dd` of the same bytes: `measure_write IMAGE DISK`, three rounds of each.
//! To hold: at least 0.9 of `dd`. DISK is a file or a disk, and what it holds is lost.

use corten_ramdisk::device::direct::open_exclusive;
use corten_ramdisk::protocol::ImageInfo;
use corten_ramdisk::steps::write_image::{Finish, Target, check, write_stream};
use sha2::{Digest, Sha256};
use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, disk] = &arguments[..] else {
        return Err("give IMAGE and DISK".into());
    };
    let length = std::fs::metadata(image)?.len();
    let mut sum = Sha256::new();
    std::io::copy(&mut File::open(image)?, &mut sum)?;
    let info = ImageInfo {
        id: "measured".to_owned(),
        urls: Vec::new(),
        os_hash_algo: Some("sha256".to_owned()),
        os_hash_value: Some(hex::encode(sum.finalize())),
        checksum: None,
        disk_format: Some("raw".to_owned()),
        image_type: None,
        configdrive: None,
        grow: false,
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        theirs.push(mib_per_second(length, || dd(image, disk))?);
        ours.push(mib_per_second(length, || write(&info, image, disk))?);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "write_image {ours:.0} MiB/s, dd {theirs:.0} MiB/s, ratio {:.2}",
        ours / theirs
    );
    Ok(())
}

fn dd(image: &str, disk: &str) -> Result<(), Box<dyn Error>> {
    let status = Command::new("dd")
        .args([
            &format!("if={image}"),
            &format!("of={disk}"),
            "bs=4M",
            "oflag=direct",
        ])
        .args(["conv=fsync,notrunc", "status=none"])
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("dd failed".into())
    }
}

fn write(info: &ImageInfo, image: &str, disk: &str) -> Result<(), Box<dyn Error>> {
    let length = std::fs::metadata(image)?.len();
    let target = Target {
        size_bytes: File::open(disk)?.metadata()?.len().max(length),
        file: open_exclusive(Path::new(disk))?,
        block_bytes: 512,
    };
    write_stream(
        File::open(image)?,
        Some(length),
        Some("raw"),
        &check(info)?,
        &Finish::default(),
        target,
    )?;
    Ok(())
}

fn mib_per_second(
    bytes: u64,
    work: impl FnOnce() -> Result<(), Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let begin = Instant::now();
    work()?;
    Ok(bytes as f64 / f64::from(1 << 20) / begin.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
