//! Two tiny guests on a real switch under a real OVN: addresses by DHCP, ping, TCP and metadata, while daemons die and
//! a network card comes and goes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use corten::images::{Silent, TinyOptions, build_tiny};
use corten_host::{
    AccelerationChoice, Accelerator, ConfigDrive, ConfigDriveFile, DiskFormat, Fence, Firmware,
    GuestSpec, Hands, HostConfig, ImageRef, NicSpec, QemuHost, Task,
};
use corten_model::ids::{
    ImageId, InstanceId, NetworkId, OperationId, PortId, SecurityGroupId, SecurityGroupRuleId,
    SubnetId,
};
use corten_network::chassis::{HostSwitch, SwitchConfig};
use corten_network::daemons::{Central, Namespace};
use corten_network::ovsdb::Remote;
use corten_network::plan::{
    Change, Direction, Family, Mac, NetworkPlan, Plan, PortKind, PortPlan, Remote as RemoteEnd,
    Rule, SecurityGroupPlan, SubnetPlan,
};
use corten_network::{Fabric, OvnFabric};
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha512};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(90);

/// Tells over and over that the other guest answers, and each change of its address in the second network, of its way out and of
/// its resolver.
const CALLER: &str = r#"#!/bin/sh
ping -q -c 1 -W 5 10.0.1.12 >/dev/null && echo "ping answered"
echo "metadata: $(nc -w 5 169.254.169.254 80 </dev/null)"
count=0
before=none
while :; do
    if [ "$(nc -w 2 10.0.1.12 7 </dev/null)" = hello ]; then
        count=$((count + 1))
        echo "talk $count"
    fi
    second=$(ip -o -4 addr show | grep -o '10\.0\.2\.[0-9]*/24')
    out=$(ip route | sed -n 's/^default via \([0-9.]*\) .*/\1/p' | head -n 1)
    names=$(sed -n 's/^nameserver //p' /etc/resolv.conf | head -n 1)
    now="second address ${second:-none}, out by $out, names by $names"
    [ "$now" = "$before" ] || echo "$now"
    before=$now
    sleep 0.3
done
"#;
const ANSWERER: &str = "#!/bin/sh\nwhile :; do echo hello | nc -l -p 7; done\n";

struct Lab {
    dir: tempfile::TempDir,
    host: QemuHost,
    switch: Arc<HostSwitch>,
    operation: OperationId,
    image: ImageRef,
}

impl Lab {
    async fn new(southbound: String, dir: tempfile::TempDir) -> Self {
        let options = TinyOptions {
            output: dir.path().join("tiny.qcow2"),
            cache: Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-packages"),
        };
        let path = build_tiny(&options, &Silent).await.unwrap().path;
        let image = ImageRef {
            id: ImageId::random(),
            sha512: hex::encode(Sha512::digest(fs::read(&path).unwrap())),
            format: DiskFormat::Qcow2,
            path,
        };
        let mut config = HostConfig::new(dir.path().join("host"));
        config.acceleration = AccelerationChoice::Use(Accelerator::Tcg);
        let switch = SwitchConfig {
            guest_uid: config.guest_uid().unwrap(),
            ..SwitchConfig::new(&config.data_dir, "host", southbound)
        };
        let switch = Arc::new(HostSwitch::open(switch).await.unwrap());
        let lab = Self {
            host: QemuHost::open(config, Some(Arc::clone(&switch)))
                .await
                .unwrap(),
            switch,
            dir,
            operation: OperationId::random(),
            image,
        };
        let image = lab.image.clone();
        lab.perform(Task::EnsureImage { image }).await;
        lab
    }

    async fn perform(&self, task: Task) {
        let fence = Fence {
            operation: self.operation,
            epoch: 1,
        };
        let told = format!("{task:?}");
        if let Err(error) = self.host.perform(fence, task).await {
            panic!("{told}: {error}");
        }
    }

