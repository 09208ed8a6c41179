//! Redfish over the wire (K157): OpenStack's `sushy-emulator`, with TLS and a password, in front of QEMU machines.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::child::wait_until;
use common::oddities;
use common::sushy::Sushy;
use corten_bmc::{
    Address, AttributeValue, Attributes, BmcError, Boot, BootDevice, BootMode, Capability,
    Credentials, Effect, FirmwareUpdate, Health, Indicator, Lasting, Link, Media, MediaKind,
    PowerAction, PowerState, SensorKind, TaskState, change_power, follow, open,
};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_power_of_a_qemu_machine_and_its_boot_device_follow() {
    let sushy = Sushy::start().await;
    let bmc = sushy.bmc();
    assert_eq!(bmc.power().await.unwrap(), PowerState::Off);
    change_power(&*bmc, PowerAction::On, LIMIT).await.unwrap();
    let machine = sushy.machine().unwrap();
    change_power(&*bmc, PowerAction::On, LIMIT).await.unwrap();
    assert_eq!(sushy.machine(), Some(machine));
    bmc.set_power(PowerAction::Reboot).await.unwrap();
    wait_until("the machine is another", LIMIT, async || {
        sushy.machine().is_some_and(|now| now != machine)
    })
    .await;
    bmc.set_power(PowerAction::Nmi).await.unwrap();
    change_power(&*bmc, PowerAction::Off, LIMIT).await.unwrap();
    assert_eq!(sushy.machine(), None);
    // It lists no power cycle, and would answer that it had done one.
    change_power(&*bmc, PowerAction::On, LIMIT).await.unwrap();
    let error = bmc.set_power(PowerAction::Cycle).await.unwrap_err();
    assert!(
        matches!(
            error,
            BmcError::Lacks {
                capability: Capability::PowerCycle,
                ..
            }
        ),
        "{error}"
    );
    change_power(&*bmc, PowerAction::Off, LIMIT).await.unwrap();

    // This BMC knows no "once": what it shows is what is returned.
    let shown = bmc.set_boot(Boot::once(BootDevice::Network)).await.unwrap();
    assert_eq!(
        (shown.device, shown.lasting),
        (BootDevice::Network, Lasting::Always)
    );
    assert!(
        oddities(&*bmc).contains("expected Once, as was set, found Always"),
        "{}",
        oddities(&*bmc)
    );
    assert_eq!(bmc.boot().await.unwrap().device, BootDevice::Network);
    let shown = bmc
        .set_boot(Boot::always(BootDevice::Disk).in_mode(BootMode::Uefi))
        .await
        .unwrap();
    assert_eq!(
        (shown.device, shown.mode),
        (BootDevice::Disk, Some(BootMode::Uefi))
    );
    // Which kind of network boot is the firmware's matter.
    let shown = bmc.set_boot(Boot::once(BootDevice::Http)).await.unwrap();
    assert_eq!(shown.device, BootDevice::Network);
    assert_eq!(
        bmc.set_boot_mode(BootMode::Legacy).await.unwrap(),
        Effect::Now
    );
    // It always has one, so it does not take it back.
    let none = Boot::always(BootDevice::Default);
    let error = bmc.set_boot(none).await.unwrap_err();
    assert!(matches!(error, BmcError::Refused { .. }), "{error}");
    let url = "http://10.0.0.1/boot.efi".parse().unwrap();
    let error = bmc.set_boot_url(&url, Lasting::Once).await.unwrap_err();
    assert!(error.to_string().contains("use virtual media"), "{error}");
    let error = bmc
        .set_boot(Boot::once(BootDevice::Floppy))
        .await
        .unwrap_err();
    assert!(matches!(error, BmcError::Lacks { .. }), "{error}");
}

