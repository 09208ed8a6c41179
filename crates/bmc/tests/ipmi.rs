//! IPMI over the wire (K157): `ipmitool` against OpenIPMI's simulated BMC in front of QEMU machines.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::child::{free_ports, wait_until};
use common::sim::Sim;
use common::{PASSWORD, USERNAME, credentials, limits, oddities};
use corten_bmc::{
    Address, BmcError, Boot, BootDevice, Capability, Credentials, Health, Indicator, IpmiAddress,
    Lasting, Limits, MediaKind, PowerAction, PowerState, SensorKind, Severity, change_power, open,
    wait_for_power,
};
use std::fs;
use std::net::UdpSocket;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_power_of_a_qemu_machine_follows() {
    let sim = Sim::start().await;
    let bmc = sim.bmc();
    assert_eq!(bmc.power().await.unwrap(), PowerState::Off);
    let error = bmc.set_power(PowerAction::Reboot).await.unwrap_err();
    assert!(error.to_string().ends_with("turn it on"), "{error}");

    change_power(&*bmc, PowerAction::On, LIMIT).await.unwrap();
    let machine = sim.machine().unwrap();
    change_power(&*bmc, PowerAction::On, LIMIT).await.unwrap();
    assert_eq!(sim.machine(), Some(machine));

    bmc.set_power(PowerAction::Reboot).await.unwrap();
    assert!(sim.calls().contains("set reset"), "{}", sim.calls());
    change_power(&*bmc, PowerAction::SoftOff, LIMIT)
        .await
        .unwrap();
    assert!(sim.calls().contains("set shutdown"), "{}", sim.calls());
    wait_until("the machine ends", LIMIT, async || sim.machine().is_none()).await;

    change_power(&*bmc, PowerAction::On, LIMIT).await.unwrap();
    bmc.set_power(PowerAction::Cycle).await.unwrap();
    wait_until("the machine is another", LIMIT, async || {
        sim.machine().is_some_and(|now| now != machine)
    })
    .await;
    wait_for_power(&*bmc, PowerState::On, LIMIT).await.unwrap();
    change_power(&*bmc, PowerAction::Off, LIMIT).await.unwrap();
    wait_until("the machine ends", LIMIT, async || sim.machine().is_none()).await;
}

#[tokio::test]
async fn a_boot_device_is_set_and_read_back() {
    let sim = Sim::start().await;
    let bmc = sim.bmc();
    for (device, word) in [(BootDevice::Network, "pxe"), (BootDevice::Cdrom, "cdrom")] {
        let shown = bmc.set_boot(Boot::always(device)).await.unwrap();
        assert_eq!(shown.device, device);
        assert!(
            sim.calls().contains(&format!("set boot {word}")),
            "{}",
            sim.calls()
        );
        // It takes a device, but neither for how long nor in which mode: that is told, not hidden.
        assert_eq!(shown.lasting, Lasting::Once);
        assert!(oddities(&*bmc).contains("expected Always, as was set, found Once"));
    }
    bmc.set_boot(Boot::once(BootDevice::Default)).await.unwrap();
    assert_eq!(bmc.boot().await.unwrap().device, BootDevice::Default);
    let error = bmc
        .set_boot(Boot::once(BootDevice::Http))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            BmcError::Lacks {
                capability: Capability::BootDevice,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn sensors_the_event_log_and_labels_are_read() {
    let sim = Sim::start().await;
    let bmc = sim.bmc();
    assert!(
        bmc.capabilities()
            .await
            .unwrap()
            .has(Capability::SerialConsole)
    );
    let sensors = bmc.sensors().await.unwrap();
    assert_eq!(sensors.health(), Some(Health::Ok));
    let temperature = sensors.of(SensorKind::Temperature).next().unwrap();
    assert_eq!(
        (temperature.name.as_str(), temperature.reading),
        ("Ambient Temp", Some(23.0))
    );
    assert_eq!(temperature.thresholds.upper_critical, Some(50.0));
    let fan = sensors.of(SensorKind::Fan).next().unwrap();
    assert_eq!(
        (fan.reading, fan.unit.as_deref()),
        (Some(2100.0), Some("RPM"))
    );
    let ironic = sensors.ironic();
    assert_eq!(
        ironic["Temperature"]["Ambient Temp@7.1"]["reading_celsius"],
        23.0
    );

    let log = bmc.event_log().await.unwrap();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].severity, Severity::Critical, "{log:?}");
    // Its clock was never set.
    assert_eq!(log[0].created, None);
    assert!(
        log[0].message.contains("Upper Critical going high"),
        "{log:?}"
    );
    bmc.clear_event_log().await.unwrap();
    assert!(bmc.event_log().await.unwrap().is_empty());

    // It has no labels, which hides nothing else.
    let inventory = bmc.inventory().await.unwrap();
    assert_eq!(inventory.identity.manufacturer, None);
    assert_eq!(inventory.identity.bmc_version.as_deref(), Some("9.08"));
    assert!(inventory.identity.uuid.is_some());
    assert_eq!(
        bmc.firmware().await.unwrap()[0].version.as_deref(),
        Some("9.08")
    );
    bmc.set_indicator(Indicator::Blinking).await.unwrap();
    assert!(sim.calls().contains("set identify"), "{}", sim.calls());
    let error = bmc.indicator().await.unwrap_err();
    assert!(matches!(error, BmcError::Lacks { .. }), "{error}");
    let error = bmc.eject_media(MediaKind::Cdrom).await.unwrap_err();
    assert!(
        error.to_string().ends_with("boot over the network"),
        "{error}"
    );
    // Suite 17 is asked for first; this BMC has only 3.
    assert!(
        oddities(&*bmc).contains("cipher suite 17"),
        "{}",
        oddities(&*bmc)
    );
}

