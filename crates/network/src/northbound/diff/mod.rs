//! The transaction that makes the database hold what is desired, and nothing when it does already. Pure.
//!
//! Rows are told apart by their key, not by UUID: a database that was restored from a copy has other UUIDs, and its
//! rows are kept. Every row that is changed is first expected to be as it was seen, so that two writers cannot undo
//! each other's work unseen: the transaction of the later one is refused, and made anew.

use super::compile;
use super::desired::{Cell, Desired, DesiredRow};
use super::index::Index;
use super::names;
use super::schema::{Kind, PORT_GROUP, SWITCH_PORT, is_child, kind};
use crate::fabric::Repair;
use crate::ovsdb::{Atom, Condition, Mutation, Operation, Replica, Value};
use crate::plan::Unit;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use uuid::Uuid;

/// What is compared.
#[derive(Debug, Clone)]
pub enum Scope {
    /// These units; what others want is left alone.
    Units(BTreeSet<Unit>),
    /// Everything that is ours.
    All,
}

/// A transaction, and what it does.
#[derive(Debug, Default)]
pub struct Difference {
    pub operations: Vec<Operation>,
    /// The rows that it inserts, changes or lets go, or that change with them.
    pub touched: HashSet<Uuid>,
    pub repair: Repair,
}

pub fn diff(replica: &Replica, index: &Index, scope: &Scope, desired: &Desired) -> Difference {
    let groups = missing_groups(replica, index, scope, desired);
    let rows = desired.rows.iter().chain(&groups.rows);
    let rows: Vec<_> = rows.map(|(key, row)| (key.as_str(), row)).collect();
    let comparison = Comparison::new(replica, index, scope, rows, &desired.members);
    let mut changes = Changes::default();
    for (key, row) in &comparison.rows {
        comparison.row(key, row, &mut changes);
    }
    comparison.members(&mut changes);
    comparison.stale_rows(&mut changes);
    changes.into_difference()
}

/// A port may name a security group whose plan did not come yet, or is lost: the group is made, without rules.
fn missing_groups(replica: &Replica, index: &Index, scope: &Scope, desired: &Desired) -> Desired {
    let mut groups = Desired::default();
    for key in desired.undescribed_groups() {
        let Ok(Unit::SecurityGroup(id)) = key.parse() else {
            continue;
        };
        let name = names::security_group(id);
        let is_there = || index.find(replica, PORT_GROUP, key, Some(&name)).is_some();
        if matches!(scope, Scope::All) || !is_there() {
            compile::describe_group(id, &mut groups);
        }
    }
    groups
}

struct Comparison<'a> {
    replica: &'a Replica,
    index: &'a Index,
    scope: &'a Scope,
    /// Desired rows by key.
    rows: Vec<(&'a str, &'a DesiredRow)>,
    desired_members: &'a BTreeSet<(String, String)>,
    /// The UUID that each desired row has or will have.
    uuids: HashMap<&'a str, Uuid>,
    /// The UUIDs of desired rows that are there.
    present: HashSet<Uuid>,
}

impl<'a> Comparison<'a> {
    fn new(
        replica: &'a Replica,
        index: &'a Index,
        scope: &'a Scope,
        rows: Vec<(&'a str, &'a DesiredRow)>,
        desired_members: &'a BTreeSet<(String, String)>,
    ) -> Self {
        let mut uuids = HashMap::new();
        let mut present = HashSet::new();
        for (key, row) in &rows {
            let found = index.find(replica, row.table, key, row.name());
            present.extend(found);
            uuids.insert(*key, found.unwrap_or_else(|| names::row_uuid(key)));
        }
        Self {
            replica,
            index,
            scope,
            rows,
            desired_members,
            uuids,
            present,
        }
    }

    fn row(&self, key: &str, row: &DesiredRow, changes: &mut Changes) {
        let uuid = self.uuids[key];
        let current = self
            .replica
            .row(row.table, uuid)
            .filter(|_| self.present.contains(&uuid));
        let Some(current) = current else {
            let columns = row.columns.iter();
            let columns = columns.map(|(column, cell)| (*column, self.value(cell)));
            changes.insert(row, uuid, columns.collect());
            return;
        };
        for (column, cell) in row.cells() {
            let had = current
                .get(column)
                .cloned()
                .unwrap_or_else(Value::empty_set);
            let wanted = cell.map_or_else(|| cleared(&had), |cell| self.value(cell));
            if had != wanted {
                changes.column(row.table, row.unit, uuid, column, &had, &wanted);
            }
        }
    }

