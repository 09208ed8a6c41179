//! A bare-metal server, as QEMU plays it: started with the ramdisk, its console read line by line.

use super::control_plane::{BOOT_TOKEN, ControlPlane};
use super::ramdisk_image::ramdisk;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

pub const BOOT_MAC: &str = "52:54:00:c0:27:01";
pub const OTHER_MAC: &str = "52:54:00:c0:27:02";
const PATIENCE: Duration = Duration::from_secs(150);

/// A disk's content is a file.
pub struct Disk {
    file: tempfile::NamedTempFile,
    pub serial: &'static str,
}

impl Disk {
    pub fn full_of(pattern: &[u8], bytes: usize, serial: &'static str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = pattern.iter().copied().cycle().take(bytes).collect();
        std::fs::write(file.path(), content).unwrap();
        Self { file, serial }
    }

    /// Zeroes, which take no room.
    pub fn blank(bytes: u64, serial: &'static str) -> Self {
        Self::beginning_with(&[], bytes, serial)
    }

    /// Something, and then zeroes.
    pub fn beginning_with(start: &[u8], bytes: u64, serial: &'static str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), start).unwrap();
        file.as_file().set_len(bytes).unwrap();
        Self { file, serial }
    }

    /// The first bytes.
    pub fn beginning(&self, bytes: usize) -> Vec<u8> {
        let mut content = vec![0; bytes];
        self.file.as_file().read_exact_at(&mut content, 0).unwrap();
        content
    }

    pub fn content(&self) -> Vec<u8> {
        std::fs::read(self.file.path()).unwrap()
    }

    fn drive(&self) -> String {
        format!(
            "if=none,id={},format=raw,discard=unmap,detect-zeroes=unmap,file={}",
            self.serial,
            self.file.path().display()
        )
    }
}

/// A qcow2 image of these bytes.
pub fn qemu_img(raw: &[u8], options: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("raw"), directory.path().join("qcow2"));
    std::fs::write(&from, raw).unwrap();
    let status = std::process::Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .args(options)
        .args([&from, &to])
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::read(to).unwrap()
}

/// A private key's file, the directory that holds it, and the public key.
pub fn ssh_key() -> (PathBuf, tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    (path, directory, public)
}

/// Runs a command in the rescued server.
pub async fn ssh(port: u16, key: &Path, command: &str) -> String {
    let output = Command::new("ssh")
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "BatchMode=yes",
        ])
        .args([
            "-o",
            "ConnectTimeout=60",
            "-o",
            "ConnectionAttempts=5",
            "-i",
        ])
        .arg(key)
        .args(["-p", &port.to_string(), "root@127.0.0.1", command])
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub struct Machine {
    process: Child,
    console: Lines<BufReader<ChildStdout>>,
    said: Vec<String>,
}

impl Machine {
    pub async fn boot(control: &ControlPlane, virtio: &[&Disk], nvme: Option<&Disk>) -> Self {
        let ramdisk = ramdisk().await;
        let command_line = format!(
            "console=ttyS0 quiet loglevel=3 panic=-1 BOOTIF=01-{} ipa-api-url=https://10.0.2.2:{} corten.token={BOOT_TOKEN} \
             corten.pin={} corten.inspect=yes",
            BOOT_MAC.replace(':', "-"),
            control.port,
            control.pin,
        );
        let forward = format!(
            "user,id=boot,hostfwd=tcp:127.0.0.1:{}-:9999,hostfwd=tcp:127.0.0.1:{}-:22",
            control.agent_port, control.ssh_port
        );
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args([
                "-machine",
                "q35",
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max",
                "-smp",
                "2",
                "-m",
                "1024",
            ])
            .args([
                "-display",
                "none",
                "-no-reboot",
                "-serial",
                "stdio",
                "-monitor",
                "none",
            ])
            .args([
                "-device",
                "ipmi-bmc-sim,id=bmc",
                "-device",
                "isa-ipmi-kcs,bmc=bmc",
            ])
            .args([
                "-netdev",
                &forward,
                "-device",
                &format!("virtio-net-pci,netdev=boot,mac={BOOT_MAC},romfile="),
            ])
            .args(["-device", &format!("e1000,mac={OTHER_MAC},romfile=")])
            .arg("-kernel")
            .arg(&ramdisk.kernel)
            .arg("-initrd")
            .arg(&ramdisk.initrd)
            .args(["-append", &command_line]);
        for disk in virtio {
            let device = format!("virtio-blk-pci,drive={0},serial={0}", disk.serial);
            command.args(["-drive", &disk.drive(), "-device", &device]);
        }
        if let Some(disk) = nvme {
            let device = format!("nvme,drive={0},serial={0}", disk.serial);
            command.args(["-drive", &disk.drive(), "-device", &device]);
        }
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let console = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            process,
            console,
            said: Vec::new(),
        }
    }

    /// Reads the console until `event`; fails with what the console said if it does not come.
    pub async fn until<T>(&mut self, event: impl Future<Output = T>) -> T {
        let (console, said) = (&mut self.console, &mut self.said);
        let read = async {
            while let Ok(Some(line)) = console.next_line().await {
                said.push(line);
            }
        };
        let result = tokio::select! {
            result = event => Ok(result),
            () = read => Err("the machine ended"),
            () = tokio::time::sleep(PATIENCE) => Err("it took too long"),
        };
        result.unwrap_or_else(|why| panic!("{why}; the console:\n{}", self.said.join("\n")))
    }

    pub async fn console_says(&mut self, text: &str) {
        let read = async {
            while let Ok(Some(line)) = self.console.next_line().await {
                let found = line.contains(text);
                self.said.push(line);
                if found {
                    return true;
                }
            }
            false
        };
        let found = tokio::time::timeout(PATIENCE, read).await.unwrap_or(false);
        assert!(
            found,
            "it never said '{text}'; the console:\n{}",
            self.said.join("\n")
        );
    }

    /// The server switches itself off.
    pub async fn ends(&mut self) {
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        assert!(
            ended.is_ok_and(|status| status.unwrap().success()),
            "the console:\n{}",
            self.said.join("\n")
        );
    }
}
