//! A provisioning network for a test: a namespace with a bridge, in which the whole test runs, and the servers on it.

use super::common::Cloud;
use super::libvirt::{Emulated, OVMF, prepare};
use super::ramdisk_image::ramdisk;
use super::{PASSWORD, USERNAME};
use corten::images::{Silent, TinyOptions, build_tiny};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// The tiny guest's image, in the bytes of its file.
static TINY: OnceCell<Vec<u8>> = OnceCell::const_new();

/// Builds what is booted while packages can be downloaded.
async fn prepare_images() {
    ramdisk().await;
    TINY.get_or_init(async || {
        let directory = tempfile::tempdir().unwrap();
        let options = TinyOptions {
            output: directory.path().join("tiny.qcow2"),
            cache: Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-packages"),
        };
        let built = build_tiny(&options, &Silent).await.unwrap();
        fs::read(built.path).unwrap()
    })
    .await;
}

/// The tiny guest's image, known to the cloud.
pub async fn tiny_image(cloud: &Cloud) -> String {
    let admin = cloud.admin().await;
    let fields = json!({"disk_format": "qcow2"});
    let bytes = TINY.get().unwrap().clone();
    cloud.image_with(&admin, "tiny", fields, bytes).await
}

/// Runs a test in a new namespace with the bridge `br0`, where the control plane has the address 10.77.0.1.
pub fn in_lab<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(prepare_images());
    drop(runtime);
    let name = format!("corten-metal-{}", std::process::id());
    let _lab = Namespace(name.clone());
    run(&format!(
        "ip netns add {name}
         ip -n {name} link set lo up
         ip -n {name} link add br0 type bridge
         ip -n {name} addr add 10.77.0.1/24 dev br0
         ip -n {name} link set br0 up"
    ));
    let file = File::open(Path::new("/run/netns").join(&name)).unwrap();
    // Threads and processes that are started from here on are in it too.
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(test());
}

struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Runs commands, one a line.
pub fn run(commands: &str) {
    for line in commands.lines() {
        let mut words = line.split_whitespace();
        let output = Command::new(words.next().unwrap())
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", line.trim());
    }
}

/// A cloud that boots servers on the lab's network.
pub async fn cloud() -> Cloud {
    let built = ramdisk().await;
    Cloud::start(&format!(
        "[host]\nenabled = false\n[network]\nenabled = false\n[sim]\nhosts = 1\n[provisioning]\nkernel = \"{}\"\nramdisk = \"{}\"\n\
         kernel_arguments = \"console=ttyS0,115200 quiet loglevel=3 panic=10 cryptomgr.notests\"\n\
         [[provisioning.networks]]\nname = \"lab\"\ninterface = \"br0\"\naddress = \"10.77.0.1/24\"\n\
         first = \"10.77.0.50\"\nlast = \"10.77.0.99\"\n",
        built.kernel.display(),
        built.initrd.display()
    ))
    .await
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    Uefi,
    Bios,
}

/// A server: QEMU behind an emulated BMC, with one disk and one network card on the lab's network.
pub struct Server {
    pub mac: String,
    system: String,
    // Ends before its files are removed.
    bmc: Emulated,
    directory: TempDir,
}

impl Server {
    /// A server whose disk is full of this.
    pub async fn start(number: u8, firmware: Firmware, on_disk: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("metal").tempdir().unwrap();
        let root = directory.path();
        let tap = format!("srv{number}");
        run(&format!(
            "ip tuntap add {tap} mode tap user 65534
             ip link set {tap} master br0 up"
        ));
        prepare(root);
        /// Of what is written to it alone it takes space.
        const DISK_BYTES: u64 = 5 << 30;
        let content: Vec<u8> = on_disk.bytes().cycle().take(64 << 20).collect();
        fs::write(root.join("home/disk.img"), content).unwrap();
        let disk = File::options()
            .write(true)
            .open(root.join("home/disk.img"))
            .unwrap();
        disk.set_len(DISK_BYTES).unwrap();
        let uuid = format!("c7a5fdbd-edaf-4455-926a-0000000000{number:02}");
        let mac = format!("52:54:00:77:00:{number:02x}");
        let bmc = Emulated::start(root, &domain(root, &uuid, &mac, &tap, firmware)).await;
        Self {
            mac,
            system: format!("/redfish/v1/Systems/{uuid}"),
            bmc,
            directory,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What an operator writes into the node's record.
    pub fn driver_info(&self) -> Value {
        json!({
            "redfish_address": self.bmc.url,
            "redfish_system_id": self.system,
            "redfish_username": USERNAME,
            "redfish_password": PASSWORD,
            "redfish_verify_ca": self.bmc.certificate,
        })
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
            line.starts_with(b"/usr/bin/qemu") && String::from_utf8_lossy(&line).contains(disk)
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

fn domain(root: &Path, uuid: &str, mac: &str, tap: &str, firmware: Firmware) -> String {
    let home = root.join("home");
    let home = home.display();
    let loader = match firmware {
        Firmware::Bios => String::new(),
        Firmware::Uefi => format!(
            "<loader readonly='yes' type='pflash' secure='no'>{OVMF}/OVMF_CODE_4M.fd</loader>
<nvram template='{OVMF}/OVMF_VARS_4M.fd'>{home}/vars.fd</nvram>"
        ),
    };
    format!(
        "<domain type='qemu'><name>server</name><uuid>{uuid}</uuid><memory unit='MiB'>768</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type>{loader}<boot dev='hd'/></os>
<features><acpi/><smm state='on'/></features><on_reboot>restart</on_reboot>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw' discard='unmap'/><source file='{home}/disk.img'/>
<target dev='vda' bus='virtio'/><serial>root-1</serial></disk>
<controller type='sata' index='0'/>
<interface type='ethernet'><target dev='{tap}' managed='no'/><mac address='{mac}'/><model type='virtio'/></interface>
<serial type='file'><source path='{home}/serial' append='on'/><target port='0'/></serial>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
</devices></domain>"
    )
}
