//! What OpenStack's own agent reads of a node, in Ironic's words, with each command.

use corten_store::metal::Object;
use corten_store::metal::node::Node;
use serde_json::{Value, json};

/// Settings of the agent's own steps, which operators write into `driver_info` (`agent_burnin_cpu_timeout` and the like).
const OF_AGENT: &str = "agent_";

/// As little as its steps need. Disks that Ironic would have it skip are not named: a wipe leaves none out.
pub fn node_as_it_reads(node: &Node) -> Value {
    let settings: Object = node
        .driver_info
        .iter()
        .filter(|(key, _)| key.starts_with(OF_AGENT))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut properties = Object::new();
    if let Some(hints) = node.properties.get("root_device") {
        properties.insert("root_device".to_owned(), hints.clone());
    }
    json!({
        "uuid": node.id,
        "properties": properties,
        "instance_info": {},
        "driver_info": settings,
        // What the firmware or the disk itself can do best; where that fails, each block is written.
        "driver_internal_info": {
            "agent_enable_ata_secure_erase": true,
            "agent_enable_nvme_secure_erase": true,
            "agent_continue_if_secure_erase_failed": true,
            "agent_erase_devices_iterations": 1,
            "agent_erase_devices_zeroize": true,
            "agent_erase_skip_read_only": false,
        },
        "raid_config": node.raid_config,
        "target_raid_config": node.target_raid_config,
    })
}
