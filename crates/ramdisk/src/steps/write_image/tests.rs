//! Whole images onto a file in place of a disk; the images are made by `qemu-img`.

use super::*;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;
use std::process::Command;

const MIB: usize = 1 << 20;
const IMAGE: usize = 20 * MIB + 512;
const DISK: u64 = 32 * MIB as u64;

/// Data, zeroes and text that packs well, in turn; without any pattern that a test could mistake.
fn content() -> Vec<u8> {
    let mut bytes = vec![0_u8; IMAGE];
    let mut state = 1_u64;
    for (index, block) in bytes.chunks_mut(64 << 10).enumerate() {
        match index % 5 {
            0 | 3 => block.iter_mut().for_each(|byte| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                *byte = (state >> 33) as u8;
            }),
            1 => block.fill(b'c'),
            _ => {}
        }
    }
    bytes
}

fn qcow2(raw: &[u8], options: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("raw"), directory.path().join("qcow2"));
    std::fs::write(&from, raw).unwrap();
    let made = Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .args(options)
        .args([&from, &to])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    std::fs::read(&to).unwrap()
}

fn sum(bytes: &[u8]) -> Checksum {
    Checksum::Sha256(hex::encode(Sha256::digest(bytes)))
}

/// A disk that is full of another tenant's bytes.
fn dirty() -> tempfile::NamedTempFile {
    let disk = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(disk.path(), vec![0xaa; DISK as usize]).unwrap();
    disk
}

fn target(disk: &Path) -> Target {
    Target {
        file: File::options().read(true).write(true).open(disk).unwrap(),
        size_bytes: DISK,
        block_bytes: 512,
    }
}

/// Writes and returns what was found out; the disk must hold exactly the image.
fn write(file: &[u8], declared: Option<&str>, raw: &[u8]) -> Written {
    let disk = dirty();
    let length = Some(file.len() as u64);
    let finish = Finish::default();
    let target = target(disk.path());
    let written = write_stream(file, length, declared, &sum(file), &finish, target).unwrap();
    let got = std::fs::read(disk.path()).unwrap();
    assert!(got[..raw.len()] == *raw, "the disk does not hold the image");
    assert_eq!(written.image_bytes, raw.len() as u64);
    assert_eq!(written.downloaded_bytes, file.len() as u64);
    written
}

#[test]
fn raw_images_as_they_are_gzipped_and_zstandard() {
    let raw = content();
    let written = write(&raw, Some("raw"), &raw);
    assert_eq!(
        (written.format, written.compression),
        ("raw", Compression::None)
    );

    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&raw).unwrap();
    let written = write(&encoder.finish().unwrap(), None, &raw);
    assert_eq!(
        (written.format, written.compression),
        ("raw", Compression::Gzip)
    );

    let written = write(
        &compress_to_vec(&raw[..], CompressionLevel::Fastest),
        None,
        &raw,
    );
    assert_eq!(
        (written.format, written.compression),
        ("raw", Compression::Zstd)
    );
}

#[test]
fn qcow2_images_of_every_kind_that_qemu_img_makes() {
    let raw = content();
    for options in [
        &[][..],
        &["-c"],
        &["-c", "-o", "compression_type=zstd"],
        &["-o", "compat=0.10"],
        &["-c", "-o", "cluster_size=512"],
        &["-o", "cluster_size=2M,preallocation=metadata"],
        &["-o", "lazy_refcounts=on"],
        &["-W", "-m", "4"],
    ] {
        let image = qcow2(&raw, options);
        let written = write(&image, Some("qcow2"), &raw);
        assert_eq!(written.format, "qcow2", "{options:?}");
    }
    let image = compress_to_vec(&qcow2(&raw, &[])[..], CompressionLevel::Fastest);
    let written = write(&image, None, &raw);
    assert_eq!(
        (written.format, written.compression),
        ("qcow2", Compression::Zstd)
    );
}

/// Writes what must be refused; returns the error and what the disk holds then.
fn refused(
    file: &[u8],
    length: Option<u64>,
    declared: Option<&str>,
    expected: &Checksum,
) -> (WriteError, Vec<u8>) {
    let disk = dirty();
    let (finish, target) = (Finish::default(), target(disk.path()));
    let error = write_stream(file, length, declared, expected, &finish, target).unwrap_err();
    (error, std::fs::read(disk.path()).unwrap())
}

fn untouched(disk: &[u8]) -> bool {
    disk.iter().all(|byte| *byte == 0xaa)
}