#[tokio::test]
async fn the_serial_console_of_a_qemu_machine_is_a_stream() {
    let sim = Sim::start().await;
    let bmc = sim.bmc();
    change_power(&*bmc, PowerAction::On, LIMIT).await.unwrap();
    let mut console = bmc.serial_console().await.unwrap();
    // What ipmitool itself would take for a command to end goes through as any other text.
    said_back(&mut *console, b"ping\r~.\n~?pong").await;

    // A second one gets it, though the first never said that it was done.
    drop(console);
    let mut console = bmc.serial_console().await.unwrap();
    said_back(&mut *console, b"again").await;
    // Meanwhile the BMC answers other questions.
    assert_eq!(bmc.power().await.unwrap(), PowerState::On);
}

/// Writes until the machine, once it has booted, writes the same back.
async fn said_back(console: &mut dyn corten_bmc::SerialStream, text: &[u8]) {
    let mut heard = Vec::new();
    let mut buffer = [0; 256];
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !heard.windows(text.len()).any(|part| part == text) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "heard {:?}",
            String::from_utf8_lossy(&heard)
        );
        console.write_all(text).await.unwrap();
        console.flush().await.unwrap();
        // A machine that is still starting hears nothing: it is told again.
        while let Ok(read) =
            tokio::time::timeout(Duration::from_millis(500), console.read(&mut buffer)).await
        {
            let read = read.unwrap();
            assert!(read > 0, "the console ended");
            heard.extend_from_slice(&buffer[..read]);
            if heard.windows(text.len()).any(|part| part == text) {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_from_silence() {
    let sim = Sim::start().await;
    for (username, password) in [(USERNAME, "hunter2"), ("nobody", PASSWORD)] {
        let credentials = Credentials::new(username, password);
        let error = open(sim.address(), credentials, limits())
            .unwrap()
            .power()
            .await
            .unwrap_err();
        assert!(matches!(error, BmcError::LoginRefused { .. }), "{error}");
        assert!(!error.is_transient());
        assert!(!format!("{error} {error:?}").contains(password));
    }
    let [port] = free_ports();
    let nobody = Address::Ipmi(IpmiAddress::new("127.0.0.1", port).unwrap());
    let error = open(nobody, credentials(), limits())
        .unwrap()
        .power()
        .await
        .unwrap_err();
    assert!(matches!(error, BmcError::Unreachable { .. }), "{error}");
    assert!(error.is_transient());
}

/// An `ipmitool` that runs.
struct Child {
    line: String,
    environment: String,
    /// Its lines `Name: value` of `/proc/PID/status`.
    status: String,
}

fn children_at(port: u16) -> Vec<Child> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let read = |process: &fs::DirEntry, file: &str| {
        let bytes = fs::read(process.path().join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    processes
        .map(|process| Child {
            line: read(&process, "cmdline"),
            environment: read(&process, "environ"),
            status: read(&process, "status"),
        })
        .filter(|child| {
            child.line.starts_with("ipmitool") && child.line.contains(&format!("-p {port} "))
        })
        .collect()
}

#[tokio::test]
async fn the_password_is_no_argument_and_a_child_does_not_outlive_its_limit() {
    // It takes what is sent and never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let address = Address::Ipmi(IpmiAddress::new("127.0.0.1", port).unwrap());
    let short = Limits {
        connect: Duration::from_secs(10),
        request: Duration::from_secs(2),
        ..limits()
    };
    let bmc = open(address, credentials(), short).unwrap();
    let asked = tokio::spawn(async move { bmc.power().await });
    wait_until("ipmitool runs", LIMIT, async || {
        !children_at(port).is_empty()
    })
    .await;
    let child = children_at(port).remove(0);
    assert!(!child.line.contains(PASSWORD), "{}", child.line);
    let pairs = child.environment.split_whitespace();
    let names: Vec<&str> = pairs.filter_map(|pair| pair.split('=').next()).collect();
    assert_eq!(names, ["IPMI_PASSWORD", "LC_ALL", "PATH", "TZ"]);
    // Whoever runs this, the child can do nothing that needs a privilege.
    assert!(child.status.contains("NoNewPrivs:\t1"), "{}", child.status);
    assert!(
        child.status.contains("CapEff:\t0000000000000000"),
        "{}",
        child.status
    );

    let error = asked.await.unwrap().unwrap_err();
    assert!(matches!(error, BmcError::TimedOut { .. }), "{error}");
    wait_until("ipmitool is gone", LIMIT, async || {
        children_at(port).is_empty()
    })
    .await;
}
