//! Servers on the lab's network: QEMU machines, each behind a BMC, with one disk and one network card.

use super::ipmi;
use super::ipmi_sim::IpmiSim;
use super::lab::run;
use super::libvirt::{Emulated, OVMF, prepare};
use super::{PASSWORD, USERNAME};
use corten_bmc::{
    Address, Boot, BootDevice, Credentials, Limits, PowerAction, RedfishAddress, Trust,
    change_power, open,
};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The least that is written to without a hint. Once erased, it takes all of that where the tests run.
const DISK_BYTES: u64 = 4 << 30;
const POWER_LIMIT: Duration = Duration::from_secs(60);
/// Our own ramdisk needs far less.
const MEMORY_MIB: u32 = 1024;
/// Whose machines libvirt runs.
const NOBODY: u32 = 65534;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    Uefi,
    /// It boots over HTTP, and not by PXE.
    UefiHttp,
    Bios,
}

enum Bmc {
    Redfish { emulated: Emulated, system: String },
    Ipmi(IpmiSim),
}

pub struct Server {
    pub mac: String,
    // Ends before its files are removed.
    bmc: Bmc,
    directory: TempDir,
}

/// The directory, the tap and the address of a new server whose disk is full of this.
fn begin(number: u8, on_disk: &str) -> (TempDir, String, String) {
    let directory = tempfile::Builder::new().prefix("metal").tempdir().unwrap();
    let tap = format!("srv{number}");
    run(&format!(
        "ip tuntap add {tap} mode tap user {NOBODY}
         ip link set {tap} master br0 up"
    ));
    prepare(directory.path());
    let path = directory.path().join("home/disk.img");
    let content: Vec<u8> = on_disk.bytes().cycle().take(64 << 20).collect();
    fs::write(&path, content).unwrap();
    let disk = File::options().write(true).open(&path).unwrap();
    disk.set_len(DISK_BYTES).unwrap();
    let mac = format!("52:54:00:77:00:{number:02x}");
    (directory, tap, mac)
}

impl Server {
    /// Behind `sushy-emulator`.
    pub async fn start(number: u8, firmware: Firmware, on_disk: &str) -> Self {
        Self::with_memory(number, firmware, on_disk, MEMORY_MIB).await
    }

    /// The same, with so much memory.
    pub async fn with_memory(
        number: u8,
        firmware: Firmware,
        on_disk: &str,
        memory_mib: u32,
    ) -> Self {
        let (directory, tap, mac) = begin(number, on_disk);
        let root = directory.path();
        let uuid = format!("c7a5fdbd-edaf-4455-926a-0000000000{number:02}");
        let domain = domain(root, &uuid, &mac, &tap, firmware, memory_mib);
        let bmc = Bmc::Redfish {
            emulated: Emulated::start(root, &domain).await,
            system: format!("/redfish/v1/Systems/{uuid}"),
        };
        Self {
            mac,
            bmc,
            directory,
        }
    }

    /// With BIOS, behind `ipmi_sim`.
    pub async fn behind_ipmi(number: u8, on_disk: &str) -> Self {
        let (directory, tap, mac) = begin(number, on_disk);
        let bmc = Bmc::Ipmi(ipmi::server(directory.path(), &mac, &tap).await);
        Self {
            mac,
            bmc,
            directory,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn driver(&self) -> &'static str {
        match self.bmc {
            Bmc::Redfish { .. } => "redfish",
            Bmc::Ipmi(_) => "ipmi",
        }
    }

    /// What an operator writes into the node's record.
    pub fn driver_info(&self) -> Value {
        match &self.bmc {
            Bmc::Redfish { emulated, system } => json!({
                "redfish_address": emulated.url,
                "redfish_system_id": system,
                "redfish_username": USERNAME,
                "redfish_password": PASSWORD,
                "redfish_verify_ca": emulated.certificate,
            }),
            Bmc::Ipmi(sim) => json!({
                "ipmi_address": "127.0.0.1",
                "ipmi_port": sim.port,
                "ipmi_username": USERNAME,
                "ipmi_password": PASSWORD,
                "ipmi_cipher_suite": 3,
            }),
        }
    }

    /// Has its BMC boot it from the network, as a person would who does not know what will come.
    pub async fn boot_from_network(&self) {
        let Bmc::Redfish { emulated, system } = &self.bmc else {
            panic!("not by IPMI");
        };
        let trust = Trust::Authority(emulated.certificate.clone());
        let address = RedfishAddress::new(&emulated.url).unwrap();
        let address = Address::Redfish(address.with_system(system.clone()).with_trust(trust));
        let credentials = Credentials::new(USERNAME, PASSWORD);
        let bmc = open(address, credentials, Limits::default()).unwrap();
        bmc.set_boot(Boot::once(BootDevice::Network)).await.unwrap();
        change_power(bmc.as_ref(), PowerAction::On, POWER_LIMIT)
            .await
            .unwrap();
        bmc.close().await;
    }

    /// What the server wrote to its serial port.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.path("home/serial")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether its disk holds this text. Zeroes end lines, so that a disk full of them is read quickly.
    pub fn disk_holds(&self, text: &str) -> bool {
        let found = Command::new("grep")
            .args(["-z", "-a", "-q", "-F", "-e", text])
            .arg(self.path("home/disk.img"))
            .env("LC_ALL", "C")
            .status()
            .unwrap();
        found.success()
    }

    /// The process that is the machine, if it has power.
    pub fn machine(&self) -> Option<u32> {
        let disk = self.path("home/disk.img");
        let disk = disk.to_str().unwrap();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
        pids.find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
            program.ends_with(b"qemu-system-x86_64")
                && String::from_utf8_lossy(&line).contains(disk)
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = self.machine() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

fn domain(
    root: &Path,
    uuid: &str,
    mac: &str,
    tap: &str,
    firmware: Firmware,
    memory_mib: u32,
) -> String {
    let home = root.join("home");
    let home = home.display();
    let loader = match firmware {
        Firmware::Bios => String::new(),
        Firmware::Uefi | Firmware::UefiHttp => format!(
            "<loader readonly='yes' type='pflash' secure='no'>{OVMF}/OVMF_CODE_4M.fd</loader>
<nvram template='{OVMF}/OVMF_VARS_4M.fd'>{home}/vars.fd</nvram>"
        ),
    };
    // The firmware's own network stack in place of QEMU's iPXE, and of its ways to boot the one over HTTP.
    let (rom, settings) = match firmware {
        Firmware::UefiHttp => (
            "<rom enabled='no'/>",
            "<qemu:commandline>
<qemu:arg value='-fw_cfg'/><qemu:arg value='name=opt/org.tianocore/IPv4PXESupport,string=n'/>
<qemu:arg value='-fw_cfg'/><qemu:arg value='name=opt/org.tianocore/IPv6PXESupport,string=n'/>
</qemu:commandline>",
        ),
        Firmware::Uefi | Firmware::Bios => ("", ""),
    };
    format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<name>server</name><uuid>{uuid}</uuid><memory unit='MiB'>{memory_mib}</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type>{loader}<boot dev='hd'/></os>
<features><acpi/><smm state='on'/></features><on_reboot>restart</on_reboot>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw' discard='unmap'/><source file='{home}/disk.img'/>
<target dev='vda' bus='virtio'/><serial>root-1</serial></disk>
<controller type='sata' index='0'/>
<interface type='ethernet'><target dev='{tap}' managed='no'/><mac address='{mac}'/><model type='virtio'/>{rom}</interface>
<serial type='file'><source path='{home}/serial' append='on'/><target port='0'/></serial>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
</devices>{settings}</domain>"
    )
}
