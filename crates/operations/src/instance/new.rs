//! Accepting a create: everything is checked that can be checked at once, then the instances, their first state and
//! their operations are committed together.

use super::networks::{self, Asker, Networks, wrong_request};
use super::{capability, command, named, ports, public_ip};
use crate::context::Context;
use crate::create_instance::{CreateInstance, Input, Step, Tried};
use crate::metal_instance::create::CreateMetalInstance;
use crate::{metal_instance, network, quota};
use corten_engine::Place;
use corten_iam::action::compute;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{FlavorId, ImageId, InstanceId, ProjectId, ServerGroupId};
use corten_model::lifecycle::{InstanceClass, InstanceState};
use corten_model::refusal::Refusal;
use corten_store::images::Image;
use corten_store::instances::{self, Instance, Intent, Key, Nic, Observed};
use corten_store::{Failure, Tx, hosts};
use rand::Rng as _;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One request for one or more instances.
#[derive(Debug, Clone, Default)]
pub struct NewInstances {
    pub name: String,
    pub description: Option<String>,
    /// By default made from the name.
    pub hostname: Option<String>,
    pub flavor_id: Option<FlavorId>,
    pub image_id: Option<ImageId>,
    pub key_name: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub tags: BTreeSet<String>,
    pub user_data: Option<String>,
    pub config_drive: Option<bool>,
    pub availability_zone: Option<String>,
    /// Only on this host; for administrators.
    pub host: Option<String>,
    pub disk_config: Option<String>,
    /// By name or id, for the ports that are made.
    pub security_groups: Vec<String>,
    pub networks: Networks,
    pub public_ip: Option<public_ip::Wanted>,
    pub scheduler_hints: BTreeMap<String, Value>,
    pub personality: Vec<(String, String)>,
    pub trusted_image_certificates: Option<Vec<String>>,
    pub admin_pass: Option<String>,
    pub access_ip_v4: String,
    pub access_ip_v6: String,
    pub min_count: u32,
    pub max_count: u32,
}

/// What was accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub instances: Vec<Instance>,
    pub reservation_id: String,
    pub admin_pass: String,
}

/// Accepts a create.
pub async fn create(
    cx: &Arc<Context>,
    actor: &Actor,
    mut new: NewInstances,
) -> Result<Accepted, Failure> {
    let project = actor.project_id().cloned().ok_or_else(|| {
        Refusal::forbidden(
            "A server belongs to a project (K128): use a token that is scoped to one.",
        )
    })?;
    let target = Target::project(&project);
    cx.policy.check(actor, compute::SERVERS_CREATE, &target)?;
    if new.host.is_some() {
        cx.policy
            .check(actor, compute::SERVERS_CREATE_ON_HOST, &target)?;
    }
    if new.hostname.is_some() && new.max_count > 1 {
        return Err(
            Refusal::invalid("Unable to allocate a single hostname to multiple instances").into(),
        );
    }
    let image = match new.image_id {
        Some(id) => Some(named::bootable_image(cx, actor, id).await?),
        None => {
            return Err(Refusal::invalid(
                "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping \
                 combination is not valid. Name an image with imageRef; boot from volume is not available yet.",
            )
            .into());
        }
    };
    let key = match &new.key_name {
        Some(name) => Some(named::key_of(cx, &actor.user_id, name).await?),
        None => None,
    };
    let admin_pass = new.admin_pass.clone().unwrap_or_else(generate_password);
    let reservation_id = format!("r-{}", random_word(8));
    let mut tx = cx.store.write().await?;
    let flavor_id = new
        .flavor_id
        .as_ref()
        .ok_or_else(|| Refusal::invalid("Missing flavorRef attribute"))?;
    let (flavor, class) = named::usable_flavor(cx, &mut tx, actor, flavor_id).await?;
    if let Some(image) = &image {
        named::check_image_fits(image, &flavor)?;
    }
    if class == InstanceClass::Metal {
        let zone = &cx.settings.compute.default_availability_zone;
        capability::check_new(&new, &flavor, image.as_ref(), zone)?;
        new.disk_config = Some("AUTO".to_owned());
    }
    check_metadata(cx, &mut tx, &project, &new.metadata).await?;
    let files: Vec<_> = new
        .personality
        .iter()
        .map(|(path, content)| (path.len(), content.len() / 4 * 3))
        .collect();
    quota::check_injected_files(&mut tx, cx, &project, &files).await?;
    named::check_zone(cx, &mut tx, new.availability_zone.as_deref()).await?;
    if let Some(host) = &new.host
        && hosts::by_name(&mut tx, host).await?.is_none()
    {
        return Err(Refusal::invalid(format!("Compute host {host} could not be found.")).into());
    }
    let group = named::group_of(&mut tx, &project, &new.scheduler_hints).await?;
    let cards = match class {
        InstanceClass::Vm => cards_of(cx, &mut tx, actor, &project, &new).await?,
        // A whole server is on the network of its conductor group.
        InstanceClass::Metal => Vec::new(),
    };
    let count = grant(cx, &mut tx, actor, &project, &flavor, &new, &cards).await?;
    if let Some(group) = &group {
        quota::check_group_members(&mut tx, cx, group, i64::from(count)).await?;
    }
    let mut created = Vec::new();
    for index in 0..count {
        let name = if count > 1 {
            format!("{}-{}", new.name, index + 1)
        } else {
            new.name.clone()
        };
        let nics = networks::for_instance(&cards);
        let instance = Instance {
            launch_index: i64::from(index),
            reservation_id: reservation_id.clone(),
            intent: intent(
                &new,
                name,
                &flavor,
                image.clone(),
                key.clone(),
                group.as_ref().map(|g| g.id),
                nics,
            ),
            ..blank(cx, actor, &project, class)
        };
        instances::insert(&mut tx, &instance, "create", &actor.origin()).await?;
        for nic in &instance.intent.nics {
            ports::take(&mut tx, cx, &instance, nic).await?;
        }
        if let Some(wanted) = new.public_ip {
            with_public_ip(cx, &mut tx, actor, &instance, wanted).await?;
        }
        begin(&mut tx, cx, actor, &instance, &new, &admin_pass).await?;
        created.push(instance);
    }
    tx.commit().await?;
    Ok(Accepted {
        instances: created,
        reservation_id,
        admin_pass,
    })
}

