//! Instances: servers of both classes, what their owner wants, and what was last seen of them.
//!
//! [`Intent`] is written by the API alone, [`Observed`] by what watches the hosts, and the state by [`change_state`],
//! which also appends to the transition log: there is no other way to change it.

use crate::db::Tx;
use crate::error::{Error, Result, classify};
use crate::record::{self, Query, Record, Value};
use crate::sql;
use crate::transitions::{self, Transition};
use corten_model::ids::{
    FlavorId, HostId, ImageId, InstanceId, NetworkId, PortId, ProjectId, SecurityGroupId,
    ServerGroupId, TransitionId, UserId,
};
use corten_model::lifecycle::{InstanceClass, InstanceState, VmState};
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The kind of subject that instances are, in operations and transitions.
pub const SUBJECT: &str = "instance";

/// A server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub id: InstanceId,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub class: InstanceClass,
    pub state: InstanceState,
    /// When the state last changed.
    pub state_since: Timestamp,
    pub intent: Intent,
    pub observed: Observed,
    /// The host that holds its allocation, or the last one that did.
    pub host_id: Option<HostId>,
    pub host_name: Option<String>,
    pub reservation_id: String,
    pub launch_index: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub launched_at: Option<Timestamp>,
    pub terminated_at: Option<Timestamp>,
    /// The latest trouble, while the instance is in Error or a command just failed.
    pub fault: Option<Fault>,
    /// Percent of what is being done, as Nova shows it.
    pub progress: i64,
    /// A resize that is not final.
    #[serde(default)]
    pub resize: Option<Resize>,
    /// The image that holds its root disk from when it is shelved until it is back.
    #[serde(default)]
    pub shelved_image_id: Option<ImageId>,
    /// What the guest posted for its owner, encrypted by itself.
    #[serde(default)]
    pub guest_password: Option<String>,
    pub deleted: bool,
}

/// What its owner asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    pub name: String,
    pub description: Option<String>,
    pub hostname: String,
    pub flavor: Flavor,
    pub image: Option<Image>,
    pub key: Option<Key>,
    pub metadata: BTreeMap<String, String>,
    pub tags: BTreeSet<String>,
    /// Base64, as sent.
    pub user_data: Option<String>,
    pub config_drive: bool,
    pub availability_zone: Option<String>,
    /// `AUTO` or `MANUAL`.
    pub disk_config: String,
    pub security_groups: Vec<String>,
    /// Its network cards, in the order in which its guest has them.
    #[serde(default)]
    pub nics: Vec<Nic>,
    pub server_group_id: Option<ServerGroupId>,
    pub scheduler_hints: BTreeMap<String, serde_json::Value>,
    /// Files for the config drive: path and base64 content.
    pub personality: Vec<(String, String)>,
    pub locked: Option<Lock>,
    pub trusted_image_certificates: Option<Vec<String>>,
    /// Addresses that the owner wants shown; empty for none.
    pub access_ip_v4: String,
    pub access_ip_v6: String,
}

/// The flavor as it was when the server was made or resized: later changes of the flavor do not reach it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Flavor {
    pub id: FlavorId,
    pub name: String,
    pub vcpus: i64,
    pub memory_mib: i64,
    pub root_gib: i64,
    pub ephemeral_gib: i64,
    pub swap_mib: i64,
    pub extra_specs: BTreeMap<String, String>,
}

impl Flavor {
    /// What it takes of a host's disk, in GiB, swap rounded up.
    pub fn disk_gib(&self) -> i64 {
        self.root_gib + self.ephemeral_gib + (self.swap_mib + 1023) / 1024
    }
}

/// A network card: the port that it is joined to, and what that port was asked to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Chosen when the card was asked for, so that whoever makes the port again finds it.
    pub port_id: PortId,
    pub network_id: NetworkId,
    /// The port goes with the card; otherwise it was given, and is given back.
    pub own: bool,
    /// The address that was asked for, of a port of its own.
    pub fixed_ip: Option<IpAddr>,
    /// The groups of a port of its own; empty for the project's default group.
    pub security_groups: BTreeSet<SecurityGroupId>,
    /// What the guest is told to know the card by.
    pub tag: Option<String>,
}

