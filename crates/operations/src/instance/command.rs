//! Accepting a command: the permission, the lock, the life cycle, then the first state and the operation in one
//! transaction.

use super::capability::{self, decide};
use super::history::{self, Deed};
use super::{ports, query};
use crate::command_instance::{self, CommandInstance};
use crate::context::Context;
use crate::delete_instance::{self, DeleteInstance};
use crate::instance::work;
use crate::instance::{named, new};
use crate::metal_instance;
use crate::metal_instance::command::CommandMetalInstance;
use crate::metal_instance::delete::DeleteMetalInstance;
use crate::metal_instance::rebuild::RebuildMetalInstance;
use crate::rebuild_instance::{self, RebuildInstance};
use crate::rescue_instance::{self, RescueInstance};
use crate::snapshot_instance;
use corten_engine::{Place, Subject, Submission, Workflow, submit};
use corten_iam::action::{Action, compute};
use corten_iam::actor::Actor;
use corten_model::ids::{ImageId, InstanceId, OperationId};
use corten_model::lifecycle::{Command, InstanceClass, RunningOperation, VmState, removal};
use corten_model::refusal::Refusal;
use corten_store::instances::{self, Instance};
use corten_store::{Failure, Tx, operations};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A command that the life cycle allows: the instance is in the command's first state, nothing is committed yet.
pub(super) struct Accepted {
    pub tx: Tx,
    pub instance: Instance,
    /// The same work is under way: success, without a new operation.
    already: bool,
}

/// Checks a command against permission, lock and life cycle, and sets its first state.
pub(super) async fn accept(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    command: Command,
    action: Action,
) -> Result<Accepted, Failure> {
    let mut tx = cx.store.write().await?;
    let mut instance = query::lock(cx, &mut tx, actor, id, action).await?;
    if heeds_lock(command) {
        refuse_if_locked(cx, actor, &instance)?;
    }
    let running = operations::running_on(&mut tx, instances::SUBJECT, &id.to_string()).await?;
    let begin = match decide(instance.class, instance.state, command) {
        Ok(begin) => begin,
        Err(illegal) => {
            let running = running.as_ref().map(|operation| RunningOperation {
                kind: &operation.kind,
                age: cx.now().since(operation.created_at),
            });
            return Err(Refusal::conflict(illegal.explain(id, running)).into());
        }
    };
    metal_instance::ready::check(&mut tx, cx, &instance, command).await?;
    if !begin.already {
        if begin.supersedes || ends_all_work(command) || instance.state.vm == VmState::SoftDeleted {
            if let Some(running) = &running {
                snapshot_instance::abandon(&mut tx, running, &actor.origin(), cx.now()).await?;
            }
            let note = format!("'{command}' took its place");
            operations::supersede(
                &mut tx,
                instances::SUBJECT,
                &id.to_string(),
                &note,
                cx.now(),
            )
            .await?;
        }
        let why = command.as_str();
        instances::change_state(
            &mut tx,
            &mut instance,
            begin.state,
            why,
            &actor.origin(),
            cx.now(),
        )
        .await?;
    }
    Ok(Accepted {
        tx,
        instance,
        already: begin.already,
    })
}

/// Takes the place of whatever runs, also of what cleans up after a failure and has no task any more.
fn ends_all_work(command: Command) -> bool {
    matches!(
        command,
        Command::Delete | Command::ForceDelete | Command::SoftDelete
    )
}

/// A lock keeps an instance as it is: what only looks at its disk, and an administrator's word on its state, pass.
fn heeds_lock(command: Command) -> bool {
    !matches!(
        command,
        Command::CreateImage
            | Command::CreateBackup
            | Command::ResetState
            | Command::ResetStateActive
    )
}

/// A locked instance is changed only by who may unlock it.
pub fn refuse_if_locked(cx: &Context, actor: &Actor, instance: &Instance) -> Result<(), Refusal> {
    let Some(lock) = &instance.intent.locked else {
        return Ok(());
    };
    let target = corten_iam::policy::Target::project(&instance.project_id);
    if cx
        .policy
        .check(actor, compute::SERVERS_UNLOCK_OTHERS, &target)
        .is_ok()
    {
        return Ok(());
    }
    let reason = lock
        .reason
        .as_ref()
        .map_or(String::new(), |reason| format!(" Reason: {reason}."));
    Err(Refusal::conflict(format!(
        "Instance {} is locked.{reason} Unlock it first.",
        instance.id
    )))
}

