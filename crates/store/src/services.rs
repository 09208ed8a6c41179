//! The programs of the compute service: where each runs, whether it may be used, and when it was last heard of.
//!
//! `nova-compute` stands for the agent of a hypervisor host, `nova-scheduler` and `nova-conductor` for the workers of
//! the control plane: the names are those that clients of the compute API look for.

use crate::db::Tx;
use crate::error::{Error, Result, classify};
use crate::record::{Record, Value};
use crate::sql;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

/// A program that was not heard of for this long is down.
pub const DOWN_AFTER: Duration = Duration::from_secs(60);

/// The agent of a hypervisor host.
pub const COMPUTE: &str = "nova-compute";

/// Names a service from microversion 2.53 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceId(pub Uuid);

impl ServiceId {
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub id: ServiceId,
    /// The id below microversion 2.53.
    pub number: i64,
    pub program: String,
    pub host: String,
    /// Disabled by an administrator: no new work is placed here.
    pub enabled: bool,
    pub disabled_reason: Option<String>,
    /// An administrator says it is down, whatever its heartbeat.
    pub forced_down: bool,
    pub created_at: Timestamp,
    /// When an administrator last changed it.
    pub updated_at: Option<Timestamp>,
}

impl Record for Service {
    const TABLE: &'static str = "compute_services";
    const COLUMNS: &'static [&'static str] = &["number", "program", "host"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            self.number.into(),
            self.program.as_str().into(),
            self.host.as_str().into(),
        ]
    }
}

/// A service and when it was last heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub service: Service,
    pub at: Timestamp,
}

impl Seen {
    pub fn is_up(&self, now: Timestamp) -> bool {
        !self.service.forced_down && now.since(self.at) <= DOWN_AFTER
    }
}

pub(crate) fn decode(text: &str) -> Result<Service> {
    serde_json::from_str(text).map_err(|source| Error::Unreadable {
        table: Service::TABLE,
        id: text.chars().take(80).collect(),
        source,
    })
}

/// Every service, oldest first.
pub async fn all(tx: &mut Tx) -> Result<Vec<Seen>> {
    let failed = classify(Service::TABLE, "listing services");
    let rows = sql::query("SELECT body, seen_at FROM compute_services ORDER BY number")
        .fetch_all(tx.conn())
        .await
        .map_err(&failed)?;
    rows.iter()
        .map(|row| {
            let body: String = row.try_get("body").map_err(&failed)?;
            let at = row.try_get("seen_at").map_err(&failed)?;
            Ok(Seen {
                service: decode(&body)?,
                at: Timestamp(at),
            })
        })
        .collect()
}

/// The service of this program on this host.
pub async fn find(tx: &mut Tx, program: &str, host: &str) -> Result<Option<Service>> {
    crate::record::Query::new()
        .equals("program", program)
        .equals("host", host)
        .first(tx)
        .await
}

/// The service is alive at this moment.
pub async fn heartbeat(tx: &mut Tx, id: ServiceId, now: Timestamp) -> Result<()> {
    sql::query("UPDATE compute_services SET seen_at = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(now.micros())
        .execute(tx.conn())
        .await
        .map_err(classify(Service::TABLE, "recording a heartbeat"))?;
    Ok(())
}
