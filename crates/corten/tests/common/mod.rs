//! A whole cloud for a test: the real binary with a data directory of its own, killed and cleaned up when it is dropped.
//!
//! Each test file uses a part of what is here.
#![allow(dead_code)]

pub mod guests;
pub mod http;

#[allow(unused_imports)] // each test uses its part of the fixture
pub use http::Actor;

use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fmt::Display;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(10);
/// For the control plane to start or stop.
pub const SOON: Duration = Duration::from_secs(60);

/// Looks again and again until there is something to see.
pub async fn until<T, F>(what: impl Display, limit: Duration, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A cloud that no test needs to look after.
pub struct Cloud {
    directory: TempDir,
    http: reqwest::Client,
    port: u16,
    server: Option<Child>,
}

impl Cloud {
    /// On simulated hosts, without quotas.
    pub async fn simulated(hosts: u32) -> Self {
        let unlimited = "instances = -1\ncores = -1\nram_mib = -1";
        let cloud = Self::start(&format!(
            "[host]\nenabled = false\n[sim]\nhosts = {hosts}\n[quota]\n{unlimited}\n"
        ))
        .await;
        cloud.wait_for_hosts(hosts as usize).await;
        cloud
    }

    /// On this machine, with QEMU's own emulation, which every machine can do. Guests that do not listen to ACPI have
    /// their power cut soon.
    pub async fn real() -> Self {
        let cloud =
            Self::start(
                "[host]\nacceleration = \"tcg\"\n[compute]\nshutdown_timeout_secs = 2\n[network]\nenabled = false\n",
            )
                .await;
        cloud.wait_for_hosts(1).await;
        cloud
    }

    /// The same with networks: Open vSwitch and OVN of its own.
    pub async fn with_networks() -> Self {
        let cloud =
            Self::start("[host]\nacceleration = \"tcg\"\n[compute]\nshutdown_timeout_secs = 2\n")
                .await;
        cloud.wait_for_hosts(1).await;
        cloud
    }

    /// With these settings.
    pub async fn start(settings: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("corten-test.")
            .tempdir()
            .unwrap();
        fs::write(directory.path().join("corten.toml"), settings).unwrap();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let mut cloud = Self {
            directory,
            http,
            port: 0,
            server: None,
        };
        // A port that is free now may be taken in a moment, so another is tried.
        for _ in 0..5 {
            cloud.port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            if cloud.try_run().await {
                return cloud;
            }
        }
        panic!("the control plane does not start:\n{}", cloud.log_tail(20));
    }

    pub fn data(&self) -> &Path {
        self.directory.path()
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn log_path(&self) -> PathBuf {
        self.data().join("serve.log")
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The end of the log, without the requests.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let lines: Vec<_> = log
            .lines()
            .filter(|line| !line.contains(": answered "))
            .rev()
            .take(lines)
            .collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Starts the control plane and waits until it answers.
    pub async fn run(&mut self) {
        assert!(
            self.try_run().await,
            "the control plane does not start:\n{}",
            self.log_tail(20)
        );
    }

    async fn try_run(&mut self) -> bool {
        assert!(self.server.is_none(), "the control plane runs already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_corten"))
            .arg("--data")
            .arg(self.data())
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = self.server.insert(child);
        let begun = Instant::now();
        while begun.elapsed() < SOON {
            if server.try_wait().unwrap().is_some() {
                self.server = None;
                return false;
            }
            let answer = self
                .http
                .get(format!("http://127.0.0.1:{}/healthz", self.port))
                .send()
                .await;
            if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
        false
    }

    /// The control plane's process.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("the control plane runs").id()
    }

    pub fn is_alive(&mut self) -> bool {
        self.server
            .as_mut()
            .is_some_and(|server| server.try_wait().unwrap().is_none())
    }

    /// `kill -9`: no code of the control plane runs any more.
    pub fn kill9(&mut self) {
        let mut server = self.server.take().expect("the control plane runs");
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// SIGTERM, and waits until it has ended in good order.
    pub async fn terminate(&mut self) {
        let mut server = self.server.take().expect("the control plane runs");
        kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
        let status = until("the end after SIGTERM", SOON, || {
            std::future::ready(server.try_wait().unwrap())
        })
        .await;
        assert!(
            status.success(),
            "after SIGTERM it ended with {status}:\n{}",
            self.log_tail(20)
        );
    }

    /// The password of a user that every cloud starts with.
    pub fn password(&self, user: &str) -> String {
        let text = fs::read_to_string(self.data().join("passwords")).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(user)?.strip_prefix('='));
        line.expect("a line for the user").to_owned()
    }

    /// Nobody: for what needs no token.
    pub fn stranger(&self) -> Actor {
        Actor::new(self.http.clone(), self.url())
    }

    pub async fn log_in(&self, user: &str, password: &str, project: &str) -> Actor {
        self.stranger().log_in(user, password, project).await
    }

    /// The administrator, in the project `admin`.
    pub async fn admin(&self) -> Actor {
        self.log_in("admin", &self.password("admin"), "admin").await
    }

    /// The member of the project `demo`.
    pub async fn demo(&self) -> Actor {
        self.log_in("demo", &self.password("demo"), "demo").await
    }

    /// Makes a user with a role on a project (made if absent) of the default domain, and logs it in.
    pub async fn user_in(&self, admin: &Actor, name: &str, role: &str, project: &str) -> Actor {
        let project_id = match admin
            .find("/identity/v3/projects", "projects", project)
            .await
        {
            Some(found) => found,
            None => {
                let body = json!({"project": {"name": project, "domain_id": "default"}});
                admin
                    .post("/identity/v3/projects", body)
                    .await
                    .id("project")
            }
        };
        let password = format!("{name}-secret");
        let body = json!({"user": {"name": name, "password": password, "domain_id": "default"}});
        let user_id = admin.post("/identity/v3/users", body).await.id("user");
        let role_id = admin
            .find("/identity/v3/roles", "roles", role)
            .await
            .expect("the role");
        admin
            .put(&format!(
                "/identity/v3/projects/{project_id}/users/{user_id}/roles/{role_id}"
            ))
            .await;
        self.log_in(name, &password, project).await
    }

    /// Waits until so many hosts are ready for guests.
    pub async fn wait_for_hosts(&self, count: usize) {
        let admin = self.admin().await;
        until("hosts", SOON, async || {
            let found = admin.get("/compute/v2.1/os-hypervisors").await;
            (found["hypervisors"].as_array()?.len() >= count).then_some(())
        })
        .await;
    }

    /// A public image with these bytes.
    pub async fn image(&self, admin: &Actor, name: &str, bytes: Vec<u8>) -> String {
        self.image_with(admin, name, json!({}), bytes).await
    }

    /// The same with fields beside the usual ones, or in their place.
    pub async fn image_with(
        &self,
        admin: &Actor,
        name: &str,
        fields: Value,
        bytes: Vec<u8>,
    ) -> String {
        let mut new = json!({
            "name": name, "disk_format": "raw", "container_format": "bare", "visibility": "public",
        });
        let usual = new.as_object_mut().expect("an object");
        usual.extend(fields.as_object().expect("an object").clone());
        let id = admin.post("/image/v2/images", new).await.id("");
        let sent = admin
            .request(Method::PUT, &format!("/image/v2/images/{id}/file"))
            .header("content-type", "application/octet-stream")
            .body(bytes)
            .send()
            .await
            .unwrap();
        assert_eq!(sent.status(), StatusCode::NO_CONTENT);
        id
    }

    /// The memory that the control plane has of its own, in KiB.
    pub fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        guests::end_all(self.data());
        if std::thread::panicking() {
            eprintln!("the end of the control plane's log:\n{}", self.log_tail(40));
        }
        if self.data().join("network").exists() {
            // Its daemons outlive the control plane.
            let mut destroy = Command::new(env!("CARGO_BIN_EXE_corten"));
            destroy
                .args(["destroy", "--yes", "--data"])
                .arg(self.data());
            let _ = destroy.status();
        }
    }
}

/// What a server is created with.
pub struct Shape {
    pub image: String,
    pub flavor: String,
}

impl Shape {
    pub async fn new(actor: &Actor, image: String) -> Self {
        let flavor = actor
            .find("/compute/v2.1/flavors", "flavors", "m1.tiny")
            .await
            .expect("the flavor m1.tiny");
        Self { image, flavor }
    }

    pub fn body(&self, name: &str) -> Value {
        json!({"server": {
            "name": name, "imageRef": self.image, "flavorRef": self.flavor, "networks": "none",
        }})
    }
}
