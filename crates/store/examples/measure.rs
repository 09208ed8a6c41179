//! What a record costs: through the store, and by the same statements on sqlx's drivers of the engines.
//!
//! `scripts/with-postgres cargo run --release -p corten-store --features testing --example measure`
#![allow(clippy::unwrap_used)]

use corten_store::record::{self, Direction};
use corten_store::testing::{self, TestStore};
use corten_store::{Query, Record, Store, Value, sql};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqlitePoolOptions;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const ROWS: usize = 1000;
const ROUNDS: usize = 20;

/// As large as an instance: a body of about 2 KB.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Thing {
    id: String,
    project: String,
    created_at: i64,
    name: String,
    metadata: BTreeMap<String, String>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    id: String,
    size: i64,
    state: Option<String>,
}

impl Record for Thing {
    const TABLE: &'static str = "things";
    const COLUMNS: &'static [&'static str] = &["project", "created_at"];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![self.project.as_str().into(), self.created_at.into()]
    }
}

fn thing(number: usize) -> Thing {
    let part = |index: usize| Part {
        id: uuid::Uuid::new_v4().to_string(),
        size: index as i64,
        state: Some("active".to_owned()),
    };
    Thing {
        id: uuid::Uuid::new_v4().to_string(),
        project: "0123456789abcdef0123456789abcdef".to_owned(),
        created_at: number as i64,
        name: format!("server-{number}"),
        metadata: (0..16)
            .map(|key| (format!("key-{key}"), "a value of some length".to_owned()))
            .collect(),
        parts: (0..16).map(part).collect(),
    }
}

const TABLE: &str = "CREATE TABLE things (id TEXT PRIMARY KEY, generation BIGINT NOT NULL, body TEXT NOT NULL, \
     project TEXT NOT NULL, created_at BIGINT NOT NULL)";
const INDEX: &str = "CREATE INDEX things_of_project ON things (project, created_at)";
const INSERT: &str = "INSERT INTO things (id, generation, body, project, created_at) VALUES ($1, 1, $2, $3, $4) \
     ON CONFLICT DO NOTHING";
const GET: &str = "SELECT id, body FROM things WHERE id = $1";
const LIST: &str =
    "SELECT id, body FROM things WHERE project = $1 ORDER BY created_at, id LIMIT 1000";

/// The middle one of many measurements.
struct Samples(Vec<Duration>);

impl Samples {
    fn median_micros(&mut self) -> f64 {
        self.0.sort();
        self.0[self.0.len() / 2].as_secs_f64() * 1e6
    }
}

async fn timed<T>(samples: &mut Samples, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let result = work.await;
    samples.0.push(begun.elapsed());
    result
}

#[derive(Default)]
struct Figures {
    insert: f64,
    get: f64,
    list: f64,
}

async fn through_the_store(store: &Store) -> Figures {
    let mut tx = store.write().await.unwrap();
    for text in [TABLE, INDEX] {
        sql::query(text).execute(tx.conn()).await.unwrap();
    }
    tx.commit().await.unwrap();
    let things: Vec<_> = (0..ROWS).map(thing).collect();
    let (mut inserts, mut gets, mut lists) = (Samples(vec![]), Samples(vec![]), Samples(vec![]));
    for thing in &things {
        timed(&mut inserts, async {
            let mut tx = store.write().await.unwrap();
            record::insert(&mut tx, thing).await.unwrap();
            tx.commit().await.unwrap();
        })
        .await;
    }
    for thing in &things {
        let found: Option<Thing> = timed(&mut gets, async {
            let mut tx = store.read().await.unwrap();
            record::get(&mut tx, &thing.id).await.unwrap()
        })
        .await;
        assert!(found.is_some());
    }
    for _ in 0..ROUNDS {
        let rows: Vec<Thing> = timed(&mut lists, async {
            let mut tx = store.read().await.unwrap();
            let query = Query::new().equals("project", things[0].project.as_str());
            query
                .order_by("created_at", Direction::Ascending)
                .limit(1000)
                .all(&mut tx)
                .await
                .unwrap()
        })
        .await;
        assert_eq!(rows.len(), ROWS);
    }
    Figures {
        insert: inserts.median_micros(),
        get: gets.median_micros(),
        list: lists.median_micros(),
    }
}

