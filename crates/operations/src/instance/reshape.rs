//! Accepting what changes an instance's size or gives its host back: resize, confirm, revert, shelve, offload,
//! unshelve; and refusing what would need a way for disks from host to host.
//!
//! [`end_overdue`] accepts in the system's own name what waited longer than its state may last.

use super::capture::{self, NewCapture};
use super::command::{self, Accepted, accept};
use super::{migrations, named, query};
use crate::confirm_resize::{self, ConfirmResize};
use crate::context::Context;
use crate::image::{self, NewImage};
use crate::offload_instance::{self, OffloadInstance};
use crate::quota;
use crate::resize_instance::{self, ResizeInstance};
use crate::revert_resize::{self, RevertResize};
use crate::shelve_instance::{self, ShelveInstance, drop_shelved_image};
use crate::unshelve_instance::{self, UnshelveInstance};
use corten_engine::{Place, Subject, Submission, submit};
use corten_iam::action::compute;
use corten_iam::actor::Actor;
use corten_model::ids::{FlavorId, HostId, InstanceId};
use corten_model::lifecycle::{Command, OverBudget, VmState, decide, find};
use corten_model::origin::Origin;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::images::Visibility;
use corten_store::instances::{self, Flavor, Image, Instance, Resize, Usage};
use corten_store::{Failure, Query, Tx, aggregates, hosts};
use std::sync::Arc;
use std::time::Duration;

/// Gives an instance another flavor, until it is confirmed or reverted.
pub async fn resize(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    flavor_id: &FlavorId,
    disk_config: Option<String>,
) -> Result<(), Failure> {
    let mut accepted = accept(cx, actor, id, Command::Resize, compute::SERVERS_WRITE).await?;
    let Accepted { tx, instance, .. } = &mut accepted;
    let old = instance.intent.flavor.clone();
    let new = named::vm_flavor(cx, tx, actor, flavor_id).await?;
    if new.id == old.id {
        return Err(Refusal::invalid("When resizing, instances must change flavor!").into());
    }
    if new.root_gib == 0 && old.root_gib != 0 {
        return Err(cannot_resize("Resize to zero disk flavor is not allowed.").into());
    }
    let more = Usage {
        instances: 0,
        vcpus: new.vcpus - old.vcpus,
        memory_mib: new.memory_mib - old.memory_mib,
    };
    let (project, user) = (instance.project_id.clone(), instance.user_id.clone());
    quota::check_instances(tx, cx, &project, &user, more).await?;
    check_growth(&old, &new)?;
    let disk_config = disk_config.unwrap_or_else(|| "MANUAL".to_owned());
    if let Some(image) = &instance.intent.image {
        check_image(image, &new, &disk_config)?;
    }
    instance.intent.disk_config = disk_config;
    instance.resize = Some(Resize {
        old_flavor: old,
        new_flavor: new,
        was_active: instance.state.vm == VmState::Active,
        waits_since: None,
    });
    instances::update(tx, instance, cx.now()).await?;
    let input = resize_instance::Input { instance_id: id };
    let first = (Place::Control, resize_instance::Step::Prepare);
    let workflow = ResizeInstance(cx.clone());
    let begun = command::begin(cx, actor, &mut accepted, &workflow, first, input).await?;
    let Some(operation) = begun else {
        return Ok(());
    };
    let Accepted {
        mut tx, instance, ..
    } = accepted;
    migrations::keep(&mut tx, actor, &instance, operation, cx.now()).await?;
    tx.commit().await?;
    Ok(())
}

fn cannot_resize(reason: impl std::fmt::Display) -> Refusal {
    Refusal::invalid(format!(
        "Server disk was unable to be resized because: {reason}"
    ))
}

