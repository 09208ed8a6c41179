//! Follows a BMC's stream of events. An event is never believed: it is the reason to read at once.
//!
//! ```text
//!  event of power ──▶ look now, and again after 2, 4, 8 … s: BMCs tell of a change before they show it
//!  event of health ─▶ look once, at the sensors too
//!  the end ─────────▶ look once, and on time from then on
//! ```
//!
//! Looks that show nothing new are ever further apart, up to the usual period: a BMC that talks much costs no more than one
//! that says nothing.

use super::health::fingerprint;
use super::reading::{self, Due, Opened, Stream};
use super::streamed::Task;
use super::{BeingRead, Place, Seen, Watch, gauges, is_watched};
use corten_bmc::{About, Bmc, BmcError, Event, EventStream};
use corten_model::ids::NodeId;
use corten_store::metal::node::Node;
use corten_store::{Failure, record};
use futures_util::StreamExt as _;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const PAUSE_MIN: Duration = Duration::from_secs(1);
/// How often a BMC that told of power is looked at until it shows something new.
const LOOKS: u32 = 5;

/// What is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hint {
    sensors: bool,
    looks: u32,
}

impl Hint {
    const ONE_LOOK: Self = Self {
        sensors: false,
        looks: 1,
    };

    /// What an event is the reason for, beside what is to be done already.
    fn of(about: About, before: Option<Self>) -> Option<Self> {
        let before_looks = before.map_or(0, |hint| hint.looks);
        let before_sensors = before.is_some_and(|hint| hint.sensors);
        match about {
            About::Power => Some(Self {
                sensors: before_sensors,
                looks: LOOKS,
            }),
            About::Health => Some(Self {
                sensors: true,
                looks: before_looks.max(1),
            }),
            About::Other => before,
        }
    }

    /// What is left of it after a look.
    fn after(self, seen: &Seen) -> Option<Self> {
        let looks = self.looks - 1;
        if looks == 0 || (seen.is_new && seen.is_settled) {
            return None;
        }
        Some(Self {
            sensors: false,
            looks,
        })
    }
}

/// When the next look may be.
struct Pace {
    next: Instant,
    pause: Duration,
    most: Duration,
}

impl Pace {
    fn new(most: Duration) -> Self {
        Self {
            next: Instant::now(),
            pause: PAUSE_MIN,
            most: most.max(PAUSE_MIN),
        }
    }

    /// Somebody told something.
    fn hear(&mut self) {
        if Instant::now() >= self.next + self.most {
            self.pause = PAUSE_MIN;
        }
    }

    fn looked(&mut self, was_worth_it: bool) {
        self.pause = if was_worth_it {
            PAUSE_MIN
        } else {
            (self.pause * 2).min(self.most)
        };
        self.next = Instant::now() + self.pause;
    }
}

/// How a look came out.
enum Look {
    Seen(Seen),
    /// Something works on the node, or it is being read.
    Later,
    /// This stream is no longer for it.
    Over,
}

/// How the following ended.
enum End {
    ByBmc(Option<BmcError>),
    ByUs,
}

/// One stream that is held.
struct Following {
    watch: Weak<Watch>,
    id: NodeId,
    number: u64,
    fingerprint: u64,
    bmc: Arc<dyn Bmc>,
    most: Duration,
    _place: Place,
}

impl Following {
    async fn run(self, events: EventStream) {
        let end = self.follow(events).await;
        self.bmc.close().await;
        let Self {
            watch, id, number, ..
        } = self;
        if let Some(watch) = watch.upgrade() {
            watch.stream_ended(id, number, end).await;
        }
    }

    async fn follow(&self, mut events: EventStream) -> End {
        let mut pace = Pace::new(self.most);
        // Of what happened before it was open nobody told.
        let mut hint = Some(Hint::ONE_LOOK);
        let mut is_first = true;
        loop {
            tokio::select! {
                told = events.next() => match told {
                    Some(Ok(event)) => {
                        pace.hear();
                        hint = self.hear(&event, hint);
                    }
                    Some(Err(error)) => return End::ByBmc(Some(error)),
                    None => return End::ByBmc(None),
                },
                () = sleep_until(pace.next), if hint.is_some() => {
                    let Some((watch, due)) = self.watch.upgrade().zip(hint) else {
                        return End::ByUs;
                    };
                    match watch.look(self, due.sensors).await {
                        Ok(Look::Seen(seen)) => {
                            hint = due.after(&seen);
                            pace.looked(seen.is_new || is_first);
                            is_first = false;
                        }
                        Ok(Look::Later) => pace.looked(false),
                        Ok(Look::Over) => return End::ByUs,
                        Err(error) => {
                            tracing::error!(node = %self.id, error = %crate::error_text(&error), "cannot write down what the BMC of a node shows");
                            pace.looked(false);
                        }
                    }
                }
            }
        }
    }

    fn hear(&self, event: &Event, before: Option<Hint>) -> Option<Hint> {
        gauges::event(event.about);
        tracing::debug!(node = %self.id, about = ?event.about, message_id = event.message_id, message = event.message, "the BMC of a node tells of an event");
        if event.about == About::Power
            && let Some(watch) = self.watch.upgrade()
            && let Some(followed) = watch.followed().get_mut(&self.id)
        {
            followed.streamed.told_of_power();
        }
        Hint::of(event.about, before)
    }
}

