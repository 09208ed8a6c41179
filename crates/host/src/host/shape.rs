//! What a guest consists of: create, rebuild, rescue, unrescue, the config drive, delete.

use super::Inner;
use crate::error::HostError;
use crate::files;
use crate::guest::Guest;
use crate::guest_dir::{self, GuestDir};
use crate::machine::Machine;
use crate::spec::{ConfigDrive, GuestSpec, ImageRef};
use crate::task::Report;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a rebuild makes anew.
const REBUILT: [&str; 5] = [
    guest_dir::ROOT,
    guest_dir::EPHEMERAL,
    guest_dir::SWAP,
    guest_dir::UEFI_VARIABLES,
    guest_dir::CONFIG_DRIVE,
];
/// What a rebuild leaves behind of the guest as it was.
const OUTLIVED: [&str; 9] = [
    guest_dir::EPHEMERAL_LAYER,
    guest_dir::ROOT_BEFORE,
    guest_dir::EPHEMERAL_BEFORE,
    guest_dir::EPHEMERAL_LAYER_BEFORE,
    guest_dir::BEFORE,
    guest_dir::RESCUE,
    guest_dir::RESCUE_CONFIG_DRIVE,
    guest_dir::MEMORY,
    guest_dir::CONSOLE_LOG,
];
/// More would need an interrupt remapper in the machine.
const VCPUS_MAX: u32 = 255;
/// The kernel takes a moment to empty the cgroup of a process that has ended.
const CGROUP_LIMIT: Duration = Duration::from_secs(2);
const CGROUP_INTERVAL: Duration = Duration::from_millis(5);

impl Inner {
    pub(super) async fn create(
        &self,
        guest: &Arc<Guest>,
        spec: GuestSpec,
    ) -> Result<Report, HostError> {
        if guest.is_present() {
            return Ok(Report::Already);
        }
        let spec = checked(spec)?;
        let unfinished = self.make(&spec).await?;
        let state = guest.state();
        let finished = files::write_json(&unfinished.join(guest_dir::STATE), &state)
            .and_then(|()| files::rename(&unfinished, guest.dir.path()));
        if let Err(error) = finished {
            files::remove_dir(&unfinished)?;
            return Err(error);
        }
        guest.set_spec(GuestSpec {
            config_drive: None,
            ..spec
        });
        Ok(Report::Done)
    }

    /// Makes everything of a spec in a directory of its own; nothing stays if that fails.
    async fn make(&self, spec: &GuestSpec) -> Result<PathBuf, HostError> {
        let unfinished = GuestDir::unfinished(&self.config, spec.id);
        files::remove_dir(&unfinished)?;
        let made = async {
            // QEMU passes through, but may neither list nor change the directory.
            files::create_dir(&unfinished, 0o711)?;
            self.disk_maker().make_all(&unfinished, spec).await?;
            GuestDir::write_spec(&unfinished, spec)
        };
        match made.await {
            Ok(()) => Ok(unfinished),
            Err(error) => {
                files::remove_dir(&unfinished)?;
                Err(error)
            }
        }
    }

    pub(super) async fn rebuild(
        &self,
        guest: &Arc<Guest>,
        spec: GuestSpec,
    ) -> Result<Report, HostError> {
        let spec = checked(spec)?;
        let unfinished = self.make(&spec).await?;
        self.stop(guest, None).await?;
        let mut outlived_nics = guest.spec()?.nics.clone();
        outlived_nics.retain(|old| !spec.nics.iter().any(|nic| nic.port == old.port));
        self.unplug_all(&outlived_nics).await?;
        for name in REBUILT {
            let (made, old) = (unfinished.join(name), guest.dir.file(name));
            if made.exists() {
                files::rename(&made, &old)?
            } else {
                files::remove_file(&old)?
            }
        }
        OUTLIVED
            .iter()
            .try_for_each(|name| files::remove_file(&guest.dir.file(name)))?;
        GuestDir::write_spec(guest.dir.path(), &spec)?;
        guest.set_spec(GuestSpec {
            config_drive: None,
            ..spec
        });
        guest.update_state(|state| {
            state.rescue_image = None;
            state.last_exit = None;
        })?;
        files::remove_dir(&unfinished)?;
        Ok(Report::Done)
    }

