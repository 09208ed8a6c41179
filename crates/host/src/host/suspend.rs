//! Suspend and resume: a guest's memory goes to a file in its directory and comes back from there.
//!
//! The file is written under another name and renamed when it is complete, while the guest stands still. It is removed
//! after it was read and before the processors run, so memory never meets disks that have moved on.

use super::Inner;
use super::power::wrong_state;
use crate::error::HostError;
use crate::files;
use crate::guest::Guest;
use crate::guest_dir;
use crate::qemu::process::Process;
use crate::task::Report;
use serde_json::json;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// For the whole memory to be written or read.
const TRANSFER_LIMIT: Duration = Duration::from_secs(1800);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// As fast as the disk takes it; QEMU's default is meant for networks.
const BYTES_PER_SEC: u64 = 1 << 36;

impl Inner {
    pub(super) async fn suspend(&self, guest: &Arc<Guest>) -> Result<Report, HostError> {
        let memory = guest.dir.file(guest_dir::MEMORY);
        let Some(process) = self.live(guest).await? else {
            if memory.exists() {
                return Ok(Report::Already);
            }
            return Err(wrong_state(
                guest,
                "shut down",
                "only a running guest can be suspended: start it",
            ));
        };
        let part = files::part_of(&memory);
        let saved = self.save_memory(guest, &process, &memory, &part).await;
        if let Err(error) = saved {
            files::remove_file(&part)?;
            // The guest goes on as if nothing had been tried; if it cannot, the error above tells more.
            let _ = process.execute("cont", json!({})).await;
            return Err(error);
        }
        process.cut_power().await?;
        Ok(Report::Done)
    }

    async fn save_memory(
        &self,
        guest: &Guest,
        process: &Process,
        memory: &Path,
        part: &Path,
    ) -> Result<(), HostError> {
        if process.run_state().await? == "postmigrate" {
            // An earlier attempt came this far, and perhaps to the end.
            if memory.exists() {
                return Ok(());
            }
            process.execute("cont", json!({})).await?;
        }
        let spec = guest.spec()?;
        files::require_space(
            memory,
            spec.memory_mib << 20,
            self.config.disk_reserve_bytes,
        )?;
        process.execute("stop", json!({})).await?;
        // An earlier attempt may still be writing.
        let _ = process.execute("migrate_cancel", json!({})).await;
        wait_for_transfer(
            process,
            guest,
            &["none", "cancelled", "completed", "failed"],
        )
        .await?;
        files::remove_file(part)?;
        let file = File::options()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(part)
            .map_err(HostError::io("create", part))?;
        process
            .execute(
                "migrate-set-parameters",
                json!({"max-bandwidth": BYTES_PER_SEC}),
            )
            .await?;
        process
            .qmp
            .execute_with_fd("getfd", json!({"fdname": "memory"}), file.as_fd())
            .await
            .map_err(|error| process.qmp_error("getfd", error))?;
        process
            .execute("migrate", json!({"uri": "fd:memory"}))
            .await?;
        let outcome =
            wait_for_transfer(process, guest, &["completed", "failed", "cancelled"]).await?;
        if outcome != "completed" {
            let available = files::available_bytes(part).unwrap_or(0);
            if available < 1 << 20 {
                return Err(HostError::DiskFull {
                    path: memory.to_owned(),
                    needed: None,
                    available,
                });
            }
            let reason = format!("saving the memory {outcome}");
            return Err(HostError::Qmp {
                id: guest.id,
                command: "migrate".to_owned(),
                reason,
            });
        }
        files::sync(part)?;
        files::rename(part, memory)
    }

    pub(super) async fn resume(&self, guest: &Arc<Guest>) -> Result<Report, HostError> {
        let memory = guest.dir.file(guest_dir::MEMORY);
        let process = match self.live(guest).await? {
            Some(process) => process,
            None if memory.exists() => {
                let file = File::open(&memory).map_err(HostError::io("open", &memory))?;
                self.launch(guest, Some(file)).await?
            }
            None => {
                return Err(wrong_state(
                    guest,
                    "shut down",
                    "only a suspended guest can be resumed: start it",
                ));
            }
        };
        if process.run_state().await? == "running" {
            return Ok(Report::Already);
        }
        wait_until_loaded(&process, guest).await?;
        files::remove_file(&memory)?;
        process.execute("cont", json!({})).await?;
        Ok(Report::Done)
    }
}

/// Waits until the transfer's status is one of these, and tells which.
async fn wait_for_transfer(
    process: &Process,
    guest: &Guest,
    wanted: &[&str],
) -> Result<String, HostError> {
    let deadline = Instant::now() + TRANSFER_LIMIT;
    while Instant::now() < deadline {
        let transfer = process.execute("query-migrate", json!({})).await?;
        let status = transfer["status"].as_str().unwrap_or("none");
        if wanted.contains(&status) {
            return Ok(status.to_owned());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Err(timed_out(guest, "write its memory"))
}

async fn wait_until_loaded(process: &Process, guest: &Guest) -> Result<(), HostError> {
    let deadline = Instant::now() + TRANSFER_LIMIT;
    while Instant::now() < deadline {
        if process.run_state().await? != "inmigrate" {
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Err(timed_out(guest, "read its memory"))
}

fn timed_out(guest: &Guest, what: &str) -> HostError {
    HostError::TimedOut {
        id: guest.id,
        what: what.to_owned(),
        secs: TRANSFER_LIMIT.as_secs(),
    }
}
