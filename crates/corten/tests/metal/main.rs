//! Bare metal with real parts: QEMU servers behind an emulated BMC, booted into the ramdisk, wiped, given an operating
//! system, logged in to (K145 to K150, K152, K157).
//!
//! Each test runs in a network namespace of its own. They need root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../bmc/tests/common/child.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod child;
#[path = "../common/mod.rs"]
mod common;
mod lab;
#[path = "../../../bmc/tests/common/libvirt.rs"]
mod libvirt;
#[path = "../common/ramdisk_image.rs"]
mod ramdisk_image;

use common::{Actor, Cloud, until};
use lab::{Firmware, Server, in_lab};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tokio::process::Command;

pub const USERNAME: &str = "admin";
pub const PASSWORD: &str = "s3cret-horse";

const OLD: &[u8] = b"the last tenant's secret ";
/// For an operation with a boot in it, on a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(240);

/// The operator of a cloud with one node.
struct Operator<'a> {
    cloud: &'a Cloud,
    server: &'a Server,
    admin: Actor,
    node: String,
}

impl<'a> Operator<'a> {
    /// Enrols a server, and has its BMC verified.
    async fn enrol(cloud: &'a Cloud, server: &'a Server, boot: &str) -> Self {
        let admin = cloud.admin().await;
        let mut operator = Self {
            cloud,
            server,
            admin,
            node: String::new(),
        };
        let node = json!({
            "driver": "redfish", "name": "bm1", "driver_info": server.driver_info(),
            "boot_interface": boot, "resource_class": "bm.small", "properties": {"cpu_arch": "x86_64"},
        });
        let made = operator.ask(Method::POST, "/nodes", Some(node)).await;
        operator.node = made["uuid"].as_str().unwrap().to_owned();
        let port = json!({"node_uuid": operator.node, "address": server.mac});
        operator.ask(Method::POST, "/ports", Some(port)).await;
        operator.provision(json!({"target": "manage"})).await;
        operator.reaches("manageable").await;
        operator
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self
            .admin
            .request(method.clone(), &format!("/baremetal/v1{path}"))
            .header("x-openstack-ironic-api-version", "1.95");
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn provision(&self, body: Value) {
        let path = format!("/nodes/{}/states/provision", self.node);
        self.ask(Method::PUT, &path, Some(body)).await;
    }

    async fn shown(&self) -> Value {
        self.ask(Method::GET, &format!("/nodes/{}", self.node), None)
            .await
    }

    /// Waits for a provision state; a failure on the way ends the test with all that is known.
    async fn reaches(&self, wanted: &str) {
        let ended = tokio::time::timeout(PATIENCE, async {
            loop {
                let node = self.shown().await;
                let state = node["provision_state"].as_str().unwrap().to_owned();
                if state == wanted {
                    return Ok(());
                }
                if state.contains("failed") || state == "error" || state == "enroll" {
                    return Err(format!("{state}: {}", node["last_error"]));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let why = match ended.await {
            Ok(Ok(())) => return,
            Ok(Err(why)) => why,
            Err(_) => "it took too long".to_owned(),
        };
        panic!(
            "{wanted}: {why}\n== timeline\n{:#}\n== console\n{}\n== log\n{}",
            self.timeline().await,
            self.server.console(),
            self.cloud.log_tail(60),
        );
    }

    async fn timeline(&self) -> Value {
        let path = format!("/nodes/{}/boot_timeline", self.node);
        self.ask(Method::GET, &path, None).await["boot_timeline"].take()
    }

    async fn signs(&self) -> Vec<String> {
        let timeline = self.timeline().await;
        let signs = timeline.as_array().unwrap().iter();
        signs
            .map(|sign| sign["event"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn wipes(&self) -> Value {
        let path = format!("/nodes/{}/wipes", self.node);
        self.ask(Method::GET, &path, None).await["wipes"].take()
    }
}

/// A key pair of somebody who wants to log in.
struct Key {
    directory: tempfile::TempDir,
}

impl Key {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(directory.path().join("key"))
            .status();
        assert!(made.await.unwrap().success());
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("key")
    }

    fn public(&self) -> String {
        let path = self.path().with_extension("pub");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// What a command says, if the server lets the key in.
    async fn try_run(&self, address: &str, command: &str) -> Result<String, String> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-i").arg(self.path()).args(["-F", "none"]);
        for option in [
            "BatchMode=yes",
            "ConnectTimeout=20",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        let output = ssh
            .arg(format!("root@{address}"))
            .arg(command)
            .output()
            .await
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// The same, as soon as the server has booted.
    async fn run(&self, operator: &Operator<'_>, address: &str, command: &str) -> String {
        let begun = tokio::time::Instant::now();
        loop {
            match self.try_run(address, command).await {
                Ok(said) => return said,
                Err(why) if begun.elapsed() > PATIENCE => {
                    panic!("{why}; the console:\n{}", operator.server.console())
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    }

    fn config_drive(&self, name: &str) -> Value {
        json!({
            "meta_data": {"uuid": name, "hostname": name, "name": name, "public_keys": {"key": self.public()}},
            "user_data": "#!/bin/sh\necho it-ran >/root/user-data\n",
        })
    }
}

/// The address that a server has on the lab's network, being the first.
const ADDRESS: &str = "10.77.0.50";

#[test]
fn a_uefi_server_is_wiped_and_given_a_system_by_virtual_media() {
    in_lab(|| async {
        let cloud = lab::cloud().await;
        let image = lab::tiny_image(&cloud).await;
        let server = Server::start(1, Firmware::Uefi, OLD).await;
        let operator = Operator::enrol(&cloud, &server, "redfish-virtual-media").await;
        assert!(server.disk_holds(OLD));

        operator.provision(json!({"target": "provide"})).await;
        operator.reaches("available").await;
        assert!(!server.disk_holds(OLD), "old bytes are left");
        assert_eq!(server.machine(), None, "it is off");
        let wipes = operator.wipes().await;
        assert_eq!(wipes[0]["disks"][0]["serial"], "root-1");
        assert_eq!(wipes[0]["disks"][0]["method"], "discard");
        let signs = operator.signs().await;
        let expected = [
            "boot planned",
            "fetched",
            "power on",
            "ramdisk called",
            "first heartbeat",
            "wiped",
            "ramdisk left",
        ];
        for sign in expected {
            assert!(signs.contains(&sign.to_owned()), "{sign} in {signs:?}");
        }

        let path = format!("/nodes/{}", operator.node);
        let patch = json!([{"op": "add", "path": "/instance_info/image_source", "value": image}]);
        operator.ask(Method::PATCH, &path, Some(patch)).await;
        let (first, second) = (Key::new().await, Key::new().await);
        let drive = first.config_drive("one");
        operator
            .provision(json!({"target": "active", "configdrive": drive}))
            .await;
        operator.reaches("active").await;
        let said = first.run(&operator, ADDRESS, "hostname; cat /root/user-data");
        assert_eq!(said.await, "one\nit-ran\n");

        let drive = second.config_drive("two");
        operator
            .provision(json!({"target": "rebuild", "configdrive": drive}))
            .await;
        operator.reaches("active").await;
        assert_eq!(second.run(&operator, ADDRESS, "hostname").await, "two\n");
        let refused = first.try_run(ADDRESS, "hostname").await;
        assert!(refused.unwrap_err().contains("denied"), "the old key");

        operator.provision(json!({"target": "deleted"})).await;
        operator.reaches("available").await;
        assert!(!server.disk_holds(b"corten-root"), "the system is left");
        assert_eq!(operator.wipes().await.as_array().unwrap().len(), 2);
        let log = cloud.log();
        assert!(!log.contains(PASSWORD), "the BMC's password is in the log");
        assert!(log.contains("ramdisk: "), "the ramdisk's log has come");
    });
}

#[test]
fn a_bios_server_is_inspected_and_rescued_by_pxe() {
    in_lab(|| async {
        let cloud = lab::cloud().await;
        let server = Server::start(2, Firmware::Bios, OLD).await;
        let operator = Operator::enrol(&cloud, &server, "ipxe").await;
        let path = format!("/nodes/{}", operator.node);
        let patch = json!([{"op": "add", "path": "/inspect_interface", "value": "agent"}]);
        operator.ask(Method::PATCH, &path, Some(patch)).await;
        operator.provision(json!({"target": "inspect"})).await;
        operator.reaches("manageable").await;
        let node = operator.shown().await;
        assert_eq!(node["properties"]["cpus"], 1);
        let inventory = operator
            .ask(Method::GET, &format!("{path}/inventory"), None)
            .await;
        let disk = &inventory["inventory"]["disks"][0];
        assert_eq!(
            (disk["serial"].as_str(), disk["tran"].as_str()),
            (Some("root-1"), Some("virtio"))
        );
        let signs = operator.signs().await;
        for sign in ["dhcp", "leased", "fetched", "ramdisk called"] {
            assert!(signs.contains(&sign.to_owned()), "{sign} in {signs:?}");
        }
        assert!(
            server.disk_holds(OLD),
            "an inspection leaves the disk alone"
        );

        // A server that somebody uses already is adopted, and rescued.
        operator.provision(json!({"target": "adopt"})).await;
        operator.reaches("active").await;
        let rescue = json!({"target": "rescue", "rescue_password": "let-me-in-please"});
        operator.provision(rescue).await;
        operator.reaches("rescue").await;
        let banner = until("an SSH server", PATIENCE, async || {
            let stream = tokio::net::TcpStream::connect((ADDRESS, 22)).await.ok()?;
            let mut first = [0; 7];
            let mut stream = tokio::io::BufReader::new(stream);
            tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first)
                .await
                .ok()?;
            Some(first)
        })
        .await;
        assert_eq!(&banner, b"SSH-2.0");
        operator.provision(json!({"target": "unrescue"})).await;
        operator.reaches("active").await;
        assert!(server.disk_holds(OLD), "a rescue leaves the disk alone");
    });
}
