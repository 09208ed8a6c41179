//! Another shape for a guest, and the way back.
//!
//! ```text
//!            root.qcow2 ─▶ image                          reshape        root.qcow2 ─▶ root.qcow2.before ─▶ image
//!   confirm  root.qcow2 ─▶ image     (merged)             revert         root.qcow2 ─▶ image     (the old one)
//! ```
//!
//! A reshape takes no time to speak of, however large the disks: they are kept as they are, under new layers. A revert
//! drops the layers; a confirm merges what lies under them into them, while the guest goes on. `before.json` remembers
//! the earlier shape for as long as there is a way back. A reshape that nobody confirmed is final for the next one.

use super::Inner;
use super::power::wrong_state;
use super::shape::checked;
use super::snapshot::{forget_job, virtual_size, wait_for_job};
use crate::error::HostError;
use crate::files;
use crate::guest::Guest;
use crate::guest_dir::{self, GuestDir};
use crate::images::ImageCache;
use crate::program::Program;
use crate::qemu::process::Process;
use crate::spec::{DiskFormat, GuestSpec, Shape};
use crate::task::Report;
use corten_model::ids::OperationId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

const GIB: u64 = 1 << 30;
/// What the empty layers take at most.
const LAYERS_BYTES: u64 = 2 << 20;
/// Where new disks are made before they take their place.
const WORKSHOP: &str = ".reshape";
const MERGE: &str = "merge";

/// The earlier shape, as `before.json` has it.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    shape: Shape,
    /// The operation that reshapes.
    by: OperationId,
    /// The guest has its new shape; until then only that operation goes on.
    complete: bool,
}

impl Before {
    fn read(dir: &GuestDir) -> Option<Self> {
        files::read_json(&dir.file(guest_dir::BEFORE))
    }

    fn write(&self, dir: &GuestDir) -> Result<(), HostError> {
        let path = dir.file(guest_dir::BEFORE);
        files::write_json(&path, self)?;
        files::sync(&path)
    }
}

/// A disk that is kept under a layer.
struct Kept {
    /// The name of its block node in QEMU.
    node: &'static str,
    file: &'static str,
    format: DiskFormat,
    /// Its name while a layer lies over it.
    under: &'static str,
    layer: &'static str,
}

const ROOT: Kept = Kept {
    node: "root",
    file: guest_dir::ROOT,
    format: DiskFormat::Qcow2,
    under: guest_dir::ROOT_BEFORE,
    layer: guest_dir::ROOT,
};
/// As it was made.
const EPHEMERAL: Kept = Kept {
    node: "ephemeral",
    file: guest_dir::EPHEMERAL,
    format: DiskFormat::Raw,
    under: guest_dir::EPHEMERAL_BEFORE,
    layer: guest_dir::EPHEMERAL_LAYER,
};
/// As an earlier reshape left it.
const EPHEMERAL_AGAIN: Kept = Kept {
    node: "ephemeral",
    file: guest_dir::EPHEMERAL_LAYER,
    format: DiskFormat::Qcow2,
    under: guest_dir::EPHEMERAL_LAYER_BEFORE,
    layer: guest_dir::EPHEMERAL_LAYER,
};
const ALL_KEPT: [Kept; 3] = [ROOT, EPHEMERAL, EPHEMERAL_AGAIN];

impl Inner {
    pub(super) async fn reshape(
        &self,
        guest: &Arc<Guest>,
        operation: OperationId,
        shape: Shape,
        graceful_secs: Option<u32>,
    ) -> Result<Report, HostError> {
        let before = match self.unconfirmed(guest, operation).await? {
            Some(before) if before.complete => return Ok(Report::Already),
            other => other,
        };
        let spec = guest.spec()?;
        let old = before
            .as_ref()
            .map_or_else(|| spec.shape(), |before| before.shape);
        let target = checked(GuestSpec::clone(&spec).reshaped(shape))?;
        check_growth(guest, old, shape)?;
        self.stop(guest, graceful_secs).await?;
        let mut before = before.unwrap_or(Before {
            shape: old,
            by: operation,
            complete: false,
        });
        before.write(&guest.dir)?;
        self.change_disks(guest, old, shape).await?;
        GuestDir::write_spec(guest.dir.path(), &target)?;
        guest.set_spec(target);
        before.complete = true;
        before.write(&guest.dir)?;
        Ok(Report::Done)
    }

