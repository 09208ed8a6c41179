//! One daemon: how it is started, found among all processes, watched and ended.

use super::dirs::Dirs;
use super::error::MachineError;
use super::namespace::Namespace;
use super::program::{Program, require};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::unix::pipe;

/// For a daemon to end when asked, before it is killed.
const END_LIMIT: Duration = Duration::from_secs(5);
/// For the kernel to end a killed process.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// What a daemon is.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// Of its pid file, its log and its control socket.
    pub name: &'static str,
    pub program: &'static str,
    /// Besides those that every daemon has.
    pub arguments: Vec<String>,
    pub dirs: Dirs,
    pub namespace: Namespace,
    /// Whether it makes its own control socket in the run directory, and takes no option that names one.
    pub names_its_socket: bool,
}

/// A daemon's live process.
#[derive(Debug)]
pub struct Running {
    pub pid: u32,
    pidfd: OwnedFd,
}

impl Daemon {
    /// Starts the daemon and comes back when it serves. It is detached, in a session of its own.
    pub async fn start(&self) -> Result<Running, MachineError> {
        require(self.program)?;
        self.dirs.remove_pid_file(self.name)?;
        let mut words = self.namespace.wrapper_with_sys();
        words.push(self.program.to_owned());
        let first = words.remove(0);
        let mut program = Program::new(first)
            .about(self.program)
            .args(words)
            .args(&self.arguments)
            .arg(self.pid_argument())
            .arg(format!("--log-file={}", self.log().display()))
            .args(["-vsyslog:off", "-vconsole:emer", "--detach", "--no-chdir"])
            // Beside its own sockets a daemon looks here for those of its companions.
            .env("OVS_RUNDIR", &self.dirs.run)
            .env("OVN_RUNDIR", &self.dirs.run);
        if !self.names_its_socket {
            program = program.arg(format!("--unixctl={}", self.control_socket(0).display()));
        }
        let outcome = program.run().await;
        match (outcome, self.find()?) {
            (Ok(_), Some(running)) => Ok(running),
            (Ok(_), None) => Err(MachineError::ProgramFailed {
                program: self.program.to_owned(),
                status: "ended at once".to_owned(),
                output: String::new(),
            }),
            (Err(error), Some(half_started)) => {
                half_started.kill().await?;
                Err(error)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// The daemon's process, if there is one: that of the pid file, or one whose pid file got lost.
    pub fn find(&self) -> Result<Option<Running>, MachineError> {
        let written = fs::read_to_string(self.dirs.pid_file(self.name));
        let written = written.ok().and_then(|text| text.trim().parse().ok());
        if let Some(running) = written.and_then(|pid| self.open(pid)) {
            return Ok(Some(running));
        }
        let proc = Path::new("/proc");
        let entries = fs::read_dir(proc).map_err(MachineError::io("list", proc))?;
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Ok(pids.into_iter().find_map(|pid| self.open(pid)))
    }

    /// A handle that survives the reuse of the pid; `None` if that process is not this daemon.
    fn open(&self, pid: u32) -> Option<Running> {
        let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
        // Looked at first, because most processes are not ours; and again with the handle in hand.
        self.is_run_by(pid).then_some(())?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).ok()?;
        self.is_run_by(pid).then_some(Running { pid, pidfd })
    }

    fn is_run_by(&self, pid: u32) -> bool {
        // A process that has ended but is not collected yet has an empty command line.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let wanted = self.pid_argument();
        line.split(|byte| *byte == 0)
            .any(|argument| argument == wanted.as_bytes())
    }

    fn pid_argument(&self) -> String {
        format!("--pidfile={}", self.dirs.pid_file(self.name).display())
    }

    pub fn log(&self) -> PathBuf {
        self.dirs.state.join(format!("{}.log", self.name))
    }

    /// Where the daemon takes commands.
    fn control_socket(&self, pid: u32) -> PathBuf {
        if self.names_its_socket {
            self.dirs.socket(&format!("{}.{pid}.ctl", self.program))
        } else {
            self.dirs.socket(&format!("{}.ctl", self.name))
        }
    }

    /// Gives the daemon a command, as `ovs-appctl` does.
    pub async fn command(&self, running: &Running, words: &[&str]) -> Result<String, MachineError> {
        Program::new("ovs-appctl")
            .args(["--timeout=10", "-t"])
            .arg(self.control_socket(running.pid))
            .args(words)
            .run()
            .await
    }

    /// Lets the daemon clear up and end; kills it if it does not. One that does not run is fine.
    pub async fn end(&self, words: &[&str]) -> Result<(), MachineError> {
        let Some(running) = self.find()? else {
            return Ok(());
        };
        let asked = self.command(&running, words).await;
        let limit = if asked.is_ok() {
            END_LIMIT
        } else {
            Duration::ZERO
        };
        if tokio::time::timeout(limit, running.wait_ended())
            .await
            .is_err()
        {
            running.kill().await?;
        }
        self.dirs.remove_pid_file(self.name)
    }
}

/// Waits until the process of this pidfd is gone. The descriptor becomes readable then. Tokio waits for that on any
/// descriptor that it takes for a pipe; it is never read.
pub async fn process_ended(pidfd: &OwnedFd) -> io::Result<()> {
    pipe::Receiver::from_owned_fd_unchecked(pidfd.try_clone()?)?
        .readable()
        .await
}

impl Running {
    /// Waits until the process is gone.
    pub async fn wait_ended(&self) -> Result<(), MachineError> {
        process_ended(&self.pidfd)
            .await
            .map_err(MachineError::io("watch", Path::new("a process")))
    }

    async fn kill(&self) -> Result<(), MachineError> {
        // An error means that it has just ended.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        tokio::time::timeout(KILL_LIMIT, self.wait_ended())
            .await
            .map_err(|_| MachineError::TimedOut {
                what: format!("process {}", self.pid),
                doing: "end when killed",
                secs: KILL_LIMIT.as_secs(),
            })?
    }
}
