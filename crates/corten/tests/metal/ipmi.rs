//! OpenIPMI's simulated BMC (`ipmi_sim`) in front of a machine of QEMU's: a script is its hands.

use super::child::{Running, free_ports, wait_until};
use super::relay::relay;
use super::{PASSWORD, USERNAME};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub struct IpmiSim {
    pub port: u16,
    _bmc: Running,
}

impl IpmiSim {
    /// The machine has the disk `home/disk.img` below `root`, and its card on this tap.
    pub async fn start(root: &Path, mac: &str, tap: &str) -> Self {
        let at = |name: &str| root.join(name);
        let [port] = free_ports();
        let line = relay().await;
        fs::write(at("chassis"), script(root, mac, tap, line.qemu)).unwrap();
        fs::set_permissions(at("chassis"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(at("lan.conf"), lan(&at("chassis"), port, line.bmc)).unwrap();
        fs::write(at("emu.conf"), EMULATED).unwrap();
        let log = at("ipmi.log");
        let mut command = Command::new("ipmi_sim");
        command.args(["-n", "-c"]).arg(at("lan.conf"));
        command.arg("-f").arg(at("emu.conf"));
        command.arg("-s").arg(at("state"));
        let mut bmc = Running::start(&mut command, &log);
        wait_until("the BMC listens", Duration::from_secs(10), async || {
            bmc.assert_alive(&log);
            let sockets = fs::read_to_string("/proc/self/net/udp").unwrap();
            sockets.contains(&format!("0100007F:{port:04X}"))
        })
        .await;
        Self { port, _bmc: bmc }
    }
}

const EMULATED: &str = "mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
sel_enable 0x20 1000 0x0a
mc_enable 0x20
";

/// What the BMC calls to change or ask the machine's power and boot device.
fn script(root: &Path, mac: &str, tap: &str, serial: u16) -> String {
    let root = root.display();
    format!(
        r#"#!/bin/sh
cd {root}
shift
verb=$1
shift
alive() {{ [ -s vm.pid ] && kill -0 "$(cat vm.pid)" 2>/dev/null; }}
start() {{
    card=2 disk=1
    [ "$(cat boot 2>/dev/null)" = pxe ] && card=1 disk=2
    qemu-system-x86_64 -M q35 -accel tcg -m 1024 -display none -daemonize -pidfile vm.pid \
        -chardev socket,id=serial,host=127.0.0.1,port={serial},logfile={root}/home/serial,logappend=on \
        -serial chardev:serial \
        -netdev tap,id=net,ifname={tap},script=no,downscript=no \
        -device virtio-net-pci,netdev=net,mac={mac},bootindex=$card \
        -drive if=none,id=disk,format=raw,discard=unmap,file={root}/home/disk.img \
        -device virtio-blk-pci,drive=disk,serial=root-1,bootindex=$disk -device virtio-rng-pci \
        </dev/null >>qemu.log 2>&1
}}
while [ $# -gt 0 ]; do
    case "$verb $1" in
    "get power") if alive; then echo power:1; else echo power:0; fi ;;
    "get boot") echo "boot:$(cat boot 2>/dev/null || echo default)" ;;
    "set power") shift
        if [ "$1" = 0 ]; then alive && kill "$(cat vm.pid)"; else alive || start; fi ;;
    "set boot") shift; echo "$1" >boot ;;
    "set shutdown") shift; alive && kill "$(cat vm.pid)" ;;
    "set reset" | "set identify") shift ;;
    esac
    shift
done
exit 0
"#
    )
}

fn lan(script: &Path, port: u16, serial: u16) -> String {
    format!(
        r#"name "lab"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "{} 0x20"
  sol "tcp:127.0.0.1:{serial}" 115200
  user 2 true "{USERNAME}" "{PASSWORD}" admin 10 none md2 md5 straight
"#,
        script.display()
    )
}
