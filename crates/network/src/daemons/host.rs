//! A host's own daemons: its configuration database, the switch, and OVN's controller.

use super::daemon::Daemon;
use super::database::DatabaseServer;
use super::dirs::Dirs;
use super::error::MachineError;
use super::namespace::Namespace;
use super::supervisor::{DaemonStatus, Supervised};
use crate::ovsdb::Identity;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// What moves packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datapath {
    /// The kernel's module openvswitch.
    Kernel,
    /// The switch itself, with packet sockets. Slower, and works everywhere.
    Userspace,
}

impl Datapath {
    /// Open vSwitch's `datapath_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "system",
            Self::Userspace => "netdev",
        }
    }

    /// Found out by making one: a kernel may have the module and still not let us use it.
    pub async fn probe(namespace: &Namespace, tag: &str) -> Self {
        let name = format!("system@corten-{tag}");
        let made = namespace
            .program("ovs-dpctl")
            .args(["add-dp", &name])
            .run()
            .await;
        if let Err(error) = made {
            tracing::info!(%error, "the kernel switches no packets here: the userspace datapath does");
            return Self::Userspace;
        }
        let removed = namespace
            .program("ovs-dpctl")
            .args(["del-dp", &name])
            .run()
            .await;
        if let Err(error) = removed {
            tracing::warn!(%error, datapath = name, "a datapath that was made to see if it can be is still there");
        }
        Self::Kernel
    }
}

/// The three daemons, kept running. Dropping this leaves them running; the next one adopts them.
pub struct ChassisDaemons {
    dirs: Dirs,
    database: Supervised,
    /// Started once the database is configured.
    workers: Vec<Supervised>,
    namespace: Namespace,
    identity: Option<Identity>,
}

impl ChassisDaemons {
    /// Adopts or starts the configuration database, with its files in `dirs`. The others follow with
    /// [`Self::start_workers`].
    pub async fn open(
        dirs: Dirs,
        namespace: Namespace,
        identity: Option<Identity>,
    ) -> Result<Self, MachineError> {
        dirs.create()?;
        let server = DatabaseServer {
            name: "conf",
            socket: dirs.socket("db.sock"),
            schema: SCHEMA.into(),
            package: "openvswitch-switch",
            remotes_in: None,
        };
        let database = server.start(&dirs).await?;
        Ok(Self {
            dirs,
            database,
            workers: Vec::new(),
            namespace,
            identity,
        })
    }

    /// Adopts or starts the switch and OVN's controller.
    pub async fn start_workers(&mut self) -> Result<(), MachineError> {
        let switch = self.worker("vswitchd", "ovs-vswitchd", false);
        if switch.find()?.is_none() {
            self.refuse_a_second_switch()?;
        }
        let mut controller = self.worker("controller", "ovn-controller", true);
        if let Some(identity) = &self.identity {
            controller.arguments.extend(identity.options());
        }
        for daemon in [switch, controller] {
            self.workers.push(Supervised::start(daemon).await?);
        }
        Ok(())
    }

    fn worker(&self, name: &'static str, program: &'static str, names_its_socket: bool) -> Daemon {
        Daemon {
            name,
            program,
            arguments: vec![format!("unix:{}", self.database_socket().display())],
            dirs: self.dirs.clone(),
            namespace: self.namespace.clone(),
            names_its_socket,
        }
    }

    /// Open vSwitch names its datapath the same everywhere (`ovs-system`, `ovs-netdev`), so a second switch in one
    /// network namespace would take the first one's packets or get none.
    fn refuse_a_second_switch(&self) -> Result<(), MachineError> {
        let here = self.namespace.inode()?;
        let is_foreign = |directory: PathBuf| {
            let is_switch =
                fs::read(directory.join("comm")).is_ok_and(|name| name == b"ovs-vswitchd\n");
            is_switch && fs::metadata(directory.join("ns/net")).is_ok_and(|its| its.ino() == here)
        };
        let proc = Path::new("/proc");
        let entries = fs::read_dir(proc).map_err(MachineError::io("list", proc))?;
        if entries.flatten().any(|entry| is_foreign(entry.path())) {
            return Err(MachineError::ForeignSwitch {
                namespace: self.namespace.to_string(),
            });
        }
        Ok(())
    }

    pub fn database_socket(&self) -> PathBuf {
        self.dirs.socket("db.sock")
    }

    pub fn status(&self) -> Vec<DaemonStatus> {
        let all = std::iter::once(&self.database).chain(&self.workers);
        all.map(Supervised::status).collect()
    }

    /// Ends the daemons: the controller takes the host out of the southbound database, the switch removes its devices.
    pub async fn stop(self) -> Result<(), MachineError> {
        for supervised in self.workers.iter().rev() {
            let words: &[&str] = match supervised.daemon.name {
                "vswitchd" => &["exit", "--cleanup"],
                _ => &["exit"],
            };
            supervised.end(words).await?;
        }
        self.database.end(&["exit"]).await
    }
}