/// Disks are never made smaller: what they hold may be in the part that would go.
fn check_growth(old: &Flavor, new: &Flavor) -> Result<(), Refusal> {
    for (disk, old_gib, new_gib) in [
        ("root", old.root_gib, new.root_gib),
        ("ephemeral", old.ephemeral_gib, new.ephemeral_gib),
    ] {
        if new_gib < old_gib {
            return Err(cannot_resize(format!(
                "Unable to resize disk down. The {disk} disk has {old_gib} GiB, flavor {} has {new_gib} GiB.",
                new.name
            )));
        }
    }
    Ok(())
}

/// The image's own demands, as at a create.
fn check_image(image: &Image, flavor: &Flavor, disk_config: &str) -> Result<(), Refusal> {
    if flavor.memory_mib < image.min_ram_mib {
        return Err(Refusal::invalid(format!(
            "Flavor's memory is too small for requested image. Image {} needs {} MiB, flavor {} has {} MiB.",
            image.id, image.min_ram_mib, flavor.name, flavor.memory_mib
        )));
    }
    if flavor.root_gib > 0 && flavor.root_gib < image.min_disk_gib {
        return Err(Refusal::invalid(format!(
            "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is {} GiB, image \
             {} needs {} GiB.",
            flavor.root_gib, image.id, image.min_disk_gib
        )));
    }
    let is_off = |value: &String| value.eq_ignore_ascii_case("false");
    let forbidden = image.properties.get("auto_disk_config").is_some_and(is_off);
    if forbidden && disk_config == "AUTO" {
        return Err(Refusal::invalid(format!(
            "Requested image {} has automatic disk resize disabled.",
            image.id
        )));
    }
    Ok(())
}

/// The host of an instance that has one.
fn host_of(instance: &Instance) -> Result<HostId, Refusal> {
    instance
        .host_id
        .ok_or_else(|| Refusal::conflict(format!("Instance {} is on no host.", instance.id)))
}

fn has_resize(instance: &Instance) -> Result<(), Refusal> {
    match &instance.resize {
        Some(_) => Ok(()),
        None => Err(Refusal::invalid(format!(
            "Instance has not been resized: nothing of a resize of {} is left to confirm or revert.",
            instance.id
        ))),
    }
}

/// Makes a resize final.
pub async fn confirm_resize(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
) -> Result<(), Failure> {
    let command = Command::ConfirmResize;
    let accepted = accept(cx, actor, id, command, compute::SERVERS_WRITE).await?;
    has_resize(&accepted.instance)?;
    let host = host_of(&accepted.instance)?;
    let input = confirm_resize::Input { instance_id: id };
    let first = (place(host), confirm_resize::Step::Merge { host });
    command::go(
        cx,
        actor,
        accepted,
        &ConfirmResize(cx.clone()),
        first,
        input,
    )
    .await
}

/// Takes a resize back.
pub async fn revert_resize(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
) -> Result<(), Failure> {
    let command = Command::RevertResize;
    let accepted = accept(cx, actor, id, command, compute::SERVERS_WRITE).await?;
    has_resize(&accepted.instance)?;
    let host = host_of(&accepted.instance)?;
    let input = revert_resize::Input { instance_id: id };
    let first = (place(host), revert_resize::Step::Revert { host });
    command::go(cx, actor, accepted, &RevertResize(cx.clone()), first, input).await
}

fn place(host: HostId) -> Place {
    super::work::at(host)
}

/// Ends an instance in a way that it can come back from, and gives its host back.
pub async fn shelve(cx: &Arc<Context>, actor: &Actor, id: InstanceId) -> Result<(), Failure> {
    let mut accepted = accept(cx, actor, id, Command::Shelve, compute::SERVERS_WRITE).await?;
    let Accepted { tx, instance, .. } = &mut accepted;
    let host = host_of(instance)?;
    // One that an administrator's reset of the state left behind.
    drop_shelved_image(
        tx,
        instance,
        "its server is shelved again",
        &actor.origin(),
        cx.now(),
    )
    .await?;
    let capture = NewCapture {
        name: format!("{}-shelved", instance.intent.name),
        ..NewCapture::default()
    };
    let image = NewImage {
        owner: Some(instance.project_id.clone()),
        visibility: Some(Visibility::Private),
        ..capture::image_of(instance, actor, capture)?
    };
    let image_id = image::create_in(tx, cx, actor, image).await?.id;
    instance.shelved_image_id = Some(image_id);
    instances::update(tx, instance, cx.now()).await?;
    let input = shelve_instance::Input {
        instance_id: id,
        image_id,
    };
    let first = (place(host), shelve_instance::Step::PowerOff { host });
    command::go(
        cx,
        actor,
        accepted,
        &ShelveInstance(cx.clone()),
        first,
        input,
    )
    .await
}

