//! A simulated bare-metal server: a BMC and disks that are data.

use async_trait::async_trait;
use corten_bmc::{
    AttributeValue, Attributes, BiosSettings, Bmc, BmcError, Boot, BootDevice, BootMode,
    Capabilities, Capability, Drive, Effect, FirmwareItem, Health, Identity, Indicator, Inside,
    Inventory, Link, LogEntry, Machine, Media, MediaKind, MediaSlot, NetworkCard, Oddity,
    PowerAction, PowerState, Processor, SecureBoot, Sensor, SensorKind, Sensors, Thresholds, Wiped,
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const DISKS: usize = 2;
const DISK_BYTES: u64 = 480 << 30;
const MEMORY_MIB: u64 = 65_536;
const CORES: u64 = 16;

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
    Inventory,
    Sensors,
    Wipe,
    Install,
    Step,
    Rescue,
    Unrescue,
}

pub struct SimMachine {
    name: String,
    serial: String,
    state: Mutex<State>,
}

struct State {
    power: PowerState,
    boot: Boot,
    mode: BootMode,
    secure_boot: bool,
    indicator: Indicator,
    media: Option<String>,
    bios: Attributes,
    /// What is on each disk; `None`: nothing.
    disks: Vec<Option<String>>,
    rescue: bool,
    steps: Vec<String>,
    epoch: i64,
    faults: BTreeMap<Touch, (u32, BmcError)>,
}