/// Submits the operation of an accepted command and commits.
pub(super) async fn go<W: Workflow>(
    cx: &Context,
    actor: &Actor,
    mut accepted: Accepted,
    workflow: &W,
    first: (Place, W::Step),
    input: W::Input,
) -> Result<(), Failure> {
    let begun = begin(cx, actor, &mut accepted, workflow, first, input).await?;
    if begun.is_some() {
        accepted.tx.commit().await?;
    }
    Ok(())
}

/// Submits the operation of an accepted command; `None` if it is under way already and nothing is to be committed.
pub(super) async fn begin<W: Workflow>(
    cx: &Context,
    actor: &Actor,
    accepted: &mut Accepted,
    workflow: &W,
    first: (Place, W::Step),
    input: W::Input,
) -> Result<Option<OperationId>, Failure> {
    if accepted.already {
        return Ok(None);
    }
    let Accepted { tx, instance, .. } = accepted;
    start(tx, cx, instance, actor, workflow, first, input)
        .await
        .map(Some)
}

/// Submits an operation on an instance in the transaction that set its first state.
pub(super) async fn start<W: Workflow>(
    tx: &mut Tx,
    cx: &Context,
    instance: &Instance,
    actor: &Actor,
    workflow: &W,
    (place, step): (Place, W::Step),
    input: W::Input,
) -> Result<OperationId, Failure> {
    let submission = Submission {
        workflow,
        subject: Subject {
            kind: instances::SUBJECT,
            id: instance.id.to_string(),
            project_id: Some(instance.project_id.clone()),
        },
        origin: actor.origin(),
        place,
        step,
        input,
    };
    match submit(tx, cx.now(), submission).await {
        Ok(id) => Ok(id),
        Err(corten_store::Error::Exists { .. }) => Err(Refusal::conflict(format!(
            "Instance {} is being worked on by another operation that is cleaning up; try again when it has ended.",
            instance.id
        ))
        .into()),
        Err(error) => Err(error.into()),
    }
}

/// The commands of [`CommandInstance`]: one task for the host.
pub async fn simple(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    command: Command,
) -> Result<(), Failure> {
    let accepted = accept(cx, actor, id, command, compute::SERVERS_WRITE).await?;
    if accepted.instance.class == InstanceClass::Metal {
        let cx_of = cx.clone();
        let workflow = CommandMetalInstance { cx: cx_of, command };
        let input = metal_instance::command::Input { instance_id: id };
        let first = (Place::Control, metal_instance::command::Step::Approach);
        return go(cx, actor, accepted, &workflow, first, input).await;
    }
    let workflow = CommandInstance {
        cx: cx.clone(),
        command,
    };
    let input = command_instance::Input { instance_id: id };
    go(
        cx,
        actor,
        accepted,
        &workflow,
        (Place::Control, command_instance::Step::Approach),
        input,
    )
    .await
}

/// Deletes an instance: at once, or with `compute.reclaim_instance_interval_secs` after that time. Twice is as good as
/// once.
pub async fn delete(cx: &Arc<Context>, actor: &Actor, id: InstanceId) -> Result<(), Failure> {
    let seen = query::show(cx, actor, id).await?;
    // A server that is given back is wiped: nothing could be restored.
    let reclaim_is_on =
        cx.settings.compute.reclaim_instance_interval_secs > 0 && seen.class == InstanceClass::Vm;
    remove(
        cx,
        actor,
        id,
        removal(seen.class, seen.state, reclaim_is_on),
    )
    .await
}

/// Deletes an instance at once, also one that could still be restored.
pub async fn force_delete(cx: &Arc<Context>, actor: &Actor, id: InstanceId) -> Result<(), Failure> {
    remove(cx, actor, id, Command::ForceDelete).await
}

async fn remove(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    command: Command,
) -> Result<(), Failure> {
    let accepted = accept(cx, actor, id, command, compute::SERVERS_WRITE).await?;
    if accepted.instance.class == InstanceClass::Metal {
        let workflow = DeleteMetalInstance(cx.clone());
        let input = metal_instance::delete::Input { instance_id: id };
        let first = (Place::Control, metal_instance::delete::Step::GiveBack);
        return go(cx, actor, accepted, &workflow, first, input).await;
    }
    let first = delete_instance::Step::first(command, accepted.instance.host_id);
    let input = delete_instance::Input { instance_id: id };
    go(
        cx,
        actor,
        accepted,
        &DeleteInstance(cx.clone()),
        first,
        input,
    )
    .await
}

