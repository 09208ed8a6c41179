//! A real switch on a machine of the test's own: what is plugged, served and joined works, and leaves nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod machine;

use corten_model::ids::{NetworkId, PortId};
use corten_network::chassis::{HostSwitch, METADATA_V4, METADATA_V6, SwitchConfig, Tunnel};
use corten_network::daemons::Namespace;
use corten_network::resolver::{Inside, Known, Resolver};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use machine::{
    Conversation, Endpoint, Machine, Wire, command, command_in, kill9, mac, on_a_machine, until,
};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

fn taps(namespace: &Namespace) -> BTreeSet<String> {
    let links = command_in(namespace, &["ip", "-o", "link"]);
    // The other end of a veth is named behind an @.
    let names = links
        .lines()
        .filter_map(|line| line.split([' ', ':', '@']).nth(2));
    names
        .filter(|name| name.starts_with('c') && name.len() == 15)
        .map(str::to_owned)
        .collect()
}

fn pid_of(switch: &HostSwitch, name: &str) -> u32 {
    let status = switch.status();
    status
        .iter()
        .find(|daemon| daemon.name == name)
        .unwrap()
        .pid
        .unwrap()
}

fn pretend_port(machine: &Machine, logical_switch: &str) -> PortId {
    let port = PortId::random();
    machine.northbound(&["lsp-add", logical_switch, &port.to_string()]);
    port
}

/// Leads a logical switch to `physnet1`.
fn way_out(machine: &Machine, logical_switch: &str, columns: &[&str]) {
    let commands = [
        &["lsp-add", logical_switch, "way-out", "--"][..],
        &["lsp-set-type", "way-out", "localnet", "--"],
        &["lsp-set-addresses", "way-out", "unknown", "--"],
        &["lsp-set-options", "way-out", "network_name=physnet1"],
    ];
    machine.northbound(&commands.concat());
    for column in columns {
        machine.northbound(&["set", "Logical_Switch_Port", "way-out", column]);
    }
}

#[test]
fn a_tap_is_plugged_once_wired_and_leaves_nothing() {
    on_a_machine(async |mut machine| {
        let config = machine.config("host").await;
        let switch = HostSwitch::open(config.clone()).await.unwrap();
        machine.northbound(&["ls-add", "net"]);
        let port = pretend_port(&machine, "net");
        let tap = switch.plug(port, 1442).await.unwrap();
        assert_eq!(switch.plug(port, 1442).await.unwrap(), tap);
        assert!(switch.installed(port).await);
        let link = command_in(switch.namespace(), &["ip", "-d", "link", "show", &tap]);
        assert!(
            link.contains("mtu 1442") && link.contains("persist on"),
            "{link}"
        );
        assert_eq!(switch.plugged(), BTreeSet::from([port]));
        assert!(switch.counters(port).await.unwrap().is_some());

        // The next life of ours finds it.
        drop(switch);
        let switch = HostSwitch::open(config).await.unwrap();
        assert_eq!(switch.plugged(), BTreeSet::from([port]));

        // A tap that went with its machine's power comes back under the same name, and is wired again.
        command_in(switch.namespace(), &["ip", "link", "del", &tap]);
        switch.plug(port, 1442).await.unwrap();
        assert!(switch.installed(port).await);
        let wired = || {
            machine.northbound(&[
                "--bare",
                "--columns=up",
                "find",
                "Logical_Switch_Port",
                &format!("name={port}"),
            ])
        };
        until("the port is up", || wired().trim() == "true").await;

        switch.unplug(port).await.unwrap();
        switch.unplug(port).await.unwrap();
        assert_eq!(
            (switch.plugged(), taps(switch.namespace())),
            (BTreeSet::new(), BTreeSet::new())
        );
        until("the port is down", || wired().trim() == "false").await;
    });
}

