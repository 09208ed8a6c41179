//! Builds the tiny guest and boots it in QEMU, on BIOS and on UEFI, with what Corten gives an instance.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use corten::images::{BuiltImage, DiskFormat, Silent, TinyOptions, build_tiny};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

const DEADLINE: Duration = Duration::from_secs(50);
const PUBLIC_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE2iyK0v5SbXc8Ti1k0r6v7g5m1cM0Xv1Gm0m7Y1Qw0a tester@example";

/// Runs once per instance, and shows on the console what the metadata has done.
const USER_DATA: &str = "#!/bin/sh
cat /root/.ssh/authorized_keys
cut -d: -f1,2 /etc/shadow | grep -c ':[$]6[$]'
ip route | grep default
df -m / | awk 'NR == 2 && $2 > 300 { print \"root has grown\" }'
echo kept >/root/file
";

const NETWORK_DATA: &str = r#"{
    "links": [{"id": "tap1", "ethernet_mac_address": "52:54:00:C0:27:01", "mtu": 1442}],
    "networks": [
        {"link": "tap1", "type": "ipv4", "ip_address": "10.0.2.77", "netmask": "255.255.255.0",
         "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.2.2"}]},
        {"link": "tap1", "type": "ipv6", "ip_address": "fd00::5", "netmask": "ffff:ffff:ffff:ffff::", "routes": []}
    ],
    "services": [{"type": "dns", "address": "10.0.2.3"}]
}"#;

/// Answers one request on standard input with a file below `$DIRECTORY`.
const METADATA_SERVICE: &str = r#"#!/bin/sh
read -r _ path _
while read -r header && [ -n "$(printf %s "$header" | tr -d '\r')" ]; do :; done
if [ -f "$DIRECTORY$path" ]; then
    printf 'HTTP/1.0 200 OK\r\nContent-Length: %s\r\n\r\n' "$(stat -c %s "$DIRECTORY$path")"
    cat "$DIRECTORY$path"
else
    printf 'HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n'
fi
"#;

struct Lab {
    directory: tempfile::TempDir,
    image: BuiltImage,
}

impl Lab {
    /// Builds the image; packages are kept between runs.
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = TinyOptions {
            output: directory.path().join("tiny.qcow2"),
            cache: Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-packages"),
        };
        let image = build_tiny(&options, &Silent).await.unwrap();
        Self { directory, image }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn config_drive(&self, hostname: &str, network: Option<&str>) -> PathBuf {
        let latest = self.path("config/openstack/latest");
        std::fs::create_dir_all(&latest).unwrap();
        let meta = format!(
            r#"{{"uuid": "5a1ed1c5-0000-4000-8000-000000000001", "name": "x", "hostname": "{hostname}",
                "public_keys": {{"my \"key\"": "{PUBLIC_KEY}\n"}}, "admin_pass": "s3cr\u00e9t", "meta": {{}}}}"#
        );
        std::fs::write(latest.join("meta_data.json"), meta).unwrap();
        std::fs::write(latest.join("user_data"), USER_DATA).unwrap();
        if let Some(network) = network {
            std::fs::write(latest.join("network_data.json"), network).unwrap();
        }
        let drive = self.path("config.iso");
        run(Command::new("genisoimage")
            .args(["-quiet", "-V", "config-2", "-J", "-R", "-o"])
            .arg(&drive)
            .arg(self.path("config")))
        .await;
        drive
    }

    /// An instance's disk, larger than the image.
    async fn disk(&self) -> PathBuf {
        let disk = self.path("disk.qcow2");
        run(Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
            .arg(&self.image.path)
            .arg(&disk)
            .arg("400M"))
        .await;
        disk
    }
}

