//! The simulated Redfish service, driven by Corten's own client: what is asked holds, waits and breaks as at a real BMC.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bmcs;

use bmcs::{Rack, limits, text};
use corten_bmc::{
    Attributes, BmcError, Boot, BootDevice, BootMode, Capability, Effect, FirmwareUpdate,
    Indicator, Lasting, Limits, Media, MediaKind, PowerAction, PowerState, SensorKind, Severity,
    TaskState, change_power, follow,
};
use corten_sim::redfish::{Fault, On, Shape};
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn iso(name: &str) -> Media {
    Media::new(format!("http://10.0.0.9/{name}.iso").parse().unwrap())
}

#[tokio::test]
async fn power_is_switched_and_an_override_for_one_boot_is_used_up() {
    let rack = Rack::start(&["standard"]).await;
    let (node, bmc) = rack.node("1");
    assert_eq!(bmc.power().await.unwrap(), PowerState::Off);
    let error = bmc.set_power(PowerAction::Reboot).await.unwrap_err();
    assert!(matches!(error, BmcError::Invalid { .. }), "{error}");

    let shown = bmc.set_boot(Boot::once(BootDevice::Cdrom)).await.unwrap();
    assert_eq!(
        (shown.device, shown.lasting),
        (BootDevice::Cdrom, Lasting::Once)
    );
    change_power(&*bmc, PowerAction::On, SOON).await.unwrap();
    assert_eq!(node.booted_from(), Some(BootDevice::Cdrom));
    assert_eq!(bmc.boot().await.unwrap().device, BootDevice::Default);

    bmc.set_boot(Boot::always(BootDevice::Disk)).await.unwrap();
    for action in [
        PowerAction::Reboot,
        PowerAction::SoftReboot,
        PowerAction::Cycle,
        PowerAction::Nmi,
    ] {
        change_power(&*bmc, action, SOON).await.unwrap();
    }
    assert_eq!(node.boots(), 4);
    let kept = bmc.boot().await.unwrap();
    assert_eq!(
        (kept.device, kept.lasting),
        (BootDevice::Disk, Lasting::Always)
    );
    change_power(&*bmc, PowerAction::SoftOff, SOON)
        .await
        .unwrap();
    assert_eq!(bmc.oddities(), []);
}

#[tokio::test]
async fn firmware_boots_from_an_address_that_the_bmc_was_given() {
    let rack = Rack::start(&["standard"]).await;
    let (node, bmc) = rack.node("1");
    let url = "http://10.0.0.9/ramdisk.efi".parse().unwrap();
    let shown = bmc.set_boot_url(&url, Lasting::Once).await.unwrap();
    assert_eq!(shown.device, BootDevice::Http);
    bmc.set_power(PowerAction::On).await.unwrap();
    assert_eq!(node.booted_from(), Some(BootDevice::Http));
}

#[tokio::test]
async fn bios_settings_wait_for_a_boot_and_can_be_taken_back() {
    let rack = Rack::start(&["standard"]).await;
    let (_, bmc) = rack.node("1");
    let wanted = Attributes::from([("LogicalProc".to_owned(), text("Disabled"))]);
    assert_eq!(bmc.set_bios(&wanted).await.unwrap(), Effect::NextBoot);
    let bios = bmc.bios().await.unwrap();
    assert_eq!(bios.current["LogicalProc"], text("Enabled"));
    assert_eq!(bios.pending, wanted);
    bmc.clear_jobs().await.unwrap();
    assert_eq!(bmc.bios().await.unwrap().pending, Attributes::new());

    bmc.set_bios(&wanted).await.unwrap();
    change_power(&*bmc, PowerAction::On, SOON).await.unwrap();
    let bios = bmc.bios().await.unwrap();
    assert_eq!(
        (bios.current["LogicalProc"].clone(), bios.pending),
        (text("Disabled"), Attributes::new())
    );

    bmc.reset_bios().await.unwrap();
    change_power(&*bmc, PowerAction::Reboot, SOON)
        .await
        .unwrap();
    assert_eq!(
        bmc.bios().await.unwrap().current["LogicalProc"],
        text("Enabled")
    );
}