#[test]
fn only_what_is_wanted_is_kept() {
    on_a_machine(async |mut machine| {
        let switch = machine.switch("host").await;
        let (wanted, stray, half_made) = (PortId::random(), PortId::random(), PortId::random());
        let (served, unserved) = (NetworkId::random(), NetworkId::random());
        switch.plug(wanted, 1500).await.unwrap();
        switch.plug(stray, 1500).await.unwrap();
        for network in [served, unserved] {
            switch
                .serve(network, PortId::random(), mac(1), &[])
                .await
                .unwrap();
        }
        // A tap that never came as far as the switch's database.
        command_in(
            switch.namespace(),
            &["ip", "tuntap", "add", &switch.tap(half_made), "mode", "tap"],
        );

        let (ports, networks) = (BTreeSet::from([wanted]), BTreeSet::from([served]));
        switch.keep_only(&ports, &networks).await.unwrap();
        assert_eq!(switch.plugged(), ports);
        assert_eq!(switch.served().unwrap(), networks);
        let left: Vec<String> = taps(switch.namespace()).into_iter().collect();
        assert!(
            left.len() == 2 && left.contains(&switch.tap(wanted)),
            "{left:?}"
        );

        let (namespace, data) = (switch.namespace().clone(), machine.data("host"));
        switch.destroy().await.unwrap();
        let Namespace::Named(name) = namespace else {
            panic!("{namespace}")
        };
        assert!(Namespace::with_prefix(&name).unwrap().is_empty());
        assert!(!command(&["nft", "list", "ruleset"]).contains("corten"));
        assert!(machine::listing(&data).is_empty());
        assert!(!command(&["ip", "-o", "link"]).contains("cext"));
    });
}

#[test]
fn traffic_goes_on_when_daemons_die() {
    on_a_machine(async |mut machine| {
        let switch = machine.switch("host").await;
        machine.northbound(&["ls-add", "net"]);
        let a = Endpoint::join(&machine, &switch, "net", 11, "10.1.0.11/24").await;
        let b = Endpoint::join(&machine, &switch, "net", 12, "10.1.0.12/24").await;
        until("the endpoints reach each other", || a.pings("10.1.0.12")).await;
        let mut conversation = Conversation::begin(&a, &b).await;
        conversation.go_on("before").await;
        for daemon in ["controller", "vswitchd", "conf"] {
            kill9(pid_of(&switch, daemon));
            conversation.go_on(daemon).await;
        }
        // What is new is wired, too.
        let c = Endpoint::join(&machine, &switch, "net", 13, "10.1.0.13/24").await;
        until("the newcomer is reached", || a.pings("10.1.0.13")).await;
        Conversation::begin(&c, &b).await.go_on("after").await;
    });
}

#[test]
fn a_machine_that_lost_its_power_finds_its_switch_again() {
    on_a_machine(async |mut machine| {
        let config = machine.config("host").await;
        let switch = HostSwitch::open(config.clone()).await.unwrap();
        machine.northbound(&["ls-add", "net"]);
        let port = pretend_port(&machine, "net");
        switch.plug(port, 1442).await.unwrap();
        let a = Endpoint::join(&machine, &switch, "net", 11, "10.1.0.11/24").await;
        switch
            .external_bridge("physnet1", &["172.24.4.1/24".parse().unwrap()])
            .await
            .unwrap();
        let daemons = switch.status();
        drop(switch);
        // What the kernel held is gone; files are what is left.
        for daemon in daemons {
            kill9(daemon.pid.unwrap());
        }
        for namespace in [&config.namespace, &a.namespace] {
            namespace.remove().await.unwrap();
        }
        until("the devices are gone", || {
            !command(&["ip", "-o", "link"]).contains("cext")
        })
        .await;

        let switch = HostSwitch::open(config).await.unwrap();
        assert!(switch.plugged().contains(&port));
        switch.plug(port, 1442).await.unwrap();
        assert!(switch.installed(port).await);
        let device = switch
            .external_bridge("physnet1", &["172.24.4.1/24".parse().unwrap()])
            .await
            .unwrap();
        assert!(command(&["ip", "address", "show", &device]).contains("172.24.4.1/24"));
        let (network, address) = (a.network, a.address);
        let again = switch
            .serve(network, a.port, a.mac, &[address])
            .await
            .unwrap();
        let b = Endpoint::join(&machine, &switch, "net", 12, "10.1.0.12/24").await;
        until("the endpoints reach each other", || b.pings("10.1.0.11")).await;
        drop(again);
    });
}

