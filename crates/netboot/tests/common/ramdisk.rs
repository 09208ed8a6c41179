//! The guest of these tests: Debian's cloud kernel and a ramdisk that gets an address, and says so on its console.

use super::Lab;
use corten_netboot::file_tree::FileTree;
use corten_netboot::{Boot, cpio};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// In the order in which they need each other.
const MODULES: [&str; 8] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
];

/// Takes its address from the configuration in its ramdisk, or by DHCP, then fetches what `greet=` names from the server.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /etc
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
export PATH=/bin
exec </dev/console >/dev/console 2>&1
for module in $(cat /modules); do insmod /lib/$module.ko; done
ip link set eth0 up
data=/etc/corten/network_data.json
if [ -f $data ]; then
    mac=$(cat /sys/class/net/eth0/address)
    awk -f /json.awk $data | awk -v mac="$mac" -f /network.awk >/network
    while read -r what first second; do
        case $what in
        mtu) ip link set eth0 mtu "$first" ;;
        static4) ip addr add "$first" dev eth0 ;;
        route4) ip route add "$first" via "$second" ;;
        esac
    done </network
    how=configured
else
    udhcpc -q -n -t 20 -T 1 -i eth0 -s /lease
    how=leased
fi
address=$(ip -4 -o addr show dev eth0 | awk '{ print $4 }')
mtu=$(cat /sys/class/net/eth0/mtu)
[ -f /etc/corten/token ] && token=$(cat /etc/corten/token)
greet=$(sed -n 's/.*greet=\([^ ]*\).*/\1/p' /proc/cmdline)
wget -q -O /greeting "$greet" && echo "GREETING $how $address mtu $mtu token $token: $(head -n 1 /greeting)"
echo "SECURE BOOT $(dmesg | grep -c 'Secure boot enabled')"
sleep 1000
"#;

/// What udhcpc runs when it has a lease.
const LEASE: &str = r#"#!/bin/sh
[ "$1" = bound ] && ip addr add "$ip/$mask" dev "$interface"
exit 0
"#;

/// Packs the ramdisk, and says what is to be booted. The guest greets by fetching this URL.
pub fn boot(lab: &Lab, greet: &str) -> Boot {
    let packages = unpacked();
    let mut tree = FileTree::default();
    tree.char_device("dev/console", 0o600, 5, 1);
    let busybox = std::fs::read(packages.join("bin/busybox")).unwrap();
    tree.file("bin/busybox", 0o755, busybox);
    tree.file("init", 0o755, INIT);
    tree.file("lease", 0o755, LEASE);
    tree.file(
        "json.awk",
        0o644,
        include_str!("../../../../guest/tiny/json.awk"),
    );
    tree.file(
        "network.awk",
        0o644,
        include_str!("../../../../guest/tiny/network.awk"),
    );
    let mut there = Vec::new();
    for module in MODULES {
        // What is missing is built into the kernel.
        if let Some(path) = find(&packages.join("lib/modules"), &format!("{module}.ko")) {
            let content = std::fs::read(path).unwrap();
            tree.file(&format!("lib/{module}.ko"), 0o644, content);
            there.push(module);
        }
    }
    assert!(there.contains(&"virtio_net"), "{there:?}");
    tree.file("modules", 0o644, there.join("\n"));
    let ramdisk = lab.path("ramdisk.img");
    std::fs::write(&ramdisk, cpio::archive(&tree)).unwrap();
    let line = format!("console=ttyS0,115200 quiet panic=10 cryptomgr.notests greet={greet}");
    Boot {
        kernel: find_prefix(&packages.join("boot"), "vmlinuz-"),
        ramdisk,
        command_line: line.parse().unwrap(),
        secure_boot: false,
    }
}

/// The kernel and busybox of Debian, unpacked; downloads are kept, beside those of the images that Corten builds.
fn unpacked() -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-packages");
    let debs = cache.join("debs");
    std::fs::create_dir_all(&debs).unwrap();
    // Tests are processes, and start at the same time.
    let lock = File::create(cache.join("netboot.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let root = cache.join("netboot-tests");
    if root.exists() {
        return root;
    }
    let listing = text(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]));
    let kernel = listing
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
        .expect("apt knows the cloud kernel");
    let packages = [format!("linux-image-{kernel}"), "busybox-static".to_owned()];
    text(
        Command::new("apt-get")
            .args(["-q", "download"])
            .args(&packages)
            .current_dir(&debs),
    );
    let unfinished = tempfile::tempdir_in(&cache).unwrap();
    for package in &packages {
        let deb = find_prefix(&debs, &format!("{package}_"));
        text(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(deb)
                .arg(unfinished.path()),
        );
    }
    std::fs::rename(unfinished.keep(), &root).unwrap();
    root
}

fn text(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).find_map(|path| {
        if path.is_dir() && !path.is_symlink() {
            find(&path, name)
        } else {
            path.ends_with(name).then_some(path)
        }
    })
}

fn find_prefix(directory: &Path, prefix: &str) -> PathBuf {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let starts = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(prefix)
    };
    paths.find(starts).expect(prefix)
}
