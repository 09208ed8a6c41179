//! Snapshots: the root disk, flattened, as an image file. A running guest keeps running.

use super::Inner;
use crate::error::HostError;
use crate::files;
use crate::guest::Guest;
use crate::guest_dir;
use crate::inspect;
use crate::program::Program;
use crate::qemu::process::Process;
use crate::spec::DiskFormat;
use crate::task::Report;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The copy that QEMU makes of a running guest's disk.
const COPY: &str = "snapshot.qcow2";
const NODE: &str = "snapshot";
const POLL_INTERVAL: Duration = Duration::from_millis(20);

impl Inner {
    pub(super) async fn snapshot(
        &self,
        guest: &Arc<Guest>,
        target: &Path,
        format: DiskFormat,
    ) -> Result<Report, HostError> {
        if !matches!(format, DiskFormat::Raw | DiskFormat::Qcow2) {
            return Err(HostError::UnsupportedSnapshotFormat { format });
        }
        let root = guest.dir.file(guest_dir::ROOT);
        if !root.exists() {
            return Err(super::power::wrong_state(
                guest,
                "without a root disk",
                "take a snapshot of its volume instead",
            ));
        }
        let live = self.live(guest).await?;
        let copy = guest.dir.file(COPY);
        let part = files::part_of(target);
        let outcome = async {
            let source = match &live {
                Some(process) => {
                    self.copy_running(process, &root, &copy).await?;
                    COPY
                }
                None => guest_dir::ROOT,
            };
            self.flatten(guest.dir.path(), source, &part, format)
                .await?;
            files::rename(&part, target)?;
            measure(target, format)
        }
        .await;
        if let Some(process) = &live {
            forget_copy(process).await;
        }
        files::remove_file(&copy)?;
        files::remove_file(&part)?;
        outcome
    }

    /// Has QEMU copy the disk as it is at this moment, while the guest goes on.
    async fn copy_running(
        &self,
        process: &Process,
        root: &Path,
        copy: &Path,
    ) -> Result<(), HostError> {
        forget_copy(process).await;
        files::remove_file(copy)?;
        let size = virtual_size(root)?;
        files::require_space(copy, chain_bytes(root)?, self.config.disk_reserve_bytes)?;
        Program::new(&self.config.qemu_img)
            .args(["create", "-q", "-f", "qcow2"])
            .arg(copy)
            .arg(size.to_string())
            .in_directory(copy.parent().unwrap_or(copy))
            .run()
            .await?;
        self.disk_maker().hand_over(copy)?;
        let node = json!({"driver": "qcow2", "node-name": NODE, "file": {"driver": "file", "filename": COPY}});
        process.execute("blockdev-add", node).await?;
        let job = json!({"job-id": NODE, "device": "root", "target": NODE, "sync": "full", "auto-dismiss": false});
        process.execute("blockdev-backup", job).await?;
        wait_for_job(process, NODE, "blockdev-backup").await?;
        // The copy is complete on disk when QEMU has let go of it.
        process.execute("job-dismiss", json!({"id": NODE})).await?;
        process
            .execute("blockdev-del", json!({"node-name": NODE}))
            .await?;
        Ok(())
    }

    async fn flatten(
        &self,
        directory: &Path,
        source: &str,
        part: &Path,
        format: DiskFormat,
    ) -> Result<(), HostError> {
        files::remove_file(part)?;
        files::require_space(
            part,
            chain_bytes(&directory.join(source))?,
            self.config.disk_reserve_bytes,
        )?;
        Program::new(&self.config.qemu_img)
            .args(["convert", "-q", "-f", "qcow2", "-O", format.as_str()])
            .arg(source)
            .arg(part)
            .in_directory(directory)
            .run()
            .await?;
        files::sync(part)
    }
}

/// Waits until a job has ended; it stays to be dismissed.
pub(super) async fn wait_for_job(
    process: &Process,
    job: &str,
    command: &str,
) -> Result<(), HostError> {
    loop {
        let jobs = process.execute("query-jobs", json!({})).await?;
        let ours = jobs
            .as_array()
            .and_then(|jobs| jobs.iter().find(|known| known["id"] == job));
        let status = ours.map_or("", |job| job["status"].as_str().unwrap_or_default());
        match (status, ours.and_then(|job| job["error"].as_str())) {
            ("concluded", None) => return Ok(()),
            ("concluded" | "", error) => {
                let reason = error.unwrap_or("the job vanished").to_owned();
                if reason.contains("No space left") {
                    return Err(HostError::DiskFull {
                        path: job.into(),
                        needed: None,
                        available: 0,
                    });
                }
                return Err(HostError::Qmp {
                    id: process.id,
                    command: command.to_owned(),
                    reason,
                });
            }
            _ => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// Ends a job that an earlier attempt left in QEMU. Each command is refused when there is nothing to end.
pub(super) async fn forget_job(process: &Process, job: &str) {
    let _: Result<Value, HostError> = process.execute("job-cancel", json!({"id": job})).await;
    let _: Result<(), HostError> = wait_for_job(process, job, "job-cancel").await;
    let _: Result<Value, HostError> = process.execute("job-dismiss", json!({"id": job})).await;
}

/// Ends what this or an earlier attempt left in QEMU.
async fn forget_copy(process: &Process) {
    forget_job(process, NODE).await;
    let _: Result<Value, HostError> = process
        .execute("blockdev-del", json!({"node-name": NODE}))
        .await;
}

pub(super) fn virtual_size(qcow2: &Path) -> Result<u64, HostError> {
    inspect::qcow2_virtual_size(qcow2).map_err(HostError::io("read", qcow2))
}

/// Bytes that a disk takes; with its base image at most its virtual size.
fn allocated(disk: &Path) -> Result<u64, HostError> {
    fs::metadata(disk)
        .map(|metadata| metadata.len())
        .map_err(HostError::io("measure", disk))
}

/// With the disk that a reshape left under it.
fn chain_bytes(disk: &Path) -> Result<u64, HostError> {
    let before = disk.with_file_name(guest_dir::ROOT_BEFORE);
    let below = if before.exists() {
        allocated(&before)?
    } else {
        0
    };
    Ok(allocated(disk)? + below)
}

fn measure(target: &Path, format: DiskFormat) -> Result<Report, HostError> {
    let size_bytes = allocated(target)?;
    let virtual_size_bytes = if format == DiskFormat::Qcow2 {
        virtual_size(target)?
    } else {
        size_bytes
    };
    Ok(Report::Snapshot {
        format,
        size_bytes,
        virtual_size_bytes,
    })
}
