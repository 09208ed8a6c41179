//! The step `firmware.update`: a node's BMC installs firmware, one component after the other.
//!
//! ```text
//!  all are found ─▶ written down ─▶ the BMC is asked ─▶ its task is followed ─▶ its inventory shows it ─▶ the next one
//!                        ▲                 └── no answer, or no worker ──┐             └─ a boot, where it needs one
//!                        └── shown that nothing was begun ── its tasks ◀─┘
//! ```
//!
//! What is flashed twice, or cut off, may leave a server without any firmware. So what is about to be begun is in the node's
//! row before the BMC is asked ([`Stage::Beginning`]), and whoever finds it there looks at the BMC's tasks; where these do
//! not tell whether it heard, the step fails. While a component is in flight the node is not aborted, switched, deleted
//! or given back ([`check_quiet`]).

use super::firmware_args::{Setting, read};
use super::flash::{self, Proof, Seen, Verdict};
use super::ramdisk::orders::Pending;
use super::ramdisk::{self, timeline};
use super::steps::Ran;
use super::{machine, seen, work};
use crate::context::Context;
use corten_bmc::{Bmc, BmcError, FirmwareItem, FirmwareUpdate, PowerAction, TaskRef, TaskState};
use corten_engine::{StepCx, StepError};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::metal::flash::{Flash, Stage};
use corten_store::metal::node::{Node, SUBJECT, Step};
use corten_store::operations::{self, Operation};
use corten_store::{Error, Failure, Tx, record};
use std::time::Duration;

/// How long a BMC may be at one component, and how long after a component of which nothing more is known it is left alone.
pub const LIMIT: Duration = Duration::from_secs(3600);
/// How long the BMC may take to say whether it begins.
const ASK_LIMIT: Duration = Duration::from_secs(150);
/// Between two looks: at first, and at most.
const LOOK: Duration = Duration::from_secs(5);
const LOOK_MAX: Duration = Duration::from_secs(60);

/// Refuses what would cut off firmware that is being installed.
pub fn check_quiet(node: &Node, now: Timestamp, asked: &str) -> Result<(), Refusal> {
    let Some(flash) = in_flight(node) else {
        return Ok(());
    };
    let (id, component) = (node.id, &flash.component);
    let Some(lost_at) = flash.lost_at else {
        let age = flash.since.map_or(0, |since| now.since(since).as_secs());
        return Err(Refusal::conflict(format!(
            "Node {id} takes no {asked} now: its BMC has been installing the firmware of '{component}' for {age} s, and cut off \
             it could leave the server without any. Ask again when that has ended."
        )));
    };
    let left = LIMIT.saturating_sub(now.since(lost_at)).as_secs();
    if left == 0 {
        return Ok(());
    }
    Err(Refusal::conflict(format!(
        "Node {id} takes no {asked} now: what became of the firmware of '{component}' is not known, and its BMC may be at it \
         still. Look at the BMC's own tasks; ask again in {left} s."
    )))
}

/// The component that a node's BMC may be at.
pub fn in_flight(node: &Node) -> Option<&Flash> {
    node.flashes.iter().find(|flash| flash.is_in_flight())
}

/// The same for an operation whose cancel this transaction has written, so that none begins meanwhile.
pub async fn check_cancel(
    tx: &mut Tx,
    operation: &Operation,
    now: Timestamp,
) -> Result<(), Failure> {
    if operation.subject_kind != SUBJECT {
        return Ok(());
    }
    let node: Option<Node> = record::get(tx, &operation.subject_id).await?;
    match node {
        Some(node) => Ok(check_quiet(&node, now, "cancel of its operation")?),
        None => Ok(()),
    }
}

/// The work on a node ends before its firmware did. What may be in flight stays in the row: the node is left alone for a while.
pub async fn give_up(
    tx: &mut Tx,
    node: &mut Node,
    now: Timestamp,
    cause: &str,
) -> Result<(), Error> {
    let ended = node.flashes.iter().find(|flash| !flash.is_done());
    if let Some(flash) = ended {
        let detail = format!("{}: {cause}", flash.component);
        timeline::note(tx, node.id, now, "firmware failed", detail).await?;
    }
    node.flashes.retain(Flash::is_in_flight);
    for flash in &mut node.flashes {
        flash.lost_at = Some(now);
    }
    Ok(())
}

