//! A server whose BMC speaks IPMI: a machine of QEMU's on the lab's network.

use super::ipmi_sim::{IpmiSim, Wiring};
use super::relay::relay;
use std::path::Path;

/// The machine has the disk `home/disk.img` below `root`, and its card on this tap.
pub async fn server(root: &Path, mac: &str, tap: &str) -> IpmiSim {
    let line = relay().await;
    let wiring = Wiring {
        start: &start(mac, tap, line.qemu),
        serial: line.bmc,
        lan: "",
        emulated: EMULATED,
    };
    IpmiSim::start(root, wiring).await
}

const EMULATED: &str = "mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
sel_enable 0x20 1000 0x0a
mc_enable 0x20
";

/// The machine: by default it boots from its disk, and from its card once the BMC was asked for PXE.
fn start(mac: &str, tap: &str, serial: u16) -> String {
    format!(
        r#"card=2 disk=1
[ "$(cat boot 2>/dev/null)" = pxe ] && card=1 disk=2
qemu-system-x86_64 -M q35 -accel tcg -m 1024 -display none -daemonize -pidfile vm.pid \
    -chardev socket,id=serial,host=127.0.0.1,port={serial},logfile=home/serial,logappend=on \
    -serial chardev:serial \
    -netdev tap,id=net,ifname={tap},script=no,downscript=no \
    -device virtio-net-pci,netdev=net,mac={mac},bootindex=$card \
    -drive if=none,id=disk,format=raw,discard=unmap,file=home/disk.img \
    -device virtio-blk-pci,drive=disk,serial=root-1,bootindex=$disk -device virtio-rng-pci \
    </dev/null >>qemu.log 2>&1
"#
    )
}