impl Watch {
    /// Keeps what became of the wish for a stream of events.
    pub(super) fn settle_stream(
        self: &Arc<Self>,
        node: &Node,
        stream: Stream,
        place: Option<Place>,
    ) {
        let (now, fingerprint) = (self.cx.now(), fingerprint(node));
        let mut followed = self.followed();
        // It may be gone by now.
        let Some(followed) = followed.get_mut(&node.id) else {
            return;
        };
        let opened = match stream {
            Stream::NotWished => return,
            Stream::Opened(opened) => Some(opened),
            Stream::Silent => None,
            Stream::NotOpened(error) => {
                tracing::debug!(node = %node.id, %error, "the BMC of a node tells of no events");
                if matches!(error, BmcError::Lacks { .. }) {
                    followed.streamed.is_lacking(fingerprint, now);
                    return;
                }
                None
            }
        };
        let Some((Opened { bmc, events }, place)) = opened.zip(place) else {
            followed.streamed.was_not_opened(fingerprint, now);
            return;
        };
        followed.streamed.hold(fingerprint, now, |number| {
            let following = Following {
                watch: Arc::downgrade(self),
                id: node.id,
                number,
                fingerprint,
                bmc,
                most: Duration::from_secs(self.cx.settings.metal.power_every_secs),
                _place: place,
            };
            Task::new(tokio::spawn(following.run(events)).abort_handle())
        });
        gauges::streams(self.streams_open());
    }

    /// One look at a node's BMC out of turn, with its row as it is now.
    async fn look(&self, following: &Following, sensors: bool) -> Result<Look, Failure> {
        let mut tx = self.cx.store.read().await?;
        let node = record::get::<Node>(&mut tx, following.id).await?;
        let is_same = |node: &Node| is_watched(node) && fingerprint(node) == following.fingerprint;
        let Some(node) = node.filter(|node| !node.maintenance && is_same(node)) else {
            return Ok(Look::Over);
        };
        if reading::is_busy(&mut tx, node.id).await? {
            return Ok(Look::Later);
        }
        drop(tx);
        let now = self.cx.now();
        let begun = match self.followed().get_mut(&node.id) {
            Some(followed) => followed.begin_at_once(sensors, now),
            None => return Ok(Look::Over),
        };
        if !begun {
            return Ok(Look::Later);
        }
        let _being_read = BeingRead {
            watch: self,
            id: node.id,
        };
        // The turns are never closed.
        let Ok(turn) = self.turns.acquire().await else {
            return Ok(Look::Over);
        };
        let reading = reading::ask(following.bmc.as_ref(), &node, sensors).await;
        drop(turn);
        self.keep(&node, reading, false).await.map(Look::Seen)
    }

    /// A stream ended by itself: what it would have told is looked for.
    async fn stream_ended(self: Arc<Self>, id: NodeId, number: u64, end: End) {
        gauges::streams(self.streams_open());
        let now = self.cx.now();
        let was_held = match self.followed().get_mut(&id) {
            Some(followed) => followed.streamed.ended(number, now),
            None => false,
        };
        let End::ByBmc(error) = end else {
            return;
        };
        if !was_held {
            return;
        }
        let why = error.map_or_else(|| "the BMC ended it".to_owned(), |error| error.to_string());
        tracing::info!(node = %id, why, "the stream of a node's events has ended; the node is read on time until there is one again");
        if let Err(error) = self.read_at_once(id).await {
            tracing::error!(node = %id, error = %crate::error_text(&error), "cannot see what became of a node");
        }
    }

    async fn read_at_once(self: &Arc<Self>, id: NodeId) -> Result<(), Failure> {
        let node = record::get::<Node>(&mut self.cx.store.read().await?, id).await?;
        let Some(node) = node.filter(is_watched) else {
            return Ok(());
        };
        let now = self.cx.now();
        let begun = match self.followed().get_mut(&id) {
            Some(followed) => followed.begin_at_once(false, now),
            None => false,
        };
        if begun {
            let due = Due {
                sensors: false,
                stream: false,
            };
            Arc::clone(self).read(node, due, None).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING_NEW: Seen = Seen {
        is_new: false,
        is_settled: true,
    };

    #[test]
    fn an_event_of_power_is_looked_for_until_it_shows() {
        let mut hint = Hint::of(About::Power, None);
        let mut looks = 0;
        while let Some(due) = hint {
            looks += 1;
            hint = due.after(&NOTHING_NEW);
        }
        assert_eq!(looks, LOOKS);
        let power = Hint::of(About::Power, None).unwrap();
        let shown = Seen {
            is_new: true,
            is_settled: true,
        };
        assert_eq!(power.after(&shown), None);
        // On its way from one to the other.
        let changing = Seen {
            is_new: true,
            is_settled: false,
        };
        assert!(power.after(&changing).is_some());
    }

    #[test]
    fn several_events_are_one_hint() {
        let health = Hint::of(About::Health, None);
        assert_eq!(
            health,
            Some(Hint {
                sensors: true,
                looks: 1
            })
        );
        let both = Hint {
            sensors: true,
            looks: LOOKS,
        };
        assert_eq!(Hint::of(About::Power, health), Some(both));
        assert_eq!(Hint::of(About::Health, Some(both)), Some(both));
        assert_eq!(Hint::of(About::Other, Some(both)), Some(both));
        assert_eq!(Hint::of(About::Other, None), None);
        let rest = both.after(&NOTHING_NEW).unwrap();
        assert!(!rest.sensors, "they were read");
    }

    #[tokio::test(start_paused = true)]
    async fn looks_that_show_nothing_new_are_ever_further_apart() {
        let mut pace = Pace::new(Duration::from_secs(60));
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pace.hear();
            pace.looked(false);
            pauses.push(pace.pause.as_secs());
            tokio::time::advance(pace.pause).await;
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
        pace.looked(true);
        assert_eq!(pace.pause, PAUSE_MIN);
        pace.looked(false);
        tokio::time::advance(Duration::from_secs(120)).await;
        pace.hear();
        assert_eq!(pace.pause, PAUSE_MIN, "after a long silence");
    }
}
