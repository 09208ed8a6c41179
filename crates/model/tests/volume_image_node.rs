//! The tables of volumes, images and bare-metal nodes against what can happen, and the catalogue's items about them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use corten_model::lifecycle::image::{self, ImageCommand, ImageStatus};
use corten_model::lifecycle::node::{self, NodeEvent, NodeStateKind, NodeVerb, ProvisionState};
use corten_model::lifecycle::volume::{
    self, VolumeCommand, VolumeContext, VolumeDisplay, VolumeStatus,
};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn every_change_of_a_volume_is_in_its_table_and_the_table_has_no_other() {
    let mut happened = BTreeSet::new();
    for status in VolumeStatus::ALL {
        happened.extend(
            VolumeCommand::ALL
                .iter()
                .filter_map(|command| volume::decide(*status, *command).ok())
                .map(|next| (*status, next)),
        );
        for (attached, succeeded) in [(true, true), (true, false), (false, true), (false, false)] {
            happened
                .extend(volume::settle(*status, attached, succeeded).map(|next| (*status, next)));
        }
    }
    happened.insert((VolumeStatus::Creating, VolumeStatus::Downloading));
    happened.retain(|(from, to)| from != to);
    let listed: BTreeSet<_> = volume::TABLE
        .iter()
        .flat_map(|row| row.next().map(|next| (row.state, next)))
        .collect();
    assert_eq!(
        listed.difference(&happened).collect::<Vec<_>>(),
        Vec::<&_>::new(),
        "listed, but cannot happen"
    );
    assert_eq!(
        happened.difference(&listed).collect::<Vec<_>>(),
        Vec::<&_>::new(),
        "happens, but is not listed"
    );
}

#[test]
fn k76_to_k86_are_the_fold_of_cinders_22_statuses() {
    let catalogue = [
        "Creating",
        "Available",
        "In-use",
        "Reserved",
        "Attaching",
        "Detaching",
        "Extending",
        "Backing-Up",
        "Uploading",
        "Deleting",
        "Error",
    ];
    let offloaded = VolumeContext {
        attached: true,
        holder_offloaded: true,
        snapshotting: false,
    };
    let numbered: BTreeMap<u16, &str> = volume::TABLE
        .iter()
        .filter_map(|row| Some((row.k?, row.state.display(offloaded).as_str())))
        .collect();
    assert_eq!(
        numbered.into_iter().collect::<Vec<_>>(),
        (76..=86).zip(catalogue).collect::<Vec<_>>()
    );
    assert_eq!(
        (
            VolumeStatus::ALL.len(),
            VolumeDisplay::ALL.len(),
            volume::TABLE.len()
        ),
        (22, 11, 22)
    );
}

#[test]
fn k51_active_is_only_another_name_of_available_in_filters() {
    assert_eq!(
        VolumeStatus::from_filter("Active"),
        Some(VolumeStatus::Available)
    );
    assert!("active".parse::<VolumeStatus>().is_err());
    assert_eq!(VolumeStatus::Available.as_str(), "available");
    assert_eq!(
        VolumeStatus::Available
            .display(VolumeContext::default())
            .as_str(),
        "Available"
    );
}

#[test]
fn k62_reserved_is_shown_only_while_its_instance_is_offloaded() {
    let context = |holder_offloaded| VolumeContext {
        attached: true,
        holder_offloaded,
        snapshotting: false,
    };
    assert_eq!(
        VolumeStatus::Reserved.display(context(true)),
        VolumeDisplay::Reserved
    );
    assert_eq!(
        VolumeStatus::Reserved.display(context(false)),
        VolumeDisplay::Attaching
    );
    // At the offload it goes from in-use to reserved, at the unshelve back, at a detach it is free.
    assert_eq!(
        volume::decide(VolumeStatus::InUse, VolumeCommand::Reserve),
        Ok(VolumeStatus::Reserved)
    );
    assert_eq!(
        volume::settle(VolumeStatus::Reserved, true, true),
        Some(VolumeStatus::InUse)
    );
    assert_eq!(
        volume::settle(VolumeStatus::Reserved, false, true),
        Some(VolumeStatus::Available)
    );
}

