//! The log: each line goes to the console, and waits in memory until the control plane has it.

mod kernel;

pub use kernel::{follow_kernel, kernel_log};

use crate::protocol::LogLine;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Lines that wait for a control plane that cannot be reached; then the oldest are lost.
const LINES_MAX: usize = 10_000;

/// An error with all its causes, as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            write!(text, ": {part}").ok();
        }
        cause = error.source();
    }
    text
}

/// Lines that were not sent yet.
#[derive(Clone, Default)]
pub struct Journal {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    lines: Mutex<(u64, VecDeque<LogLine>)>,
    more: Notify,
}

impl Journal {
    /// Makes this the log of the whole process.
    pub fn install() -> Self {
        let journal = Self::default();
        let subscriber = tracing_subscriber::registry().with(journal.clone());
        // A second one would be another test's in the same process.
        tracing::subscriber::set_global_default(subscriber).ok();
        journal
    }

    fn push(&self, level: Level, text: String) {
        let at_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64);
        let mut guard = self
            .inner
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (number, lines) = &mut *guard;
        lines.push_back(LogLine {
            number: *number,
            at_ms,
            level: level.to_string(),
            text,
        });
        *number += 1;
        if lines.len() > LINES_MAX {
            lines.pop_front();
        }
        drop(guard);
        self.inner.more.notify_one();
    }

    /// Waits until there are lines and returns up to `most` of them; they stay until they are [`Self::sent`].
    pub async fn next(&self, most: usize) -> Vec<LogLine> {
        loop {
            let more = self.inner.more.notified();
            let waiting: Vec<LogLine> = {
                let guard = self
                    .inner
                    .lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                guard.1.iter().take(most).cloned().collect()
            };
            if !waiting.is_empty() {
                return waiting;
            }
            more.await;
        }
    }

    /// Forgets the lines up to this one.
    pub fn sent(&self, last: u64) {
        let mut guard = self
            .inner
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while guard.1.front().is_some_and(|line| line.number <= last) {
            guard.1.pop_front();
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        // Lines of the libraries about their own work are of no use on a server's console.
        let ours = event.metadata().target().starts_with("corten");
        if level > Level::INFO || (!ours && level > Level::WARN) {
            return;
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        // Without a console there is nobody to tell.
        writeln!(std::io::stderr(), "corten-ramdisk: {}", text.0).ok();
        self.push(level, text.0);
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            write!(self.0, "{value:?}").ok();
        } else {
            write!(self.0, " {}={value:?}", field.name()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_stay_until_they_are_sent_and_numbers_have_no_gaps() {
        let journal = Journal::default();
        for text in ["a", "b", "c"] {
            journal.push(Level::INFO, text.to_owned());
        }
        let first = journal.next(2).await;
        assert_eq!(
            first.iter().map(|line| line.number).collect::<Vec<_>>(),
            [0, 1]
        );
        assert_eq!(journal.next(2).await, first, "an answer that was lost");
        journal.sent(1);
        let rest = journal.next(9).await;
        assert_eq!(
            (rest.len(), rest[0].number, rest[0].text.as_str()),
            (1, 2, "c")
        );
    }

    #[test]
    fn an_errors_causes_follow_it() {
        #[derive(Debug, thiserror::Error)]
        #[error("the disk cannot be read")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("bad sector"));
        assert_eq!(chain(&error), "the disk cannot be read: bad sector");
    }
}
