//! What an operator can set in `corten.toml` for images and compute. Every default is what most clouds want.

use serde::Deserialize;
use std::time::Duration;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub images: Images,
    pub compute: Compute,
    pub quota: Quota,
}

/// `[images]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// Refuse uploads whose bytes are not what `disk_format` says, or that point at other files.
    pub inspect: bool,
    /// The largest image file that is accepted, in bytes.
    pub max_size_bytes: u64,
    /// Free space that must remain on the image disk, in bytes.
    pub keep_free_bytes: u64,
    /// Hosts that `web-download` may fetch from; empty means any that the one who asks may reach.
    pub web_download_hosts: Vec<String>,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            inspect: true,
            max_size_bytes: 1 << 40,
            keep_free_bytes: 256 << 20,
            web_download_hosts: Vec::new(),
        }
    }
}

/// `[compute]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compute {
    /// How many hosts a create tries before it gives up.
    pub max_attempts: u32,
    /// How long a guest may take to power off by ACPI before its power is cut, in seconds.
    pub shutdown_timeout_secs: u32,
    /// Virtual CPUs that may be promised per physical one.
    pub cpu_allocation_ratio: f64,
    /// Memory that may be promised per byte of real memory.
    pub ram_allocation_ratio: f64,
    pub disk_allocation_ratio: f64,
    /// Memory kept for the host itself, in MiB.
    pub reserved_host_memory_mib: u64,
    /// The name of the availability zone of hosts in no aggregate that names one.
    pub default_availability_zone: String,
    /// How long a console token is good for, in seconds.
    pub console_token_ttl_secs: u64,
    /// After this many seconds a resize that its owner neither confirmed nor reverted is confirmed by itself; 0 waits
    /// for ever (K55).
    pub resize_confirm_window_secs: u64,
    /// After this many seconds a deleted server is reclaimed; 0 deletes at once.
    pub reclaim_instance_interval_secs: u64,
}

impl Default for Compute {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            shutdown_timeout_secs: 60,
            cpu_allocation_ratio: 4.0,
            ram_allocation_ratio: 1.0,
            disk_allocation_ratio: 1.0,
            reserved_host_memory_mib: 512,
            default_availability_zone: "nova".to_owned(),
            console_token_ttl_secs: 600,
            resize_confirm_window_secs: 86_400,
            reclaim_instance_interval_secs: 0,
        }
    }
}

impl Compute {
    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_secs(self.shutdown_timeout_secs.into())
    }
}

/// `[quota]`: what a project may have unless its own quota says otherwise; -1 means no limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    pub instances: i64,
    pub cores: i64,
    pub ram_mib: i64,
    pub key_pairs: i64,
    pub metadata_items: i64,
    pub server_groups: i64,
    pub server_group_members: i64,
    pub injected_files: i64,
    pub injected_file_content_bytes: i64,
    pub injected_file_path_bytes: i64,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            instances: 10,
            cores: 20,
            ram_mib: 51_200,
            key_pairs: 100,
            metadata_items: 128,
            server_groups: 10,
            server_group_members: 10,
            injected_files: 5,
            injected_file_content_bytes: 10_240,
            injected_file_path_bytes: 255,
        }
    }
}
