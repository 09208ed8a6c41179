//! A node's history: what happened to it and to its power, with where it stood then and where it was on its way to.

use super::access::Ident;
use super::node;
use crate::context::Context;
use corten_iam::actor::Actor;
use corten_model::lifecycle::node::{NodeStateKind, ProvisionState};
use corten_store::Failure;
use corten_store::metal::node::{Node, SUBJECT};
use corten_store::transitions::Transition;
use std::collections::BTreeSet;

/// One change of state.
pub struct Event {
    pub transition: Transition,
    /// The provision state that it was in after this.
    pub state: ProvisionState,
    /// The provision state that it was on its way to; `None` where it was on none, or where nothing tells.
    pub target: Option<ProvisionState>,
}

/// Oldest first, with the node.
pub async fn list(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
) -> Result<(Node, Vec<Event>), Failure> {
    let log = node::history(cx, actor, ident).await?;
    let node = super::access::read_node(cx, actor, ident).await?;
    let events = events(&node, log);
    Ok((node, events))
}

fn events(node: &Node, log: Vec<Transition>) -> Vec<Event> {
    let moves: Vec<Move> = log.iter().filter_map(Move::of).collect();
    let mut passed = 0;
    log.into_iter()
        .map(|transition| {
            passed += usize::from(Move::of(&transition).is_some());
            let state = match passed.checked_sub(1) {
                Some(last) => moves.get(last).map(|last| last.to),
                None => moves.first().and_then(|first| first.from),
            };
            Event {
                transition,
                state: state.unwrap_or(node.provision.state),
                target: passed
                    .checked_sub(1)
                    .and_then(|last| target(node, &moves, last)),
            }
        })
        .collect()
}

/// A change of the provision state.
#[derive(Clone, Copy)]
struct Move {
    from: Option<ProvisionState>,
    to: ProvisionState,
}

impl Move {
    fn of(transition: &Transition) -> Option<Self> {
        if transition.subject_kind != SUBJECT {
            return None;
        }
        Some(Self {
            from: transition
                .from
                .as_deref()
                .and_then(|from| from.parse().ok()),
            to: transition.to.parse().ok()?,
        })
    }

    fn is_under_way(self) -> bool {
        use NodeStateKind::{Holds, Moves, Waits};
        let kind = self.to.row().map(|row| row.kind);
        matches!(kind, Some(Moves | Waits | Holds))
    }

    /// Where the verbs lead that begin like this.
    fn targets(self) -> BTreeSet<ProvisionState> {
        let verbs = self.from.and_then(ProvisionState::row);
        verbs
            .into_iter()
            .flat_map(|row| row.verbs)
            .filter(|(_, to)| *to == self.to)
            .filter_map(|(verb, _)| verb.target())
            .collect()
    }
}

/// Where a node was on its way to after a move: where the verb leads that began it. Where several begin alike, the one whose
/// end it reached; while it is on its way still, the node's own word.
fn target(node: &Node, moves: &[Move], last: usize) -> Option<ProvisionState> {
    if !moves[last].is_under_way() {
        return None;
    }
    let begun = moves[..=last].iter().rev().map(|step| step.targets());
    let targets = begun.into_iter().find(|targets| !targets.is_empty())?;
    if targets.len() == 1 {
        return targets.first().copied();
    }
    match moves[last..].iter().find(|step| !step.is_under_way()) {
        Some(end) => Some(end.to).filter(|end| targets.contains(end)),
        None => node.provision.target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProvisionState as S;
    use corten_model::ids::{NodeId, TransitionId};
    use corten_model::origin::Origin;
    use corten_model::time::Timestamp;
    use corten_store::metal::node::POWER_SUBJECT;

    fn line(kind: &str, from: &str, to: &str) -> Transition {
        Transition {
            id: TransitionId::next(),
            at: Timestamp(0),
            subject_kind: kind.to_owned(),
            subject_id: "1".to_owned(),
            project_id: None,
            from: Some(from.to_owned()),
            to: to.to_owned(),
            why: String::new(),
            origin: Origin::system(),
            lasted_micros: 0,
        }
    }

    fn told(target: Option<S>, log: &[(&str, &str, &str)]) -> Vec<(S, Option<S>)> {
        let metal = crate::metal::Metal::forgetful(None).unwrap();
        let driver = crate::metal::driver::of_node(&metal, crate::metal::driver::REDFISH).unwrap();
        let mut node = node::blank(NodeId::random(), driver, Timestamp(0));
        node.provision.target = target;
        let log = log.iter().map(|(kind, from, to)| line(kind, from, to));
        events(&node, log.collect())
            .into_iter()
            .map(|event| (event.state, event.target))
            .collect()
    }

    #[test]
    fn each_event_tells_where_the_node_stood_and_where_it_went() {
        let log = [
            (POWER_SUBJECT, "power on", "power off"),
            (SUBJECT, "enroll", "verifying"),
            (SUBJECT, "verifying", "manageable"),
            (SUBJECT, "manageable", "cleaning"),
            (POWER_SUBJECT, "power off", "power on"),
            (SUBJECT, "cleaning", "available"),
        ];
        let available = Some(S::Available);
        assert_eq!(
            told(None, &log),
            [
                (S::Enroll, None),
                (S::Verifying, Some(S::Manageable)),
                (S::Manageable, None),
                (S::Cleaning, available),
                (S::Cleaning, available),
                (S::Available, None),
            ]
        );
    }

    #[test]
    fn two_verbs_that_begin_alike_are_told_apart_by_their_end() {
        let begun = (SUBJECT, "manageable", "cleaning");
        let by_hand = [begun, (SUBJECT, "cleaning", "manageable")];
        assert_eq!(told(None, &by_hand)[0].1, Some(S::Manageable));
        let failed = [begun, (SUBJECT, "cleaning", "clean failed")];
        assert_eq!(told(None, &failed)[0].1, None);
        let still = [begun, (SUBJECT, "cleaning", "clean wait")];
        assert_eq!(told(Some(S::Available), &still)[1].1, Some(S::Available));
    }
}
