//! Shared by the tests of daemons and switches: a machine of the test's own (a network namespace that the test's thread
//! is in), OVN's centre, and endpoints that stand for guests.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "only tests use this"
)]

use corten_model::ids::{NetworkId, PortId};
use corten_network::chassis::{HostSwitch, MetadataListeners, SwitchConfig};
use corten_network::daemons::{Central, Namespace};
use corten_network::plan::Mac;
use ipnet::IpNet;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

pub const LIMIT: Duration = Duration::from_secs(30);

/// Runs a test as if on a machine of its own.
pub fn on_a_machine<F: Future<Output = ()>>(test: impl FnOnce(Machine) -> F) {
    let machine = Machine::new();
    let namespace = fs::File::open(format!("/run/netns/{}", machine.namespace)).unwrap();
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    // One thread, because others would be on another machine.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test(machine));
}

pub struct Machine {
    pub dir: TempDir,
    namespace: String,
    central: Option<Central>,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("cn").tempdir().unwrap();
        let name = dir.path().file_name().unwrap().to_str().unwrap().to_owned();
        let namespace = format!("machine-{name}");
        command(&["ip", "netns", "add", &namespace]);
        command(&["ip", "-n", &namespace, "link", "set", "lo", "up"]);
        Self {
            dir,
            namespace,
            central: None,
        }
    }

    pub fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub async fn central(&mut self) -> &Central {
        let data = self.data("data");
        if self.central.is_none() {
            self.central = Some(Central::open(&data).await.unwrap());
        }
        self.central.as_ref().unwrap()
    }

    pub fn running_central(&self) -> &Central {
        self.central.as_ref().unwrap()
    }

    /// Lets go of the centre as a crash of ours would.
    pub fn forget_central(&mut self) {
        self.central = None;
    }

    /// A host that is alone, with its switch in a namespace of its own.
    pub async fn config(&mut self, name: &str) -> SwitchConfig {
        let southbound = format!(
            "unix:{}",
            self.central().await.southbound_socket().display()
        );
        SwitchConfig::new(self.data(name), name, southbound)
    }

    pub async fn switch(&mut self, name: &str) -> HostSwitch {
        let config = self.config(name).await;
        HostSwitch::open(config).await.unwrap()
    }

    /// Runs `ovn-nbctl`, and waits until the chassis have what it changed.
    pub fn northbound(&self, words: &[&str]) -> String {
        let socket = self.central.as_ref().unwrap().northbound_socket();
        let database = format!("--db=unix:{}", socket.display());
        let mut line = vec!["ovn-nbctl", "--timeout=20", &database, "--wait=sb"];
        line.extend(words);
        command(&line)
    }
}

impl Drop for Machine {
    /// Daemons outlive us on purpose, so a test must end them, also one that failed.
    fn drop(&mut self) {
        let path = self.dir.path().to_str().unwrap().to_owned();
        for pid in processes_with(&path) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        let mut namespaces = vec![self.namespace.clone()];
        for entry in fs::read_dir(&self.dir).unwrap().flatten() {
            let tag = SwitchConfig::new(entry.path(), "x", String::new()).namespace;
            if let Namespace::Named(tag) = tag {
                namespaces.extend(Namespace::with_prefix(&tag).unwrap());
            }
        }
        for namespace in namespaces {
            let _ = Command::new("ip")
                .args(["netns", "del", &namespace])
                .status();
        }
    }
}

/// Processes that have this text in their command line.
pub fn processes_with(text: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    })
    .collect()
}

pub fn kill9(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

/// Runs a program on the test's machine and returns what it printed.
pub fn command(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same in a namespace.
pub fn command_in(namespace: &Namespace, words: &[&str]) -> String {
    let wrapper = namespace.wrapper();
    let mut line: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    line.extend(words);
    command(&line)
}

/// Waits for a condition.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn listing(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).map_or(Vec::new(), |entries| {
        entries.flatten().map(|entry| entry.path()).collect()
    })
}

pub fn mac(number: u8) -> Mac {
    Mac([0x0a, 0, 0, 0, 1, number])
}

/// Something with an address on a network: a namespace joined to a switch, as services are.
pub struct Endpoint {
    pub network: NetworkId,
    pub port: PortId,
    pub mac: Mac,
    pub address: IpNet,
    pub namespace: Namespace,
    /// Held, because the endpoint is found again with its listeners.
    _listeners: MetadataListeners,
}

