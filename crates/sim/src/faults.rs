//! Faults on demand: tasks that fail, answers that get lost, slowness and outages.

use corten_host::{HostError, Task};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

macro_rules! task_kinds {
    ($($kind:ident)*) => {
        /// Which task, without its values.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum TaskKind {
            $($kind,)*
        }

        impl TaskKind {
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            pub fn of(task: &Task) -> Self {
                match task {
                    $(Task::$kind { .. } => Self::$kind,)*
                }
            }
        }
    };
}

task_kinds! {
    EnsureImage DropImage CreateGuest Start Stop Reboot ResetGuest Pause Unpause Suspend Resume Rebuild Rescue Unrescue
    UpdateConfigDrive AttachDisk DetachDisk AttachNic DetachNic Reshape ConfirmShape RevertShape Snapshot DeleteGuest
}

/// Where in its course a task fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing was done.
    Before,
    /// All was done, only the answer is an error.
    After,
}

struct Failure {
    kind: TaskKind,
    moment: Moment,
    left: u32,
    error: HostError,
}

/// What is ordered to go wrong.
#[derive(Default)]
pub struct Faults {
    failures: Vec<Failure>,
    delays: HashMap<TaskKind, Duration>,
    /// `None` inside: until further notice.
    outage: Option<Option<Instant>>,
}

impl Faults {
    pub fn order(&mut self, kind: TaskKind, moment: Moment, times: u32, error: HostError) {
        self.failures.push(Failure {
            kind,
            moment,
            left: times,
            error,
        });
    }

    /// The error that this task must end with at this moment, if one is ordered; it counts as used.
    pub fn strike(&mut self, kind: TaskKind, moment: Moment) -> Option<HostError> {
        self.failures.retain(|failure| failure.left > 0);
        let failure = self
            .failures
            .iter_mut()
            .find(|failure| failure.kind == kind && failure.moment == moment)?;
        failure.left -= 1;
        Some(failure.error.clone())
    }

    pub fn set_delay(&mut self, kind: TaskKind, delay: Duration) {
        self.delays.insert(kind, delay);
    }

    pub fn delay(&self, kind: TaskKind) -> Duration {
        self.delays.get(&kind).copied().unwrap_or_default()
    }

    pub fn cut_off(&mut self, until: Option<Instant>) {
        self.outage = Some(until);
    }

    /// Ends everything that was ordered.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn check_reachable(&self, hostname: &str) -> Result<(), HostError> {
        match self.outage {
            None => Ok(()),
            Some(Some(end)) if Instant::now() >= end => Ok(()),
            Some(_) => Err(HostError::Internal {
                doing: format!("reach host {hostname}"),
                reason: "no answer: the host or the way to it is down".to_owned(),
            }),
        }
    }
}