impl SimMachine {
    fn new(id: &str) -> Self {
        let bios = [
            ("BootMode", AttributeValue::Text("Uefi".to_owned())),
            (
                "ProcVirtualization",
                AttributeValue::Text("Enabled".to_owned()),
            ),
        ];
        Self {
            name: format!("sim://{id}"),
            serial: id.chars().filter(|c| *c != '-').take(12).collect(),
            state: Mutex::new(State {
                power: PowerState::Off,
                boot: Boot::always(BootDevice::Network),
                mode: BootMode::Uefi,
                secure_boot: false,
                indicator: Indicator::Off,
                media: None,
                bios: bios
                    .map(|(name, value)| (name.to_owned(), value))
                    .into_iter()
                    .collect(),
                disks: vec![None; DISKS],
                rescue: false,
                steps: Vec::new(),
                epoch: 0,
                faults: BTreeMap::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next calls of this kind fail and do nothing.
    pub fn fail_next(&self, touch: Touch, times: u32, error: BmcError) {
        self.state().faults.insert(touch, (times, error));
    }

    /// What is on each disk.
    pub fn disks(&self) -> Vec<Option<String>> {
        self.state().disks.clone()
    }

    /// Somebody's data is on the first disk.
    pub fn leave(&self, data: &str) {
        self.state().disks[0] = Some(data.to_owned());
    }

    pub fn runs_rescue_system(&self) -> bool {
        self.state().rescue
    }

    /// The steps that were run, as `interface.step`, oldest first.
    pub fn steps(&self) -> Vec<String> {
        self.state().steps.clone()
    }

    fn touch(&self, touch: Touch) -> Result<MutexGuard<'_, State>, BmcError> {
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
            Capability::Indicator,
            Capability::FirmwareInventory,
        ]
        .into_iter()
        .collect())
    }

    fn oddities(&self) -> Vec<Oddity> {
        Vec::new()
    }

    async fn power(&self) -> Result<PowerState, BmcError> {
        Ok(self.touch(Touch::Power)?.power)
    }

    async fn set_power(&self, action: PowerAction) -> Result<(), BmcError> {
        self.touch(Touch::SetPower)?.power = action.goal();
        Ok(())
    }

    async fn boot(&self) -> Result<Boot, BmcError> {
        let state = self.state();
        Ok(state.boot.in_mode(state.mode))
    }

    async fn set_boot(&self, wanted: Boot) -> Result<Boot, BmcError> {
        let mut state = self.touch(Touch::SetBoot)?;
        state.boot = wanted;
        Ok(wanted)
    }

    async fn set_boot_mode(&self, mode: BootMode) -> Result<Effect, BmcError> {
        self.state().mode = mode;
        Ok(Effect::NextBoot)
    }

    async fn secure_boot(&self) -> Result<SecureBoot, BmcError> {
        let enabled = self.state().secure_boot;
        Ok(SecureBoot {
            enabled,
            in_force: Some(enabled),
        })
    }

    async fn set_secure_boot(&self, enabled: bool) -> Result<(), BmcError> {
        self.state().secure_boot = enabled;
        Ok(())
    }

    async fn media(&self) -> Result<Vec<MediaSlot>, BmcError> {
        let image = self.state().media.clone();
        Ok(vec![MediaSlot {
            id: "Cd".to_owned(),
            kinds: vec![MediaKind::Cdrom],
            inserted: image.is_some(),
            image,
        }])
    }

    async fn insert_media(&self, _kind: MediaKind, media: &Media) -> Result<MediaSlot, BmcError> {
        let image = Some(media.image.to_string());
        self.state().media.clone_from(&image);
        Ok(MediaSlot {
            id: "Cd".to_owned(),
            kinds: vec![MediaKind::Cdrom],
            inserted: true,
            image,
        })
    }

    async fn eject_media(&self, _kind: MediaKind) -> Result<(), BmcError> {
        self.state().media = None;
        Ok(())
    }

    async fn bios(&self) -> Result<BiosSettings, BmcError> {
        Ok(BiosSettings {
            current: self.state().bios.clone(),
            ..BiosSettings::default()
        })
    }

    async fn inventory(&self) -> Result<Inventory, BmcError> {
        drop(self.touch(Touch::Inventory)?);
        let digits: Vec<String> = self
            .serial
            .as_bytes()
            .chunks(2)
            .take(5)
            .map(|pair| String::from_utf8_lossy(pair).to_lowercase())
            .collect();
        Ok(Inventory {
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
                mac: format!("02:{}", digits.join(":")),
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
        })
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
        let is_on = state.power == PowerState::On;
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
        Ok(Vec::new())
    }

    async fn clear_event_log(&self) -> Result<(), BmcError> {
        Ok(())
    }

    async fn firmware(&self) -> Result<Vec<FirmwareItem>, BmcError> {
        let item = |id: &str| FirmwareItem {
            id: id.to_owned(),
            name: Some(id.to_owned()),
            version: Some("1.0".to_owned()),
            updateable: Some(false),
        };
        Ok(vec![item("bmc"), item("bios")])
    }

    async fn indicator(&self) -> Result<Indicator, BmcError> {
        Ok(self.state().indicator)
    }

    async fn set_indicator(&self, indicator: Indicator) -> Result<(), BmcError> {
        self.state().indicator = indicator;
        Ok(())
    }
}

#[async_trait]
impl Inside for SimMachine {
    async fn wipe(&self, epoch: i64) -> Result<Vec<Wiped>, BmcError> {
        let mut state = self.touch_inside(Touch::Wipe, epoch)?;
        state.disks.fill(None);
        Ok((0..DISKS)
            .map(|disk| Wiped {
                serial: self.serial_of(disk),
                size_bytes: DISK_BYTES,
                method: "simulated".to_owned(),
            })
            .collect())
    }

    async fn install(&self, epoch: i64, image: &str) -> Result<(), BmcError> {
        let mut state = self.touch_inside(Touch::Install, epoch)?;
        state.disks[0] = Some(image.to_owned());
        state.rescue = false;
        Ok(())
    }

    async fn step(
        &self,
        epoch: i64,
        interface: &str,
        step: &str,
        _args: &Map<String, Value>,
    ) -> Result<(), BmcError> {
        let mut state = self.touch_inside(Touch::Step, epoch)?;
        let ran = format!("{interface}.{step}");
        // Asked again by a worker that does not know that it was done.
        if state.steps.last() != Some(&ran) {
            state.steps.push(ran);
        }
        Ok(())
    }

    async fn rescue(&self, epoch: i64, _password: &str) -> Result<(), BmcError> {
        self.touch_inside(Touch::Rescue, epoch)?.rescue = true;
        Ok(())
    }

    async fn unrescue(&self, epoch: i64) -> Result<(), BmcError> {
        self.touch_inside(Touch::Unrescue, epoch)?.rescue = false;
        Ok(())
    }
}
