//! K1–K39, K42, K43, K49 and K50: the states of instances, their prices, and what each command passes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod course;

use corten_model::lifecycle::billing::is_billed;
use corten_model::lifecycle::*;
use course::*;
use std::time::Duration;

#[test]
fn k1_to_k26_are_the_states_of_a_virtual_machine_with_their_prices() {
    let catalogue = [
        (1, "Active", true),
        (2, "Shelved_offloaded", false),
        (3, "Stopped", true),
        (4, "Error", false),
        (5, "Building", false),
        (6, "Starting", false),
        (7, "Scheduling", false),
        (8, "Block_device_mapping", false),
        (9, "Networking", false),
        (10, "Spawning", false),
        (11, "Rebooting", true),
        (12, "Reboot_started", true),
        (13, "Rebooting_hard", true),
        (14, "Rebooting_started_hard", true),
        (15, "Shelving", true),
        (16, "Unshelving", false),
        (17, "Powering-off", true),
        (18, "Powering-on", true),
        (19, "Resize_prep", false),
        (20, "Resize_migrating", false),
        (21, "Resize_migrated", false),
        (22, "Resize_finished", false),
        (23, "Resized", false),
        (24, "Resize_confirm", false),
        (25, "Resize_revert", false),
        (26, "Deleting", false),
    ];
    let table: Vec<_> = rows(VM)
        .iter()
        .filter(|row| row.k.is_some_and(|k| k <= 26))
        .map(|row| (row.k.unwrap(), row.state.as_str(), row.billed))
        .collect();
    assert_eq!(table, catalogue);
}

#[test]
fn k27_to_k36_are_the_states_of_a_bare_metal_server_with_their_prices() {
    let catalogue = [
        (27, "Spawning", false),
        (28, "Active", true),
        (29, "Stopped", true),
        (30, "Rebuild_spawning", true),
        (31, "Rebooting_hard", true),
        (32, "Rebooting_started_hard", true),
        (33, "Powering-off", true),
        (34, "Powering-on", true),
        (35, "Error", false),
        (36, "Deleting", false),
    ];
    let table: Vec<_> = rows(METAL)
        .iter()
        .filter(|row| row.k.is_some_and(|k| (27..=36).contains(&k)))
        .map(|row| (row.k.unwrap(), row.state.as_str(), row.billed))
        .collect();
    assert_eq!(table, catalogue);
}

/// A2: every state that both classes have costs the same in both. B1: Nova's other states.
#[test]
fn billing_differs_between_the_classes_only_by_which_states_exist() {
    for row in rows(METAL) {
        if let Some(vm) = find(VM, row.state) {
            assert_eq!(row.billed, vm.billed, "{}", row.state);
        }
    }
    for state in [
        Display::Paused,
        Display::Suspended,
        Display::Rescued,
        Display::Shelved,
        Display::Migrating,
    ] {
        assert!(is_billed(VM, state), "{state}");
    }
    assert!(!is_billed(VM, Display::SoftDeleted) && !is_billed(VM, Display::Deleted));
}

#[test]
fn k5_to_k10_are_visible_in_every_create_k27_alone_on_metal() {
    let shown = |class| {
        let mut state = InstanceState::REQUESTED;
        let mut shown = Vec::new();
        for task in CREATE {
            state = state.enter(*task);
            shown.push(state.display(class).as_str());
        }
        shown.push(
            settle(Command::Create, state, Outcome::Succeeded)
                .display(class)
                .as_str(),
        );
        shown.dedup();
        shown
    };
    let vm = [
        "Scheduling",
        "Building",
        "Starting",
        "Networking",
        "Block_device_mapping",
        "Spawning",
        "Active",
    ];
    assert_eq!(shown(VM), vm);
    assert_eq!(shown(METAL), ["Spawning", "Active"]);
}

#[test]
fn k11_to_k14_soft_and_hard_reboots_pass_their_own_states() {
    let soft = run(VM, active(), Command::SoftReboot, RootDisk::Local);
    assert_eq!(words(&soft), ["Rebooting", "Reboot_started", "Active"]);
    for class in [VM, METAL] {
        let hard = run(class, active(), Command::HardReboot, RootDisk::Local);
        assert_eq!(
            words(&hard),
            ["Rebooting_hard", "Rebooting_started_hard", "Active"]
        );
    }
    // A guest that ignores the soft reboot gets the hard one.
    let budget = find(VM, Display::RebootStarted).unwrap().budget.unwrap();
    assert_eq!(
        (budget.span, budget.over),
        (Duration::from_secs(120), OverBudget::HardReboot)
    );
}

