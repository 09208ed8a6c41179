//! A machine of QEMU's behind OpenIPMI's simulated BMC (`ipmi_sim`): its power is a process, its serial port echoes.

use super::child::free_ports;
use super::ipmi_sim::{IpmiSim, Wiring};
use super::relay::relay;
use super::{credentials, limits};
use corten_bmc::{Address, Bmc, IpmiAddress, Limits, open};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// A boot sector that writes R to the first serial port, then whatever it reads from it.
const ECHO: [u8; 21] = [
    0xba, 0xf8, 0x03, 0xb0, b'R', 0xee, // dx = data; R
    0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb, // dx = status; until something came
    0xba, 0xf8, 0x03, 0xec, 0xee, // dx = data; in, out
    0xeb, 0xf1, // from the second line on
];

pub struct Sim {
    directory: TempDir,
    bmc: IpmiSim,
}

impl Sim {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let serial = relay().await;
        let [kcs] = free_ports();
        write_disk(&directory.path().join("echo.img"));
        let wiring = Wiring {
            start: &start(serial.qemu, kcs),
            serial: serial.bmc,
            lan: &format!("serial 15 127.0.0.1 {kcs} codec VM ipmb 0x20"),
            emulated: &emulated(),
        };
        let bmc = IpmiSim::start(directory.path(), wiring).await;
        Self { directory, bmc }
    }

    pub fn address(&self) -> Address {
        Address::Ipmi(IpmiAddress::new("127.0.0.1", self.bmc.port).unwrap())
    }

    pub fn bmc(&self) -> Arc<dyn Bmc> {
        self.bmc_within(limits())
    }

    pub fn bmc_within(&self, limits: Limits) -> Arc<dyn Bmc> {
        open(self.address(), credentials(), limits).unwrap()
    }

    /// The process that is the machine, if it has power.
    pub fn machine(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.at("vm.pid")).ok()?;
        let pid = pid.trim().parse().ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        String::from_utf8_lossy(&line)
            .contains("echo.img")
            .then_some(pid)
    }

    /// What the BMC did to the machine, as `set boot pxe`.
    pub fn calls(&self) -> String {
        fs::read_to_string(self.at("calls")).unwrap_or_default()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if let Some(pid) = self.machine() {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
    }
}

fn write_disk(path: &Path) {
    let mut disk = vec![0; 1 << 20];
    disk[..ECHO.len()].copy_from_slice(&ECHO);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(path, disk).unwrap();
}

/// The machine: a disk that echoes, and a BMC that its system can talk to.
fn start(serial: u16, kcs: u16) -> String {
    format!(
        r"qemu-system-x86_64 -M q35 -accel tcg -m 64 -display none -nic none -daemonize -pidfile vm.pid \
    -chardev socket,id=ipmi,host=127.0.0.1,port={kcs},reconnect=5 -device ipmi-bmc-extern,id=bmc,chardev=ipmi \
    -device isa-ipmi-kcs,bmc=bmc -chardev socket,id=serial,host=127.0.0.1,port={serial} -serial chardev:serial \
    -drive if=none,id=disk,format=raw,file=echo.img,readonly=on -device virtio-blk-pci,drive=disk \
    </dev/null >>qemu.log 2>&1
"
    )
}

/// A BMC with two sensors and one event.
fn emulated() -> String {
    let support = "1 1 0 000000000000000 000000000000000 000000000000000 000000000000000";
    let temperature = record(1, 0x07, 0x01, 1, 1, [60, 50, 45, 0, 5, 8], "Ambient Temp");
    let fan = record(2, 0x1d, 0x04, 0x12, 100, [0, 0, 0, 0, 3, 5], "FAN 1");
    format!(
        "mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
sel_enable 0x20 1000 0x0a
sensor_add 0x20 0 1 1 1
sensor_set_value 0x20 0 1 23 0
sensor_set_event_support 0x20 0 1 {support}
sensor_add 0x20 0 2 4 1
sensor_set_value 0x20 0 2 21 0
sensor_set_event_support 0x20 0 2 {support}
main_sdr_add 0x20 {temperature}
main_sdr_add 0x20 {fan}
sel_add 0x20 2 0 0x90 0x90 0x65 0x20 0 4 1 1 0x01 0x59 0x33 0x32
mc_enable 0x20
"
    )
}

/// A full sensor record (IPMI 2.0, table 43-1) of a linear sensor: its number, entity, type, unit, factor, thresholds and name.
fn record(
    number: u8,
    entity: u8,
    kind: u8,
    unit: u8,
    factor: u8,
    thresholds: [u8; 6],
    name: &str,
) -> String {
    let mut bytes = vec![
        0, 0, 0x51, 1, 0, 0x20, 0, number, entity, 1, 0x7f, 0x68, kind, 1,
    ];
    bytes.extend([0x80, 0x0a, 0x80, 0x0a, 0x3f, 0x3f, 0, unit, 0, 0, factor]);
    bytes.extend([0, 0, 0, 0, 0, 0, 25, 40, 10, 0xff, 0]);
    bytes.extend(thresholds);
    bytes.extend([1, 1, 0, 0, 0, 0xc0 | name.len() as u8]);
    bytes.extend(name.bytes());
    bytes[4] = (bytes.len() - 5) as u8;
    let words: Vec<String> = bytes.iter().map(|byte| format!("{byte:#x}")).collect();
    words.join(" ")
}
