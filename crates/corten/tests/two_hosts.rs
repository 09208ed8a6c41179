//! Two hosts on machines of their own (network namespaces, joined by an underlay), each with its agent and its Open
//! vSwitch: a VPC across them, while agents and the control plane die.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/packets/mod.rs"]
mod packets;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Actor, Cloud, Shape, guests, until};
use corten_agent::{Dialer, Identity};
use packets::{tiny_image, vpc};
use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// For a guest to boot and to take its address, on a busy machine.
const BOOT: Duration = Duration::from_secs(180);
const SOON: Duration = Duration::from_secs(60);

/// Asks the other guest for a word over and over.
const CALLER: &str = r#"#!/bin/sh
while :; do
    [ "$(nc -w 2 10.0.1.12 7 </dev/null)" = hello ] && echo "talk $(date +%s)"
    sleep 0.3
done
"#;
const ANSWERER: &str = "#!/bin/sh\nwhile :; do echo hello | nc -l -p 7; done\n";

fn run(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
}

/// The machines: one for the control plane, which the test's thread is on, and one for each host.
struct Machines {
    tag: String,
}

impl Machines {
    fn new() -> Self {
        let machines = Self {
            tag: format!("two{}", std::process::id()),
        };
        let centre = machines.name("c");
        for name in ["c", "a", "b"].map(|which| machines.name(which)) {
            run(&["ip", "netns", "add", &name]);
            run(&["ip", "-n", &name, "link", "set", "lo", "up"]);
        }
        let in_centre = ["ip", "-n", &centre];
        run(&[
            &in_centre[..],
            &["link", "add", "under0", "mtu", "1600", "type", "bridge"],
        ]
        .concat());
        run(&[
            &in_centre[..],
            &["address", "add", "10.9.0.1/24", "dev", "under0"],
        ]
        .concat());
        run(&[&in_centre[..], &["link", "set", "under0", "up"]].concat());
        // Peers on one kernel leave checksums to a network card, and there is none between them.
        run(&[
            "ip", "netns", "exec", &centre, "ethtool", "-K", "under0", "tx", "off",
        ]);
        for (which, address) in [("a", "10.9.0.2/24"), ("b", "10.9.0.3/24")] {
            let (name, peer) = (machines.name(which), format!("to-{which}"));
            let veth = [
                "link", "add", "eth0", "mtu", "1600", "type", "veth", "peer", "name", &peer,
            ];
            run(&[&["ip", "-n", &name], &veth[..], &["netns", &centre]].concat());
            let join = [
                "link", "set", &peer, "mtu", "1600", "master", "under0", "up",
            ];
            run(&[&in_centre[..], &join[..]].concat());
            run(&["ip", "-n", &name, "address", "add", address, "dev", "eth0"]);
            run(&["ip", "-n", &name, "link", "set", "eth0", "up"]);
            run(&[
                "ip", "-n", &name, "route", "add", "default", "via", "10.9.0.1",
            ]);
        }
        let namespace = File::open(format!("/run/netns/{centre}")).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        machines
    }

    fn name(&self, which: &str) -> String {
        format!("{}{which}", self.tag)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in ["c", "a", "b"].map(|which| self.name(which)) {
            // One that could not be made cannot be removed.
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

/// A host: its agent, in its namespace, with a data directory of its own.
struct Host {
    name: String,
    namespace: String,
    directory: TempDir,
    agent: Option<Child>,
}

impl Host {
    /// Invites the machine, and has it join.
    fn join(cloud: &Cloud, machines: &Machines, which: &str) -> Self {
        let name = format!("host-{which}");
        let invited = Command::new(env!("CARGO_BIN_EXE_corten"))
            .args(["admin", "host", "invite", &name, "--data"])
            .arg(cloud.data())
            .output()
            .unwrap();
        let trouble = String::from_utf8(invited.stderr).unwrap();
        let printed = String::from_utf8(invited.stdout).unwrap();
        let invitation = printed.trim().strip_prefix("corten agent --join ");
        let directory = tempfile::Builder::new().prefix("ch").tempdir().unwrap();
        fs::write(
            directory.path().join("corten.toml"),
            "[host]\nacceleration = \"tcg\"\n",
        )
        .unwrap();
        let mut host = Self {
            name,
            namespace: machines.name(which),
            directory,
            agent: None,
        };
        host.start(&["--join", invitation.expect(&trouble)]);
        host
    }

    fn data(&self) -> &Path {
        self.directory.path()
    }

    fn log_path(&self) -> PathBuf {
        self.data().join("agent.log")
    }

    /// The program, on the host's machine.
    fn corten(&self) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .arg(env!("CARGO_BIN_EXE_corten"))
            .arg("--data")
            .arg(self.data());
        command
    }

    /// What a command on the host's machine prints.
    fn output(&self, words: &[&str]) -> String {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace));
        let output = command.args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn start(&mut self, arguments: &[&str]) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let mut command = self.corten();
        command.arg("agent").args(arguments).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.agent = Some(command.spawn().unwrap());
    }

