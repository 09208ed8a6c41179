//! Machines without a system boot over the wire and from virtual media: BIOS and UEFI, in QEMU, without KVM.
//!
//! Each asserts the boot timeline as well: which early signals came, and in which order (catalogue D4).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::guest::{Firmware, Guest};
use common::{HTTP, Lab, inside, lease, ramdisk, run};
use corten_model::ids::NodeId;
use corten_netboot::{BootStep, MediaPlan, Stage, Transport};
use std::collections::BTreeMap;
use std::path::PathBuf;

const MAC: &str = "52:54:00:77:00:02";
const CARD: &str = "virtio-net-pci,netdev=net,bootindex=1,mac=52:54:00:77:00:02";
/// Without QEMU's own iPXE, so that the firmware's network stack boots.
const PLAIN_CARD: &str = "virtio-net-pci,netdev=net,bootindex=1,mac=52:54:00:77:00:02,romfile=";
const NO_IPV6: [&str; 2] = ["-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"];
const NO_PXE: [&str; 2] = ["-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n"];

/// A lab with one node that boots the test's ramdisk.
async fn lab() -> (Lab, NodeId) {
    let lab = Lab::new().await;
    let boot = ramdisk::boot(&lab, &format!("http://{HTTP}/boot/{MAC}/bios/boot.ipxe"));
    let node = lab.know(MAC, "10.77.0.50/24", Some(boot));
    (lab, node)
}

fn network(lab: &Lab) -> (&str, &str) {
    (&lab.network, "br0")
}

/// Waits until the node has fetched so many files: which, and who carried them, in order.
async fn fetched(lab: &mut Lab, by_node: NodeId, count: usize) -> Vec<(String, Transport)> {
    let name = |step: &BootStep| match step {
        BootStep::Fetched {
            node: Some(node),
            file,
            by,
            bytes,
            ..
        } => {
            assert!(*node == by_node && *bytes > 0, "{step:?}");
            Some((file.clone(), *by))
        }
        _ => None,
    };
    let so_far = |lab: &mut Lab| lab.seen().iter().filter_map(name).collect::<Vec<_>>();
    while so_far(lab).len() < count {
        lab.event("a fetch", |step| name(step).is_some()).await;
    }
    so_far(lab)
}

fn by_http(files: &[&str]) -> Vec<(String, Transport)> {
    let name = |file: &&str| ((*file).to_owned(), Transport::Http);
    files.iter().map(name).collect()
}

fn stages(lab: &mut Lab) -> Vec<Stage> {
    let stage = |step: &BootStep| match step {
        BootStep::Discovered { client, .. } => Some(client.stage),
        _ => None,
    };
    let mut stages: Vec<Stage> = lab.seen().iter().filter_map(stage).collect();
    // Firmware asks again while a bridge's port is not up yet.
    stages.dedup();
    stages
}

const GREETING: &str = "GREETING leased 10.77.0.50/24 mtu 1500 token : #!ipxe";

#[tokio::test(flavor = "multi_thread")]
async fn a_bios_boots_over_ipxe_and_http() {
    let (mut lab, node) = lab().await;
    let mut guest = Guest::start(&lab, network(&lab), MAC, Firmware::Bios, &["-device", CARD]);
    guest.says(GREETING).await;
    let files = ["boot.ipxe", "kernel", "ramdisk", "boot.ipxe"];
    assert_eq!(fetched(&mut lab, node, files.len()).await, by_http(&files));
    assert_eq!(stages(&mut lab), [Stage::Ipxe, Stage::AddressOnly]);
}

