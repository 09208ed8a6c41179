//! The rows the engine works on: what is to be done, by whom it is leased, and which epoch may write.
//!
//! `epoch` is the fencing token. It only ever grows for one subject, also from one operation to the next: a claim
//! raises it, and every write of a worker names the epoch it claimed with. A worker that lost its lease finds another
//! epoch in the row and is refused ([`Error::LeaseLost`]).

use crate::db::Tx;
use crate::error::{Error, Result, classify};
use crate::record::spoiling;
use crate::sql::{self, Row, SqlError};
use corten_model::ids::{OperationId, ProjectId, RequestId, UserId};
use corten_model::origin::Origin;
use corten_model::time::Timestamp;

const TABLE: &str = "operations";
const COLUMNS: &str = "id, kind, subject_kind, subject_id, project_id, user_id, request_id, place, step, input, attempt, \
     run_at, lease_owner, lease_until, epoch, deadline, cancel_requested, status, note, created_at, updated_at, \
     finished_at";

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Running,
    /// It has given up on its goal and cleans up: nothing interrupts it again.
    Unwinding,
    Done,
    Failed,
    /// Its owner or an administrator asked it to stop, and it has.
    Cancelled,
    /// A command that may break a running one (hard reboot, delete) took its place.
    Superseded,
}

impl Status {
    pub const ALL: [Self; 6] = [
        Self::Running,
        Self::Unwinding,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
        Self::Superseded,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Unwinding => "unwinding",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }

    fn parse(text: String) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(Error::UnknownValue {
                table: TABLE,
                column: "status",
                value: text,
            })
    }
}

/// A long-running change.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    pub id: OperationId,
    pub kind: String,
    pub subject_kind: String,
    pub subject_id: String,
    /// The project of the subject, for lists.
    pub project_id: Option<ProjectId>,
    pub user_id: Option<UserId>,
    pub request_id: RequestId,
    /// Where the next step runs.
    pub place: String,
    /// The next step, as its workflow writes it.
    pub step: String,
    pub input: String,
    /// How often the next step was tried and failed.
    pub attempt: i64,
    /// Not before this moment.
    pub run_at: Timestamp,
    pub lease_owner: Option<String>,
    pub lease_until: Timestamp,
    pub epoch: i64,
    /// Past this moment the workflow's time-out applies.
    pub deadline: Timestamp,
    pub cancel_requested: bool,
    pub status: Status,
    /// For people: what it waits for, why it is tried again, or why it ended.
    pub note: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

impl Operation {
    /// The origin of what this operation changes.
    pub fn origin(&self) -> Origin {
        Origin {
            request_id: self.request_id.clone(),
            user_id: self.user_id.clone(),
            project_id: self.project_id.clone(),
            operation_id: Some(self.id),
        }
    }
}

/// What an operation starts with.
#[derive(Debug, Clone)]
pub struct NewOperation {
    pub kind: String,
    pub subject_kind: String,
    pub subject_id: String,
    pub project_id: Option<ProjectId>,
    pub origin: Origin,
    pub place: String,
    pub step: String,
    pub input: String,
    pub now: Timestamp,
    pub deadline: Timestamp,
}

fn read(row: &Row) -> Result<Operation> {
    let text = |column: &str| row.try_get::<String>(column);
    let optional = |column: &str| row.try_get::<Option<String>>(column);
    let number = |column: &str| row.try_get::<i64>(column);
    let columns = || -> Result<(Operation, String, String), SqlError> {
        let operation = Operation {
            id: OperationId(uuid::Uuid::nil()),
            kind: text("kind")?,
            subject_kind: text("subject_kind")?,
            subject_id: text("subject_id")?,
            project_id: optional("project_id")?.map(ProjectId),
            user_id: optional("user_id")?.map(UserId),
            request_id: RequestId(text("request_id")?),
            place: text("place")?,
            step: text("step")?,
            input: text("input")?,
            attempt: number("attempt")?,
            run_at: Timestamp(number("run_at")?),
            lease_owner: optional("lease_owner")?,
            lease_until: Timestamp(number("lease_until")?),
            epoch: number("epoch")?,
            deadline: Timestamp(number("deadline")?),
            cancel_requested: number("cancel_requested")? != 0,
            status: Status::Running,
            note: text("note")?,
            created_at: Timestamp(number("created_at")?),
            updated_at: Timestamp(number("updated_at")?),
            finished_at: row.try_get::<Option<i64>>("finished_at")?.map(Timestamp),
        };
        Ok((operation, text("id")?, text("status")?))
    };
    let (operation, id, status) = columns().map_err(classify(TABLE, "reading an operation"))?;
    let id = id.parse().map_err(|_| Error::UnknownValue {
        table: TABLE,
        column: "id",
        value: id,
    })?;
    Ok(Operation {
        id,
        status: Status::parse(status)?,
        ..operation
    })
}

