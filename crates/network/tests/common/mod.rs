//! Real OVN daemons in a directory of their own, which end with the test.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests use this")]

pub mod plans;

use corten_network::ovsdb::Remote;
use std::collections::BTreeSet;
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
    northbound_server: Option<Daemon>,
    southbound_server: Daemon,
    northd: Option<Daemon>,
    directory: TempDir,
}

impl Central {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let northbound = Database::create(directory.path(), "nb", NORTHBOUND_SCHEMA);
        let southbound = Database::create(directory.path(), "sb", SOUTHBOUND_SCHEMA);
        let servers = (northbound.serve(), southbound.serve());
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
        Self {
            northbound,
            southbound,
            northbound_server: Some(servers.0),
            southbound_server: servers.1,
            northd: Some(Daemon::start(
                "ovn-northd",
                &northd,
                &directory.path().join("northd.log"),
            )),
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

    /// What a packet would do.
    pub fn trace(&self, datapath: &str, packet: &str) -> String {
        let db = format!("--db={}", self.southbound.socket());
        run("ovn-trace", &[&db, "--ct=new", datapath, packet])
    }

    pub fn northd_has_no_complaint(&self) {
        let log = fs::read_to_string(self.directory.path().join("northd.log")).unwrap();
        let complaints = log
            .lines()
            .filter(|line| line.contains("|ERR|") || line.contains("|WARN|"));
        // No host is there.
        let complaints =
            complaints.filter(|line| !line.contains("set in options:requested-chassis"));
        assert_eq!(complaints.collect::<Vec<_>>(), Vec::<&str>::new());
    }

    pub fn stop_northd(&mut self) {
        if let Some(northd) = self.northd.take() {
            northd.stop();
        }
    }

    pub fn stop_northbound(&mut self) {
        if let Some(server) = self.northbound_server.take() {
            server.stop();
        }
    }

    pub fn start_northbound(&mut self) {
        self.northbound_server = Some(self.northbound.serve());
        wait_for(&self.northbound.path("sock"));
    }

    /// An empty database in place of what there was.
    pub fn replace_northbound(&mut self) {
        self.stop_northbound();
        fs::remove_file(self.northbound.path("db")).unwrap();
        run(
            "ovsdb-tool",
            &["create", &self.northbound.path("db"), NORTHBOUND_SCHEMA],
        );
        self.start_northbound();
    }

    /// Puts a copy in place of what there is, as `ovsdb-client restore` does: every row gets another UUID.
    pub fn restore(&self, copy: &str) {
        let path = self.directory.path().join("copy");
        fs::write(&path, copy).unwrap();
        let status = Command::new("ovsdb-client")
            .args(["restore", &self.northbound.socket()])
            .stdin(fs::File::open(&path).unwrap())
            .status();
        assert!(status.unwrap().success());
    }

    /// Everything that plans say, in a form that can be compared: names in place of UUIDs.
    pub fn dump(&self) -> BTreeSet<String> {
        let tables = [
            (
                "Logical_Switch_Port",
                "name,type,addresses,port_security,enabled,options,parent_name,tag",
            ),
            (
                "Logical_Router_Port",
                "name,mac,networks,options,ipv6_ra_configs",
            ),
            (
                "Logical_Router_Static_Route",
                "ip_prefix,nexthop,output_port",
            ),
            (
                "NAT",
                "type,external_ip,logical_ip,external_mac,logical_port",
            ),
            ("Load_Balancer", "name,vips,protocol"),
            ("Address_Set", "name,addresses"),
            ("DHCP_Options", "cidr,options"),
            ("DNS", "records"),
            ("QoS", "match,bandwidth,direction"),
            ("Gateway_Chassis", "name,priority"),
        ];
        let mut lines = BTreeSet::new();
        for (table, columns) in tables {
            let columns = format!("--columns={columns}");
            let rows = self.nbctl(&[
                "--bare",
                "--no-headings",
                "--format=csv",
                &columns,
                "list",
                table,
            ]);
            lines.extend(rows.lines().map(|row| format!("{table}: {row}")));
        }
        let groups = self.nbctl(&[
            "--bare",
            "--columns=name",
            "find",
            "Port_Group",
            "name!=theirs",
        ]);
        for group in groups.split_whitespace() {
            let rules = self.nbctl(&["acl-list", group]);
            lines.extend(rules.lines().map(|rule| format!("{group}: {rule}")));
            lines.insert(format!("{group}: {} ports", self.members(group)));
        }
        let (mut parent, show) = (String::new(), self.nbctl(&["show"]));
        for line in show.lines() {
            let id = |line: &str| {
                line.split_whitespace()
                    .nth(1)
                    .unwrap_or_default()
                    .to_owned()
            };
            if let Some((_, name)) = line.split_once('(') {
                parent = name.to_owned();
            } else if line.starts_with("    nat") {
                lines.insert(line.replace(&id(line), "nat"));
            } else if !line.contains("gateway chassis:") {
                lines.insert(format!("{parent}: {line}"));
            }
        }
        lines
    }

    pub fn members(&self, group: &str) -> usize {
        let name = format!("name={group}");
        let ports = self.nbctl(&["--bare", "--columns=ports", "find", "Port_Group", &name]);
        ports.split_whitespace().count()
    }

    /// Each daemon with its resident memory, in KiB.
    pub fn memory_kib(&self) -> Vec<(&'static str, u64)> {
        let of = |daemon: &Daemon| {
            let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
            let line = status
                .lines()
                .find(|line| line.starts_with("VmRSS:"))
                .unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let daemons = [
            ("northbound", self.northbound_server.as_ref()),
            ("southbound", Some(&self.southbound_server)),
            ("northd", self.northd.as_ref()),
        ];
        let running = daemons.into_iter();
        running
            .filter_map(|(name, daemon)| Some((name, of(daemon?))))
            .collect()
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
