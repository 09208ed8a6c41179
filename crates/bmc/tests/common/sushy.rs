//! A machine of QEMU's behind OpenStack's emulated Redfish BMC (`sushy-emulator`): libvirt is its hands, TLS and a password its door.
//!
//! libvirtd runs as an unprivileged user with its own directories, so it sees no other machine and needs no namespace.

use super::child::{Running, free_ports, wait_until};
use super::{PASSWORD, USERNAME, limits, open_redfish};
use axum::Router;
use axum::routing::get;
use corten_bmc::{Bmc, RedfishAddress, Trust};
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use url::Url;

const NOBODY: u32 = 65534;
const OVMF: &str = "/usr/share/OVMF";
const SEABIOS: &str = "/usr/share/seabios/bios-256k.bin";
/// Where Debian has the binding of libvirt, beside much that must not be seen from another Python's environment.
const DEBIAN_PYTHON: &str = "/usr/lib/python3/dist-packages";
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Writes R to the first serial port and halts.
const BOOT_SECTOR: [u8; 8] = [0xba, 0xf8, 0x03, 0xb0, b'R', 0xee, 0xf4, 0xeb];

pub struct Sushy {
    directory: TempDir,
    pub system: String,
    url: String,
    certificate: String,
    _emulator: Running,
    _libvirt: Running,
}

impl Sushy {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["run", "home", "pool", "state", "python"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        let uuid = uuid_of(root);
        let disk = fs::File::create(root.join("home/disk.img")).unwrap();
        disk.set_len(1 << 24).unwrap();
        give_away(root);
        let libvirt = start_libvirt(root).await;
        link_binding(&root.join("python"));
        let name = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        fs::write(root.join("cert.pem"), name.cert.pem()).unwrap();
        fs::write(root.join("key.pem"), name.signing_key.serialize_pem()).unwrap();
        define(root, &uuid);
        let [port] = free_ports();
        fs::write(root.join("sushy.conf"), configuration(root, port)).unwrap();
        let log = root.join("sushy.log");
        let mut command = python(root, "sushy-emulator");
        command.arg("--config").arg(root.join("sushy.conf"));
        let mut emulator = Running::start(&mut command, &log);
        wait_until(
            "the emulator listens",
            Duration::from_secs(30),
            async || {
                emulator.assert_alive(&log);
                tokio::net::TcpStream::connect(("127.0.0.1", port))
                    .await
                    .is_ok()
            },
        )
        .await;
        Self {
            system: format!("/redfish/v1/Systems/{uuid}"),
            url: format!("https://127.0.0.1:{port}"),
            certificate: name.cert.pem(),
            directory,
            _emulator: emulator,
            _libvirt: libvirt,
        }
    }

    pub fn address(&self) -> RedfishAddress {
        RedfishAddress::new(&self.url)
            .unwrap()
            .with_trust(Trust::Authority(self.certificate.clone()))
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

fn is_root() -> bool {
    fs::metadata("/proc/self")
        .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

fn give_away(root: &Path) {
    if is_root() {
        for name in ["", "run", "home", "pool", "home/disk.img"] {
            chown(root.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
}

async fn start_libvirt(root: &Path) -> Running {
    let log = root.join("libvirtd.log");
    let mut command = Command::new("libvirtd");
    command
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", root.join("home"))
        .env("XDG_RUNTIME_DIR", root.join("run"));
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut libvirt = Running::start(&mut command, &log);
    wait_until("libvirtd listens", Duration::from_secs(30), async || {
        libvirt.assert_alive(&log);
        tokio::net::UnixStream::connect(root.join("run/libvirt/libvirt-sock"))
            .await
            .is_ok()
    })
    .await;
    libvirt
}

fn link_binding(into: &Path) {
    let files = fs::read_dir(DEBIAN_PYTHON).unwrap().flatten();
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        if name == "libvirt.py" || name.starts_with("libvirtmod.") {
            std::os::unix::fs::symlink(file.path(), into.join(name)).unwrap();
        }
    }
}

/// A program of the tests' Python environment, which sees libvirt's binding besides.
fn python(root: &Path, program: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin");
    let emulator = std::env::split_paths(&path)
        .chain([own])
        .map(|directory| directory.join("sushy-emulator"))
        .find(|candidate| candidate.is_file());
    let emulator = emulator.expect("there is no sushy-emulator: run scripts/venv");
    let mut command = Command::new(emulator.with_file_name(program));
    command
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", root.join("home"))
        .env("PYTHONPATH", root.join("python"));
    command
}

fn libvirt_uri(root: &Path) -> String {
    let socket: PathBuf = root.join("run/libvirt/libvirt-sock");
    format!("qemu+unix:///session?socket={}", socket.display())
}

/// Makes the machine, the pool that images are put in, and the emulator's password file.
fn define(root: &Path, uuid: &str) {
    const SETUP: &str = r#"
import bcrypt, libvirt, sys
uri, root, username, password = sys.argv[1:]
connection = libvirt.open(uri)
connection.defineXML(open(root + "/domain.xml").read())
pool = f"<pool type='dir'><name>default</name><target><path>{root}/pool</path></target></pool>"
connection.storagePoolDefineXML(pool).create()
digest = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")
open(root + "/htpasswd", "w").write(f"{username}:{digest}\n")
"#;
    fs::write(root.join("domain.xml"), domain(root, uuid)).unwrap();
    let output = python(root, "python")
        .args(["-c", SETUP, &libvirt_uri(root)])
        .arg(root)
        .args([USERNAME, PASSWORD])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
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

fn configuration(root: &Path, port: u16) -> String {
    let uri = libvirt_uri(root);
    let root = root.display();
    format!(
        "SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'
SUSHY_EMULATOR_LISTEN_PORT = {port}
SUSHY_EMULATOR_SSL_CERT = '{root}/cert.pem'
SUSHY_EMULATOR_SSL_KEY = '{root}/key.pem'
SUSHY_EMULATOR_AUTH_FILE = '{root}/htpasswd'
SUSHY_EMULATOR_STATE_DIR = '{root}/state'
SUSHY_EMULATOR_LIBVIRT_URI = '{uri}'
SUSHY_EMULATOR_FEATURE_SET = 'full'
SUSHY_EMULATOR_BOOT_LOADER_MAP = {{'UEFI': {{'x86_64': '{OVMF}/OVMF_CODE_4M.secboot.fd'}}, 'Legacy': {{'x86_64': '{SEABIOS}'}}}}
SUSHY_EMULATOR_SECURE_BOOT_ENABLED_NVRAM = '{OVMF}/OVMF_VARS_4M.ms.fd'
SUSHY_EMULATOR_SECURE_BOOT_DISABLED_NVRAM = '{OVMF}/OVMF_VARS_4M.fd'
"
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
