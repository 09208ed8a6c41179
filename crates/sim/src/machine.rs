//! A simulated bare-metal server: a BMC and disks that are data.

use crate::flash::Flashes;
use crate::hardware::Hardware;
use async_trait::async_trait;
use corten_bmc::{
    AttributeValue, Attributes, BiosSettings, Bmc, BmcError, Boot, BootDevice, BootMode,
    Capabilities, Capability, Drive, Effect, FirmwareItem, FirmwareUpdate, Health, Identity,
    Indicator, Inside, Inventory, Link, LogEntry, Machine, Media, MediaKind, MediaSlot,
    NetworkCard, Oddity, Order, PowerAction, PowerState, Processor, Progress, Report, SecureBoot,
    Sensor, SensorKind, Sensors, Task, TaskProgress, TaskRef, TaskSeen, Thresholds, Wiped,
};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

const DISKS: usize = 2;
const DISK_BYTES: u64 = 480 << 30;
const MEMORY_MIB: u64 = 65_536;
const CORES: u64 = 16;
/// The drive of virtual media.
const CD: &str = "Cd";

/// Every simulated server of a cloud. One is made, off and blank, when it is first asked for.
#[derive(Default)]
pub struct SimMachines(Mutex<HashMap<String, Arc<SimMachine>>>);

impl SimMachines {
    pub fn get(&self, id: &str) -> Arc<SimMachine> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(id.to_owned())
            .or_insert_with(|| Arc::new(SimMachine::new(id)))
            .clone()
    }

    /// The server as an operation works on it.
    pub fn machine(&self, id: &str) -> Machine {
        let machine = self.get(id);
        Machine {
            bmc: machine.clone(),
            inside: Some(machine),
        }
    }
}

/// What a test can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touch {
    Power,
    SetPower,
    SetBoot,
    Media,
    Bios,
    Inventory,
    Sensors,
    Wipe,
    Install,
    Step,
    Rescue,
    Unrescue,
    /// Its list of firmware.
    Firmware,
    /// An update of firmware is begun.
    Update,
    /// A task, or the list of them.
    Task,
}

pub struct SimMachine {
    name: String,
    serial: String,
    state: Mutex<State>,
    starts: watch::Sender<Option<Start>>,
    writes: watch::Sender<Writes>,
}

/// The writing of images to its disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Writes {
    /// None comes to its end.
    held: bool,
    /// So many stand still.
    waiting: u32,
}

/// One start of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Of all its starts.
    pub number: u64,
    pub from: Option<BootDevice>,
    /// What was in its drive then.
    pub image: Option<String>,
}

pub(crate) struct State {
    pub hardware: Hardware,
    rescue: bool,
    steps: Vec<String>,
    loses_settings: bool,
    epoch: i64,
    faults: BTreeMap<Touch, (u32, BmcError)>,
    pub flashes: Flashes,
}

impl State {
    /// Every disk is blank.
    pub fn erase(&mut self) {
        self.hardware.disks.fill(None);
    }

    pub fn install(&mut self, disk: usize, image: &str) {
        self.hardware.disks[disk] = Some(image.to_owned());
        self.rescue = false;
    }

    pub fn run(&mut self, interface: &str, step: &str) {
        let ran = format!("{interface}.{step}");
        // Asked again by a worker that does not know that it was done.
        if self.steps.last() != Some(&ran) {
            self.steps.push(ran);
        }
    }

    pub fn rescue(&mut self, runs: bool) {
        self.rescue = runs;
    }
}

impl SimMachine {
    fn new(id: &str) -> Self {
        let bios = [
            ("BootMode", AttributeValue::Text("Uefi".to_owned())),
            (
                "ProcVirtualization",
                AttributeValue::Text("Enabled".to_owned()),
            ),
            ("AdminPassword", AttributeValue::Unset),
        ];
        let bios = bios
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect();
        Self {
            name: format!("sim://{id}"),
            serial: id.chars().filter(|c| *c != '-').take(12).collect(),
            state: Mutex::new(State {
                hardware: Hardware::new(bios, DISKS),
                rescue: false,
                steps: Vec::new(),
                loses_settings: false,
                epoch: 0,
                faults: BTreeMap::new(),
                flashes: Flashes::default(),
            }),
            starts: watch::Sender::new(None),
            writes: watch::Sender::new(Writes::default()),
        }
    }

