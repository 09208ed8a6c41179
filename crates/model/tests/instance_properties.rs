//! Random lives of instances of both classes: commands, steps, failures, crashes, exhausted budgets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod world;

use corten_model::lifecycle::billing::{is_billed, metered, stays};
use corten_model::lifecycle::{Display, InstanceClass, RootDisk, find, legal_commands};
use corten_model::time::Timestamp;
use proptest::prelude::*;
use std::time::Duration;
use world::{Event, World};

fn class() -> impl Strategy<Value = InstanceClass> {
    prop_oneof![Just(InstanceClass::Vm), Just(InstanceClass::Metal)]
}

fn root() -> impl Strategy<Value = RootDisk> {
    prop_oneof![Just(RootDisk::Local), Just(RootDisk::Volume)]
}

/// What happens next: mostly progress, else anything at all. A number picks among the legal commands.
#[derive(Debug, Clone, Copy)]
enum Chance {
    Progress,
    Legal(usize),
    Any(Event),
}

fn chance() -> impl Strategy<Value = Chance> {
    prop_oneof![
        4 => Just(Chance::Progress),
        3 => (0..1000usize).prop_map(Chance::Legal),
        2 => prop::sample::select(Event::all()).prop_map(Chance::Any),
    ]
}

/// A life: each chance, and the seconds until it comes.
fn life() -> impl Strategy<Value = Vec<(Chance, u32)>> {
    prop::collection::vec((chance(), 0..5000u32), 1..120)
}

fn event(world: &World, chance: Chance) -> Event {
    match chance {
        Chance::Progress => Event::Step,
        Chance::Any(event) => event,
        Chance::Legal(pick) => {
            let legal = legal_commands(world.class, world.state);
            legal
                .get(pick % legal.len().max(1))
                .map_or(Event::Step, |command| Event::Ask(*command))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Never an undefined state, never a change that the table does not list.
    #[test]
    fn a_life_keeps_to_its_table(class in class(), root in root(), life in life()) {
        let mut world = World::created(class, root);
        for (chance, _) in life {
            let event = event(&world, chance);
            let Ok(after) = world.after(event) else { continue };
            let row = find(class, world.display());
            prop_assert!(row.is_some(), "{:?} has no row", world);
            prop_assert!(
                row.is_some_and(|row| row.may_become(after.display())),
                "{class}: {} became {} by {event:?}", world.display(), after.display(),
            );
            world = after;
        }
    }

    /// A refused command changes nothing and says what is legal; a legal one is never refused.
    #[test]
    fn a_refusal_helps(class in class(), root in root(), life in life()) {
        let mut world = World::created(class, root);
        for (chance, _) in life {
            let event = event(&world, chance);
            match world.after(event) {
                Ok(after) => world = after,
                Err(illegal) => {
                    prop_assert_eq!(illegal.state, world.state);
                    prop_assert!(illegal.legal.is_empty() == illegal.is_gone());
                    for command in illegal.legal {
                        prop_assert!(world.after(Event::Ask(command)).is_ok());
                    }
                }
            }
        }
    }

    /// The meter is on exactly when the table says: second by second, summed by hand.
    #[test]
    fn the_meter_runs_exactly_when_the_table_says(class in class(), root in root(), life in life()) {
        let mut world = World::created(class, root);
        let mut now = Timestamp(1_700_000_000_000_000);
        let mut log: Vec<(Timestamp, Display)> = vec![(now, world.display())];
        let mut by_hand = Duration::ZERO;
        for (chance, seconds) in life {
            let span = Duration::from_secs(seconds.into());
            if world.state.billed(class) {
                by_hand += span;
            }
            now = now.plus(span);
            let event = event(&world, chance);
            let Ok(after) = world.after(event) else { continue };
            if after.display() != world.display() {
                log.push((now, after.display()));
            }
            world = after;
        }
        let meter = metered(log.iter().copied(), now, |state| is_billed(class, state));
        prop_assert_eq!(meter, by_hand);
        let whole: Duration = stays(log.iter().copied(), now).iter().map(|stay| stay.duration()).sum();
        prop_assert_eq!(whole, now.since(log[0].0));
    }

    /// Whatever happened, an instance that is asked to go and whose operation is left alone is gone.
    #[test]
    fn every_life_can_be_ended(class in class(), root in root(), life in life()) {
        let mut world = World::created(class, root);
        for (chance, _) in life {
            if let Ok(after) = world.after(event(&world, chance)) {
                world = after;
            }
        }
        if world.display() != Display::Deleted {
            let asked = world.after(Event::Ask(corten_model::lifecycle::Command::Delete));
            prop_assert!(asked.is_ok());
            let gone = asked.and_then(|world| world.after(Event::Step));
            prop_assert!(gone.is_ok_and(|world| world.display() == Display::Deleted));
        }
    }
}
