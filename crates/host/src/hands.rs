//! The interface of a host and what it tells about guests and about itself.

use crate::error::HostError;
use crate::task::{Fence, Report, Task};
use async_trait::async_trait;
use corten_model::ids::InstanceId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::broadcast;

/// A host: does tasks, and answers questions without changing anything.
#[async_trait]
pub trait Hands: Send + Sync {
    /// Does a task to its end. The task goes on when the caller stops waiting; tasks on one guest run one by one.
    async fn perform(&self, fence: Fence, task: Task) -> Result<Report, HostError>;

    /// The end of the guest's serial console log: the last `tail_lines` lines, or all that is kept.
    async fn console_log(
        &self,
        id: InstanceId,
        tail_lines: Option<usize>,
    ) -> Result<Vec<u8>, HostError>;

    /// What the guest is now, or `None` if it is not on this host.
    async fn observe(&self, id: InstanceId) -> Result<Option<Observation>, HostError>;

    /// Every guest of this host.
    async fn observe_all(&self) -> Result<Vec<Observation>, HostError>;

    /// The SHA-512 of every base image in this host's cache.
    async fn cached_images(&self) -> Result<Vec<String>, HostError>;

    /// Load figures of a running guest.
    async fn diagnostics(&self, id: InstanceId) -> Result<Diagnostics, HostError>;

    /// Where the guest's consoles listen.
    async fn consoles(&self, id: InstanceId) -> Result<ConsoleSockets, HostError>;

    /// Opens one of them.
    async fn open_console(
        &self,
        id: InstanceId,
        kind: ConsoleKind,
    ) -> Result<ConsoleStream, HostError> {
        let path = self.consoles(id).await?.of(kind);
        let stream = UnixStream::connect(&path).await;
        Ok(Box::new(stream.map_err(HostError::io("open", &path))?))
    }

    /// What happens to guests from now on. A receiver that lags should call [`Hands::observe_all`].
    fn subscribe(&self) -> broadcast::Receiver<GuestEvent>;

    /// What this host has and is.
    async fn capacity(&self) -> Result<HostCapacity, HostError>;
}

/// A guest as it was seen just now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    pub id: InstanceId,
    pub power: Power,
    /// Of the QEMU process, if there is one.
    pub pid: Option<u32>,
    /// Booted from a rescue disk.
    pub rescued: bool,
    /// How the last QEMU process ended, if the guest has none now.
    pub last_exit: Option<ExitCause>,
}

/// Whether a guest has power and runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    Running,
    Paused,
    Shutdown,
    /// It ended without anyone asking for it, or cannot go on.
    Crashed,
    /// Its memory is saved on disk.
    Suspended,
}

/// Why a QEMU process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum ExitCause {
    /// A task ended it.
    Requested,
    /// The guest powered itself off.
    GuestShutdown,
    /// The guest's kernel panicked.
    GuestPanicked,
    /// QEMU died: how, and the last lines it wrote.
    Died { status: String, output: String },
    /// The host went down with it.
    HostRebooted,
}

impl ExitCause {
    pub fn is_crash(&self) -> bool {
        matches!(self, Self::GuestPanicked | Self::Died { .. })
    }
}

impl fmt::Display for ExitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("stopped on request"),
            Self::GuestShutdown => f.write_str("the guest powered itself off"),
            Self::GuestPanicked => f.write_str("the guest's kernel panicked"),
            Self::Died { status, output } if output.is_empty() => write!(f, "QEMU died ({status})"),
            Self::Died { status, output } => write!(f, "QEMU died ({status}): {output}"),
            Self::HostRebooted => f.write_str("the host went down"),
        }
    }
}

/// Something happened to a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestEvent {
    pub id: InstanceId,
    pub change: GuestChange,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum GuestChange {
    /// A QEMU process was started for it.
    Started { pid: u32 },
    /// Its processors stand still.
    Paused,
    /// Its processors run.
    Resumed,
    /// It rebooted itself, or was reset.
    Reset,
    /// Its QEMU process ended.
    Ended { cause: ExitCause },
}

/// Load figures of a running guest, as Nova's diagnostics (microversion 2.48) has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostics {
    pub power: Power,
    pub uptime_secs: u64,
    pub config_drive: bool,
    pub cpus: Vec<CpuDiagnostics>,
    pub memory_maximum_mib: u64,
    /// Resident on the host.
    pub memory_used_mib: u64,
    pub disks: Vec<DiskDiagnostics>,
    pub nics: Vec<NicDiagnostics>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuDiagnostics {
    pub id: u32,
    /// Processor time used so far.
    pub time_ns: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskDiagnostics {
    pub name: String,
    pub read_bytes: u64,
    pub read_requests: u64,
    pub write_bytes: u64,
    pub write_requests: u64,
    pub errors: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicDiagnostics {
    pub mac: String,
    pub tap: String,
    pub rx_octets: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_drop: u64,
    pub tx_octets: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_drop: u64,
}

/// One of a guest's consoles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsoleKind {
    /// The serial line, as a terminal has it.
    Serial,
    /// The screen, as RFB (RFC 6143) has it.
    Vnc,
}

/// An open console.
pub type ConsoleStream = Box<dyn ConsoleBytes>;

/// Bytes both ways.
pub trait ConsoleBytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ConsoleBytes for T {}

/// Unix sockets on this host. Each takes one client at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleSockets {
    pub serial: PathBuf,
    pub vnc: PathBuf,
}

impl ConsoleSockets {
    fn of(self, kind: ConsoleKind) -> PathBuf {
        match kind {
            ConsoleKind::Serial => self.serial,
            ConsoleKind::Vnc => self.vnc,
        }
    }
}

/// What a host has and is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCapacity {
    pub hostname: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub memory_used_mib: u64,
    /// Of the file system that holds the guests.
    pub disk_gib: u64,
    pub disk_used_gib: u64,
    pub cpu_arch: String,
    pub cpu_model: String,
    pub cpu_vendor: String,
    pub cpu_features: Vec<String>,
    /// For example `7.2.22`.
    pub hypervisor_version: String,
    pub acceleration: Acceleration,
    /// As `uptime` prints it.
    pub uptime: String,
    pub confinement: Confinement,
}

/// How guests are run, and why so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceleration {
    pub accelerator: Accelerator,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    Kvm,
    /// Emulation: works everywhere, slowly.
    Tcg,
}

impl Accelerator {
    /// QEMU's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What holds a guest's QEMU process in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// The user it runs as.
    pub user: String,
    /// Where its cgroup is made, or `None` if this machine lets us make none.
    pub cgroup: Option<String>,
    /// What is weaker than it should be, each with its remedy.
    pub weaknesses: Vec<String>,
}
