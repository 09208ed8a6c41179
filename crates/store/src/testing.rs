//! Databases for tests: a fresh one of either engine, gone when the test ends. Behind the feature `testing`.
//!
//! [`on_both_engines!`](crate::on_both_engines) makes two tests of each function, one per engine.
#![allow(clippy::expect_used, clippy::panic)]

use crate::db::Store;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names the PostgreSQL server of the tests.
const SERVER: &str = "CORTEN_TEST_POSTGRES";

/// A store of its own for one test.
pub struct TestStore {
    store: Store,
    url: String,
    _remains: Remains,
}

enum Remains {
    Directory { _guard: tempfile::TempDir },
    Database { server: String, name: String },
}

/// A fresh SQLite file.
pub async fn sqlite() -> TestStore {
    let directory = tempfile::tempdir().expect("a temporary directory for SQLite");
    let url = format!("sqlite:{}", directory.path().join("corten.db").display());
    TestStore::open(url, Remains::Directory { _guard: directory }).await
}

/// A fresh database on the server of the tests.
pub async fn postgres() -> TestStore {
    let server = std::env::var(SERVER).unwrap_or_else(|_| {
        panic!("{SERVER} is not set: run through `make test` or `scripts/with-postgres COMMAND`")
    });
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("corten_test_{}_{number}", std::process::id());
    execute(&server, format!("CREATE DATABASE {name}")).await;
    let (base, _) = server
        .rsplit_once('/')
        .expect("the server's URL names a database");
    let url = format!("{base}/{name}");
    TestStore::open(url, Remains::Database { server, name }).await
}

impl TestStore {
    async fn open(url: String, remains: Remains) -> Self {
        let store = Store::open(&url).await.expect("a fresh database opens");
        Self {
            store,
            url,
            _remains: remains,
        }
    }

    /// What [`Store::open`] takes, to open the same database once more.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Deref for TestStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        let Self::Database { server, name } = self else {
            return;
        };
        let (server, sql) = (server.clone(), format!("DROP DATABASE {name} WITH (FORCE)"));
        // In a thread of its own, because a test's runtime cannot wait inside a drop.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .expect("a runtime to drop the database")
                .block_on(execute(&server, sql));
        });
        if dropped.join().is_err() {
            eprintln!("database {name} was left behind");
        }
    }
}

async fn execute(server: &str, sql: String) {
    let mut connection = PgConnection::connect(server)
        .await
        .unwrap_or_else(|error| panic!("the server of {SERVER} cannot be reached: {error}"));
    connection
        .execute(AssertSqlSafe(sql.clone()))
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection.close().await.expect("the connection closes");
}

/// Turns `async fn name(store: &TestStore) { … }` into the tests `name::on_sqlite` and `name::on_postgres`.
#[macro_export]
macro_rules! on_both_engines {
    ($($(#[$attribute:meta])* async fn $name:ident($store:ident) $body:block)*) => {$(
        $(#[$attribute])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn check($store: &$crate::testing::TestStore) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                check(&$crate::testing::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                check(&$crate::testing::postgres().await).await;
            }
        }
    )*};
}
