//! Answers in the shapes of four vendors' BMCs, and each line of the table of quirks against them.
//!
//! `vendors/*.json` hold documents by path, written by hand after DMTF's schemas with what is commonly known of the vendors';
//! answers of a real server take their place when there are some.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::service::{Fault, Service};
use common::{limits, oddities, open_redfish, redfish_at};
use corten_bmc::{
    AttributeValue, Attributes, Bmc, BmcError, Boot, BootDevice, BootMode, Capability, Effect,
    FirmwareUpdate, Health, Indicator, Lasting, Limits, Link, Media, MediaKind, PowerAction,
    RedfishAddress, SensorKind, Severity, TaskState,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

async fn vendor(name: &str) -> (Arc<Service>, Arc<dyn Bmc>) {
    let path = format!("{}/tests/vendors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let documents: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let service = Service::start(documents).await;
    let bmc = redfish_at(&service.url);
    (service, bmc)
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::Text(value.to_owned())
}

fn iso(name: &str) -> Media {
    Media::new(format!("http://10.0.0.9/{name}.iso").parse().unwrap())
}

#[tokio::test]
async fn dell_tells_what_it_is_made_of() {
    let (_, bmc) = vendor("dell").await;
    let inventory = bmc.inventory().await.unwrap();
    let identity = &inventory.identity;
    assert_eq!(identity.sku.as_deref(), Some("7XK2Q33"));
    assert_eq!(identity.bmc_version.as_deref(), Some("5.10.30.00"));
    assert_eq!(identity.asset_tag, None);
    assert_eq!(inventory.memory_mib, Some(256 * 1024));
    assert_eq!(
        inventory.memory[0].part_number.as_deref(),
        Some("HMA84GR7CJR4N-XN")
    );
    // The second socket is empty.
    assert_eq!(inventory.processors.len(), 1);
    assert_eq!(inventory.processors[0].threads, Some(64));
    let links: Vec<(Link, Option<u64>)> = inventory
        .network_cards
        .iter()
        .map(|card| (card.link, card.speed_mbps))
        .collect();
    assert_eq!(links, [(Link::Up, Some(25000)), (Link::Unknown, None)]);
    assert_eq!(inventory.drives[0].capacity_bytes, Some(960_197_124_096));
    assert_eq!(
        inventory.drives[0].controller.as_deref(),
        Some("RAID.SL.3-1")
    );

    let firmware = bmc.firmware().await.unwrap();
    assert_eq!(
        (firmware[0].version.as_deref(), firmware[0].updateable),
        (Some("1.6.5"), Some(true))
    );
}

#[tokio::test]
async fn dell_has_sensors_and_a_log_of_its_hardware() {
    let (service, bmc) = vendor("dell").await;
    let sensors = bmc.sensors().await.unwrap();
    assert_eq!(sensors.health(), Some(Health::Critical));
    let fan = sensors.of(SensorKind::Fan).next().unwrap();
    assert_eq!(
        (fan.name.as_str(), fan.reading),
        ("System Board Fan1A", Some(6360.0))
    );
    let drive = sensors.of(SensorKind::Drive).next().unwrap();
    assert_eq!(drive.health, Some(Health::Warning));
    let ironic = sensors.ironic();
    assert_eq!(
        ironic["Power"]["PSU.Slot.2@System.Embedded.1"]["health"],
        "Critical"
    );

    let log = bmc.event_log().await.unwrap();
    let told: Vec<(&str, Severity)> = log
        .iter()
        .map(|entry| (entry.id.as_str(), entry.severity))
        .collect();
    // From two pages, oldest first; a severity that is not known is an oddity.
    assert_eq!(
        told,
        [
            ("1", Severity::Ok),
            ("2", Severity::Critical),
            ("3", Severity::Unknown)
        ]
    );
    assert!(oddities(&*bmc).contains("Severe"));
    bmc.clear_event_log().await.unwrap();
    assert!(
        service.document("/redfish/v1/Managers/iDRAC.Embedded.1/LogServices/Sel/Entries")["Members"]
            == json!([])
    );
}

#[tokio::test]
async fn dells_boot_mode_is_a_bios_setting_that_waits_and_can_be_taken_back() {
    let (service, bmc) = vendor("dell").await;
    assert_eq!(
        bmc.set_boot_mode(BootMode::Uefi).await.unwrap(),
        Effect::Now
    );
    assert_eq!(
        bmc.set_boot_mode(BootMode::Legacy).await.unwrap(),
        Effect::NextBoot
    );
    let bios = bmc.bios().await.unwrap();
    assert_eq!(bios.current["BootMode"], text("Uefi"));
    assert_eq!(
        bios.pending,
        Attributes::from([("BootMode".to_owned(), text("Bios"))])
    );
    let patched = service.asked_of("PATCH /redfish/v1/Systems/System.Embedded.1/Bios/Settings");
    assert!(
        patched[0].contains(r#""ApplyTime":"OnReset""#),
        "{patched:?}"
    );
    // It waits already.
    assert_eq!(
        bmc.set_boot_mode(BootMode::Legacy).await.unwrap(),
        Effect::NextBoot
    );
    assert_eq!(service.asked_of("PATCH").len(), 1);

    let job_service = "/redfish/v1/Managers/iDRAC.Embedded.1/Oem/Dell/DellJobService";
    bmc.clear_jobs().await.unwrap();
    let cleared = service.asked_of(&format!(
        "POST {job_service}/Actions/DellJobService.DeleteJobQueue"
    ));
    assert!(cleared[0].contains("JID_CLEARALL"), "{cleared:?}");
}

#[tokio::test]
async fn bios_attributes_are_checked_before_anything_is_sent() {
    let (service, bmc) = vendor("dell").await;
    let of = |name: &str, value| Attributes::from([(name.to_owned(), value)]);
    let error = bmc
        .set_bios(&of("bootmode", text("Uefi")))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("did you mean BootMode?"),
        "{error}"
    );
    let error = bmc
        .set_bios(&of("AcPwrRcvryUserDelay", text("60")))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a value like the one that it has, 60"),
        "{error}"
    );
    let error = bmc.set_bios(&Attributes::new()).await.unwrap_err();
    assert!(matches!(error, BmcError::Invalid { .. }), "{error}");
    assert!(service.asked_of("PATCH").is_empty());

    // A password shows nowhere, so that it was taken is all that can be known.
    let secret = of("SetupPassword", text("hunter2"));
    assert_eq!(bmc.set_bios(&secret).await.unwrap(), Effect::NextBoot);
    bmc.reset_bios().await.unwrap();
}

#[tokio::test]
async fn settings_that_are_taken_and_not_told_hold_from_the_next_boot() {
    let (service, bmc) = vendor("dell").await;
    let settings = "/redfish/v1/Systems/System.Embedded.1/Bios/Settings";
    service.set(settings, "/Attributes", json!(null));
    service
        .rules
        .lock()
        .unwrap()
        .ignored
        .insert("/Attributes".to_owned());
    let wanted = Attributes::from([("MemTest".to_owned(), text("Enabled"))]);
    assert_eq!(bmc.set_bios(&wanted).await.unwrap(), Effect::NextBoot);
    assert_eq!(service.asked_of(&format!("PATCH {settings}")).len(), 1);
    assert!(oddities(&*bmc).contains("what was set for the next boot"));
}

#[tokio::test]
async fn dells_virtual_media_is_its_managers() {
    let (service, bmc) = vendor("dell").await;
    let insert =
        "/redfish/v1/Managers/iDRAC.Embedded.1/VirtualMedia/CD/Actions/VirtualMedia.InsertMedia";
    let post = format!("POST {insert}");
    let refused = vec!["Inserted".to_owned()];
    service
        .rules
        .lock()
        .unwrap()
        .refused_keys
        .insert(insert.to_owned(), refused);
    let slot = bmc
        .insert_media(MediaKind::Cdrom, &iso("ramdisk"))
        .await
        .unwrap();
    assert_eq!((slot.id.as_str(), slot.inserted), ("CD", true));
    assert_eq!(service.asked_of(&post).len(), 2);

    // Again: it is there. Another one: the first goes out.
    bmc.insert_media(MediaKind::Cdrom, &iso("ramdisk"))
        .await
        .unwrap();
    assert_eq!(service.asked_of(&post).len(), 2);
    let slot = bmc
        .insert_media(MediaKind::Cdrom, &iso("rescue"))
        .await
        .unwrap();
    assert_eq!(slot.image.as_deref(), Some("http://10.0.0.9/rescue.iso"));

    bmc.eject_media(MediaKind::Cdrom).await.unwrap();
    bmc.eject_media(MediaKind::Cdrom).await.unwrap();
    assert!(bmc.media().await.unwrap().iter().all(|slot| !slot.inserted));
    assert_eq!(service.asked_of(&post.replace("Insert", "Eject")).len(), 2);
    let error = bmc
        .insert_media(MediaKind::Floppy, &iso("x"))
        .await
        .unwrap_err();
    assert!(matches!(error, BmcError::Lacks { .. }), "{error}");
}

#[tokio::test]
async fn dells_update_waits_for_a_boot() {
    let (service, bmc) = vendor("dell").await;
    let mut update = FirmwareUpdate {
        image: "https://10.0.0.9/BIOS_1.8.2.EXE".parse().unwrap(),
        targets: Vec::new(),
    };
    let task = bmc.update_firmware(&update).await.unwrap().unwrap();
    let asked = service.asked_of("POST /redfish/v1/UpdateService");
    assert!(
        asked[0].contains(r#""TransferProtocol":"HTTPS""#),
        "{asked:?}"
    );
    assert_eq!(bmc.task(&task).await.unwrap().state, TaskState::NeedsBoot);
    update.image = "ftp://10.0.0.9/BIOS.EXE".parse().unwrap();
    let error = bmc.update_firmware(&update).await.unwrap_err();
    assert!(
        error.to_string().contains("serve it by one of HTTP,"),
        "{error}"
    );
}

#[tokio::test]
async fn dells_secure_boot_is_set_for_the_next_boot() {
    let (_, bmc) = vendor("dell").await;
    bmc.set_secure_boot(true).await.unwrap();
    let seen = bmc.secure_boot().await.unwrap();
    assert_eq!((seen.enabled, seen.in_force), (true, Some(false)));
}

#[tokio::test]
async fn dell_boots_once_from_an_address() {
    let (service, bmc) = vendor("dell").await;
    let url = "http://10.0.0.9/boot.efi".parse().unwrap();
    let shown = bmc.set_boot_url(&url, Lasting::Once).await.unwrap();
    assert_eq!(
        (shown.device, shown.lasting),
        (BootDevice::Http, Lasting::Once)
    );
    let boot = &service.document("/redfish/v1/Systems/System.Embedded.1")["Boot"];
    assert_eq!(boot["HttpBootUri"], "http://10.0.0.9/boot.efi");
}

#[tokio::test]
async fn hpes_links_end_in_slashes_and_its_log_is_the_integrated_one() {
    let (service, bmc) = vendor("hpe").await;
    let inventory = bmc.inventory().await.unwrap();
    assert_eq!(
        inventory.identity.serial_number.as_deref(),
        Some("CZ2D1X0GS4")
    );
    assert_eq!(inventory.network_cards[0].link, Link::Down);
    let log = bmc.event_log().await.unwrap();
    assert_eq!((log.len(), log[0].severity), (1, Severity::Warning));

    let shown = bmc.set_boot(Boot::once(BootDevice::Cdrom)).await.unwrap();
    assert_eq!(
        (shown.device, shown.lasting),
        (BootDevice::Cdrom, Lasting::Once)
    );
    assert_eq!(
        bmc.set_boot_mode(BootMode::Legacy).await.unwrap(),
        Effect::NextBoot
    );
    assert_eq!(
        bmc.bios().await.unwrap().pending["BootMode"],
        text("LegacyBios")
    );
    bmc.insert_media(MediaKind::Cdrom, &iso("ramdisk"))
        .await
        .unwrap();
    bmc.set_indicator(Indicator::Lit).await.unwrap();
    assert_eq!(bmc.indicator().await.unwrap(), Indicator::Lit);
    bmc.set_power(PowerAction::SoftOff).await.unwrap();
    let asked = service.asked_of("POST /redfish/v1/Systems/1/Actions/ComputerSystem.Reset");
    assert!(
        asked[0].ends_with(r#"{"ResetType":"GracefulShutdown"}"#),
        "{asked:?}"
    );
    let error = bmc.set_secure_boot(true).await.unwrap_err();
    assert!(matches!(error, BmcError::Lacks { .. }), "{error}");
}

#[tokio::test]
async fn supermicros_virtual_cd_is_a_usb_drive_and_its_override_is_set_whole() {
    let (service, bmc) = vendor("supermicro").await;
    let needs = [
        "BootSourceOverrideTarget",
        "BootSourceOverrideEnabled",
        "BootSourceOverrideMode",
    ];
    service.rules.lock().unwrap().boot_needs = needs.map(str::to_owned).to_vec();
    let insert =
        "/redfish/v1/Managers/1/VirtualMedia/VirtualMedia1/Actions/VirtualMedia.InsertMedia";
    let refused = ["Inserted", "WriteProtected"].map(str::to_owned).to_vec();
    service
        .rules
        .lock()
        .unwrap()
        .refused_keys
        .insert(insert.to_owned(), refused);

    bmc.insert_media(MediaKind::Cdrom, &iso("ramdisk"))
        .await
        .unwrap();
    // Known from the table, not found out by trying.
    assert_eq!(service.asked_of(&format!("POST {insert}")).len(), 1);
    let shown = bmc.set_boot(Boot::once(BootDevice::Cdrom)).await.unwrap();
    assert_eq!(
        (shown.device, shown.mode),
        (BootDevice::Cdrom, Some(BootMode::Legacy))
    );
    let asked = service.asked_of("PATCH /redfish/v1/Systems/1 ");
    assert!(asked[0].contains("UsbCd"), "{asked:?}");
    let shown = bmc
        .set_boot(Boot::always(BootDevice::Default))
        .await
        .unwrap();
    assert_eq!(shown.device, BootDevice::Default);
    assert_eq!(
        bmc.set_boot_mode(BootMode::Uefi).await.unwrap(),
        Effect::NextBoot
    );
}

#[tokio::test]
async fn supermicros_actions_and_cards_are_told_elsewhere() {
    let (_, bmc) = vendor("supermicro").await;
    let capabilities = bmc.capabilities().await.unwrap();
    assert!(capabilities.has(Capability::Nmi));
    assert!(!capabilities.has(Capability::PowerCycle));
    assert!(!capabilities.has(Capability::SecureBoot));
    let inventory = bmc.inventory().await.unwrap();
    assert_eq!(inventory.network_cards[0].mac, "3c:ec:ef:00:00:01");
    let sensors = bmc.sensors().await.unwrap();
    assert_eq!(sensors.0[0].thresholds.upper_critical, Some(100.0));
    let log = bmc.event_log().await.unwrap();
    assert_eq!(log[0].subject.as_deref(), Some("Fan"));
}

#[tokio::test]
async fn lenovos_media_are_changed_as_documents() {
    let (service, bmc) = vendor("lenovo").await;
    // The system's own collection is empty; the manager's has two slots, with images that were forgotten in them.
    let slot = bmc
        .insert_media(MediaKind::Cdrom, &iso("ramdisk"))
        .await
        .unwrap();
    assert_eq!(slot.image.as_deref(), Some("http://10.0.0.9/ramdisk.iso"));
    assert_eq!(
        service
            .asked_of("PATCH /redfish/v1/Managers/1/VirtualMedia/EXT1")
            .len(),
        2
    );
    let inserted = bmc.media().await.unwrap();
    let inserted: Vec<_> = inserted.iter().filter(|slot| slot.inserted).collect();
    assert_eq!(inserted, [&slot]);
    bmc.eject_media(MediaKind::Cdrom).await.unwrap();
    assert!(bmc.media().await.unwrap().iter().all(|slot| !slot.inserted));
}

#[tokio::test]
async fn lenovos_other_ways() {
    let (service, bmc) = vendor("lenovo").await;
    bmc.set_indicator(Indicator::Blinking).await.unwrap();
    assert_eq!(
        service.document("/redfish/v1/Systems/1")["LocationIndicatorActive"],
        true
    );
    assert_eq!(
        bmc.set_boot_mode(BootMode::Legacy).await.unwrap(),
        Effect::NextBoot
    );
    assert_eq!(
        bmc.event_log().await.unwrap()[0].subject.as_deref(),
        Some("FQXSPPW0008I")
    );
    let drives = bmc.inventory().await.unwrap().drives;
    assert_eq!(drives[0].capacity_bytes, Some(480_103_981_056));
    assert_eq!(drives[1].capacity_bytes, None);
    // Only what has not ended is taken back.
    bmc.clear_jobs().await.unwrap();
    assert_eq!(service.asked_of("DELETE").len(), 1);
    assert!(service.asked_of("DELETE")[0].contains("Tasks/2"));
    bmc.clear_jobs().await.unwrap();
}

#[tokio::test]
async fn media_that_the_bmc_says_it_took_and_does_not_show_are_found_out() {
    let (service, _) = vendor("lenovo").await;
    let short = Limits {
        settle: Duration::from_millis(200),
        ..limits()
    };
    let bmc = open_redfish(RedfishAddress::new(&service.url).unwrap(), short);
    bmc.eject_media(MediaKind::Cdrom).await.unwrap();
    service
        .rules
        .lock()
        .unwrap()
        .ignored
        .insert("/Inserted".to_owned());
    let error = bmc
        .insert_media(MediaKind::Cdrom, &iso("ramdisk"))
        .await
        .unwrap_err();
    assert!(matches!(error, BmcError::NotAsAsked { .. }), "{error}");
    let action = "/redfish/v1/Managers/1/VirtualMedia/EXT1";
    let mut media = iso("rescue");
    media.username = Some("fetcher".to_owned());
    media.password = Some("hunter2".into());
    for _ in 0..3 {
        let complaint = "fetcher:hunter2 was not let in".to_owned();
        service.next(&format!("PATCH {action}"), Fault::Refuse(500, complaint));
    }
    let error = bmc
        .insert_media(MediaKind::Cdrom, &media)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("fetcher:… was not let in"),
        "{error}"
    );
    let secret = Media::new("http://root:calvin@10.0.0.9/x.iso".parse().unwrap());
    let error = bmc
        .insert_media(MediaKind::Cdrom, &secret)
        .await
        .unwrap_err();
    assert!(!format!("{error} {error:?}").contains("calvin"), "{error}");
}
