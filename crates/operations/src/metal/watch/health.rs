//! What readings mean: pure decisions on when a node is due, when its BMC counts as silent, and what its row says then.

use super::reading::{Due, Unanswered};
use super::streamed::Streamed;
use crate::settings;
use corten_bmc::PowerState;
use corten_model::time::Timestamp;
use corten_store::metal::node::{Node, PowerSeen};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// The fault of a node whose BMC is silent, in Ironic's words.
pub const POWER_FAILURE: &str = "power failure";
/// BMCs lock accounts after a few wrong passwords: one that was refused is tried again after so many periods.
const REFUSED_PERIODS: u32 = 30;

/// What is remembered of a node from one reading to the next.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// One reading at a time.
    pub(super) being_read: bool,
    /// The node was to be looked after while it was being read, and is when that ends.
    pub(super) once_more: bool,
    power_at: Option<Timestamp>,
    sensors_at: Option<Timestamp>,
    /// Readings in a row that got no answer.
    unanswered: u32,
    refused: Option<RefusedLogin>,
    pub(super) streamed: Streamed,
}

/// A login that the BMC refused.
#[derive(Debug, Clone, Copy)]
struct RefusedLogin {
    /// Of what the node's record said then.
    fingerprint: u64,
    at: Timestamp,
}

/// What one reading of the power says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// The BMC answered; `None`: the power is changing, or its word for it is not known.
    Answered(Option<PowerSeen>),
    /// It did not, so often in a row.
    Silent {
        times: u32,
        why: String,
        /// It answers, but lets this user not in: that passes by nobody waiting.
        for_good: bool,
    },
}

impl Finding {
    pub(super) fn power(&self) -> Option<PowerSeen> {
        match self {
            Self::Answered(power) => *power,
            Self::Silent { .. } => None,
        }
    }
}

impl Followed {
    /// Closes the stream of events of a node that is reached in another way now, or that a person works on: they may need
    /// each connection that the BMC has.
    pub(super) fn keep_in_step(&mut self, node: &Node) {
        if node.maintenance {
            self.streamed.close();
        }
        self.streamed.close_unless(fingerprint(node));
    }

    /// What is due; it counts as being read from now on. `room`: one more stream of events may be opened.
    pub(super) fn begin(
        &mut self,
        node: &Node,
        settings: &settings::Metal,
        room: bool,
        now: Timestamp,
    ) -> Option<Due> {
        if self.being_read || self.is_left_alone(node, settings, now) {
            return None;
        }
        // Rounds come a moment early or late.
        let is_due = |last: Option<Timestamp>, every_secs: u64| {
            let every = Duration::from_secs(every_secs);
            let early = every / 60;
            every_secs > 0 && last.is_none_or(|last| now.since(last) + early >= every)
        };
        let sensors = is_due(self.sensors_at, settings.sensors_every_secs);
        let periods = if self.streamed.is_believed() {
            settings::Metal::STREAMED_PERIODS
        } else {
            1
        };
        let power = is_due(
            self.power_at,
            settings.power_every_secs * u64::from(periods),
        );
        let stream = room && !node.maintenance && self.streamed.is_wanted(fingerprint(node), now);
        if !sensors && !power && !stream {
            return None;
        }
        self.count(sensors, now);
        Some(Due { sensors, stream })
    }

    /// The same out of turn. `false`: it is being read.
    pub(super) fn begin_at_once(&mut self, sensors: bool, now: Timestamp) -> bool {
        if self.being_read {
            return false;
        }
        self.count(sensors, now);
        true
    }

    fn count(&mut self, sensors: bool, now: Timestamp) {
        self.power_at = Some(now);
        if sensors {
            self.sensors_at = Some(now);
        }
        self.being_read = true;
    }

    fn is_left_alone(&self, node: &Node, settings: &settings::Metal, now: Timestamp) -> bool {
        let pause = Duration::from_secs(settings.power_every_secs.max(1)) * REFUSED_PERIODS;
        self.refused.is_some_and(|refused| {
            refused.fingerprint == fingerprint(node) && now.since(refused.at) < pause
        })
    }

