//! K40–K60 and B1–B7: where commands are legal, the rulings on what the seeds leave open, Nova's words and failures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod course;

use corten_model::lifecycle::billing::{BilledStates, is_billed, is_lost_capacity};
use corten_model::lifecycle::node::ProvisionState;
use corten_model::lifecycle::*;
use course::*;
use std::time::Duration;

#[test]
fn k40_k41_k48_where_reboots_are_legal() {
    assert_eq!(legal_from(VM, Command::SoftReboot), [VmState::Active]);
    let hard = [
        VmState::Active,
        VmState::Stopped,
        VmState::Paused,
        VmState::Suspended,
        VmState::Error,
    ];
    assert_eq!(legal_from(VM, Command::HardReboot), hard);
    assert_eq!(
        legal_from(METAL, Command::HardReboot),
        [VmState::Active, VmState::Stopped, VmState::Error]
    );
    // Over a stuck soft reboot, pause, unpause, suspend or resume, and nothing else that runs.
    for task in TaskState::ALL.iter().filter(|task| !task.is_build()) {
        let state = at(
            if *task == TaskState::Resuming {
                VmState::Suspended
            } else {
                VmState::Active
            },
            *task,
        );
        let breaks = decide(VM, state, Command::HardReboot).is_ok_and(|begin| begin.supersedes);
        let stuck = task.as_str().contains("reboot")
            || matches!(
                task,
                TaskState::Pausing
                    | TaskState::Unpausing
                    | TaskState::Suspending
                    | TaskState::Resuming
            );
        assert_eq!(breaks, stuck, "{task}");
    }
}

#[test]
fn k44_k47_k52_terminate_means_delete_for_a_vm_and_shelve_for_metal() {
    assert_eq!(Command::terminate(VM), Command::Delete);
    assert_eq!(Command::terminate(METAL), Command::Shelve);
    assert_eq!(
        legal_from(METAL, Command::Shelve),
        [VmState::Active, VmState::Stopped]
    );
}

#[test]
fn k45_k46_metal_has_no_soft_reboot_resize_or_capture_and_the_refusal_says_why() {
    for command in [
        Command::SoftReboot,
        Command::Resize,
        Command::CreateImage,
        Command::Pause,
        Command::AttachVolume,
    ] {
        let illegal = decide(METAL, active(), command).unwrap_err();
        let Reason::ClassCannot { capability } = illegal.reason else {
            panic!("{command}: {:?}", illegal.reason)
        };
        assert!(illegal.message("x").contains(&format!(
            "it lacks {capability}. Legal now: stop, hard reboot"
        )));
    }
    for command in Command::ALL {
        let listed = rows(METAL).iter().any(|row| row.allows(*command));
        assert!(
            listed != command.metal_lacks().is_some() || *command == Command::Create,
            "{command}"
        );
    }
}

#[test]
fn k53_metal_can_be_shelved_at_the_price_of_a_vm() {
    for (state, billed) in [
        (Display::ShelvedOffloaded, false),
        (Display::Shelving, true),
        (Display::Unshelving, false),
    ] {
        assert_eq!(is_billed(METAL, state), billed, "{state}");
        assert_eq!(is_billed(VM, state), billed, "{state}");
    }
    assert_eq!(
        legal_from(METAL, Command::Unshelve),
        [VmState::Shelved, VmState::ShelvedOffloaded]
    );
}

#[test]
fn k54_a_region_can_bill_a_shelved_instance() {
    let rule = BilledStates::seed().except("kr-central-1", VM, Display::ShelvedOffloaded, true);
    assert!(rule.is_billed("kr-central-1", VM, Display::ShelvedOffloaded));
    assert!(!rule.is_billed("kr-central-2", VM, Display::ShelvedOffloaded));
    assert!(!rule.is_billed("kr-central-1", METAL, Display::ShelvedOffloaded));
    for class in [VM, METAL] {
        for state in Display::ALL {
            assert_eq!(
                BilledStates::seed().is_billed("any", class, *state),
                is_billed(class, *state)
            );
        }
    }
}

#[test]
fn k55_a_resize_confirms_itself_after_a_day() {
    let budget = find(VM, Display::Resized).unwrap().budget.unwrap();
    assert_eq!(
        (budget.span, budget.over),
        (Duration::from_secs(24 * 3600), OverBudget::AutoConfirm)
    );
    assert!(is_billed(VM, Display::Active) && !is_billed(VM, Display::Resized));
}

#[test]
fn k56_error_is_free_for_the_tenant_and_lost_for_the_operator() {
    for class in [VM, METAL] {
        assert!(!is_billed(class, Display::Error) && is_lost_capacity(Display::Error));
        let budget = find(class, Display::Error).unwrap().budget.unwrap();
        assert_eq!(budget.over, OverBudget::CallOperator);
    }
}

