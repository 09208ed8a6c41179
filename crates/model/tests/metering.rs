//! The meter as a fold of the log of changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use corten_model::lifecycle::billing::{is_billed, is_lost_capacity, metered, stays};
use corten_model::lifecycle::{Display, InstanceClass};
use corten_model::time::Timestamp;
use std::time::Duration;

fn second(number: i64) -> Timestamp {
    Timestamp(number * 1_000_000)
}

fn log(changes: &[(i64, Display)]) -> Vec<(Timestamp, Display)> {
    changes
        .iter()
        .map(|(at, state)| (second(*at), *state))
        .collect()
}

fn billed(changes: &[(i64, Display)], now: i64) -> u64 {
    metered(log(changes), second(now), |state| {
        is_billed(InstanceClass::Vm, state)
    })
    .as_secs()
}

/// K1–K4: from Active on, through Stopped, until Error or the end of the shelve.
#[test]
fn the_meter_follows_the_catalogue() {
    let life = [
        (0, Display::Scheduling),
        (5, Display::Spawning),
        (10, Display::Active),
        (100, Display::PoweringOff),
        (110, Display::Stopped),
        (200, Display::Shelving),
        (230, Display::ShelvedOffloaded),
    ];
    assert_eq!(billed(&life, 10), 0);
    assert_eq!(billed(&life, 1000), 220);
    assert_eq!(billed(&life[..3], 1000), 990);
    // K4: it stops the moment the state is Error; K56: from there it is the operator's loss.
    let broken = [(0, Display::Active), (50, Display::Error)];
    assert_eq!(billed(&broken, 500), 50);
    assert_eq!(
        metered(log(&broken), second(500), is_lost_capacity),
        Duration::from_secs(450)
    );
}

#[test]
fn a_bill_in_the_middle_and_one_at_the_end_agree() {
    let life = [
        (0, Display::Active),
        (40, Display::ResizePrep),
        (60, Display::Resized),
        (90, Display::Active),
    ];
    for now in 0..200 {
        let until_now: Vec<_> = life.iter().copied().filter(|(at, _)| *at <= now).collect();
        assert_eq!(billed(&life, now), billed(&until_now, now), "at {now}");
    }
    assert_eq!(billed(&life, 200), 40 + 110);
}

#[test]
fn a_clock_that_was_set_back_bills_nothing_twice() {
    let life = [
        (100, Display::Active),
        (80, Display::Stopped),
        (130, Display::Error),
    ];
    assert_eq!(billed(&life, 200), 30);
    let stays = stays(log(&life), second(200));
    assert!(
        stays
            .windows(2)
            .all(|pair| pair[0].until == pair[1].from && pair[0].from <= pair[0].until)
    );
    assert_eq!(billed(&[], 200), 0);
}