    /// Looks at the server, or changes it, at one moment.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Hardware) -> T) -> T {
        let mut state = self.state();
        let done = work(&mut state.hardware);
        self.tell(&state.hardware);
        done
    }

    /// What it was started from last; `None` while it is off.
    pub fn starts(&self) -> watch::Receiver<Option<Start>> {
        self.starts.subscribe()
    }

    fn tell(&self, hardware: &Hardware) {
        let number = hardware.is_on().then_some(hardware.boots);
        self.starts.send_if_modified(|told| {
            if told.as_ref().map(|start| start.number) == number {
                return false;
            }
            *told = number.map(|number| Start {
                number,
                from: hardware.booted_from,
                image: hardware.media.values().next().cloned(),
            });
            true
        });
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next calls of this kind fail and do nothing.
    pub fn fail_next(&self, touch: Touch, times: u32, error: BmcError) {
        self.state().faults.insert(touch, (times, error));
    }

    /// From now on an image that a ramdisk writes to a disk does not come to its end, until it is let go.
    pub fn hold_writes(&self) {
        self.writes.send_modify(|writes| writes.held = true);
    }

    pub fn let_writes_go(&self) {
        self.writes.send_modify(|writes| writes.held = false);
    }

    /// Whether an image is being written, and stands still.
    pub fn is_held_at_a_write(&self) -> bool {
        let writes = *self.writes.borrow();
        writes.held && writes.waiting > 0
    }

    /// The end of a write, for whoever writes: it comes when nobody holds it.
    #[cfg(feature = "ramdisk")]
    pub(crate) async fn end_of_write(&self) {
        let mut seen = self.writes.subscribe();
        self.writes.send_modify(|writes| writes.waiting += 1);
        // The sender is our own: it cannot be gone.
        let _ = seen.wait_for(|writes| !writes.held).await;
        self.writes.send_modify(|writes| writes.waiting -= 1);
    }

    /// What is on each disk.
    pub fn disks(&self) -> Vec<Option<String>> {
        self.state().hardware.disks.clone()
    }

    /// Somebody's data is on the first disk.
    pub fn leave(&self, data: &str) {
        self.state().hardware.disks[0] = Some(data.to_owned());
    }

    pub fn runs_rescue_system(&self) -> bool {
        self.state().rescue
    }

    /// What it was booted from; `None` while it is off.
    pub fn booted_from(&self) -> Option<BootDevice> {
        self.with(|hardware| hardware.is_on().then_some(hardware.booted_from)?)
    }

    /// The steps that were run, as `interface.step`, oldest first.
    pub fn steps(&self) -> Vec<String> {
        self.state().steps.clone()
    }

    /// From now on settings are taken and lost, as by a BIOS that refuses them at its boot.
    pub fn lose_settings(&self) {
        self.state().loses_settings = true;
    }

    /// The server's state for work of this kind, unless that is to fail.
    pub(crate) fn touch(&self, touch: Touch) -> Result<MutexGuard<'_, State>, BmcError> {
        let mut state = self.state();
        match state.faults.get_mut(&touch) {
            Some((times, error)) if *times > 0 => {
                *times -= 1;
                Err(error.clone())
            }
            _ => Ok(state),
        }
    }

    /// The same for who works from within, under an epoch.
    fn touch_inside(&self, touch: Touch, epoch: i64) -> Result<MutexGuard<'_, State>, BmcError> {
        let mut state = self.touch(touch)?;
        if epoch < state.epoch {
            return Err(BmcError::Refused {
                bmc: self.name.clone(),
                request: format!("{touch:?}"),
                status: None,
                message: format!(
                    "epoch {epoch} is over, the server works for epoch {}",
                    state.epoch
                ),
            });
        }
        state.epoch = epoch;
        Ok(state)
    }

    /// What the server is made of, without a touch of its BMC.
    pub(crate) fn made_of(&self) -> Inventory {
        Inventory {
            identity: Identity {
                manufacturer: Some("Corten".to_owned()),
                model: Some("Simulated server".to_owned()),
                serial_number: Some(self.serial.clone()),
                ..Identity::default()
            },
            processors: vec![Processor {
                architecture: Some("x86".to_owned()),
                cores: Some(CORES),
                threads: Some(CORES),
                ..Processor::default()
            }],
            memory_mib: Some(MEMORY_MIB),
            network_cards: vec![NetworkCard {
                id: "1".to_owned(),
                mac: self.mac(),
                link: Link::Up,
                speed_mbps: Some(25_000),
            }],
            drives: (0..DISKS)
                .map(|disk| Drive {
                    id: disk.to_string(),
                    serial_number: Some(self.serial_of(disk)),
                    capacity_bytes: Some(DISK_BYTES),
                    media: Some("SSD".to_owned()),
                    protocol: Some("NVMe".to_owned()),
                    ..Drive::default()
                })
                .collect(),
            ..Inventory::default()
        }
    }

    /// Of the serial's digits where it begins with enough of them, else of the name.
    pub fn mac(&self) -> String {
        let is_hex = |c: &u8| c.is_ascii_hexdigit();
        let serial = self.serial.as_bytes();
        let digits = match serial.get(..10).filter(|begin| begin.iter().all(is_hex)) {
            Some(begin) => String::from_utf8_lossy(begin).to_lowercase(),
            None => {
                let mut hasher = DefaultHasher::new();
                self.name.hash(&mut hasher);
                format!("{:010x}", hasher.finish() & 0xff_ffff_ffff)
            }
        };
        let pairs: Vec<&str> = (0..5).map(|pair| &digits[pair * 2..pair * 2 + 2]).collect();
        format!("02:{}", pairs.join(":"))
    }

    fn wiped(&self) -> Vec<Wiped> {
        let disk = |number| Wiped {
            serial: self.serial_of(number),
            size_bytes: DISK_BYTES,
            method: "simulated".to_owned(),
            removable: false,
        };
        (0..DISKS).map(disk).collect()
    }

    fn serial_of(&self, disk: usize) -> String {
        format!("SIM{}{disk}", self.serial)
    }
}

