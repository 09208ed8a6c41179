//! A guest's QEMU process: started in a session of its own, watched through its pidfd, found again after our restart.

use crate::error::HostError;
use crate::guest_dir::{self, GuestDir};
use crate::hands::ExitCause;
use crate::program;
use crate::qemu::qmp::{self, Qmp, QmpError, QmpEvent};
use crate::user::GuestUser;
use corten_model::ids::InstanceId;
use corten_network::daemons::{Namespace, process_ended};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// From the start of the process to its first answer.
const GREETING_LIMIT: Duration = Duration::from_secs(60);
/// For a process that runs already to let us in.
const ADOPTION_LIMIT: Duration = Duration::from_secs(5);
const CONNECT_INTERVAL: Duration = Duration::from_millis(4);
/// For QEMU to write out its caches and go.
const QUIT_LIMIT: Duration = Duration::from_secs(5);
/// For the kernel to end a killed process; longer only when its disk hangs.
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// A live QEMU process that we control.
pub struct Process {
    pub id: InstanceId,
    pub pid: u32,
    pub qmp: Qmp,
    pub pidfd: OwnedFd,
    /// A task wants it to end, so its end is no surprise.
    pub end_requested: AtomicBool,
    /// Turns into the cause when it has ended and everything about it is recorded.
    pub ended: watch::Receiver<Option<ExitCause>>,
    pub watcher: AbortHandle,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Process {
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, HostError> {
        self.qmp
            .execute(command, arguments)
            .await
            .map_err(|error| self.qmp_error(command, error))
    }

    pub fn qmp_error(&self, command: &str, error: QmpError) -> HostError {
        HostError::Qmp {
            id: self.id,
            command: command.to_owned(),
            reason: error.to_string(),
        }
    }

    /// QEMU's `RunState`, for example `running` or `paused`.
    pub async fn run_state(&self) -> Result<String, HostError> {
        let status = self.execute("query-status", json!({})).await?;
        Ok(status["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits for the end; false if it does not come in time.
    pub async fn wait_ended(&self, limit: Duration) -> bool {
        let mut ended = self.ended.clone();
        // An error means that the watcher is gone with its host; then nobody is left to wait.
        matches!(
            tokio::time::timeout(limit, ended.wait_for(Option::is_some)).await,
            Ok(Ok(_))
        )
    }

    /// Cuts the power: QEMU writes out what it holds and ends; if it does not, it is killed.
    pub async fn cut_power(&self) -> Result<(), HostError> {
        self.end_requested.store(true, Ordering::SeqCst);
        let quit = tokio::time::timeout(QUIT_LIMIT, self.qmp.execute("quit", json!({}))).await;
        if matches!(quit, Ok(Ok(_) | Err(QmpError::Closed))) && self.wait_ended(QUIT_LIMIT).await {
            return Ok(());
        }
        self.kill().await
    }

    /// Ends the process without ceremony.
    pub async fn kill(&self) -> Result<(), HostError> {
        self.end_requested.store(true, Ordering::SeqCst);
        // An error means that it has just ended.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        if self.wait_ended(KILL_LIMIT).await {
            return Ok(());
        }
        Err(HostError::TimedOut {
            id: self.id,
            what: "end when killed".to_owned(),
            secs: KILL_LIMIT.as_secs(),
        })
    }
}

/// What is to be started.
pub struct Start<'a> {
    pub dir: &'a GuestDir,
    pub user: &'a GuestUser,
    /// Where its taps are. Without one it stays in our own network namespace.
    pub namespace: Option<&'a Namespace>,
    pub qemu: &'a Path,
    pub arguments: Vec<String>,
    /// A suspended guest's memory, which QEMU reads as file descriptor 0.
    pub memory: Option<File>,
}

impl Start<'_> {
    /// Starts QEMU. The pid is QEMU's own: each wrapper turns into the next program.
    pub fn spawn(self) -> Result<Child, HostError> {
        let qemu = program::require(self.qemu)?;
        let log_path = self.dir.file(guest_dir::QEMU_LOG);
        crate::files::remove_file(&log_path)?;
        let log = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&log_path)
            .map_err(HostError::io("create", &log_path))?;
        let second = log.try_clone().map_err(HostError::io("open", &log_path))?;
        // Its own session, so that no terminal and no supervisor of ours takes it down with us.
        let mut words = self.namespace.map_or_else(Vec::new, Namespace::wrapper);
        words.push("setsid".to_owned());
        let first = words.remove(0);
        Command::new(&first)
            .args(words)
            .args(self.user.wrapper())
            .arg("--")
            .arg(qemu)
            .args(self.arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LC_ALL", "C")
            .stdin(self.memory.map_or_else(Stdio::null, Stdio::from))
            .stdout(log)
            .stderr(second)
            .spawn()
            .map_err(HostError::io("run", Path::new(&first)))
    }
}

/// Connects to a process that was just started; one that dies meanwhile is told with its last words.
pub async fn greet(id: InstanceId, dir: &GuestDir, child: &mut Child) -> Result<Qmp, HostError> {
    let deadline = Instant::now() + GREETING_LIMIT;
    loop {
        let ended = child
            .try_wait()
            .map_err(HostError::io("watch", dir.path()))?;
        if let Some(status) = ended {
            return Err(HostError::DiedAtStart {
                id,
                status: describe(status),
                output: last_words(dir),
            });
        }
        if let Ok(Ok(qmp)) =
            tokio::time::timeout_at(deadline, Qmp::connect(&dir.socket(guest_dir::QMP_SOCKET)))
                .await
        {
            return Ok(qmp);
        }
        if Instant::now() >= deadline {
            return Err(HostError::TimedOut {
                id,
                what: "start".to_owned(),
                secs: GREETING_LIMIT.as_secs(),
            });
        }
        tokio::time::sleep(CONNECT_INTERVAL).await;
    }
}

/// Connects to a process that was started in an earlier life of ours.
pub async fn reconnect(id: InstanceId, dir: &GuestDir) -> Result<Qmp, HostError> {
    let deadline = Instant::now() + ADOPTION_LIMIT;
    loop {
        if let Ok(Ok(qmp)) =
            tokio::time::timeout_at(deadline, Qmp::connect(&dir.socket(guest_dir::QMP_SOCKET)))
                .await
        {
            return Ok(qmp);
        }
        if Instant::now() >= deadline {
            let what = "let us take control of it again".to_owned();
            return Err(HostError::TimedOut {
                id,
                what,
                secs: ADOPTION_LIMIT.as_secs(),
            });
        }
        tokio::time::sleep(CONNECT_INTERVAL).await;
    }
}

/// A handle on a process that survives the reuse of its pid; `None` if it is not this guest's QEMU.
pub fn open(pid: u32, id: InstanceId) -> Option<OwnedFd> {
    let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let pidfd = pidfd_open(raw, PidfdFlags::empty()).ok()?;
    is_guest(pid, id).then_some(pidfd)
}

/// Kills a process that does not let us control it.
pub async fn kill_unreachable(pid: u32, id: InstanceId) -> Result<(), HostError> {
    let Some(pidfd) = open(pid, id) else {
        return Ok(());
    };
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    let timed_out = || HostError::TimedOut {
        id,
        what: "end when killed".to_owned(),
        secs: KILL_LIMIT.as_secs(),
    };
    tokio::time::timeout(KILL_LIMIT, wait_for_pidfd(&pidfd))
        .await
        .map_err(|_| timed_out())?
}

async fn wait_for_pidfd(pidfd: &OwnedFd) -> Result<(), HostError> {
    process_ended(pidfd)
        .await
        .map_err(HostError::io("watch", Path::new("a process")))
}

/// Waits until the process is gone. Only its parent learns how.
pub async fn wait_for_exit(child: Option<&mut Child>, pidfd: &OwnedFd) -> Option<ExitStatus> {
    if let Some(child) = child {
        return child.wait().await.ok();
    }
    if let Err(error) = wait_for_pidfd(pidfd).await {
        tracing::error!(%error, "a guest's process can no longer be watched");
    }
    None
}

/// Does a live process with this pid run this guest?
fn is_guest(pid: u32, id: InstanceId) -> bool {
    // A process that has ended but is not collected yet has an empty command line.
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let id = id.to_string();
    let mut arguments = line.split(|byte| *byte == 0);
    arguments.any(|argument| argument == b"-uuid") && arguments.next() == Some(id.as_bytes())
}

/// Looks through all processes for those that run one of these guests.
pub fn find_all(ids: &[InstanceId]) -> io::Result<Vec<(InstanceId, u32)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        found.extend(
            ids.iter()
                .find(|id| is_guest(pid, **id))
                .map(|id| (*id, pid)),
        );
    }
    Ok(found)
}

