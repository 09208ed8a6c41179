//! The two instance tables against everything that can happen: each reachable state, each event.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod world;

use corten_model::lifecycle::{
    Command, Display, Illegal, InstanceClass, InstanceState, PowerState, Reason, RootDisk,
    TaskState, VmState, decide, find, legal_commands, rows,
};
use std::collections::{BTreeSet, HashSet, VecDeque};
use world::{Event, World};

const CLASSES: [InstanceClass; 2] = [InstanceClass::Vm, InstanceClass::Metal];

/// Every world that any sequence of events can lead to, and every change of the displayed state on the way.
fn explore(class: InstanceClass) -> (HashSet<World>, BTreeSet<(Display, Display)>) {
    let mut seen: HashSet<World> = [RootDisk::Local, RootDisk::Volume]
        .map(|root| World::created(class, root))
        .into();
    let mut queue: VecDeque<World> = seen.iter().copied().collect();
    let mut changes = BTreeSet::new();
    let events = Event::all();
    while let Some(world) = queue.pop_front() {
        for event in &events {
            let Ok(after) = world.after(*event) else {
                continue;
            };
            changes.insert((world.display(), after.display()));
            if seen.insert(after) {
                queue.push_back(after);
            }
        }
    }
    changes.retain(|(from, to)| from != to);
    (seen, changes)
}

/// Every triple of Nova's words, reachable or not.
fn every_state() -> Vec<InstanceState> {
    let mut states = Vec::new();
    for vm in VmState::ALL {
        for task in std::iter::once(None).chain(TaskState::ALL.iter().copied().map(Some)) {
            states.extend(PowerState::ALL.iter().map(|power| InstanceState {
                vm: *vm,
                task,
                power: *power,
            }));
        }
    }
    states
}

fn refusal(class: InstanceClass, state: InstanceState, command: Command) -> Illegal {
    match decide(class, state, command) {
        Ok(begin) => unreachable!("{command} was accepted: {begin:?}"),
        Err(illegal) => illegal,
    }
}

#[test]
fn every_change_that_can_happen_is_in_the_table_and_the_table_has_no_other() {
    for class in CLASSES {
        let (_, happened) = explore(class);
        let listed: BTreeSet<_> = rows(class)
            .iter()
            .flat_map(|row| row.next().map(|next| (row.state, next)))
            .collect();
        let missing: Vec<_> = happened.difference(&listed).collect();
        let invented: Vec<_> = listed.difference(&happened).collect();
        assert!(
            missing.is_empty() && invented.is_empty(),
            "{class}: missing {missing:#?}, invented {invented:#?}"
        );
    }
}

#[test]
fn every_row_of_a_table_can_be_reached_and_has_one_place() {
    for class in CLASSES {
        let (worlds, _) = explore(class);
        let reached: HashSet<Display> = worlds.iter().map(World::display).collect();
        let listed: Vec<Display> = rows(class).iter().map(|row| row.state).collect();
        assert_eq!(
            listed.iter().copied().collect::<HashSet<_>>().len(),
            listed.len(),
            "{class}: a state twice"
        );
        assert_eq!(
            listed.into_iter().collect::<HashSet<_>>(),
            reached,
            "{class}"
        );
    }
}

#[test]
fn no_row_says_a_thing_twice() {
    for class in CLASSES {
        for row in rows(class) {
            let (legal, next) = (
                row.legal().collect::<Vec<_>>(),
                row.next().collect::<Vec<_>>(),
            );
            assert_eq!(
                legal.iter().collect::<BTreeSet<_>>().len(),
                legal.len(),
                "{class} {}",
                row.state
            );
            assert_eq!(
                next.iter().collect::<BTreeSet<_>>().len(),
                next.len(),
                "{class} {}",
                row.state
            );
        }
    }
}

