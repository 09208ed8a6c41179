//! Collisions: the database undid a transaction because another was in its way, so the work is done again.
//!
//! PostgreSQL ends a deadlock by giving up one of the transactions in it (SQLSTATE 40P01), and databases that speak its
//! protocol refuse what cannot be put in an order (40001). Neither is the fault of who asked. SQLite has one writer and
//! never collides.

use crate::error::Error;
use std::cell::Cell;
use std::time::Duration;

/// So often work is done before its collision is told.
const TRIES: u32 = 5;
/// Before the second try; doubled before each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

tokio::task_local! {
    static COMMITTED: Cell<bool>;
}

impl Error {
    /// Nothing was wrong with the work itself: the database undid it in favour of another transaction.
    pub fn is_collision(&self) -> bool {
        let Self::Database { source, .. } = self else {
            return false;
        };
        matches!(source.code().as_deref(), Some("40P01" | "40001"))
    }
}

/// Does work whose outcome may be a collision, again after each one, as long as it has committed nothing: what was
/// committed must not be done twice.
pub async fn again<T, F: Future<Output = T>>(
    mut work: impl FnMut() -> F,
    collided: impl Fn(&T) -> bool,
) -> T {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        let attempt = async {
            let outcome = work().await;
            (outcome, COMMITTED.with(Cell::get))
        };
        let (outcome, committed) = COMMITTED.scope(Cell::new(false), attempt).await;
        if committed || !collided(&outcome) {
            return outcome;
        }
        tracing::info!(
            ?pause,
            "a transaction collided with another and is done again"
        );
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    work().await
}

/// A transaction of the work at hand is committed.
pub(crate) fn note_commit() {
    // Outside of work that is done again, nobody asks.
    let _ = COMMITTED.try_with(|committed| committed.set(true));
}