    /// Starts a guest that runs this script.
    async fn guest(&self, name: &str, nic: NicSpec, script: &str) -> InstanceId {
        let file = |path: &str, content: &str| ConfigDriveFile {
            path: format!("openstack/latest/{path}"),
            content: content.into(),
        };
        let id = InstanceId::random();
        let metadata = format!(r#"{{"uuid": "{id}", "name": "{name}", "hostname": "{name}"}}"#);
        let spec = GuestSpec {
            id,
            name: name.to_owned(),
            vcpus: 1,
            memory_mib: 192,
            root_gib: 1,
            ephemeral_gib: 0,
            swap_mib: 0,
            image: Some(self.image.clone()),
            firmware: Firmware::Bios,
            nics: vec![nic],
            disks: Vec::new(),
            config_drive: Some(ConfigDrive {
                files: vec![file("meta_data.json", &metadata), file("user_data", script)],
            }),
            machine_properties: BTreeMap::new(),
        };
        self.perform(Task::CreateGuest { spec }).await;
        self.perform(Task::Start { id }).await;
        id
    }

    async fn console(&self, id: InstanceId) -> String {
        String::from_utf8_lossy(&self.host.console_log(id, None).await.unwrap()).replace('\r', "")
    }

    /// Waits until the guest has said a line.
    async fn said(&self, id: InstanceId, line: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let console = self.console(id).await;
            if console.lines().any(|said| said.ends_with(line)) {
                return;
            }
            assert!(Instant::now() < deadline, "no '{line}' in: {console}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the guest has been answered three more times.
    async fn talks_on(&self, id: InstanceId) {
        let console = self.console(id).await;
        let told = console
            .lines()
            .filter_map(|line| line.rsplit_once("talk ")?.1.parse().ok());
        let count: u32 = told.max().unwrap_or(0);
        self.said(id, &format!("talk {}", count + 3)).await;
    }

    fn kill(&self, daemon: &str) {
        let status = self.switch.status();
        let pid = status
            .iter()
            .find(|status| status.name == daemon)
            .unwrap()
            .pid
            .unwrap();
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    }
}

impl Drop for Lab {
    /// Guests and daemons outlive us on purpose, so a test that fails must end them.
    fn drop(&mut self) {
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let of_ours = |file: &str| {
                fs::read_link(process.path().join(file))
                    .is_ok_and(|path| path.starts_with(self.dir.path()))
            };
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let is_daemon =
                String::from_utf8_lossy(&line).contains(self.dir.path().to_str().unwrap());
            let pid = process
                .file_name()
                .to_str()
                .and_then(|pid| pid.parse().ok())
                .and_then(Pid::from_raw);
            if let (true, Some(pid)) = (is_daemon || of_ours("cwd"), pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if let Namespace::Named(name) = self.switch.namespace() {
            for name in Namespace::with_prefix(name).unwrap() {
                let _ = std::process::Command::new("ip")
                    .args(["netns", "del", &name])
                    .status();
            }
        }
    }
}

/// Network 10.0.`number`.0/24 with a service at 2 and these guests.
fn network(number: u8, group: SecurityGroupId, guests: &[(PortId, u8)]) -> (NetworkPlan, PortPlan) {
    let subnet = SubnetId::random();
    let port = |id: PortId, host: u8, kind: PortKind| PortPlan {
        id,
        mac: Mac([0xfa, 0x16, 0x3e, 0, number, host]),
        addresses: vec![(subnet, [10, 0, number, host].into())],
        kind,
        enabled: true,
        guarded: kind == PortKind::Guest,
        allowed_pairs: Vec::new(),
        security_groups: if kind == PortKind::Guest {
            vec![group]
        } else {
            Vec::new()
        },
        host: None,
        dhcp_options: Vec::new(),
        dns_names: Vec::new(),
        bandwidth: Vec::new(),
        unknown_addresses: false,
    };
    let service = port(PortId::random(), 2, PortKind::Service);
    let mut ports: Vec<PortPlan> = guests
        .iter()
        .map(|(id, host)| port(*id, *host, PortKind::Guest))
        .collect();
    ports.push(service.clone());
    let plan = NetworkPlan {
        id: NetworkId::random(),
        name: format!("network {number}"),
        mtu: 1442,
        enabled: true,
        provider: None,
        subnets: vec![SubnetPlan {
            id: subnet,
            cidr: format!("10.0.{number}.0/24").parse().unwrap(),
            gateway: Some([10, 0, number, 1].into()),
            dhcp: true,
            dns_servers: vec![[10, 0, number, 53].into()],
            host_routes: Vec::new(),
            ipv6: None,
            service_address: Some([10, 0, number, 2].into()),
            domain: None,
        }],
        ports,
    };
    (plan, service)
}

fn all_allowed(id: SecurityGroupId) -> SecurityGroupPlan {
    let rule = |direction| Rule {
        id: SecurityGroupRuleId::random(),
        direction,
        family: Family::V4,
        protocol: None,
        remote: RemoteEnd::Anyone,
    };
    SecurityGroupPlan {
        id,
        stateful: true,
        rules: vec![rule(Direction::Ingress), rule(Direction::Egress)],
    }
}

fn nic(plan: &NetworkPlan, port: PortId) -> NicSpec {
    let port = plan.ports.iter().find(|plan| plan.id == port).unwrap();
    NicSpec {
        port: port.id,
        mac: port.mac,
        mtu: plan.mtu,
    }
}

#[tokio::test]
async fn guests_talk_while_daemons_die_and_a_card_comes_and_goes() {
    let dir = tempfile::Builder::new().prefix("cg").tempdir().unwrap();
    let central = Central::open(&dir.path().join("data")).await.unwrap();
    let southbound = Remote::Unix(central.southbound_socket());
    let fabric = OvnFabric::connect(
        Remote::Unix(central.northbound_socket()),
        southbound.clone(),
    );
    fabric.ready(LIMIT).await.unwrap();
    let lab = Lab::new(southbound.to_string(), dir).await;

    let [caller_port, answerer_port, second_port] = std::array::from_fn(|_| PortId::random());
    let group = SecurityGroupId::random();
    let (first, service) = network(1, group, &[(caller_port, 11), (answerer_port, 12)]);
    let (second, _) = network(2, group, &[(second_port, 11)]);
    let plans = [
        Plan::SecurityGroup(all_allowed(group)),
        Plan::Network(first.clone()),
        Plan::Network(second.clone()),
    ];
    fabric.apply(plans.map(Change::Set).to_vec()).await.unwrap();
    let address = "10.0.1.2/24".parse().unwrap();
    let metadata = lab
        .switch
        .serve(first.id, service.id, service.mac, &[address])
        .await
        .unwrap();
    let answers = tokio::spawn(async move {
        while let Ok((mut guest, client)) = metadata.v4.accept().await {
            let _ = guest
                .write_all(format!("for {}\n", client.ip()).as_bytes())
                .await;
        }
    });

    let answerer = lab
        .guest("answerer", nic(&first, answerer_port), ANSWERER)
        .await;
    lab.said(answerer, "user data: started").await;
    let caller = lab.guest("caller", nic(&first, caller_port), CALLER).await;
    lab.said(caller, "ping answered").await;
    lab.said(caller, "metadata: for 10.0.1.11").await;
    assert!(lab.switch.installed(caller_port).await);
    for daemon in ["vswitchd", "controller"] {
        lab.kill(daemon);
        lab.talks_on(caller).await;
    }

    let card = nic(&second, second_port);
    lab.perform(Task::AttachNic {
        id: caller,
        nic: card,
    })
    .await;
    // The card that was there first stays the way out.
    let way = "out by 10.0.1.1, names by 10.0.1.53";
    lab.said(caller, &format!("second address 10.0.2.11/24, {way}"))
        .await;
    lab.perform(Task::DetachNic {
        id: caller,
        port: second_port,
    })
    .await;
    lab.said(caller, &format!("second address none, {way}"))
        .await;
    lab.talks_on(caller).await;
    let figures = lab.host.diagnostics(caller).await.unwrap();
    assert!(
        figures.nics[0].rx_packets > 10 && figures.nics[0].tx_packets > 10,
        "{figures:?}"
    );

    for id in [caller, answerer] {
        lab.perform(Task::DeleteGuest { id }).await;
    }
    assert_eq!(lab.switch.plugged(), BTreeSet::new());
    lab.switch.unserve(first.id).await.unwrap();
    assert_eq!(lab.switch.served().unwrap(), BTreeSet::new());
    answers.abort();
    central.stop().await.unwrap();
}