    /// This operation's own reshape, if it has begun. One of another operation is brought to an end: it is final if it
    /// was complete, and undone if it was not.
    async fn unconfirmed(
        &self,
        guest: &Arc<Guest>,
        operation: OperationId,
    ) -> Result<Option<Before>, HostError> {
        match Before::read(&guest.dir) {
            Some(before) if before.by != operation => {
                if before.complete {
                    self.confirm_shape(guest).await?;
                } else {
                    self.revert_shape(guest).await?;
                }
                Ok(None)
            }
            own => Ok(own),
        }
    }

    async fn change_disks(&self, guest: &Guest, old: Shape, new: Shape) -> Result<(), HostError> {
        let dir = &guest.dir;
        files::require_space(dir.path(), LAYERS_BYTES, self.config.disk_reserve_bytes)?;
        if dir.has(guest_dir::ROOT) {
            self.add_layer(dir, &ROOT, new.root_gib).await?;
        }
        if old.ephemeral_gib > 0 {
            let again = dir.has(EPHEMERAL_AGAIN.under)
                || (dir.has(EPHEMERAL_AGAIN.file) && !dir.has(EPHEMERAL.under));
            let kept = if again { &EPHEMERAL_AGAIN } else { &EPHEMERAL };
            self.add_layer(dir, kept, new.ephemeral_gib).await?;
        } else if new.ephemeral_gib > 0 && !dir.has(guest_dir::EPHEMERAL) {
            let workshop = workshop(dir)?;
            self.disk_maker()
                .make_ephemeral(&workshop, new.ephemeral_gib)
                .await?;
            files::rename(
                &workshop.join(guest_dir::EPHEMERAL),
                &dir.file(guest_dir::EPHEMERAL),
            )?;
        }
        if new.swap_mib != old.swap_mib {
            self.remake_swap(dir, new.swap_mib).await?;
        }
        files::remove_dir(&dir.file(WORKSHOP))
    }

    /// Puts a disk under a new layer. At every moment the guest has one of the two.
    async fn add_layer(&self, dir: &GuestDir, kept: &Kept, gib: u64) -> Result<(), HostError> {
        let (under, layer) = (dir.file(kept.under), dir.file(kept.layer));
        if !under.exists() {
            fs::hard_link(dir.file(kept.file), &under).map_err(HostError::io("link", &under))?;
        }
        if !layer.exists() || is_same_file(&layer, &under) {
            let part = files::part_of(&layer);
            files::remove_file(&part)?;
            let mut create = Program::new(&self.config.qemu_img)
                .args(["create", "-q", "-f", "qcow2", "-F", kept.format.as_str()])
                .args(["-b", kept.under])
                .arg(&part);
            if gib > 0 {
                create = create.arg(format!("{gib}G"));
            }
            create.in_directory(dir.path()).run().await?;
            self.disk_maker().hand_over(&part)?;
            files::sync(&part)?;
            files::rename(&part, &layer)?;
        }
        if kept.layer != kept.file {
            files::remove_file(&dir.file(kept.file))?;
        }
        Ok(())
    }

    /// What is swapped out means nothing to a guest that is off.
    async fn remake_swap(&self, dir: &GuestDir, mib: u64) -> Result<(), HostError> {
        let swap = dir.file(guest_dir::SWAP);
        if mib == 0 {
            return files::remove_file(&swap);
        }
        let workshop = workshop(dir)?;
        self.disk_maker().make_swap(&workshop, mib).await?;
        files::rename(&workshop.join(guest_dir::SWAP), &swap)
    }

    pub(super) async fn confirm_shape(&self, guest: &Arc<Guest>) -> Result<Report, HostError> {
        let dir = &guest.dir;
        match Before::read(dir) {
            None => return Ok(Report::Already),
            Some(before) if !before.complete => {
                let rule = "give the reshape again, or revert it";
                return Err(wrong_state(guest, "in the middle of a reshape", rule));
            }
            Some(_) => {}
        }
        for kept in ALL_KEPT.iter().filter(|kept| dir.has(kept.under)) {
            self.merge(guest, kept).await?;
            files::remove_file(&dir.file(kept.under))?;
        }
        files::remove_file(&dir.file(guest_dir::BEFORE))?;
        Ok(Report::Done)
    }