#[test]
fn k63_uploading_is_a_volume_on_its_way_to_an_image() {
    for from in [VolumeStatus::Available, VolumeStatus::InUse] {
        assert_eq!(
            volume::decide(from, VolumeCommand::Upload),
            Ok(VolumeStatus::Uploading)
        );
    }
    assert_eq!(
        volume::settle(VolumeStatus::Uploading, true, false),
        Some(VolumeStatus::InUse)
    );
}

#[test]
fn k64_a_snapshot_is_backing_up_for_people_and_leaves_cinders_status() {
    assert_eq!(
        volume::decide(VolumeStatus::InUse, VolumeCommand::Snapshot),
        Ok(VolumeStatus::InUse)
    );
    let context = VolumeContext {
        attached: true,
        holder_offloaded: false,
        snapshotting: true,
    };
    assert_eq!(
        VolumeStatus::InUse.display(context),
        VolumeDisplay::BackingUp
    );
    assert_eq!(
        VolumeStatus::BackingUp.display(VolumeContext::default()),
        VolumeDisplay::BackingUp
    );
}

#[test]
fn a_refused_volume_command_names_both_ways_out() {
    let illegal = volume::decide(VolumeStatus::InUse, VolumeCommand::Delete).unwrap_err();
    let text = illegal.to_string();
    let start = "Invalid volume: Volume status must be available or error or ";
    assert!(
        text.starts_with(start) && text.contains(" to delete, but current status is: in-use. "),
        "{text}"
    );
    assert!(
        text.contains("Legal now: reserve, attach, detach, extend"),
        "{text}"
    );
    for row in volume::TABLE {
        assert!(row.legal().next().is_some(), "{} has no way out", row.state);
    }
}

#[test]
fn every_change_of_an_image_is_in_its_table() {
    for status in ImageStatus::ALL {
        for command in ImageCommand::ALL {
            if let Ok(next) = image::decide(*status, *command) {
                assert!(status.may_become(next), "{command}: {status} became {next}");
            }
        }
        for succeeded in [true, false] {
            assert!(
                status.may_become(image::settle(*status, succeeded)),
                "{status}"
            );
        }
    }
}

#[test]
fn an_upload_that_fails_can_be_tried_again() {
    let saving = image::decide(ImageStatus::Queued, ImageCommand::Upload).unwrap();
    let queued = image::settle(saving, false);
    assert_eq!(
        image::decide(queued, ImageCommand::Upload),
        Ok(ImageStatus::Saving)
    );
    assert_eq!(image::settle(saving, true), ImageStatus::Active);
    let illegal = image::decide(ImageStatus::Active, ImageCommand::Upload).unwrap_err();
    assert!(
        illegal
            .to_string()
            .starts_with("Not allowed to upload image in status 'active'. Legal now: download")
    );
    let gone = image::decide(ImageStatus::Deleted, ImageCommand::Update).unwrap_err();
    assert!(gone.to_string().ends_with("the image is gone."));
}

#[test]
fn a_deactivated_image_cannot_be_downloaded_and_deactivating_twice_is_no_error() {
    let off = image::decide(ImageStatus::Active, ImageCommand::Deactivate).unwrap();
    assert!(image::decide(off, ImageCommand::Download).is_err());
    assert_eq!(image::decide(off, ImageCommand::Deactivate), Ok(off));
    assert_eq!(
        image::decide(ImageStatus::Active, ImageCommand::Reactivate),
        Ok(ImageStatus::Active)
    );
    assert!(image::decide(ImageStatus::Queued, ImageCommand::Deactivate).is_err());
}

/// The states that can be reached from `from` without passing through `without`.
fn reachable(from: ProvisionState, without: Option<ProvisionState>) -> BTreeSet<ProvisionState> {
    let mut seen = BTreeSet::from([from]);
    let mut queue = vec![from];
    while let Some(state) = queue.pop() {
        let Some(row) = state.row() else {
            unreachable!("{state} has no row")
        };
        let next = row
            .verbs
            .iter()
            .map(|(_, to)| *to)
            .chain(row.events.iter().map(|(_, to)| *to));
        for to in next {
            if Some(to) != without && seen.insert(to) {
                queue.push(to);
            }
        }
    }
    seen
}

