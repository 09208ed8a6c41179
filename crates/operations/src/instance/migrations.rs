//! Migrations as administrators see them: each change of flavor that was asked for, and how it went.
//!
//! The rows say what was asked; the status is a fold of the operations on the instance, from the one that resized it to
//! the next that does.

use crate::context::Context;
use crate::host;
use crate::resize_instance::Step;
use corten_iam::actor::Actor;
use corten_model::ids::{FlavorId, InstanceId, OperationId};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::flavors::Flavor;
use corten_store::instances::{self, Instance};
use corten_store::migrations::Migration;
use corten_store::operations::{self, Operation, Status};
use corten_store::record::{self, Direction};
use corten_store::{Error, Failure, Query, Tx, sequences};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Keeps that a resize was asked for, in the transaction that submits its operation.
pub(super) async fn keep(
    tx: &mut Tx,
    actor: &Actor,
    instance: &Instance,
    operation: OperationId,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(resize) = &instance.resize else {
        return Ok(());
    };
    let migration = Migration {
        id: operation,
        number: sequences::next(tx, "migrations").await?,
        kind: "resize".to_owned(),
        instance_id: instance.id,
        project_id: actor.project_id().unwrap_or(&instance.project_id).clone(),
        user_id: actor.user_id.clone(),
        host: instance.host_name.clone().unwrap_or_default(),
        old_flavor: flavor_number(tx, &resize.old_flavor.id).await?,
        new_flavor: flavor_number(tx, &resize.new_flavor.id).await?,
        created_at: now,
    };
    record::insert(tx, &migration).await
}

async fn flavor_number(tx: &mut Tx, id: &FlavorId) -> Result<Option<i64>, Error> {
    let flavor = record::get::<Flavor>(tx, id).await?;
    Ok(flavor.map(|flavor| flavor.number))
}

/// What a list is narrowed to. Everything that is set must hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub instance_id: Option<String>,
    pub host: Option<String>,
    pub kind: Option<String>,
    pub user_id: Option<String>,
    pub project_id: Option<String>,
    /// Nova's word for how it went.
    pub status: Option<String>,
    pub changed_since: Option<Timestamp>,
    pub changed_before: Option<Timestamp>,
}

impl Filter {
    fn query(&self) -> Query<Migration> {
        let columns = [
            ("instance_id", &self.instance_id),
            ("host", &self.host),
            ("kind", &self.kind),
            ("user_id", &self.user_id),
            ("project_id", &self.project_id),
        ];
        columns
            .into_iter()
            .filter_map(|(column, value)| Some((column, value.as_deref()?)))
            .fold(Query::new(), |query, (column, value)| {
                query.equals(column, value)
            })
    }

    fn takes(&self, course: &Course) -> bool {
        let status = self.status.as_deref();
        status.is_none_or(|status| status == course.status)
            && self.changed_since.is_none_or(|at| course.updated_at >= at)
            && self.changed_before.is_none_or(|at| course.updated_at <= at)
    }
}

/// How a migration went so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// Nova's word: `migrating`, `finished`, `confirmed`, …
    pub status: &'static str,
    pub updated_at: Timestamp,
}

/// So many rows are read at a time.
const CHUNK: usize = 200;

/// Migrations, newest first, from after `marker`.
pub async fn list(
    cx: &Context,
    actor: &Actor,
    filter: &Filter,
    marker: Option<&str>,
    limit: usize,
) -> Result<Vec<(Migration, Course)>, Failure> {
    host::check_readable(cx, actor)?;
    let mut tx = cx.store.read().await?;
    let mut last = match marker {
        None => None,
        Some(id) => Some(
            record::get::<Migration>(&mut tx, id)
                .await?
                .ok_or_else(|| Refusal::invalid(format!("Marker {id} could not be found.")))?,
        ),
    };
    let mut found = Vec::new();
    let mut histories = HashMap::new();
    while found.len() < limit {
        let mut query = filter.query().order_by("number", Direction::Descending);
        if let Some(last) = &last {
            query = query.after(last);
        }
        let rows = query.limit(CHUNK as i64).all(&mut tx).await?;
        let is_end = rows.len() < CHUNK;
        last = rows.last().cloned();
        for row in rows {
            let history = history(&mut tx, &mut histories, row.instance_id).await?;
            if let Some(course) = course(history, row.id).filter(|course| filter.takes(course)) {
                found.push((row, course));
            }
        }
        if is_end {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// What was done to an instance, newest first.
async fn history<'a>(
    tx: &mut Tx,
    known: &'a mut HashMap<InstanceId, Vec<Operation>>,
    id: InstanceId,
) -> Result<&'a [Operation], Failure> {
    if let Entry::Vacant(entry) = known.entry(id) {
        let filter = operations::Filter {
            subject: Some((instances::SUBJECT.to_owned(), id.to_string())),
            ..operations::Filter::default()
        };
        entry.insert(operations::list(tx, filter).await?);
    }
    Ok(known.get(&id).map(Vec::as_slice).unwrap_or_default())
}

/// The fold: the resize itself, then the last word on it before the next resize.
fn course(history: &[Operation], id: OperationId) -> Option<Course> {
    let own = history.iter().position(|operation| operation.id == id)?;
    let (later, own) = (&history[..own], &history[own]);
    let next_resize = later
        .iter()
        .rposition(|operation| operation.kind == own.kind);
    let word = later[next_resize.map_or(0, |next| next + 1)..]
        .iter()
        .find_map(|operation| Some((last_word(operation)?, operation.updated_at)));
    let (status, updated_at) = match (own.status, word) {
        (Status::Done, Some(word)) => word,
        (Status::Done, None) => ("finished", own.updated_at),
        (Status::Running | Status::Unwinding, _) => (under_way(own), own.updated_at),
        (Status::Failed | Status::Cancelled | Status::Superseded, _) => ("error", own.updated_at),
    };
    Some(Course { status, updated_at })
}

/// What an operation after it means for a resize that waited for its owner's word.
fn last_word(operation: &Operation) -> Option<&'static str> {
    let (doing, done) = match operation.kind.as_str() {
        "confirm_resize_instance" => ("confirming", "confirmed"),
        "revert_resize_instance" => ("reverting", "reverted"),
        // What is deleted keeps its flavor.
        "delete_instance" => ("confirmed", "confirmed"),
        _ => return None,
    };
    Some(match operation.status {
        Status::Done => done,
        Status::Running | Status::Unwinding => doing,
        Status::Failed | Status::Cancelled | Status::Superseded => "error",
    })
}

/// Nova's word for the step of a resize.
fn under_way(resize: &Operation) -> &'static str {
    match serde_json::from_str(&resize.step) {
        Ok(Step::Prepare) => "pre-migrating",
        Ok(Step::Start { .. }) => "post-migrating",
        Ok(Step::Reshape { .. } | Step::Undo { .. }) | Err(_) => "migrating",
    }
}