#[test]
fn an_image_that_has_no_place_for_the_config_drive_leaves_nothing() {
    let raw = content();
    let drive = "H4sIAAAAAAACA0vMU8gszgcAHb1DagYAAAA=";
    let info = serde_json::from_value(serde_json::json!({"id": "i", "urls": []})).unwrap();
    let finish = Finish::wanted(&info, Some(drive)).unwrap();
    for image in [raw.clone(), qcow2(&raw, &[])] {
        let disk = dirty();
        let target = target(disk.path());
        let error =
            write_stream(&image[..], None, None, &sum(&image), &finish, target).unwrap_err();
        assert!(error.to_string().contains("config drive"), "{error}");
        let left = std::fs::read(disk.path()).unwrap();
        assert!(left.iter().all(|byte| [0, 0xaa].contains(byte)));
    }
}

#[test]
fn a_wrong_checksum_leaves_nothing_of_the_image() {
    let raw = content();
    for image in [
        raw.clone(),
        qcow2(&raw, &[]),
        compress_to_vec(&raw[..], CompressionLevel::Fastest),
    ] {
        let (error, disk) = refused(&image, None, None, &sum(b"another image"));
        assert!(matches!(error, WriteError::WrongChecksum { .. }), "{error}");
        assert!(disk.iter().all(|byte| [0, 0xaa].contains(byte)));
        assert!(
            disk[..MIB].iter().all(|byte| *byte == 0),
            "no old table makes it look whole"
        );
    }
}

#[test]
fn an_image_that_is_larger_than_the_disk_is_refused_before_a_byte_is_written() {
    let large = vec![7_u8; DISK as usize + MIB];
    let (error, disk) = refused(&large, Some(large.len() as u64), None, &sum(&large));
    assert!(matches!(error, WriteError::TooLarge { .. }), "{error}");
    assert!(untouched(&disk));

    let image = qcow2(&large, &["-c"]);
    let (error, disk) = refused(&image, Some(image.len() as u64), None, &sum(&image));
    assert!(
        matches!(error, WriteError::TooLarge { image_bytes, disk_bytes: DISK } if image_bytes == large.len() as u64)
    );
    assert!(untouched(&disk));

    // Its size shows only when it is unpacked.
    let packed = compress_to_vec(&large[..], CompressionLevel::Fastest);
    let (error, disk) = refused(&packed, Some(packed.len() as u64), None, &sum(&packed));
    assert!(matches!(error, WriteError::TooLarge { .. }), "{error}");
    assert!(!disk.contains(&7));
}

#[test]
fn what_is_cut_off_or_not_what_it_is_said_to_be_is_refused() {
    let raw = content();
    let image = qcow2(&raw, &["-c"]);
    let (error, disk) = refused(&image[..image.len() - 200_000], None, None, &sum(&image));
    assert!(
        matches!(error, WriteError::Layout(LayoutError::Qcow2(_))),
        "{error}"
    );
    assert!(disk.iter().all(|byte| [0, 0xaa].contains(byte)));

    let (error, disk) = refused(&raw[..5 * MIB], Some(IMAGE as u64), None, &sum(&raw));
    assert!(matches!(error, WriteError::Read(_)), "{error}");
    assert!(disk.iter().all(|byte| [0, 0xaa].contains(byte)));

    // A tenant's "raw" image that is a qcow2 naming a file of the server's as its backing file.
    let (error, disk) = refused(&image, None, Some("raw"), &sum(&image));
    assert!(
        matches!(error, WriteError::Layout(LayoutError::NotAsDeclared { .. })),
        "{error}"
    );
    assert!(untouched(&disk));
    for first in [&b"KDMV"[..], b"vhdxfile", b"conectix"] {
        let (error, disk) = refused(first, None, None, &sum(first));
        assert!(
            matches!(error, WriteError::Layout(LayoutError::Unknown(_))),
            "{error}"
        );
        assert!(untouched(&disk));
    }
}

#[test]
fn backing_files_encryption_and_snapshots_are_refused_by_name() {
    let image = qcow2(&content(), &[]);
    for (at, byte, word) in [
        (15, 1, "backing"),
        (35, 1, "encrypted"),
        (63, 1, "snapshots"),
        (79, 0x10, "features"),
        (79, 2, "corrupt"),
    ] {
        let mut broken = image.clone();
        broken[at] |= byte;
        let (error, disk) = refused(&broken, None, None, &sum(&broken));
        assert!(error.to_string().contains(word), "{error}");
        assert!(untouched(&disk));
    }
}

#[test]
fn a_header_that_claims_anything_at_all_never_panics() {
    let image = qcow2(&vec![9; 3 * MIB], &["-c"]);
    proptest::proptest!(proptest::test_runner::Config::with_cases(200), |(at in 4_usize..120, byte: u8, table in 0_usize..262_144, other: u8)| {
        let mut broken = image.clone();
        broken[at] = byte;
        let length = broken.len();
        broken[table % length] = other;
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(DISK).unwrap();
        let target = Target { file: disk, size_bytes: DISK, block_bytes: 512 };
        // Whatever comes of it: an error, or an image.
        write_stream(&broken[..], None, None, &sum(&broken), &Finish::default(), target).ok();
    });
}