#[test]
fn k15_k16_k39_k2_shelve_gives_compute_back_and_unshelve_brings_it_again() {
    for root in [RootDisk::Local, RootDisk::Volume] {
        for class in [VM, METAL] {
            let ended = run(class, active(), Command::Shelve, root);
            assert_eq!(words(&ended), ["Shelving", "Shelved_offloaded"]);
        }
    }
    let offloaded = InstanceState::stable(VmState::ShelvedOffloaded, PowerState::Shutdown);
    assert_eq!(
        words(&run(VM, offloaded, Command::Unshelve, RootDisk::Local)),
        ["Unshelving", "Active"]
    );
    let shelved = InstanceState::stable(VmState::Shelved, PowerState::Shutdown);
    assert_eq!(
        words(&run(VM, shelved, Command::Unshelve, RootDisk::Local)),
        ["Unshelving", "Active"]
    );
    assert_eq!(
        words(&run(VM, shelved, Command::ShelveOffload, RootDisk::Local)),
        ["Shelving", "Shelved_offloaded"]
    );
    let from = [
        VmState::Active,
        VmState::Stopped,
        VmState::Paused,
        VmState::Suspended,
    ];
    assert_eq!(legal_from(VM, Command::Shelve), from);
}

#[test]
fn k17_k18_k37_k38_stop_and_start() {
    for class in [VM, METAL] {
        assert_eq!(
            words(&run(class, active(), Command::Stop, RootDisk::Local)),
            ["Powering-off", "Stopped"]
        );
        assert_eq!(
            words(&run(class, stopped(), Command::Start, RootDisk::Local)),
            ["Powering-on", "Active"]
        );
        assert_eq!(legal_from(class, Command::Start), [VmState::Stopped]);
        // B3: Nova also stops what is broken.
        assert_eq!(
            legal_from(class, Command::Stop),
            [VmState::Active, VmState::Error]
        );
    }
}

#[test]
fn k19_to_k25_k42_the_resize_family() {
    let states = [
        "Resize_prep",
        "Resize_migrating",
        "Resize_migrated",
        "Resize_finished",
        "Resized",
    ];
    assert_eq!(
        words(&run(VM, active(), Command::Resize, RootDisk::Local)),
        states
    );
    assert_eq!(
        words(&run(VM, stopped(), Command::Migrate, RootDisk::Local)),
        states
    );
    let resized = InstanceState::stable(VmState::Resized, PowerState::Running);
    assert_eq!(
        words(&run(VM, resized, Command::ConfirmResize, RootDisk::Local)),
        ["Resize_confirm", "Active"]
    );
    assert_eq!(
        words(&run(VM, resized, Command::RevertResize, RootDisk::Local)),
        ["Resize_revert", "Active"]
    );
    // What was stopped before is stopped again.
    let off = InstanceState::stable(VmState::Resized, PowerState::Shutdown);
    assert_eq!(
        words(&run(VM, off, Command::ConfirmResize, RootDisk::Local)),
        ["Resize_confirm", "Stopped"]
    );
    assert_eq!(
        words(&run(VM, off, Command::RevertResize, RootDisk::Local)),
        ["Resize_revert", "Stopped"]
    );
}

#[test]
fn k26_k36_k43_k50_delete_is_legal_from_everywhere() {
    for class in [VM, METAL] {
        for row in rows(class)
            .iter()
            .filter(|row| row.state != Display::Deleted)
        {
            assert!(
                row.allows(Command::Delete) && row.allows(Command::ForceDelete),
                "{class} {}",
                row.state
            );
        }
        assert_eq!(
            words(&run(class, active(), Command::Delete, RootDisk::Local)),
            ["Deleting", "Deleted"]
        );
    }
}

#[test]
fn k30_k49_k72_rebuild() {
    let shown = run(METAL, active(), Command::Rebuild, RootDisk::Local);
    assert_eq!(words(&shown), ["Rebuild_spawning", "Active"]);
    let shown = run(VM, active(), Command::Rebuild, RootDisk::Local);
    assert_eq!(
        words(&shown),
        [
            "Rebuilding",
            "Rebuild_block_device_mapping",
            "Rebuild_spawning",
            "Active"
        ]
    );
    // What was stopped is stopped again.
    let shown = run(METAL, stopped(), Command::Rebuild, RootDisk::Local);
    assert_eq!(
        words(&shown),
        ["Rebuild_spawning", "Powering-off", "Stopped"]
    );
    for class in [VM, METAL] {
        let from = [VmState::Active, VmState::Stopped, VmState::Error];
        assert_eq!(legal_from(class, Command::Rebuild), from);
    }
}