#[test]
fn no_frame_of_a_guest_reaches_the_kernel_behind_its_tap() {
    on_a_machine(async |mut machine| {
        let switch = machine.switch("host").await;
        machine.northbound(&["ls-add", "net"]);
        let guest = Endpoint::join(&machine, &switch, "net", 11, "10.1.0.11/24").await;
        // An address of the kernel's own, on the very device that the guest's frames come from.
        let device = taps(switch.namespace()).pop_first().unwrap();
        command_in(
            switch.namespace(),
            &["ip", "address", "add", "10.1.0.99/24", "dev", &device],
        );
        assert!(!guest.pings("10.1.0.99"));
        let neighbours = || command_in(&guest.namespace, &["ip", "neighbour", "show", "10.1.0.99"]);
        assert!(
            !neighbours().contains("lladdr"),
            "not even ARP: {}",
            neighbours()
        );

        // Without the guard it would.
        for table in command_in(switch.namespace(), &["nft", "list", "tables"]).lines() {
            let words: Vec<&str> = ["nft", "delete"]
                .into_iter()
                .chain(table.split(' '))
                .collect();
            command_in(switch.namespace(), &words);
        }
        until("the kernel answers", || guest.pings("10.1.0.99")).await;
    });
}

#[test]
fn the_machine_reaches_an_external_network_and_is_not_reached() {
    on_a_machine(async |mut machine| {
        let switch = machine.switch("host").await;
        let addresses = [
            "172.24.4.1/24".parse().unwrap(),
            "2001:db8:4::1/64".parse().unwrap(),
        ];
        let device = switch
            .external_bridge("physnet1", &addresses)
            .await
            .unwrap();
        assert_eq!(
            switch
                .external_bridge("physnet1", &addresses)
                .await
                .unwrap(),
            device
        );
        machine.northbound(&["ls-add", "pub"]);
        way_out(&machine, "pub", &[]);
        let public = Endpoint::join(&machine, &switch, "pub", 20, "172.24.4.20/24").await;
        until("the external network carries", || {
            public.pings("172.24.4.1")
        })
        .await;

        // The machine reaches the public address without a route of its own.
        let service = public.listen(80).await;
        let mut out = std::net::TcpStream::connect("172.24.4.20:80").unwrap();
        let (mut served, _) = service.accept().unwrap();
        served.write_all(b"served").unwrap();
        let mut heard = [0; 6];
        out.read_exact(&mut heard).unwrap();

        // What it listens on is not reached from there.
        let own = std::net::TcpListener::bind("0.0.0.0:5000").unwrap();
        let to = SocketAddr::from(([172, 24, 4, 1], own.local_addr().unwrap().port()));
        let refused = public.connect(to).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut);
        assert!(std::net::TcpStream::connect_timeout(&to, Duration::from_secs(2)).is_ok());

        // Addresses that are no longer wanted go.
        switch
            .external_bridge("physnet1", &addresses[..1])
            .await
            .unwrap();
        assert!(!command(&["ip", "address", "show", &device]).contains("2001:db8"));
    });
}

/// A network that knows one name.
struct Only(&'static str);

#[async_trait::async_trait]
impl Inside for Only {
    async fn find(&self, name: &str) -> Known {
        if name == self.0 {
            Known::Addresses(vec![[10, 1, 0, 77].into()])
        } else {
            Known::Elsewhere
        }
    }
}

/// The address that a guest is told for a name by its network's service; none if that refuses.
async fn guest_asks(guest: &Endpoint, name: &str) -> Option<IpAddr> {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    let query = query.to_vec().unwrap();
    let asked = guest.namespace.run("ask in", move || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        socket.connect("10.1.0.2:53")?;
        socket.send(&query)?;
        let mut reply = [0; 512];
        let length = socket.recv(&mut reply)?;
        Ok(reply[..length].to_vec())
    });
    let reply = Message::from_vec(&asked.await.unwrap()).unwrap();
    let refused = reply.metadata.response_code == ResponseCode::Refused;
    assert_eq!(refused, reply.answers.is_empty(), "{reply}");
    let first = reply.answers.first()?;
    first.data.ip_addr()
}

