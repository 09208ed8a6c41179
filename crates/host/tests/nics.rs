//! Network cards of real QEMU guests in a real switch: plugged, kept, hot-plugged, taken away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Fixture, spec};
use corten_host::{GuestSpec, Hands, HostError, NicSpec, Report, Task};
use corten_model::ids::{InstanceId, PortId};
use corten_network::plan::Mac;
use std::collections::BTreeSet;
use std::process::Command;

fn nic(number: u8) -> NicSpec {
    NicSpec {
        port: PortId::random(),
        mac: Mac([0xfa, 0x16, 0x3e, 0, 0, number]),
        mtu: 1442,
    }
}

/// The taps that exist, and of these the ones that a QEMU has open.
fn taps(fixture: &Fixture) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut line = fixture.switch.as_ref().unwrap().namespace().wrapper();
    line.extend(["ip", "-o", "link"].map(str::to_owned));
    let output = Command::new(&line[0]).args(&line[1..]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let links = text
        .lines()
        .filter_map(|link| Some((link.split(": ").nth(1)?, link)));
    let taps: Vec<_> = links
        .filter(|(name, _)| name.get(5..6) == Some("p"))
        .collect();
    let all = taps.iter().map(|(name, _)| (*name).to_owned()).collect();
    let open = taps.iter().filter(|(_, link)| !link.contains("NO-CARRIER"));
    (all, open.map(|(name, _)| (*name).to_owned()).collect())
}

fn tap(fixture: &Fixture, nic: &NicSpec) -> String {
    fixture.switch.as_ref().unwrap().tap(nic.port)
}

fn plugged(fixture: &Fixture) -> BTreeSet<PortId> {
    fixture.switch.as_ref().unwrap().plugged()
}

async fn guest_with(fixture: &Fixture, nics: Vec<NicSpec>) -> GuestSpec {
    let image = fixture.image("cards");
    fixture
        .twice(Task::EnsureImage {
            image: image.clone(),
        })
        .await;
    let spec = GuestSpec {
        nics,
        ..spec(Some(image))
    };
    fixture
        .twice(Task::CreateGuest { spec: spec.clone() })
        .await;
    spec
}

async fn macs(fixture: &Fixture, id: InstanceId) -> Vec<String> {
    let figures = fixture.host().diagnostics(id).await.unwrap();
    figures.nics.into_iter().map(|nic| nic.mac).collect()
}

#[tokio::test]
async fn taps_come_with_the_start_stay_over_a_stop_and_go_with_the_guest() {
    let mut fixture = Fixture::with_switch().await;
    let (first, second) = (nic(1), nic(2));
    let both = BTreeSet::from([first, second].map(|nic| tap(&fixture, &nic)));
    let spec = guest_with(&fixture, vec![first, second]).await;
    let id = spec.id;
    assert_eq!(taps(&fixture).0, BTreeSet::new());
    fixture.twice(Task::Start { id }).await;
    fixture.wait_for_console(id, "cards", 1).await;
    assert_eq!(taps(&fixture), (both.clone(), both.clone()));
    assert_eq!(plugged(&fixture), BTreeSet::from([first.port, second.port]));
    assert_eq!(
        macs(&fixture, id).await,
        [first, second].map(|nic| nic.mac.to_string())
    );

    // QEMU keeps its taps while we are away.
    let pid = fixture.pid(id).await;
    fixture.restart().await;
    assert_eq!(
        (fixture.pid(id).await, taps(&fixture).1),
        (pid, both.clone())
    );

    fixture
        .twice(Task::Stop {
            id,
            graceful_secs: None,
        })
        .await;
    assert_eq!(taps(&fixture), (both.clone(), BTreeSet::new()));
    fixture.twice(Task::Start { id }).await;
    fixture.wait_for_console(id, "cards", 2).await;

    // A rebuild keeps the card that is still wanted.
    let rebuilt = GuestSpec {
        nics: vec![second],
        ..spec
    };
    fixture.twice(Task::Rebuild { spec: rebuilt }).await;
    assert_eq!(plugged(&fixture), BTreeSet::from([second.port]));

    fixture.twice(Task::DeleteGuest { id }).await;
    assert_eq!(
        (taps(&fixture).0, plugged(&fixture)),
        (BTreeSet::new(), BTreeSet::new())
    );
}

