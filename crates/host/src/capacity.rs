//! What this host has and is, from `/proc`, the file system and `qemu --version`.

use crate::config::HostConfig;
use crate::error::HostError;
use crate::hands::{Acceleration, Confinement, HostCapacity};
use crate::program::Program;
use std::fs;
use std::path::Path;

const GIB: u64 = 1 << 30;

/// Reads everything anew, but for what does not change while we run.
pub fn read(
    config: &HostConfig,
    hypervisor_version: String,
    acceleration: Acceleration,
    confinement: Confinement,
) -> Result<HostCapacity, HostError> {
    let memory = read_text("/proc/meminfo")?;
    let cpu = read_text("/proc/cpuinfo")?;
    let (memory_kib, available_kib) = (
        meminfo(&memory, "MemTotal"),
        meminfo(&memory, "MemAvailable"),
    );
    let disk = rustix::fs::statvfs(&config.data_dir)
        .map_err(|error| HostError::io("measure", &config.data_dir)(error.into()))?;
    let (disk_bytes, free_bytes) = (disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize);
    Ok(HostCapacity {
        hostname: config.name.clone().unwrap_or_else(machine_name),
        vcpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
        memory_mib: memory_kib / 1024,
        memory_used_mib: memory_kib.saturating_sub(available_kib) / 1024,
        disk_gib: disk_bytes / GIB,
        disk_used_gib: disk_bytes.saturating_sub(free_bytes).div_ceil(GIB),
        cpu_arch: std::env::consts::ARCH.to_owned(),
        cpu_model: cpuinfo(&cpu, "model name"),
        cpu_vendor: cpuinfo(&cpu, "vendor_id"),
        cpu_features: cpuinfo(&cpu, "flags")
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        hypervisor_version,
        acceleration,
        uptime: uptime(&read_text("/proc/uptime")?, &read_text("/proc/loadavg")?),
        confinement,
    })
}

fn machine_name() -> String {
    let uname = rustix::system::uname();
    uname.nodename().to_string_lossy().into_owned()
}

/// QEMU's version, for example `7.2.22`.
pub async fn hypervisor_version(qemu: &Path) -> Result<String, HostError> {
    let printed = Program::new(qemu).arg("--version").run().await?;
    let text = String::from_utf8_lossy(&printed);
    Ok(text
        .split_whitespace()
        .skip_while(|word| *word != "version")
        .nth(1)
        .unwrap_or_default()
        .to_owned())
}

/// Names the time between two boots of this host.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn read_text(path: &str) -> Result<String, HostError> {
    fs::read_to_string(path).map_err(HostError::io("read", Path::new(path)))
}

fn meminfo(text: &str, name: &str) -> u64 {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Of the first processor.
fn cpuinfo(text: &str, name: &str) -> String {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .find(|(field, _)| field.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

/// The words of `uptime`, without the time of day and the users, which say nothing about a host.
fn uptime(uptime: &str, load: &str) -> String {
    let secs = uptime
        .split(['.', ' '])
        .next()
        .and_then(|secs| secs.parse::<u64>().ok())
        .unwrap_or(0);
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    let day_text = match days {
        0 => String::new(),
        1 => "1 day, ".to_owned(),
        _ => format!("{days} days, "),
    };
    let loads: Vec<&str> = load.split_whitespace().take(3).collect();
    format!(
        "up {day_text}{hours:2}:{minutes:02}, load average: {}",
        loads.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_proc_are_understood() {
        assert_eq!(
            meminfo(
                "MemTotal:       16384 kB\nMemAvailable:   8192 kB\n",
                "MemAvailable"
            ),
            8192
        );
        assert_eq!(
            cpuinfo(
                "processor\t: 0\nmodel name\t: A CPU\n\nmodel name\t: B\n",
                "model name"
            ),
            "A CPU"
        );
        assert_eq!(
            uptime("183840.55 1.0\n", "0.10 0.20 0.30 1/200 5\n"),
            "up 2 days,  3:04, load average: 0.10, 0.20, 0.30"
        );
    }
}
