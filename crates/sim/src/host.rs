//! The simulated host: takes tasks one by one per guest, answers questions, and does what a test orders to go wrong.

use crate::config::SimConfig;
use crate::faults::{Faults, Moment, TaskKind};
use crate::guest::Guest;
use crate::leaks::Leaks;
use crate::tasks::{self, Images, Pids};
use async_trait::async_trait;
use corten_host::{
    Acceleration, Accelerator, Confinement, ConsoleSockets, Diagnostics, ExitCause, Fence, Fences,
    GuestEvent, GuestSpec, Hands, HostCapacity, HostError, Observation, Report, Task,
};
use corten_model::ids::InstanceId;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// Guests that are gone, but whose operations' stragglers are still recognised.
const REMEMBERED_ABSENT: usize = 256;

/// A host in memory. Cheap to make and to clone; clones are the same host.
#[derive(Clone)]
pub struct SimHost {
    inner: Arc<Inner>,
}

struct Inner {
    config: SimConfig,
    state: Mutex<State>,
    /// Made for the first subscriber: a fleet that nobody listens to costs nothing.
    events: OnceLock<broadcast::Sender<GuestEvent>>,
}

#[derive(Default)]
struct State {
    places: HashMap<InstanceId, Place>,
    /// How many of the places have a guest.
    present: usize,
    images: Images,
    pids: Pids,
    faults: Faults,
    performed: HashMap<TaskKind, u64>,
}

/// Where a guest is, was or will be.
#[derive(Default)]
struct Place {
    turn: Arc<tokio::sync::Mutex<()>>,
    fences: Fences,
    guest: Option<Guest>,
}

impl SimHost {
    pub fn new(config: SimConfig) -> Self {
        Self {
            inner: Arc::new(Inner {
                config,
                state: Mutex::default(),
                events: OnceLock::new(),
            }),
        }
    }

    pub fn hostname(&self) -> &str {
        &self.inner.config.hostname
    }

    /// The next `times` tasks of this kind fail with `error` before they do anything.
    pub fn fail_next(&self, kind: TaskKind, times: u32, error: HostError) {
        self.inner
            .state()
            .faults
            .order(kind, Moment::Before, times, error);
    }

    /// The next `times` tasks of this kind are done, but answer with `error`: the answer got lost.
    pub fn lose_answers(&self, kind: TaskKind, times: u32, error: HostError) {
        self.inner
            .state()
            .faults
            .order(kind, Moment::After, times, error);
    }

    /// Each task of this kind takes so long from now on.
    pub fn delay(&self, kind: TaskKind, delay: Duration) {
        self.inner.state().faults.set_delay(kind, delay);
    }

    /// Nothing gets an answer until [`SimHost::heal`]. A task that is being done goes on; its answer is lost.
    pub fn cut_off(&self) {
        self.inner.state().faults.cut_off(None);
    }

    /// Nothing gets an answer for so long.
    pub fn cut_off_for(&self, outage: Duration) {
        self.inner
            .state()
            .faults
            .cut_off(Some(Instant::now() + outage));
    }

    /// Takes back every fault, delay and outage.
    pub fn heal(&self) {
        self.inner.state().faults.clear();
    }

    /// The guest's process dies. False if it has none.
    pub fn crash(&self, id: InstanceId) -> bool {
        self.end_guest(
            id,
            ExitCause::Died {
                status: "killed by signal 9".to_owned(),
                output: "simulated crash".to_owned(),
            },
        )
    }

    /// The guest's process ends for this reason. False if it has none.
    pub fn end_guest(&self, id: InstanceId, cause: ExitCause) -> bool {
        self.inner.change(id, |guest| {
            let had_process = guest.process.is_some();
            guest.end(cause);
            had_process
        })
    }

    /// The host goes down and comes back: guests are off, nothing else is lost.
    pub fn reboot_host(&self) {
        let ids: Vec<_> = self.inner.state().places.keys().copied().collect();
        for id in ids {
            self.end_guest(id, ExitCause::HostRebooted);
        }
    }

    /// Whether this guest powers off when asked. False if it is not here.
    pub fn set_obedience(&self, id: InstanceId, obeys: bool) -> bool {
        self.inner.change(id, |guest| {
            guest.obeys = obeys;
            true
        })
    }