#[async_trait]
impl Bmc for SimMachine {
    fn name(&self) -> &str {
        &self.name
    }

    async fn capabilities(&self) -> Result<Capabilities, BmcError> {
        Ok([
            Capability::Power,
            Capability::SoftPowerOff,
            Capability::SoftReboot,
            Capability::Reboot,
            Capability::PowerCycle,
            Capability::Nmi,
            Capability::BootDevice,
            Capability::BootOnce,
            Capability::BootMode,
            Capability::SecureBoot,
            Capability::VirtualMedia,
            Capability::BiosSettings,
            Capability::BiosReset,
            Capability::Indicator,
            Capability::FirmwareInventory,
            Capability::FirmwareUpdate,
        ]
        .into_iter()
        .collect())
    }

    fn oddities(&self) -> Vec<Oddity> {
        Vec::new()
    }

    async fn power(&self) -> Result<PowerState, BmcError> {
        Ok(self.touch(Touch::Power)?.hardware.power)
    }

    async fn set_power(&self, action: PowerAction) -> Result<(), BmcError> {
        let mut state = self.touch(Touch::SetPower)?;
        state.hardware.apply(action, Timestamp::now());
        self.tell(&state.hardware);
        Ok(())
    }

    async fn boot(&self) -> Result<Boot, BmcError> {
        Ok(self.with(|hardware| hardware.boot.in_mode(hardware.mode)))
    }

    async fn set_boot(&self, wanted: Boot) -> Result<Boot, BmcError> {
        let mut state = self.touch(Touch::SetBoot)?;
        state.hardware.boot = wanted;
        state.hardware.boot_word = None;
        Ok(wanted)
    }

    async fn set_boot_mode(&self, mode: BootMode) -> Result<Effect, BmcError> {
        self.state().hardware.mode = mode;
        Ok(Effect::NextBoot)
    }

    async fn secure_boot(&self) -> Result<SecureBoot, BmcError> {
        let enabled = self.state().hardware.secure_boot;
        Ok(SecureBoot {
            enabled,
            in_force: Some(enabled),
        })
    }

    async fn set_secure_boot(&self, enabled: bool) -> Result<(), BmcError> {
        self.state().hardware.secure_boot = enabled;
        Ok(())
    }

    async fn media(&self) -> Result<Vec<MediaSlot>, BmcError> {
        let image = self.state().hardware.media.get(CD).cloned();
        Ok(vec![MediaSlot {
            id: CD.to_owned(),
            kinds: vec![MediaKind::Cdrom],
            inserted: image.is_some(),
            image,
        }])
    }

    async fn insert_media(&self, _kind: MediaKind, media: &Media) -> Result<MediaSlot, BmcError> {
        let image = media.image.to_string();
        let mut state = self.touch(Touch::Media)?;
        state.hardware.media.insert(CD.to_owned(), image.clone());
        Ok(MediaSlot {
            id: CD.to_owned(),
            kinds: vec![MediaKind::Cdrom],
            inserted: true,
            image: Some(image),
        })
    }