/// Gives back the host of a shelved instance.
pub async fn offload(cx: &Arc<Context>, actor: &Actor, id: InstanceId) -> Result<(), Failure> {
    let command = Command::ShelveOffload;
    let accepted = accept(cx, actor, id, command, compute::SERVERS_ADMINISTER).await?;
    let host = host_of(&accepted.instance)?;
    let input = offload_instance::Input { instance_id: id };
    let first = (place(host), offload_instance::Step::Offload { host });
    let workflow = OffloadInstance(cx.clone());
    command::go(cx, actor, accepted, &workflow, first, input).await
}

/// Where a shelved instance is to come back.
#[derive(Debug, Clone, Default)]
pub struct Unshelve {
    /// `Some(None)` lets it come back in any zone.
    pub availability_zone: Option<Option<String>>,
    /// On this host, by name; for administrators.
    pub host: Option<String>,
}

/// Brings a shelved instance back.
pub async fn unshelve(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    wanted: Unshelve,
) -> Result<(), Failure> {
    let mut accepted = accept(cx, actor, id, Command::Unshelve, compute::SERVERS_WRITE).await?;
    let Accepted { tx, instance, .. } = &mut accepted;
    let says_where = wanted.availability_zone.is_some() || wanted.host.is_some();
    if says_where && instance.state.vm != VmState::ShelvedOffloaded {
        return Err(Refusal::conflict(format!(
            "Specifying an availability zone or a host when unshelving server \"{id}\" with status \"{}\" is not \
             supported. The server status must be SHELVED_OFFLOADED.",
            instance.state.vm
        ))
        .into());
    }
    if let Some(zone) = wanted.availability_zone {
        named::check_zone(cx, tx, zone.as_deref()).await?;
        instance.intent.availability_zone = zone;
        instances::update(tx, instance, cx.now()).await?;
    }
    if let Some(host) = &wanted.host {
        query::permit(cx, actor, instance, compute::SERVERS_CREATE_ON_HOST)?;
        check_host_in_zone(cx, tx, host, instance.intent.availability_zone.as_deref()).await?;
    }
    let first = unshelve_instance::Step::first(instance);
    let input = unshelve_instance::Input {
        instance_id: id,
        host: wanted.host,
    };
    let workflow = UnshelveInstance(cx.clone());
    command::go(cx, actor, accepted, &workflow, first, input).await
}

async fn check_host_in_zone(
    cx: &Context,
    tx: &mut Tx,
    host: &str,
    zone: Option<&str>,
) -> Result<(), Failure> {
    known_host(tx, host).await?;
    let zones = aggregates::zones(tx).await?;
    let default = &cx.settings.compute.default_availability_zone;
    match zone {
        Some(zone) if zones.get(host).unwrap_or(default) != zone => {
            let text = format!("Host \"{host}\" is not in the availability zone \"{zone}\".");
            Err(Refusal::conflict(text).into())
        }
        _ => Ok(()),
    }
}

async fn known_host(tx: &mut Tx, name: &str) -> Result<(), Failure> {
    match hosts::by_name(tx, name).await? {
        Some(_) => Ok(()),
        None => Err(Refusal::invalid(format!("Compute host {name} could not be found.")).into()),
    }
}

/// Why neither migration can be done, whatever hosts there are.
const NO_TRANSPORT: &str = "No valid host was found. Servers have their disks on their own host, and hosts have no way \
                            to send disks to each other yet. Shelve the server and unshelve it: it comes back where there \
                            is room, or on the host that an administrator names.";

