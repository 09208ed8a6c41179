//! Shared by the tests: a host in a temporary directory, guests of one boot sector, and waiting for conditions.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "only tests use this"
)]

use corten_host::{
    AccelerationChoice, Accelerator, DiskFormat, Fence, Firmware, GuestEvent, GuestSpec, Hands,
    HostConfig, HostError, ImageRef, Observation, Power, QemuHost, Report, Task,
};
use corten_model::ids::{ImageId, InstanceId, OperationId};
use corten_network::chassis::{HostSwitch, SwitchConfig};
use corten_network::daemons::Namespace;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use sha2::{Digest, Sha512};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;
use tokio::time::Instant;

pub const LIMIT: Duration = Duration::from_secs(30);

/// Prints a text on the serial port, once or for ever, and halts.
pub fn boot_disk(text: &str, for_ever: bool) -> Vec<u8> {
    let mut sector = vec![
        0xfa, // cli
        0x31, 0xc0, 0x8e, 0xd8, // ds = 0
        0xbe, 0x20, 0x7c, // si = 0x7c20, the text
        0xba, 0xf8, 0x03, // dx = 0x3f8, the serial port
        0xac, // lodsb
        0x84, 0xc0, // is it 0?
        0x74, 0x03, // then on to the end
        0xee, // out dx, al
        0xeb, 0xf8, // back to lodsb
    ];
    // The end: start again, or halt for ever.
    sector.extend(if for_ever {
        vec![0xeb, 0xeb]
    } else {
        vec![0xf4, 0xeb, 0xfd]
    });
    sector.resize(0x20, 0x90);
    sector.extend(text.as_bytes());
    assert!(sector.len() < 510, "the text is too long");
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    // The firmware does not boot from much less than this.
    sector.resize(1 << 20, 0);
    sector
}

/// Code that the firmware jumps to, as a disk.
pub fn code_disk(code: &[u8]) -> Vec<u8> {
    let mut sector = code.to_vec();
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector.resize(1 << 20, 0);
    sector
}

/// Prints "up" and powers off (`SLP_EN` in PM1_CNT) when the power button is pressed, or at once. ACPI 4.8.3.
pub fn obedient_disk(at_once: bool) -> Vec<u8> {
    let mut code = vec![
        0xfa, // cli
        0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef, // PM1_EN = power button
        0xba, 0xf8, 0x03, 0xb0, b'u', 0xee, 0xb0, b'p', 0xee, 0xb0, b'\n',
        0xee, // "up" on the serial port
        0xba, 0x00, 0x06, // dx = PM1_STS
        0xed, 0xf6, 0xc4, 0x01, // is the button pressed?
    ];
    code.extend(if at_once { [0x90, 0x90] } else { [0x74, 0xfa] });
    code.extend([0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd]); // PM1_CNT = SLP_EN, S5
    code_disk(&code)
}