/// Brings back an instance that was deleted and is not yet reclaimed.
pub async fn restore(cx: &Arc<Context>, actor: &Actor, id: InstanceId) -> Result<(), Failure> {
    simple(cx, actor, id, Command::Restore).await
}

/// Refused always: a password is set by an agent in the guest, and none is spoken to. That it was tried is kept.
pub async fn change_password(cx: &Context, actor: &Actor, id: InstanceId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let instance = query::lock(cx, &mut tx, actor, id, compute::SERVERS_WRITE).await?;
    refuse_if_locked(cx, actor, &instance)?;
    decide(instance.class, instance.state, Command::ChangePassword)
        .map_err(|illegal| Refusal::conflict(illegal.message(id)))?;
    let why = format!(
        "Failed to set the admin password on {id} because there is no agent in its guest that could. Rebuild it, which \
         sets a new one, or log in with its key."
    );
    let deed = Deed::ChangePassword;
    history::keep(&mut tx, cx, actor, &instance, deed, Some(&why)).await?;
    tx.commit().await?;
    Err(Refusal::conflict(why).into())
}

/// Nothing is to do: a guest gets its addresses from its config drive and its network. A whole server got them when it was
/// deployed, and is told nothing new.
pub async fn inject_network_info(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
) -> Result<(), Failure> {
    let instance = query::show(cx, actor, id).await?;
    query::permit(cx, actor, &instance, compute::SERVERS_ADMINISTER)?;
    refuse_if_locked(cx, actor, &instance)?;
    let capability =
        "a hypervisor that writes addresses into its system (it asks its network by DHCP)";
    Ok(capability::refuse(
        &instance,
        "injectNetworkInfo",
        capability,
    )?)
}

/// Boots an instance from a rescue image, by default its own. Answers the password given to the rescue system.
pub async fn rescue(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    image_id: Option<ImageId>,
    admin_pass: Option<String>,
) -> Result<String, Failure> {
    let image = match image_id {
        Some(image_id) => Some(named::image_row(
            named::bootable_image(cx, actor, image_id).await?,
        )),
        None => None,
    };
    let accepted = accept(cx, actor, id, Command::Rescue, compute::SERVERS_WRITE).await?;
    let image = image
        .or_else(|| accepted.instance.intent.image.clone())
        .ok_or_else(|| {
            Refusal::invalid(format!(
                "Instance {id} has no image of its own; name one with rescue_image_ref."
            ))
        })?;
    let admin_pass = admin_pass.unwrap_or_else(new::generate_password);
    let input = rescue_instance::Input {
        instance_id: id,
        image,
        admin_pass: Some(admin_pass.clone()),
    };
    let first = (Place::Control, rescue_instance::Step::Boot);
    go(
        cx,
        actor,
        accepted,
        &RescueInstance(cx.clone()),
        first,
        input,
    )
    .await?;
    Ok(admin_pass)
}

/// What a rebuild changes beside the disks; `None` leaves a thing as it is.
#[derive(Debug, Clone, Default)]
pub struct Rebuild {
    pub image_id: Option<ImageId>,
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub hostname: Option<String>,
    pub metadata: Option<BTreeMap<String, String>>,
    /// `Some(None)` takes the key away (K49).
    pub key_name: Option<Option<String>>,
    pub user_data: Option<Option<String>>,
    pub personality: Option<Vec<(String, String)>>,
    pub disk_config: Option<String>,
    pub trusted_image_certificates: Option<Option<Vec<String>>>,
    pub admin_pass: Option<String>,
    /// An empty text takes the address away.
    pub access_ip_v4: Option<String>,
    pub access_ip_v6: Option<String>,
}

