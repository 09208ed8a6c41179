//! A database in memory that does what ovsdb-server does with a transaction: operations, then the fall of rows that
//! nothing refers to, then unique names (RFC 7047, sections 3.2 and 5.2).

use super::super::index::Index;
use super::super::schema::{MONITORED, PORT_GROUP, ROUTER, SWITCH, is_child, is_named};
use crate::ovsdb::{Atom, Event, Mutation, Operation, Replica, Row, RowChange, Value};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

#[derive(Clone, Default)]
pub struct Model {
    pub replica: Replica,
}

impl Model {
    pub fn index(&self) -> Index {
        Index::of(&self.replica)
    }

    /// Runs a transaction, and keeps an index current with the changes that it made.
    pub fn run(&mut self, operations: &[Operation], index: &mut Index) -> Result<(), String> {
        let before = self.replica.clone();
        for operation in operations {
            self.operate(operation)?;
        }
        self.let_children_fall();
        self.forget_rows_that_are_gone();
        self.check_names()?;
        let changes = self.changes_since(&before);
        index.take(&self.replica, &Event::Changed(changes));
        Ok(())
    }

    fn operate(&mut self, operation: &Operation) -> Result<(), String> {
        match operation {
            Operation::Insert {
                table, uuid, row, ..
            } => {
                let uuid = uuid.ok_or("no uuid")?;
                let columns = row.iter().map(|(column, value)| (*column, value.clone()));
                let row: Row = complete(table, columns.collect());
                match self.replica.put(table, uuid, row) {
                    None => Ok(()),
                    Some(_) => Err(format!("duplicate uuid {uuid} in {table}")),
                }
            }
            Operation::Update { table, rows, row } => {
                let uuid = selected(rows);
                let mut changed = self.there(table, uuid)?;
                for (column, value) in row {
                    changed.set(column, value.clone());
                }
                self.replica.put(table, uuid, changed);
                Ok(())
            }
            Operation::Mutate {
                table,
                rows,
                mutations,
            } => {
                let uuid = selected(rows);
                let mut changed = self.there(table, uuid)?;
                for mutation in mutations {
                    mutate(&mut changed, mutation);
                    if *table == super::super::schema::ROUTER_PORT {
                        let networks = changed.get("networks").unwrap();
                        assert_ne!(
                            *networks,
                            Value::empty_set(),
                            "a router port needs a network"
                        );
                    }
                }
                self.replica.put(table, uuid, changed);
                Ok(())
            }
            Operation::Delete { table, rows } => {
                let gone = self.replica.remove(table, selected(rows));
                gone.map(drop)
                    .ok_or_else(|| format!("nothing to delete in {table}"))
            }
            Operation::Expect {
                table,
                row,
                columns,
            } => {
                let there = self.there(table, *row)?;
                let same = columns
                    .iter()
                    .all(|(column, value)| there.get(column) == Some(value));
                if same {
                    Ok(())
                } else {
                    Err("timed out".to_owned())
                }
            }
            Operation::Select { .. } | Operation::Comment(_) => Ok(()),
        }
    }

    fn there(&self, table: &str, uuid: Uuid) -> Result<Row, String> {
        let row = self.replica.row(table, uuid).cloned();
        row.ok_or_else(|| format!("{table} has no row {uuid}"))
    }

    fn let_children_fall(&mut self) {
        loop {
            let held: BTreeSet<Uuid> = self
                .rows()
                .flat_map(|(table, _, row)| strong(table, row))
                .collect();
            let fallen: Vec<_> = self
                .rows()
                .filter(|(table, uuid, _)| is_child(table) && !held.contains(uuid))
                .map(|(table, uuid, _)| (table, uuid))
                .collect();
            if fallen.is_empty() {
                return;
            }
            for (table, uuid) in fallen {
                self.replica.remove(table, uuid);
            }
        }
    }

    /// Weak references.
    fn forget_rows_that_are_gone(&mut self) {
        let there: BTreeSet<Uuid> = self.rows().map(|(_, uuid, _)| uuid).collect();
        let all: Vec<_> = self
            .rows()
            .map(|(table, uuid, row)| (table, uuid, row.clone()))
            .collect();
        for (table, uuid, mut row) in all {
            for column in [
                "ports",
                "dhcpv4_options",
                "dhcpv6_options",
                "dns_records",
                "load_balancer",
            ] {
                let Some(value) = row.get(column) else {
                    continue;
                };
                let kept = Value::set(value.uuids().filter(|uuid| there.contains(uuid)));
                row.set(column, kept);
            }
            self.replica.put(table, uuid, row);
        }
    }