#[test]
fn k57_a_delete_has_a_deadline_after_which_the_tenant_is_rid_of_it() {
    for class in [VM, METAL] {
        let row = find(class, Display::Deleting).unwrap();
        assert_eq!(row.budget.unwrap().over, OverBudget::DetachFromTenant);
        assert!(!row.billed);
    }
}

#[test]
fn k58_starting_and_building_are_ours_and_nova_sees_no_task() {
    for (task, word) in [
        (TaskState::Claimed, "Building"),
        (TaskState::Accepted, "Starting"),
    ] {
        let state = at(VmState::Building, task);
        assert_eq!(state.display(VM).as_str(), word);
        assert_eq!((task.nova(), state.api_status()), (None, "BUILD"));
    }
}

#[test]
fn k59_four_names_differ_from_novas() {
    let pairs = [
        (
            VmState::Active,
            TaskState::RebootStartedHard,
            "reboot_started_hard",
            "Rebooting_started_hard",
        ),
        (
            VmState::Active,
            TaskState::ResizeFinish,
            "resize_finish",
            "Resize_finished",
        ),
        (
            VmState::Resized,
            TaskState::ResizeConfirming,
            "resize_confirming",
            "Resize_confirm",
        ),
        (
            VmState::Resized,
            TaskState::ResizeReverting,
            "resize_reverting",
            "Resize_revert",
        ),
    ];
    for (vm, task, nova, ours) in pairs {
        assert_eq!(task.nova(), Some(nova));
        assert_eq!(at(vm, task).display(VM).as_str(), ours);
    }
}

#[test]
fn k60_resize_is_legal_from_active_and_stopped() {
    assert_eq!(
        legal_from(VM, Command::Resize),
        [VmState::Active, VmState::Stopped]
    );
}

/// B1, column "API status".
#[test]
fn b1_the_api_status_is_novas() {
    let rows = [
        (VmState::Active, TaskState::PoweringOff, "ACTIVE"),
        (VmState::Stopped, TaskState::PoweringOn, "SHUTOFF"),
        (VmState::Active, TaskState::RebootPending, "REBOOT"),
        (VmState::Active, TaskState::RebootStartedHard, "HARD_REBOOT"),
        (VmState::Paused, TaskState::RebootingHard, "PAUSED"),
        (VmState::Active, TaskState::ShelvingImageUploading, "ACTIVE"),
        (VmState::Shelved, TaskState::ShelvingOffloading, "SHELVED"),
        (
            VmState::ShelvedOffloaded,
            TaskState::Spawning,
            "SHELVED_OFFLOADED",
        ),
        (VmState::Stopped, TaskState::ResizePrep, "RESIZE"),
        (
            VmState::Resized,
            TaskState::ResizeConfirming,
            "VERIFY_RESIZE",
        ),
        (
            VmState::Resized,
            TaskState::ResizeReverting,
            "REVERT_RESIZE",
        ),
        (VmState::Error, TaskState::RebuildSpawning, "REBUILD"),
        (VmState::Active, TaskState::UpdatingPassword, "PASSWORD"),
        (VmState::Paused, TaskState::Migrating, "MIGRATING"),
        (VmState::Error, TaskState::Deleting, "ERROR"),
    ];
    for (vm, task, status) in rows {
        assert_eq!(at(vm, task).api_status(), status, "{vm} {task}");
    }
    // B1: an unshelve that is spawning is Unshelving, not Spawning.
    assert_eq!(
        at(VmState::ShelvedOffloaded, TaskState::Spawning).display(VM),
        Display::Unshelving
    );
    assert_eq!(
        at(VmState::Shelved, TaskState::PoweringOn).display(VM),
        Display::Unshelving
    );
}