    /// `kill -9` of the agent.
    fn kill9(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.log_path()).unwrap_or_default();
            eprintln!("the log of {}:\n{log}", self.name);
        }
        guests::end_all(self.data());
        let _ = self.corten().args(["destroy", "--yes"]).status();
    }
}

/// A server on a host, at an address of the VPC, told by the metadata service what to run.
async fn server(admin: &Actor, shape: &Shape, host: &str, port: &str, script: &str) -> String {
    let mut body = shape.body(host);
    let server = &mut body["server"];
    server["networks"] = json!([{ "port": port }]);
    server["availability_zone"] = json!(format!("nova:{host}"));
    server["config_drive"] = json!(false);
    server["user_data"] = json!(STANDARD.encode(script));
    admin.post("/compute/v2.1/servers", body).await.id("server")
}

/// How often the caller was answered, as far as its console goes back.
async fn talks(admin: &Actor, caller: &str) -> usize {
    let console = admin.console(caller).await;
    console
        .lines()
        .filter(|line| line.contains("talk "))
        .count()
}

async fn talks_on(admin: &Actor, caller: &str) {
    let count = talks(admin, caller).await;
    until("talk between the hosts", BOOT, async || {
        (talks(admin, caller).await > count + 2).then_some(())
    })
    .await;
}

