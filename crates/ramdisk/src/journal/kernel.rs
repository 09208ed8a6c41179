//! The kernel's log: as a whole for whoever asks, and its errors, such as those of disks, as lines of ours while they come.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// A message longer than the buffer would be an error; the kernel's are at most 8 KiB.
const MESSAGE_BYTES: usize = 8192;
/// Of syslog's severities "error"; the more severe ones are below it.
const ERROR: u32 = 3;
/// A disk that breaks reports each block. So many lines within [`WINDOW`] are told, and then how many there were besides.
const LINES: u32 = 30;
const WINDOW: Duration = Duration::from_secs(60);

fn open_log(how: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | how;
    open("/dev/kmsg", flags, Mode::empty())
}

/// What the kernel's log holds now.
pub fn kernel_log() -> std::io::Result<Vec<u8>> {
    let log = open_log(OFlags::NONBLOCK)?;
    let mut text = Vec::new();
    let mut message = [0; MESSAGE_BYTES];
    loop {
        match rustix::io::read(&log, &mut message) {
            Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(text),
            Ok(length) => text.extend_from_slice(&message[..length]),
            // Messages were overwritten while they were read.
            Err(rustix::io::Errno::PIPE) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes the kernel's errors, those of its start included, into our log, in a thread of its own.
pub fn follow_kernel() {
    std::thread::spawn(|| {
        if let Err(error) = follow() {
            tracing::warn!("the kernel's log cannot be followed: {error}");
        }
    });
}

fn follow() -> Result<(), Errno> {
    let log = open_log(OFlags::empty())?;
    let mut message = [0; MESSAGE_BYTES];
    let mut rate = Rate::new(Instant::now());
    loop {
        let length = match rustix::io::read(&log, &mut message) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            // Messages were overwritten before they were read.
            Err(Errno::PIPE | Errno::INTR) => continue,
            Err(error) => return Err(error),
        };
        let Some(text) = error_of(&message[..length]) else {
            continue;
        };
        let (skipped, told) = rate.take(Instant::now());
        if skipped > 0 {
            tracing::error!("kernel: {skipped} more errors, which are in its log");
        }
        if told {
            tracing::error!("kernel: {text}");
        }
    }
}

/// The text of a message that is an error of the kernel's own: `3,1204,5140900,-;I/O error, dev sda, sector 8`, and below it
/// lines that begin with a space, for machines. A facility other than 0 (priority / 8) is a program's.
fn error_of(message: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(message);
    let (head, text) = text.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    let line = text.lines().next()?.trim();
    (priority <= ERROR && !line.is_empty()).then(|| line.to_owned())
}

/// Counts lines by windows of time.
struct Rate {
    since: Instant,
    count: u32,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            count: 0,
        }
    }

    /// How many lines of the window that is over were not told, and whether this one is.
    fn take(&mut self, now: Instant) -> (u32, bool) {
        let mut skipped = 0;
        if now.duration_since(self.since) >= WINDOW {
            skipped = self.count.saturating_sub(LINES);
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        (skipped, self.count <= LINES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_kernel_are_told_and_nothing_else() {
        let told = |message: &str| error_of(message.as_bytes());
        assert_eq!(
            told("3,1204,5140900,-;I/O error, dev sda, sector 8\n SUBSYSTEM=block\n DEVICE=b8:0\n"),
            Some("I/O error, dev sda, sector 8".to_owned())
        );
        assert_eq!(
            told("2,7,1,-;Critical; really\n").as_deref(),
            Some("Critical; really")
        );
        assert_eq!(told("4,8,1,-;a warning\n"), None);
        assert_eq!(told("11,9,1,-;a program's error\n"), None);
        assert_eq!(told("3,9,1,-;\n"), None);
        assert_eq!(told("no message"), None);
    }

    #[test]
    fn a_disk_that_reports_each_block_is_counted_once_it_has_said_enough() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let told = (0..100).filter(|_| rate.take(start).1).count();
        assert_eq!(told, LINES as usize);
        assert_eq!(rate.take(start + WINDOW), (100 - LINES, true));
        assert_eq!(rate.take(start + WINDOW), (0, true));
    }
}
