//! The real host: [`QemuHost`] hands each task to the file that does it, one task per guest at a time.

mod attach;
mod launch;
mod nics;
mod observe;
mod power;
mod reshape;
mod shape;
mod snapshot;
mod suspend;

use crate::accel;
use crate::capacity;
use crate::cgroup::Cgroups;
use crate::config::HostConfig;
use crate::console;
use crate::disks::DiskMaker;
use crate::error::HostError;
use crate::files;
use crate::guest::Guest;
use crate::guest_dir::GuestDir;
use crate::hands::{
    Acceleration, Confinement, ConsoleSockets, Diagnostics, ExitCause, GuestEvent, Hands,
    HostCapacity, Observation,
};
use crate::images::ImageCache;
use crate::qemu::process;
use crate::task::{Fence, Report, Task};
use crate::user::GuestUser;
use async_trait::async_trait;
use corten_model::ids::InstanceId;
use corten_network::chassis::HostSwitch;
use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OnceCell, broadcast};
use tokio::task::JoinHandle;

/// Events that a slow subscriber may be behind.
const EVENT_BACKLOG: usize = 4096;
/// Guests that are gone, but whose operations' stragglers are still recognised.
const REMEMBERED_ABSENT: usize = 4096;

/// A hypervisor host that drives QEMU. Dropping it leaves its guests running; the next one adopts them.
pub struct QemuHost {
    inner: Arc<Inner>,
    log_keeper: JoinHandle<()>,
    /// Finds out the acceleration while the rest of the cloud starts.
    probe: JoinHandle<()>,
}

struct Inner {
    config: HostConfig,
    user: GuestUser,
    /// Without one guests have no network cards.
    switch: Option<Arc<HostSwitch>>,
    cgroups: Cgroups,
    images: ImageCache,
    /// Known when the probe is done; who needs it before waits.
    acceleration: OnceCell<Acceleration>,
    /// As `--version` tells it; empty if QEMU is not installed.
    hypervisor_version: String,
    guests: Mutex<HashMap<InstanceId, Arc<Guest>>>,
    events: broadcast::Sender<GuestEvent>,
}

impl QemuHost {
    /// Prepares the directories and adopts the guests that run. What acceleration works is found out behind it.
    pub async fn open(
        config: HostConfig,
        switch: Option<Arc<HostSwitch>>,
    ) -> Result<Self, HostError> {
        config.check()?;
        let user = GuestUser::find(&config)?;
        // QEMU starts inside these directories but may not list them.
        files::create_dir(&config.data_dir, 0o711)?;
        files::create_dir(&config.guests_dir(), 0o711)?;
        files::create_dir(&config.run_dir, 0o711)?;
        let hypervisor_version = capacity::hypervisor_version(&config.qemu)
            .await
            .unwrap_or_default();
        let inner = Arc::new(Inner {
            cgroups: Cgroups::prepare(&config.cgroup),
            images: ImageCache::open(&config)?,
            guests: Mutex::new(read_guests(&config)?),
            events: broadcast::Sender::new(EVENT_BACKLOG),
            config,
            user,
            switch,
            acceleration: OnceCell::new(),
            hypervisor_version,
        });
        inner.adopt_all().await?;
        let log_keeper = tokio::spawn(console::keep_bounded(Arc::downgrade(&inner)));
        let prober = Arc::clone(&inner);
        let probe = tokio::spawn(async move { drop(prober.acceleration().await) });
        Ok(Self {
            inner,
            log_keeper,
            probe,
        })
    }
}

impl Drop for QemuHost {
    fn drop(&mut self) {
        self.log_keeper.abort();
        self.probe.abort();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Each guest's watcher knows the guest; letting go of the processes ends the watchers.
        for guest in self
            .guests
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            guest.release();
        }
    }
}

/// Finds the guests on disk, and clears away what an interrupted task left behind.
fn read_guests(config: &HostConfig) -> Result<HashMap<InstanceId, Arc<Guest>>, HostError> {
    let directory = config.guests_dir();
    let entries = fs::read_dir(&directory).map_err(HostError::io("list", &directory))?;
    let mut guests = HashMap::new();
    for entry in entries {
        let entry = entry.map_err(HostError::io("list", &directory))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(".new-") || name.starts_with(".old-") {
            files::remove_dir(&entry.path())?;
        } else if let Ok(id) = name.parse::<InstanceId>() {
            let guest = Guest::read(id, GuestDir::new(config, id));
            if guest.is_present() {
                guests.insert(id, Arc::new(guest));
            } else {
                tracing::error!(guest = %id, "a guest's directory has no readable spec.json; it is left alone");
            }
        }
    }
    Ok(guests)
}