#[tokio::test]
async fn secure_boot_holds_from_the_next_boot_on() {
    let rack = Rack::start(&["standard"]).await;
    let (_, bmc) = rack.node("1");
    bmc.set_secure_boot(true).await.unwrap();
    assert_eq!(bmc.secure_boot().await.unwrap().in_force, Some(false));
    bmc.set_power(PowerAction::On).await.unwrap();
    assert_eq!(bmc.secure_boot().await.unwrap().in_force, Some(true));
    // Not of a server that boots in legacy mode.
    bmc.set_secure_boot(false).await.unwrap();
    bmc.set_boot_mode(BootMode::Legacy).await.unwrap();
    let error = bmc.set_secure_boot(true).await.unwrap_err();
    assert!(error.to_string().contains("legacy mode"), "{error}");
}

#[tokio::test]
async fn firmware_is_updated_by_a_task_that_ends() {
    let rack = Rack::start(&["standard", "standard"]).await;
    let (_, bmc) = rack.node("2");
    let version = async |part: &str| {
        let items = bmc.firmware().await.unwrap();
        let item = items
            .into_iter()
            .find(|item| item.id.ends_with(part))
            .unwrap();
        (item.id, item.version.unwrap())
    };
    let update = |target: &str, image: &str| FirmwareUpdate {
        image: format!("http://10.0.0.9/{image}").parse().unwrap(),
        targets: vec![target.to_owned()],
    };
    let (target, old) = version("2-bmc").await;
    assert_eq!(old, "1.0.0");
    let task = bmc
        .update_firmware(&update(&target, "bmc-2.3.1.bin"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(version("2-bmc").await.1, "1.0.0");
    let first = bmc.task(&task).await.unwrap();
    assert_eq!((first.state, first.percent), (TaskState::Running, Some(50)));
    let end = follow(&*bmc, &task, SOON).await.unwrap();
    assert_eq!(end.state, TaskState::Completed);
    assert_eq!(version("2-bmc").await.1, "2.3.1");
    assert_eq!(version("1-bmc").await.1, "1.0.0");

    // The BIOS of a server that runs is the old one until it is booted.
    bmc.set_power(PowerAction::On).await.unwrap();
    let (target, _) = version("2-bios").await;
    let task = bmc
        .update_firmware(&update(&target, "bios-1.9.0.cap"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        follow(&*bmc, &task, SOON).await.unwrap().state,
        TaskState::NeedsBoot
    );
    assert_eq!(version("2-bios").await.1, "1.0.0");
    bmc.set_power(PowerAction::Reboot).await.unwrap();
    assert_eq!(
        follow(&*bmc, &task, SOON).await.unwrap().state,
        TaskState::Completed
    );
    assert_eq!(version("2-bios").await.1, "1.9.0");

    let task = bmc
        .update_firmware(&update(&target, "holiday.jpg"))
        .await
        .unwrap()
        .unwrap();
    let error = follow(&*bmc, &task, SOON).await.unwrap_err();
    assert!(error.to_string().contains("not of a known form"), "{error}");
}

#[tokio::test]
async fn sensors_follow_the_power() {
    for shape in ["standard", "supermicro"] {
        let rack = Rack::start(&[shape]).await;
        let (_, bmc) = rack.node("1");
        let reading = async |kind: SensorKind| {
            let sensors = bmc.sensors().await.unwrap();
            let readings: Vec<f64> = sensors
                .of(kind)
                .filter_map(|sensor| sensor.reading)
                .collect();
            readings
        };
        assert_eq!(reading(SensorKind::Fan).await, [0.0, 0.0]);
        bmc.set_power(PowerAction::On).await.unwrap();
        assert_eq!(reading(SensorKind::Fan).await, [6360.0, 6480.0]);
        assert!(reading(SensorKind::Temperature).await.contains(&58.0));
        assert_eq!(reading(SensorKind::Power).await, [212.0]);
        assert_eq!(reading(SensorKind::Drive).await.len(), 2);
    }
}

#[tokio::test]
async fn the_log_tells_what_happened_and_is_cleared() {
    let rack = Rack::start(&["standard"]).await;
    let (node, bmc) = rack.node("1");
    bmc.set_power(PowerAction::On).await.unwrap();
    node.log(
        rack.now(),
        Severity::Critical,
        "The memory module DIMM1 failed.",
    );
    let log = bmc.event_log().await.unwrap();
    let told: Vec<(&str, Severity)> = log
        .iter()
        .map(|entry| (entry.message.as_str(), entry.severity))
        .collect();
    let failed = ("The memory module DIMM1 failed.", Severity::Critical);
    assert_eq!(told, [("The server was started.", Severity::Ok), failed]);
    bmc.clear_event_log().await.unwrap();
    assert_eq!(bmc.event_log().await.unwrap(), []);
}

#[tokio::test]
async fn a_server_tells_what_it_is_made_of() {
    for shape in Shape::all() {
        let rack = Rack::start(&[shape.name()]).await;
        let (node, bmc) = rack.node("1");
        let inventory = bmc.inventory().await.unwrap();
        let real = corten_bmc::Bmc::inventory(&**node.machine()).await.unwrap();
        assert_eq!(inventory.memory_mib, real.memory_mib, "{}", shape.name());
        assert_eq!(inventory.memory.len(), 2);
        assert_eq!(inventory.processors[0].cores, real.processors[0].cores);
        assert_eq!(inventory.network_cards[0].mac, real.network_cards[0].mac);
        let serials = |all: &corten_bmc::Inventory| {
            let drives = all.drives.iter();
            drives
                .map(|drive| drive.serial_number.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(serials(&inventory), serials(&real));
        assert!(inventory.identity.bmc_version.is_some());
    }
}

#[tokio::test]
async fn each_makers_bmc_is_driven_by_its_quirks() {
    for name in ["dell", "hpe", "supermicro", "lenovo"] {
        let rack = Rack::start(&["standard", name]).await;
        let (node, bmc) = rack.node("2");
        let shown = bmc.set_boot(Boot::once(BootDevice::Cdrom)).await.unwrap();
        assert_eq!(shown.device, BootDevice::Cdrom, "{name}");
        let slot = bmc
            .insert_media(MediaKind::Cdrom, &iso("ramdisk"))
            .await
            .unwrap();
        assert_eq!(slot.image.as_deref(), Some("http://10.0.0.9/ramdisk.iso"));
        // Another one takes the place of the first.
        let slot = bmc
            .insert_media(MediaKind::Cdrom, &iso("rescue"))
            .await
            .unwrap();
        assert_eq!(slot.image.as_deref(), Some("http://10.0.0.9/rescue.iso"));
        change_power(&*bmc, PowerAction::On, SOON).await.unwrap();
        // Some refuse it, which is none.
        change_power(&*bmc, PowerAction::On, SOON).await.unwrap();
        assert_eq!(node.booted_from(), Some(BootDevice::Cdrom), "{name}");
        assert_eq!(node.boots(), 1);
        bmc.eject_media(MediaKind::Cdrom).await.unwrap();

        // Here the boot mode is a BIOS setting.
        assert_eq!(
            bmc.set_boot_mode(BootMode::Legacy).await.unwrap(),
            Effect::NextBoot,
            "{name}"
        );
        bmc.clear_jobs().await.unwrap();
        assert_eq!(
            bmc.bios().await.unwrap().pending,
            Attributes::new(),
            "{name}"
        );
        bmc.set_boot_mode(BootMode::Legacy).await.unwrap();
        change_power(&*bmc, PowerAction::Reboot, SOON)
            .await
            .unwrap();
        assert_eq!(
            bmc.boot().await.unwrap().mode,
            Some(BootMode::Legacy),
            "{name}"
        );
        let log = bmc.event_log().await.unwrap();
        assert_eq!(log.len(), 2, "{name}");
        bmc.set_indicator(Indicator::Blinking).await.unwrap();
        assert_eq!(bmc.indicator().await.unwrap(), Indicator::Blinking);
        let can = bmc.capabilities().await.unwrap();
        assert!(
            can.has(Capability::VirtualMedia) && can.has(Capability::BiosSettings),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_busy_slow_or_cut_bmc_is_asked_again() {
    let rack = Rack::start(&["standard"]).await;
    let (node, bmc) = rack.node("1");
    bmc.power().await.unwrap();
    for fault in [
        Fault::Status(503, Some(0)),
        Fault::Status(500, None),
        Fault::Cut,
        Fault::Truncated,
        Fault::Slow(Duration::from_millis(30)),
    ] {
        node.fail_next(1, fault.clone(), On::All);
        assert_eq!(bmc.power().await.unwrap(), PowerState::Off, "{fault:?}");
        assert_eq!(node.faults_left(), 0, "{fault:?}");
    }
    node.fail_until_mended(Fault::Status(503, Some(600)), On::Reads);
    let error = bmc.power().await.unwrap_err();
    assert!(
        matches!(error, BmcError::Busy { after: Some(after), .. } if after.as_secs() == 600),
        "{error}"
    );
    node.mend();
    bmc.power().await.unwrap();
}

#[tokio::test]
async fn a_reset_whose_answer_is_lost_was_done_once() {
    let rack = Rack::start(&["standard"]).await;
    let (node, bmc) = rack.node("1");
    bmc.power().await.unwrap();
    node.fail_next(1, Fault::Cut, On::Writes);
    bmc.set_power(PowerAction::On).await.unwrap_err();
    assert_eq!(node.boots(), 1);
    change_power(&*bmc, PowerAction::On, SOON).await.unwrap();
    assert_eq!(node.boots(), 1);

    let short = Limits {
        request: Duration::from_millis(200),
        patience: Duration::from_millis(400),
        ..limits()
    };
    let hasty = rack.open("1", short);
    hasty.power().await.unwrap();
    node.fail_next(1, Fault::Hang, On::Writes);
    let error = hasty.set_power(PowerAction::Reboot).await.unwrap_err();
    assert!(matches!(error, BmcError::TimedOut { .. }), "{error}");
    assert_eq!(node.boots(), 1);
}

#[tokio::test]
async fn a_bmc_that_lies_or_lets_nobody_in_is_found_out() {
    let rack = Rack::start(&["standard"]).await;
    let (node, bmc) = rack.node("1");
    node.fail_until_mended(Fault::PowerLies, On::All);
    let error = change_power(&*bmc, PowerAction::On, Duration::from_millis(300))
        .await
        .unwrap_err();
    assert!(matches!(error, BmcError::NotAsAsked { .. }), "{error}");
    node.mend();
    change_power(&*bmc, PowerAction::On, SOON).await.unwrap();

    node.fail_until_mended(Fault::WrongPassword, On::All);
    let error = bmc.power().await.unwrap_err();
    assert!(matches!(error, BmcError::LoginRefused { .. }), "{error}");
}

#[tokio::test]
async fn sessions_end_by_the_clock_and_are_renewed() {
    let rack = Rack::start(&["standard"]).await;
    let (_, bmc) = rack.node("1");
    bmc.power().await.unwrap();
    assert_eq!(rack.service.sessions_open(), 1);
    rack.pass(Duration::from_secs(1801));
    assert_eq!(rack.service.sessions_open(), 0);
    bmc.power().await.unwrap();
    assert_eq!(rack.service.sessions_open(), 1);
    bmc.close().await;
    assert_eq!(rack.service.sessions_open(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_two_thousand_nodes_on_one_port_answers() {
    const NODES: usize = 2000;
    let shapes: Vec<&str> = (0..NODES).map(|_| "standard").collect();
    let rack = Rack::start(&shapes).await;
    let many = Limits {
        connections: 64,
        ..limits()
    };
    let bmcs: Vec<_> = (1..=NODES)
        .map(|number| rack.open(&number.to_string(), many.clone()))
        .collect();
    // The first request of each logs in and looks round.
    for action in [Some(PowerAction::On), None] {
        let begin = tokio::time::Instant::now();
        let asked = bmcs.iter().map(|bmc| {
            let bmc = Arc::clone(bmc);
            tokio::spawn(async move {
                if let Some(action) = action {
                    bmc.set_power(action).await?;
                }
                bmc.power().await
            })
        });
        for answer in asked.collect::<Vec<_>>() {
            assert_eq!(answer.await.unwrap().unwrap(), PowerState::On);
        }
        let took = begin.elapsed();
        eprintln!("{NODES} nodes answered within {took:?}");
        assert!(took < Duration::from_secs(100), "{took:?}");
    }
    assert_eq!(rack.service.sessions_open(), NODES);
}