    /// The guest writes to its serial console. False if it is not here.
    pub fn write_console(&self, id: InstanceId, text: &str) -> bool {
        self.inner.change(id, |guest| {
            guest.write_console(text.as_bytes());
            true
        })
    }

    /// How many tasks of this kind had their effect, or found it there already.
    pub fn performed(&self, kind: TaskKind) -> u64 {
        self.inner
            .state()
            .performed
            .get(&kind)
            .copied()
            .unwrap_or_default()
    }

    /// What a guest's config drive tells of its networks.
    pub fn network_data(&self, id: InstanceId) -> Option<Vec<u8>> {
        self.inner.state().guest(id).ok()?.network_data.clone()
    }

    /// How many guests, present or gone, the host has in mind.
    pub fn remembered(&self) -> usize {
        self.inner.state().places.len()
    }

    /// Everything the host still holds.
    pub fn leaks(&self) -> Leaks {
        let state = self.inner.state();
        let mut leaks = Leaks {
            images: state.images.hashes(),
            ..Leaks::default()
        };
        for guest in state
            .places
            .values()
            .filter_map(|place| place.guest.as_ref())
        {
            let id = guest.id();
            leaks.guests.push(id);
            leaks.processes.extend(guest.process.as_ref().map(|_| id));
            let files = guest.files().into_iter();
            leaks.disks.extend(files.map(|file| format!("{id}/{file}")));
            leaks.nics.extend(guest.taps.iter().copied());
        }
        leaks.guests.sort();
        leaks.processes.sort();
        leaks.disks.sort();
        leaks.nics.sort();
        leaks
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, if the host can be reached.
    fn reach(&self) -> Result<MutexGuard<'_, State>, HostError> {
        let state = self.state();
        state.faults.check_reachable(&self.config.hostname)?;
        Ok(state)
    }

    /// Changes a guest from outside of any task, and tells what came of it. False if it is not here.
    fn change(&self, id: InstanceId, change: impl FnOnce(&mut Guest) -> bool) -> bool {
        let mut state = self.state();
        let place = state.places.get_mut(&id);
        let Some(guest) = place.and_then(|place| place.guest.as_mut()) else {
            return false;
        };
        let changed = change(guest);
        self.tell(guest);
        changed
    }

    fn tell(&self, guest: &mut Guest) {
        let id = guest.id();
        for change in guest.changes.drain(..) {
            if let Some(events) = self.events.get() {
                // Nobody listening is fine.
                let _ = events.send(GuestEvent { id, change });
            }
        }
    }

    /// Does a task from its fence to its answer. Nothing waits in here, so nobody can see it half done.
    fn perform(&self, fence: Fence, task: Task) -> Result<Report, HostError> {
        let kind = TaskKind::of(&task);
        let mut state = self.state();
        if let Some(id) = task.guest() {
            state
                .places
                .entry(id)
                .or_default()
                .fences
                .admit(id, fence)?;
        }
        if let Some(error) = state.faults.strike(kind, Moment::Before) {
            return Err(error);
        }
        let report = match (task.guest(), task) {
            (None, task) => state.perform_on_images(task, &self.config)?,
            (Some(id), Task::DeleteGuest { .. }) => match state.delete(id) {
                Some(mut guest) => {
                    guest.end(ExitCause::Requested);
                    self.tell(&mut guest);
                    Report::Done
                }
                None => Report::Already,
            },
            (Some(id), task) => {
                let report = state.perform_on_guest(id, fence, task, &self.config);
                let place = state.places.get_mut(&id);
                if let Some(guest) = place.and_then(|place| place.guest.as_mut()) {
                    self.tell(guest);
                }
                report?
            }
        };
        *state.performed.entry(kind).or_default() += 1;
        if let Some(error) = state.faults.strike(kind, Moment::After) {
            return Err(error);
        }
        state.faults.check_reachable(&self.config.hostname)?;
        Ok(report)
    }

    fn events(&self) -> &broadcast::Sender<GuestEvent> {
        self.events
            .get_or_init(|| broadcast::Sender::new(self.config.events_kept.max(1)))
    }
}