    /// Counts a reading.
    pub(super) fn judge(
        &mut self,
        node: &Node,
        power: Result<PowerState, Unanswered>,
        now: Timestamp,
    ) -> Finding {
        match power {
            Ok(state) => {
                self.unanswered = 0;
                self.refused = None;
                Finding::Answered(crate::metal::work::power_seen(state))
            }
            Err(Unanswered { why, login_refused }) => {
                self.unanswered = self.unanswered.saturating_add(1);
                self.refused = login_refused.then(|| RefusedLogin {
                    fingerprint: fingerprint(node),
                    at: now,
                });
                Finding::Silent {
                    times: self.unanswered,
                    why,
                    for_good: login_refused,
                }
            }
        }
    }
}

/// Of what a node is reached with.
pub(super) fn fingerprint(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    node.driver.hash(&mut hasher);
    serde_json::to_string(&node.driver_info)
        .unwrap_or_default()
        .hash(&mut hasher);
    node.secrets.hash(&mut hasher);
    hasher.finish()
}

/// A line of the power's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) why: String,
}

fn word(power: Option<PowerSeen>) -> &'static str {
    power.map_or("unknown power", PowerSeen::as_str)
}

/// Changes a node as a finding says, and tells the change; `None`: the row says it already.
pub(super) fn apply(node: &mut Node, finding: &Finding, unanswered_max: u32) -> Option<Told> {
    match finding {
        Finding::Answered(seen) => answered(node, *seen),
        Finding::Silent {
            times,
            why,
            for_good,
        } => {
            // Who put it into maintenance knows that it is worked on.
            if node.maintenance || (*times < unanswered_max && !for_good) {
                return None;
            }
            Some(silent(node, *times, why, *for_good))
        }
    }
}

fn answered(node: &mut Node, seen: Option<PowerSeen>) -> Option<Told> {
    let before = node.power.seen;
    if seen.is_some() {
        node.power.seen = seen;
    }
    if node.fault.as_deref() == Some(POWER_FAILURE) {
        node.fault = None;
        node.maintenance = false;
        node.maintenance_reason = None;
        return Some(Told {
            from: POWER_FAILURE,
            to: word(node.power.seen),
            why: "the BMC answers again".to_owned(),
        });
    }
    (node.power.seen != before).then(|| Told {
        from: word(before),
        to: word(node.power.seen),
        why: "the BMC shows it; no operation of this cloud did it".to_owned(),
    })
}

