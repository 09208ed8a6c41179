//! What a reader of the northbound replica wants to be told: ports that come up or go down, and work of other hands.

use super::index::{self, Index};
use super::names;
use super::schema::{PORT_GROUP, SWITCH_PORT, owned};
use crate::fabric::PortsUp;
use crate::ovsdb::{Event, Replica, Row, RowChange};
use corten_model::ids::PortId;
use std::collections::{BTreeSet, HashSet};
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

/// Readers that are this many changes behind are told that they lost some.
const BACKLOG: usize = 4096;

/// Kept current by every event of the replica, before the transaction that caused it returns.
#[derive(Debug)]
pub struct Watch {
    pub index: Index,
    up: BTreeSet<PortId>,
    port_changes: broadcast::Sender<(PortId, bool)>,
    disturbed: watch::Sender<u64>,
    /// The rows that a transaction of ours, which is under way, changes.
    ours: HashSet<Uuid>,
    loaded_before: bool,
}

impl Watch {
    pub fn new() -> Self {
        Self {
            index: Index::default(),
            up: BTreeSet::new(),
            port_changes: broadcast::Sender::new(BACKLOG),
            disturbed: watch::Sender::new(0),
            ours: HashSet::new(),
            loaded_before: false,
        }
    }

    pub fn take(&mut self, replica: &Replica, event: &Event) {
        self.index.take(replica, event);
        match event {
            Event::Loaded => {
                self.ports_loaded(replica);
                // While the connection was lost anything may have been done; at the first time nobody missed a thing.
                if std::mem::replace(&mut self.loaded_before, true) {
                    self.disturb();
                }
            }
            Event::Lost => {}
            Event::Changed(changes) => {
                changes.iter().for_each(|change| self.port_changed(change));
                if changes.iter().any(|change| self.is_foreign(change)) {
                    self.disturb();
                }
            }
        }
    }

    pub fn ports_up(&self) -> PortsUp {
        PortsUp {
            up: self.up.clone(),
            changes: self.port_changes.subscribe(),
        }
    }

    pub fn disturbed(&self) -> watch::Receiver<u64> {
        self.disturbed.subscribe()
    }

    /// From here to [`done`](Self::done), changes of these rows are taken for ours.
    pub fn expect(&mut self, rows: HashSet<Uuid>) {
        self.ours = rows;
    }

    pub fn done(&mut self) {
        self.ours.clear();
    }

    fn disturb(&self) {
        self.disturbed.send_modify(|count| *count += 1);
    }

    fn ports_loaded(&mut self, replica: &Replica) {
        let rows = replica.rows(SWITCH_PORT).filter(|(_, row)| is_up(row));
        let up: BTreeSet<_> = rows.filter_map(|(_, row)| port(row)).collect();
        let before = std::mem::replace(&mut self.up, up);
        for port in before.symmetric_difference(&self.up) {
            self.tell(*port, self.up.contains(port));
        }
    }

    fn port_changed(&mut self, change: &RowChange) {
        if change.table != SWITCH_PORT {
            return;
        }
        let Some(port) = change
            .after
            .as_ref()
            .or(change.before.as_ref())
            .and_then(port)
        else {
            return;
        };
        let up = change.after.as_ref().is_some_and(is_up);
        let changed = if up {
            self.up.insert(port)
        } else {
            self.up.remove(&port)
        };
        if changed {
            self.tell(port, up);
        }
    }

    fn tell(&self, port: PortId, up: bool) {
        // Nobody may be listening.
        let _ = self.port_changes.send((port, up));
    }

    /// Whether somebody else changed what we wrote, or put ports into a group of theirs, whose rules would hold for them.
    fn is_foreign(&self, change: &RowChange) -> bool {
        if self.ours.contains(&change.uuid) {
            return false;
        }
        match (&change.before, &change.after) {
            (Some(before), Some(after)) => {
                let is_ours = index::unit(before).or_else(|| index::unit(after)).is_some();
                (is_ours || has_members(change.table, after)) && differ(change.table, before, after)
            }
            (Some(row), None) | (None, Some(row)) => {
                index::unit(row).is_some() || has_members(change.table, row)
            }
            (None, None) => false,
        }
    }
}

fn differ(table: &'static str, before: &Row, after: &Row) -> bool {
    let members = (table == PORT_GROUP).then_some("ports");
    let mut columns = owned(table).chain(members);
    columns.any(|column| before.get(column) != after.get(column))
}

fn has_members(table: &str, row: &Row) -> bool {
    table == PORT_GROUP
        && row
            .get("ports")
            .is_some_and(|ports| ports.uuids().next().is_some())
}

fn is_up(row: &Row) -> bool {
    row.get("up").and_then(|up| up.as_bool()) == Some(true)
}

fn port(row: &Row) -> Option<PortId> {
    names::port_of_key(index::key(row)?)
}