/// Complaint D5: there is no path from used to available without a wipe.
#[test]
fn every_way_to_available_is_a_finished_cleaning() {
    for row in node::TABLE {
        for (verb, to) in row.verbs {
            assert_ne!(*to, ProvisionState::Available, "{verb} in {}", row.state);
        }
        for (event, to) in row
            .events
            .iter()
            .filter(|(_, to)| *to == ProvisionState::Available)
        {
            assert_eq!(
                (row.state, *event),
                (ProvisionState::Cleaning, NodeEvent::Done),
                "{to}"
            );
        }
    }
    let unwiped = reachable(ProvisionState::Active, Some(ProvisionState::Cleaning));
    assert!(!unwiped.contains(&ProvisionState::Available));
    assert!(reachable(ProvisionState::Active, None).contains(&ProvisionState::Available));
}

#[test]
fn every_provision_state_has_one_row_can_be_reached_and_is_no_dead_end() {
    let listed: Vec<_> = node::TABLE.iter().map(|row| row.state).collect();
    assert_eq!(listed, ProvisionState::ALL);
    assert_eq!(
        reachable(ProvisionState::Enroll, None).len(),
        ProvisionState::ALL.len()
    );
    for state in ProvisionState::ALL {
        assert!(
            reachable(*state, None).contains(&ProvisionState::Available),
            "{state} never gets back"
        );
    }
}

#[test]
fn a_provision_state_that_does_not_rest_has_a_budget() {
    for row in node::TABLE {
        assert_eq!(
            row.budget.is_none(),
            row.kind == NodeStateKind::Rests,
            "{}",
            row.state
        );
        // Work in progress takes no verb but to break it off; it reports how it went.
        if row.kind == NodeStateKind::Moves {
            assert!(
                row.verbs.is_empty() && !row.events.is_empty(),
                "{}",
                row.state
            );
        }
    }
    let waits = node::TABLE
        .iter()
        .filter(|row| row.kind == NodeStateKind::Waits);
    for row in waits {
        assert!(
            row.state.on(NodeEvent::Resume).is_some() && row.state.on(NodeEvent::Fail).is_some(),
            "{}",
            row.state
        );
        assert!(
            row.state.legal().any(|verb| verb == NodeVerb::Abort),
            "{}",
            row.state
        );
    }
}

/// B6, a row of each kind, word for word.
#[test]
fn b6_the_verbs_lead_where_ironic_leads() {
    let leads = [
        ("enroll", "manage", "verifying"),
        ("manageable", "provide", "cleaning"),
        ("manageable", "clean", "cleaning"),
        ("manageable", "adopt", "adopting"),
        ("clean hold", "unhold", "clean wait"),
        ("clean failed", "manage", "manageable"),
        ("available", "deploy", "deploying"),
        ("wait call-back", "undeploy", "deleting"),
        ("deploy failed", "rebuild", "deploying"),
        ("active", "service", "servicing"),
        ("rescue", "unrescue", "unrescuing"),
        ("service failed", "abort", "active"),
    ];
    for (from, verb, to) in leads {
        let state: ProvisionState = from.parse().unwrap();
        let verb = NodeVerb::from_target(verb).unwrap();
        assert_eq!(
            node::decide(state, verb).unwrap().as_str(),
            to,
            "{from} {verb}"
        );
    }
    // clean failed has one way out.
    assert_eq!(
        ProvisionState::CleanFailed.legal().collect::<Vec<_>>(),
        [NodeVerb::Manage]
    );
    assert_eq!(NodeVerb::Provide.target(), Some(ProvisionState::Available));
    assert_eq!(NodeVerb::from_target("launch"), None);
}

#[test]
fn a_refused_verb_names_the_legal_ones() {
    let illegal = node::decide(ProvisionState::Enroll, NodeVerb::Provide).unwrap_err();
    let text = illegal.message("rack1-u3");
    let sentence = "The requested action \"provide\" can not be performed on node \"rack1-u3\" while it is in state \
                    \"enroll\". Legal now: manage.";
    assert_eq!(text, sentence);
    let busy = node::decide(ProvisionState::Deploying, NodeVerb::Deleted)
        .unwrap_err()
        .message("n");
    assert!(
        busy.ends_with("No verb is legal until the running work ends."),
        "{busy}"
    );
}
