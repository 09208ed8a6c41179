//! Runs commands to their end on instances at rest.

// Each test file uses a part of these.
#![allow(dead_code)]

use corten_model::lifecycle::*;

pub const VM: InstanceClass = InstanceClass::Vm;
pub const METAL: InstanceClass = InstanceClass::Metal;

pub fn active() -> InstanceState {
    InstanceState::stable(VmState::Active, PowerState::Running)
}

pub fn stopped() -> InstanceState {
    InstanceState::stable(VmState::Stopped, PowerState::Shutdown)
}

pub fn at(vm: VmState, task: TaskState) -> InstanceState {
    InstanceState {
        vm,
        task: Some(task),
        power: PowerState::Running,
    }
}

/// Runs `command` to its end: the states shown on the way, the last one included.
pub fn run(
    class: InstanceClass,
    from: InstanceState,
    command: Command,
    root: RootDisk,
) -> Vec<Display> {
    let Ok(begin) = decide(class, from, command) else {
        unreachable!("{command} is refused in {from:?}")
    };
    let mut state = begin.state;
    let mut shown = vec![state.display(class)];
    for task in &path(command, from.vm, root)[1..] {
        state = state.enter(*task);
        shown.push(state.display(class));
    }
    shown.push(settle(command, state, Outcome::Succeeded).display(class));
    shown.dedup();
    shown
}

/// The stable states of the class, with no task, in which a command is accepted.
pub fn legal_from(class: InstanceClass, command: Command) -> Vec<VmState> {
    let accepted = |vm: &VmState| {
        let state = InstanceState::stable(*vm, PowerState::Running);
        let exists = state.display(class) == state.display(VM);
        exists && decide(class, state, command).is_ok()
    };
    VmState::ALL.iter().copied().filter(accepted).collect()
}

pub fn words(shown: &[Display]) -> Vec<&'static str> {
    shown.iter().map(|state| state.as_str()).collect()
}
