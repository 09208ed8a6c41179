//! Nodes: bare-metal servers under management.

use super::flash::Flash;
use super::{Object, Standard, resource};
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Direction, Query, Record, Value};
use crate::transitions::{self, Transition};
use corten_model::ids::{
    ChassisId, InstanceId, NodeAllocationId, NodeId, ProjectId, TransitionId, WipeId,
};
use corten_model::lifecycle::node::ProvisionState;
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// As the transition log and operations call it.
pub const SUBJECT: &str = "node";
/// The subject of the lines that tell what the watch saw of a node's power. They stand in a log of their own, so that
/// the log of provision states has no gap.
pub const POWER_SUBJECT: &str = "node_power";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub name: Option<String>,
    pub driver: String,
    /// Which way each part of the driver works: `power` to `redfish`.
    pub interfaces: BTreeMap<String, String>,
    /// What the driver must know, without what is secret.
    pub driver_info: Object,
    /// Sealed values, by the place they belong to: `driver_info/redfish_password`.
    pub secrets: BTreeMap<String, String>,
    pub driver_internal_info: Object,
    pub properties: Object,
    pub instance_info: Object,
    pub network_data: Object,
    pub traits: BTreeSet<String>,
    pub resource_class: Option<String>,
    pub conductor_group: String,
    pub owner: Option<String>,
    pub lessee: Option<String>,
    pub shard: Option<String>,
    pub description: Option<String>,
    pub chassis_id: Option<ChassisId>,
    pub parent_id: Option<NodeId>,
    pub instance_id: Option<InstanceId>,
    pub instance_name: Option<String>,
    pub allocation_id: Option<NodeAllocationId>,
    pub automated_clean: Option<bool>,
    pub disable_power_off: bool,
    /// No verb that would take the instance off is accepted.
    pub protected: bool,
    pub protected_reason: Option<String>,
    pub retired: bool,
    pub retired_reason: Option<String>,
    pub maintenance: bool,
    pub maintenance_reason: Option<String>,
    /// The trouble that put it into maintenance.
    pub fault: Option<String>,
    pub last_error: Option<String>,
    pub provision: Provision,
    pub power: Power,
    pub console_enabled: bool,
    pub boot_mode: Option<String>,
    pub secure_boot: Option<bool>,
    pub raid_config: Object,
    pub target_raid_config: Object,
    /// Those of the running work that are left, with the one being run first.
    pub steps: Vec<Step>,
    pub inspection: Inspection,
    pub bios: Vec<BiosSetting>,
    pub firmware: Vec<FirmwareComponent>,
    /// The components of the step that installs firmware, in its order; none while no such step is run.
    #[serde(default)]
    pub flashes: Vec<Flash>,
    /// The proof of the last wipe since an instance was on it; `None` once one is.
    pub wiped: Option<WipeId>,
    pub agent: Option<Agent>,
    /// While it is booted into the ramdisk, or its ramdisk works.
    #[serde(default)]
    pub boot: Option<RamdiskBoot>,
    /// Deployments that failed since the last one that went well, but for those that failed for their image.
    #[serde(default)]
    pub failures: u32,
    /// The server was off when work under its instance began (service, rescue), and is left off at the end.
    #[serde(default)]
    pub found_off: bool,
    /// The image of this deployment is on the disk: the steps that are left come after it.
    #[serde(default)]
    pub image_written: bool,
    /// The last deployment failed for its image, so it would on any server of the kind.
    #[serde(default)]
    pub image_unfit: bool,
    #[serde(flatten)]
    pub standard: Standard,
}

/// Where it stands, and where it is on its way to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provision {
    pub state: ProvisionState,
    pub target: Option<ProvisionState>,
    pub since: Timestamp,
    /// False for a new node, which has not moved yet.
    pub moved: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Power {
    /// As last seen.
    pub seen: Option<PowerSeen>,
    /// While it is being changed.
    pub target: Option<PowerSeen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerSeen {
    #[serde(rename = "power on")]
    On,
    #[serde(rename = "power off")]
    Off,
}

impl PowerSeen {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "power on",
            Self::Off => "power off",
        }
    }
}