#[test]
fn the_display_of_every_triple_has_a_row_and_a_status() {
    let states = every_state();
    assert_eq!(states.len(), 12 * 45 * 6);
    for class in CLASSES {
        for state in &states {
            assert!(
                find(class, state.display(class)).is_some(),
                "{class} {state:?}"
            );
            assert_ne!(state.api_status(), "UNKNOWN");
        }
    }
}

/// K57 and complaint D2: nothing is stuck in an "-ing".
#[test]
fn every_state_that_moves_has_a_budget() {
    for class in CLASSES {
        let (worlds, _) = explore(class);
        for world in worlds.iter().filter(|world| world.state.task.is_some()) {
            let row = find(class, world.display()).unwrap();
            assert!(
                row.budget.is_some(),
                "{class} {} moves without a budget",
                row.state
            );
        }
        for row in rows(class)
            .iter()
            .filter(|row| row.state.as_str().contains("ing"))
        {
            assert!(row.budget.is_some(), "{class} {} has no budget", row.state);
        }
    }
}

#[test]
fn a_task_in_flight_always_has_an_operation_that_will_end_it() {
    for class in CLASSES {
        for world in explore(class).0 {
            let task = world
                .running
                .and_then(|(_, _, step)| world.tasks().get(step).copied());
            assert_eq!(world.state.task, task, "{world:?}");
        }
    }
}

#[test]
fn no_power_state_is_only_that_of_what_never_ran_or_is_gone() {
    for class in CLASSES {
        for world in explore(class).0 {
            if world.state.power == PowerState::NoState {
                let vm = world.state.vm;
                assert!(
                    matches!(vm, VmState::Building | VmState::Error | VmState::Deleted),
                    "{world:?}"
                );
            }
        }
    }
}

