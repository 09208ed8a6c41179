//! OpenStack's emulated Redfish BMC (`sushy-emulator`) in front of a machine of QEMU's: libvirt is its hands, TLS and a
//! password its door.
//!
//! libvirtd runs as an unprivileged user with its own directories, so it sees no other machine and needs no namespace.

use super::child::{Running, START, free_ports, wait_until};
use super::{PASSWORD, USERNAME};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

const NOBODY: u32 = 65534;
pub const OVMF: &str = "/usr/share/OVMF";
const SEABIOS: &str = "/usr/share/seabios/bios-256k.bin";
/// Where Debian has the binding of libvirt, beside much that must not be seen from another Python's environment.
const DEBIAN_PYTHON: &str = "/usr/lib/python3/dist-packages";
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// An emulated BMC with one machine. Its files are below `root`; those of the machine in `home`.
pub struct Emulated {
    pub url: String,
    pub certificate: String,
    _emulator: Running,
    _libvirt: Running,
}

/// Makes the directories; disks may be put into `home` then.
pub fn prepare(root: &Path) {
    for name in ["run", "home", "pool", "state", "python"] {
        fs::create_dir(root.join(name)).unwrap();
    }
}

impl Emulated {
    /// With the machine that this XML describes.
    pub async fn start(root: &Path, domain: &str) -> Self {
        give_away(root);
        let libvirt = start_libvirt(root).await;
        link_binding(&root.join("python"));
        let name = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        fs::write(root.join("cert.pem"), name.cert.pem()).unwrap();
        fs::write(root.join("key.pem"), name.signing_key.serialize_pem()).unwrap();
        define(root, domain);
        let [port] = free_ports();
        fs::write(root.join("sushy.conf"), configuration(root, port)).unwrap();
        let log = root.join("sushy.log");
        let mut command = python(root, "sushy-emulator");
        command.arg("--config").arg(root.join("sushy.conf"));
        let mut emulator = Running::start(&mut command, &log);
        wait_until("the emulator listens", START, async || {
            emulator.assert_alive(&log);
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
        })
        .await;
        Self {
            url: format!("https://127.0.0.1:{port}"),
            certificate: name.cert.pem(),
            _emulator: emulator,
            _libvirt: libvirt,
        }
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self")
        .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

/// All of the machine's own files belong to the user that it runs as.
fn give_away(root: &Path) {
    if !is_root() {
        return;
    }
    let disks = fs::read_dir(root.join("home")).unwrap().flatten();
    let own = ["", "run", "home", "pool"].map(|name| root.join(name));
    for path in own.into_iter().chain(disks.map(|disk| disk.path())) {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// In a view of the file system of its own where everybody may open the device of taps: which tap is whose is another rule.
async fn start_libvirt(root: &Path) -> Running {
    let log = root.join("libvirtd.log");
    let mut command = if is_root() {
        let tun = root.join("tun");
        let device = rustix::fs::makedev(10, 200);
        let kind = rustix::fs::FileType::CharacterDevice;
        let at = rustix::fs::CWD;
        rustix::fs::mknodat(
            at,
            &tun,
            kind,
            rustix::fs::Mode::from_raw_mode(0o666),
            device,
        )
        .unwrap();
        fs::set_permissions(&tun, fs::Permissions::from_mode(0o666)).unwrap();
        let mut command = Command::new("unshare");
        let script = format!(
            "mount --bind {} /dev/net/tun && exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups libvirtd",
            tun.display()
        );
        command.args(["-m", "sh", "-c", &script]);
        command
    } else {
        Command::new("libvirtd")
    };
    command
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", root.join("home"))
        .env("XDG_RUNTIME_DIR", root.join("run"));
    let mut libvirt = Running::start(&mut command, &log);
    wait_until("libvirtd listens", START, async || {
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
fn define(root: &Path, domain: &str) {
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
    fs::write(root.join("domain.xml"), domain).unwrap();
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