/// Takes the first of a node's steps further.
pub async fn run(
    cx: &Context,
    at: &StepCx,
    node: &Node,
    step: &Step,
) -> Result<Result<Ran, Pending>, StepError> {
    let settings = read(step).map_err(|refusal| StepError::Fail(refusal.message))?;
    if let Some((left, component)) = rest(node, at.now()) {
        let note = format!("waits after the firmware of {component}, as it was asked to");
        return Ok(Err(wrote(left, note, |_| {})));
    }
    let next = node.flashes.iter().position(|flash| !flash.is_done());
    if next.is_none() && !node.flashes.is_empty() {
        return Ok(Ok(Ran::default()));
    }
    let bmc = work::reach(cx, node)?.bmc;
    let flashing = Flashing {
        cx,
        at,
        node,
        bmc: bmc.as_ref(),
        booted: step.booted,
        index: next.unwrap_or(0),
    };
    let pending = match node.flashes.get(flashing.index) {
        None => flashing.plan(&settings).await,
        Some(flash) => flashing.go_on(flash.clone()).await,
    };
    bmc.close().await;
    pending.map(Err)
}

/// What is left of the time that was asked for after a component.
fn rest(node: &Node, now: Timestamp) -> Option<(Duration, &str)> {
    node.flashes.iter().rev().find_map(|flash| {
        let Stage::Done { at, .. } = flash.stage else {
            return None;
        };
        let left = Duration::from_secs(flash.wait_secs).checked_sub(now.since(at))?;
        (!left.is_zero()).then_some((left, flash.component.as_str()))
    })
}

fn wrote(
    pause: Duration,
    note: impl Into<String>,
    change: impl FnOnce(&mut Node) + Send + 'static,
) -> Pending {
    Pending::Wrote {
        pause,
        note: note.into(),
        sign: None,
        change: Box::new(change),
    }
}

/// One look at one component.
struct Flashing<'a> {
    cx: &'a Context,
    at: &'a StepCx,
    node: &'a Node,
    bmc: &'a dyn Bmc,
    /// The server was booted for this component.
    booted: bool,
    index: usize,
}

type Next = Result<Pending, StepError>;