/// One step of cleaning, deployment or service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub interface: String,
    pub step: String,
    pub args: Object,
    pub priority: u32,
    /// The server was booted, or will be next, for what its BMC was told to hold.
    #[serde(default)]
    pub booted: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// What was found, in the form of Ironic's inventory; `None` until the first inspection.
    pub inventory: Option<serde_json::Value>,
    pub plugin_data: Option<serde_json::Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BiosSetting {
    pub name: String,
    pub value: Option<String>,
    pub seen_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirmwareComponent {
    pub component: String,
    pub initial_version: Option<String>,
    pub current_version: Option<String>,
    pub last_version_flashed: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

/// The ramdisk that runs on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// SHA-256 of its token, in hexadecimal digits: the token itself is told once.
    pub token_sha256: String,
    pub url: Option<String>,
    /// What it shows whoever calls it, in PEM.
    #[serde(default)]
    pub certificate: Option<String>,
    pub version: Option<String>,
    /// It is OpenStack's own, which showed the boot's token at its first heartbeat; ours shows it at lookup.
    #[serde(default)]
    pub stock: bool,
    pub seen_at: Option<Timestamp>,
}

/// How a server is booted into the ramdisk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RamdiskBoot {
    pub method: BootMethod,
    /// The first is 1.
    pub attempt: u32,
    /// SHA-256 of the one-time token, in hexadecimal digits; `None` once a ramdisk has shown it.
    pub token_sha256: Option<String>,
    /// SHA-256 of the secret part of its virtual media's name.
    pub media_sha256: Option<String>,
    pub since: Timestamp,
    /// Why the attempts before did not get there, oldest first.
    pub story: Vec<String>,
}

/// A way to boot a server into the ramdisk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMethod {
    /// The BMC shows the server an image as a disc.
    VirtualMedia,
    /// The firmware fetches a program by HTTP (UEFI).
    Http,
    /// The firmware fetches a program by TFTP.
    Pxe,
}

impl BootMethod {
    pub fn words(self) -> &'static str {
        match self {
            Self::VirtualMedia => "virtual media",
            Self::Http => "UEFI HTTP boot",
            Self::Pxe => "PXE",
        }
    }
}

impl Node {
    pub fn driver_part(&self, kind: &str) -> &str {
        self.interfaces.get(kind).map_or("", String::as_str)
    }

    /// Moves it to another provision state, with a line in the log.
    pub async fn enter(
        &mut self,
        tx: &mut Tx,
        state: ProvisionState,
        why: &str,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<()> {
        let transition = Transition {
            id: TransitionId::next(),
            at: now,
            subject_kind: SUBJECT.to_owned(),
            subject_id: self.id.to_string(),
            project_id: self.owner.as_deref().map(ProjectId::from),
            from: Some(self.provision.state.as_str().to_owned()),
            to: state.as_str().to_owned(),
            why: why.to_owned(),
            origin: origin.clone(),
            lasted_micros: now.since(self.provision.since).as_micros() as i64,
        };
        self.provision.state = state;
        self.provision.since = now;
        self.provision.moved = true;
        transitions::append(tx, &transition).await
    }

    /// Writes down what the watch saw of its power.
    pub async fn tell_power(
        &self,
        tx: &mut Tx,
        (from, to): (&str, &str),
        why: &str,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<()> {
        let last: Option<Transition> = Query::new()
            .equals("subject_kind", POWER_SUBJECT)
            .equals("subject_id", self.id.to_string())
            .order_by("id", Direction::Descending)
            .first(tx)
            .await?;
        let since = last.filter(|last| last.to == from).map(|last| last.at);
        let transition = Transition {
            id: TransitionId::next(),
            at: now,
            subject_kind: POWER_SUBJECT.to_owned(),
            subject_id: self.id.to_string(),
            project_id: self.owner.as_deref().map(ProjectId::from),
            from: Some(from.to_owned()),
            to: to.to_owned(),
            why: why.to_owned(),
            origin: origin.clone(),
            lasted_micros: since.map_or(0, |since| now.since(since).as_micros() as i64),
        };
        transitions::append(tx, &transition).await
    }
}

impl Record for Node {
    const TABLE: &'static str = "metal_nodes";
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "driver",
        "provision_state",
        "power_state",
        "maintenance",
        "fault",
        "resource_class",
        "conductor_group",
        "owner",
        "lessee",
        "shard",
        "retired",
        "instance_id",
        "instance_name",
        "chassis_id",
        "parent_id",
        "allocation_id",
        "created_at",
        "updated_at",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        use super::text;
        vec![
            text(self.name.as_ref()),
            self.driver.as_str().into(),
            self.provision.state.as_str().into(),
            text(self.power.seen.map(PowerSeen::as_str)),
            self.maintenance.into(),
            text(self.fault.as_ref()),
            text(self.resource_class.as_ref()),
            self.conductor_group.as_str().into(),
            text(self.owner.as_ref()),
            text(self.lessee.as_ref()),
            text(self.shard.as_ref()),
            self.retired.into(),
            text(self.instance_id),
            text(self.instance_name.as_ref()),
            text(self.chassis_id),
            text(self.parent_id),
            text(self.allocation_id),
            self.standard.created_at.into(),
            self.standard.updated(),
        ]
    }
}

resource!(Node, "Node", Some("name"));