async fn is_connected(admin: &Actor, server: &str, wanted: bool) {
    until(format!("connected: {wanted}"), SOON, async || {
        let asked = json!({"os-getConsoleOutput": {"length": 1}});
        let path = format!("/compute/v2.1/servers/{server}/action");
        let answer = admin.ask(Method::POST, &path, Some(&asked)).await;
        let expected = if wanted {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        (answer.status == expected).then_some(())
    })
    .await;
}

#[test]
fn a_vpc_spans_two_hosts_while_agents_and_the_control_plane_die_qemu() {
    let machines = Machines::new();
    // One thread for all, because others would be on another machine.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(two_hosts(&machines));
}

async fn two_hosts(machines: &Machines) {
    let settings = "[host]\nenabled = false\n[agents]\nlisten = \"10.9.0.1:8775\"\n[compute]\nshutdown_timeout_secs = 2\n";
    let mut cloud = Cloud::start(settings).await;
    let mut hosts = ["a", "b"].map(|which| Host::join(&cloud, machines, which));
    cloud.wait_for_hosts(2).await;
    let admin = cloud.admin().await;

    let image = tiny_image(&cloud, &admin).await;
    let shape = Shape::new(&admin, image).await;
    let (network, _) = vpc::network(&admin, "vpc", "10.0.1.0/24").await;
    let group = vpc::make(&admin, "security_group", json!({"name": "talkers"})).await;
    let talk = json!({"protocol": "tcp", "port_range_min": 7, "port_range_max": 7});
    vpc::let_in(&admin, &group, talk).await;
    let port = async |address: &str| {
        let port = json!({
            "network_id": network, "security_groups": [group],
            "fixed_ips": [{ "ip_address": address }],
        });
        vpc::make(&admin, "port", port).await
    };
    let (far, near) = (port("10.0.1.12").await, port("10.0.1.11").await);
    let answerer = server(&admin, &shape, "host-b", &far, ANSWERER).await;
    let caller = server(&admin, &shape, "host-a", &near, CALLER).await;
    for id in [&answerer, &caller] {
        admin.wait_for(id, "ACTIVE", BOOT).await;
    }
    for (host, id) in hosts.iter().zip([&caller, &answerer]) {
        assert_eq!(
            guests::of_guest(host.data(), id).len(),
            1,
            "on {}",
            host.name
        );
    }
    talks_on(&admin, &caller).await;

    // A host is told about its own guests, and about no others on their network.
    let membership = fs::read_to_string(hosts[0].data().join("agent/membership.json")).unwrap();
    let membership: Value = serde_json::from_str(&membership).unwrap();
    let address = membership["address"].as_str().unwrap().to_owned();
    let dialer = Dialer::new(address, Identity::new(hosts[0].data().join("agent")));
    let (client, base) = dialer.requests().await.unwrap();
    for (guest, status) in [("10.0.1.11", 200), ("10.0.1.12", 404)] {
        let path = format!("/metadata/{network}/{guest}?path=/openstack/latest/user_data");
        let answer = client.get(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), status, "{guest}");
    }

    // The switch's daemon dies, and with it the device that has the host's own address.
    let pid = fs::read_to_string(hosts[0].data().join("network/switch/run/vswitchd.pid")).unwrap();
    kill_process(
        Pid::from_raw(pid.trim().parse().unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    talks_on(&admin, &caller).await;
    let routes = hosts[0].output(&["ip", "route"]);
    assert!(routes.contains("default via 10.9.0.1 dev cund"), "{routes}");

    // The agent dies: its guest goes on, and what is asked of it waits.
    let guest = guests::of_guest(hosts[0].data(), &caller);
    hosts[0].kill9();
    is_connected(&admin, &caller, false).await;
    let pause = admin.act(&caller, json!({"pause": null})).await;
    assert_eq!(pause.status, StatusCode::ACCEPTED);
    assert_eq!(guests::of_guest(hosts[0].data(), &caller), guest);
    hosts[0].start(&[]);
    admin.wait_for(&caller, "PAUSED", BOOT).await;
    admin.act(&caller, json!({"unpause": null})).await;
    admin.wait_for(&caller, "ACTIVE", BOOT).await;
    assert_eq!(guests::of_guest(hosts[0].data(), &caller), guest);

    // The control plane dies: the hosts find it again, and guests talked on meanwhile.
    cloud.kill9();
    cloud.run().await;
    is_connected(&admin, &caller, true).await;
    talks_on(&admin, &caller).await;

    // An image of a guest comes from its host.
    let image = json!({"createImage": {"name": "copy"}});
    let image = admin.act(&answerer, image).await["image_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let active = until("the image", BOOT, async || {
        let image = admin.get(&format!("/image/v2/images/{image}")).await;
        (image["status"] == "active").then(|| image.clone())
    })
    .await;
    let file = fs::metadata(cloud.data().join("images").join(&image)).unwrap();
    assert_eq!(active["size"], file.len());

    for id in [&caller, &answerer] {
        admin.delete(&format!("/compute/v2.1/servers/{id}")).await;
        admin.wait_until_gone(id, SOON).await;
    }
    for host in &hosts {
        assert!(guests::all(host.data()).is_empty(), "on {}", host.name);
        assert_eq!(guests::files(host.data()), Vec::<String>::new());
    }

    // A host that leaves gives its network card back what it took.
    hosts[0].kill9();
    assert!(
        hosts[0]
            .corten()
            .args(["destroy", "--yes"])
            .status()
            .unwrap()
            .success()
    );
    let addresses = hosts[0].output(&["ip", "-br", "address", "show", "eth0"]);
    assert!(addresses.contains("10.9.0.2/24"), "{addresses}");
    let routes = hosts[0].output(&["ip", "route"]);
    assert!(routes.contains("default via 10.9.0.1 dev eth0"), "{routes}");

    // A host that is removed is one no longer.
    let services = admin.get("/compute/v2.1/os-services?host=host-b").await;
    let service = services["services"][0]["id"].as_str().unwrap().to_owned();
    admin
        .delete(&format!("/compute/v2.1/os-services/{service}"))
        .await;
    until(
        "the refusal of the host that was removed",
        SOON,
        async || {
            let log = fs::read_to_string(hosts[1].log_path()).unwrap();
            log.contains("This certificate is no host's").then_some(())
        },
    )
    .await;
}
