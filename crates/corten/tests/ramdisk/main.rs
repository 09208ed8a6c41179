//! Boots the deploy ramdisk in QEMU against a scripted control plane: inspection, erasure with records, images, refusals.

#![allow(clippy::unwrap_used, clippy::panic)]

mod arrays;
mod control_plane;
mod machine;
#[path = "../common/ramdisk_image.rs"]
mod ramdisk_image;

use control_plane::{AGENT_TOKEN, BOOT_TOKEN, ControlPlane, Script};
use corten_ramdisk::protocol::{EraseMethod, EraseRecord, Growth, WriteRecord};
use machine::{BOOT_MAC, Disk, Machine, OTHER_MAC, qemu_img};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const MIB: usize = 1 << 20;
const OLD: &[u8] = b"the last tenant's secret ";

/// Data that does not compress, text, and zeroes.
fn image() -> Vec<u8> {
    let mut bytes = vec![0; 24 * MIB];
    let mut state = 1_u64;
    for (index, block) in bytes.chunks_mut(MIB).enumerate() {
        if index % 3 == 0 {
            for chunk in block.chunks_mut(8) {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                chunk.copy_from_slice(&state.to_le_bytes());
            }
        } else if index % 3 == 1 {
            block.fill(b'i');
        }
    }
    bytes
}

fn image_info(control: &ControlPlane, name: &str, file: &[u8]) -> Value {
    json!({
        "id": name,
        "urls": [control.image_url(name)],
        "os_hash_algo": "sha256",
        "os_hash_value": format!("{:x}", Sha256::digest(file)),
    })
}

fn has_old_bytes(disk: &Disk) -> bool {
    disk.content()
        .windows(OLD.len())
        .any(|window| window == OLD)
}

fn step(name: &str) -> Value {
    json!({"step": {"step": name, "interface": "deploy", "priority": 10}, "node": {}, "ports": []})
}

