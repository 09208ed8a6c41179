//! The cache of base images: each once per host, named by the hash of its content, verified on its way in.

use crate::config::HostConfig;
use crate::error::HostError;
use crate::files;
use crate::inspect::{self, InspectError};
use crate::program::Program;
use crate::spec::{DiskFormat, ImageRef};
use crate::task::ImageRecord;
use sha2::{Digest, Sha512};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

const BLOCK: usize = 1 << 20;
/// Guests' QEMU reads the cache as another user.
const READABLE: u32 = 0o644;

pub struct ImageCache {
    directory: PathBuf,
    qemu_img: PathBuf,
    reserve_bytes: u64,
    /// One image is fetched once, however many guests wait for it.
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl ImageCache {
    pub fn open(config: &HostConfig) -> Result<Self, HostError> {
        let directory = config.images_dir();
        files::create_dir(&directory, 0o711)?;
        Ok(Self {
            directory,
            qemu_img: config.qemu_img.clone(),
            reserve_bytes: config.disk_reserve_bytes,
            turns: Mutex::default(),
        })
    }

    /// Brings an image into the cache, unless it is there.
    pub async fn ensure(&self, image: &ImageRef) -> Result<ImageRecord, HostError> {
        check_name(&image.sha512)?;
        let turn = self.turn(&image.sha512);
        let _turn = turn.lock().await;
        if let Some(record) = self.record(&image.sha512) {
            return Ok(record);
        }
        let part = self.directory.join(format!("{}.part", image.sha512));
        let converted = self
            .directory
            .join(format!("{}.converted.part", image.sha512));
        let outcome = self.bring_in(image, &part, &converted).await;
        files::remove_file(&part)?;
        files::remove_file(&converted)?;
        outcome
    }

    async fn bring_in(
        &self,
        image: &ImageRef,
        part: &Path,
        converted: &Path,
    ) -> Result<ImageRecord, HostError> {
        files::remove_file(part)?;
        let (source, target, expected) =
            (image.path.clone(), part.to_owned(), image.sha512.clone());
        let reserve_bytes = self.reserve_bytes;
        blocking("copy an image", move || {
            copy_verified(&source, &target, &expected, reserve_bytes)
        })
        .await?;

        let refused = |error| match error {
            InspectError::Refused { reason } => HostError::ImageRefused {
                path: image.path.clone(),
                reason,
            },
            InspectError::Failed(error) => error,
        };
        let (format, file) = match kept_as(image)? {
            Some(format) => (format, part),
            None => {
                inspect::inspect(part, image.format, &self.qemu_img)
                    .await
                    .map_err(refused)?;
                self.convert(part, image.format, converted).await?;
                (DiskFormat::Qcow2, converted)
            }
        };
        let (inspected, declared) = (
            file.to_owned(),
            if file == part { image.format } else { format },
        );
        let inspection = blocking("inspect an image", move || {
            Ok(inspect::inspect_header(&inspected, declared))
        })
        .await?
        .map_err(refused)?;
        let size_bytes = fs::metadata(file)
            .map_err(HostError::io("measure", file))?
            .len();
        let record = ImageRecord {
            sha512: image.sha512.clone(),
            format,
            size_bytes,
            virtual_size_bytes: inspection.virtual_size_bytes,
        };
        files::sync(file)?;
        files::rename(file, &self.file(&record))?;
        // The record comes last: an image without one is not in the cache.
        files::write_json(&self.record_file(&record.sha512), &record)?;
        Ok(record)
    }

    async fn convert(
        &self,
        source: &Path,
        format: DiskFormat,
        target: &Path,
    ) -> Result<(), HostError> {
        Program::new(&self.qemu_img)
            .args([
                "convert",
                "-q",
                "-f",
                inspect::driver(format),
                "-O",
                "qcow2",
            ])
            .args([source, target])
            .in_directory(&self.directory)
            .run()
            .await?;
        fs::set_permissions(target, fs::Permissions::from_mode(READABLE))
            .map_err(HostError::io("set the mode of", target))
    }

    /// What the cache holds under a hash.
    pub fn record(&self, sha512: &str) -> Option<ImageRecord> {
        let record: ImageRecord = files::read_json(&self.record_file(sha512))?;
        let length = fs::metadata(self.file(&record)).ok()?.len();
        (length == record.size_bytes).then_some(record)
    }

    /// What the cache holds.
    pub fn hashes(&self) -> Result<Vec<String>, HostError> {
        let failed = HostError::io("list", &self.directory);
        let names = fs::read_dir(&self.directory)
            .and_then(|entries| {
                entries
                    .map(|entry| Ok(entry?.file_name()))
                    .collect::<io::Result<Vec<_>>>()
            })
            .map_err(failed)?;
        let names = names.iter().filter_map(|name| name.to_str());
        Ok(names
            .filter_map(|name| name.strip_suffix(".json"))
            .map(str::to_owned)
            .collect())
    }

    /// The image's path as QEMU sees it from a guest's directory.
    pub fn path_from_guest(record: &ImageRecord) -> String {
        format!("../../images/{}.{}", record.sha512, record.format)
    }

    /// Forgets an image; one that is not there is fine.
    pub async fn forget(&self, sha512: &str) -> Result<(), HostError> {
        check_name(sha512)?;
        let turn = self.turn(sha512);
        let _turn = turn.lock().await;
        files::remove_file(&self.record_file(sha512))?;
        for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
            files::remove_file(&self.directory.join(format!("{sha512}.{format}")))?;
        }
        Ok(())
    }

