//! The rows that plans want.

use super::names;
use super::schema::{PORT_GROUP, owned};
use crate::ovsdb::{Atom, Value};
use crate::plan::Unit;
use std::collections::{BTreeMap, BTreeSet};

/// What a column is to hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Value(Value),
    /// The rows with these keys.
    Rows(BTreeSet<String>),
}

/// One row. What it says nothing of is to be empty.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredRow {
    pub table: &'static str,
    pub unit: Unit,
    pub columns: BTreeMap<&'static str, Cell>,
}

/// The rows of some units.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// By key.
    pub rows: BTreeMap<String, DesiredRow>,
    /// Which ports are in which port groups, by their keys.
    pub members: BTreeSet<(String, String)>,
}

impl DesiredRow {
    fn new(table: &'static str, unit: Unit, key: &str) -> Self {
        let marks = Value::map([
            (names::UNIT, unit.to_string()),
            (names::KEY, key.to_owned()),
        ]);
        let columns = BTreeMap::from([("external_ids", Cell::Value(marks))]);
        Self {
            table,
            unit,
            columns,
        }
    }

    pub fn set(&mut self, column: &'static str, value: Value) -> &mut Self {
        self.columns.insert(column, Cell::Value(value));
        self
    }

    pub fn text(&mut self, column: &'static str, text: impl Into<String>) -> &mut Self {
        self.set(column, Value::one(text.into()))
    }

    /// Adds to a map.
    pub fn pair(&mut self, column: &'static str, key: &str, value: impl Into<String>) -> &mut Self {
        let cell = self.columns.entry(column);
        let cell = cell.or_insert_with(|| Cell::Value(Value::empty_map()));
        if let Cell::Value(Value::Map(pairs)) = cell {
            pairs.insert(Atom::from(key), Atom::Text(value.into()));
        }
        self
    }

    /// Adds a row to those that the column refers to.
    pub fn refer(&mut self, column: &'static str, key: impl Into<String>) -> &mut Self {
        let cell = self.columns.entry(column);
        let cell = cell.or_insert_with(|| Cell::Rows(BTreeSet::new()));
        if let Cell::Rows(keys) = cell {
            keys.insert(key.into());
        }
        self
    }

    /// The name that tells it apart, in tables that have one.
    pub fn name(&self) -> Option<&str> {
        match self.columns.get("name")? {
            Cell::Value(value) => value.as_text(),
            Cell::Rows(_) => None,
        }
    }

    /// What each column of ours is to hold; None where nothing was said.
    pub fn cells(&self) -> impl Iterator<Item = (&'static str, Option<&Cell>)> {
        owned(self.table).map(|column| (column, self.columns.get(column)))
    }
}

impl Desired {
    /// Adds a row, or finds it again to say more of it.
    pub fn row(&mut self, table: &'static str, unit: Unit, key: String) -> &mut DesiredRow {
        let row = DesiredRow::new(table, unit, &key);
        self.rows.entry(key).or_insert(row)
    }

    pub fn member(&mut self, group: String, port: String) {
        self.members.insert((group, port));
    }

    pub fn merge(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.members.extend(other.members);
    }

    /// The keys of port groups that members want and no row describes.
    pub fn undescribed_groups(&self) -> BTreeSet<&str> {
        let groups = self.members.iter().map(|(group, _)| group.as_str());
        groups
            .filter(|group| {
                self.rows
                    .get(*group)
                    .is_none_or(|row| row.table != PORT_GROUP)
            })
            .collect()
    }
}
