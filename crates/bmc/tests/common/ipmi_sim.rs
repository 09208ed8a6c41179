//! OpenIPMI's simulated BMC (`ipmi_sim`) in front of a machine of QEMU's: a script is its hands.

use super::child::{Running, START, free_ports, wait_until};
use super::{PASSWORD, USERNAME};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

pub struct IpmiSim {
    pub port: u16,
    _bmc: Running,
}

/// What one lab's BMC has that another's has not.
pub struct Wiring<'a> {
    /// The shell's lines that start the machine, with its process in `vm.pid`.
    pub start: &'a str,
    /// The port where the BMC finds the machine's serial line.
    pub serial: u16,
    /// Lines that `lan.conf` has besides.
    pub lan: &'a str,
    /// The emulated controller's sensors and events, as `emu.conf` has them.
    pub emulated: &'a str,
}

impl IpmiSim {
    /// Its files are in this directory, as is what it did to the machine: `calls`.
    pub async fn start(directory: &Path, wiring: Wiring<'_>) -> Self {
        let at = |name: &str| directory.join(name);
        let [port] = free_ports();
        fs::write(at("start"), wiring.start).unwrap();
        fs::write(at("chassis"), CHASSIS).unwrap();
        fs::set_permissions(at("chassis"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::create_dir_all(at("state")).unwrap();
        fs::write(at("lan.conf"), lan(&at("chassis"), port, &wiring)).unwrap();
        fs::write(at("emu.conf"), wiring.emulated).unwrap();
        let log = at("ipmi.log");
        let mut command = Command::new("ipmi_sim");
        command.args(["-n", "-c"]).arg(at("lan.conf"));
        command.arg("-f").arg(at("emu.conf"));
        command.arg("-s").arg(at("state"));
        let mut bmc = Running::start(&mut command, &log);
        wait_until("the BMC listens", START, async || {
            bmc.assert_alive(&log);
            // Of this thread's namespace, which need not be the process's.
            let sockets = fs::read_to_string("/proc/thread-self/net/udp").unwrap();
            sockets.contains(&format!("0100007F:{port:04X}"))
        })
        .await;
        Self { port, _bmc: bmc }
    }
}

/// What the BMC calls to change or ask the machine's power and boot device.
const CHASSIS: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
shift
echo "$@" >>calls
verb=$1
shift
alive() { [ -s vm.pid ] && kill -0 "$(cat vm.pid)" 2>/dev/null; }
while [ $# -gt 0 ]; do
    case "$verb $1" in
    "get power") if alive; then echo power:1; else echo power:0; fi ;;
    "get boot") echo "boot:$(cat boot 2>/dev/null || echo default)" ;;
    "set power") shift
        if [ "$1" = 0 ]; then alive && kill "$(cat vm.pid)"; else alive || . ./start; fi ;;
    "set boot") shift; echo "$1" >boot ;;
    "set shutdown") shift; alive && kill "$(cat vm.pid)" ;;
    "set reset" | "set identify") shift ;;
    esac
    shift
done
exit 0
"#;

fn lan(script: &Path, port: u16, wiring: &Wiring<'_>) -> String {
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
  {}
  sol "tcp:127.0.0.1:{}" 115200
  user 2 true "{USERNAME}" "{PASSWORD}" admin 10 none md2 md5 straight
"#,
        script.display(),
        wiring.lan,
        wiring.serial
    )
}
