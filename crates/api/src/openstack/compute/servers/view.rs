//! A server as Nova's API shows it, field by field as of each microversion.

use super::interfaces;
use crate::openstack::compute::microversion::Microversion;
use crate::openstack::compute::paging::links;
use corten_model::ids::InstanceId;
use corten_model::time::Timestamp;
use corten_operations::instance::addresses::Wiring;
use corten_store::instances::{Fault, Flavor, Image, Instance};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha224};
use std::collections::{BTreeMap, HashMap};

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

impl Viewer<'_> {
    /// `{"id", "name", "links"}`, as in `/servers`.
    pub fn brief(&self, instance: &Instance) -> Value {
        json!({
            "id": instance.id,
            "name": instance.intent.name,
            "links": links(self.base, "servers", instance.id),
        })
    }

    /// The whole server.
    pub fn server(&self, instance: &Instance, mode: Mode) -> Value {
        let mut body = Map::new();
        self.basics(instance, &mut body);
        // PUT and rebuild answer the whole server only from 2.75 on.
        let whole = matches!(mode, Mode::Show | Mode::Detail) || self.mv.at_least(75);
        if let Some(wiring) = self.wirings.get(&instance.id) {
            let addresses = interfaces::addresses(wiring, whole);
            body.insert("addresses".to_owned(), addresses);
        }
        if whole {
            self.extended(instance, mode, &mut body);
        }
        if mode == Mode::Rebuild {
            if self.mv.at_least(54) {
                body.insert("key_name".to_owned(), key_name(instance));
            }
            if self.mv.at_least(57) {
                body.insert("user_data".to_owned(), json!(instance.intent.user_data));
            }
        }
        self.newer(instance, mode, &mut body);
        Value::Object(body)
    }

    fn basics(&self, instance: &Instance, body: &mut Map<String, Value>) {
        let intent = &instance.intent;
        let status = instance.state.api_status();
        let fields = json!({
            "id": instance.id,
            "name": intent.name,
            "status": status,
            "tenant_id": instance.project_id,
            "user_id": instance.user_id,
            "metadata": intent.metadata,
            "hostId": host_id(instance),
            "image": intent.image.as_ref().map_or(json!(""), |image| self.image(image)),
            "flavor": self.flavor(&intent.flavor),
            "created": instance.created_at.seconds_z(),
            "updated": instance.updated_at.seconds_z(),
            "addresses": {},
            "accessIPv4": intent.access_ip_v4,
            "accessIPv6": intent.access_ip_v6,
            "links": links(self.base, "servers", instance.id),
            "OS-DCF:diskConfig": intent.disk_config,
        });
        if let Value::Object(fields) = fields {
            body.extend(fields);
        }
        if IN_PROGRESS.contains(&status) {
            body.insert("progress".to_owned(), json!(instance.progress));
        }
        if let Some(fault) = instance
            .fault
            .as_ref()
            .filter(|_| matches!(status, "ERROR" | "DELETED"))
        {
            body.insert("fault".to_owned(), self.fault(fault));
        }
    }

    fn image(&self, image: &Image) -> Value {
        let bookmark = format!("{}/compute/images/{}", self.base, image.id);
        let mut body = json!({"id": image.id, "links": [{"rel": "bookmark", "href": bookmark}]});
        if self.mv.at_least(98) {
            let standard: BTreeMap<_, _> = image
                .properties
                .iter()
                .filter(|(name, _)| is_standard_property(name))
                .collect();
            body["properties"] = json!(standard);
        }
        body
    }

    fn flavor(&self, flavor: &Flavor) -> Value {
        if self.mv.at_least(47) {
            return json!({
                "vcpus": flavor.vcpus,
                "ram": flavor.memory_mib,
                "disk": flavor.root_gib,
                "ephemeral": flavor.ephemeral_gib,
                "swap": flavor.swap_mib,
                "original_name": flavor.name,
                "extra_specs": flavor.extra_specs,
            });
        }
        let bookmark = format!("{}/compute/flavors/{}", self.base, flavor.id);
        json!({"id": flavor.id, "links": [{"rel": "bookmark", "href": bookmark}]})
    }

    fn fault(&self, fault: &Fault) -> Value {
        let mut body = json!({
            "code": fault.code,
            "message": fault.message,
            "created": fault.created_at.seconds_z(),
        });
        if self.sees_hosts || fault.code != 500 {
            body["details"] = json!(fault.details);
        }
        body
    }

    fn extended(&self, instance: &Instance, mode: Mode, body: &mut Map<String, Value>) {
        let intent = &instance.intent;
        let zone = match (&intent.availability_zone, instance.host_id) {
            (Some(zone), _) => zone.as_str(),
            (None, Some(_)) => self.default_zone.as_str(),
            (None, None) => "",
        };
        let fields = json!({
            "key_name": key_name(instance),
            "config_drive": if intent.config_drive { "True" } else { "" },
            "OS-EXT-AZ:availability_zone": zone,
            "OS-EXT-STS:task_state": instance.state.task.and_then(|task| task.nova()),
            "OS-EXT-STS:vm_state": instance.state.vm,
            "OS-EXT-STS:power_state": instance.state.power.code(),
            "OS-SRV-USG:launched_at": instance.launched_at.map(Timestamp::micros_bare),
            "OS-SRV-USG:terminated_at": instance.terminated_at.map(Timestamp::micros_bare),
            "os-extended-volumes:volumes_attached": [],
        });
        if let Value::Object(fields) = fields {
            body.extend(fields);
        }
        let wiring = self.wirings.get(&instance.id);
        if let Some(groups) = wiring.map(|wiring| &wiring.security_groups)
            && !groups.is_empty()
        {
            let groups = groups.iter().map(|name| json!({"name": name}));
            body.insert("security_groups".to_owned(), groups.collect());
        }
        if self.sees_hosts {
            self.hosts(instance, mode, body);
        }
    }

    /// What only administrators see.
    fn hosts(&self, instance: &Instance, mode: Mode, body: &mut Map<String, Value>) {
        let intent = &instance.intent;
        let mut add =
            |name: &str, value: Value| body.insert(format!("OS-EXT-SRV-ATTR:{name}"), value);
        add("host", json!(instance.host_name));
        add("hypervisor_hostname", json!(instance.host_name));
        add(
            "instance_name",
            json!(format!(
                "instance-{}",
                &instance.id.0.simple().to_string()[..8]
            )),
        );
        if self.mv.at_least(3) {
            add("reservation_id", json!(instance.reservation_id));
            add("launch_index", json!(instance.launch_index));
            add("hostname", json!(intent.hostname));
            add("kernel_id", json!(""));
            add("ramdisk_id", json!(""));
            add("root_device_name", json!("/dev/vda"));
            // A rebuild shows it under another name.
            if mode != Mode::Rebuild {
                add("user_data", json!(intent.user_data));
            }
        }
        if self.mv.at_least(16) {
            let host = instance.host_id.and(instance.host_name.as_ref());
            let status = host.map_or("", |name| {
                self.host_statuses.get(name).unwrap_or(&"UNKNOWN")
            });
            body.insert("host_status".to_owned(), json!(status));
        }
    }

    /// What later versions added, each by its number.
    fn newer(&self, instance: &Instance, mode: Mode, body: &mut Map<String, Value>) {
        let intent = &instance.intent;
        let whole = matches!(mode, Mode::Show | Mode::Detail) || self.mv.at_least(75);
        let mut add = |since: u16, name: &str, value: Value| {
            if self.mv.at_least(since) {
                body.insert(name.to_owned(), value);
            }
        };
        add(9, "locked", json!(intent.locked.is_some()));
        add(19, "description", json!(intent.description));
        add(26, "tags", json!(intent.tags));
        add(
            63,
            "trusted_image_certificates",
            json!(intent.trusted_image_certificates),
        );
        if mode != Mode::Detail {
            let groups: Vec<_> = intent.server_group_id.iter().collect();
            add(71, "server_groups", json!(groups));
        }
        add(
            73,
            "locked_reason",
            json!(intent.locked.as_ref().and_then(|lock| lock.reason.clone())),
        );
        if whole {
            add(90, "OS-EXT-SRV-ATTR:hostname", json!(intent.hostname));
        }
        add(
            96,
            "pinned_availability_zone",
            json!(intent.availability_zone),
        );
        add(100, "scheduler_hints", json!(intent.scheduler_hints));
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

fn key_name(instance: &Instance) -> Value {
    json!(instance.intent.key.as_ref().map(|key| &key.name))
}

/// Tells tenants which of their servers share a host without naming it: SHA-224 of project and host.
fn host_id(instance: &Instance) -> String {
    let Some(host) = &instance.host_name else {
        return String::new();
    };
    hex(&Sha224::digest(format!("{}{host}", instance.project_id)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
