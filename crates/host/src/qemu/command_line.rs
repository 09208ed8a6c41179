//! The command line of a guest's QEMU, as a pure function of what the guest is.
//!
//! QEMU runs inside the guest's directory and every path of ours is relative to it, so the guests' user needs no access
//! to the directories above.

use crate::error::HostError;
use crate::hands::Accelerator;
use crate::machine::{DiskBus, Machine};
use crate::spec::{DiskFormat, Firmware, GuestSpec, NicSpec};
use serde_json::{Value, json};

/// PCIe root ports for disks and network cards that come and go.
pub const HOT_PLUG_PORTS: u8 = 16;
/// Ports of the q35 machine's SATA controller.
const SATA_PORTS: usize = 6;

/// All that the command line is made of.
pub struct Launch<'a> {
    pub spec: &'a GuestSpec,
    pub machine: Machine,
    pub accelerator: Accelerator,
    pub disks: &'a [BootDisk],
    pub nics: &'a [BootNic],
    /// The OVMF code image, for a guest with UEFI.
    pub uefi_code: &'a str,
    /// Its memory comes from file descriptor 0.
    pub incoming: bool,
}

/// A disk as QEMU sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootDisk {
    /// Name of its block node; its device is `dev-` and this.
    pub name: String,
    /// Relative to the guest's directory, or absolute.
    pub file: String,
    pub format: DiskFormat,
    pub read_only: bool,
    /// Firmware tries lower ones first.
    pub boot_index: Option<u32>,
    pub serial: Option<String>,
    /// The root port of a disk that can be unplugged.
    pub port: Option<u8>,
}

impl BootDisk {
    /// The argument of `-blockdev` and `blockdev-add`.
    pub fn blockdev(&self) -> Value {
        json!({
            "driver": if self.format == DiskFormat::Qcow2 { "qcow2" } else { "raw" },
            "node-name": self.name,
            "read-only": self.read_only,
            "discard": "unmap",
            "file": {"driver": "file", "filename": self.file, "discard": "unmap"},
        })
    }

    /// The argument of `-device` and `device_add`. `index` counts the guest's disks.
    pub fn device(&self, bus: DiskBus, index: usize) -> Result<Value, HostError> {
        let mut device = match bus {
            DiskBus::Virtio => json!({"driver": "virtio-blk-pci"}),
            DiskBus::Scsi => json!({"driver": "scsi-hd", "bus": "scsi.0"}),
            DiskBus::Sata if index < SATA_PORTS => {
                json!({"driver": "ide-hd", "bus": format!("ide.{index}")})
            }
            DiskBus::Sata => {
                return Err(HostError::InvalidSpec {
                    field: "hw_disk_bus".to_owned(),
                    value: "sata".to_owned(),
                    rule: format!(
                        "a guest on this bus has at most {SATA_PORTS} disks: use virtio or scsi"
                    ),
                });
            }
        };
        device["id"] = json!(self.device_id());
        device["drive"] = json!(self.name);
        if let Some(boot_index) = self.boot_index {
            device["bootindex"] = json!(boot_index);
        }
        if let Some(serial) = &self.serial {
            device["serial"] = json!(serial);
        }
        if let (DiskBus::Virtio, Some(port)) = (bus, self.port) {
            device["bus"] = json!(format!("port{port}"));
        }
        Ok(device)
    }

    pub fn device_id(&self) -> String {
        format!("dev-{}", self.name)
    }
}

/// A network card as QEMU sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootNic {
    pub spec: NicSpec,
    pub tap: String,
    /// Whether the tap passes on frames whose checksums and segments are left to the receiver.
    pub offloads: bool,
    /// The root port it is plugged into.
    pub port: u8,
}

impl BootNic {
    /// The argument of `-netdev` and `netdev_add`.
    pub fn netdev(&self) -> Value {
        json!({
            "type": "tap", "id": self.netdev_id(), "ifname": self.tap, "script": "no", "downscript": "no",
            "vnet_hdr": self.offloads,
        })
    }

    /// The argument of `-device` and `device_add`.
    pub fn device(&self, machine: Machine) -> Value {
        // Without a ROM, because nothing boots from these networks.
        let mut device = json!({
            "driver": machine.nic_model, "id": self.device_id(), "netdev": self.netdev_id(),
            "bus": format!("port{}", self.port), "mac": self.spec.mac, "romfile": "",
        });
        if machine.nic_model == "virtio-net-pci" {
            device["host_mtu"] = json!(self.spec.mtu);
        }
        device
    }