#[tokio::test(flavor = "multi_thread")]
async fn uefi_boots_by_pxe_over_tftp() {
    let (mut lab, node) = lab().await;
    let arguments = [&["-device", PLAIN_CARD][..], &NO_IPV6].concat();
    let mut guest = Guest::start(&lab, network(&lab), MAC, Firmware::Uefi, &arguments);
    guest.says(GREETING).await;
    let mut files = by_http(&["boot.ipxe", "kernel", "ramdisk", "boot.ipxe"]);
    files.insert(0, ("ipxe.efi".to_owned(), Transport::Tftp));
    assert_eq!(fetched(&mut lab, node, files.len()).await, files);
    let expected = [Stage::Pxe, Stage::Ipxe, Stage::AddressOnly];
    assert_eq!(stages(&mut lab), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn uefi_boots_by_http() {
    let (mut lab, node) = lab().await;
    let arguments = [&["-device", PLAIN_CARD][..], &NO_IPV6, &NO_PXE].concat();
    let mut guest = Guest::start(&lab, network(&lab), MAC, Firmware::Uefi, &arguments);
    guest.says(GREETING).await;
    let files = ["ipxe.efi", "boot.ipxe", "kernel", "ramdisk", "boot.ipxe"];
    assert_eq!(fetched(&mut lab, node, files.len()).await, by_http(&files));
    let expected = [Stage::HttpBoot, Stage::Ipxe, Stage::AddressOnly];
    assert_eq!(stages(&mut lab), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn uefi_with_secure_boot_boots_by_http() {
    let lab = Lab::new().await;
    let mut boot = ramdisk::boot(&lab, &format!("http://{HTTP}/boot/{MAC}/bios/boot.ipxe"));
    boot.secure_boot = true;
    let node = lab.know(MAC, "10.77.0.50/24", Some(boot));
    let mut lab = lab;
    let arguments = [&["-device", PLAIN_CARD][..], &NO_IPV6, &NO_PXE].concat();
    let firmware = Firmware::UefiSecure;
    let mut guest = Guest::start(&lab, network(&lab), MAC, firmware, &arguments);
    guest.says(GREETING).await;
    guest.says("SECURE BOOT 1").await;
    let files = ["boot.iso", "boot.ipxe"];
    assert_eq!(fetched(&mut lab, node, files.len()).await, by_http(&files));
    let expected = [Stage::HttpBoot, Stage::AddressOnly];
    assert_eq!(stages(&mut lab), expected);
}

/// A server behind a router, where no DHCP reaches: it boots from the image that its BMC has fetched.
async fn boots_from_media(firmware: Firmware, drive: &str) -> Guest {
    let mut lab = Lab::new().await;
    let router = lab.station.clone();
    let network = lab.network.clone();
    run(&format!(
        "ip -n {router} addr add 10.77.0.254/24 dev eth0
         ip -n {router} link add br1 type bridge
         ip -n {router} addr add 10.78.0.1/24 dev br1
         ip -n {router} link set br1 up
         ip netns exec {router} sysctl -qw net.ipv4.ip_forward=1
         ip -n {network} route add 10.78.0.0/24 via 10.77.0.254"
    ));
    let boot = ramdisk::boot(&lab, &format!("http://{HTTP}/boot/{MAC}/bios/boot.ipxe"));
    let node = lab.know(MAC, "10.78.0.50/24", Some(boot.clone()));
    let mut lease = lease("10.78.0.50/24");
    lease.gateway = Some([10, 78, 0, 1].into());
    lease.mtu = Some(1400);
    let plan = MediaPlan {
        boot,
        network: Some((MAC.parse().unwrap(), lease)),
        files: BTreeMap::from([("etc/corten/token".to_owned(), b"s3cret".to_vec())]),
    };
    lab.rows.media.lock().unwrap().insert("x7".to_owned(), plan);
    let image = fetch_media(&mut lab).await;

    let drive = drive.replace("IMAGE", image.to_str().unwrap());
    let mut arguments = vec!["-device", PLAIN_CARD_SECOND];
    arguments.extend(drive.split(' '));
    let mut guest = Guest::start(&lab, (&router, "br1"), MAC, firmware, &arguments);
    guest
        .says("GREETING configured 10.78.0.50/24 mtu 1400 token s3cret: #!ipxe")
        .await;
    assert_eq!(fetched(&mut lab, node, 1).await, by_http(&["boot.ipxe"]));
    assert_eq!(stages(&mut lab), []);
    guest
}

const PLAIN_CARD_SECOND: &str = "virtio-net-pci,netdev=net,mac=52:54:00:77:00:02,romfile=";
const AS_DISC: &str = "-drive if=none,id=m,format=raw,readonly=on,media=cdrom,file=IMAGE -device ide-cd,drive=m,bootindex=1";
const AS_DISK: &str = "-drive if=none,id=m,format=raw,readonly=on,file=IMAGE -device qemu-xhci -device usb-storage,drive=m,bootindex=1,removable=on";

/// Fetches the image as a BMC does.
async fn fetch_media(lab: &mut Lab) -> PathBuf {
    let url = lab.server().media_url("x7");
    let bytes = inside(&lab.station, move || async move {
        let answer = reqwest::get(url).await.unwrap();
        answer.error_for_status().unwrap().bytes().await.unwrap()
    })
    .await;
    let told = lab.event(
        "the image went out",
        |step| matches!(step, BootStep::Fetched { node: None, file, .. } if file == "x7.iso"),
    );
    told.await;
    let image = lab.path("x7.iso");
    std::fs::write(&image, bytes).unwrap();
    image
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bios_boots_from_a_virtual_disc_without_dhcp() {
    boots_from_media(Firmware::Bios, AS_DISC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uefi_boots_from_a_virtual_disc_without_dhcp() {
    boots_from_media(Firmware::Uefi, AS_DISC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uefi_with_secure_boot_boots_from_a_virtual_disc() {
    let mut guest = boots_from_media(Firmware::UefiSecure, AS_DISC).await;
    guest.says("SECURE BOOT 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bios_boots_from_a_virtual_disk_on_usb() {
    boots_from_media(Firmware::Bios, AS_DISK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uefi_boots_from_a_virtual_disk_on_usb() {
    boots_from_media(Firmware::Uefi, AS_DISK).await;
}