#[test]
fn guests_reach_the_services_of_their_own_network() {
    on_a_machine(async |mut machine| {
        let switch = machine.switch("host").await;
        // Two networks with the same addresses.
        for (name, number) in [("red", 31), ("blue", 32)] {
            machine.northbound(&["ls-add", name]);
            let (network, port) = (NetworkId::random(), PortId::random());
            let service = port.to_string();
            let addresses = format!("{} 10.1.0.2 fe80::a9fe:a9fe", mac(2));
            machine.northbound(&[
                "lsp-add",
                name,
                &service,
                "--",
                "lsp-set-type",
                &service,
                "localport",
                "--",
                "lsp-set-addresses",
                &service,
                &addresses,
            ]);
            let listeners = switch
                .serve(network, port, mac(2), &["10.1.0.2/24".parse().unwrap()])
                .await
                .unwrap();
            let guest = Endpoint::join(&machine, &switch, name, number, "10.1.0.11/24").await;
            // What makes an endpoint of the same kind as a service is no part of a guest.
            for address in ["169.254.169.254/32", "fe80::a9fe:a9fe/64"] {
                command_in(
                    &guest.namespace,
                    &["ip", "address", "del", address, "dev", "eth0"],
                );
            }
            command_in(
                &guest.namespace,
                &[
                    "ip",
                    "address",
                    "add",
                    "fe80::11/64",
                    "dev",
                    "eth0",
                    "nodad",
                ],
            );
            command_in(
                &guest.namespace,
                &["ip", "route", "add", "169.254.169.254", "via", "10.1.0.2"],
            );
            until("the network carries", || guest.pings("10.1.0.2")).await;

            let to = SocketAddr::from((METADATA_V4, 80));
            guest.connect(to).await.unwrap();
            let (_, client) = listeners.v4.accept().await.unwrap();
            assert_eq!(client.ip(), guest.address.addr(), "{name}");

            let v6 = guest.namespace.run("look in", || {
                let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
                Ok(rustix::net::netdevice::name_to_index(&socket, "eth0")?)
            });
            let to = SocketAddrV6::new(METADATA_V6, 80, 0, v6.await.unwrap()).into();
            guest.connect(to).await.unwrap();
            listeners.v6.accept().await.unwrap();

            let own = ["10.1.0.2/24".parse().unwrap()];
            let sockets = switch.listen_for_names(network, &own);
            let mut tasks = JoinSet::new();
            let resolver = Resolver::new(Arc::new(Only(name)), name, Arc::new([]));
            resolver.serve(sockets.await.unwrap(), &mut tasks);
            assert_eq!(guest_asks(&guest, name).await, Some([10, 1, 0, 77].into()));
            let other = if name == "red" { "blue" } else { "red" };
            assert_eq!(guest_asks(&guest, other).await, None, "{name}");
        }
    });
}

/// Two hosts with an underlay between them.
async fn two_hosts(machine: &mut Machine) -> Vec<SwitchConfig> {
    let mut hosts = Vec::new();
    for (number, name) in [(1, "one"), (2, "two")] {
        let config = machine.config(name).await;
        config.namespace.ensure().await.unwrap();
        hosts.push(SwitchConfig {
            tunnel: Some(Tunnel {
                address: format!("198.18.0.{number}/24").parse().unwrap(),
                interface: "und0".to_owned(),
            }),
            ..config
        });
    }
    let Namespace::Named(far) = &hosts[1].namespace else {
        panic!("a host has a namespace of its own");
    };
    let underlay = "link add und0 mtu 1600 type veth peer name und0 mtu 1600 netns";
    let words: Vec<&str> = ["ip"]
        .into_iter()
        .chain(underlay.split(' '))
        .chain([far.as_str()])
        .collect();
    command_in(&hosts[0].namespace, &words);
    hosts
}