/// A host with a data directory of its own. Guests print their text only when they boot, so a guest that was resumed can
/// be told from one that booted again.
pub struct Fixture {
    pub dir: TempDir,
    pub config: HostConfig,
    pub host: Option<QemuHost>,
    pub switch: Option<Arc<HostSwitch>>,
    pub operation: OperationId,
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with(async |_| None).await
    }

    /// A host whose guests can have network cards. Its switch knows no fabric, so no card is wired.
    pub async fn with_switch() -> Self {
        Self::with(async |config| {
            let southbound = "unix:/nonexistent/southbound.sock".to_owned();
            let switch = SwitchConfig {
                guest_uid: config.guest_uid().unwrap(),
                ..SwitchConfig::new(&config.data_dir, "host", southbound)
            };
            Some(Arc::new(HostSwitch::open(switch).await.unwrap()))
        })
        .await
    }

    async fn with(switch: impl AsyncFnOnce(&HostConfig) -> Option<Arc<HostSwitch>>) -> Self {
        let dir = tempfile::Builder::new().prefix("ch").tempdir().unwrap();
        let mut config = HostConfig::new(dir.path().join("host"));
        config.acceleration = AccelerationChoice::Use(Accelerator::Tcg);
        config.cgroup = format!("corten-test-{}", std::process::id());
        let switch = switch(&config).await;
        let host = Some(
            QemuHost::open(config.clone(), switch.clone())
                .await
                .unwrap(),
        );
        Self {
            switch,
            dir,
            config,
            host,
            operation: OperationId::random(),
        }
    }

    pub fn host(&self) -> &QemuHost {
        self.host.as_ref().unwrap()
    }

    /// Lets go of the host as a crash would, and opens it again.
    pub async fn restart(&mut self) {
        self.host = None;
        let switch = self.switch.clone();
        self.host = Some(QemuHost::open(self.config.clone(), switch).await.unwrap());
    }

    pub fn fence(&self) -> Fence {
        Fence {
            operation: self.operation,
            epoch: 1,
        }
    }

    pub async fn perform(&self, task: Task) -> Result<Report, HostError> {
        self.host().perform(self.fence(), task).await
    }

    /// Gives the task as two workers would that do not know of each other, and returns the first report.
    pub async fn twice(&self, task: Task) -> Report {
        let first = self
            .perform(task.clone())
            .await
            .unwrap_or_else(|error| panic!("{task:?}: {error}"));
        self.perform(task.clone())
            .await
            .unwrap_or_else(|error| panic!("again {task:?}: {error}"));
        first
    }

    pub fn store_image(&self, name: &str, bytes: &[u8], format: DiskFormat) -> ImageRef {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        image_of(path, format)
    }

    pub fn image(&self, text: &str) -> ImageRef {
        self.store_image(
            &format!("{text}.img"),
            &boot_disk(&format!("{text}\n"), false),
            DiskFormat::Raw,
        )
    }

    /// A guest that prints a text and halts: made, not started.
    pub async fn guest(&self, text: &str) -> GuestSpec {
        let image = self.image(text);
        self.twice(Task::EnsureImage {
            image: image.clone(),
        })
        .await;
        let spec = spec(Some(image));
        self.twice(Task::CreateGuest { spec: spec.clone() }).await;
        spec
    }

    /// A guest of such a disk: made, not started.
    pub async fn guest_of(&self, disk: &[u8]) -> GuestSpec {
        let image = self.store_image("disk.img", disk, DiskFormat::Raw);
        self.twice(Task::EnsureImage {
            image: image.clone(),
        })
        .await;
        let spec = spec(Some(image));
        self.twice(Task::CreateGuest { spec: spec.clone() }).await;
        spec
    }

    /// A guest that has printed its text.
    pub async fn running_guest(&self, text: &str) -> GuestSpec {
        let spec = self.guest(text).await;
        self.twice(Task::Start { id: spec.id }).await;
        self.wait_for_console(spec.id, text, 1).await;
        spec
    }

    pub async fn console(&self, id: InstanceId) -> String {
        String::from_utf8_lossy(&self.host().console_log(id, None).await.unwrap()).into_owned()
    }

    /// Waits until the console has shown a text so many times.
    pub async fn wait_for_console(&self, id: InstanceId, text: &str, times: usize) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let console = self.console(id).await;
            if console.matches(text).count() >= times {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{times} x '{text}' expected on the console, but it shows: {console}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn observe(&self, id: InstanceId) -> Observation {
        self.host()
            .observe(id)
            .await
            .unwrap()
            .expect("the guest is on this host")
    }

    pub async fn power(&self, id: InstanceId) -> Power {
        self.observe(id).await.power
    }

    pub async fn pid(&self, id: InstanceId) -> u32 {
        self.observe(id).await.pid.expect("the guest runs")
    }

    /// Everything on disk that belongs to guests.
    pub fn guest_files(&self) -> Vec<PathBuf> {
        let mut files = list(&self.config.data_dir.join("guests"));
        files.extend(list(&self.config.run_dir));
        files
    }
}

impl Fixture {
    /// The switch's daemons and namespace outlive us on purpose, too.
    fn end_switch(&self) {
        let Some(switch) = &self.switch else {
            return;
        };
        for daemon in switch.status() {
            let pid = daemon.pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
            let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
        }
        if let Namespace::Named(name) = switch.namespace() {
            let _ = std::process::Command::new("ip")
                .args(["netns", "del", name])
                .status();
        }
    }
}

impl Drop for Fixture {
    /// Guests outlive the host on purpose, so a test that ends early must end them.
    fn drop(&mut self) {
        for guest in list(&self.config.data_dir.join("guests")) {
            let Some(id) = guest.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            for pid in pids_of(id) {
                let _ = std::process::Command::new("kill")
                    .args(["-9", &pid.to_string()])
                    .status();
                // Collected here, because the runtime that would do so stands still while this runs.
                let _ = waitpid(Pid::from_raw(pid.cast_signed()), WaitOptions::empty());
            }
        }
        self.end_switch();
        for controller in ["", "cpu", "memory", "pids"] {
            let parent = Path::new("/sys/fs/cgroup")
                .join(controller)
                .join(&self.config.cgroup);
            for group in list(&parent).into_iter().filter(|path| path.is_dir()) {
                let _ = fs::remove_dir(group);
            }
            let _ = fs::remove_dir(parent);
        }
    }
}

pub fn list(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// QEMU processes of a guest.
pub fn pids_of(id: &str) -> Vec<u32> {
    let runs = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|argument| argument == id.as_bytes())
    };
    list(Path::new("/proc"))
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
        .filter(runs)
        .collect()
}

pub fn image_of(path: PathBuf, format: DiskFormat) -> ImageRef {
    let sha512 = hex::encode(Sha512::digest(fs::read(&path).unwrap()));
    ImageRef {
        id: ImageId::random(),
        sha512,
        format,
        path,
    }
}

pub fn spec(image: Option<ImageRef>) -> GuestSpec {
    GuestSpec {
        id: InstanceId::random(),
        name: "test".to_owned(),
        vcpus: 1,
        memory_mib: 32,
        root_gib: 1,
        ephemeral_gib: 0,
        swap_mib: 0,
        image,
        firmware: Firmware::Bios,
        nics: Vec::new(),
        disks: Vec::new(),
        config_drive: None,
        machine_properties: BTreeMap::new(),
    }
}

/// Waits for an event that the test looks for.
pub async fn wait_for_event(
    events: &mut Receiver<GuestEvent>,
    wanted: impl Fn(&GuestEvent) -> bool,
) -> GuestEvent {
    let found = async {
        loop {
            let event = events.recv().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(LIMIT, found)
        .await
        .expect("the event comes in time")
}