/// A change of flavor that can be taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resize {
    pub old_flavor: Flavor,
    pub new_flavor: Flavor,
    /// It was Active when the resize was accepted, and will be after a revert.
    pub was_active: bool,
    /// Since when it waits for its owner's word; `None` while the resize is under way.
    pub waits_since: Option<Timestamp>,
}

/// The image the root disk was made from, as far as hosts need it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    pub id: ImageId,
    pub sha512: String,
    pub disk_format: String,
    pub min_disk_gib: i64,
    pub min_ram_mib: i64,
    /// The image's properties, among them `hw_*` and `os_*`.
    pub properties: BTreeMap<String, String>,
}

/// The public key that was chosen, copied: deleting the key pair leaves the server alone (K135).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Key {
    pub name: String,
    /// `ssh` or `x509`.
    pub kind: String,
    pub public_key: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lock {
    pub by_admin: bool,
    pub reason: Option<String>,
}

/// What was last seen of the guest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    pub at: Option<Timestamp>,
    pub pid: Option<u32>,
    /// How the last QEMU process ended, for people.
    pub last_exit: Option<String>,
}

/// Trouble, as Nova's `fault` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// An HTTP status: 500 for trouble, 404 or 409 for a rule.
    pub code: i64,
    pub message: String,
    /// For administrators.
    pub details: String,
    pub created_at: Timestamp,
}

impl Record for Instance {
    const TABLE: &'static str = "instances";
    const COLUMNS: &'static [&'static str] = &[
        "project_id",
        "user_id",
        "name",
        "hostname",
        "class",
        "host_id",
        "flavor_id",
        "image_id",
        "key_name",
        "vm_state",
        "task_state",
        "power_state",
        "reservation_id",
        "server_group_id",
        "vcpus",
        "memory_mib",
        "locked",
        "deleted",
        "created_at",
        "updated_at",
        "launched_at",
        "terminated_at",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        let (intent, counted) = (&self.intent, self.counted());
        vec![
            (&self.project_id).into(),
            (&self.user_id).into(),
            intent.name.as_str().into(),
            intent.hostname.as_str().into(),
            self.class.as_str().into(),
            self.host_id.map(|id| id.to_string()).into(),
            (&intent.flavor.id).into(),
            intent
                .image
                .as_ref()
                .map(|image| image.id.to_string())
                .unwrap_or_default()
                .into(),
            intent
                .key
                .as_ref()
                .map(|key| key.name.clone())
                .unwrap_or_default()
                .into(),
            self.state.vm.as_str().into(),
            self.state.task.map(|task| task.as_str().to_owned()).into(),
            i64::from(self.state.power.code()).into(),
            self.reservation_id.as_str().into(),
            intent.server_group_id.map(|id| id.to_string()).into(),
            counted.vcpus.into(),
            counted.memory_mib.into(),
            intent.locked.is_some().into(),
            self.deleted.into(),
            self.created_at.into(),
            self.updated_at.into(),
            self.launched_at.map_or(0, Timestamp::micros).into(),
            self.terminated_at.map_or(0, Timestamp::micros).into(),
        ]
    }
}

impl Instance {
    /// The catalogue's word for the state.
    pub fn display(&self) -> &'static str {
        self.state.display(self.class).as_str()
    }

    /// What counts against its project's quota: while a resize is not final, the larger of both flavors, so that
    /// neither its end nor its revert can exceed what was checked when it was accepted.
    pub fn counted(&self) -> Usage {
        let flavor = &self.intent.flavor;
        let resize = self.resize.as_ref();
        let flavors = resize.map(|resize| [&resize.old_flavor, &resize.new_flavor]);
        let start = Usage {
            instances: 1,
            vcpus: flavor.vcpus,
            memory_mib: flavor.memory_mib,
        };
        flavors
            .into_iter()
            .flatten()
            .fold(start, |most, flavor| Usage {
                vcpus: most.vcpus.max(flavor.vcpus),
                memory_mib: most.memory_mib.max(flavor.memory_mib),
                ..most
            })
    }
}

/// Adds an instance in its first state.
pub async fn insert(tx: &mut Tx, instance: &Instance, why: &str, origin: &Origin) -> Result<()> {
    record::insert(tx, instance).await?;
    transitions::append(
        tx,
        &transition(instance, None, instance.display(), why, origin, 0),
    )
    .await
}