#[test]
fn two_hosts_are_joined_by_a_tunnel() {
    on_a_machine(async |mut machine| {
        let hosts = two_hosts(&mut machine).await;
        let mut switches = hosts.into_iter();
        let one = HostSwitch::open(switches.next().unwrap()).await.unwrap();
        let two = HostSwitch::open(switches.next().unwrap()).await.unwrap();
        machine.northbound(&["ls-add", "net"]);
        let a = Endpoint::join(&machine, &one, "net", 11, "10.1.0.11/24").await;
        let b = Endpoint::join(&machine, &two, "net", 12, "10.1.0.12/24").await;
        until("the hosts reach each other", || a.pings("10.1.0.12")).await;
        let mut conversation = Conversation::begin(&a, &b).await;
        conversation.go_on("over the tunnel").await;
        kill9(pid_of(&two, "vswitchd"));
        conversation.go_on("and again").await;
        drop((a, b));
        one.destroy().await.unwrap();
        two.destroy().await.unwrap();
    });
}

#[test]
fn a_vlan_of_a_physical_network_goes_out_of_its_card_and_comes_in() {
    on_a_machine(async |mut machine| {
        // A cable between them, beside the underlay.
        for words in [
            "ip link add card1 type veth peer name card2",
            "ethtool -K card1 tx off",
            "ethtool -K card2 tx off",
        ] {
            command(&words.split(' ').collect::<Vec<_>>());
        }
        let mut hosts = two_hosts(&mut machine).await;
        for (host, card) in hosts.iter_mut().zip(["card1", "card2"]) {
            host.physical_interfaces = [("physnet1".to_owned(), card.to_owned())].into();
        }
        let [one, two] = [hosts.remove(0), hosts.remove(0)];
        let (one, two) = (
            HostSwitch::open(one).await.unwrap(),
            HostSwitch::open(two).await.unwrap(),
        );
        // A card that the machine is reached by stays.
        command(&["ip", "address", "add", "192.0.2.1/24", "dev", "card1"]);
        let refused = one.external_bridge("physnet1", &[]).await.unwrap_err();
        assert!(refused.to_string().contains("192.0.2.1/24"), "{refused}");
        command(&["ip", "address", "flush", "dev", "card1"]);
        for switch in [&one, &two] {
            switch.external_bridge("physnet1", &[]).await.unwrap();
            switch.external_bridge("physnet1", &[]).await.unwrap();
        }
        machine.northbound(&["ls-add", "net"]);
        way_out(&machine, "net", &["tag=100"]);
        let a = Endpoint::join(&machine, &one, "net", 11, "10.1.0.11/24").await;
        let b = Endpoint::join(&machine, &two, "net", 12, "10.1.0.12/24").await;
        let mut wire = Wire::tap(one.namespace(), "card1").await;
        until("the hosts reach each other", || a.pings("10.1.0.12")).await;
        Conversation::begin(&a, &b).await.go_on("tagged").await;
        wire.carries("vlan 100,").await;

        drop((a, b));
        one.destroy().await.unwrap();
        two.destroy().await.unwrap();
        let left = command(&["ip", "-o", "link"]);
        assert!(left.contains("card1") && left.contains("card2"), "{left}");
    });
}

#[test]
fn a_switch_in_the_machines_own_namespace_joins_it_to_an_external_network() {
    on_a_machine(async |mut machine| {
        let config = SwitchConfig {
            namespace: Namespace::Own,
            ..machine.config("host").await
        };
        let switch = HostSwitch::open(config).await.unwrap();
        switch
            .external_bridge("physnet1", &["172.24.4.1/24".parse().unwrap()])
            .await
            .unwrap();
        machine.northbound(&["ls-add", "pub"]);
        way_out(&machine, "pub", &[]);
        let public = Endpoint::join(&machine, &switch, "pub", 20, "172.24.4.20/24").await;
        until("the external network carries", || {
            public.pings("172.24.4.1")
        })
        .await;
        let service = public.listen(80).await;
        std::net::TcpStream::connect("172.24.4.20:80").unwrap();
        service.accept().unwrap();
        let own = std::net::TcpListener::bind("0.0.0.0:5000").unwrap();
        let to = SocketAddr::from(([172, 24, 4, 1], own.local_addr().unwrap().port()));
        assert!(public.connect(to).await.is_err());
        drop(public);
        switch.destroy().await.unwrap();
        assert!(!command(&["ip", "-o", "link"]).contains("cext"));
    });
}
