//! The serial console's log: written by QEMU, kept within bounds by us, read by its tenant.
//!
//! QEMU appends (`O_APPEND`), so the log can be cut under its hands: once it grows beyond its bound, its newer half is
//! kept. What the guest prints during the cut may be lost, never what it prints later. While no host process runs the
//! log grows; it is cut as soon as one runs again.

use crate::error::HostError;
use crate::files;
use crate::guest_dir::{self, GuestDir};
use crate::user::GuestUser;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Weak;
use std::time::Duration;

const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// QEMU's own messages, which a guest can provoke.
const QEMU_LOG_MAX_BYTES: u64 = 1 << 20;

/// Whose logs are to be kept within bounds.
pub trait Logs: Send + Sync {
    fn running_guests(&self) -> Vec<GuestDir>;
    fn max_bytes(&self) -> u64;
}

/// Cuts logs that grow too long, until their owner is gone.
pub async fn keep_bounded<L: Logs>(logs: Weak<L>) {
    let mut check = tokio::time::interval(CHECK_INTERVAL);
    check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        check.tick().await;
        let Some(logs) = logs.upgrade() else { return };
        for dir in logs.running_guests() {
            for (name, max_bytes) in [
                (guest_dir::CONSOLE_LOG, logs.max_bytes()),
                (guest_dir::QEMU_LOG, QEMU_LOG_MAX_BYTES),
            ] {
                if let Err(error) = cut(&dir.file(name), max_bytes) {
                    tracing::error!(path = %dir.file(name).display(), %error, "a log cannot be cut");
                }
            }
        }
    }
}

/// Keeps the newer half of a log that is longer than `max_bytes`, from the start of a line.
fn cut(path: &Path, max_bytes: u64) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > max_bytes => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => return Ok(()),
    }
    let mut log: File = rustix::fs::open(
        path,
        OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW,
        Mode::empty(),
    )?
    .into();
    let tail = files::read_tail(path, max_bytes / 2)?;
    let start = tail
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1);
    log.set_len(0)?;
    log.write_all(&tail[start..])
}

/// Makes the log that QEMU will append to.
pub fn prepare(dir: &GuestDir, user: &GuestUser) -> Result<(), HostError> {
    let path = dir.file(guest_dir::CONSOLE_LOG);
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW;
    rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| HostError::io("create", &path)(error.into()))?;
    user.own(&path)
}

/// The log's last lines, or all of it within its bound.
pub fn read(
    dir: &GuestDir,
    tail_lines: Option<usize>,
    max_bytes: u64,
) -> Result<Vec<u8>, HostError> {
    let path = dir.file(guest_dir::CONSOLE_LOG);
    let log = files::read_tail(&path, max_bytes).map_err(HostError::io("read", &path))?;
    Ok(tail_lines.map_or_else(|| log.clone(), |lines| last_lines(&log, lines).to_vec()))
}

fn last_lines(log: &[u8], lines: usize) -> &[u8] {
    if lines == 0 {
        return &[];
    }
    let body = log.strip_suffix(b"\n").unwrap_or(log);
    let newlines = body
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n');
    let start = newlines
        .map(|(index, _)| index + 1)
        .nth(lines - 1)
        .unwrap_or(0);
    &log[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_counted_with_and_without_a_final_newline() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(last_lines(b"a\nb\nc", 2), b"b\nc");
        assert_eq!(last_lines(b"a\nb\n", 5), b"a\nb\n");
        assert_eq!(last_lines(b"a\nb\n", 0), b"");
        assert_eq!(last_lines(b"", 3), b"");
    }

    #[test]
    fn a_log_is_cut_under_the_hands_of_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        for line in 0..100 {
            writeln!(writer, "line {line:04}").unwrap();
        }
        cut(&path, 200).unwrap();
        writeln!(writer, "after").unwrap();
        let log = std::fs::read_to_string(&path).unwrap();
        assert!(
            log.starts_with("line 00") && log.ends_with("line 0099\nafter\n") && log.len() <= 110,
            "{log}"
        );
        cut(&path, 200).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            log,
            "a short log stays as it is"
        );
        cut(&dir.path().join("none"), 1).unwrap();
    }
}