/// Reinstalls an instance from an image. Answers it as it will be, and the password.
pub async fn rebuild(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    change: Rebuild,
) -> Result<(Instance, String), Failure> {
    let before = query::show(cx, actor, id).await?;
    let image_id = match (change.image_id, &before.intent.image) {
        (Some(image_id), _) => image_id,
        (None, Some(image)) => image.id,
        (None, None) => {
            return Err(Refusal::invalid(format!("Instance {id} has no image; name one.")).into());
        }
    };
    let usable = named::bootable_image(cx, actor, image_id).await?;
    named::check_image_fits(&usable, &before.intent.flavor)?;
    if before.class == InstanceClass::Metal {
        capability::check_image(&usable)?;
        capability::check_disk_config(&before, change.disk_config.as_deref())?;
    }
    let key = match &change.key_name {
        Some(Some(name)) => Some(Some(named::key_of(cx, &before.user_id, name).await?)),
        Some(None) => Some(None),
        None => None,
    };
    let mut accepted = accept(cx, actor, id, Command::Rebuild, compute::SERVERS_WRITE).await?;
    if let Some(metadata) = &change.metadata {
        new::check_metadata(
            cx,
            &mut accepted.tx,
            &accepted.instance.project_id,
            metadata,
        )
        .await?;
    }
    if let Some(hostname) = change.hostname {
        let Accepted { tx, instance, .. } = &mut accepted;
        ports::rename(tx, cx, instance, hostname, &actor.origin()).await?;
    }
    // What the new system makes is another one.
    accepted.instance.guest_password = None;
    let intent = &mut accepted.instance.intent;
    intent.image = Some(named::image_row(usable));
    if let Some(name) = change.name {
        intent.name = name;
    }
    if let Some(description) = change.description {
        intent.description = description;
    }
    if let Some(metadata) = change.metadata {
        intent.metadata = metadata;
    }
    if let Some(key) = key {
        intent.key = key;
    }
    if let Some(user_data) = change.user_data {
        intent.user_data = user_data;
    }
    if let Some(personality) = change.personality {
        intent.personality = personality;
    }
    if let Some(disk_config) = change.disk_config {
        intent.disk_config = disk_config;
    }
    if let Some(certificates) = change.trusted_image_certificates {
        intent.trusted_image_certificates = certificates;
    }
    if let Some(address) = change.access_ip_v4 {
        intent.access_ip_v4 = address;
    }
    if let Some(address) = change.access_ip_v6 {
        intent.access_ip_v6 = address;
    }
    instances::update(&mut accepted.tx, &mut accepted.instance, cx.now()).await?;
    let instance = accepted.instance.clone();
    let admin_pass = change.admin_pass.unwrap_or_else(new::generate_password);
    begin_rebuild(cx, actor, accepted, Some(admin_pass.clone())).await?;
    Ok((instance, admin_pass))
}

/// Submits the operation that rebuilds an instance of its class.
async fn begin_rebuild(
    cx: &Arc<Context>,
    actor: &Actor,
    accepted: Accepted,
    admin_pass: Option<String>,
) -> Result<(), Failure> {
    let instance_id = accepted.instance.id;
    if accepted.instance.class == InstanceClass::Metal {
        let input = metal_instance::rebuild::Input {
            instance_id,
            admin_pass,
        };
        let first = (Place::Control, metal_instance::rebuild::Step::Begin);
        let workflow = RebuildMetalInstance(cx.clone());
        return go(cx, actor, accepted, &workflow, first, input).await;
    }
    let input = rebuild_instance::Input {
        instance_id,
        admin_pass,
    };
    let first = (Place::Control, rebuild_instance::Step::Prepare);
    let workflow = RebuildInstance(cx.clone());
    go(cx, actor, accepted, &workflow, first, input).await
}

/// The administrator declares an instance sound or broken; whatever ran on it is over.
pub async fn reset_state(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    active: bool,
) -> Result<(), Failure> {
    let command = if active {
        Command::ResetStateActive
    } else {
        Command::ResetState
    };
    let Accepted {
        mut tx,
        mut instance,
        ..
    } = accept(cx, actor, id, command, compute::SERVERS_ADMINISTER).await?;
    instance.fault = match active {
        true => None,
        false => Some(work::fault(
            "An administrator declared the instance broken.",
            cx.now(),
        )),
    };
    instances::update(&mut tx, &mut instance, cx.now()).await?;
    history::keep(&mut tx, cx, actor, &instance, Deed::ResetState, None).await?;
    tx.commit().await?;
    // A capture that a host still writes is overwritten by the next one, or removed with the instance.
    snapshot_instance::remove_capture(cx, id).await
}