    fn check_names(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for (table, _, row) in self.rows() {
            if is_named(table) && table != SWITCH && table != ROUTER {
                let name = row.text("name").unwrap_or_default().to_owned();
                if !names.insert((table, name.clone())) {
                    return Err(format!("two rows named {name} in {table}"));
                }
            }
        }
        Ok(())
    }

    pub fn rows(&self) -> impl Iterator<Item = (&'static str, Uuid, &Row)> {
        let tables = MONITORED.tables();
        tables.flat_map(|(table, _)| {
            self.replica
                .rows(table)
                .map(move |(uuid, row)| (table, uuid, row))
        })
    }

    fn changes_since(&self, before: &Replica) -> Vec<RowChange> {
        let mut changes = Vec::new();
        for (table, _) in MONITORED.tables() {
            let uuids = before
                .rows(table)
                .chain(self.replica.rows(table))
                .map(|(uuid, _)| uuid);
            for uuid in uuids.collect::<BTreeSet<_>>() {
                let (before, after) = (
                    before.row(table, uuid).cloned(),
                    self.replica.row(table, uuid).cloned(),
                );
                if before != after {
                    changes.push(RowChange {
                        table,
                        uuid,
                        before,
                        after,
                    });
                }
            }
        }
        changes
    }

    /// The content without UUIDs: references as keys.
    pub fn content(&self) -> BTreeSet<String> {
        let keys: BTreeMap<Uuid, String> = self
            .rows()
            .map(|(_, uuid, row)| {
                (
                    uuid,
                    super::super::index::key(row).unwrap_or("?").to_owned(),
                )
            })
            .collect();
        let rows = self.rows().map(|(table, uuid, row)| {
            let columns = row.columns().map(|(column, value)| {
                let mut text = format!("{column}={}", value.to_json());
                for uuid in value.uuids() {
                    text = text.replace(
                        &uuid.to_string(),
                        keys.get(&uuid).map_or("gone", String::as_str),
                    );
                }
                let mut words: Vec<_> = text.split(',').map(str::to_owned).collect();
                words.sort();
                words.concat()
            });
            format!(
                "{table} {}: {}",
                keys[&uuid],
                columns.collect::<Vec<_>>().join(" ")
            )
        });
        rows.collect()
    }
}

/// A row with every column that is watched; what kind of value it has is told by our own writing.
fn complete(table: &str, mut columns: BTreeMap<&'static str, Value>) -> Row {
    use super::super::schema::{Kind, kind};
    let (_, names) = MONITORED.tables().find(|(name, _)| *name == table).unwrap();
    for name in names {
        columns.entry(name).or_insert_with(|| match kind(name) {
            Kind::Map => Value::empty_map(),
            Kind::Set | Kind::Single => Value::empty_set(),
        });
    }
    columns.into_iter().collect()
}

fn selected(rows: &[crate::ovsdb::Condition]) -> Uuid {
    let json = serde_json::to_value(rows).unwrap();
    json[0][2][1].as_str().unwrap().parse().unwrap()
}

fn strong(table: &str, row: &Row) -> Vec<Uuid> {
    let columns: &[&str] = match table {
        PORT_GROUP => &["acls"],
        _ => &[
            "ports",
            "acls",
            "qos_rules",
            "static_routes",
            "nat",
            "gateway_chassis",
        ],
    };
    let values = columns.iter().filter_map(|column| row.get(column));
    values
        .flat_map(|value| value.uuids().collect::<Vec<_>>())
        .collect()
}

fn mutate(row: &mut Row, Mutation(column, mutator, value): &Mutation) {
    let old = row.get(column).unwrap().clone();
    let new = match (old, *mutator, value) {
        (Value::Set(old), "insert", Value::Set(more)) => {
            Value::Set(old.union(more).cloned().collect())
        }
        (Value::Set(old), "delete", Value::Set(gone)) => {
            Value::Set(old.difference(gone).cloned().collect())
        }
        (Value::Map(mut old), "insert", Value::Map(more)) => {
            for (key, value) in more {
                // As the server does: what is there stays.
                old.entry(key.clone()).or_insert_with(|| value.clone());
            }
            Value::Map(old)
        }
        (Value::Map(mut old), "delete", Value::Set(gone)) => {
            old.retain(|key: &Atom, _| !gone.contains(key));
            Value::Map(old)
        }
        (old, mutator, value) => panic!("{column} {mutator} {value:?} on {old:?}"),
    };
    row.set(column, new);
}
