//! Bounds the daemons' logs: they append for ever and rotate nothing by themselves.

use super::error::MachineError;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

/// A log that grows beyond this is started anew; the old one is kept as `NAME.old`.
const MAX_BYTES: u64 = 4 << 20;

/// Cuts a log that has grown too long. The daemon goes on writing to the same file, which it opened to append.
pub fn cut(log: &Path) -> Result<(), MachineError> {
    let length = match fs::metadata(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(MachineError::io("measure", log))?.len(),
    };
    if length <= MAX_BYTES {
        return Ok(());
    }
    let mut old = log.as_os_str().to_owned();
    old.push(".old");
    fs::copy(log, &old).map_err(MachineError::io("copy", log))?;
    OpenOptions::new()
        .write(true)
        .open(log)
        .and_then(|file| file.set_len(0))
        .map_err(MachineError::io("cut", log))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_log_that_is_too_long_is_started_anew_and_written_on() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        cut(&log).unwrap();
        let mut daemon = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        daemon
            .write_all(&vec![b'x'; MAX_BYTES as usize + 1])
            .unwrap();
        cut(&log).unwrap();
        daemon.write_all(b"more").unwrap();
        assert_eq!(fs::read(&log).unwrap(), b"more");
        assert_eq!(
            fs::metadata(dir.path().join("x.log.old")).unwrap().len(),
            MAX_BYTES + 1
        );
    }
}
