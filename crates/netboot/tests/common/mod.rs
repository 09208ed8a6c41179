//! Shared by the tests: a provisioning network in namespaces of its own, with a boot server, and stations beside it.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "only tests use this"
)]

pub mod client;
pub mod guest;
pub mod ramdisk;

use async_trait::async_trait;
use corten_model::ids::NodeId;
use corten_model::mac::Mac;
use corten_netboot::{
    Answer, Asker, Boot, BootEvent, BootServer, BootStep, Config, Directory, DirectoryError, Lease,
    LoaderPaths, Loaders, MediaPlan,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::HashMap;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;

pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const HTTP: &str = "10.77.0.1:8080";
/// A boot takes seconds; so much only on a machine that is very busy.
pub const PATIENCE: Duration = Duration::from_secs(200);

/// The rows of a test.
#[derive(Default)]
pub struct Rows {
    pub nodes: Mutex<HashMap<Mac, Answer>>,
    pub media: Mutex<HashMap<String, MediaPlan>>,
}

#[async_trait]
impl Directory for Rows {
    async fn find(&self, asker: Asker) -> Result<Option<Answer>, DirectoryError> {
        Ok(self.nodes.lock().unwrap().get(&asker.mac).cloned())
    }

    async fn media(&self, name: &str) -> Result<Option<MediaPlan>, DirectoryError> {
        Ok(self.media.lock().unwrap().get(name).cloned())
    }
}

/// A provisioning network: a namespace with the bridge `br0`, which the server has an address on.
pub struct Lab {
    pub dir: TempDir,
    pub rows: Arc<Rows>,
    /// A station on the network, which is no guest: a namespace with the one interface `eth0` on the bridge.
    pub station: String,
    pub network: String,
    events: Option<mpsc::Receiver<BootEvent>>,
    pub seen: Vec<BootStep>,
    server: Option<BootServer>,
}

impl Lab {
    /// The network without a server.
    pub fn without_server() -> Self {
        let dir = tempfile::Builder::new().prefix("nb").tempdir().unwrap();
        let name = dir.path().file_name().unwrap().to_str().unwrap();
        let (network, station) = (format!("{name}-net"), format!("{name}-sta"));
        run(&format!(
            "ip netns add {network}
             ip netns add {station}
             ip -n {network} link set lo up
             ip -n {network} link add br0 type bridge
             ip -n {network} addr add {SERVER}/24 dev br0
             ip -n {network} link set br0 up
             ip -n {network} link add port0 type veth peer name eth0 netns {station}
             ip -n {network} link set port0 master br0 up
             ip -n {station} link set eth0 up
             ip -n {station} link set lo up"
        ));
        Self {
            dir,
            rows: Arc::default(),
            station,
            network,
            events: None,
            seen: Vec::new(),
            server: None,
        }
    }

    pub async fn new() -> Self {
        let mut lab = Self::without_server();
        lab.start(|_| {}).await;
        lab
    }

    pub async fn start(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = Config {
            namespace: Some(namespace_file(&self.network)),
            interface: "br0".to_owned(),
            address: SERVER,
            http_port: 8080,
            peers: Vec::new(),
            probe_every: None,
        };
        change(&mut config);
        let loaders = Loaders::load(&LoaderPaths::debian()).unwrap();
        let started = BootServer::start(config, loaders, self.rows.clone()).await;
        let (server, events) = started.unwrap();
        self.server = Some(server);
        self.events = Some(events);
    }

    pub fn server(&self) -> &BootServer {
        self.server.as_ref().unwrap()
    }

    /// Stops the server, and returns when it has.
    pub async fn stop(&mut self) {
        self.server.take().unwrap().stop().await;
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a node known.
    pub fn know(&self, mac: &str, address: &str, boot: Option<Boot>) -> NodeId {
        let node = NodeId::random();
        let answer = Answer {
            node,
            lease: lease(address),
            boot,
        };
        let mac = mac.parse().unwrap();
        self.rows.nodes.lock().unwrap().insert(mac, answer);
        node
    }

    /// Waits for an event; what comes before it is kept in `seen`.
    pub async fn event(&mut self, what: &str, wanted: impl Fn(&BootStep) -> bool) -> BootStep {
        let events = self.events.as_mut().unwrap();
        let found = async {
            loop {
                let step = events.recv().await.expect("the server runs").step;
                self.seen.push(step.clone());
                if wanted(&step) {
                    return step;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(step) => step,
            Err(_) => panic!("never seen: {what}; seen: {:#?}", self.seen),
        }
    }

    /// What has come until now.
    pub fn seen(&mut self) -> &[BootStep] {
        while let Ok(event) = self.events.as_mut().unwrap().try_recv() {
            self.seen.push(event.step);
        }
        &self.seen
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.server = None;
        for namespace in [&self.network, &self.station] {
            let _ = Command::new("ip")
                .args(["netns", "del", namespace])
                .status();
        }
    }
}

pub fn lease(address: &str) -> Lease {
    Lease {
        address: address.parse().unwrap(),
        gateway: None,
        name_servers: Vec::new(),
        mtu: None,
        hostname: None,
        duration: Duration::from_secs(600),
    }
}

pub fn namespace_file(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// Runs commands, one a line.
pub fn run(commands: &str) {
    for line in commands.lines() {
        let mut words = line.split_whitespace();
        let output = Command::new(words.next().unwrap())
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", line.trim());
    }
}

/// Does something in a namespace, on a thread of its own with a runtime of its own.
pub async fn inside<T, F>(namespace: &str, work: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let file = File::open(namespace_file(namespace)).unwrap();
    let (give, result) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _ = give.send(runtime.block_on(work()));
    });
    result.await.expect("what runs inside does not panic")
}
