//! Accepting a create: everything is checked that can be checked at once, then the instances, their first state and
//! their operations are committed together.

use super::networks::{self, Asker, Networks, wrong_request};
use super::{command, ports, public_ip};
use crate::context::Context;
use crate::create_instance::{CreateInstance, Input, Step, Tried};
use crate::{flavor, image, network, quota};
use corten_engine::Place;
use corten_iam::action::compute;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{FlavorId, ImageId, InstanceId, ProjectId, ServerGroupId, UserId};
use corten_model::lifecycle::{InstanceClass, InstanceState};
use corten_model::refusal::{Reason, Refusal};
use corten_store::flavors::Flavor;
use corten_store::images::Image;
use corten_store::instances::{self, Instance, Intent, Key, Nic, Observed};
use corten_store::keypairs::KeyPair;
use corten_store::server_groups::ServerGroup;
use corten_store::{Failure, Tx, aggregates, hosts, record};
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
    new: NewInstances,
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
        Some(id) => Some(bootable_image(cx, actor, id).await?),
        None => {
            return Err(Refusal::invalid(
                "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping \
                 combination is not valid. Name an image with imageRef; boot from volume is not available yet.",
            )
            .into());
        }
    };
    let key = match &new.key_name {
        Some(name) => Some(key_of(cx, &actor.user_id, name).await?),
        None => None,
    };
    let admin_pass = new.admin_pass.clone().unwrap_or_else(generate_password);
    let reservation_id = format!("r-{}", random_word(8));
    let mut tx = cx.store.write().await?;
    let flavor = flavor_of(cx, &mut tx, actor, &new).await?;
    if let Some(image) = &image {
        check_image_fits(image, &flavor)?;
    }
    check_metadata(cx, &mut tx, &project, &new.metadata).await?;
    let files: Vec<_> = new
        .personality
        .iter()
        .map(|(path, content)| (path.len(), content.len() / 4 * 3))
        .collect();
    quota::check_injected_files(&mut tx, cx, &project, &files).await?;
    check_zone(cx, &mut tx, new.availability_zone.as_deref()).await?;
    if let Some(host) = &new.host
        && hosts::by_name(&mut tx, host).await?.is_none()
    {
        return Err(Refusal::invalid(format!("Compute host {host} could not be found.")).into());
    }
    let group = group_of(&mut tx, &project, &new.scheduler_hints).await?;
    let cards = cards_of(cx, &mut tx, actor, &project, &new).await?;
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
            ..blank(cx, actor, &project)
        };
        instances::insert(&mut tx, &instance, "create", &actor.origin()).await?;
        for nic in &instance.intent.nics {
            ports::take(&mut tx, cx, &instance, nic).await?;
        }
        if let Some(wanted) = new.public_ip {
            with_public_ip(cx, &mut tx, actor, &instance, wanted).await?;
        }
        let input = Input {
            instance_id: instance.id,
            host: new.host.clone(),
            admin_pass: Some(admin_pass.clone()),
        };
        let first = (
            Place::Control,
            Step::Schedule {
                tried: Tried::default(),
            },
        );
        command::start(
            &mut tx,
            cx,
            &instance,
            actor,
            &CreateInstance(cx.clone()),
            first,
            input,
        )
        .await?;
        created.push(instance);
    }
    tx.commit().await?;
    Ok(Accepted {
        instances: created,
        reservation_id,
        admin_pass,
    })
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
fn blank(cx: &Context, actor: &Actor, project: &ProjectId) -> Instance {
    let now = cx.now();
    Instance {
        id: InstanceId::random(),
        project_id: project.clone(),
        user_id: actor.user_id.clone(),
        class: InstanceClass::Vm,
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
        image: image.map(image_row),
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

async fn flavor_of(
    cx: &Context,
    tx: &mut Tx,
    actor: &Actor,
    new: &NewInstances,
) -> Result<instances::Flavor, Failure> {
    let id = new
        .flavor_id
        .as_ref()
        .ok_or_else(|| Refusal::invalid("Missing flavorRef attribute"))?;
    usable_flavor(cx, tx, actor, id).await
}

/// A flavor that a virtual machine can get now.
pub(super) async fn usable_flavor(
    cx: &Context,
    tx: &mut Tx,
    actor: &Actor,
    id: &FlavorId,
) -> Result<instances::Flavor, Failure> {
    let flavor = flavor::visible(cx, tx, actor, id)
        .await
        .map_err(|failure| match failure {
            Failure::Refused(_) => {
                Refusal::invalid(format!("Flavor {id} could not be found.")).into()
            }
            trouble => trouble,
        })?;
    if flavor.disabled {
        return Err(Refusal::invalid(format!("Flavor {id} is disabled: choose another.")).into());
    }
    if flavor.class == InstanceClass::Metal {
        return Err(Refusal::invalid(format!(
            "Flavor {id} is for whole bare-metal servers, and none is enrolled here: choose a flavor for virtual machines."
        ))
        .into());
    }
    Ok(flavor_row(flavor))
}

/// The flavor as an instance keeps it.
pub fn flavor_row(flavor: Flavor) -> instances::Flavor {
    instances::Flavor {
        id: flavor.id,
        name: flavor.name,
        vcpus: flavor.vcpus.into(),
        memory_mib: flavor.memory_mib.into(),
        root_gib: flavor.disk_gib.into(),
        ephemeral_gib: flavor.ephemeral_gib.into(),
        swap_mib: flavor.swap_mib.into(),
        extra_specs: flavor.extra_specs,
    }
}

/// The image as an instance keeps it.
pub fn image_row(image: Image) -> instances::Image {
    instances::Image {
        id: image.id,
        sha512: image
            .content
            .map(|content| content.sha512)
            .unwrap_or_default(),
        disk_format: image.disk_format.unwrap_or_default(),
        min_disk_gib: image.min_disk_gib,
        min_ram_mib: image.min_ram_mib,
        properties: image.properties,
    }
}

/// The image that a request names. One that is not there is a wrong request here, not a missing page.
pub async fn bootable_image(cx: &Context, actor: &Actor, id: ImageId) -> Result<Image, Failure> {
    image::get_usable(cx, actor, id)
        .await
        .map_err(|failure| match failure {
            Failure::Refused(refusal) if refusal.reason == Reason::NotFound => {
                Refusal::invalid(format!("Can not find requested image: {}", refusal.message))
                    .into()
            }
            other => other,
        })
}

/// An image that `actor` may boot from.
pub async fn image_of(
    cx: &Context,
    actor: &Actor,
    id: ImageId,
) -> Result<instances::Image, Failure> {
    Ok(image_row(image::get_usable(cx, actor, id).await?))
}

/// The image's own demands on the flavor (K89).
pub fn check_image_fits(image: &Image, flavor: &instances::Flavor) -> Result<(), Refusal> {
    if flavor.memory_mib < image.min_ram_mib {
        return Err(Refusal::invalid(format!(
            "Flavor's memory is too small for requested image. Image {} needs {} MiB, flavor {} has {} MiB.",
            image.id, image.min_ram_mib, flavor.name, flavor.memory_mib
        )));
    }
    if flavor.root_gib == 0 {
        return Ok(());
    }
    let gib = |bytes: i64| (bytes + (1 << 30) - 1) >> 30;
    let content_gib = image.content.as_ref().map_or(0, |content| {
        gib(content.virtual_size_bytes.unwrap_or(content.size_bytes))
    });
    let needed = content_gib.max(image.min_disk_gib);
    if flavor.root_gib < needed {
        return Err(Refusal::invalid(format!(
            "Flavor's disk is too small for requested image. Flavor disk is {} GiB, image {} needs {needed} GiB.",
            flavor.root_gib, image.id
        )));
    }
    Ok(())
}

/// A user's key pair, as an instance keeps it.
pub async fn key_of(cx: &Context, user: &UserId, name: &str) -> Result<Key, Failure> {
    let mut tx = cx.store.read().await?;
    let found: Option<KeyPair> = record::get(&mut tx, KeyPair::key(user, name)).await?;
    let pair = found.ok_or_else(|| {
        Refusal::invalid(format!(
            "Invalid key_name provided: key pair '{name}' could not be found."
        ))
    })?;
    Ok(Key {
        name: pair.name,
        kind: pair.kind.as_str().to_owned(),
        public_key: pair.public_key,
    })
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

pub(super) async fn check_zone(
    cx: &Context,
    tx: &mut Tx,
    zone: Option<&str>,
) -> Result<(), Failure> {
    let Some(zone) = zone else { return Ok(()) };
    let known = zone == cx.settings.compute.default_availability_zone
        || aggregates::zones(tx)
            .await?
            .values()
            .any(|known| known == zone);
    if known {
        Ok(())
    } else {
        Err(Refusal::invalid(format!(
            "The requested availability zone '{zone}' is not available"
        ))
        .into())
    }
}

async fn group_of(
    tx: &mut Tx,
    project: &ProjectId,
    hints: &BTreeMap<String, Value>,
) -> Result<Option<ServerGroup>, Failure> {
    let Some(hint) = hints.get("group") else {
        return Ok(None);
    };
    let refused = || {
        Refusal::invalid(format!(
            "Server group {hint} could not be found. The hint 'group' is the id of one."
        ))
    };
    let id: ServerGroupId = hint
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(refused)?;
    let group: Option<ServerGroup> = record::get(tx, id).await?;
    let group = group
        .filter(|group| group.project_id == *project)
        .ok_or_else(refused)?;
    Ok(Some(group))
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