    fn value(&self, cell: &Cell) -> Value {
        match cell {
            Cell::Value(value) => value.clone(),
            Cell::Rows(keys) => Value::set(keys.iter().map(|key| self.uuids[key.as_str()])),
        }
    }

    /// A port group need not be among the desired rows.
    fn group(&self, key: &str) -> Uuid {
        let known = self.uuids.get(key).copied();
        let found = || self.index.find(self.replica, PORT_GROUP, key, None);
        known.or_else(found).unwrap_or_else(|| names::row_uuid(key))
    }

    /// Puts the ports of the compared networks into the groups that they want, and takes them out of all others.
    fn members(&self, changes: &mut Changes) {
        let mut wanted: BTreeMap<&str, BTreeSet<Uuid>> = BTreeMap::new();
        for (group, port) in self.desired_members {
            let group = self.group(group);
            wanted.entry(port).or_default().insert(group);
        }
        let mut groups: BTreeMap<Uuid, Membership> = BTreeMap::new();
        let ports = self.rows.iter().filter(|(_, row)| row.table == SWITCH_PORT);
        for (key, row) in ports {
            let port = self.uuids[key];
            let wanted = wanted.remove(key).unwrap_or_default();
            let had: BTreeSet<_> = self.index.groups_of(port).collect();
            for group in wanted.difference(&had) {
                groups.entry(*group).or_default().join(port, row.unit);
            }
            for group in had.difference(&wanted) {
                groups.entry(*group).or_default().leave(port, row.unit);
            }
        }
        for (group, membership) in groups {
            changes.membership(group, membership);
        }
    }

    /// Lets rows of the compared units go that nothing wants any more. Children go with the last reference to them.
    fn stale_rows(&self, changes: &mut Changes) {
        let places: Vec<_> = match self.scope {
            Scope::All => self.index.ours().collect(),
            Scope::Units(units) => {
                let units = units.iter();
                let places =
                    units.map(|unit| self.index.of_unit(unit).map(move |place| (*unit, place)));
                places.flatten().collect()
            }
        };
        for (unit, (table, uuid)) in places {
            if self.present.contains(&uuid) {
                continue;
            }
            changes.delete(table, unit, uuid);
            if table == SWITCH_PORT {
                changes.side_effects.extend(self.index.groups_of(uuid));
            }
        }
    }
}

/// The ports that a group gains and loses.
#[derive(Default)]
struct Membership {
    joining: BTreeSet<Uuid>,
    leaving: BTreeSet<Uuid>,
    units: BTreeSet<Unit>,
}

impl Membership {
    fn join(&mut self, port: Uuid, unit: Unit) {
        self.joining.insert(port);
        self.units.insert(unit);
    }

    fn leave(&mut self, port: Uuid, unit: Unit) {
        self.leaving.insert(port);
        self.units.insert(unit);
    }
}

/// Changes of one row that is there.
#[derive(Default)]
struct RowChanges {
    expected: BTreeMap<&'static str, Value>,
    update: BTreeMap<&'static str, Value>,
    mutations: Vec<Mutation>,
}