/// Adds an operation and wakes the workers of its place. [`Error::Exists`] if one is running on the subject.
pub async fn insert(tx: &mut Tx, new: NewOperation) -> Result<OperationId> {
    let place = new.place.clone();
    let id = add(tx, new, Status::Running, "").await?;
    tx.wake(place);
    Ok(id)
}

/// Adds an operation that was over at once, so that the list of what was done to its subject is whole.
pub async fn record(
    tx: &mut Tx,
    new: NewOperation,
    status: Status,
    note: &str,
) -> Result<OperationId> {
    add(tx, new, status, note).await
}

async fn add(tx: &mut Tx, new: NewOperation, status: Status, note: &str) -> Result<OperationId> {
    let id = OperationId::random();
    let is_over = !matches!(status, Status::Running | Status::Unwinding);
    let outcome = sql::query(
        "INSERT INTO operations (id, kind, subject_kind, subject_id, project_id, user_id, request_id, place, step, \
             input, attempt, run_at, lease_owner, lease_until, epoch, deadline, cancel_requested, status, note, \
             created_at, updated_at, finished_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, NULL, 0, \
             (SELECT COALESCE(MAX(epoch), 0) FROM operations WHERE subject_kind = $3 AND subject_id = $4), \
             $12, 0, $13, $14, $11, $11, $15) \
         ON CONFLICT DO NOTHING",
    )
    .bind(id.to_string())
    .bind(new.kind)
    .bind(new.subject_kind)
    .bind(new.subject_id)
    .bind(new.project_id.map(|id| id.0))
    .bind(new.origin.user_id.map(|id| id.0))
    .bind(new.origin.request_id.0)
    .bind(new.place)
    .bind(new.step)
    .bind(new.input)
    .bind(new.now.micros())
    .bind(new.deadline.micros())
    .bind(status.as_str())
    .bind(note.to_owned())
    .bind(is_over.then(|| new.now.micros()))
    .execute(tx.conn())
    .await;
    let added = spoiling(tx, outcome, TABLE, "adding an operation")?;
    if added.rows_affected() == 0 {
        return Err(Error::Exists { table: TABLE });
    }
    Ok(id)
}

/// Who takes operations, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    pub owner: &'a str,
    pub now: Timestamp,
    pub lease_until: Timestamp,
    /// At most so many.
    pub limit: usize,
}

/// Leases the runnable operations of these places. Those whose lease ran out are runnable again.
pub async fn claim(tx: &mut Tx, claim: Claim<'_>, places: &[String]) -> Result<Vec<Operation>> {
    let wanted: Vec<_> = (0..places.len())
        .map(|index| format!("${}", index + 4))
        .collect();
    let condition = format!("run_at <= $3 AND place IN ({})", wanted.join(", "));
    let places = places.iter().map(|place| place.as_str().into());
    lease(tx, claim, &condition, places.collect()).await
}

/// Leases those that are over their budget since `since` and that nobody works on: their place is away.
pub async fn claim_abandoned(
    tx: &mut Tx,
    claim: Claim<'_>,
    since: Timestamp,
) -> Result<Vec<Operation>> {
    lease(tx, claim, "deadline <= $4", vec![since.micros().into()]).await
}