impl Inner {
    /// Finds the processes of all guests, also those whose pid was never written down.
    async fn adopt_all(&self) -> Result<(), HostError> {
        let guests: Vec<Arc<Guest>> = self.all_guests();
        let ids: Vec<InstanceId> = guests.iter().map(|guest| guest.id).collect();
        let found = process::find_all(&ids)
            .map_err(HostError::io("list", std::path::Path::new("/proc")))?;
        let found: HashMap<InstanceId, u32> = found.into_iter().collect();
        self.cgroups.sweep(|id| !ids.contains(&id));
        for guest in guests {
            match found.get(&guest.id) {
                Some(pid) => {
                    let run = self.run_of(*pid);
                    guest.update_state(|state| state.run = Some(run))?;
                    if let Err(error) = self.live(&guest).await {
                        tracing::error!(guest = %guest.id, pid, %error, "a running guest could not be adopted");
                    }
                }
                None => self.note_unseen_end(&guest)?,
            }
        }
        Ok(())
    }

    /// A process that ended while nobody watched: tell from its traces how.
    fn note_unseen_end(&self, guest: &Guest) -> Result<(), HostError> {
        let Some(run) = guest.state().run else {
            return Ok(());
        };
        let cause = if run.boot_id != capacity::boot_id() {
            ExitCause::HostRebooted
        } else if guest.dir.ended_in_disorder() {
            let output = process::last_words(&guest.dir);
            ExitCause::Died {
                status: "it ended while nobody watched".to_owned(),
                output,
            }
        } else {
            ExitCause::GuestShutdown
        };
        tracing::info!(guest = %guest.id, %cause, "a guest ended while nobody watched");
        guest.update_state(|state| {
            state.run = None;
            state.last_exit = Some(cause);
        })?;
        guest.dir.remove_sockets()
    }

    /// How guests run here; waits for the probe if it is still on its way.
    async fn acceleration(&self) -> Acceleration {
        let choose = || accel::choose(&self.config, &self.user, &self.hypervisor_version);
        self.acceleration.get_or_init(choose).await.clone()
    }

    fn all_guests(&self) -> Vec<Arc<Guest>> {
        let guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests
            .values()
            .filter(|guest| guest.is_present())
            .cloned()
            .collect()
    }

    fn guest(&self, id: InstanceId) -> Arc<Guest> {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        if guests.values().filter(|guest| !guest.is_present()).count() > REMEMBERED_ABSENT {
            guests.retain(|_, guest| guest.is_present() || Arc::strong_count(guest) > 1);
        }
        let absent = || Arc::new(Guest::absent(id, GuestDir::new(&self.config, id)));
        Arc::clone(guests.entry(id).or_insert_with(absent))
    }

