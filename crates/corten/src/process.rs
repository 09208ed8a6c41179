//! The control plane as a background process: starting it, finding it, stopping it.

use crate::cloud::{pid_path, private_file, write_private};
use crate::config::Config;
use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// This program as it was called, for hints that can be typed as they are.
pub fn called() -> String {
    let name = std::env::args_os().next();
    name.map_or_else(
        || "corten".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// The pid of the control plane of this data directory, if it runs.
pub fn running(data: &Path) -> Option<Pid> {
    let text = fs::read_to_string(pid_path(data)).ok()?;
    let pid = Pid::from_raw(text.trim().parse().ok()?)?;
    test_kill_process(pid).ok()?;
    // A pid can be given again: this one must be a corten that serves.
    let arguments = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let serves = arguments
        .split(|byte| *byte == 0)
        .any(|argument| argument == b"serve");
    serves.then_some(pid)
}

/// Starts the control plane in a session of its own, with its log in the data directory.
pub fn start(config: &Config, settings: Option<&Path>) -> anyhow::Result<()> {
    let log_path = config.data.join("corten.log");
    let log = private_file(&log_path)?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command
        .arg("serve")
        .arg("--data")
        .arg(&config.data)
        .arg("--listen")
        .arg(config.server.listen.to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot open the log")?)
        .stderr(log)
        .process_group(0);
    if let Some(settings) = settings {
        command.arg("--config").arg(std::path::absolute(settings)?);
    }
    let child = command.spawn().context("cannot start the control plane")?;
    write_private(&pid_path(&config.data), &format!("{}\n", child.id()))
}

/// Stops the control plane and waits until it is gone. False if it did not run.
pub async fn stop(data: &Path) -> anyhow::Result<bool> {
    let Some(pid) = running(data) else {
        return Ok(false);
    };
    kill_process(pid, Signal::TERM).context("cannot stop the control plane")?;
    let patience = Instant::now() + Duration::from_secs(30);
    while running(data).is_some() {
        if Instant::now() > patience {
            kill_process(pid, Signal::KILL).context("cannot stop the control plane")?;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let _ = fs::remove_file(pid_path(data));
    Ok(true)
}