/// Submits the operation that makes an instance of its class.
async fn begin(
    tx: &mut Tx,
    cx: &Arc<Context>,
    actor: &Actor,
    instance: &Instance,
    new: &NewInstances,
    admin_pass: &str,
) -> Result<(), Failure> {
    let admin_pass = Some(admin_pass.to_owned());
    let instance_id = instance.id;
    if instance.class == InstanceClass::Metal {
        let input = metal_instance::create::Input {
            instance_id,
            admin_pass,
        };
        let workflow = CreateMetalInstance(cx.clone());
        let first = (Place::Control, metal_instance::create::Step::first());
        return command::start(tx, cx, instance, actor, &workflow, first, input)
            .await
            .map(drop);
    }
    let input = Input {
        instance_id,
        host: new.host.clone(),
        admin_pass,
    };
    let tried = Tried::default();
    let first = (Place::Control, Step::Schedule { tried });
    let workflow = CreateInstance(cx.clone());
    command::start(tx, cx, instance, actor, &workflow, first, input)
        .await
        .map(drop)
}

/// The cards of each instance.
async fn cards_of(
    cx: &Arc<Context>,
    tx: &mut Tx,
    actor: &Actor,
    project: &ProjectId,
    new: &NewInstances,
) -> Result<Vec<Nic>, Failure> {
    let asker = Asker { cx, actor, project };
    let groups = asker.groups(tx, &new.security_groups).await;
    let groups = groups.map_err(wrong_request)?;
    let cards = asker.cards(tx, &new.networks, &groups).await;
    let cards = cards.map_err(wrong_request)?;
    if new.max_count > 1 && cards.iter().any(|card| !card.own) {
        return Err(Refusal::invalid(
            "Failed to launch instances: Unable to launch multiple instances with a single configured port ID. Please \
             launch your instance one by one with different ports.",
        )
        .into());
    }
    if new.max_count > 1 && cards.iter().any(|card| card.fixed_ip.is_some()) {
        return Err(Refusal::invalid(
            "Failed to launch instances: max_count cannot be greater than 1 if an fixed_ip is specified.",
        )
        .into());
    }
    if new.max_count > 1 && matches!(new.public_ip, Some(public_ip::Wanted::Static(_))) {
        return Err(Refusal::invalid(
            "A static public IP leads to one instance: ask for one instance, or for ephemeral public IPs.",
        )
        .into());
    }
    Ok(cards)
}

/// Makes the ports of an instance at once, so that its public IP is refused or leads to one of them from the start.
async fn with_public_ip(
    cx: &Arc<Context>,
    tx: &mut Tx,
    actor: &Actor,
    instance: &Instance,
    wanted: public_ip::Wanted,
) -> Result<(), Failure> {
    for nic in &instance.intent.nics {
        ports::make(tx, cx, instance, nic)
            .await
            .map_err(wrong_request)?;
    }
    let (_, units) = public_ip::give(cx, actor, tx, instance, wanted)
        .await
        .map_err(wrong_request)?;
    network::note(tx, cx, &actor.origin(), &units).await
}