async fn run(command: &mut Command) {
    let output = command.output().await.unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

struct Guest {
    process: Child,
    console: PathBuf,
    qmp: PathBuf,
}

impl Guest {
    fn start(lab: &Lab, name: &str, disk: &Path, arguments: &[String]) -> Self {
        let console = lab.path(&format!("{name}.log"));
        let qmp = lab.path(&format!("{name}.qmp"));
        let process = Command::new("qemu-system-x86_64")
            .args([
                "-accel",
                "tcg",
                "-machine",
                "q35",
                "-display",
                "none",
                "-device",
                "virtio-rng-pci",
            ])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", qmp.display()))
            .arg("-drive")
            .arg(format!("if=virtio,file={}", disk.display()))
            .args(arguments)
            .env("DIRECTORY", lab.path("config"))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            process,
            console,
            qmp,
        }
    }

    fn console(&self) -> String {
        let bytes = std::fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    /// The first console line that contains `text`, waited for.
    async fn line(&mut self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            let console = self.console();
            // A line counts when it is complete.
            let complete = console.rfind('\n').map_or("", |end| &console[..end]);
            if let Some(line) = complete.lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            let ended = self.process.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the guest ended ({ended:?}) without {text:?}:\n{console}"
            );
            assert!(
                begun.elapsed() < DEADLINE,
                "no {text:?} in {DEADLINE:?}:\n{console}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Presses the ACPI power button and waits for the machine to end by itself.
    async fn power_down(&mut self) {
        let mut qmp = BufReader::new(UnixStream::connect(&self.qmp).await.unwrap());
        let mut answer = String::new();
        qmp.read_line(&mut answer).await.unwrap();
        for command in ["qmp_capabilities", "system_powerdown"] {
            qmp.write_all(format!("{{\"execute\": \"{command}\"}}\n").as_bytes())
                .await
                .unwrap();
            qmp.read_line(&mut answer).await.unwrap();
        }
        assert!(!answer.contains("error"), "{answer}");
        let ended = tokio::time::timeout(DEADLINE, self.process.wait()).await;
        let status =
            ended.unwrap_or_else(|_| panic!("the power button has no effect:\n{}", self.console()));
        assert!(status.unwrap().success());
    }
}

fn arguments(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn boots_on_bios_becomes_the_instance_and_keeps_its_files() {
    let lab = Lab::new().await;
    assert_eq!(lab.image.format, DiskFormat::Qcow2);
    assert!(
        lab.image.file_bytes < 32_000_000,
        "{} bytes",
        lab.image.file_bytes
    );
    let config = lab.config_drive("web-1.example", None).await;
    let disk = lab.disk().await;
    let hardware = arguments(&format!(
        "-m 128 -drive if=virtio,format=raw,readonly=on,file={} \
         -netdev user,id=n,restrict=on -device virtio-net-pci,netdev=n",
        config.display()
    ));

    let mut guest = Guest::start(&lab, "first", &disk, &hardware);
    guest.line("corten-guest: reached userland in ").await;
    guest.line("corten-guest: hostname: web-1.example").await;
    guest.line("corten-guest: addresses: 10.0.2.15").await;
    let host_key = guest
        .line("corten-guest: ssh host key: ssh-ed25519 SHA256:")
        .await;
    guest.line("user data: finished with status 0").await;
    guest.line(&format!("user data: {PUBLIC_KEY}")).await;
    // The admin password is set for root and for corten.
    guest.line("user data: 2").await;
    guest.line("user data: root has grown").await;
    guest.power_down().await;

    let mut guest = Guest::start(&lab, "second", &disk, &hardware);
    guest.line("corten-guest: reached userland in ").await;
    assert_eq!(guest.line("corten-guest: ssh host key: ").await, host_key);
    guest.line("corten-guest: hostname: web-1.example").await;
    assert!(
        !guest.console().contains("user data:"),
        "user data ran again:\n{}",
        guest.console()
    );
}

#[tokio::test]
async fn boots_on_uefi_and_takes_its_static_addresses_from_the_config_drive() {
    let lab = Lab::new().await;
    let config = lab.config_drive("metal-1", Some(NETWORK_DATA)).await;
    let disk = lab.disk().await;
    let variables = lab.path("vars.fd");
    std::fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables).unwrap();
    let hardware = arguments(&format!(
        "-m 192 -drive if=virtio,format=raw,readonly=on,file={} -netdev user,id=n,restrict=on -device virtio-net-pci,netdev=n,mac=52:54:00:c0:27:01,romfile= \
         -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
         -drive if=pflash,format=raw,file={}",
        config.display(),
        variables.display()
    ));

    let mut guest = Guest::start(&lab, "uefi", &disk, &hardware);
    guest.line("corten-guest: reached userland in ").await;
    guest.line("corten-guest: hostname: metal-1").await;
    guest
        .line("corten-guest: addresses: 10.0.2.77 fd00::5")
        .await;
    guest.line("user data: default via 10.0.2.2").await;
    guest.power_down().await;
}

#[tokio::test]
async fn without_a_config_drive_asks_the_metadata_service_and_a_copy_gets_its_own_host_key() {
    let lab = Lab::new().await;
    lab.config_drive("net-1", None).await;
    let disk = lab.disk().await;
    let service = lab.path("metadata-service");
    std::fs::write(&service, METADATA_SERVICE).unwrap();
    std::fs::set_permissions(&service, PermissionsExt::from_mode(0o755)).unwrap();
    let hardware = arguments(&format!(
        "-m 128 -device virtio-net-pci,netdev=n -netdev user,id=n,net=169.254.169.0/24,\
         dhcpstart=169.254.169.10,guestfwd=tcp:169.254.169.254:80-cmd:{}",
        service.display()
    ));

    let mut guest = Guest::start(&lab, "original", &disk, &hardware);
    guest.line("corten-guest: reached userland in ").await;
    guest.line("corten-guest: hostname: net-1").await;
    let host_key = guest.line("corten-guest: ssh host key: ").await;
    guest.line("user data: finished with status 0").await;
    guest.power_down().await;

    let meta = lab.path("config/openstack/latest/meta_data.json");
    let text = std::fs::read_to_string(&meta).unwrap();
    let copied = text
        .replace("000000000001", "000000000002")
        .replace("net-1", "net-2");
    std::fs::write(&meta, copied).unwrap();
    let mut guest = Guest::start(&lab, "copy", &disk, &hardware);
    guest.line("corten-guest: reached userland in ").await;
    guest.line("corten-guest: hostname: net-2").await;
    assert_ne!(guest.line("corten-guest: ssh host key: ").await, host_key);
    guest.line("user data: finished with status 0").await;
}