/// Refuses to move an instance to another host, with the rule that comes first. `command` is one of the two ways.
pub async fn migrate(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    command: Command,
    host: Option<String>,
) -> Result<(), Failure> {
    let Accepted {
        mut tx, instance, ..
    } = accept(cx, actor, id, command, compute::SERVERS_MANAGE).await?;
    if let Some(host) = host {
        query::permit(cx, actor, &instance, compute::SERVERS_ADMINISTER)?;
        if instance.host_name.as_deref() == Some(&host) {
            let text = match command {
                Command::Migrate => {
                    "Cannot migrate to the host where the server exists.".to_owned()
                }
                _ => format!("Unable to migrate instance ({id}) to current host ({host})."),
            };
            return Err(Refusal::invalid(text).into());
        }
        known_host(&mut tx, &host).await?;
    }
    Err(Refusal::invalid(NO_TRANSPORT).into())
}

/// Goes on with what waited longer than it may on this host: a resize that nobody confirmed (K55), a shelved instance
/// that is not offloaded.
pub async fn end_overdue(cx: &Arc<Context>, host: HostId) -> Result<(), Failure> {
    let waiting = {
        let mut tx = cx.store.read().await?;
        let states = [VmState::Resized, VmState::Shelved].map(VmState::as_str);
        Query::<Instance>::new()
            .equals("host_id", &host)
            .equals("deleted", false)
            .any_of("vm_state", states)
            .all(&mut tx)
            .await?
    };
    for instance in waiting {
        if overdue(cx, &instance).is_some() {
            end(cx, host, instance.id).await?;
        }
    }
    Ok(())
}

/// The command that the system gives by itself now.
fn overdue(cx: &Context, instance: &Instance) -> Option<Command> {
    if instance.state.task.is_some() {
        return None;
    }
    let row = find(instance.class, instance.state.display(instance.class))?;
    let budget = row.budget?;
    let lasted = |since: Timestamp| cx.now().since(since);
    match (budget.over, &instance.resize) {
        (OverBudget::AutoConfirm, Some(resize)) => {
            let window = Duration::from_secs(cx.settings.compute.resize_confirm_window_secs);
            let waited = lasted(resize.waits_since?);
            (!window.is_zero() && waited >= window).then_some(Command::ConfirmResize)
        }
        (OverBudget::Offload, _) => {
            (lasted(instance.state_since) >= budget.span).then_some(Command::ShelveOffload)
        }
        _ => None,
    }
}

async fn end(cx: &Arc<Context>, host: HostId, id: InstanceId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let Some(mut instance) = instances::lock(&mut tx, id).await? else {
        return Ok(());
    };
    let Some(command) = overdue(cx, &instance) else {
        return Ok(());
    };
    let Ok(begin) = decide(instance.class, instance.state, command) else {
        return Ok(());
    };
    let why = "it waited longer than it may";
    let origin = Origin::system();
    instances::change_state(&mut tx, &mut instance, begin.state, why, &origin, cx.now()).await?;
    let subject = Subject {
        kind: instances::SUBJECT,
        id: id.to_string(),
        project_id: Some(instance.project_id.clone()),
    };
    let place = place(host);
    let now = cx.now();
    match command {
        Command::ConfirmResize => {
            let submission = Submission {
                workflow: &ConfirmResize(cx.clone()),
                subject,
                origin,
                place,
                step: confirm_resize::Step::Merge { host },
                input: confirm_resize::Input { instance_id: id },
            };
            submit(&mut tx, now, submission).await?
        }
        _ => {
            let submission = Submission {
                workflow: &OffloadInstance(cx.clone()),
                subject,
                origin,
                place,
                step: offload_instance::Step::Offload { host },
                input: offload_instance::Input { instance_id: id },
            };
            submit(&mut tx, now, submission).await?
        }
    };
    tx.commit().await?;
    Ok(())
}