#[tokio::test]
async fn a_qemu_machine_boots_from_virtual_media() {
    let sushy = Sushy::start().await;
    let bmc = sushy.bmc();
    // Without media, this BMC fails at the override.
    let error = bmc
        .set_boot(Boot::once(BootDevice::Cdrom))
        .await
        .unwrap_err();
    assert!(matches!(error, BmcError::Failed { .. }), "{error}");

    let media = Media::new(sushy.serve_iso().await);
    let slot = bmc.insert_media(MediaKind::Cdrom, &media).await.unwrap();
    assert_eq!(slot.image.as_deref(), Some(media.image.as_str()));
    bmc.insert_media(MediaKind::Cdrom, &media).await.unwrap();
    let shown = bmc.set_boot(Boot::once(BootDevice::Cdrom)).await.unwrap();
    assert_eq!(shown.device, BootDevice::Cdrom);
    change_power(&*bmc, PowerAction::On, LIMIT).await.unwrap();
    // By its effect: the sector on the disc ran.
    wait_until("the disc is booted", LIMIT, async || {
        sushy.serial().contains('R')
    })
    .await;
    change_power(&*bmc, PowerAction::Off, LIMIT).await.unwrap();

    bmc.eject_media(MediaKind::Cdrom).await.unwrap();
    bmc.eject_media(MediaKind::Cdrom).await.unwrap();
    assert!(bmc.media().await.unwrap().iter().all(|slot| !slot.inserted));
    let nowhere = Media::new("http://127.0.0.1:1/none.iso".parse().unwrap());
    let error = bmc
        .insert_media(MediaKind::Cdrom, &nowhere)
        .await
        .unwrap_err();
    assert!(
        matches!(error, BmcError::Failed { .. } | BmcError::Refused { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn settings_inventory_and_firmware_of_a_qemu_machine() {
    let sushy = Sushy::start().await;
    let bmc = sushy.bmc();
    let capabilities = bmc.capabilities().await.unwrap();
    for has in [
        Capability::VirtualMedia,
        Capability::BiosSettings,
        Capability::SecureBoot,
        Capability::FirmwareUpdate,
        Capability::Nmi,
    ] {
        assert!(capabilities.has(has), "{has}");
    }
    for has_not in [
        Capability::EventLog,
        Capability::PowerCycle,
        Capability::FirmwareInventory,
    ] {
        assert!(!capabilities.has(has_not), "{has_not}");
    }

    let off = AttributeValue::Text("Disabled".to_owned());
    let wanted = Attributes::from([("ProcTurboMode".to_owned(), off.clone())]);
    assert_eq!(bmc.set_bios(&wanted).await.unwrap(), Effect::Now);
    assert_eq!(bmc.bios().await.unwrap().current["ProcTurboMode"], off);
    bmc.reset_bios().await.unwrap();
    assert_ne!(bmc.bios().await.unwrap().current["ProcTurboMode"], off);

    let uefi = Boot::always(BootDevice::Disk).in_mode(BootMode::Uefi);
    bmc.set_boot(uefi).await.unwrap();
    let url = sushy.serve_iso().await;
    let shown = bmc.set_boot_url(&url, Lasting::Always).await.unwrap();
    // This BMC boots it as a disc, and shows it so.
    assert_eq!(shown.device, BootDevice::Cdrom);
    let told = oddities(&*bmc);
    assert!(
        told.contains("expected Http, as was set, found Cdrom"),
        "{told}"
    );
    bmc.set_secure_boot(true).await.unwrap();
    assert!(bmc.secure_boot().await.unwrap().enabled);
    bmc.set_secure_boot(false).await.unwrap();
    assert!(!bmc.secure_boot().await.unwrap().enabled);

    bmc.set_indicator(Indicator::Lit).await.unwrap();
    assert_eq!(bmc.indicator().await.unwrap(), Indicator::Lit);

    let inventory = bmc.inventory().await.unwrap();
    assert_eq!(
        inventory.identity.manufacturer.as_deref(),
        Some("Sushy Emulator")
    );
    let card = &inventory.network_cards[0];
    assert_eq!(
        (card.mac.as_str(), card.link),
        ("52:54:00:77:00:02", Link::Unknown)
    );
    assert_eq!(inventory.processors.len(), 2);
    assert!(
        sushy
            .system
            .ends_with(inventory.identity.uuid.as_deref().unwrap())
    );
    // It links to a collection of memory that it has not.
    assert!(
        oddities(&*bmc).contains("/Memory: expected a document, found status 404"),
        "{}",
        oddities(&*bmc)
    );

    let sensors = bmc.sensors().await.unwrap();
    assert_eq!(sensors.health(), Some(Health::Ok));
    assert_eq!(sensors.of(SensorKind::Fan).count(), 2);

    let before = inventory.identity.bios_version.unwrap();
    let update = FirmwareUpdate {
        image: "http://127.0.0.1:1/bios.bin".parse().unwrap(),
        targets: vec![sushy.system.clone()],
    };
    let task = bmc.update_firmware(&update).await.unwrap().unwrap();
    assert_eq!(
        follow(&*bmc, &task, LIMIT).await.unwrap().state,
        TaskState::Completed
    );
    assert_ne!(
        bmc.inventory()
            .await
            .unwrap()
            .identity
            .bios_version
            .unwrap(),
        before
    );

    let error = bmc.event_log().await.unwrap_err();
    assert!(
        matches!(
            error,
            BmcError::Lacks {
                capability: Capability::EventLog,
                ..
            }
        ),
        "{error}"
    );
    let wrong = Credentials::new(common::USERNAME, "hunter2");
    let stranger = open(Address::Redfish(sushy.address()), wrong, common::limits()).unwrap();
    let error = stranger.power().await.unwrap_err();
    assert!(matches!(error, BmcError::LoginRefused { .. }), "{error}");
}
