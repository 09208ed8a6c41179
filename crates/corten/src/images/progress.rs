//! How a long build or download tells its caller where it is.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};

/// Receives the progress of a build or a download.
pub trait Progress: Send + Sync {
    /// A new step begins.
    fn step(&self, what: &str);

    /// A transfer begins; `already` bytes of it were there before, and the whole may be unknown.
    fn transfer(&self, already: u64, total: Option<u64>);

    /// This many more bytes have been transferred.
    fn advance(&self, bytes: u64);
}

/// Says nothing.
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _what: &str) {}
    fn transfer(&self, _already: u64, _total: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
}

/// One line per step, and a bar for transfers, on standard error.
#[derive(Default)]
pub struct ConsoleProgress {
    bar: Mutex<Option<ProgressBar>>,
}

impl ConsoleProgress {
    pub fn new() -> Self {
        Self::default()
    }

    fn replace_bar(&self, bar: Option<ProgressBar>) {
        let mut current = self
            .bar
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(finished) = std::mem::replace(&mut *current, bar) {
            finished.finish_and_clear();
        }
    }
}

impl Progress for ConsoleProgress {
    fn step(&self, what: &str) {
        self.replace_bar(None);
        eprintln!("{what}");
    }

    fn transfer(&self, already: u64, total: Option<u64>) {
        let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            ),
            None => ProgressBar::new_spinner(),
        };
        bar.set_position(already);
        bar.reset_eta();
        self.replace_bar(Some(bar));
    }

    fn advance(&self, bytes: u64) {
        let current = self
            .bar
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(bar) = &*current {
            bar.inc(bytes);
        }
    }
}

impl Drop for ConsoleProgress {
    fn drop(&mut self) {
        self.replace_bar(None);
    }
}