    fn disk_maker(&self) -> DiskMaker<'_> {
        DiskMaker {
            config: &self.config,
            user: &self.user,
            images: &self.images,
        }
    }

    async fn perform(&self, fence: Fence, task: Task) -> Result<Report, HostError> {
        let Some(id) = task.guest() else {
            return self.perform_on_images(task).await;
        };
        let guest = self.guest(id);
        let _turn = guest.turn.lock().await;
        guest.admit(fence)?;
        match task {
            Task::CreateGuest { spec } => self.create(&guest, spec).await,
            Task::DeleteGuest { .. } => self.delete(&guest).await,
            other => {
                guest.spec()?;
                self.perform_on_guest(&guest, fence, other).await
            }
        }
    }

    async fn perform_on_images(&self, task: Task) -> Result<Report, HostError> {
        match task {
            Task::EnsureImage { image } => self
                .images
                .ensure(&image)
                .await
                .map(|image| Report::Image { image }),
            Task::DropImage { sha512 } => self.drop_image(&sha512).await,
            _ => Ok(Report::Already),
        }
    }

    async fn perform_on_guest(
        &self,
        guest: &Arc<Guest>,
        fence: Fence,
        task: Task,
    ) -> Result<Report, HostError> {
        match task {
            Task::Start { .. } => self.start(guest).await,
            Task::Stop { graceful_secs, .. } => self.stop(guest, graceful_secs).await,
            Task::Reboot { graceful_secs, .. } => {
                self.reboot(guest, fence.operation, graceful_secs).await
            }
            Task::ResetGuest { .. } => self.reset(guest).await,
            Task::Pause { .. } => self.pause(guest).await,
            Task::Unpause { .. } => self.unpause(guest).await,
            Task::Suspend { .. } => self.suspend(guest).await,
            Task::Resume { .. } => self.resume(guest).await,
            Task::Rebuild { spec } => self.rebuild(guest, spec).await,
            Task::Rescue {
                image,
                config_drive,
                ..
            } => self.rescue(guest, &image, config_drive).await,
            Task::Unrescue { .. } => self.unrescue(guest).await,
            Task::UpdateConfigDrive { config_drive, .. } => {
                self.update_config_drive(guest, config_drive).await
            }
            Task::AttachDisk { disk, .. } => self.attach_disk(guest, disk).await,
            Task::DetachDisk { disk, .. } => self.detach_disk(guest, &disk).await,
            Task::AttachNic { nic, .. } => self.attach_nic(guest, nic).await,
            Task::DetachNic { port, .. } => self.detach_nic(guest, port).await,
            Task::Reshape {
                shape,
                graceful_secs,
                ..
            } => {
                self.reshape(guest, fence.operation, shape, graceful_secs)
                    .await
            }
            Task::ConfirmShape { .. } => self.confirm_shape(guest).await,
            Task::RevertShape { .. } => self.revert_shape(guest).await,
            Task::Snapshot { target, format, .. } => self.snapshot(guest, &target, format).await,
            Task::EnsureImage { .. }
            | Task::DropImage { .. }
            | Task::CreateGuest { .. }
            | Task::DeleteGuest { .. } => Ok(Report::Already),
        }
    }

    /// A guest that must exist, for questions.
    fn present(&self, id: InstanceId) -> Result<Arc<Guest>, HostError> {
        let guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests
            .get(&id)
            .filter(|guest| guest.is_present())
            .cloned()
            .ok_or(HostError::NoSuchGuest { id })
    }

    fn confinement(&self) -> Confinement {
        let mut weaknesses = self.cgroups.weaknesses.clone();
        if self.user.changes && self.user.name == "nobody" {
            weaknesses.push(
                "guests share the user 'nobody' with other services: 'adduser --system --group corten-qemu'".to_owned(),
            );
        }
        if !self.user.changes {
            weaknesses.push(format!(
                "guests run as our own user ({}), because we are not root",
                self.user.name
            ));
        }
        Confinement {
            user: self.user.name.clone(),
            cgroup: self.cgroups.describe(),
            weaknesses,
        }
    }
}

#[async_trait]
impl Hands for QemuHost {
    async fn perform(&self, fence: Fence, task: Task) -> Result<Report, HostError> {
        let inner = Arc::clone(&self.inner);
        // In a task of its own, so that a caller who goes away leaves nothing half done.
        tokio::spawn(async move { inner.perform(fence, task).await })
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
        let guest = self.inner.present(id)?;
        console::read(
            &guest.dir,
            tail_lines,
            self.inner.config.console_log_max_bytes,
        )
    }

    async fn observe(&self, id: InstanceId) -> Result<Option<Observation>, HostError> {
        match self.inner.present(id) {
            Ok(guest) => self.inner.observe(&guest).await.map(Some),
            Err(HostError::NoSuchGuest { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn observe_all(&self) -> Result<Vec<Observation>, HostError> {
        let mut observations = Vec::new();
        for guest in self.inner.all_guests() {
            observations.push(self.inner.observe(&guest).await?);
        }
        Ok(observations)
    }

    async fn cached_images(&self) -> Result<Vec<String>, HostError> {
        self.inner.images.hashes()
    }

    async fn diagnostics(&self, id: InstanceId) -> Result<Diagnostics, HostError> {
        let guest = self.inner.present(id)?;
        self.inner.diagnostics(&guest).await
    }

    async fn consoles(&self, id: InstanceId) -> Result<ConsoleSockets, HostError> {
        let guest = self.inner.present(id)?;
        self.inner.consoles(&guest)
    }

    fn subscribe(&self) -> broadcast::Receiver<GuestEvent> {
        self.inner.events.subscribe()
    }

    async fn capacity(&self) -> Result<HostCapacity, HostError> {
        let inner = &self.inner;
        capacity::read(
            &inner.config,
            inner.hypervisor_version.clone(),
            inner.acceleration().await,
            inner.confinement(),
        )
    }
}

impl console::Logs for Inner {
    fn running_guests(&self) -> Vec<GuestDir> {
        let guests = self.all_guests();
        guests
            .iter()
            .filter(|guest| guest.process().is_some())
            .map(|guest| guest.dir.clone())
            .collect()
    }

    fn max_bytes(&self) -> u64 {
        self.config.console_log_max_bytes
    }
}