/// `values` are `$4` and up in the condition; `$3` is now.
async fn lease(
    tx: &mut Tx,
    claim: Claim<'_>,
    condition: &str,
    values: Vec<sql::Value>,
) -> Result<Vec<Operation>> {
    let sql = format!(
        // Materialized, so that the limit holds whatever plan PostgreSQL chooses for the update.
        "WITH runnable AS MATERIALIZED ( \
             SELECT id FROM operations \
             WHERE finished_at IS NULL AND lease_until <= $3 AND {condition} \
             ORDER BY run_at LIMIT {}{}) \
         UPDATE operations SET lease_owner = $1, lease_until = $2, epoch = epoch + 1, hastened_at = NULL \
         WHERE id IN (SELECT id FROM runnable) \
         RETURNING {COLUMNS}",
        claim.limit,
        tx.dialect().skip_locked(),
    );
    let mut query = sql::query(sql)
        .bind(claim.owner)
        .bind(claim.lease_until.micros())
        .bind(claim.now.micros());
    for value in values {
        query = query.bind(value);
    }
    let rows = query
        .fetch_all(tx.conn())
        .await
        .map_err(classify(TABLE, "claiming operations"))?;
    rows.iter().map(read).collect()
}

/// When the next operation of these places becomes runnable, if any waits.
pub async fn next_due(tx: &mut Tx, places: &[String]) -> Result<Option<Timestamp>> {
    let wanted: Vec<_> = (0..places.len())
        .map(|index| format!("${}", index + 1))
        .collect();
    let sql = format!(
        "SELECT MIN(CASE WHEN run_at > lease_until THEN run_at ELSE lease_until END) AS due \
         FROM operations WHERE finished_at IS NULL AND place IN ({})",
        wanted.join(", "),
    );
    let mut query = sql::query(sql);
    for place in places {
        query = query.bind(place);
    }
    let row = query
        .fetch_one(tx.conn())
        .await
        .map_err(classify(TABLE, "looking for work"))?;
    let due: Option<i64> = row
        .try_get("due")
        .map_err(classify(TABLE, "looking for work"))?;
    Ok(due.map(Timestamp))
}

/// What a worker writes at the end of a step.
#[derive(Debug, Clone)]
pub struct Progress {
    /// [`Status::Running`] or [`Status::Unwinding`].
    pub status: Status,
    pub place: String,
    pub step: String,
    pub attempt: i64,
    pub run_at: Timestamp,
    /// `None` gives the lease back.
    pub lease_until: Option<Timestamp>,
    pub deadline: Timestamp,
    pub note: String,
    pub now: Timestamp,
}

fn fenced(affected: u64, operation: OperationId, epoch: i64) -> Result<()> {
    if affected == 1 {
        Ok(())
    } else {
        Err(Error::LeaseLost {
            operation: operation.to_string(),
            epoch,
        })
    }
}

/// Moves an operation to its next step, if `epoch` still holds it, and says whether it has been asked to stop. Nothing
/// is waited for if it was hastened, or asked to stop, since this step began: the step may not have seen why.
pub async fn advance(
    tx: &mut Tx,
    operation: OperationId,
    epoch: i64,
    progress: Progress,
) -> Result<bool> {
    let released = progress.lease_until.is_none();
    let row = sql::query(
        "UPDATE operations SET place = $3, step = $4, attempt = $5, \
             run_at = CASE WHEN hastened_at IS NOT NULL AND $6 > $10 THEN $10 ELSE $6 END, hastened_at = NULL, \
             lease_until = $7, deadline = $8, note = $9, updated_at = $10, status = $11 \
         WHERE id = $1 AND epoch = $2 AND finished_at IS NULL RETURNING cancel_requested",
    )
    .bind(operation.to_string())
    .bind(epoch)
    .bind(progress.place.clone())
    .bind(progress.step)
    .bind(progress.attempt)
    .bind(progress.run_at.micros())
    .bind(progress.lease_until.map_or(0, Timestamp::micros))
    .bind(progress.deadline.micros())
    .bind(progress.note)
    .bind(progress.now.micros())
    .bind(progress.status.as_str())
    .fetch_optional(tx.conn())
    .await
    .map_err(classify(TABLE, "advancing an operation"))?;
    if released {
        tx.wake(progress.place);
    }
    fenced(row.iter().len() as u64, operation, epoch)?;
    row.map_or(Ok(0), |row| row.try_get::<i64>("cancel_requested"))
        .map(|asked| asked != 0)
        .map_err(classify(TABLE, "advancing an operation"))
}

