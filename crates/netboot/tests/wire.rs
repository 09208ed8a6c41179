//! What is answered on the wire, and what is not: a scripted client beside the server. Answers come from rows (catalogue D9), to those
//! that are known, and another server is named (catalogue D10).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::client::{Says, answer_to, ask, bios, boot_file, message, socket, tftp};
use common::{HTTP, Lab, SERVER, inside, run};
use corten_netboot::{Boot, BootServer, BootStep, Config, LoaderPaths, Loaders, Sighting};
use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, MessageType, Opcode, OptionCode};
use std::net::Ipv4Addr;
use std::process::{Child, Command};
use std::time::Duration;

const KNOWN: &str = "52:54:00:77:00:10";
const UNKNOWN: &str = "52:54:00:77:00:99";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 60);

/// A node that boots two small files.
fn know(lab: &Lab) -> corten_model::ids::NodeId {
    let (kernel, ramdisk) = (lab.path("kernel"), lab.path("ramdisk"));
    std::fs::write(&kernel, "0123456789").unwrap();
    std::fs::write(&ramdisk, vec![7; 3_000_000]).unwrap();
    let boot = Boot {
        kernel,
        ramdisk,
        command_line: "quiet".parse().unwrap(),
        secure_boot: false,
    };
    lab.know(KNOWN, "10.77.0.60/24", Some(boot))
}