    pub fn netdev_id(&self) -> String {
        format!("net-{}", self.spec.port)
    }

    pub fn device_id(&self) -> String {
        format!("nic-{}", self.spec.port)
    }
}

/// QEMU's arguments, without the program's own name.
pub fn arguments(launch: &Launch<'_>) -> Result<Vec<String>, HostError> {
    let mut line = CommandLine::default();
    add_machine(&mut line, launch);
    add_firmware(&mut line, launch);
    add_control(&mut line);
    add_consoles(&mut line, launch.machine);
    add_disks(&mut line, launch)?;
    add_nics(&mut line, launch);
    if launch.incoming {
        line.option("-incoming", "fd:0");
    }
    Ok(line.0)
}

#[derive(Default)]
struct CommandLine(Vec<String>);

impl CommandLine {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.to_owned());
    }

    fn option(&mut self, option: &str, value: impl ToString) {
        self.0.push(option.to_owned());
        self.0.push(value.to_string());
    }
}

fn add_machine(line: &mut CommandLine, launch: &Launch<'_>) {
    let spec = launch.spec;
    let accelerator = launch.accelerator;
    line.option("-name", format_args!("guest={},debug-threads=on", spec.id));
    line.option("-uuid", spec.id);
    line.flag("-no-user-config");
    line.flag("-nodefaults");
    line.flag("-S");
    line.option(
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    );
    let flash = if spec.firmware == Firmware::Uefi {
        ",pflash0=firmware,pflash1=variables"
    } else {
        ""
    };
    line.option(
        "-machine",
        format_args!("q35,vmport=off,dump-guest-core=off{flash}"),
    );
    line.option("-accel", accelerator.as_str());
    line.option(
        "-cpu",
        if accelerator == Accelerator::Kvm {
            "host"
        } else {
            "max"
        },
    );
    line.option(
        "-smp",
        format_args!("{0},sockets=1,cores={0},threads=1", spec.vcpus),
    );
    line.option("-m", format_args!("{}M", spec.memory_mib));
    line.option("-rtc", "base=utc,driftfix=slew");
    // cloud-init knows a guest of this cloud by the product name.
    line.option(
        "-smbios",
        format_args!(
            "type=1,manufacturer=Corten,product=OpenStack Compute,serial={0},uuid={0}",
            spec.id
        ),
    );
    line.option("-boot", "menu=off,strict=on");
    line.option("-device", "pvpanic");
    line.option("-device", "virtio-balloon-pci,id=balloon0");
    line.option("-object", "rng-random,id=rng0,filename=/dev/urandom");
    line.option("-device", "virtio-rng-pci,rng=rng0");
    for port in 0..HOT_PLUG_PORTS {
        line.option(
            "-device",
            format_args!(
                "pcie-root-port,id=port{port},chassis={0},slot={0}",
                port + 1
            ),
        );
    }
}

fn add_firmware(line: &mut CommandLine, launch: &Launch<'_>) {
    if launch.spec.firmware != Firmware::Uefi {
        return;
    }
    let flash = |node: &str, file: &str, read_only: bool| {
        json!({"driver": "raw", "node-name": node, "read-only": read_only,
               "file": {"driver": "file", "filename": file}})
    };
    line.option("-blockdev", flash("firmware", launch.uefi_code, true));
    line.option(
        "-blockdev",
        flash("variables", crate::guest_dir::UEFI_VARIABLES, false),
    );
}

fn add_control(line: &mut CommandLine) {
    line.option(
        "-chardev",
        "socket,id=qmp,path=sockets/qmp.sock,server=on,wait=off",
    );
    line.option("-mon", "chardev=qmp,mode=control");
}

fn add_consoles(line: &mut CommandLine, machine: Machine) {
    line.option(
        "-chardev",
        "socket,id=serial0,path=sockets/serial.sock,server=on,wait=off,logfile=console.log,logappend=on",
    );
    line.option("-serial", "chardev:serial0");
    line.option("-vnc", "unix:sockets/vnc.sock");
    if let Some(video) = machine.video_device {
        line.option("-device", video);
    }
    if machine.guest_agent {
        line.option("-device", "virtio-serial-pci,id=channels");
        line.option(
            "-chardev",
            "socket,id=agent0,path=sockets/agent.sock,server=on,wait=off",
        );
        line.option(
            "-device",
            "virtserialport,bus=channels.0,chardev=agent0,name=org.qemu.guest_agent.0",
        );
    }
}