/// Keeps a lease alive while a step takes its time.
pub async fn extend_lease(
    tx: &mut Tx,
    operation: OperationId,
    epoch: i64,
    until: Timestamp,
) -> Result<()> {
    // A lease that the step has just given back is not taken again.
    let done = sql::query(
        "UPDATE operations SET lease_until = $3 \
         WHERE id = $1 AND epoch = $2 AND finished_at IS NULL AND lease_until > 0",
    )
    .bind(operation.to_string())
    .bind(epoch)
    .bind(until.micros())
    .execute(tx.conn())
    .await
    .map_err(classify(TABLE, "extending a lease"))?;
    fenced(done.rows_affected(), operation, epoch)
}

/// Takes the row's lock for a step's commit, and proves that `epoch` still holds it.
pub async fn hold(tx: &mut Tx, operation: OperationId, epoch: i64) -> Result<()> {
    let done = sql::query(
        "UPDATE operations SET epoch = epoch WHERE id = $1 AND epoch = $2 AND finished_at IS NULL",
    )
    .bind(operation.to_string())
    .bind(epoch)
    .execute(tx.conn())
    .await
    .map_err(classify(TABLE, "holding an operation"))?;
    fenced(done.rows_affected(), operation, epoch)
}

/// Ends an operation, if `epoch` still holds it. Its input goes: it may hold a password, and nobody needs it again.
pub async fn finish(
    tx: &mut Tx,
    operation: OperationId,
    epoch: i64,
    status: Status,
    note: &str,
    now: Timestamp,
) -> Result<()> {
    let done = sql::query(
        "UPDATE operations SET status = $3, note = $4, updated_at = $5, finished_at = $5, lease_until = 0, input = '' \
         WHERE id = $1 AND epoch = $2 AND finished_at IS NULL",
    )
    .bind(operation.to_string())
    .bind(epoch)
    .bind(status.as_str())
    .bind(note)
    .bind(now.micros())
    .execute(tx.conn())
    .await
    .map_err(classify(TABLE, "finishing an operation"))?;
    fenced(done.rows_affected(), operation, epoch)
}

/// Ends whatever runs on a subject so that another command can take its place. The worker that still works on it is
/// fenced off: its epoch no longer holds a running row.
pub async fn supersede(
    tx: &mut Tx,
    subject_kind: &str,
    subject_id: &str,
    note: &str,
    now: Timestamp,
) -> Result<Option<Operation>> {
    let sql = format!(
        "UPDATE operations SET status = 'superseded', note = $3, updated_at = $4, finished_at = $4, \
             epoch = epoch + 1, lease_until = 0, input = '' \
         WHERE subject_kind = $1 AND subject_id = $2 AND finished_at IS NULL RETURNING {COLUMNS}"
    );
    let row = sql::query(sql)
        .bind(subject_kind)
        .bind(subject_id)
        .bind(note)
        .bind(now.micros())
        .fetch_optional(tx.conn())
        .await
        .map_err(classify(TABLE, "superseding an operation"))?;
    row.as_ref().map(read).transpose()
}

/// What an operation waits for has come: it becomes runnable now. If a step of it is worked on, it does not wait when
/// that step has ended.
pub async fn hasten(
    tx: &mut Tx,
    subject_kind: &str,
    subject_id: &str,
    now: Timestamp,
) -> Result<()> {
    let row = sql::query(
        "UPDATE operations SET run_at = CASE WHEN lease_until <= $3 THEN $3 ELSE run_at END, \
             hastened_at = $3, updated_at = $3 \
         WHERE subject_kind = $1 AND subject_id = $2 AND finished_at IS NULL \
             AND (run_at > $3 OR lease_until > $3) RETURNING place",
    )
    .bind(subject_kind)
    .bind(subject_id)
    .bind(now.micros())
    .fetch_optional(tx.conn())
    .await
    .map_err(classify(TABLE, "hastening an operation"))?;
    if let Some(row) = row {
        let place: String = row
            .try_get("place")
            .map_err(classify(TABLE, "hastening an operation"))?;
        tx.wake(place);
    }
    Ok(())
}

