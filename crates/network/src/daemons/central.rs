//! The fabric's centre: the northbound and southbound databases, and the daemon that compiles one to the other.

use super::daemon::Daemon;
use super::database::DatabaseServer;
use super::dirs::Dirs;
use super::error::MachineError;
use super::namespace::Namespace;
use super::program::Program;
use super::supervisor::{DaemonStatus, Supervised};
use crate::ovsdb::Identity;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

const SCHEMAS: &str = "/usr/share/ovn";

/// The three daemons, kept running. Dropping this leaves them running; the next one adopts them.
pub struct Central {
    dirs: Dirs,
    /// In the order of their start.
    daemons: Vec<Supervised>,
}

impl Central {
    /// Adopts or starts the daemons, with their files below `data_dir`.
    pub async fn open(data_dir: &Path) -> Result<Self, MachineError> {
        let dirs = Dirs::new(data_dir, "central");
        dirs.create()?;
        let mut daemons = Vec::new();
        for (name, schema) in [("northbound", "ovn-nb"), ("southbound", "ovn-sb")] {
            let server = DatabaseServer {
                name,
                socket: socket_of(&dirs, name),
                schema: Path::new(SCHEMAS).join(format!("{schema}.ovsschema")),
                package: "ovn-central",
                remotes_in: (name == "southbound").then_some(("OVN_Southbound", "SB_Global")),
            };
            daemons.push(server.start(&dirs).await?);
        }
        let databases = [("nb", "northbound"), ("sb", "southbound")].map(|(option, name)| {
            format!("--ovn{option}-db=unix:{}", socket_of(&dirs, name).display())
        });
        let northd = Daemon {
            name: "northd",
            program: "ovn-northd",
            arguments: databases.to_vec(),
            dirs: dirs.clone(),
            namespace: Namespace::Own,
            names_its_socket: false,
        };
        daemons.push(Supervised::start(northd).await?);
        Ok(Self { dirs, daemons })
    }

    /// Has the southbound database listen for hosts on other machines. Each proves with its certificate which host it is,
    /// and may write what is its own and nothing else (OVN's role `ovn-controller`).
    pub async fn listen(
        &self,
        address: SocketAddr,
        identity: &Identity,
    ) -> Result<(), MachineError> {
        let target = match address.ip() {
            IpAddr::V4(ip) => format!("pssl:{}:{ip}", address.port()),
            IpAddr::V6(ip) => format!("pssl:{}:[{ip}]", address.port()),
        };
        self.southbound()
            .arg("set-ssl")
            .args([&identity.key, &identity.certificate, &identity.authority])
            .args(["--", "set-connection", "role=ovn-controller"])
            .arg(target)
            .run()
            .await
            .map(drop)
    }

    /// No host on another machine can come in any more, and those that have are cut off.
    pub async fn stop_listening(&self) -> Result<(), MachineError> {
        self.southbound()
            .args(["del-connection", "--", "del-ssl"])
            .run()
            .await
            .map(drop)
    }

    fn southbound(&self) -> Program {
        Program::new("ovn-sbctl")
            .arg("--timeout=10")
            .arg(format!("--db=unix:{}", self.southbound_socket().display()))
    }

    pub fn northbound_socket(&self) -> PathBuf {
        socket_of(&self.dirs, "northbound")
    }

    pub fn southbound_socket(&self) -> PathBuf {
        socket_of(&self.dirs, "southbound")
    }

    pub fn status(&self) -> Vec<DaemonStatus> {
        self.daemons.iter().map(Supervised::status).collect()
    }

    /// Ends the daemons; the databases stay.
    pub async fn stop(self) -> Result<(), MachineError> {
        for supervised in self.daemons.iter().rev() {
            supervised.end(&["exit"]).await?;
        }
        Ok(())
    }

    /// Ends the daemons and removes their databases.
    pub async fn destroy(self) -> Result<(), MachineError> {
        let dirs = self.dirs.clone();
        self.stop().await?;
        dirs.remove()
    }
}

fn socket_of(dirs: &Dirs, name: &str) -> PathBuf {
    dirs.socket(&format!("{name}.sock"))
}
