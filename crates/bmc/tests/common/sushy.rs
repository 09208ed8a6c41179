//! A machine of QEMU's behind OpenStack's emulated Redfish BMC (`sushy-emulator`), as `libvirt.rs` sets it up.

use super::libvirt::{Emulated, prepare};
use super::{limits, open_redfish};
use axum::Router;
use axum::routing::get;
use corten_bmc::{Bmc, RedfishAddress, Trust};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;
use url::Url;

/// Writes R to the first serial port and halts.
const BOOT_SECTOR: [u8; 8] = [0xba, 0xf8, 0x03, 0xb0, b'R', 0xee, 0xf4, 0xeb];

pub struct Sushy {
    pub system: String,
    // Ends before its files are removed.
    emulated: Emulated,
    directory: TempDir,
}

impl Sushy {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let uuid = uuid_of(root);
        prepare(root);
        let disk = fs::File::create(root.join("home/disk.img")).unwrap();
        disk.set_len(1 << 24).unwrap();
        let emulated = Emulated::start(root, &domain(root, &uuid)).await;
        Self {
            system: format!("/redfish/v1/Systems/{uuid}"),
            emulated,
            directory,
        }
    }

    pub fn address(&self) -> RedfishAddress {
        RedfishAddress::new(&self.emulated.url)
            .unwrap()
            .with_trust(Trust::Authority(self.emulated.certificate.clone()))
    }

    pub fn bmc(&self) -> Arc<dyn Bmc> {
        open_redfish(self.address(), limits())
    }

    /// The process that is the machine, if it has power.
    pub fn machine(&self) -> Option<u32> {
        let disk = self.directory.path().join("home/disk.img");
        let disk = disk.to_str().unwrap();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
        pids.find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with(b"/usr/bin/qemu") && String::from_utf8_lossy(&line).contains(disk)
        })
    }

    /// What the machine wrote to its serial port.
    pub fn serial(&self) -> String {
        fs::read_to_string(self.directory.path().join("home/serial")).unwrap_or_default()
    }

    /// Serves an ISO image that writes R to the serial port when it is booted.
    pub async fn serve_iso(&self) -> Url {
        let image = iso(self.directory.path());
        let router = Router::new().route("/boot.iso", get(async move || image));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/boot.iso", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url.parse().unwrap()
    }
}

impl Drop for Sushy {
    fn drop(&mut self) {
        // The machine outlives libvirtd, as it should elsewhere.
        if let Some(pid) = self.machine() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

/// From the directory's random name.
fn uuid_of(root: &Path) -> String {
    let digits = hex::encode(root.as_os_str().as_encoded_bytes());
    let tail = &digits[digits.len() - 12..];
    format!("c7a5fdbd-edaf-4455-926a-{tail}")
}

fn domain(root: &Path, uuid: &str) -> String {
    let home = root.join("home");
    let home = home.display();
    format!(
        "<domain type='qemu'><name>server</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory><vcpu>2</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os>
<features><acpi/><smm state='on'/></features><on_reboot>restart</on_reboot>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{home}/disk.img'/><target dev='vda' bus='virtio'/></disk>
<controller type='sata' index='0'/>
<interface type='user'><mac address='52:54:00:77:00:02'/><model type='virtio'/></interface>
<serial type='file'><source path='{home}/serial'/><target port='0'/></serial>
</devices></domain>"
    )
}

fn iso(root: &Path) -> Vec<u8> {
    let tree = root.join("iso");
    fs::create_dir(&tree).unwrap();
    let mut sector = vec![0; 2048];
    sector[..BOOT_SECTOR.len()].copy_from_slice(&BOOT_SECTOR);
    // Halted, it stays so whatever interrupts come.
    sector[BOOT_SECTOR.len()] = 0xfd;
    fs::write(tree.join("boot.bin"), sector).unwrap();
    let image = root.join("boot.iso");
    let output = Command::new("genisoimage")
        .args([
            "-quiet",
            "-R",
            "-b",
            "boot.bin",
            "-no-emul-boot",
            "-boot-load-size",
            "4",
            "-o",
        ])
        .args([&image, &tree])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read(image).unwrap()
}