/// Asks a running operation to stop at its next step. False if it is not running.
pub async fn request_cancel(tx: &mut Tx, operation: OperationId, now: Timestamp) -> Result<bool> {
    let row = sql::query(
        "UPDATE operations SET cancel_requested = 1, run_at = $2, hastened_at = $2, updated_at = $2 \
         WHERE id = $1 AND finished_at IS NULL RETURNING place",
    )
    .bind(operation.to_string())
    .bind(now.micros())
    .fetch_optional(tx.conn())
    .await
    .map_err(classify(TABLE, "cancelling an operation"))?;
    let Some(row) = row else { return Ok(false) };
    let place: String = row
        .try_get("place")
        .map_err(classify(TABLE, "cancelling an operation"))?;
    tx.wake(place);
    Ok(true)
}

/// Which operations a list shows; `None` means any.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub id: Option<OperationId>,
    pub subject: Option<(String, String)>,
    pub project_id: Option<ProjectId>,
    pub request_id: Option<RequestId>,
    /// Only those that have not ended.
    pub running: bool,
    pub limit: Option<i64>,
}

/// Operations, newest first.
pub async fn list(tx: &mut Tx, filter: Filter) -> Result<Vec<Operation>> {
    let mut conditions = vec!["1 = 1".to_owned()];
    let mut values = Vec::new();
    let mut equal = |column: &str, value: String| {
        values.push(value);
        conditions.push(format!("{column} = ${}", values.len()));
    };
    if let Some(id) = filter.id {
        equal("id", id.to_string());
    }
    if let Some((kind, id)) = filter.subject {
        equal("subject_kind", kind);
        equal("subject_id", id);
    }
    if let Some(project) = filter.project_id {
        equal("project_id", project.0);
    }
    if let Some(request) = filter.request_id {
        equal("request_id", request.0);
    }
    if filter.running {
        conditions.push("finished_at IS NULL".to_owned());
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM operations WHERE {} ORDER BY created_at DESC, id DESC LIMIT {}",
        conditions.join(" AND "),
        filter.limit.unwrap_or(1000),
    );
    let query = values
        .into_iter()
        .fold(sql::query(sql), |query, value| query.bind(value));
    let rows = query
        .fetch_all(tx.conn())
        .await
        .map_err(classify(TABLE, "listing operations"))?;
    rows.iter().map(read).collect()
}

/// The operation with this id.
pub async fn get(tx: &mut Tx, id: OperationId) -> Result<Option<Operation>> {
    Ok(list(
        tx,
        Filter {
            id: Some(id),
            ..Filter::default()
        },
    )
    .await?
    .into_iter()
    .next())
}

/// What runs on a subject now.
pub async fn running_on(tx: &mut Tx, kind: &str, id: &str) -> Result<Option<Operation>> {
    let filter = Filter {
        subject: Some((kind.to_owned(), id.to_owned())),
        running: true,
        ..Filter::default()
    };
    Ok(list(tx, filter).await?.into_iter().next())
}

/// The highest epoch that any operation on a subject ever had.
pub async fn last_epoch(tx: &mut Tx, kind: &str, id: &str) -> Result<i64> {
    let row = sql::query(
        "SELECT COALESCE(MAX(epoch), 0) AS epoch FROM operations WHERE subject_kind = $1 AND subject_id = $2",
    )
    .bind(kind)
    .bind(id)
    .fetch_one(tx.conn())
    .await
    .map_err(classify(TABLE, "reading the last epoch"))?;
    row.try_get("epoch")
        .map_err(classify(TABLE, "reading the last epoch"))
}
