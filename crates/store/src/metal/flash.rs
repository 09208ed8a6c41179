//! The firmware of one component while a node's BMC is told to install it, as it stands in the node's row.
//!
//! ```text
//!  Planned ─▶ Beginning ─▶ Begun ─▶ Ended ─▶ Done
//!              ▲──┘ where it is shown that nothing was begun;  any ─▶ Failed, where the BMC says so
//! ```

use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flash {
    /// As it was asked for.
    pub component: String,
    /// What the BMC calls it.
    pub target: String,
    pub name: Option<String>,
    pub url: String,
    /// What is waited after it, before anything else begins.
    pub wait_secs: u64,
    pub version_before: Option<String>,
    /// The BMC's tasks before it was asked; `None`: it lists none.
    pub tasks_before: Option<Vec<String>>,
    /// When the BMC was about to be asked the last time.
    pub since: Option<Timestamp>,
    /// How often it was about to be asked.
    pub tries: u32,
    /// The BMC's task.
    pub task: Option<String>,
    /// How often was looked how far it is.
    pub looks: u32,
    /// When the work on the node ended without knowing what became of it. The BMC may be at it still.
    #[serde(default)]
    pub lost_at: Option<Timestamp>,
    pub stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Stage {
    Planned,
    /// The BMC is about to be asked, or was: whether it heard is not known.
    Beginning,
    /// The BMC said yes.
    Begun,
    /// The BMC's task is over, and its inventory has yet to show it.
    Ended {
        at: Timestamp,
        /// `false`: the BMC does not know the task any more.
        well: bool,
        /// The server was booted since.
        booted: bool,
    },
    Done {
        at: Timestamp,
        /// By what it is proved.
        proof: String,
    },
    /// It is known that the BMC does not install it.
    Failed {
        why: String,
    },
}

impl Flash {
    /// Whether the BMC may be at it: it must not be cut off.
    pub fn is_in_flight(&self) -> bool {
        matches!(
            self.stage,
            Stage::Beginning | Stage::Begun | Stage::Ended { .. }
        )
    }

    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done { .. })
    }
}