/// How many of the wanted instances the quotas grant; refused below the least that is wanted.
async fn grant(
    cx: &Arc<Context>,
    tx: &mut Tx,
    actor: &Actor,
    project: &ProjectId,
    flavor: &instances::Flavor,
    new: &NewInstances,
    cards: &[Nic],
) -> Result<u32, Failure> {
    let least = new.min_count.max(1);
    let mut most = new.max_count.max(least);
    if let Some(room) = (Asker { cx, actor, project }).room(tx, cards).await? {
        if room < i64::from(least) {
            return Err(networks::too_many_ports().into());
        }
        most = most.min(u32::try_from(room).unwrap_or(most));
    }
    let mut refusal = None;
    for count in (least..=most).rev() {
        let more = instances::Usage {
            instances: i64::from(count),
            vcpus: flavor.vcpus * i64::from(count),
            memory_mib: flavor.memory_mib * i64::from(count),
        };
        match quota::check_instances(tx, cx, project, &actor.user_id, more).await {
            Ok(()) => return Ok(count),
            Err(Failure::Refused(refused)) => refusal = Some(refused),
            Err(trouble) => return Err(trouble),
        }
    }
    Err(refusal
        .unwrap_or_else(|| Refusal::over_quota("Quota exceeded for instances."))
        .into())
}

/// An instance in the moment of its create, before its intent is filled in.
fn blank(cx: &Context, actor: &Actor, project: &ProjectId, class: InstanceClass) -> Instance {
    let now = cx.now();
    Instance {
        id: InstanceId::random(),
        project_id: project.clone(),
        user_id: actor.user_id.clone(),
        class,
        state: InstanceState::REQUESTED,
        state_since: now,
        intent: Intent::default(),
        observed: Observed::default(),
        host_id: None,
        host_name: None,
        reservation_id: String::new(),
        launch_index: 0,
        created_at: now,
        updated_at: now,
        launched_at: None,
        terminated_at: None,
        fault: None,
        progress: 0,
        resize: None,
        guest_password: None,
        shelved_image_id: None,
        deleted: false,
    }
}

fn intent(
    new: &NewInstances,
    name: String,
    flavor: &instances::Flavor,
    image: Option<Image>,
    key: Option<Key>,
    server_group_id: Option<ServerGroupId>,
    nics: Vec<Nic>,
) -> Intent {
    let hostname = match &new.hostname {
        Some(hostname) => hostname.clone(),
        None => hostname_from(&name),
    };
    Intent {
        hostname,
        name,
        description: new.description.clone(),
        flavor: flavor.clone(),
        image: image.map(named::image_row),
        key,
        metadata: new.metadata.clone(),
        tags: new.tags.clone(),
        user_data: new.user_data.clone(),
        // A guest without a network cannot ask the metadata service: each gets a config drive unless it is told not to.
        config_drive: new.config_drive.unwrap_or(true),
        availability_zone: new.availability_zone.clone(),
        disk_config: new
            .disk_config
            .clone()
            .unwrap_or_else(|| "MANUAL".to_owned()),
        security_groups: new.security_groups.clone(),
        nics,
        server_group_id,
        scheduler_hints: new.scheduler_hints.clone(),
        personality: new.personality.clone(),
        locked: None,
        trusted_image_certificates: new.trusted_image_certificates.clone(),
        access_ip_v4: new.access_ip_v4.clone(),
        access_ip_v6: new.access_ip_v6.clone(),
    }
}

/// A host name from a display name: letters, digits, `-` and `.`, in lower case, at most 63 characters (RFC 1123).
pub fn hostname_from(name: &str) -> String {
    let spaced = name.trim().replace([' ', '_'], "-").to_lowercase();
    let kept: String = spaced
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
        .collect();
    let hostname: String = kept
        .replace('.', "-")
        .trim_matches(['-', '.'])
        .chars()
        .take(63)
        .collect();
    if hostname.is_empty() {
        format!("server-{}", random_word(8))
    } else {
        hostname
    }
}

/// Metadata within the project's quota.
pub async fn check_metadata(
    cx: &Context,
    tx: &mut Tx,
    project: &ProjectId,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    quota::check_metadata_items(tx, cx, project, metadata.len() as i64).await
}

/// A password of 12 letters and digits, as Nova makes them.
pub fn generate_password() -> String {
    const LETTERS: &[u8] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut random = rand::rng();
    (0..12)
        .map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]))
        .collect()
}

fn random_word(length: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    (0..length)
        .map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_made_from_any_name() {
        assert_eq!(hostname_from("My Server_1"), "my-server-1");
        assert_eq!(hostname_from("web.example.com"), "web-example-com");
        assert_eq!(hostname_from(&"x".repeat(100)).len(), 63);
        assert!(hostname_from("웹서버").starts_with("server-"));
    }
}
