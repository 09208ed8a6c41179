//! Firmware of a simulated server: its BMC installs it by tasks, which go on each time they are looked at.

use crate::SimMachine;
use crate::hardware::Hardware;
use crate::machine::Touch;
use crate::redfish::version_in;
use corten_bmc::{
    Bmc, BmcError, FirmwareItem, FirmwareUpdate, TaskProgress, TaskRef, TaskSeen, TaskState,
    TaskWork,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// After so many looks a task is done.
const LOOKS: u8 = 2;

/// What the BMC was told to install, and what a test has it do.
#[derive(Default)]
pub(crate) struct Flashes {
    tasks: Vec<Flash>,
    locked: BTreeSet<String>,
    stand_still: bool,
    keep_to_themselves: bool,
    /// So many of its tasks are no longer shown.
    forgotten: usize,
    answers_to_lose: u32,
}

struct Flash {
    image: String,
    part: String,
    looks: u8,
    state: TaskState,
    said: Vec<String>,
}

impl Flash {
    /// One look brings it on, and a boot that was waited for ends it.
    fn look(&mut self, server: &mut Hardware, stand_still: bool) {
        if self.state == TaskState::NeedsBoot && !server.firmware_pending.contains_key(&self.part) {
            self.state = TaskState::Completed;
        }
        if self.state != TaskState::Running || stand_still {
            return;
        }
        self.looks += 1;
        if self.looks < LOOKS {
            return;
        }
        let name = self.image.rsplit('/').next().unwrap_or_default();
        let Some(version) = version_in(name) else {
            self.state = TaskState::Failed;
            self.said
                .push(format!("The image {name} is not of a known form."));
            return;
        };
        // The firmware that a server started with runs until it is started anew.
        let waits = self.part == "bios" && server.is_on();
        let place = if waits {
            &mut server.firmware_pending
        } else {
            &mut server.firmware
        };
        place.insert(self.part.clone(), version);
        self.state = if waits {
            TaskState::NeedsBoot
        } else {
            TaskState::Completed
        };
    }
}

fn number(task: &TaskRef) -> Option<usize> {
    task.0.strip_prefix("task/")?.parse().ok()
}

impl SimMachine {
    /// The images that the BMC was told to install and did not refuse, oldest first.
    pub fn flashes(&self) -> Vec<String> {
        let state = self.state();
        let tasks = state.flashes.tasks.iter();
        tasks.map(|flash| flash.image.clone()).collect()
    }

    /// Whether what it installs stands still.
    pub fn hold_flashes(&self, hold: bool) {
        self.state().flashes.stand_still = hold;
    }

    /// Its tasks say nothing of what they are for.
    pub fn keep_tasks_to_itself(&self) {
        self.state().flashes.keep_to_themselves = true;
    }

    /// What it installs is installed, and it restarts for it, by which its tasks are forgotten.
    pub fn restart_bmc(&self) {
        let mut state = self.state();
        let state = &mut *state;
        for flash in &mut state.flashes.tasks {
            for _ in 0..LOOKS {
                flash.look(&mut state.hardware, false);
            }
        }
        state.flashes.forgotten = state.flashes.tasks.len();
    }

    /// The firmware of this part cannot be changed.
    pub fn lock_firmware(&self, part: &str) {
        self.state().flashes.locked.insert(part.to_owned());
    }

    /// The next so many updates are begun, and the answers lost.
    pub fn lose_update_answers(&self, times: u32) {
        self.state().flashes.answers_to_lose = times;
    }

    pub(crate) fn installed(&self) -> Result<Vec<FirmwareItem>, BmcError> {
        let state = self.touch(Touch::Firmware)?;
        let items = state.hardware.firmware.iter();
        let items = items.map(|(part, version)| FirmwareItem {
            id: part.clone(),
            name: Some(part.clone()),
            version: Some(version.clone()),
            updateable: Some(!state.flashes.locked.contains(part)),
        });
        Ok(items.collect())
    }

    pub(crate) fn check_flash(&self, update: &FirmwareUpdate) -> Result<String, BmcError> {
        let state = self.state();
        let parts = &state.hardware.firmware;
        match update.targets.as_slice() {
            [part] if parts.contains_key(part) => Ok(part.clone()),
            targets => Err(BmcError::Invalid {
                rule: "an image is for one part of the server",
                value: targets.join(", "),
                fix: "name one part".to_owned(),
            }),
        }
    }

    pub(crate) fn begin_flash(&self, update: &FirmwareUpdate) -> Result<Option<TaskRef>, BmcError> {
        let part = self.check_flash(update)?;
        let mut state = self.touch(Touch::Update)?;
        let flashes = &mut state.flashes;
        flashes.tasks.push(Flash {
            image: update.image.to_string(),
            part,
            looks: 0,
            state: TaskState::Running,
            said: Vec::new(),
        });
        if flashes.answers_to_lose > 0 {
            flashes.answers_to_lose -= 1;
            return Err(BmcError::TimedOut {
                bmc: self.name().to_owned(),
                request: "an update".to_owned(),
                limit: Duration::from_secs(30),
            });
        }
        Ok(Some(TaskRef(format!("task/{}", flashes.tasks.len()))))
    }

    pub(crate) fn look_at_flash(&self, task: &TaskRef) -> Result<TaskProgress, BmcError> {
        let mut state = self.touch(Touch::Task)?;
        let state = &mut *state;
        let stand_still = state.flashes.stand_still;
        let known = number(task).filter(|number| *number > state.flashes.forgotten);
        let flash = known.and_then(|number| state.flashes.tasks.get_mut(number - 1));
        let flash = flash.ok_or_else(|| BmcError::Refused {
            bmc: self.name().to_owned(),
            request: task.0.clone(),
            status: Some(404),
            message: "there is no such task".to_owned(),
        })?;
        flash.look(&mut state.hardware, stand_still);
        Ok(TaskProgress {
            state: flash.state,
            percent: Some(flash.looks.min(LOOKS) * (100 / LOOKS)),
            messages: flash.said.clone(),
        })
    }

    pub(crate) fn list_flashes(&self) -> Result<Vec<TaskSeen>, BmcError> {
        let mut state = self.touch(Touch::Task)?;
        let state = &mut *state;
        let flashes = &mut state.flashes;
        for flash in flashes.tasks.iter_mut().skip(flashes.forgotten) {
            flash.look(&mut state.hardware, flashes.stand_still);
        }
        let shown = flashes.tasks.iter().enumerate().skip(flashes.forgotten);
        let seen = shown.map(|(index, flash)| {
            let told = TaskWork::Update {
                image: flash.image.clone(),
                targets: vec![flash.part.clone()],
            };
            TaskSeen {
                task: TaskRef(format!("task/{}", index + 1)),
                name: Some("Work".to_owned()),
                state: flash.state,
                work: if flashes.keep_to_themselves {
                    TaskWork::Untold
                } else {
                    told
                },
            }
        });
        Ok(seen.collect())
    }
}
