//! Keeps daemons running: adopts those that run, starts those that do not, restarts one the moment it dies.

use super::daemon::{Daemon, Running};
use super::error::MachineError;
use super::logs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long a daemon that died again soon waits for its next start.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// A daemon that ran so long did not fail because of its start.
const STEADY: Duration = Duration::from_secs(30);
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How a daemon is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonStatus {
    pub name: &'static str,
    /// `None` while it is down.
    pub pid: Option<u32>,
    /// How often it was started again since this process watches it.
    pub restarts: u64,
    /// Why the last start failed, if it is down.
    pub error: Option<MachineError>,
}

/// One daemon that is kept running. Dropping it ends the watch, not the daemon.
pub struct Supervised {
    pub daemon: Daemon,
    status: Arc<Mutex<DaemonStatus>>,
    watcher: JoinHandle<()>,
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Supervised {
    /// Adopts the daemon or starts it, and comes back when it serves.
    pub async fn start(daemon: Daemon) -> Result<Self, MachineError> {
        let running = match daemon.find()? {
            Some(running) => running,
            None => daemon.start().await?,
        };
        tracing::info!(
            daemon = daemon.name,
            pid = running.pid,
            "a network daemon runs"
        );
        let status = Arc::new(Mutex::new(DaemonStatus {
            name: daemon.name,
            pid: Some(running.pid),
            restarts: 0,
            error: None,
        }));
        let watch = Watch {
            daemon: daemon.clone(),
            status: Arc::clone(&status),
        };
        Ok(Self {
            daemon,
            status,
            watcher: tokio::spawn(watch.keep(running)),
        })
    }

    pub fn status(&self) -> DaemonStatus {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends the daemon for good, after it was given this command to clear up.
    pub async fn end(&self, words: &[&str]) -> Result<(), MachineError> {
        self.watcher.abort();
        self.daemon.end(words).await
    }
}

struct Watch {
    daemon: Daemon,
    status: Arc<Mutex<DaemonStatus>>,
}

impl Watch {
    async fn keep(self, mut running: Running) {
        let mut pause = Duration::ZERO;
        loop {
            let since = Instant::now();
            if let Err(error) = self.until_ended(&running).await {
                tracing::error!(daemon = self.daemon.name, %error, "a network daemon can no longer be watched");
                return;
            }
            if since.elapsed() >= STEADY {
                pause = Duration::ZERO;
            }
            tracing::warn!(
                daemon = self.daemon.name,
                pid = running.pid,
                "a network daemon died; it is started again"
            );
            self.note(|status| status.pid = None);
            running = self.start_again(&mut pause).await;
        }
    }

    /// Watches the process, and its log's size meanwhile.
    async fn until_ended(&self, running: &Running) -> Result<(), MachineError> {
        let keep_log_bounded = async {
            loop {
                if let Err(error) = logs::cut(&self.daemon.log()) {
                    tracing::warn!(daemon = self.daemon.name, %error, "a log could not be cut");
                }
                tokio::time::sleep(LOG_INTERVAL).await;
            }
        };
        tokio::select! {
            ended = running.wait_ended() => ended,
            () = keep_log_bounded => Ok(()),
        }
    }

    async fn start_again(&self, pause: &mut Duration) -> Running {
        loop {
            tokio::time::sleep(*pause).await;
            *pause = (*pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
            match self.daemon.start().await {
                Ok(running) => {
                    self.note(|status| {
                        status.pid = Some(running.pid);
                        status.restarts += 1;
                        status.error = None;
                    });
                    return running;
                }
                Err(error) => {
                    tracing::error!(daemon = self.daemon.name, %error, "a network daemon could not be started");
                    self.note(|status| status.error = Some(error));
                }
            }
        }
    }

    fn note(&self, change: impl FnOnce(&mut DaemonStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
