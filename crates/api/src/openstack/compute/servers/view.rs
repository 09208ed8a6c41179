//! A server as Nova's API shows it, field by field as of each microversion.
//!
//! The answer is a struct that serde writes as it is: a list of a thousand servers makes no tree of values first.

use super::interfaces;
use crate::openstack::compute::microversion::Microversion;
use crate::openstack::compute::paging::{Link, links};
use corten_model::ids::{ImageId, InstanceId, ProjectId, ServerGroupId, UserId};
use corten_model::lifecycle::{TaskState, VmState};
use corten_model::time::Timestamp;
use corten_operations::instance::addresses::Wiring;
use corten_store::instances::{Fault, Flavor, Image, Instance, Lock};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha224};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Which answer the server stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Show,
    /// In `/servers/detail`.
    Detail,
    Update,
    Rebuild,
}

/// Who looks, and as of which version.
pub struct Viewer<'a> {
    pub mv: Microversion,
    pub base: &'a str,
    /// Administrators see where a server runs.
    pub sees_hosts: bool,
    /// Nova's word for the state of each host, by its name; only for who sees hosts.
    pub host_statuses: HashMap<String, &'static str>,
    pub default_zone: String,
    /// The addresses and groups of the instances that have any.
    pub wirings: HashMap<InstanceId, Wiring>,
}

/// Statuses with a progress.
const IN_PROGRESS: [&str; 6] = [
    "ACTIVE",
    "BUILD",
    "REBUILD",
    "RESIZE",
    "VERIFY_RESIZE",
    "MIGRATING",
];

/// `{"id", "name", "links"}`, as in `/servers`.
#[derive(Serialize)]
pub struct Brief<'a> {
    id: InstanceId,
    name: &'a str,
    links: [Link; 2],
}

/// A field that is left out (`None`) where the version, the answer or the viewer does not have it.
type Field<T> = Option<T>;

/// The whole server.
#[derive(Serialize)]
pub struct Server<'a> {
    #[serde(flatten)]
    basics: Basics<'a>,
    #[serde(flatten)]
    extended: Field<Extended<'a>>,
    #[serde(flatten)]
    host: Field<HostView<'a>>,
    #[serde(flatten)]
    newer: Newer<'a>,
}

#[derive(Serialize)]
struct Basics<'a> {
    id: InstanceId,
    name: &'a str,
    status: &'static str,
    tenant_id: &'a ProjectId,
    user_id: &'a UserId,
    metadata: &'a BTreeMap<String, String>,
    #[serde(rename = "hostId")]
    host_id: String,
    image: ImageView<'a>,
    flavor: FlavorView<'a>,
    created: String,
    updated: String,
    addresses: Value,
    #[serde(rename = "accessIPv4")]
    access_ip_v4: &'a str,
    #[serde(rename = "accessIPv6")]
    access_ip_v6: &'a str,
    links: [Link; 2],
    #[serde(rename = "OS-DCF:diskConfig")]
    disk_config: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Field<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Field<FaultView<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ImageView<'a> {
    /// Booted from a volume: an empty text.
    None(&'static str),
    Some {
        id: ImageId,
        links: [Link; 1],
        #[serde(skip_serializing_if = "Option::is_none")]
        properties: Field<BTreeMap<&'a str, &'a str>>,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum FlavorView<'a> {
    Named {
        id: &'a str,
        links: [Link; 1],
    },
    Embedded {
        vcpus: i64,
        ram: i64,
        disk: i64,
        ephemeral: i64,
        swap: i64,
        original_name: &'a str,
        extra_specs: &'a BTreeMap<String, String>,
    },
}

#[derive(Serialize)]
struct FaultView<'a> {
    code: i64,
    message: &'a str,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Field<&'a str>,
}

#[derive(Serialize)]
struct Extended<'a> {
    config_drive: &'static str,
    #[serde(rename = "OS-EXT-AZ:availability_zone")]
    availability_zone: String,
    #[serde(rename = "OS-EXT-STS:task_state")]
    task_state: Option<&'static str>,
    #[serde(rename = "OS-EXT-STS:vm_state")]
    vm_state: VmState,
    #[serde(rename = "OS-EXT-STS:power_state")]
    power_state: u8,
    #[serde(rename = "OS-SRV-USG:launched_at")]
    launched_at: Option<String>,
    #[serde(rename = "OS-SRV-USG:terminated_at")]
    terminated_at: Option<String>,
    #[serde(rename = "os-extended-volumes:volumes_attached")]
    volumes_attached: [Value; 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    security_groups: Field<Vec<GroupName<'a>>>,
}

#[derive(Serialize)]
struct GroupName<'a> {
    name: &'a str,
}

/// What only administrators see.
#[derive(Serialize)]
struct HostView<'a> {
    #[serde(rename = "OS-EXT-SRV-ATTR:host")]
    host: Option<&'a str>,
    #[serde(rename = "OS-EXT-SRV-ATTR:hypervisor_hostname")]
    hypervisor_hostname: Option<&'a str>,
    #[serde(rename = "OS-EXT-SRV-ATTR:instance_name")]
    instance_name: String,
    #[serde(flatten)]
    since_3: Field<HostViewSince3<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_status: Field<&'static str>,
}