/// The same statements and the same JSON, on a pool of the engine's own driver.
macro_rules! on_own_driver {
    ($name:ident, $pool:ty, $begin_write:literal, $begin_read:literal) => {
        async fn $name(pool: &$pool) -> Figures {
            sqlx::query("DROP TABLE IF EXISTS things")
                .execute(pool)
                .await
                .unwrap();
            for sql in [TABLE, INDEX] {
                sqlx::query(sql).execute(pool).await.unwrap();
            }
            let things: Vec<_> = (0..ROWS).map(thing).collect();
            let (mut inserts, mut gets, mut lists) =
                (Samples(vec![]), Samples(vec![]), Samples(vec![]));
            for thing in &things {
                timed(&mut inserts, async {
                    let mut tx = pool.begin_with($begin_write).await.unwrap();
                    let query = sqlx::query(INSERT)
                        .bind(&thing.id)
                        .bind(serde_json::to_string(thing).unwrap());
                    let query = query.bind(&thing.project).bind(thing.created_at);
                    query.execute(&mut *tx).await.unwrap();
                    tx.commit().await.unwrap();
                })
                .await;
            }
            for thing in &things {
                timed(&mut gets, async {
                    let mut tx = pool.begin_with($begin_read).await.unwrap();
                    let row: (String, String) = sqlx::query_as(GET)
                        .bind(&thing.id)
                        .fetch_one(&mut *tx)
                        .await
                        .unwrap();
                    serde_json::from_str::<Thing>(&row.1).unwrap()
                })
                .await;
            }
            for _ in 0..ROUNDS {
                let rows = timed(&mut lists, async {
                    let mut tx = pool.begin_with($begin_read).await.unwrap();
                    let rows: Vec<(String, String)> = sqlx::query_as(LIST)
                        .bind(&things[0].project)
                        .fetch_all(&mut *tx)
                        .await
                        .unwrap();
                    rows.iter()
                        .map(|(_, body)| serde_json::from_str::<Thing>(body).unwrap())
                        .collect::<Vec<_>>()
                })
                .await;
                assert_eq!(rows.len(), ROWS);
            }
            Figures {
                insert: inserts.median_micros(),
                get: gets.median_micros(),
                list: lists.median_micros(),
            }
        }
    };
}

on_own_driver!(
    on_sqlite_driver,
    sqlx::SqlitePool,
    "BEGIN IMMEDIATE",
    "BEGIN"
);
on_own_driver!(
    on_postgres_driver,
    sqlx::PgPool,
    "BEGIN",
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
);

fn print(what: &str, figures: &Figures) {
    let Figures { insert, get, list } = figures;
    println!("{what:<32} {insert:>10.0} {get:>10.0} {list:>14.0}");
}

/// What of a list is spent on reading JSON.
fn json_alone() -> f64 {
    let bodies: Vec<_> = (0..ROWS)
        .map(|number| serde_json::to_string(&thing(number)).unwrap())
        .collect();
    println!("a body has {} bytes", bodies[0].len());
    let mut samples = Samples(vec![]);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let things: Vec<Thing> = bodies
            .iter()
            .map(|body| serde_json::from_str(body).unwrap())
            .collect();
        samples.0.push(begun.elapsed());
        assert_eq!(things.len(), ROWS);
    }
    samples.median_micros()
}

async fn open(url: &str) -> sqlx::SqlitePool {
    let options = SqlitePoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| {
            Box::pin(async move {
                for pragma in [
                    "journal_mode = WAL",
                    "synchronous = FULL",
                    "foreign_keys = ON",
                    "cache_size = -8192",
                ] {
                    sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA {pragma}")))
                        .execute(&mut *connection)
                        .await?;
                }
                Ok(())
            })
        });
    options.connect(url).await.unwrap()
}

async fn measure(name: &str, store: &TestStore, own: Figures) {
    print(&format!("{name}, sqlx's driver"), &own);
    print(
        &format!("{name}, through the store"),
        &through_the_store(store).await,
    );
}

#[tokio::main]
async fn main() {
    let json = json_alone();
    println!(
        "{:<32} {:>10} {:>10} {:>14}",
        "microseconds, median", "insert", "get", "list of 1,000"
    );
    println!(
        "{:<32} {:>10} {:>10} {:>14.0}",
        "reading 1,000 bodies alone", "", "", json
    );
    let other = testing::sqlite().await;
    let own = on_sqlite_driver(&open(other.url()).await).await;
    measure("SQLite", &testing::sqlite().await, own).await;
    let other = testing::postgres().await;
    let pool = PgPoolOptions::new()
        .max_connections(4)
        .connect(other.url())
        .await
        .unwrap();
    let own = on_postgres_driver(&pool).await;
    pool.close().await;
    measure("PostgreSQL", &testing::postgres().await, own).await;
}