impl State {
    fn guest(&self, id: InstanceId) -> Result<&Guest, HostError> {
        self.places
            .get(&id)
            .and_then(|place| place.guest.as_ref())
            .ok_or(HostError::NoSuchGuest { id })
    }

    fn place(&mut self, id: InstanceId) -> &mut Place {
        let absent = self.places.len() - self.present;
        if absent > REMEMBERED_ABSENT && !self.places.contains_key(&id) {
            self.places
                .retain(|_, place| place.guest.is_some() || Arc::strong_count(&place.turn) > 1);
        }
        self.places.entry(id).or_default()
    }

    fn guests(&self) -> impl Iterator<Item = &Guest> {
        self.places
            .values()
            .filter_map(|place| place.guest.as_ref())
    }

    fn perform_on_images(&mut self, task: Task, config: &SimConfig) -> Result<Report, HostError> {
        match task {
            Task::EnsureImage { image } => self.images.ensure(&image, config),
            Task::DropImage { sha512 } => {
                let user = self.guests().find(|guest| guest.stands_on(&sha512));
                match user.map(Guest::id) {
                    Some(id) => Err(tasks::in_use(&sha512, id)),
                    None => self.images.drop_image(&sha512),
                }
            }
            _ => Ok(Report::Already),
        }
    }

    fn perform_on_guest(
        &mut self,
        id: InstanceId,
        fence: Fence,
        task: Task,
        config: &SimConfig,
    ) -> Result<Report, HostError> {
        if let Task::CreateGuest { spec } = task {
            return self.create(spec, config.guests_obey);
        }
        let State {
            places,
            images,
            pids,
            ..
        } = self;
        let place = places.get_mut(&id);
        let guest = place
            .and_then(|place| place.guest.as_mut())
            .ok_or(HostError::NoSuchGuest { id })?;
        match task {
            Task::Start { .. } => guest.start(pids),
            Task::Stop { graceful_secs, .. } => Ok(guest.stop(graceful_secs)),
            Task::Reboot { graceful_secs, .. } => {
                guest.reboot(fence.operation, graceful_secs, pids)
            }
            Task::ResetGuest { .. } => guest.reset(),
            Task::Pause { .. } => guest.pause(),
            Task::Unpause { .. } => guest.unpause(),
            Task::Suspend { .. } => guest.suspend(),
            Task::Resume { .. } => guest.resume(pids),
            Task::Rebuild { spec } => guest.rebuild(spec, images),
            Task::Rescue {
                image,
                config_drive,
                ..
            } => guest.rescue(&image, config_drive.as_ref(), images, pids),
            Task::Unrescue { .. } => guest.unrescue(pids),
            Task::UpdateConfigDrive { config_drive, .. } => {
                guest.update_config_drive(config_drive.as_ref())
            }
            Task::AttachDisk { disk, .. } => guest.attach_disk(disk),
            Task::DetachDisk { disk, .. } => Ok(guest.detach_disk(&disk)),
            Task::AttachNic { nic, .. } => guest.attach_nic(nic),
            Task::DetachNic { port, .. } => Ok(guest.detach_nic(port)),
            Task::Reshape {
                shape,
                graceful_secs,
                ..
            } => guest.reshape(fence.operation, shape, graceful_secs, config),
            Task::ConfirmShape { .. } => Ok(guest.confirm_shape()),
            Task::RevertShape { .. } => Ok(guest.revert_shape()),
            Task::Snapshot { target, format, .. } => guest.snapshot(&target, format, config),
            Task::EnsureImage { .. }
            | Task::DropImage { .. }
            | Task::CreateGuest { .. }
            | Task::DeleteGuest { .. } => Ok(Report::Already),
        }
    }

    fn create(&mut self, spec: GuestSpec, obeys: bool) -> Result<Report, HostError> {
        if self.guest(spec.id).is_ok() {
            return Ok(Report::Already);
        }
        let spec = tasks::checked(spec, &self.images)?;
        let id = spec.id;
        self.place(id).guest = Some(Guest::new(spec, obeys));
        self.present += 1;
        Ok(Report::Done)
    }

