//! One instance and its running operation, moved by events: what the tests explore and shake.

use corten_model::lifecycle::{
    Command, Display, Illegal, InstanceClass, InstanceState, Outcome, OverBudget, PowerState,
    RootDisk, TaskState, VmState, apply, decide, find, path, reconcile, settle,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct World {
    pub class: InstanceClass,
    pub root: RootDisk,
    pub state: InstanceState,
    /// The operation under way: its command, the stable state it began in, and the step of its path.
    pub running: Option<(Command, VmState, usize)>,
}

/// What can happen to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Ask(Command),
    /// The running operation finishes one step: the next task, or its end.
    Step,
    /// A shelve that keeps the host for a while ends before the offload.
    StopShort,
    End(Outcome),
    /// The host saw this power state.
    Observe(PowerState),
    /// The state lasted longer than its budget.
    OverBudget,
}

impl Event {
    pub fn all() -> Vec<Event> {
        let ends = [Outcome::Succeeded, Outcome::Failed, Outcome::Broken].map(Event::End);
        [Event::Step, Event::StopShort, Event::OverBudget]
            .into_iter()
            .chain(ends)
            .chain(Command::ALL.iter().copied().map(Event::Ask))
            .chain(PowerState::ALL.iter().copied().map(Event::Observe))
            .collect()
    }
}

impl World {
    /// An instance whose create was accepted a moment ago.
    pub fn created(class: InstanceClass, root: RootDisk) -> Self {
        let state = InstanceState::REQUESTED;
        Self {
            class,
            root,
            state,
            running: Some((Command::Create, VmState::Building, 0)),
        }
    }

    pub fn display(&self) -> Display {
        self.state.display(self.class)
    }

    /// The world after `event`; the same world if it cannot happen now.
    pub fn after(self, event: Event) -> Result<Self, Illegal> {
        match event {
            Event::Ask(command) => self.asked(command),
            Event::Step => Ok(self.stepped()),
            Event::StopShort => Ok(self.stopped_short()),
            // An operation succeeds at its last step, by `Step`; it may fail at any.
            Event::End(Outcome::Succeeded) => Ok(self),
            Event::End(outcome) => Ok(self.ended(outcome)),
            Event::Observe(power) => Ok(Self {
                state: apply(reconcile(self.state, power), self.state, power),
                ..self
            }),
            Event::OverBudget => self.over_budget(),
        }
    }

    fn asked(self, command: Command) -> Result<Self, Illegal> {
        let begin = decide(self.class, self.state, command)?;
        if begin.already {
            assert_eq!(
                begin.state, self.state,
                "what is already under way changes nothing"
            );
            return Ok(self);
        }
        assert_eq!(
            begin.supersedes,
            self.state.task.is_some() && !command.is_beside_tasks()
        );
        let running = match begin.state.task {
            _ if command.is_beside_tasks() => self.running,
            Some(_) => Some((command, begin.state.vm, 0)),
            None => None,
        };
        Ok(Self {
            state: begin.state,
            running,
            ..self
        })
    }

    pub fn tasks(&self) -> &'static [TaskState] {
        self.running
            .map_or(&[], |(command, vm, _)| path(command, vm, self.root))
    }

    fn stepped(self) -> Self {
        let Some((command, vm, step)) = self.running else {
            return self;
        };
        match self.tasks().get(step + 1) {
            Some(task) => Self {
                state: self.state.enter(*task),
                running: Some((command, vm, step + 1)),
                ..self
            },
            None => self.ended(Outcome::Succeeded),
        }
    }

    fn stopped_short(self) -> Self {
        let Some((Command::Shelve, _, step)) = self.running else {
            return self;
        };
        if self.tasks().get(step + 1) == Some(&TaskState::ShelvingOffloading) {
            return self.ended(Outcome::Succeeded);
        }
        self
    }

    fn ended(self, outcome: Outcome) -> Self {
        let Some((command, _, _)) = self.running else {
            return self;
        };
        Self {
            state: settle(command, self.state, outcome),
            running: None,
            ..self
        }
    }

    fn over_budget(self) -> Result<Self, Illegal> {
        let Some(budget) = find(self.class, self.display()).and_then(|row| row.budget) else {
            return Ok(self);
        };
        match budget.over {
            OverBudget::RetryOperation | OverBudget::CallOperator => Ok(self),
            OverBudget::RetryElsewhere => {
                let running = Some((Command::Create, VmState::Building, 0));
                Ok(Self {
                    state: self.state.enter(TaskState::Scheduling),
                    running,
                    ..self
                })
            }
            OverBudget::MarkError => Ok(self.ended(Outcome::Broken)),
            OverBudget::RollBack => Ok(self.ended(Outcome::Failed)),
            OverBudget::CutPower | OverBudget::DetachFromTenant => {
                Ok(self.ended(Outcome::Succeeded))
            }
            OverBudget::HardReboot => self.asked(Command::HardReboot),
            OverBudget::AutoConfirm => self.asked(Command::ConfirmResize),
            OverBudget::Reclaim => self.asked(Command::Delete),
            OverBudget::Offload => self.asked(Command::ShelveOffload),
            OverBudget::RetryOtherBoot => unreachable!("only a node can boot another way"),
        }
    }
}