/// What QEMU said before its process ended, as far as it helps to tell why it did.
#[derive(Debug, Default)]
pub struct Witness {
    /// The connection is closed: nothing more will come.
    pub heard_all: bool,
    guest_shutdown: bool,
    panicked: bool,
}

impl Witness {
    pub fn note(&mut self, event: &QmpEvent) {
        match event.name.as_str() {
            "SHUTDOWN" => self.guest_shutdown |= event.data["guest"] == true,
            "GUEST_PANICKED" => self.panicked = true,
            qmp::CLOSED => self.heard_all = true,
            _ => {}
        }
    }

    /// The cause of an end. Without an exit status the process was not our child.
    pub fn cause(&self, requested: bool, status: Option<ExitStatus>, dir: &GuestDir) -> ExitCause {
        if requested {
            return ExitCause::Requested;
        }
        if self.panicked {
            return ExitCause::GuestPanicked;
        }
        if self.guest_shutdown && status.is_none_or(|status| status.success()) {
            return ExitCause::GuestShutdown;
        }
        let status = status.map_or_else(|| "status unknown".to_owned(), describe);
        ExitCause::Died {
            status,
            output: last_words(dir),
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "status unknown".to_owned(),
    }
}

/// The last lines that QEMU wrote to its log.
pub fn last_words(dir: &GuestDir) -> String {
    let tail = crate::files::read_tail(&dir.file(guest_dir::QEMU_LOG), 8 << 10).unwrap_or_default();
    program::last_lines(&tail, 5)
}