#[tokio::test]
async fn a_card_is_plugged_into_a_running_guest() {
    let fixture = Fixture::with_switch().await;
    let id = guest_with(&fixture, vec![]).await.id;
    let (early, late) = (nic(1), nic(2));
    assert_eq!(
        fixture.twice(Task::AttachNic { id, nic: early }).await,
        Report::Done
    );
    assert_eq!(
        taps(&fixture).0,
        BTreeSet::new(),
        "a guest that is off gets it at its start"
    );
    fixture.twice(Task::Start { id }).await;
    fixture.wait_for_console(id, "cards", 1).await;
    assert_eq!(taps(&fixture).1, BTreeSet::from([tap(&fixture, &early)]));

    assert_eq!(
        fixture.twice(Task::AttachNic { id, nic: late }).await,
        Report::Done
    );
    let both = BTreeSet::from([early, late].map(|nic| tap(&fixture, &nic)));
    assert_eq!(taps(&fixture).1, both);

    // A suspended guest wakes with the same cards.
    fixture.twice(Task::Suspend { id }).await;
    assert_eq!(taps(&fixture), (both.clone(), BTreeSet::new()));
    fixture.twice(Task::Resume { id }).await;
    assert_eq!(taps(&fixture).1, both);

    // This guest lets go of nothing, so it is stopped; what is detached then is gone at the next start.
    fixture
        .twice(Task::Stop {
            id,
            graceful_secs: None,
        })
        .await;
    assert_eq!(
        fixture
            .twice(Task::DetachNic {
                id,
                port: early.port
            })
            .await,
        Report::Done
    );
    fixture.twice(Task::Start { id }).await;
    fixture.wait_for_console(id, "cards", 2).await;
    let left = BTreeSet::from([tap(&fixture, &late)]);
    assert_eq!(taps(&fixture), (left.clone(), left));
}

#[tokio::test]
async fn a_guest_has_eight_disks_and_eight_cards_and_no_more() {
    let fixture = Fixture::with_switch().await;
    let spec = guest_with(&fixture, (0..8).map(nic).collect()).await;
    let id = spec.id;
    fixture.twice(Task::Start { id }).await;
    for number in 0..8 {
        let path = fixture.dir.path().join(format!("volume{number}"));
        std::fs::write(&path, vec![0; 1 << 20]).unwrap();
        let disk = corten_host::DiskSpec {
            id: format!("volume{number}"),
            path,
            format: corten_host::DiskFormat::Raw,
            read_only: false,
        };
        assert_eq!(
            fixture.twice(Task::AttachDisk { id, disk }).await,
            Report::Done
        );
    }
    let error = fixture
        .perform(Task::AttachNic { id, nic: nic(9) })
        .await
        .unwrap_err();
    assert!(error.to_string().contains("at most 16"), "{error}");
    assert_eq!(
        taps(&fixture).1.len(),
        8,
        "a card that was refused leaves no tap"
    );
    fixture
        .twice(Task::Reboot {
            id,
            graceful_secs: None,
        })
        .await;
    fixture.wait_for_console(id, "cards", 1).await;
}

#[tokio::test]
async fn a_host_without_a_switch_refuses_cards_and_says_why() {
    let fixture = Fixture::new().await;
    let id = guest_with(&fixture, vec![nic(1)]).await.id;
    let error = fixture.perform(Task::Start { id }).await.unwrap_err();
    assert!(
        matches!(
            &error,
            HostError::Switch {
                transient: false,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("started without one"), "{error}");
    let card = nic(2);
    let twice = GuestSpec {
        nics: vec![card, card],
        ..spec(None)
    };
    let error = fixture
        .perform(Task::CreateGuest { spec: twice })
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("one network card for a port"),
        "{error}"
    );
}