#[derive(Serialize)]
struct HostViewSince3<'a> {
    #[serde(rename = "OS-EXT-SRV-ATTR:reservation_id")]
    reservation_id: &'a str,
    #[serde(rename = "OS-EXT-SRV-ATTR:launch_index")]
    launch_index: i64,
    #[serde(rename = "OS-EXT-SRV-ATTR:kernel_id")]
    kernel_id: &'static str,
    #[serde(rename = "OS-EXT-SRV-ATTR:ramdisk_id")]
    ramdisk_id: &'static str,
    #[serde(rename = "OS-EXT-SRV-ATTR:root_device_name")]
    root_device_name: &'static str,
    #[serde(
        rename = "OS-EXT-SRV-ATTR:user_data",
        skip_serializing_if = "Option::is_none"
    )]
    user_data: Field<Option<&'a str>>,
}

/// What came with later versions, or stands in some answers only.
#[derive(Serialize)]
struct Newer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key_name: Field<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_data: Field<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Field<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Field<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Field<&'a BTreeSet<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted_image_certificates: Field<Option<&'a Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_groups: Field<Vec<ServerGroupId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_reason: Field<Option<&'a str>>,
    #[serde(
        rename = "OS-EXT-SRV-ATTR:hostname",
        skip_serializing_if = "Option::is_none"
    )]
    hostname: Field<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned_availability_zone: Field<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduler_hints: Field<&'a BTreeMap<String, Value>>,
}