/// Which disk is the root disk is said by the node's properties, as any command carries them.
async fn set_root(control: &ControlPlane, serial: &str) {
    let node = json!({"properties": {"root_device": {"serial": serial}}});
    control
        .succeeds("clean.get_clean_steps", json!({"node": node, "ports": []}))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_inspected_erased_and_written() {
    let control = ControlPlane::start(Script::Welcome).await;
    let dirty = Disk::full_of(OLD, 96 * MIB, "root-1");
    let nvme = Disk::full_of(OLD, 64 * MIB, "nvme-1");
    let blank = Disk::full_of(&[0], 32 * MIB, "blank-1");
    let mut machine = Machine::boot(&control, &[&dirty, &blank], Some(&nvme)).await;

    inspects(&control, &mut machine).await;
    let heartbeat = machine.until(control.heartbeat()).await;
    assert_eq!(heartbeat.agent_token.as_deref(), Some(AGENT_TOKEN));
    assert!(
        heartbeat
            .agent_verify_ca
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    assert_eq!(control.boot_tokens(), [BOOT_TOKEN]);
    // QEMU's management controller answers, and is on no network.
    let asked = control.log_line("the management controller answers");
    machine.until(asked).await;

    erases(&control, [&dirty, &nvme, &blank]).await;
    refuses(&control, &dirty).await;
    writes(&control, &dirty, &nvme).await;

    machine
        .until(control.log_line("standby.prepare_image succeeded"))
        .await;
    control.succeeds("standby.power_off", json!({})).await;
    machine.ends().await;
}

async fn inspects(control: &ControlPlane, machine: &mut Machine) {
    let inspection = machine.until(control.inspection()).await;
    let inventory = inspection.inventory;
    let mut disks: Vec<(&str, u64, &str)> = inventory
        .disks
        .iter()
        .map(|disk| {
            (
                disk.serial.as_deref().unwrap(),
                disk.size,
                disk.tran.as_deref().unwrap(),
            )
        })
        .collect();
    disks.sort_unstable();
    assert_eq!(
        disks,
        [
            ("blank-1", 32 * MIB as u64, "virtio"),
            ("nvme-1", 64 * MIB as u64, "nvme"),
            ("root-1", 96 * MIB as u64, "virtio"),
        ]
    );
    let card = |mac: &str| {
        let mut cards = inventory.interfaces.iter();
        cards.find(|card| card.mac_address == mac).unwrap()
    };
    assert_eq!(card(BOOT_MAC).ipv4_address.as_deref(), Some("10.0.2.15"));
    assert_eq!(card(BOOT_MAC).driver.as_deref(), Some("virtio_net"));
    assert!(!card(OTHER_MAC).has_carrier, "only the boot card is up");
    assert_eq!(inventory.boot.pxe_interface.as_deref(), Some(BOOT_MAC));
    assert_eq!(inventory.cpu.count, 2);
    assert!(inventory.memory.total > 512 << 20);
    assert_eq!(
        inventory.system_vendor.manufacturer.as_deref(),
        Some("QEMU")
    );
    assert_eq!(inventory.bmc.unwrap().interface, "KCS");
    assert!(
        inspection
            .pci_devices
            .iter()
            .any(|device| device.class == "010802")
    );
    assert_eq!(inspection.error, None);
}

async fn erases(control: &ControlPlane, disks: [&Disk; 3]) {
    let result = control
        .succeeds("clean.execute_clean_step", step("erase_devices"))
        .await;
    let records: Vec<EraseRecord> = serde_json::from_value(result["clean_result"].clone()).unwrap();
    let method = |serial: &str| {
        let of_disk = |record: &&EraseRecord| record.serial.as_deref() == Some(serial);
        let record = records.iter().find(of_disk).unwrap();
        assert!(record.erased(), "{record:?}");
        assert!(record.verification.unwrap().samples > 100, "{record:?}");
        record.attempts.last().unwrap().method
    };
    assert_eq!(records.len(), 3);
    assert_eq!(method("nvme-1"), EraseMethod::NvmeFormat);
    assert_eq!(method("root-1"), EraseMethod::Discard);
    assert_eq!(method("blank-1"), EraseMethod::Discard);
    for disk in disks {
        assert!(
            disk.content().iter().all(|byte| *byte == 0),
            "{} is not erased",
            disk.serial
        );
    }
}

/// Nothing is half done: the disk that was blank is blank.
async fn refuses(control: &ControlPlane, root: &Disk) {
    set_root(control, "root-1").await;
    let raw = image();
    control.serve_image("raw", raw.clone());
    let mut info = image_info(control, "raw", b"another file");
    let error = control
        .fails("standby.prepare_image", json!({"image_info": info}))
        .await;
    assert!(error.contains("checksum"), "{error}");
    assert!(
        root.content().iter().all(|byte| *byte == 0),
        "of a wrong image something is left"
    );

    let large = vec![1; 97 * MIB];
    control.serve_image("large", large.clone());
    info = image_info(control, "large", &large);
    let error = control
        .fails("standby.prepare_image", json!({"image_info": info}))
        .await;
    assert!(
        error.contains("at least 101711872 bytes, but this one has 100663296"),
        "{error}"
    );
    assert!(root.content().iter().all(|byte| *byte == 0));

    // An image without a partition table has no place for a config drive, which shows once it is here.
    info = image_info(control, "raw", &raw);
    let drive = "H4sIAAAAAAACA0vMU8gszgcAHb1DagYAAAA=";
    let params = json!({"image_info": info, "configdrive": drive});
    let error = control.fails("standby.prepare_image", params).await;
    assert!(error.contains("no partition table"), "{error}");
    assert!(root.content().iter().all(|byte| *byte == 0));
}

async fn writes(control: &ControlPlane, root: &Disk, nvme: &Disk) {
    let raw = image();
    let mut info = image_info(control, "raw", &raw);
    info["grow"] = true.into();
    let result = control
        .succeeds("standby.prepare_image", json!({"image_info": info}))
        .await;
    let record: WriteRecord = serde_json::from_value(result["record"].clone()).unwrap();
    assert_eq!(
        (record.format.as_str(), record.serial.as_deref()),
        ("raw", Some("root-1"))
    );
    assert_eq!(record.downloaded_bytes, raw.len() as u64);
    assert!(
        matches!(&record.growth, Some(Growth::Left { reason }) if reason.contains("no partition table")),
        "{record:?}"
    );
    holds(root, &raw);

    set_root(control, "nvme-1").await;
    let packed = qemu_img(&raw, &["-c", "-o", "compression_type=zstd"]);
    control.serve_image("qcow2", packed.clone());
    let mut info = image_info(control, "qcow2", &packed);
    info["disk_format"] = "qcow2".into();
    let result = control
        .succeeds("standby.prepare_image", json!({"image_info": info}))
        .await;
    let record: WriteRecord = serde_json::from_value(result["record"].clone()).unwrap();
    assert_eq!(
        (record.format.as_str(), record.image_bytes),
        ("qcow2", raw.len() as u64)
    );
    holds(nvme, &raw);
    assert!(!has_old_bytes(nvme) && !has_old_bytes(root));
}

/// Exactly the image, and zeroes behind it.
fn holds(disk: &Disk, image: &[u8]) {
    let content = disk.content();
    let (begin, rest) = content.split_at(image.len());
    assert!(begin == image, "{} does not hold the image", disk.serial);
    assert!(rest.iter().all(|byte| *byte == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_gets_an_array_is_burnt_in_and_opened_for_a_rescue() {
    let control = ControlPlane::start(Script::Welcome).await;
    let (first, second) = (
        Disk::full_of(OLD, 32 * MIB, "first"),
        Disk::full_of(OLD, 32 * MIB, "second"),
    );
    let mut machine = Machine::boot(&control, &[&first, &second], None).await;
    machine.until(control.heartbeat()).await;

    for (name, args) in [
        ("burnin_disk", json!({"seconds": 1})),
        ("burnin_memory", json!({"seconds": 0, "percent": 5})),
        ("burnin_cpu", json!({"seconds": 1})),
    ] {
        let mut params = step(name);
        params["step"]["args"] = args;
        let result = control.succeeds("clean.execute_clean_step", params).await;
        assert!(
            result["clean_result"]["work"].as_u64().unwrap() > 0,
            "{result}"
        );
    }

    let mut params = step("create_configuration");
    params["step"]["args"] = json!({"target_raid_config": {"logical_disks": [
        {"raid_level": "1", "size_gb": "MAX", "controller": "software"}]}});
    control.succeeds("clean.execute_clean_step", params).await;

    let (key, _directory, public) = machine::ssh_key();
    let refused = control
        .fails(
            "rescue.finalize_rescue",
            json!({"rescue_password": "plain"}),
        )
        .await;
    assert!(refused.contains("hashed"), "{refused}");
    control
        .succeeds("rescue.finalize_rescue", json!({"authorized_keys": public}))
        .await;
    machine.console_says("open for a rescue").await;
    let arrays = machine::ssh(control.ssh_port, &key, "cat /proc/mdstat").await;
    assert!(arrays.contains("md0 : active raid1"), "{arrays}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_ends_all_calls_and_the_console_says_so() {
    let control = ControlPlane::start(Script::Refuse).await;
    let mut machine = Machine::boot(&control, &[], None).await;
    machine
        .console_says("refused this server's token (401 Unauthorized")
        .await;
    machine
        .console_says("nothing more is done until the server is switched off")
        .await;
    assert_eq!(
        control.calls(),
        1,
        "after the refusal nothing is asked again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_control_plane_than_the_pinned_one_learns_nothing() {
    let control = ControlPlane::start(Script::Impostor).await;
    let mut machine = Machine::boot(&control, &[], None).await;
    machine.console_says("UnknownIssuer").await;
    assert_eq!(control.calls(), 0);
}
