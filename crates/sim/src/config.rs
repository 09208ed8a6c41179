//! What a simulated host claims to be.

/// Size and name of a simulated host, and how its guests behave.
#[derive(Debug, Clone)]
pub struct SimConfig {
    pub hostname: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub disk_gib: u64,
    /// What every image turns out to need as a disk.
    pub image_virtual_size_bytes: u64,
    /// Guests power off when asked. Otherwise a graceful stop ends as a power cut.
    pub guests_obey: bool,
    /// How many events a subscriber may lag behind.
    pub events_kept: usize,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            hostname: "sim-1".to_owned(),
            vcpus: 64,
            memory_mib: 256 << 10,
            disk_gib: 4096,
            image_virtual_size_bytes: 64 << 20,
            guests_obey: true,
            events_kept: 64,
        }
    }
}

impl SimConfig {
    /// The defaults under another name.
    pub fn named(hostname: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            ..Self::default()
        }
    }
}