impl Viewer<'_> {
    pub fn brief<'a>(&self, instance: &'a Instance) -> Brief<'a> {
        Brief {
            id: instance.id,
            name: &instance.intent.name,
            links: links(self.base, "servers", instance.id),
        }
    }

    pub fn server<'a>(&'a self, instance: &'a Instance, mode: Mode) -> Server<'a> {
        // PUT and rebuild answer the whole server only from 2.75 on.
        let whole = matches!(mode, Mode::Show | Mode::Detail) || self.mv.at_least(75);
        let host = whole && self.sees_hosts;
        Server {
            basics: self.basics(instance, whole),
            extended: whole.then(|| self.extended(instance)),
            host: host.then(|| self.host(instance, mode)),
            newer: self.newer(instance, mode, whole),
        }
    }

    fn basics<'a>(&self, instance: &'a Instance, whole: bool) -> Basics<'a> {
        let intent = &instance.intent;
        let status = instance.state.api_status();
        let fault = instance.fault.as_ref();
        let wiring = self.wirings.get(&instance.id);
        Basics {
            id: instance.id,
            name: &intent.name,
            status,
            tenant_id: &instance.project_id,
            user_id: &instance.user_id,
            metadata: &intent.metadata,
            host_id: host_id(instance),
            image: match &intent.image {
                Some(image) => self.image(image),
                None => ImageView::None(""),
            },
            flavor: self.flavor(&intent.flavor),
            created: instance.created_at.seconds_z(),
            updated: instance.updated_at.seconds_z(),
            addresses: wiring
                .map_or_else(|| json!({}), |wiring| interfaces::addresses(wiring, whole)),
            access_ip_v4: &intent.access_ip_v4,
            access_ip_v6: &intent.access_ip_v6,
            links: links(self.base, "servers", instance.id),
            disk_config: &intent.disk_config,
            progress: IN_PROGRESS.contains(&status).then_some(instance.progress),
            fault: fault
                .filter(|_| matches!(status, "ERROR" | "DELETED"))
                .map(|fault| self.fault(fault)),
        }
    }

    fn image<'a>(&self, image: &'a Image) -> ImageView<'a> {
        let standard = || {
            let all = image.properties.iter();
            all.filter(|(name, _)| is_standard_property(name))
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect()
        };
        ImageView::Some {
            id: image.id,
            links: [Link::bookmark(self.base, "images", image.id)],
            properties: self.mv.at_least(98).then(standard),
        }
    }

    fn flavor<'a>(&self, flavor: &'a Flavor) -> FlavorView<'a> {
        if !self.mv.at_least(47) {
            return FlavorView::Named {
                id: flavor.id.as_str(),
                links: [Link::bookmark(self.base, "flavors", &flavor.id)],
            };
        }
        FlavorView::Embedded {
            vcpus: flavor.vcpus,
            ram: flavor.memory_mib,
            disk: flavor.root_gib,
            ephemeral: flavor.ephemeral_gib,
            swap: flavor.swap_mib,
            original_name: &flavor.name,
            extra_specs: &flavor.extra_specs,
        }
    }

    fn fault<'a>(&self, fault: &'a Fault) -> FaultView<'a> {
        FaultView {
            code: fault.code,
            message: &fault.message,
            created: fault.created_at.seconds_z(),
            details: (self.sees_hosts || fault.code != 500).then_some(&fault.details),
        }
    }

    fn extended(&self, instance: &Instance) -> Extended<'_> {
        let intent = &instance.intent;
        let zone = match (&intent.availability_zone, instance.host_id) {
            (Some(zone), _) => zone.as_str(),
            (None, Some(_)) => self.default_zone.as_str(),
            (None, None) => "",
        };
        Extended {
            config_drive: if intent.config_drive { "True" } else { "" },
            availability_zone: zone.to_owned(),
            task_state: instance.state.task.and_then(TaskState::nova),
            vm_state: instance.state.vm,
            power_state: instance.state.power.code(),
            launched_at: instance.launched_at.map(Timestamp::micros_bare),
            terminated_at: instance.terminated_at.map(Timestamp::micros_bare),
            volumes_attached: [],
            security_groups: self.groups(instance.id),
        }
    }

    /// The names of the groups that guard the server; a server without any shows none.
    fn groups(&self, id: InstanceId) -> Field<Vec<GroupName<'_>>> {
        let wiring = self.wirings.get(&id)?;
        let names = wiring.security_groups.iter();
        let names: Vec<_> = names.map(|name| GroupName { name }).collect();
        (!names.is_empty()).then_some(names)
    }

    fn host<'a>(&self, instance: &'a Instance, mode: Mode) -> HostView<'a> {
        let host = instance.host_name.as_deref();
        let since_3 = || HostViewSince3 {
            reservation_id: &instance.reservation_id,
            launch_index: instance.launch_index,
            kernel_id: "",
            ramdisk_id: "",
            root_device_name: "/dev/vda",
            // A rebuild shows it under another name.
            user_data: (mode != Mode::Rebuild).then_some(instance.intent.user_data.as_deref()),
        };
        let host_status = || match instance.host_id.and(host) {
            Some(name) => self.host_statuses.get(name).copied().unwrap_or("UNKNOWN"),
            None => "",
        };
        HostView {
            host,
            hypervisor_hostname: host,
            instance_name: format!("instance-{}", &instance.id.0.simple().to_string()[..8]),
            since_3: self.mv.at_least(3).then(since_3),
            host_status: self.mv.at_least(16).then(host_status),
        }
    }

    fn newer<'a>(&self, instance: &'a Instance, mode: Mode, whole: bool) -> Newer<'a> {
        let intent = &instance.intent;
        let since = |minor| self.mv.at_least(minor);
        let rebuilt = mode == Mode::Rebuild;
        let reason = |lock: &'a Lock| lock.reason.as_deref();
        Newer {
            key_name: (whole || rebuilt && since(54))
                .then_some(intent.key.as_ref().map(|key| key.name.as_str())),
            user_data: (rebuilt && since(57)).then_some(intent.user_data.as_deref()),
            locked: since(9).then_some(intent.locked.is_some()),
            description: since(19).then_some(intent.description.as_deref()),
            tags: since(26).then_some(&intent.tags),
            trusted_image_certificates: since(63)
                .then_some(intent.trusted_image_certificates.as_ref()),
            server_groups: (mode != Mode::Detail && since(71))
                .then(|| intent.server_group_id.into_iter().collect()),
            locked_reason: since(73).then_some(intent.locked.as_ref().and_then(reason)),
            hostname: (whole && (since(90) || self.sees_hosts && since(3)))
                .then_some(&intent.hostname),
            pinned_availability_zone: since(96).then_some(intent.availability_zone.as_deref()),
            scheduler_hints: since(100).then_some(&intent.scheduler_hints),
        }
    }
}

/// Properties with a meaning for compute: those of Nova's `ImageMetaProps`, older names included.
const STANDARD_PROPERTIES: [&str; 28] = [
    "architecture",
    "auto_disk_config",
    "bdm_v2",
    "bittorrent",
    "block_device_mapping",
    "cache_in_nova",
    "hypervisor_type",
    "hypervisor_version_requires",
    "ipxe_boot",
    "mappings",
    "os_admin_user",
    "os_command_line",
    "os_distro",
    "os_require_quiesce",
    "os_secure_boot",
    "os_skip_agent_inject_files_at_boot",
    "os_skip_agent_inject_ssh",
    "os_type",
    "owner_id",
    "root_device_name",
    "traits_required",
    "vm_mode",
    "vmware_disktype",
    "vmware_image_version",
    "vmware_linked_clone",
    "vmware_ostype",
    "xenapi_device_id",
    "xenapi_use_agent",
];

fn is_standard_property(name: &str) -> bool {
    name.starts_with("hw_") || name.starts_with("img_") || STANDARD_PROPERTIES.contains(&name)
}

/// Tells tenants which of their servers share a host without naming it: SHA-224 of project and host.
fn host_id(instance: &Instance) -> String {
    let Some(host) = &instance.host_name else {
        return String::new();
    };
    hex::encode(Sha224::digest(format!("{}{host}", instance.project_id)))
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
