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
mod demo;
mod discovery;
mod ipmi;
#[path = "../../../bmc/tests/common/ipmi_sim.rs"]
mod ipmi_sim;
mod key;
mod lab;
#[path = "../../../bmc/tests/common/libvirt.rs"]
mod libvirt;
mod operator;
#[path = "../common/ramdisk_image.rs"]
mod ramdisk_image;
#[path = "../../../bmc/tests/common/relay.rs"]
mod relay;
mod server;
mod stock;
#[path = "../common/stock_client.rs"]
mod stock_client;

use common::until;
use key::Key;
use lab::{System, in_lab};
use operator::Operator;
use reqwest::Method;
use serde_json::json;
use server::{Firmware, Server};
use std::time::Duration;
use stock_client::StockClient;

pub const USERNAME: &str = "admin";
pub const PASSWORD: &str = "s3cret-horse";

const OLD: &str = "the last tenant's secret ";
/// For an operation with a boot in it, on a machine that is very busy.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// The address that a server has on the lab's network, being the first.
const ADDRESS: &str = "10.77.0.50";

#[test]
fn a_uefi_server_is_wiped_and_given_a_system_by_virtual_media() {
    in_lab(System::Tiny, || async {
        let cloud = lab::cloud().await;
        let image = lab::add_image(&cloud, System::Tiny).await;
        let server = Server::start(1, Firmware::Uefi, OLD).await;
        let operator = Operator::enrol(&cloud, &server, "bm1", "redfish-virtual-media").await;
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
        let said = first.run(&operator, "root", ADDRESS, "hostname; cat /root/user-data");
        assert_eq!(said.await, "one\nit-ran\n");

        let drive = second.config_drive("two");
        operator
            .provision(json!({"target": "rebuild", "configdrive": drive}))
            .await;
        operator.reaches("active").await;
        assert_eq!(
            second.run(&operator, "root", ADDRESS, "hostname").await,
            "two\n"
        );
        let refused = first.try_run("root", ADDRESS, "hostname").await;
        assert!(refused.unwrap_err().contains("denied"), "the old key");

        assert!(server.disk_holds(&second.public()), "its config drive");
        operator.provision(json!({"target": "deleted"})).await;
        operator.reaches("available").await;
        assert!(!server.disk_holds(&second.public()), "old bytes are left");
        assert_eq!(operator.wipes().await.as_array().unwrap().len(), 2);
        let log = cloud.log();
        assert!(!log.contains(PASSWORD), "the BMC's password is in the log");
        assert!(log.contains("ramdisk: "), "the ramdisk's log has come");
    });
}

#[test]
fn a_bios_server_is_inspected_and_rescued_by_pxe() {
    in_lab(System::Tiny, || async {
        let cloud = lab::cloud().await;
        let server = Server::start(2, Firmware::Bios, OLD).await;
        let operator = Operator::enrol(&cloud, &server, "bm1", "ipxe").await;
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

/// With OpenStack's own client, as a tenant: a whole server by the call that makes a virtual machine (K145 to K149).
#[test]
fn a_tenant_gets_a_whole_server_with_the_stock_client() {
    in_lab(System::Tiny, || async {
        let cloud = lab::cloud().await;
        lab::add_image(&cloud, System::Tiny).await;
        let server = Server::start(3, Firmware::Bios, OLD).await;
        let operator = Operator::enrol(&cloud, &server, "bm1", "ipxe").await;
        operator.provision(json!({"target": "provide"})).await;
        operator.reaches("available").await;
        let mut admin = StockClient::start(&cloud, "corten");
        admin
            .run("flavor create --vcpus 1 --ram 512 --disk 0 --property resources:CUSTOM_BM_SMALL=1 --property resources:VCPU=0 bm.small")
            .await;

        let mut tenant = StockClient::start(&cloud, "demo");
        let key = Key::new().await;
        let public = key.path().with_extension("pub");
        tenant
            .run(&format!(
                "keypair create --public-key {} mine",
                public.display()
            ))
            .await;
        let made = tenant
            .json("server create --flavor bm.small --image tiny --key-name mine whole")
            .await;
        let id = made["id"].as_str().unwrap().to_owned();
        let status = async |tenant: &mut StockClient, wanted: &str| {
            let begun = tokio::time::Instant::now();
            loop {
                let shown = tenant.json(&format!("server show {id}")).await;
                match shown["status"].as_str().unwrap() {
                    status if status == wanted => return shown,
                    "ERROR" => panic!("{:#}\n{}", shown["fault"], cloud.log_tail(40)),
                    _ => assert!(begun.elapsed() < PATIENCE, "{}", server.console()),
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let shown = status(&mut tenant, "ACTIVE").await;
        assert_eq!(shown["addresses"]["lab"][0], ADDRESS);
        let said = key.run(&operator, "root", ADDRESS, "hostname");
        assert_eq!(said.await, "whole\n");

        tenant.run(&format!("server stop {id}")).await;
        status(&mut tenant, "SHUTOFF").await;
        assert_eq!(server.machine(), None, "it has no power");
        let refused = tenant.refused(&format!("server pause {id}")).await;
        assert!(refused.contains("hypervisor"), "{refused}");
        assert!(server.disk_holds(&key.public()), "its config drive");
        tenant.run(&format!("server delete {id}")).await;
        operator.reaches("available").await;
        assert!(!server.disk_holds(&key.public()), "old bytes are left");
        let gone = tenant.refused(&format!("server show {id}")).await;
        assert!(gone.contains("No Server found"), "{gone}");
    });
}

/// Three servers, each by another way, with a whole Debian: `make demo-metal`. `CORTEN_DEMO_IMAGE=tiny` takes the tiny guest.
#[test]
#[ignore = "takes a quarter of an hour, with much to read; run by 'make demo-metal'"]
fn demo() {
    let system = match std::env::var("CORTEN_DEMO_IMAGE").as_deref() {
        Ok("tiny") => System::Tiny,
        _ => System::Debian,
    };
    in_lab(system, || demo::run(system));
}

/// One server, wiped and given a system by OpenStack's own agent: `make test-stock-agent`. `CORTEN_STOCK_FIRMWARE=bios` has it
/// boot by PXE on BIOS, in place of virtual media on UEFI.
#[test]
#[ignore = "Python in a ramdisk takes minutes without KVM; run by 'make test-stock-agent'"]
fn the_stock_agent_of_openstack_wipes_a_server_and_deploys_it() {
    let firmware = match std::env::var("CORTEN_STOCK_FIRMWARE").as_deref() {
        Ok("bios") => Firmware::Bios,
        _ => Firmware::Uefi,
    };
    lab::in_lab_after(System::Tiny, stock::build(), || stock::run(firmware));
}