    /// Copies into the layer what the guest still reads from below it. Done again, it changes nothing.
    async fn merge(&self, guest: &Arc<Guest>, kept: &Kept) -> Result<(), HostError> {
        let dir = &guest.dir;
        let under = dir.file(kept.under);
        let needed = fs::metadata(&under)
            .map_err(HostError::io("measure", &under))?
            .blocks()
            * 512;
        files::require_space(&under, needed, self.config.disk_reserve_bytes)?;
        let image = match (kept.node, &guest.spec()?.image) {
            ("root", Some(image)) => Some(self.disk_maker().cached(image)?),
            _ => None,
        };
        let base = image
            .as_ref()
            .map(|record| (ImageCache::path_from_guest(record), record.format));
        if let Some(process) = self.live(guest).await? {
            return merge_running(&process, kept.node, base.map(|(path, _)| path)).await;
        }
        let mut rebase = Program::new(&self.config.qemu_img).args(["rebase", "-q", "-f", "qcow2"]);
        rebase = match base {
            Some((path, format)) => rebase.args(["-F", format.as_str(), "-b", &path]),
            None => rebase.args(["-b", ""]),
        };
        rebase
            .arg(kept.layer)
            .in_directory(dir.path())
            .run()
            .await?;
        files::sync(&dir.file(kept.layer))
    }

    pub(super) async fn revert_shape(&self, guest: &Arc<Guest>) -> Result<Report, HostError> {
        let dir = &guest.dir;
        let Some(before) = Before::read(dir) else {
            return Ok(Report::Already);
        };
        self.stop(guest, None).await?;
        for kept in ALL_KEPT.iter().filter(|kept| dir.has(kept.under)) {
            let under = dir.file(kept.under);
            if kept.layer != kept.file {
                files::remove_file(&dir.file(kept.layer))?;
            }
            // Renaming a link over another of the same file does nothing.
            files::rename(&under, &dir.file(kept.file))?;
            files::remove_file(&under)?;
        }
        let spec = GuestSpec::clone(guest.spec()?.as_ref());
        if before.shape.ephemeral_gib == 0 {
            files::remove_file(&dir.file(guest_dir::EPHEMERAL))?;
        }
        if swap_bytes(dir) != before.shape.swap_mib << 20 {
            self.remake_swap(dir, before.shape.swap_mib).await?;
        }
        files::remove_dir(&dir.file(WORKSHOP))?;
        let spec = spec.reshaped(before.shape);
        GuestDir::write_spec(dir.path(), &spec)?;
        guest.set_spec(spec);
        files::remove_file(&dir.file(guest_dir::BEFORE))?;
        Ok(Report::Done)
    }
}

/// A disk may stay as it is or grow. Nova refuses the same.
fn check_growth(guest: &Guest, old: Shape, new: Shape) -> Result<(), HostError> {
    for (field, old, new) in [
        ("root_gib", old.root_gib, new.root_gib),
        ("ephemeral_gib", old.ephemeral_gib, new.ephemeral_gib),
    ] {
        if new < old {
            return Err(HostError::InvalidSpec {
                field: field.to_owned(),
                value: new.to_string(),
                rule: format!("a disk is never made smaller, and this one has {old} GiB"),
            });
        }
    }
    let root = guest.dir.file(guest_dir::ROOT);
    if new.root_gib > 0 && root.exists() {
        let needed_bytes = virtual_size(&root)?;
        if needed_bytes > new.root_gib * GIB {
            return Err(HostError::RootDiskTooSmall {
                root_gib: new.root_gib,
                needed_bytes,
            });
        }
    }
    Ok(())
}

async fn merge_running(
    process: &Process,
    node: &str,
    base: Option<String>,
) -> Result<(), HostError> {
    forget_job(process, MERGE).await;
    let mut job = json!({"job-id": MERGE, "device": node, "auto-dismiss": false});
    if let Some(base) = base {
        job["base"] = json!(base);
        job["backing-file"] = json!(base);
    }
    process.execute("block-stream", job).await?;
    wait_for_job(process, MERGE, "block-stream").await?;
    process.execute("job-dismiss", json!({"id": MERGE})).await?;
    Ok(())
}

/// An empty directory of the guest to make disks in.
fn workshop(dir: &GuestDir) -> Result<std::path::PathBuf, HostError> {
    let workshop = dir.file(WORKSHOP);
    files::remove_dir(&workshop)?;
    files::create_dir(&workshop, 0o700)?;
    Ok(workshop)
}

fn swap_bytes(dir: &GuestDir) -> u64 {
    fs::metadata(dir.file(guest_dir::SWAP)).map_or(0, |metadata| metadata.len())
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => one.ino() == other.ino() && one.dev() == other.dev(),
        _ => false,
    }
}