fn silent(node: &mut Node, times: u32, why: &str, for_good: bool) -> Told {
    let reason = if for_good {
        format!(
            "The BMC of this node refused the login: {why}. Correct the node's driver_info; maintenance ends by itself \
             when the BMC lets this cloud in."
        )
    } else {
        format!(
            "The BMC of this node gave no answer {times} times in a row: {why}. Check its power, its network and the \
             node's driver_info; maintenance ends by itself when it answers."
        )
    };
    node.fault = Some(POWER_FAILURE.to_owned());
    node.maintenance = true;
    node.maintenance_reason = Some(reason);
    Told {
        from: word(node.power.seen),
        to: POWER_FAILURE,
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::streamed::Task;
    use super::*;
    use crate::metal::{Metal, driver, node::blank};
    use corten_model::ids::NodeId;

    fn node() -> Node {
        let metal = Metal::forgetful(None).unwrap();
        let driver = driver::find(&metal, driver::REDFISH).unwrap();
        blank(NodeId::random(), driver, Timestamp::from_micros(0))
    }

    fn silence(times: u32) -> Finding {
        Finding::Silent {
            times,
            why: "no route".to_owned(),
            for_good: false,
        }
    }

    #[test]
    fn a_silent_bmc_is_a_fault_that_heals() {
        let mut node = node();
        node.power.seen = Some(PowerSeen::On);
        assert_eq!(apply(&mut node, &silence(2), 3), None);
        let told = apply(&mut node, &silence(3), 3).unwrap();
        assert_eq!((told.from, told.to), ("power on", POWER_FAILURE));
        assert!(node.maintenance && node.fault.as_deref() == Some(POWER_FAILURE));
        let reason = node.maintenance_reason.clone().unwrap();
        assert!(
            reason.contains("3 times") && reason.contains("no route"),
            "{reason}"
        );
        assert_eq!(apply(&mut node, &silence(4), 3), None, "told once");
        let told = apply(&mut node, &Finding::Answered(Some(PowerSeen::Off)), 3).unwrap();
        assert_eq!((told.from, told.to), (POWER_FAILURE, "power off"));
        assert!(!node.maintenance && node.fault.is_none() && node.maintenance_reason.is_none());
    }

    #[test]
    fn maintenance_that_a_person_began_is_left_to_them() {
        let mut node = node();
        node.maintenance = true;
        node.maintenance_reason = Some("new fans".to_owned());
        assert_eq!(apply(&mut node, &silence(9), 3), None);
        apply(&mut node, &Finding::Answered(Some(PowerSeen::On)), 3).unwrap();
        assert!(node.maintenance);
        assert_eq!(node.maintenance_reason.as_deref(), Some("new fans"));
    }

    #[test]
    fn a_power_that_changes_is_not_forgotten() {
        let mut node = node();
        node.power.seen = Some(PowerSeen::On);
        assert_eq!(apply(&mut node, &Finding::Answered(None), 3), None);
        assert_eq!(node.power.seen, Some(PowerSeen::On));
    }

    #[test]
    fn a_login_that_was_refused_is_not_tried_again_until_the_record_changes() {
        let settings = settings::Metal::default();
        let mut node = node();
        let mut followed = Followed::default();
        let now = Timestamp::from_micros(0);
        assert!(followed.begin(&node, &settings, false, now).is_some());
        let refused = Unanswered {
            why: "wrong password".to_owned(),
            login_refused: true,
        };
        let finding = followed.judge(&node, Err(refused), now);
        followed.being_read = false;
        assert!(apply(&mut node.clone(), &finding, 3).is_some());
        let later = now.plus(Duration::from_secs(120));
        assert!(followed.begin(&node, &settings, false, later).is_none());
        let much_later = now.plus(Duration::from_secs(3600));
        assert!(
            followed
                .begin(&node, &settings, false, much_later)
                .is_some()
        );
        followed.being_read = false;
        node.secrets
            .insert("driver_info/a".to_owned(), "new".to_owned());
        let due = followed.begin(
            &node,
            &settings,
            false,
            much_later.plus(Duration::from_secs(60)),
        );
        assert!(due.is_some());
    }

    #[test]
    fn a_node_whose_bmc_tells_of_changes_is_read_a_tenth_as_often() {
        let settings = settings::Metal {
            sensors_every_secs: 0,
            ..settings::Metal::default()
        };
        let node = node();
        let mut followed = Followed::default();
        let due_at = |followed: &mut Followed, room, secs| {
            let now = Timestamp::from_micros(0).plus(Duration::from_secs(secs));
            followed.being_read = false;
            followed.begin(&node, &settings, room, now)
        };
        let stream = |due: Option<Due>| due.map(|due| due.stream);
        assert_eq!(stream(due_at(&mut followed, false, 0)), Some(false));
        assert_eq!(stream(due_at(&mut followed, true, 1)), Some(true));
        let now = Timestamp::from_micros(0);
        followed
            .streamed
            .hold(fingerprint(&node), now, |_| Task::default());
        assert_eq!(stream(due_at(&mut followed, true, 61)), None);
        assert_eq!(stream(due_at(&mut followed, true, 601)), Some(false));
        followed.streamed.missed_a_change();
        assert_eq!(stream(due_at(&mut followed, true, 661)), Some(false));
        followed.streamed.told_of_power();
        assert_eq!(stream(due_at(&mut followed, true, 721)), None);
        // Who works on it may need its BMC's connections.
        let mut maintained = node.clone();
        maintained.maintenance = true;
        followed.keep_in_step(&maintained);
        assert!(!followed.streamed.is_believed());
        assert_eq!(stream(due_at(&mut followed, true, 722)), Some(true));
    }
}
