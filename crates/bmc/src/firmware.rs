//! Firmware: what is installed, a simple update, and following its task.

use crate::bmc::Bmc;
use crate::error::BmcError;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use url::Url;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareItem {
    /// Where it is, which is what an update names as its target.
    pub id: String,
    pub name: Option<String>,
    pub version: Option<String>,
    pub updateable: Option<bool>,
}

/// An image for the BMC to fetch and install.
#[derive(Debug, Clone)]
pub struct FirmwareUpdate {
    pub image: Url,
    /// [`FirmwareItem::id`]s, or paths of systems or managers. Empty: the BMC tells from the image what it is for.
    pub targets: Vec<String>,
}

/// A task of a BMC. It can be kept in a row and asked for later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskRef(pub String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskProgress {
    pub state: TaskState,
    pub percent: Option<u8>,
    /// The BMC's words, newest last.
    pub messages: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    Running,
    /// It waits for the server to be booted anew.
    NeedsBoot,
    Completed,
    Failed,
    Cancelled,
}

/// One of a BMC's tasks, as its list shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSeen {
    pub task: TaskRef,
    pub name: Option<String>,
    /// One that is not known counts as running.
    pub state: TaskState,
    pub work: TaskWork,
}

/// What a task is for, as far as its BMC tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskWork {
    /// It installs this image. Without targets the BMC told from the image what it is for.
    Update {
        image: String,
        targets: Vec<String>,
    },
    /// No update of firmware.
    Other,
    Untold,
}

/// Waits for a task to complete. One that needs a boot is given back: whether the server may be booted is not ours to say.
pub async fn follow(
    bmc: &dyn Bmc,
    task: &TaskRef,
    limit: Duration,
) -> Result<TaskProgress, BmcError> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(250);
    loop {
        match bmc.task(task).await {
            Ok(progress) => match progress.state {
                TaskState::Completed | TaskState::NeedsBoot => return Ok(progress),
                TaskState::Failed | TaskState::Cancelled => {
                    return Err(BmcError::TaskFailed {
                        bmc: bmc.name().to_owned(),
                        task: task.0.clone(),
                        state: format!("{:?}", progress.state),
                        message: progress.messages.join("; "),
                    });
                }
                TaskState::Running => {}
            },
            // A BMC that updates itself is away for minutes.
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error),
        }
        if Instant::now() >= deadline {
            return Err(BmcError::TimedOut {
                bmc: bmc.name().to_owned(),
                request: format!("the task {}", task.0),
                limit,
            });
        }
        sleep(pause.min(deadline - Instant::now())).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}