/// B4, column "failure path".
#[test]
fn b4_where_a_failure_ends() {
    let cases = [
        (
            Command::Create,
            VmState::Building,
            TaskState::Spawning,
            VmState::Error,
        ),
        (
            Command::Stop,
            VmState::Active,
            TaskState::PoweringOff,
            VmState::Active,
        ),
        (
            Command::Start,
            VmState::Stopped,
            TaskState::PoweringOn,
            VmState::Stopped,
        ),
        (
            Command::SoftReboot,
            VmState::Active,
            TaskState::RebootStarted,
            VmState::Active,
        ),
        (
            Command::Shelve,
            VmState::Suspended,
            TaskState::ShelvingImageUploading,
            VmState::Suspended,
        ),
        (
            Command::Shelve,
            VmState::Shelved,
            TaskState::ShelvingOffloading,
            VmState::Shelved,
        ),
        (
            Command::Unshelve,
            VmState::ShelvedOffloaded,
            TaskState::Unshelving,
            VmState::ShelvedOffloaded,
        ),
        (
            Command::Resize,
            VmState::Active,
            TaskState::ResizePrep,
            VmState::Active,
        ),
        (
            Command::Resize,
            VmState::Active,
            TaskState::ResizeMigrating,
            VmState::Error,
        ),
        (
            Command::ConfirmResize,
            VmState::Resized,
            TaskState::ResizeConfirming,
            VmState::Error,
        ),
        (
            Command::RevertResize,
            VmState::Resized,
            TaskState::ResizeReverting,
            VmState::Error,
        ),
        (
            Command::Rebuild,
            VmState::Stopped,
            TaskState::RebuildSpawning,
            VmState::Error,
        ),
        (
            Command::Delete,
            VmState::Active,
            TaskState::Deleting,
            VmState::Error,
        ),
        (
            Command::Rescue,
            VmState::Active,
            TaskState::Rescuing,
            VmState::Error,
        ),
        (
            Command::LiveMigrate,
            VmState::Paused,
            TaskState::Migrating,
            VmState::Paused,
        ),
        (
            Command::CreateImage,
            VmState::Active,
            TaskState::ImageUploading,
            VmState::Active,
        ),
    ];
    for (command, vm, task, ends_in) in cases {
        let end = settle(command, at(vm, task), Outcome::Failed);
        assert_eq!((end.vm, end.task), (ends_in, None), "{command} at {task}");
    }
    // A reboot after which the guest is not there is an error; so is what was lost on the way.
    let down = InstanceState {
        power: PowerState::Shutdown,
        ..at(VmState::Active, TaskState::RebootStartedHard)
    };
    assert_eq!(
        settle(Command::HardReboot, down, Outcome::Failed).vm,
        VmState::Error
    );
    let image_gone = at(VmState::ShelvedOffloaded, TaskState::Unshelving);
    assert_eq!(
        settle(Command::Unshelve, image_gone, Outcome::Broken).vm,
        VmState::Error
    );
    // A guest that is off is not called active, whatever failed.
    let off = InstanceState {
        power: PowerState::Shutdown,
        ..at(VmState::Active, TaskState::ShelvingImageUploading)
    };
    assert_eq!(
        settle(Command::Shelve, off, Outcome::Failed).vm,
        VmState::Stopped
    );
}

/// B4, row 24.
#[test]
fn b4_power_loss_stops_and_unasked_power_is_cut() {
    assert_eq!(reconcile(active(), PowerState::Shutdown), PowerAction::Stop);
    assert_eq!(reconcile(active(), PowerState::Crashed), PowerAction::Stop);
    assert_eq!(
        apply(PowerAction::Stop, active(), PowerState::Crashed).display(VM),
        Display::Stopped
    );
    assert_eq!(
        reconcile(stopped(), PowerState::Running),
        PowerAction::ForceOff
    );
    assert_eq!(
        apply(PowerAction::ForceOff, stopped(), PowerState::Running),
        stopped()
    );
    for vm in [
        VmState::Resized,
        VmState::Rescued,
        VmState::Suspended,
        VmState::Error,
    ] {
        let skipped = InstanceState::stable(vm, PowerState::Running);
        let action = reconcile(skipped, PowerState::Shutdown);
        assert_eq!(action, PowerAction::Record, "{vm}");
        assert_eq!(apply(action, skipped, PowerState::Shutdown).vm, vm);
    }
    let busy = at(VmState::Active, TaskState::PoweringOff);
    assert_eq!(reconcile(busy, PowerState::Shutdown), PowerAction::Record);
    assert_eq!(
        reconcile(active(), PowerState::NoState),
        PowerAction::Nothing
    );
    assert_eq!(
        reconcile(active(), PowerState::Running),
        PowerAction::Nothing
    );
}

/// B7, column "better".
#[test]
fn b7_a_restart_resumes_where_nova_gives_up() {
    let on = PowerState::Running;
    for task in [
        TaskState::Spawning,
        TaskState::RebuildSpawning,
        TaskState::Deleting,
        TaskState::PoweringOff,
    ] {
        assert_eq!(on_restart(task, on), OnRestart::Resume);
    }
    assert_eq!(on_restart(TaskState::ResizePrep, on), OnRestart::RollBack);
    assert_eq!(
        on_restart(TaskState::ResizeMigrating, on),
        OnRestart::RevertMove
    );
    assert_eq!(on_restart(TaskState::Migrating, on), OnRestart::RollBack);
    assert_eq!(on_restart(TaskState::RebootStarted, on), OnRestart::Resume);
    assert_eq!(
        on_restart(TaskState::RebootStarted, PowerState::Shutdown),
        OnRestart::ResumeAsHardReboot
    );
}

/// B2: the provision states under an instance.
#[test]
fn b2_a_stable_instance_sits_on_a_stable_node() {
    assert!(metal::node_states(Display::Active).contains(&ProvisionState::Active));
    assert!(metal::node_states(Display::Stopped).contains(&ProvisionState::Active));
    assert!(metal::node_states(Display::RebuildSpawning).contains(&ProvisionState::WaitCallBack));
    assert!(metal::node_states(Display::ShelvedOffloaded).is_empty());
}