impl Flashing<'_> {
    /// Everything is known to be there, and to be taken, before anything is begun.
    async fn plan(&self, settings: &[Setting]) -> Next {
        let shown = self.bmc.firmware().await.map_err(machine::step_error)?;
        let flashes = flash::resolve(settings, &shown).map_err(StepError::Fail)?;
        for flash in &flashes {
            let update = update(flash)?;
            let checked = self.bmc.check_update(&update).await;
            checked.map_err(machine::step_error)?;
        }
        let note = "firmware is about to be installed";
        Ok(wrote(Duration::ZERO, note, |node| node.flashes = flashes))
    }

    async fn go_on(&self, flash: Flash) -> Next {
        match (&flash.stage, &flash.task) {
            (Stage::Planned, _) => {
                let (seen, shown) = self.see(&flash).await.map_err(machine::step_error)?;
                if flash::place(&flash, &shown).is_none() {
                    return Err(StepError::Retry(format!(
                        "Its BMC does not list the component '{}' at the moment.",
                        flash.component
                    )));
                }
                self.begin(flash, seen).await
            }
            (Stage::Failed { why }, _) => Err(StepError::Fail(why.clone())),
            (Stage::Begun, Some(task)) => {
                let task = TaskRef(task.clone());
                self.follow(flash, &task).await
            }
            (Stage::Beginning | Stage::Begun, _) => self.look_for(flash).await,
            (Stage::Ended { .. } | Stage::Done { .. }, _) => self.prove(flash).await,
        }
    }

    /// The version that the BMC shows, and its tasks.
    async fn see(&self, flash: &Flash) -> Result<(Seen, Vec<FirmwareItem>), BmcError> {
        let shown = self.bmc.firmware().await?;
        let place = flash::place(flash, &shown);
        let version = place.and_then(|index| shown[index].version.clone());
        let tasks = self.bmc.tasks().await?;
        Ok((Seen { version, tasks }, shown))
    }

    /// Asks the BMC, once it is written down that it is asked.
    async fn begin(&self, mut flash: Flash, seen: Seen) -> Next {
        if let Some(task) = flash::in_the_way(seen.tasks.as_deref()) {
            let why = format!(
                "Its BMC is at an update of firmware already, the task {task}, so that of '{}' was not begun. Ask again when it \
                 has ended.",
                flash.component
            );
            return Ok(self.failed(flash, why));
        }
        flash.version_before = seen.version;
        let names = |tasks: Vec<corten_bmc::TaskSeen>| tasks.into_iter().map(|task| task.task.0);
        flash.tasks_before = seen.tasks.map(|tasks| names(tasks).collect());
        flash.since = Some(self.at.now());
        flash.tries += 1;
        flash.looks = 0;
        flash.stage = Stage::Beginning;
        let update = update(&flash)?;
        self.write_down(&flash).await?;
        // Whoever was held up meanwhile is overtaken, and asks no more.
        self.at.check_lease().await?;
        let asked = self.bmc.update_firmware(&update);
        match tokio::time::timeout(ASK_LIMIT, asked).await {
            Ok(Ok(task)) => {
                flash.task = task.map(|task| task.0);
                flash.stage = Stage::Begun;
                self.wait(flash, "the BMC has begun")
            }
            Ok(Err(error)) if flash::said_no(&error) => {
                let why = format!(
                    "The BMC did not take the firmware of '{}': {error}",
                    flash.component
                );
                Ok(self.failed(flash, why))
            }
            Ok(Err(error)) => self.wait(flash, error.to_string()),
            Err(_) => self.wait(flash, "the BMC did not say whether it begins"),
        }
    }

    /// In a transaction of its own, under the lease: from here on a crash leaves the row behind.
    async fn write_down(&self, flash: &Flash) -> Result<(), StepError> {
        let fence = self.at.fence();
        let mut tx = self.cx.store.write().await?;
        operations::hold(&mut tx, fence.operation, fence.epoch).await?;
        let operation = operations::get(&mut tx, fence.operation).await?;
        if operation.is_none_or(|operation| operation.cancel_requested) {
            return Err(StepError::Retry("A cancel came before.".to_owned()));
        }
        let mut node = work::lock(&mut tx, self.node.id).await?;
        if let Some(step) = node.steps.first_mut() {
            step.booted = false;
        }
        let gone = || StepError::Retry("The components are not in the row any more.".to_owned());
        let kept = node.flashes.get_mut(self.index).ok_or_else(gone)?;
        kept.clone_from(flash);
        let before = flash.version_before.as_deref().unwrap_or("no version");
        let detail = format!("{}, now {before}, by {}", flash.component, flash.url);
        let event = "firmware begins";
        timeline::note(&mut tx, node.id, self.at.now(), event, detail).await?;
        work::save(&mut tx, self.at, &mut node).await?;
        Ok(tx.commit().await?)
    }

    /// The BMC was asked, or was about to be: what became of it?
    async fn look_for(&self, mut flash: Flash) -> Next {
        let (seen, shown) = match self.see(&flash).await {
            Ok(found) => found,
            Err(error) => return self.away(flash, error),
        };
        match flash::judge(&flash, &seen, self.at.now()) {
            Verdict::Task(task) => {
                flash.task = Some(task.0);
                flash.stage = Stage::Begun;
                self.wait(flash, "its task is found")
            }
            Verdict::Wait(note) => self.wait(flash, note),
            Verdict::Changed => {
                let version = seen.version.as_deref().unwrap_or_default();
                let proof = format!("its version is {version} now; which task did it is not known");
                Ok(self.done(flash, proof, shown))
            }
            Verdict::Nothing => self.begin(flash, seen).await,
            Verdict::Unknown(why) => Err(StepError::Fail(format!(
                "Whether the BMC installs the firmware of '{}' cannot be told: {why}. It was not asked again. Look at the BMC's \
                 own tasks and versions before power is switched or firmware installed.",
                flash.component
            ))),
        }
    }

    async fn follow(&self, mut flash: Flash, task: &TaskRef) -> Next {
        let ended = |flash: &mut Flash, well| {
            let (at, booted) = (self.at.now(), self.booted);
            flash.stage = Stage::Ended { at, well, booted };
        };
        let progress = match self.bmc.task(task).await {
            Ok(progress) => progress,
            Err(BmcError::Refused {
                status: Some(404 | 410),
                ..
            }) => {
                ended(&mut flash, false);
                return self.wait(flash, "the BMC does not know its task any more");
            }
            Err(error) => return self.away(flash, error),
        };
        match progress.state {
            TaskState::Running => {
                let percent = progress.percent.map(|percent| format!(", {percent} %"));
                let note = format!("the BMC is at it{}", percent.unwrap_or_default());
                self.wait(flash, note)
            }
            TaskState::NeedsBoot if !self.booted => self.boot(flash).await,
            TaskState::NeedsBoot => self.wait(flash, "the server was booted for it"),
            TaskState::Completed => {
                ended(&mut flash, true);
                self.prove(flash).await
            }
            TaskState::Failed | TaskState::Cancelled => {
                let why = format!(
                    "The BMC could not install the firmware of '{}': its task {} {}: {}",
                    flash.component,
                    task.0,
                    match progress.state {
                        TaskState::Cancelled => "was cancelled",
                        _ => "failed",
                    },
                    match progress.messages.join("; ") {
                        said if said.is_empty() => "it says nothing more".to_owned(),
                        said => said,
                    }
                );
                Ok(self.failed(flash, why))
            }
        }
    }

    /// Its task is over: does the inventory show it?
    async fn prove(&self, mut flash: Flash) -> Next {
        let shown = match self.bmc.firmware().await {
            Ok(shown) => shown,
            Err(error) => return self.away(flash, error),
        };
        if let Stage::Ended { at, booted, .. } = &mut flash.stage
            && self.booted
            && !*booted
        {
            (*at, *booted) = (self.at.now(), true);
        }
        let place = flash::place(&flash, &shown);
        let version = place.and_then(|index| shown[index].version.clone());
        match flash::prove(&flash, version.as_deref(), self.at.now()) {
            Proof::Wait(note) => self.wait(flash, note),
            Proof::Boot => self.boot(flash).await,
            Proof::Done(proof) => Ok(self.done(flash, proof, shown)),
            Proof::Unknown(why) => Err(StepError::Fail(format!(
                "Whether the firmware of '{}' was installed cannot be told: {why}. Look at the BMC's own tasks and versions \
                 before power is switched or firmware installed.",
                flash.component
            ))),
        }
    }

    /// What is installed holds from the next boot on.
    async fn boot(&self, flash: Flash) -> Next {
        if ramdisk::boots(self.node) {
            let why = format!(
                "the firmware of {} holds from the next boot on",
                flash.component
            );
            return Ok(Pending::Boot(why));
        }
        work::switch(self.cx, self.node, PowerAction::Cycle).await?;
        Ok(wrote(
            Duration::ZERO,
            "the server was booted for it",
            |node| {
                if let Some(step) = node.steps.first_mut() {
                    step.booted = true;
                }
            },
        ))
    }

    /// The BMC is silent, or half up and refuses what it has: it may have restarted for what it installs.
    fn away(&self, flash: Flash, error: BmcError) -> Next {
        let note = format!("the BMC, which may restart for it, does not tell: {error}");
        self.wait(flash, note)
    }

    /// The BMC does not install it: that is written down first, so that nothing counts as in flight.
    fn failed(&self, mut flash: Flash, why: String) -> Pending {
        let note = why.clone();
        flash.stage = Stage::Failed { why };
        let index = self.index;
        wrote(Duration::ZERO, note, move |node| keep(node, index, flash))
    }

    /// For a while, if the limit leaves one.
    fn wait(&self, mut flash: Flash, note: impl Into<String>) -> Next {
        let note = note.into();
        let began = match flash.stage {
            Stage::Ended { at, .. } => Some(at),
            _ => flash.since,
        };
        let now = self.at.now();
        if began.is_some_and(|began| now.since(began) > LIMIT) {
            return Err(StepError::Fail(format!(
                "The firmware of '{}' was not installed within {} min: {note}. The BMC may still be at it: look at its own tasks \
                 before power is switched or firmware installed.",
                flash.component,
                LIMIT.as_secs() / 60
            )));
        }
        let pause = LOOK.saturating_mul(1 << flash.looks.min(8)).min(LOOK_MAX);
        flash.looks += 1;
        let note = format!("firmware of {}: {note}", flash.component);
        let index = self.index;
        Ok(wrote(pause, note, move |node| keep(node, index, flash)))
    }

    /// It is proved; what the BMC shows of firmware is written with it.
    fn done(&self, mut flash: Flash, proof: String, shown: Vec<FirmwareItem>) -> Pending {
        let at = self.at.now();
        let place = flash::place(&flash, &shown);
        let mut components = seen::firmware(self.node, shown, at);
        if let Some(component) = place.and_then(|index| components.get_mut(index)) {
            component
                .last_version_flashed
                .clone_from(&component.current_version);
        }
        let detail = format!("{}: {proof}", flash.component);
        let note = format!("firmware of {} is installed", flash.component);
        flash.stage = Stage::Done { at, proof };
        let index = self.index;
        Pending::Wrote {
            pause: Duration::ZERO,
            note,
            sign: Some(("firmware installed", detail)),
            change: Box::new(move |node| {
                keep(node, index, flash);
                node.firmware = components;
            }),
        }
    }
}

fn keep(node: &mut Node, index: usize, flash: Flash) {
    if let Some(kept) = node.flashes.get_mut(index) {
        *kept = flash;
    }
}

fn update(flash: &Flash) -> Result<FirmwareUpdate, StepError> {
    let image = flash.url.parse().map_err(|error| {
        StepError::Fail(format!(
            "The url of the firmware of '{}' cannot be read: {error}",
            flash.component
        ))
    })?;
    Ok(FirmwareUpdate {
        image,
        targets: vec![flash.target.clone()],
    })
}