fn add_disks(line: &mut CommandLine, launch: &Launch<'_>) -> Result<(), HostError> {
    if launch.machine.disk_bus == DiskBus::Scsi {
        line.option("-device", "virtio-scsi-pci,id=scsi");
    }
    for (index, disk) in launch.disks.iter().enumerate() {
        line.option("-blockdev", disk.blockdev());
        line.option("-device", disk.device(launch.machine.disk_bus, index)?);
    }
    Ok(())
}

fn add_nics(line: &mut CommandLine, launch: &Launch<'_>) {
    if launch.nics.is_empty() {
        line.option("-nic", "none");
    }
    for nic in launch.nics {
        line.option("-netdev", nic.netdev());
        line.option("-device", nic.device(launch.machine));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_model::ids::{InstanceId, PortId};
    use std::collections::BTreeMap;

    fn spec() -> GuestSpec {
        GuestSpec {
            id: InstanceId::random(),
            name: "a,readonly=on".to_owned(),
            vcpus: 2,
            memory_mib: 256,
            root_gib: 0,
            ephemeral_gib: 0,
            swap_mib: 0,
            image: None,
            firmware: Firmware::Bios,
            nics: Vec::new(),
            disks: Vec::new(),
            config_drive: None,
            machine_properties: BTreeMap::new(),
        }
    }

    fn disk(index: usize) -> BootDisk {
        BootDisk {
            name: format!("disk{index}"),
            file: "root.qcow2".to_owned(),
            format: DiskFormat::Qcow2,
            read_only: false,
            boot_index: Some(1),
            serial: None,
            port: Some(3),
        }
    }

    fn line(spec: &GuestSpec, machine: Machine, disks: &[BootDisk]) -> Result<String, HostError> {
        let accelerator = Accelerator::Tcg;
        let launch = Launch {
            spec,
            machine,
            accelerator,
            disks,
            nics: &[],
            uefi_code: "/code.fd",
            incoming: false,
        };
        arguments(&launch).map(|arguments| arguments.join(" "))
    }

    #[test]
    fn every_guest_is_sandboxed_and_no_tenant_text_reaches_the_line() {
        let line = line(&spec(), Machine::default(), &[disk(0)]).unwrap();
        assert!(line.contains(
            "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
        ));
        assert!(
            line.contains("-nic none") && line.contains("\"bus\":\"port3\""),
            "{line}"
        );
        assert!(
            !line.contains("readonly=on"),
            "the name of a guest must not become an option: {line}"
        );
    }

    #[test]
    fn sata_has_six_disks_and_says_so() {
        let machine = Machine {
            disk_bus: DiskBus::Sata,
            ..Machine::default()
        };
        let disks: Vec<BootDisk> = (0..7).map(disk).collect();
        assert!(
            line(&spec(), machine, &disks[..6])
                .unwrap()
                .contains("ide.5")
        );
        assert!(
            line(&spec(), machine, &disks)
                .unwrap_err()
                .to_string()
                .contains("at most 6 disks")
        );
    }

    #[test]
    fn a_nic_is_plugged_into_its_own_tap_and_root_port() {
        let nic = BootNic {
            spec: NicSpec {
                port: PortId::random(),
                mac: "fa:16:3e:00:00:01".parse().unwrap(),
                mtu: 1442,
            },
            tap: "c00aap012345678".to_owned(),
            offloads: false,
            port: 7,
        };
        let netdev = nic.netdev();
        assert_eq!(
            (&netdev["ifname"], &netdev["vnet_hdr"]),
            (&json!("c00aap012345678"), &json!(false))
        );
        let device = nic.device(Machine::default());
        assert_eq!(device["mac"], "fa:16:3e:00:00:01");
        assert_eq!(
            (&device["bus"], &device["host_mtu"]),
            (&json!("port7"), &json!(1442))
        );
        let old_card = Machine {
            nic_model: "e1000",
            ..Machine::default()
        };
        assert_eq!(
            nic.device(old_card)["host_mtu"],
            Value::Null,
            "only virtio can tell the guest"
        );
    }
}
