//! A machine without a system: QEMU with a card on a bridge, and a console that is read line by line.

use super::{Lab, PATIENCE, run};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const OVMF_SECURE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
const OVMF_SECURE_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    Bios,
    Uefi,
    /// With the keys of Microsoft, and Secure Boot on.
    UefiSecure,
}

pub struct Guest {
    _process: Child,
    console: Lines<BufReader<ChildStdout>>,
    said: Vec<String>,
}

impl Guest {
    /// Starts with a card of this MAC address on a bridge.
    pub fn start(
        lab: &Lab,
        (namespace, bridge): (&str, &str),
        mac: &str,
        firmware: Firmware,
        arguments: &[&str],
    ) -> Self {
        let tap = format!("t{}", mac.replace(':', ""));
        run(&format!(
            "ip -n {namespace} tuntap add {tap} mode tap
             ip -n {namespace} link set {tap} master {bridge} up"
        ));
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", namespace, "qemu-system-x86_64"])
            .args([
                "-accel",
                "tcg",
                "-m",
                "512",
                "-nodefaults",
                "-display",
                "none",
            ])
            .args(["-device", "virtio-rng-pci", "-serial", "stdio"])
            .args([
                "-netdev",
                &format!("tap,id=net,ifname={tap},script=no,downscript=no"),
            ]);
        for argument in firmware_arguments(lab, mac, firmware) {
            command.arg(argument);
        }
        let mut process = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = process.stdout.take().unwrap();
        Self {
            _process: process,
            console: BufReader::new(output).lines(),
            said: Vec::new(),
        }
    }

    /// Waits until the console shows a line with this text.
    pub async fn says(&mut self, text: &str) -> String {
        let found = async {
            loop {
                match self.console.next_line().await {
                    Ok(Some(line)) if line.contains(text) => return line,
                    Ok(Some(line)) => self.said.push(line),
                    // Firmware draws with bytes that are no text.
                    Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {}
                    ended => panic!("the guest ended: {ended:?}; it said {:#?}", self.said),
                }
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(line) => line,
            Err(_) => panic!("the guest never said {text:?}, but {:#?}", self.said),
        }
    }
}

fn firmware_arguments(lab: &Lab, mac: &str, firmware: Firmware) -> Vec<String> {
    let (code, vars) = match firmware {
        Firmware::Bios => return vec!["-machine".to_owned(), "q35".to_owned()],
        Firmware::Uefi => (OVMF_CODE, OVMF_VARS),
        Firmware::UefiSecure => (OVMF_SECURE_CODE, OVMF_SECURE_VARS),
    };
    let own = lab.path(&format!("{mac}.vars"));
    std::fs::copy(vars, &own).unwrap();
    let smm = firmware == Firmware::UefiSecure;
    let mut arguments = vec![
        "-machine".to_owned(),
        format!("q35,smm={}", if smm { "on" } else { "off" }),
        "-drive".to_owned(),
        format!("if=pflash,format=raw,readonly=on,file={code}"),
        "-drive".to_owned(),
        format!("if=pflash,format=raw,file={}", own.display()),
    ];
    if smm {
        let secure = "driver=cfi.pflash01,property=secure,value=on";
        arguments.extend(["-global".to_owned(), secure.to_owned()]);
    }
    arguments
}