#[test]
fn a_refusal_names_what_is_legal_or_says_that_the_instance_is_gone() {
    for class in CLASSES {
        let states: HashSet<InstanceState> = explore(class)
            .0
            .into_iter()
            .map(|world| world.state)
            .collect();
        for state in states {
            let legal = legal_commands(class, state);
            for command in Command::ALL {
                match decide(class, state, *command) {
                    Ok(begin) => {
                        assert!(legal.contains(command));
                        assert_eq!(begin.command, *command);
                    }
                    Err(illegal) => {
                        assert!(!legal.contains(command));
                        assert_eq!(illegal.legal, legal);
                        let text = illegal.message("ID");
                        let start =
                            format!("Cannot '{}' instance ID while it is ", command.nova_word());
                        assert!(text.starts_with(&start), "{text}");
                        match legal.first() {
                            Some(first) => assert!(text.contains(first.as_str()), "{text}"),
                            None => assert!(
                                illegal.is_gone() && text.ends_with("The instance is gone."),
                                "{text}"
                            ),
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_refusal_reads_like_novas() {
    let stopped = InstanceState::stable(VmState::Stopped, PowerState::Shutdown);
    let text = refusal(InstanceClass::Vm, stopped, Command::Stop).message("2f1c");
    assert!(
        text.starts_with(
            "Cannot 'stop' instance 2f1c while it is in vm_state stopped. Legal now: start, "
        ),
        "{text}"
    );

    let stopping = InstanceState {
        task: Some(TaskState::PoweringOff),
        ..stopped
    };
    let illegal = refusal(InstanceClass::Vm, stopping, Command::Start);
    assert_eq!(illegal.reason, Reason::TaskInFlight(TaskState::PoweringOff));
    let running = corten_model::lifecycle::RunningOperation {
        kind: "stop",
        age: std::time::Duration::from_secs(7),
    };
    let text = illegal.explain("2f1c", Some(running));
    assert!(
        text.starts_with("Cannot 'start' instance 2f1c while it is in task_state powering-off. "),
        "{text}"
    );
    assert!(
        text.contains("The operation 'stop' has been running for 7 s."),
        "{text}"
    );

    // Nova looks at vm_state first: from `stopped` no pause is ever legal, whatever the task.
    assert_eq!(
        refusal(InstanceClass::Vm, stopping, Command::Pause).reason,
        Reason::WrongVmState
    );
}

/// A task word of ours never gets into an answer in Nova's words.
#[test]
fn our_own_task_words_stay_ours() {
    let ours: Vec<_> = TaskState::ALL
        .iter()
        .filter(|task| task.nova().is_none())
        .collect();
    assert_eq!(ours, [&TaskState::Claimed, &TaskState::Accepted]);
    for task in ours {
        let building = InstanceState {
            task: Some(*task),
            ..InstanceState::REQUESTED
        };
        let text = refusal(InstanceClass::Vm, building, Command::Stop).message("x");
        assert!(text.contains("while it is in vm_state building"), "{text}");
    }
}

/// B4: soft reboot needs no task; a hard reboot and a removal are what may break one; all else waits.
#[test]
fn only_hard_reboots_removals_and_the_administrator_break_a_running_task() {
    let mut broken_by = BTreeSet::new();
    for class in CLASSES {
        for world in explore(class).0 {
            for command in Command::ALL {
                if decide(class, world.state, *command).is_ok_and(|begin| begin.supersedes) {
                    broken_by.insert(*command);
                }
            }
        }
    }
    let expected = [
        Command::HardReboot,
        Command::Delete,
        Command::ForceDelete,
        Command::SoftDelete,
        Command::ResetState,
        Command::ResetStateActive,
    ];
    assert_eq!(broken_by, expected.into());
}

#[test]
fn a_removal_asked_twice_starts_one_operation() {
    let deleting = InstanceState {
        task: Some(TaskState::Deleting),
        ..InstanceState::stable(VmState::Active, PowerState::Running)
    };
    for command in [Command::Delete, Command::ForceDelete, Command::SoftDelete] {
        let begin = decide(InstanceClass::Vm, deleting, command).unwrap();
        assert!(
            begin.already && !begin.supersedes && begin.state == deleting,
            "{command}"
        );
    }
    let soft = InstanceState {
        task: Some(TaskState::SoftDeleting),
        ..deleting
    };
    assert!(
        decide(InstanceClass::Vm, soft, Command::Delete)
            .unwrap()
            .supersedes
    );
}

#[test]
fn what_never_ran_can_only_be_removed() {
    let failed = InstanceState::stable(VmState::Error, PowerState::NoState);
    let illegal = refusal(InstanceClass::Vm, failed, Command::Rebuild);
    assert_eq!(illegal.reason, Reason::NeverLaunched);
    assert!(illegal.message("x").contains("launched_at None"));
    assert!(decide(InstanceClass::Vm, failed, Command::Delete).is_ok());
    assert!(decide(InstanceClass::Vm, failed, Command::SoftDelete).is_err());
    let broke = InstanceState::stable(VmState::Error, PowerState::Shutdown);
    assert!(decide(InstanceClass::Vm, broke, Command::Rebuild).is_ok());
}

#[test]
fn words_survive_the_way_to_a_row_and_back() {
    for state in every_state() {
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<InstanceState>(&json).unwrap(), state);
    }
    for display in Display::ALL {
        assert_eq!(display.to_string().parse::<Display>().unwrap(), *display);
    }
    let error = "running".parse::<VmState>().unwrap_err().to_string();
    assert!(
        error.starts_with("'running' is not a vm_state: it is one of building, active, "),
        "{error}"
    );
}

#[test]
fn a_status_filter_finds_the_states_it_shows() {
    assert!(InstanceState::with_api_status("nonsense").is_empty());
    for status in ["ACTIVE", "shutoff", "RESIZE", "HARD_REBOOT"] {
        let pairs = InstanceState::with_api_status(status);
        assert!(!pairs.is_empty());
        for (vm, task) in pairs {
            let state = InstanceState {
                vm,
                task,
                power: PowerState::Running,
            };
            assert!(state.api_status().eq_ignore_ascii_case(status));
        }
    }
    assert!(
        InstanceState::with_api_status("shutoff")
            .contains(&(VmState::Stopped, Some(TaskState::PoweringOn)))
    );
}