/// The instance, unless it is deleted.
pub async fn get(tx: &mut Tx, id: InstanceId) -> Result<Option<Instance>> {
    Ok(record::get::<Instance>(tx, id)
        .await?
        .filter(|instance| !instance.deleted))
}

/// The instance, to be changed in this transaction, unless it is deleted.
pub async fn lock(tx: &mut Tx, id: InstanceId) -> Result<Option<Instance>> {
    Ok(record::lock::<Instance>(tx, id)
        .await?
        .filter(|instance| !instance.deleted))
}

/// Writes an instance whose state did not change.
pub async fn update(tx: &mut Tx, instance: &mut Instance, now: Timestamp) -> Result<()> {
    instance.updated_at = now;
    record::update(tx, instance).await?;
    Ok(())
}

/// Moves an instance to another state and logs the transition; other changes made to it are written as well.
pub async fn change_state(
    tx: &mut Tx,
    instance: &mut Instance,
    state: InstanceState,
    why: &str,
    origin: &Origin,
    now: Timestamp,
) -> Result<()> {
    let before = instance.display();
    let lasted = now.since(instance.state_since).as_micros() as i64;
    let changed = instance.state != state;
    instance.state = state;
    if state.vm == VmState::Deleted {
        instance.deleted = true;
        instance.terminated_at = Some(now);
    }
    if changed {
        instance.state_since = now;
    }
    update(tx, instance, now).await?;
    if changed && before != instance.display() {
        transitions::append(
            tx,
            &transition(
                instance,
                Some(before),
                instance.display(),
                why,
                origin,
                lasted,
            ),
        )
        .await?;
    }
    Ok(())
}

fn transition(
    instance: &Instance,
    from: Option<&str>,
    to: &str,
    why: &str,
    origin: &Origin,
    lasted_micros: i64,
) -> Transition {
    Transition {
        id: TransitionId::next(),
        at: instance.state_since,
        subject_kind: SUBJECT.to_owned(),
        subject_id: instance.id.to_string(),
        project_id: Some(instance.project_id.clone()),
        from: from.map(str::to_owned),
        to: to.to_owned(),
        why: why.to_owned(),
        origin: origin.clone(),
        lasted_micros,
    }
}

/// What a project's living instances take of its quota.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub instances: i64,
    pub vcpus: i64,
    pub memory_mib: i64,
}

/// Counts a project's living instances.
pub async fn usage(tx: &mut Tx, project: &ProjectId) -> Result<Usage> {
    // PostgreSQL sums BIGINT to NUMERIC, which is cast back.
    let row = sql::query(
        "SELECT COUNT(*) AS instances, CAST(COALESCE(SUM(vcpus), 0) AS BIGINT) AS vcpus, \
             CAST(COALESCE(SUM(memory_mib), 0) AS BIGINT) AS memory_mib \
         FROM instances WHERE project_id = $1 AND deleted = 0",
    )
    .bind(project.to_string())
    .fetch_one(tx.conn())
    .await
    .map_err(classify(Instance::TABLE, "counting usage"))?;
    let number = |column: &'static str| {
        row.try_get::<i64>(column)
            .map_err(|source| Error::Database {
                doing: "counting usage",
                source,
            })
    };
    Ok(Usage {
        instances: number("instances")?,
        vcpus: number("vcpus")?,
        memory_mib: number("memory_mib")?,
    })
}

/// The living instances of a host.
pub async fn of_host(tx: &mut Tx, host: HostId) -> Result<Vec<Instance>> {
    Query::new()
        .equals("host_id", &host)
        .equals("deleted", false)
        .all(tx)
        .await
}

/// The living members of a server group.
pub async fn of_group(tx: &mut Tx, group: ServerGroupId) -> Result<Vec<Instance>> {
    Query::new()
        .equals("server_group_id", &group)
        .equals("deleted", false)
        .all(tx)
        .await
}

/// The right to open one console once, until it expires. Its id is the SHA-256 of the token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsoleToken {
    pub token_hash: String,
    pub instance_id: InstanceId,
    /// `serial` or `vnc`.
    pub kind: String,
    pub expires_at: Timestamp,
}

impl Record for ConsoleToken {
    const TABLE: &'static str = "console_tokens";
    const COLUMNS: &'static [&'static str] = &["instance_id", "expires_at"];

    fn id(&self) -> String {
        self.token_hash.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![(&self.instance_id).into(), self.expires_at.into()]
    }
}