    pub(super) async fn rescue(
        &self,
        guest: &Arc<Guest>,
        image: &ImageRef,
        config_drive: Option<ConfigDrive>,
    ) -> Result<Report, HostError> {
        if guest.state().rescue_image.is_some() {
            return self.start(guest).await;
        }
        let (directory, disks) = (guest.dir.path(), self.disk_maker());
        disks.cached(image)?;
        self.stop(guest, None).await?;
        self.remove_rescue_files(guest)?;
        disks
            .make_root(directory, guest_dir::RESCUE, Some(image), 0)
            .await?;
        if let Some(config_drive) = &config_drive {
            disks
                .make_config_drive(directory, guest_dir::RESCUE_CONFIG_DRIVE, config_drive)
                .await?;
        }
        guest.update_state(|state| state.rescue_image = Some(image.sha512.clone()))?;
        self.start(guest).await?;
        Ok(Report::Done)
    }

    pub(super) async fn unrescue(&self, guest: &Arc<Guest>) -> Result<Report, HostError> {
        if guest.state().rescue_image.is_some() {
            self.stop(guest, None).await?;
            guest.update_state(|state| state.rescue_image = None)?;
        }
        self.remove_rescue_files(guest)?;
        self.start(guest).await
    }

    fn remove_rescue_files(&self, guest: &Guest) -> Result<(), HostError> {
        files::remove_file(&guest.dir.file(guest_dir::RESCUE))?;
        files::remove_file(&guest.dir.file(guest_dir::RESCUE_CONFIG_DRIVE))
    }

    pub(super) async fn update_config_drive(
        &self,
        guest: &Arc<Guest>,
        config_drive: Option<ConfigDrive>,
    ) -> Result<Report, HostError> {
        match &config_drive {
            Some(config_drive) => {
                self.disk_maker()
                    .make_config_drive(guest.dir.path(), guest_dir::CONFIG_DRIVE, config_drive)
                    .await?;
            }
            None => files::remove_file(&guest.dir.file(guest_dir::CONFIG_DRIVE))?,
        }
        Ok(Report::Done)
    }

    pub(super) async fn delete(&self, guest: &Arc<Guest>) -> Result<Report, HostError> {
        let was_present = guest.is_present() || guest.dir.exists();
        self.kill(guest).await?;
        if let Ok(spec) = guest.spec() {
            self.unplug_all(&spec.nics).await?;
        }
        files::remove_dir(&GuestDir::unfinished(&self.config, guest.id))?;
        guest.dir.remove()?;
        self.remove_cgroup(guest).await;
        guest.forget();
        Ok(if was_present {
            Report::Done
        } else {
            Report::Already
        })
    }

    /// A group that stays busy, say because nobody collects the ended process, is swept when the host starts again.
    async fn remove_cgroup(&self, guest: &Guest) {
        let deadline = Instant::now() + CGROUP_LIMIT;
        while let Err(error) = self.cgroups.remove(guest.id) {
            if Instant::now() >= deadline {
                tracing::warn!(guest = %guest.id, %error, "the group of a guest that is gone cannot be removed yet");
                return;
            }
            tokio::time::sleep(CGROUP_INTERVAL).await;
        }
    }

    pub(super) async fn drop_image(&self, sha512: &str) -> Result<Report, HostError> {
        for guest in self.all_guests() {
            let (Ok(spec), state) = (guest.spec(), guest.state()) else {
                continue;
            };
            let root = spec.image.as_ref().map(|image| image.sha512.as_str());
            if root == Some(sha512) || state.rescue_image.as_deref() == Some(sha512) {
                return Err(HostError::ImageInUse {
                    sha512: sha512.to_owned(),
                    id: guest.id,
                });
            }
        }
        self.images.forget(sha512).await?;
        Ok(Report::Done)
    }
}

/// Refuses at once what could only fail at start. An image that asks for a firmware gets it.
pub(super) fn checked(spec: GuestSpec) -> Result<GuestSpec, HostError> {
    let invalid = |field: &str, value: &dyn ToString, rule: &str| {
        Err(HostError::InvalidSpec {
            field: field.to_owned(),
            value: value.to_string(),
            rule: rule.to_owned(),
        })
    };
    let machine = Machine::parse(&spec.machine_properties)?;
    if !(1..=VCPUS_MAX).contains(&spec.vcpus) {
        return invalid("vcpus", &spec.vcpus, "a guest has 1 to 255 processors");
    }
    if spec.memory_mib == 0 {
        return invalid("memory_mib", &spec.memory_mib, "a guest needs memory");
    }
    spec.disks.iter().try_for_each(super::attach::check_disk)?;
    for (index, nic) in spec.nics.iter().enumerate() {
        if spec.nics[..index]
            .iter()
            .any(|other| other.port == nic.port)
        {
            return invalid("port", &nic.port, "a guest has one network card for a port");
        }
    }
    Ok(GuestSpec {
        firmware: machine.firmware.unwrap_or(spec.firmware),
        ..spec
    })
}