impl Endpoint {
    /// Joins it to a logical switch, as a port like a guest's.
    pub async fn join(
        machine: &Machine,
        switch: &HostSwitch,
        logical_switch: &str,
        number: u8,
        address: &str,
    ) -> Self {
        let (network, port) = (NetworkId::random(), PortId::random());
        let address: IpNet = address.parse().unwrap();
        let mac = mac(number);
        let addresses = format!("{mac} {}", address.addr());
        let name = port.to_string();
        machine.northbound(&[
            "lsp-add",
            logical_switch,
            &name,
            "--",
            "lsp-set-addresses",
            &name,
            &addresses,
        ]);
        let listeners = switch.serve(network, port, mac, &[address]).await.unwrap();
        let wired = [
            "--bare",
            "--columns=up",
            "find",
            "Logical_Switch_Port",
            &format!("name={name}"),
        ];
        until("the port is wired", || {
            machine.northbound(&wired).trim() == "true"
        })
        .await;
        let served = Namespace::with_prefix("corten-").unwrap();
        let namespace = served
            .into_iter()
            .find(|name| name.ends_with(&network.to_string()));
        Self {
            network,
            port,
            mac,
            address,
            namespace: Namespace::Named(namespace.unwrap()),
            _listeners: listeners,
        }
    }

    /// Whether a ping is answered.
    pub fn pings(&self, address: &str) -> bool {
        let wrapper = self.namespace.wrapper();
        let mut line = Command::new(&wrapper[0]);
        line.args(&wrapper[1..])
            .args(["ping", "-q", "-c", "1", "-W", "1", address]);
        line.output().unwrap().status.success()
    }

    pub async fn listen(&self, port: u16) -> TcpListener {
        let address = SocketAddr::new(self.address.addr(), port);
        self.namespace
            .run("listen in", move || TcpListener::bind(address))
            .await
            .unwrap()
    }

    pub async fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let connect = move || TcpStream::connect_timeout(&to, Duration::from_secs(2));
        let outcome = self
            .namespace
            .run("connect from", move || Ok(connect()))
            .await;
        outcome.unwrap()
    }
}

/// A connection between two endpoints.
pub struct Conversation {
    from: tokio::net::TcpStream,
    to: tokio::net::TcpStream,
}

impl Conversation {
    pub async fn begin(from: &Endpoint, to: &Endpoint) -> Self {
        let listener = to.listen(7).await;
        let address = listener.local_addr().unwrap();
        let from = from.connect(address).await.unwrap();
        let (to, _) = listener.accept().unwrap();
        let [from, to] = [from, to].map(|end| {
            end.set_nonblocking(true).unwrap();
            tokio::net::TcpStream::from_std(end).unwrap()
        });
        Self { from, to }
    }

    /// Sends a text one way and back; both must come through, however often they are sent.
    pub async fn go_on(&mut self, text: &str) {
        let there_and_back = async {
            let mut heard = vec![0; text.len()];
            self.from.write_all(text.as_bytes()).await.unwrap();
            self.to.read_exact(&mut heard).await.unwrap();
            self.to.write_all(&heard).await.unwrap();
            self.from.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, text.as_bytes());
        };
        tokio::time::timeout(LIMIT, there_and_back)
            .await
            .expect("the connection lives");
    }
}

/// What passes a device, as `tcpdump` tells it.
pub struct Wire {
    told: tokio::io::Lines<tokio::io::BufReader<tokio::process::ChildStdout>>,
    _tcpdump: tokio::process::Child,
}

impl Wire {
    /// Begins to listen.
    pub async fn tap(namespace: &Namespace, device: &str) -> Self {
        let wrapper = namespace.wrapper();
        let mut tcpdump = tokio::process::Command::new(&wrapper[0])
            .args(&wrapper[1..])
            .args(["tcpdump", "-Z", "root", "-l", "-n", "-e", "-i", device])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut about = BufReader::new(tcpdump.stderr.take().unwrap()).lines();
        let listens = async {
            while let Some(line) = about.next_line().await.unwrap() {
                if line.contains("listening on") {
                    return;
                }
            }
            panic!("tcpdump ended");
        };
        tokio::time::timeout(LIMIT, listens)
            .await
            .expect("it listens");
        let told = BufReader::new(tcpdump.stdout.take().unwrap()).lines();
        Self {
            told,
            _tcpdump: tcpdump,
        }
    }

    /// Waits for a frame that is told with these words.
    pub async fn carries(&mut self, words: &str) {
        let passes = async {
            while let Some(line) = self.told.next_line().await.unwrap() {
                if line.contains(words) {
                    return;
                }
            }
            panic!("tcpdump ended");
        };
        let passed = tokio::time::timeout(LIMIT, passes).await;
        assert!(passed.is_ok(), "no frame with '{words}' passes");
    }
}
