//! Network namespaces, as `ip netns` names them.

use super::error::MachineError;
use super::program::Program;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where `ip netns` keeps them.
const DIRECTORY: &str = "/run/netns";

/// The network namespace that something lives in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// The one that this process is in.
    Own,
    Named(String),
}

impl Namespace {
    /// Arguments that go before a command's own to run it in here; the process stays the same one.
    pub fn wrapper(&self) -> Vec<String> {
        match self {
            Self::Own => Vec::new(),
            Self::Named(name) => vec![
                "nsenter".to_owned(),
                format!("--net={}", path_of(name).display()),
                "--".to_owned(),
            ],
        }
    }

    /// As [`Self::wrapper`], with `/sys` showing the devices of this namespace.
    pub(super) fn wrapper_with_sys(&self) -> Vec<String> {
        match self {
            Self::Own => Vec::new(),
            Self::Named(name) => ["ip", "netns", "exec", name].map(str::to_owned).to_vec(),
        }
    }

    /// A program that will run in here.
    pub(crate) fn program(&self, name: &str) -> Program {
        let mut words = self.wrapper();
        words.push(name.to_owned());
        let first = words.remove(0);
        Program::new(first).about(name).args(words)
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Own => PathBuf::from("/proc/thread-self/ns/net"),
            Self::Named(name) => path_of(name),
        }
    }

    /// What tells it from all others.
    pub(super) fn inode(&self) -> Result<u64, MachineError> {
        let path = self.path();
        let metadata = fs::metadata(&path).map_err(MachineError::io("look at", &path))?;
        Ok(metadata.ino())
    }

    /// Makes the namespace if it is missing. True if it was.
    pub async fn ensure(&self) -> Result<bool, MachineError> {
        let Self::Named(name) = self else {
            return Ok(false);
        };
        if is_live(name) {
            return Ok(false);
        }
        // A name without a namespace is what a broken-off `ip netns add` leaves.
        if path_of(name).exists() {
            Program::new("ip")
                .args(["netns", "del", name])
                .run()
                .await?;
        }
        Program::new("ip")
            .args(["netns", "add", name])
            .run()
            .await?;
        self.program("ip")
            .args(["link", "set", "lo", "up"])
            .run()
            .await?;
        // The kernel's own addresses would announce the switch's devices on tenants' networks.
        self.program("sysctl")
            .args([
                "-qw",
                "net.ipv4.ip_forward=0",
                "net.ipv6.conf.all.disable_ipv6=1",
                "net.ipv6.conf.default.disable_ipv6=1",
            ])
            .run()
            .await?;
        Ok(true)
    }

    /// Removes a named namespace; one that is not there is fine. Its devices go when its last process is gone.
    pub async fn remove(&self) -> Result<(), MachineError> {
        match self {
            Self::Named(name) if path_of(name).exists() => {
                Program::new("ip")
                    .args(["netns", "del", name])
                    .run()
                    .await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The names of all namespaces that start so.
    pub fn with_prefix(prefix: &str) -> Result<Vec<String>, MachineError> {
        let entries = match fs::read_dir(DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(MachineError::io("list", Path::new(DIRECTORY)))?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter(|name| name.starts_with(prefix)).collect())
    }

    /// Does something in here, on a thread of its own, because a thread that came in stays in. What is opened there, a
    /// socket for example, belongs to the namespace for good.
    pub async fn run<T, F>(&self, doing: &'static str, work: F) -> Result<T, MachineError>
    where
        T: Send + 'static,
        F: FnOnce() -> io::Result<T> + Send + 'static,
    {
        let path = self.path();
        let namespace = File::open(&path).map_err(MachineError::io("open", &path))?;
        let (give, result) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("in-namespace".to_owned())
            .spawn(move || {
                let kind = Some(LinkNameSpaceType::Network);
                let moved = move_into_link_name_space(namespace.as_fd(), kind);
                let outcome = moved.map_err(io::Error::from).and_then(|()| work());
                // Nobody waiting any more is fine.
                let _ = give.send(outcome);
            })
            .map_err(MachineError::io("start a thread for", &path))?;
        let outcome = result
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the thread ended before its work")));
        outcome.map_err(MachineError::io(doing, &path))
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("the machine's own network namespace"),
            Self::Named(name) => write!(f, "the network namespace {name}"),
        }
    }
}

fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// A namespace's file lies on a file system of its own kind; the bare name of one does not.
fn is_live(name: &str) -> bool {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    File::open(path_of(name))
        .ok()
        .and_then(|file| rustix::fs::fstatfs(file).ok())
        .is_some_and(|stat| stat.f_type as u64 == NSFS_MAGIC)
}