/// The offer that a client gets.
async fn offer(lab: &Lab, says: Says) -> dhcproto::v4::Message {
    inside(&lab.station, move || async move {
        ask(
            &socket("eth0", 68),
            &message(MessageType::Discover, &says, vec![]),
        )
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stage_gets_the_file_that_takes_it_further() {
    let lab = Lab::new().await;
    know(&lab);
    let uefi = Says {
        architecture: Some(7),
        ..bios(KNOWN)
    };
    let http = Says {
        architecture: Some(16),
        vendor_class: "HTTPClient:Arch:00016:UNDI:003001",
        ..bios(KNOWN)
    };
    let ipxe = Says {
        user_class: "iPXE",
        ipxe: &[0x13, 1, 1],
        ..uefi.clone()
    };
    let system = Says {
        mac: KNOWN.to_owned(),
        vendor_class: "udhcp 1.35.0",
        ..Says::default()
    };
    let boot = format!("boot/{KNOWN}");
    for (says, expected) in [
        (bios(KNOWN), Some(format!("{boot}/bios/ipxe.kpxe"))),
        (uefi, Some(format!("{boot}/uefi-x64/ipxe.efi"))),
        (
            http.clone(),
            Some(format!("http://{HTTP}/{boot}/uefi-x64/ipxe.efi")),
        ),
        (
            ipxe,
            Some(format!("http://{HTTP}/{boot}/uefi-x64/boot.ipxe")),
        ),
        (system, None),
    ] {
        let offer = offer(&lab, says.clone()).await;
        assert_eq!(offer.opts().msg_type(), Some(MessageType::Offer));
        assert_eq!(offer.yiaddr(), ADDRESS);
        assert_eq!(boot_file(&offer), expected, "{says:?}");
        let name = offer
            .fname()
            .unwrap_or_default()
            .split(|&byte| byte == 0)
            .next();
        assert_eq!(name.unwrap(), expected.unwrap_or_default().as_bytes());
    }
    let offer = offer(&lab, http).await;
    let class = DhcpOption::ClassIdentifier(b"HTTPClient".to_vec());
    assert_eq!(offer.opts().get(OptionCode::ClassIdentifier), Some(&class));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bios_rom_takes_its_address_and_fetches_ipxe_by_tftp() {
    let mut lab = Lab::new().await;
    let node = know(&lab);
    let wants = |address| {
        vec![
            DhcpOption::RequestedIpAddress(address),
            DhcpOption::ServerIdentifier(SERVER),
        ]
    };
    let (wrong, right) = (wants([10, 77, 0, 61].into()), wants(ADDRESS));
    let (refused, taken) = inside(&lab.station, || async {
        let socket = socket("eth0", 68);
        let wrong = message(MessageType::Request, &bios(KNOWN), wrong);
        let right = message(MessageType::Request, &bios(KNOWN), right);
        (ask(&socket, &wrong).await, ask(&socket, &right).await)
    })
    .await;
    assert_eq!(refused.opts().msg_type(), Some(MessageType::Nak));
    assert_eq!(taken.opts().msg_type(), Some(MessageType::Ack));
    let mask = DhcpOption::SubnetMask([255, 255, 255, 0].into());
    assert_eq!(taken.opts().get(OptionCode::SubnetMask), Some(&mask));

    let file = boot_file(&taken).unwrap();
    // Before it has its address, it is nobody.
    let early = "10.77.0.99";
    let (station, name) = (lab.station.clone(), file.clone());
    run(&format!("ip -n {station} addr add {early}/24 dev eth0"));
    let refused = inside(&station, || async move {
        tftp(&socket("eth0", 0), SERVER, &name).await
    });
    let why = refused.await.unwrap_err();
    assert!(
        why.contains("10.77.0.60 only") && why.contains(early),
        "{why}"
    );
    run(&format!(
        "ip -n {station} addr del {early}/24 dev eth0
         ip -n {station} addr add {ADDRESS}/24 dev eth0"
    ));
    let content = inside(&station, || async move {
        tftp(&socket("eth0", 0), SERVER, &file).await
    });
    let expected = std::fs::read(LoaderPaths::debian().ipxe_bios).unwrap();
    assert!(content.await.unwrap() == expected);

    let fetched = |step: &BootStep| matches!(step, BootStep::Fetched { .. });
    let fetched = lab.event("the fetch", fetched).await;
    let BootStep::Fetched {
        node: of,
        file,
        bytes,
        ..
    } = fetched
    else {
        panic!("{fetched:?}");
    };
    assert_eq!((of, file.as_str()), (Some(node), "ipxe.kpxe"));
    assert_eq!(bytes, expected.len() as u64);
    let steps: Vec<&BootStep> = lab.seen.iter().collect();
    assert!(
        matches!(steps[0], BootStep::WrongAddress { .. }),
        "{steps:?}"
    );
    assert!(
        matches!(
            steps[1],
            BootStep::Leased {
                address: ADDRESS,
                boot_file: Some(_),
                ..
            }
        ),
        "{steps:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_nobody_knows_gets_nothing_and_is_named() {
    let mut lab = Lab::new().await;
    know(&lab);
    // The known one asks last: when it has its answer, the others have had none.
    let answers = inside(&lab.station, || async {
        let socket = socket("eth0", 68);
        let everybody = (Ipv4Addr::BROADCAST, 67);
        for _ in 0..3 {
            let unknown = message(MessageType::Discover, &bios(UNKNOWN), vec![]);
            socket
                .send_to(&unknown.to_vec().unwrap(), everybody)
                .await
                .unwrap();
        }
        let known = message(MessageType::Discover, &bios(KNOWN), vec![]);
        socket
            .send_to(&known.to_vec().unwrap(), everybody)
            .await
            .unwrap();
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).await.unwrap();
        let first = dhcproto::v4::borrowed::Message::new(&buffer[..length]).unwrap();
        assert_eq!(first.xid(), known.xid());
        // And after it, nothing waits.
        socket.try_recv(&mut buffer).is_ok()
    })
    .await;
    assert!(!answers, "only the known client is answered");
    let mac = UNKNOWN.parse().unwrap();
    for expected in [1, 2] {
        let told = lab.event("the unknown client", |step| {
            matches!(step, BootStep::Unknown { .. })
        });
        assert_eq!(
            told.await,
            BootStep::Unknown {
                mac,
                times: expected
            }
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_loader_gets_an_address_and_is_named() {
    let mut lab = Lab::new().await;
    let node = know(&lab);
    let arm = Says {
        architecture: Some(11),
        ..bios(KNOWN)
    };
    let offer = offer(&lab, arm).await;
    assert_eq!((offer.yiaddr(), boot_file(&offer)), (ADDRESS, None));
    let no_loader = |step: &BootStep| matches!(step, BootStep::NoLoader { .. });
    let told = lab.event("no loader", no_loader).await;
    assert!(matches!(told, BootStep::NoLoader { node: of, .. } if of == node));

    // A firmware that starts only what is signed is not given what it would not start.
    for answer in lab.rows.nodes.lock().unwrap().values_mut() {
        answer.boot.as_mut().unwrap().secure_boot = true;
    }
    let uefi = Says {
        architecture: Some(7),
        ..bios(KNOWN)
    };
    let offer = self::offer(&lab, uefi).await;
    assert_eq!((offer.yiaddr(), boot_file(&offer)), (ADDRESS, None));
    lab.event("no signed loader", no_loader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_one_interface_is_served() {
    let lab = Lab::new().await;
    know(&lab);
    let (network, station) = (&lab.network, &lab.station);
    // A second cable, with a second network at the same namespace.
    run(&format!(
        "ip -n {network} link add other type veth peer name eth1 netns {station}
         ip -n {network} addr add 10.99.0.1/24 dev other
         ip -n {network} link set other up
         ip -n {station} addr add 10.99.0.2/24 dev eth1
         ip -n {station} link set eth1 up
         ip -n {station} route add {SERVER} dev eth1"
    ));
    inside(station, || async {
        let there = socket("eth1", 68);
        let here = socket("eth0", 68);
        let discover = message(MessageType::Discover, &bios(KNOWN), vec![]);
        let bytes = discover.to_vec().unwrap();
        there
            .send_to(&bytes, (Ipv4Addr::BROADCAST, 67))
            .await
            .unwrap();
        ask(&here, &message(MessageType::Discover, &bios(KNOWN), vec![])).await;
        assert!(there.try_recv(&mut [0; 1500]).is_err());
        // Its address is reached by that cable, and nobody listens: refused, not timed out.
        let refused = tokio::net::TcpStream::connect(HTTP).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_answered_with_its_own_words() {
    let lab = Lab::new().await;
    know(&lab);
    let relay = Ipv4Addr::new(10, 77, 0, 254);
    run(&format!(
        "ip -n {} addr add {relay}/24 dev eth0",
        lab.station
    ));
    let answer = inside(&lab.station, move || async move {
        let socket = socket("eth0", 67);
        let circuit = dhcproto::v4::relay::RelayInfo::AgentCircuitId(b"port 7".to_vec());
        let mut information = dhcproto::v4::relay::RelayAgentInformation::default();
        information.insert(circuit);
        let more = vec![DhcpOption::RelayAgentInformation(information)];
        let mut discover = message(MessageType::Discover, &bios(KNOWN), more);
        discover.set_giaddr(relay);
        let bytes = discover.to_vec().unwrap();
        socket.send_to(&bytes, (SERVER, 67)).await.unwrap();
        let answer = answer_to(&socket, discover.xid()).await;
        let echoed = |message: &dhcproto::v4::Message| {
            message
                .opts()
                .get(OptionCode::RelayAgentInformation)
                .cloned()
        };
        assert_eq!(echoed(&answer), echoed(&discover));
        answer
    })
    .await;
    assert_eq!((answer.yiaddr(), answer.giaddr()), (ADDRESS, relay));
}

/// A DHCP server that should not be there.
struct Rogue(Child);

impl Rogue {
    fn start(lab: &Lab) -> Self {
        let station = &lab.station;
        run(&format!("ip -n {station} addr add 10.77.0.66/24 dev eth0"));
        let arguments = "--keep-in-foreground --port=0 --interface=eth0 --bind-interfaces --no-ping --conf-file=/dev/null \
                         --user=root --dhcp-range=10.77.0.200,10.77.0.220,255.255.255.0,2m --dhcp-authoritative";
        let child = Command::new("ip")
            .args(["netns", "exec", station, "dnsmasq"])
            .args(arguments.split_whitespace())
            .arg(format!("--dhcp-leasefile={}", lab.path("leases").display()))
            .arg(format!("--pid-file={}", lab.path("dnsmasq.pid").display()))
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_dhcp_server_is_found_by_asking_and_named() {
    let mut lab = Lab::without_server();
    let _rogue = Rogue::start(&lab);
    let every = Some(Duration::from_millis(200));
    lab.start(|config| config.probe_every = every).await;
    let told = lab
        .event("the rogue", |step| matches!(step, BootStep::Rogue { .. }))
        .await;
    let BootStep::Rogue {
        server,
        seen: Sighting::Offer { from, offered, .. },
        times: 1,
    } = told
    else {
        panic!("{told:?}");
    };
    assert_eq!(server, Ipv4Addr::new(10, 77, 0, 66));
    assert!((200..=220).contains(&offered.octets()[3]), "{offered}");
    let address = inside(&lab.station, || async {
        let addresses = Command::new("ip")
            .args(["-o", "link", "show", "eth0"])
            .output();
        String::from_utf8(addresses.unwrap().stdout).unwrap()
    })
    .await;
    assert!(address.contains(&from.to_string()), "{from}: {address}");
    // The probe is nobody's card, and is not told of as unknown.
    let unknown = |step: &BootStep| matches!(step, BootStep::Unknown { .. });
    assert!(!lab.seen().iter().any(unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_dhcp_server_is_named_by_the_client_that_chose_it() {
    let mut lab = Lab::new().await;
    know(&lab);
    let rogue = Ipv4Addr::new(10, 77, 0, 67);
    let address = Ipv4Addr::new(10, 77, 0, 201);
    inside(&lab.station, move || async move {
        let chosen = vec![
            DhcpOption::RequestedIpAddress(address),
            DhcpOption::ServerIdentifier(rogue),
        ];
        let request = message(MessageType::Request, &bios(UNKNOWN), chosen);
        let bytes = request.to_vec().unwrap();
        let socket = socket("eth0", 68);
        socket
            .send_to(&bytes, (Ipv4Addr::BROADCAST, 67))
            .await
            .unwrap();
    })
    .await;
    let told = lab.event("the rogue", |step| matches!(step, BootStep::Rogue { .. }));
    let seen = Sighting::Choice {
        by: UNKNOWN.parse().unwrap(),
        address: Some(address),
    };
    let expected = BootStep::Rogue {
        server: rogue,
        seen,
        times: 1,
    };
    assert_eq!(told.await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_that_pass_by_are_told_unless_a_peer_made_them() {
    let mut lab = Lab::without_server();
    let peer = Ipv4Addr::new(10, 77, 0, 2);
    let rogue = Ipv4Addr::new(10, 77, 0, 66);
    lab.start(|config| config.peers = vec![peer]).await;
    inside(&lab.station, move || async move {
        let socket = socket("eth0", 67);
        // Our own name comes back from a bridge that reflects, and is no rogue's either.
        for server in [SERVER, peer, rogue, rogue] {
            let named = vec![DhcpOption::ServerIdentifier(server)];
            let mut offer = message(MessageType::Offer, &bios(UNKNOWN), named);
            offer.set_opcode(Opcode::BootReply).set_yiaddr(ADDRESS);
            let bytes = offer.to_vec().unwrap();
            let clients = (Ipv4Addr::BROADCAST, 68);
            socket.send_to(&bytes, clients).await.unwrap();
        }
    })
    .await;
    let told = lab.event("the rogue's second offer", |step| {
        matches!(step, BootStep::Rogue { times: 2, .. })
    });
    told.await;
    let servers = |step: &BootStep| match step {
        BootStep::Rogue {
            server,
            seen: Sighting::Offer { to, offered, .. },
            ..
        } => {
            assert_eq!((to.to_string().as_str(), *offered), (UNKNOWN, ADDRESS));
            *server
        }
        other => panic!("{other:?}"),
    };
    let servers: Vec<Ipv4Addr> = lab.seen.iter().map(servers).collect();
    assert_eq!(servers, [rogue, rogue]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_listen_says_where() {
    let lab = Lab::new().await;
    let loaders = Loaders::load(&LoaderPaths::debian()).unwrap();
    let config = |interface: &str| Config {
        namespace: Some(common::namespace_file(&lab.network)),
        interface: interface.to_owned(),
        address: SERVER,
        http_port: 8080,
        peers: Vec::new(),
        probe_every: None,
    };
    for interface in ["br0", "none0"] {
        let started = BootServer::start(config(interface), loaders.clone(), lab.rows.clone()).await;
        let refused = started.map(drop).unwrap_err().to_string();
        let expected = format!("DHCP cannot be served on 0.0.0.0:67 at {interface}");
        assert!(refused.starts_with(&expected), "{refused}");
    }
}
