//! Power: start, stop, reboot, reset, pause, unpause.

use super::Inner;
use crate::error::HostError;
use crate::files;
use crate::guest::Guest;
use crate::guest_dir;
use crate::qemu::process::{self, Process};
use crate::task::{RebootKind, Report, StopKind};
use corten_model::ids::OperationId;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// A guest that is just booting misses the power button, so it is pressed again.
const PRESS_INTERVAL: Duration = Duration::from_secs(3);

impl Inner {
    pub(super) async fn start(&self, guest: &Arc<Guest>) -> Result<Report, HostError> {
        if let Some(process) = self.live(guest).await? {
            // Without processors running: an earlier start was broken off just before the end.
            if process.run_state().await? == "prelaunch" {
                process.execute("cont", json!({})).await?;
                return Ok(Report::Done);
            }
            return Ok(Report::Already);
        }
        if guest.dir.has(guest_dir::MEMORY) {
            return Err(wrong_state(
                guest,
                "suspended",
                "resume it, or reboot it hard to throw its memory away",
            ));
        }
        let process = self.launch(guest, None).await?;
        process.execute("cont", json!({})).await?;
        Ok(Report::Done)
    }

    pub(super) async fn stop(
        &self,
        guest: &Arc<Guest>,
        graceful_secs: Option<u32>,
    ) -> Result<Report, HostError> {
        let kind = self.power_off(guest, graceful_secs).await?;
        files::remove_file(&guest.dir.file(guest_dir::MEMORY))?;
        Ok(Report::Stopped { kind })
    }

    async fn power_off(
        &self,
        guest: &Arc<Guest>,
        graceful_secs: Option<u32>,
    ) -> Result<StopKind, HostError> {
        let process = match self.live(guest).await {
            Ok(Some(process)) => process,
            Ok(None) => return Ok(StopKind::AlreadyOff),
            // A process that cannot be controlled can still be killed.
            Err(_) => return self.kill(guest).await.map(|()| StopKind::PowerCut),
        };
        if let Some(secs) = graceful_secs
            && self
                .ask_to_power_off(&process, Duration::from_secs(secs.into()))
                .await?
        {
            return Ok(StopKind::Graceful);
        }
        process.cut_power().await?;
        Ok(StopKind::PowerCut)
    }

    /// Presses the power button and waits; false if the guest did not power off in time.
    async fn ask_to_power_off(
        &self,
        process: &Process,
        limit: Duration,
    ) -> Result<bool, HostError> {
        // A guest that stands still hears nothing.
        if process.run_state().await? != "running" {
            return Ok(false);
        }
        process.end_requested.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            // A refusal means that it is going down already.
            let _ = process.execute("system_powerdown", json!({})).await;
            if process.wait_ended(left.min(PRESS_INTERVAL)).await {
                return Ok(true);
            }
        }
    }

    /// Ends the guest's process at once, whether or not it lets us control it.
    pub(super) async fn kill(&self, guest: &Arc<Guest>) -> Result<(), HostError> {
        if let Some(process) = guest.process() {
            return process.kill().await;
        }
        if let Some(run) = guest.state().run {
            process::kill_unreachable(run.pid, guest.id).await?;
            guest.update_state(|state| state.run = None)?;
        }
        Ok(())
    }

    pub(super) async fn reboot(
        &self,
        guest: &Arc<Guest>,
        operation: OperationId,
        graceful_secs: Option<u32>,
    ) -> Result<Report, HostError> {
        if guest.state().rebooted_by == Some(operation) && self.live(guest).await?.is_some() {
            return Ok(Report::Rebooted {
                kind: RebootKind::AlreadyDone,
            });
        }
        let kind = match (graceful_secs, self.power_off(guest, graceful_secs).await?) {
            (Some(_), StopKind::Graceful) => RebootKind::Soft,
            (Some(_), StopKind::PowerCut) => RebootKind::SoftTurnedHard,
            _ => RebootKind::Hard,
        };
        files::remove_file(&guest.dir.file(guest_dir::MEMORY))?;
        self.start(guest).await?;
        guest.update_state(|state| state.rebooted_by = Some(operation))?;
        Ok(Report::Rebooted { kind })
    }

    pub(super) async fn reset(&self, guest: &Arc<Guest>) -> Result<Report, HostError> {
        let process = self
            .must_live(
                guest,
                "only a guest with power has a reset button: start it",
            )
            .await?;
        process.execute("system_reset", json!({})).await?;
        Ok(Report::Done)
    }

    pub(super) async fn pause(&self, guest: &Arc<Guest>) -> Result<Report, HostError> {
        let process = self
            .must_live(guest, "only a running guest can be paused: start it")
            .await?;
        if process.run_state().await? != "running" {
            return Ok(Report::Already);
        }
        process.execute("stop", json!({})).await?;
        Ok(Report::Done)
    }

    pub(super) async fn unpause(&self, guest: &Arc<Guest>) -> Result<Report, HostError> {
        let process = self
            .must_live(guest, "only a paused guest can be unpaused: start it")
            .await?;
        if process.run_state().await? == "running" {
            return Ok(Report::Already);
        }
        process.execute("cont", json!({})).await?;
        Ok(Report::Done)
    }

    pub(super) async fn must_live(
        &self,
        guest: &Arc<Guest>,
        rule: &str,
    ) -> Result<Arc<Process>, HostError> {
        match self.live(guest).await? {
            Some(process) => Ok(process),
            None if guest.dir.has(guest_dir::MEMORY) => Err(wrong_state(guest, "suspended", rule)),
            None => Err(wrong_state(guest, "shut down", rule)),
        }
    }
}

pub(super) fn wrong_state(guest: &Guest, state: &str, rule: &str) -> HostError {
    HostError::WrongState {
        id: guest.id,
        state: state.to_owned(),
        rule: rule.to_owned(),
    }
}