    fn file(&self, record: &ImageRecord) -> PathBuf {
        self.directory
            .join(format!("{}.{}", record.sha512, record.format))
    }

    fn record_file(&self, sha512: &str) -> PathBuf {
        self.directory.join(format!("{sha512}.json"))
    }

    fn turn(&self, sha512: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(sha512).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        turns.insert(sha512.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// How an image is kept without conversion, or `None` if it must be converted.
fn kept_as(image: &ImageRef) -> Result<Option<DiskFormat>, HostError> {
    match image.format {
        DiskFormat::Qcow2 => Ok(Some(DiskFormat::Qcow2)),
        DiskFormat::Raw | DiskFormat::Iso | DiskFormat::Ami => Ok(Some(DiskFormat::Raw)),
        DiskFormat::Vmdk
        | DiskFormat::Vdi
        | DiskFormat::Vhd
        | DiskFormat::Vhdx
        | DiskFormat::Ploop => Ok(None),
        DiskFormat::Aki | DiskFormat::Ari => Err(HostError::ImageRefused {
            path: image.path.clone(),
            reason: format!(
                "an image of format {} is a kernel or its ramdisk, not a disk to boot from",
                image.format
            ),
        }),
    }
}

/// A hash becomes a file name, so it must be nothing but a hash.
fn check_name(sha512: &str) -> Result<(), HostError> {
    let legal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if sha512.len() == 128 && sha512.chars().all(legal) {
        return Ok(());
    }
    Err(HostError::InvalidSpec {
        field: "sha512".to_owned(),
        value: sha512.chars().take(140).collect(),
        rule: "a SHA-512 has 128 lower-case hexadecimal digits".to_owned(),
    })
}

async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| HostError::Internal {
            doing: doing.to_owned(),
            reason: error.to_string(),
        })?
}

/// Links the file if QEMU can read it there, else copies it; either way every byte is read and hashed.
fn copy_verified(
    source: &Path,
    target: &Path,
    expected: &str,
    reserve_bytes: u64,
) -> Result<(), HostError> {
    let metadata = fs::metadata(source).map_err(HostError::io("read", source))?;
    let readable = metadata.permissions().mode() & 0o004 != 0;
    let actual = if readable && fs::hard_link(source, target).is_ok() {
        hash(target).map_err(HostError::io("read", target))?
    } else {
        files::require_space(target, metadata.len(), reserve_bytes)?;
        copy_and_hash(source, target).map_err(HostError::io("copy to", target))?
    };
    if actual != expected {
        return Err(HostError::WrongChecksum {
            path: source.to_owned(),
            expected: expected.to_owned(),
            actual,
        });
    }
    Ok(())
}

fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = Sha512::new();
    each_block(path, |block| {
        hasher.update(block);
        Ok(())
    })?;
    Ok(hex::encode(hasher.finalize()))
}

/// Copies and leaves holes where the source has only zero bytes.
fn copy_and_hash(source: &Path, target: &Path) -> io::Result<String> {
    let mut hasher = Sha512::new();
    let mut file = File::create(target)?;
    file.set_permissions(fs::Permissions::from_mode(READABLE))?;
    let mut length = 0u64;
    each_block(source, |block| {
        hasher.update(block);
        length += block.len() as u64;
        if block.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Start(length)).map(drop)
        } else {
            file.write_all(block)
        }
    })?;
    file.set_len(length)?;
    Ok(hex::encode(hasher.finalize()))
}

fn each_block(path: &Path, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(()),
            count => each(&block[..count])?,
        }
    }
}
