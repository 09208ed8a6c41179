//! Software RAID over a restart: the array that was made is there, is the root disk, and an image is written to it.

use super::control_plane::{ControlPlane, Script};
use super::machine::{Disk, Machine};
use super::{MIB, OLD, image, image_info, step};
use corten_ramdisk::protocol::{EraseRecord, Growth, WriteRecord};
use serde_json::{Value, json};

/// Large enough to be the root disk without a hint.
const DISK: u64 = 5 << 30;

/// An image with boot code and the older kind of partition table, whose only partition is 20 MiB long.
fn image_with_mbr() -> Vec<u8> {
    let mut bytes = image();
    bytes[..MIB].fill(0);
    bytes[0] = 0xeb;
    bytes[446..462].copy_from_slice(&[0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 160, 0, 0]);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_outlives_a_restart_and_is_the_root_disk() {
    let (first, second) = (
        Disk::blank(DISK, "first"),
        Disk::beginning_with(OLD, DISK, "second"),
    );
    makes_array(&first, &second).await;

    let control = ControlPlane::start(Script::Welcome).await;
    let mut machine = Machine::boot(&control, &[&first, &second], None).await;
    let inspection = machine.until(control.inspection()).await;
    let disks: Vec<(&str, &str)> = inspection
        .inventory
        .disks
        .iter()
        .map(|disk| (disk.name.as_str(), disk.tran.as_deref().unwrap()))
        .collect();
    assert_eq!(
        disks,
        [
            ("/dev/md0", "md"),
            ("/dev/vda", "virtio"),
            ("/dev/vdb", "virtio")
        ]
    );
    machine.until(control.heartbeat()).await;
    writes_image(&control, &first, &second).await;
    erases_members(&control).await;
    control.succeeds("standby.power_off", json!({})).await;
    machine.ends().await;
    for disk in [&first, &second] {
        assert!(
            disk.beginning(MIB).iter().all(|byte| *byte == 0),
            "{} is not erased",
            disk.serial
        );
    }
}

async fn makes_array(first: &Disk, second: &Disk) {
    let control = ControlPlane::start(Script::Welcome).await;
    let mut machine = Machine::boot(&control, &[first, second], None).await;
    machine.until(control.heartbeat()).await;
    let mut params = step("create_configuration");
    params["step"]["args"] = json!({"target_raid_config": {"logical_disks": [{
        "raid_level": "1", "size_gb": "MAX", "controller": "software", "number_of_physical_disks": 2,
        "volume_name": "system", "is_root_volume": true}]}});
    let result = control
        .succeeds("clean.execute_clean_step", params.clone())
        .await;
    let made = &result["clean_result"]["logical_disks"][0];
    assert_eq!(made["size_gb"], 4, "{made}");
    assert_eq!(made["volume_name"], "system");
    assert_eq!(made["root_device_hint"], json!({"name": "/dev/md0"}));
    let members: Vec<&Value> = made["physical_disks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|disk| &disk["serial"])
        .collect();
    assert_eq!(members, ["first", "second"]);
    let refused = control.fails("clean.execute_clean_step", params).await;
    assert!(refused.contains("delete_configuration"), "{refused}");

    control.succeeds("standby.run_image", json!({})).await;
    machine.ends().await;
}

/// Nothing says which disk is the root disk.
async fn writes_image(control: &ControlPlane, first: &Disk, second: &Disk) {
    let raw = image_with_mbr();
    control.serve_image("mbr", raw.clone());
    let mut info = image_info(control, "mbr", &raw);
    info["grow"] = true.into();
    // "an iso", gzipped.
    let drive = "H4sIAAAAAAACA0vMU8gszgcAHb1DagYAAAA=";
    let params = json!({"image_info": info, "configdrive": drive});
    let result = control.succeeds("standby.prepare_image", params).await;
    let record: WriteRecord = serde_json::from_value(result["record"].clone()).unwrap();
    assert_eq!(record.device, "md0");
    assert!(
        matches!(record.growth, Some(Growth::Grown { partition: 1, size_bytes }) if size_bytes > 4 << 30),
        "{record:?}"
    );
    control.succeeds("standby.sync", json!({})).await;
    // What firmware finds on each member is the image.
    for disk in [first, second] {
        let content = disk.beginning(raw.len());
        assert!(
            content[..446] == raw[..446],
            "{} has no boot code",
            disk.serial
        );
        assert_eq!(content[446 + 16 + 4], 0x83, "there is no config drive");
        assert!(
            content[510..] == raw[510..],
            "{} does not hold the image",
            disk.serial
        );
    }
    control
        .succeeds("image.install_bootloader", json!({}))
        .await;
}

async fn erases_members(control: &ControlPlane) {
    let result = control
        .succeeds("clean.execute_clean_step", step("erase_devices"))
        .await;
    let records: Vec<EraseRecord> = serde_json::from_value(result["clean_result"].clone()).unwrap();
    let mut erased: Vec<&str> = records
        .iter()
        .filter(|record| record.erased())
        .filter_map(|record| record.serial.as_deref())
        .collect();
    erased.sort_unstable();
    assert_eq!(erased, ["first", "second"]);
}
