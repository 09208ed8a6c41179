//! Real OVN daemons in a directory of their own, which end with the test.
#![allow(dead_code)]

use corten_network::ovsdb::Remote;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const LIMIT: Duration = Duration::from_secs(60);
pub const NORTHBOUND_SCHEMA: &str = "/usr/share/ovn/ovn-nb.ovsschema";
pub const SOUTHBOUND_SCHEMA: &str = "/usr/share/ovn/ovn-sb.ovsschema";

/// A process that ends with the test.
pub struct Daemon(Child);

impl Daemon {
    pub fn start(program: &str, arguments: &[String], log: &Path) -> Self {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start ({error}): run make deps"));
        Self(child)
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// A database file, and how its server is reached.
pub struct Database {
    pub directory: PathBuf,
    pub name: &'static str,
    /// Further arguments of the server.
    pub arguments: Vec<String>,
}

impl Database {
    pub fn create(directory: &Path, name: &'static str, schema: &str) -> Self {
        let database = Self {
            directory: directory.to_owned(),
            name,
            arguments: Vec::new(),
        };
        run("ovsdb-tool", &["create", &database.path("db"), schema]);
        database
    }

    pub fn path(&self, suffix: &str) -> String {
        let file = self.directory.join(format!("{}.{suffix}", self.name));
        file.to_str().unwrap().to_owned()
    }

    pub fn socket(&self) -> String {
        format!("unix:{}", self.path("sock"))
    }

    pub fn remote(&self) -> Remote {
        Remote::Unix(self.path("sock").into())
    }

    pub fn serve(&self) -> Daemon {
        let mut arguments = vec![
            self.path("db"),
            format!("--remote=punix:{}", self.path("sock")),
            format!("--unixctl={}", self.path("ctl")),
            format!("--pidfile={}", self.path("pid")),
            "-vconsole:warn".to_owned(),
        ];
        arguments.extend(self.arguments.iter().cloned());
        let log = self.directory.join(format!("{}.log", self.name));
        Daemon::start("ovsdb-server", &arguments, &log)
    }
}

/// Runs a program to its end and gives its output.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} does not start ({error}): run make deps"));
    let (text, complaint) = (
        output.stdout,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complaint}"
    );
    String::from_utf8(text).unwrap()
}

/// The control plane of OVN: both databases and northd, without any host.
pub struct Central {
    pub northbound: Database,
    pub southbound: Database,
    pub daemons: Vec<Daemon>,
    directory: TempDir,
}

impl Central {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let northbound = Database::create(directory.path(), "nb", NORTHBOUND_SCHEMA);
        let southbound = Database::create(directory.path(), "sb", SOUTHBOUND_SCHEMA);
        let mut daemons = vec![northbound.serve(), southbound.serve()];
        wait_for(&northbound.path("sock"));
        wait_for(&southbound.path("sock"));
        let northd = [
            format!("--ovnnb-db={}", northbound.socket()),
            format!("--ovnsb-db={}", southbound.socket()),
            format!(
                "--unixctl={}",
                directory.path().join("northd.ctl").display()
            ),
            format!(
                "--pidfile={}",
                directory.path().join("northd.pid").display()
            ),
            "-vconsole:warn".to_owned(),
        ];
        daemons.push(Daemon::start(
            "ovn-northd",
            &northd,
            &directory.path().join("northd.log"),
        ));
        Self {
            northbound,
            southbound,
            daemons,
            directory,
        }
    }

    pub fn nbctl(&self, arguments: &[&str]) -> String {
        let db = format!("--db={}", self.northbound.socket());
        run("ovn-nbctl", &[&["--timeout=30", &db], arguments].concat())
    }

    pub fn sbctl(&self, arguments: &[&str]) -> String {
        let db = format!("--db={}", self.southbound.socket());
        run("ovn-sbctl", &[&["--timeout=30", &db], arguments].concat())
    }

    pub fn trace(&self, datapath: &str, flow: &str) -> String {
        let db = format!("--db={}", self.southbound.socket());
        run(
            "ovn-trace",
            &["--timeout=30", &db, "--minimal", datapath, flow],
        )
    }
}

/// Waits for a file that a daemon makes when it is ready.
pub fn wait_for(path: &str) {
    let deadline = Instant::now() + LIMIT;
    while !Path::new(path).exists() {
        assert!(Instant::now() < deadline, "{path} does not appear");
        std::thread::yield_now();
    }
}
