//! Finds rows of the replica by what marks them, without looking at all of them.

use super::names;
use super::schema::{MONITORED, PORT_GROUP, is_named};
use crate::ovsdb::{Event, Replica, Row, RowChange};
use crate::plan::Unit;
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

type Place = (&'static str, Uuid);

/// Kept current by every event of the replica.
#[derive(Debug, Default)]
pub struct Index {
    by_key: HashMap<String, BTreeSet<Place>>,
    by_name: HashMap<(&'static str, String), BTreeSet<Uuid>>,
    by_unit: HashMap<Unit, BTreeSet<Place>>,
    groups_of: HashMap<Uuid, BTreeSet<Uuid>>,
}

impl Index {
    pub fn of(replica: &Replica) -> Self {
        let mut index = Self::default();
        for (table, _) in MONITORED.tables() {
            for (uuid, row) in replica.rows(table) {
                index.add(table, uuid, row);
            }
        }
        index
    }

    pub fn take(&mut self, replica: &Replica, event: &Event) {
        match event {
            Event::Loaded => *self = Self::of(replica),
            Event::Lost => {}
            Event::Changed(changes) => changes.iter().for_each(|change| self.change(change)),
        }
    }

    fn change(&mut self, change: &RowChange) {
        if let Some(row) = &change.before {
            self.remove(change.table, change.uuid, row);
        }
        if let Some(row) = &change.after {
            self.add(change.table, change.uuid, row);
        }
    }

    fn add(&mut self, table: &'static str, uuid: Uuid, row: &Row) {
        if let Some(key) = key(row) {
            self.by_key
                .entry(key.to_owned())
                .or_default()
                .insert((table, uuid));
        }
        if let Some(unit) = unit(row) {
            self.by_unit.entry(unit).or_default().insert((table, uuid));
        }
        if let Some(name) = name(table, row) {
            self.by_name
                .entry((table, name.to_owned()))
                .or_default()
                .insert(uuid);
        }
        for port in members(table, row) {
            self.groups_of.entry(port).or_default().insert(uuid);
        }
    }

    fn remove(&mut self, table: &'static str, uuid: Uuid, row: &Row) {
        if let Some(key) = key(row) {
            take_out(&mut self.by_key, &key.to_owned(), &(table, uuid));
        }
        if let Some(unit) = unit(row) {
            take_out(&mut self.by_unit, &unit, &(table, uuid));
        }
        if let Some(name) = name(table, row) {
            take_out(&mut self.by_name, &(table, name.to_owned()), &uuid);
        }
        for port in members(table, row) {
            take_out(&mut self.groups_of, &port, &uuid);
        }
    }

    /// The row with a key: by its mark, else by the UUID that we give such rows, else by name.
    pub fn find(
        &self,
        replica: &Replica,
        table: &'static str,
        key: &str,
        name: Option<&str>,
    ) -> Option<Uuid> {
        let given = names::row_uuid(key);
        let marked = self.by_key.get(key).into_iter().flatten();
        let mut marked = marked
            .filter(|(place, _)| *place == table)
            .map(|(_, uuid)| *uuid);
        let first = marked.next();
        if first == Some(given) || marked.any(|uuid| uuid == given) {
            return Some(given);
        }
        let named = |name: &str| {
            let rows = self.by_name.get(&(table, name.to_owned()))?;
            rows.first().copied()
        };
        first
            .or_else(|| replica.row(table, given).map(|_| given))
            .or_else(|| named(name.filter(|_| is_named(table))?))
    }

    /// The rows that are marked as a unit's.
    pub fn of_unit(&self, unit: &Unit) -> impl Iterator<Item = Place> {
        self.by_unit.get(unit).into_iter().flatten().copied()
    }

    /// All rows that are marked as ours, with their units.
    pub fn ours(&self) -> impl Iterator<Item = (Unit, Place)> {
        let units = self.by_unit.iter();
        units.flat_map(|(unit, places)| places.iter().map(|place| (*unit, *place)))
    }

    /// The port groups that a port is in.
    pub fn groups_of(&self, port: Uuid) -> impl Iterator<Item = Uuid> {
        self.groups_of.get(&port).into_iter().flatten().copied()
    }
}

pub fn key(row: &Row) -> Option<&str> {
    row.at("external_ids", names::KEY)
}

/// The unit that a row is marked with.
pub fn unit(row: &Row) -> Option<Unit> {
    row.at("external_ids", names::UNIT)?.parse().ok()
}

fn name<'a>(table: &str, row: &'a Row) -> Option<&'a str> {
    row.text("name").filter(|_| is_named(table))
}

fn members(table: &str, row: &Row) -> impl Iterator<Item = Uuid> {
    let ports = row.get("ports").filter(|_| table == PORT_GROUP);
    ports.into_iter().flat_map(|ports| ports.uuids())
}

fn take_out<K: Eq + std::hash::Hash, V: Ord>(
    map: &mut HashMap<K, BTreeSet<V>>,
    key: &K,
    value: &V,
) {
    if let Some(values) = map.get_mut(key) {
        values.remove(value);
        if values.is_empty() {
            map.remove(key);
        }
    }
}