    async fn eject_media(&self, _kind: MediaKind) -> Result<(), BmcError> {
        self.state().hardware.media.remove(CD);
        Ok(())
    }

    async fn bios(&self) -> Result<BiosSettings, BmcError> {
        let state = self.state();
        Ok(BiosSettings {
            current: state.hardware.bios.clone(),
            pending: state.hardware.bios_pending.clone(),
            registry: None,
        })
    }

    async fn set_bios(&self, wanted: &Attributes) -> Result<Effect, BmcError> {
        let mut state = self.touch(Touch::Bios)?;
        if !state.loses_settings {
            state.hardware.bios_pending.extend(wanted.clone());
        }
        Ok(Effect::NextBoot)
    }

    async fn reset_bios(&self) -> Result<(), BmcError> {
        let mut state = self.touch(Touch::Bios)?;
        state.hardware.bios_pending = state.hardware.bios_defaults.clone();
        Ok(())
    }

    async fn inventory(&self) -> Result<Inventory, BmcError> {
        drop(self.touch(Touch::Inventory)?);
        Ok(self.made_of())
    }

    async fn sensors(&self) -> Result<Sensors, BmcError> {
        let state = self.touch(Touch::Sensors)?;
        let sensor = |kind, name: &str, unit: &str, reading| Sensor {
            kind,
            id: name.to_owned(),
            name: name.to_owned(),
            reading: Some(reading),
            unit: Some(unit.to_owned()),
            state: Some("Enabled".to_owned()),
            health: Some(Health::Ok),
            context: None,
            thresholds: Thresholds::default(),
        };
        let is_on = state.hardware.power == PowerState::On;
        Ok(Sensors(vec![
            sensor(SensorKind::Temperature, "Inlet", "Cel", 24.0),
            sensor(
                SensorKind::Fan,
                "Fan 1",
                "RPM",
                if is_on { 5400.0 } else { 0.0 },
            ),
        ]))
    }

    async fn event_log(&self) -> Result<Vec<LogEntry>, BmcError> {
        Ok(self.with(|hardware| {
            let lines = hardware.log.iter().map(|line| LogEntry {
                id: line.id.to_string(),
                created: Some(line.at.to_string()),
                severity: line.severity,
                message: line.message.clone(),
                subject: None,
            });
            lines.collect()
        }))
    }

    async fn clear_event_log(&self) -> Result<(), BmcError> {
        self.state().hardware.log.clear();
        Ok(())
    }

    async fn firmware(&self) -> Result<Vec<FirmwareItem>, BmcError> {
        self.installed()
    }

    async fn check_update(&self, update: &FirmwareUpdate) -> Result<(), BmcError> {
        self.check_flash(update).map(drop)
    }

    async fn update_firmware(&self, update: &FirmwareUpdate) -> Result<Option<TaskRef>, BmcError> {
        self.begin_flash(update)
    }

    async fn task(&self, task: &TaskRef) -> Result<TaskProgress, BmcError> {
        self.look_at_flash(task)
    }

    async fn tasks(&self) -> Result<Option<Vec<TaskSeen>>, BmcError> {
        self.list_flashes().map(Some)
    }

    async fn indicator(&self) -> Result<Indicator, BmcError> {
        Ok(self.state().hardware.indicator)
    }

    async fn set_indicator(&self, indicator: Indicator) -> Result<(), BmcError> {
        self.state().hardware.indicator = indicator;
        Ok(())
    }
}

#[async_trait]
impl Inside for SimMachine {
    async fn work(&self, order: &Order) -> Result<Progress, BmcError> {
        let touch = match &order.task {
            Task::Erase => Touch::Wipe,
            Task::Write(_) => Touch::Install,
            Task::Step { .. } => Touch::Step,
            Task::Rescue { .. } => Touch::Rescue,
            Task::Settle => Touch::Unrescue,
            Task::Inventory => Touch::Inventory,
        };
        let mut state = self.touch_inside(touch, order.epoch)?;
        let mut report = Report::default();
        match &order.task {
            Task::Erase => {
                state.erase();
                report.wiped = self.wiped();
            }
            Task::Write(image) => state.install(0, &image.id),
            Task::Step {
                interface, step, ..
            } => state.run(interface, step),
            Task::Rescue { .. } => state.rescue(true),
            Task::Settle => state.rescue(false),
            Task::Inventory => {}
        }
        Ok(Progress::Done(report))
    }
}
