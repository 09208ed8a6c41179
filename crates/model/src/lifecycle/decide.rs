//! The one decision about commands: what begins, or why it is refused and what is legal in its place.

use super::command::Command;
use super::display::Display;
use super::nova::{InstanceClass, InstanceState, TaskState, VmState};
use super::table;
use std::fmt;
use std::time::Duration;

/// An accepted command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    pub command: Command,
    /// The state from the moment of acceptance on; commit it together with the new operation.
    pub state: InstanceState,
    /// Another task was in flight: its operation is cancelled in the same transaction.
    pub supersedes: bool,
    /// The same work is already under way: there is nothing to start, and the answer is that of success.
    pub already: bool,
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Never from this stable state.
    WrongVmState,
    /// Legal from this stable state, once the running task is over.
    TaskInFlight(TaskState),
    /// There never was a guest to do it with.
    NeverLaunched,
    /// Never on this class of instance, for want of a capability.
    ClassCannot { capability: &'static str },
}

/// A refused command. `explain` writes the answer for the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Illegal {
    pub class: InstanceClass,
    pub command: Command,
    pub state: InstanceState,
    pub reason: Reason,
    /// The commands that would be accepted now. Empty only when the instance is gone.
    pub legal: Vec<Command>,
}

/// The operation in the way of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningOperation<'a> {
    /// Its kind: the command it carries out.
    pub kind: &'a str,
    pub age: Duration,
}

/// Decides one command on an instance in `state`.
pub fn decide(
    class: InstanceClass,
    state: InstanceState,
    command: Command,
) -> Result<Begin, Illegal> {
    if let Some(capability) = metal_lacks(class, command) {
        return Err(refusal(
            class,
            state,
            command,
            Reason::ClassCannot { capability },
        ));
    }
    if is_legal(class, state, command) {
        return Ok(begin(state, command));
    }
    let reason = match state.task {
        _ if state.never_launched() && row_allows(class, state, command) => Reason::NeverLaunched,
        Some(task)
            if row_allows(
                class,
                InstanceState {
                    task: None,
                    ..state
                },
                command,
            ) =>
        {
            Reason::TaskInFlight(task)
        }
        _ => Reason::WrongVmState,
    };
    Err(refusal(class, state, command, reason))
}

/// The commands that `decide` accepts now, in the order of `Command::ALL`.
pub fn legal_commands(class: InstanceClass, state: InstanceState) -> Vec<Command> {
    Command::ALL
        .iter()
        .copied()
        .filter(|command| is_legal(class, state, *command))
        .collect()
}

/// What `delete` means now: with a reclaim interval the instance is kept for that long, unless there is no guest that
/// a restore could bring back.
pub fn removal(class: InstanceClass, state: InstanceState, reclaim_is_on: bool) -> Command {
    if reclaim_is_on && is_legal(class, state, Command::SoftDelete) {
        Command::SoftDelete
    } else {
        Command::Delete
    }
}

fn is_legal(class: InstanceClass, state: InstanceState, command: Command) -> bool {
    row_allows(class, state, command)
        && (!state.never_launched() || command.needs_no_guest() || command == Command::ConsoleLog)
}

fn row_allows(class: InstanceClass, state: InstanceState, command: Command) -> bool {
    table::find(class, state.display(class)).is_some_and(|row| row.allows(command))
}

fn metal_lacks(class: InstanceClass, command: Command) -> Option<&'static str> {
    match class {
        InstanceClass::Vm => None,
        InstanceClass::Metal => command.metal_lacks(),
    }
}

fn begin(state: InstanceState, command: Command) -> Begin {
    let nothing_new = Begin {
        command,
        state,
        supersedes: false,
        already: false,
    };
    match (command, command.first_task()) {
        (Command::ResetState | Command::ResetStateActive, _) => {
            let vm = if command == Command::ResetState {
                VmState::Error
            } else {
                VmState::Active
            };
            Begin {
                state: InstanceState::stable(vm, state.power),
                supersedes: state.task.is_some(),
                ..nothing_new
            }
        }
        (_, None) => nothing_new,
        (_, Some(task)) if is_under_way(state.task, task) => Begin {
            already: true,
            ..nothing_new
        },
        (_, Some(task)) => Begin {
            state: InstanceState {
                task: Some(task),
                ..state
            },
            supersedes: state.task.is_some(),
            ..nothing_new
        },
    }
}

/// A removal is asked for twice without harm; a deletion includes the softer one.
fn is_under_way(running: Option<TaskState>, wanted: TaskState) -> bool {
    match wanted {
        TaskState::Deleting => running == Some(TaskState::Deleting),
        TaskState::SoftDeleting => {
            matches!(running, Some(TaskState::Deleting | TaskState::SoftDeleting))
        }
        _ => false,
    }
}

fn refusal(
    class: InstanceClass,
    state: InstanceState,
    command: Command,
    reason: Reason,
) -> Illegal {
    Illegal {
        class,
        command,
        state,
        reason,
        legal: legal_commands(class, state),
    }
}

impl Illegal {
    /// The instance does not exist any more.
    pub fn is_gone(&self) -> bool {
        self.state.display(self.class) == Display::Deleted
    }

    /// The text of the 409: Nova's sentence, then what is legal now.
    pub fn message(&self, id: impl fmt::Display) -> String {
        self.explain(id, None)
    }

    /// As `message`, with the operation that is in the way and its age.
    pub fn explain(&self, id: impl fmt::Display, running: Option<RunningOperation<'_>>) -> String {
        let word = self.command.nova_word();
        let refused = match self.reason {
            Reason::WrongVmState => format!(
                "Cannot '{word}' instance {id} while it is in vm_state {}",
                self.state.vm
            ),
            Reason::TaskInFlight(task) => match task.nova() {
                Some(task) => {
                    format!("Cannot '{word}' instance {id} while it is in task_state {task}")
                }
                None => format!(
                    "Cannot '{word}' instance {id} while it is in vm_state {}",
                    self.state.vm
                ),
            },
            Reason::NeverLaunched => {
                format!(
                    "Cannot '{word}' instance {id} while it is in launched_at None: it never ran"
                )
            }
            Reason::ClassCannot { capability } => {
                format!(
                    "Cannot '{word}' instance {id} while it is a bare-metal server: it lacks {capability}"
                )
            }
        };
        let running = running.map_or_else(String::new, |operation| {
            format!(
                " The operation '{}' has been running for {} s.",
                operation.kind,
                operation.age.as_secs()
            )
        });
        if self.is_gone() {
            return format!("{refused}. The instance is gone.");
        }
        let legal: Vec<_> = self.legal.iter().map(|command| command.as_str()).collect();
        format!("{refused}.{running} Legal now: {}.", legal.join(", "))
    }
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            Reason::WrongVmState => "wrong vm_state",
            Reason::TaskInFlight(_) => "a task is in flight",
            Reason::NeverLaunched => "it never ran",
            Reason::ClassCannot { .. } => "its class lacks the capability",
        };
        write!(
            f,
            "'{}' is not legal in state {}: {reason}",
            self.command,
            self.state.display(self.class)
        )
    }
}

impl std::error::Error for Illegal {}