#[derive(Default)]
struct Changes {
    inserts: Vec<Operation>,
    inserted: HashSet<Uuid>,
    rows: BTreeMap<(&'static str, Uuid), RowChanges>,
    deletes: BTreeSet<(&'static str, Uuid)>,
    let_go: HashSet<Uuid>,
    /// Rows that the database changes by itself: groups that lose a port which is gone.
    side_effects: HashSet<Uuid>,
    units: BTreeSet<Unit>,
}

impl Changes {
    fn insert(&mut self, row: &DesiredRow, uuid: Uuid, columns: BTreeMap<&'static str, Value>) {
        self.units.insert(row.unit);
        self.inserted.insert(uuid);
        self.inserts.push(Operation::Insert {
            table: row.table,
            uuid: Some(uuid),
            name: None,
            row: columns,
        });
    }

    fn column(
        &mut self,
        table: &'static str,
        unit: Unit,
        uuid: Uuid,
        column: &'static str,
        had: &Value,
        wanted: &Value,
    ) {
        self.units.insert(unit);
        let changes = self.rows.entry((table, uuid)).or_default();
        if kind(column) == Kind::Single {
            changes.expected.insert(column, had.clone());
            changes.update.insert(column, wanted.clone());
            return;
        }
        changes.mutations.extend(mutations(column, had, wanted));
    }

    fn membership(&mut self, group: Uuid, membership: Membership) {
        self.units.extend(membership.units);
        let changes = self.rows.entry((PORT_GROUP, group)).or_default();
        if !membership.joining.is_empty() {
            let joining = Value::set(membership.joining);
            changes.mutations.push(Mutation::insert("ports", joining));
        }
        if !membership.leaving.is_empty() {
            let leaving = Value::set(membership.leaving);
            changes.mutations.push(Mutation::delete("ports", leaving));
        }
    }

    fn delete(&mut self, table: &'static str, unit: Unit, uuid: Uuid) {
        self.units.insert(unit);
        self.let_go.insert(uuid);
        if !is_child(table) {
            self.deletes.insert((table, uuid));
        }
    }

    fn into_difference(mut self) -> Difference {
        self.rows.retain(|place, _| !self.deletes.contains(place));
        let rows = self.rows.keys().map(|(_, uuid)| *uuid);
        let touched = rows
            .chain(self.inserted.iter().copied())
            .chain(self.let_go.iter().copied());
        let touched = touched.chain(self.side_effects).collect();
        let updated = self
            .rows
            .keys()
            .filter(|(_, uuid)| !self.inserted.contains(uuid))
            .count();
        let repair = Repair {
            inserted: self.inserted.len(),
            updated,
            deleted: self.let_go.len(),
            units: self.units,
        };
        let mut expectations = Vec::new();
        let mut writes = Vec::new();
        for ((table, row), changes) in self.rows {
            if !self.inserted.contains(&row) {
                let columns = changes.expected;
                expectations.push(Operation::Expect {
                    table,
                    row,
                    columns,
                });
            }
            let rows = Condition::row(row);
            if !changes.update.is_empty() {
                let (rows, row) = (rows.clone(), changes.update);
                writes.push(Operation::Update { table, rows, row });
            }
            if !changes.mutations.is_empty() {
                let mutations = changes.mutations;
                writes.push(Operation::Mutate {
                    table,
                    rows,
                    mutations,
                });
            }
        }
        let deletes = self.deletes.into_iter().map(|(table, row)| {
            let rows = Condition::row(row);
            Operation::Delete { table, rows }
        });
        let operations = expectations.into_iter().chain(self.inserts).chain(writes);
        Difference {
            operations: operations.chain(deletes).collect(),
            touched,
            repair,
        }
    }
}

/// Sets gain before they lose, for some may not be empty even for a moment; a map's key must go before it comes back.
fn mutations(column: &'static str, had: &Value, wanted: &Value) -> Vec<Mutation> {
    match (had, wanted) {
        (Value::Map(had), Value::Map(wanted)) => {
            let gone = had
                .iter()
                .filter(|(key, value)| wanted.get(key) != Some(value));
            let gone: BTreeSet<Atom> = gone.map(|(key, _)| key.clone()).collect();
            let new = wanted
                .iter()
                .filter(|(key, value)| had.get(key) != Some(value));
            let new: BTreeMap<Atom, Atom> = new
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            let gone = (!gone.is_empty()).then(|| Mutation::delete(column, Value::Set(gone)));
            let new = (!new.is_empty()).then(|| Mutation::insert(column, Value::Map(new)));
            gone.into_iter().chain(new).collect()
        }
        (Value::Set(had), Value::Set(wanted)) => {
            let new: BTreeSet<Atom> = wanted.difference(had).cloned().collect();
            let gone: BTreeSet<Atom> = had.difference(wanted).cloned().collect();
            let new = (!new.is_empty()).then(|| Mutation::insert(column, Value::Set(new)));
            let gone = (!gone.is_empty()).then(|| Mutation::delete(column, Value::Set(gone)));
            new.into_iter().chain(gone).collect()
        }
        // The schema says which of both a column is, and a replica holds to the schema.
        _ => Vec::new(),
    }
}

/// What a column holds of which nothing is said.
fn cleared(had: &Value) -> Value {
    match had {
        Value::Map(_) => Value::empty_map(),
        Value::Set(_) => Value::empty_set(),
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