    /// The guest goes, its fences stay for a while.
    fn delete(&mut self, id: InstanceId) -> Option<Guest> {
        let guest = self.places.get_mut(&id)?.guest.take()?;
        self.present -= 1;
        Some(guest)
    }
}

#[async_trait]
impl Hands for SimHost {
    async fn perform(&self, fence: Fence, task: Task) -> Result<Report, HostError> {
        let (turn, delay) = {
            let mut state = self.inner.reach()?;
            let delay = state.faults.delay(TaskKind::of(&task));
            let turn = match task.guest() {
                Some(id) => Arc::clone(&state.place(id).turn),
                None => Arc::default(),
            };
            (turn, delay)
        };
        if delay.is_zero()
            && let Ok(_turn) = turn.try_lock()
        {
            return self.inner.perform(fence, task);
        }
        let inner = Arc::clone(&self.inner);
        // In a task of its own, so that it goes on when the caller stops waiting.
        tokio::spawn(async move {
            let _turn = turn.lock().await;
            tokio::time::sleep(delay).await;
            inner.perform(fence, task)
        })
        .await
        .map_err(|error| HostError::Internal {
            doing: "perform".to_owned(),
            reason: error.to_string(),
        })?
    }

    async fn console_log(
        &self,
        id: InstanceId,
        tail_lines: Option<usize>,
    ) -> Result<Vec<u8>, HostError> {
        Ok(self.inner.reach()?.guest(id)?.console_tail(tail_lines))
    }

    async fn observe(&self, id: InstanceId) -> Result<Option<Observation>, HostError> {
        let state = self.inner.reach()?;
        Ok(state.guest(id).ok().map(Guest::observation))
    }

    async fn observe_all(&self) -> Result<Vec<Observation>, HostError> {
        let state = self.inner.reach()?;
        Ok(state.guests().map(Guest::observation).collect())
    }

    async fn cached_images(&self) -> Result<Vec<String>, HostError> {
        Ok(self.inner.reach()?.images.hashes())
    }

    async fn diagnostics(&self, id: InstanceId) -> Result<Diagnostics, HostError> {
        let state = self.inner.reach()?;
        let guest = state.guest(id)?;
        match &guest.process {
            Some(process) => Ok(guest.diagnostics(process)),
            None => Err(guest.wrong_state("only a guest with power has diagnostics: start it")),
        }
    }

    async fn consoles(&self, id: InstanceId) -> Result<ConsoleSockets, HostError> {
        let state = self.inner.reach()?;
        let guest = state.guest(id)?;
        if guest.process.is_none() {
            return Err(guest.wrong_state("its consoles listen while it runs: start it"));
        }
        let directory = PathBuf::from(format!("/nonexistent/{}/{id}", self.hostname()));
        Ok(ConsoleSockets {
            serial: directory.join("serial.sock"),
            vnc: directory.join("vnc.sock"),
        })
    }

    fn subscribe(&self) -> broadcast::Receiver<GuestEvent> {
        self.inner.events().subscribe()
    }

    async fn capacity(&self) -> Result<HostCapacity, HostError> {
        let state = self.inner.reach()?;
        let config = &self.inner.config;
        let running = state.guests().filter(|guest| guest.process.is_some());
        Ok(HostCapacity {
            hostname: config.hostname.clone(),
            vcpus: config.vcpus,
            memory_mib: config.memory_mib,
            memory_used_mib: running.map(|guest| guest.spec.memory_mib).sum(),
            disk_gib: config.disk_gib,
            disk_used_gib: state
                .guests()
                .map(|guest| guest.spec.root_gib + guest.spec.ephemeral_gib)
                .sum(),
            cpu_arch: "x86_64".to_owned(),
            cpu_model: "simulated".to_owned(),
            cpu_vendor: "Corten".to_owned(),
            cpu_features: vec!["sse2".to_owned()],
            hypervisor_version: "7.2.0".to_owned(),
            acceleration: Acceleration {
                accelerator: Accelerator::Tcg,
                reason: "a simulated host runs no guests".to_owned(),
            },
            uptime: "up 1 day".to_owned(),
            confinement: Confinement {
                user: "nobody".to_owned(),
                cgroup: None,
                weaknesses: Vec::new(),
            },
        })
    }
}
