//! Answers about a guest, read from QEMU and the kernel at the moment of the question.

use super::Inner;
use crate::error::HostError;
use crate::guest::Guest;
use crate::guest_dir;
use crate::hands::{
    ConsoleSockets, CpuDiagnostics, Diagnostics, DiskDiagnostics, ExitCause, NicDiagnostics,
    Observation, Power,
};
use crate::qemu::process::Process;
use crate::spec::NicSpec;
use corten_network::chassis::Counters;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// Linux counts processor time for user space in hundredths of a second, whatever the kernel's own clock.
const NS_PER_TICK: u64 = 10_000_000;
const TICKS_PER_SEC: u64 = 100;
/// For a process that has just closed its connection to be gone.
const END_LIMIT: Duration = Duration::from_secs(5);

impl Inner {
    pub(super) async fn observe(&self, guest: &Arc<Guest>) -> Result<Observation, HostError> {
        let rescued = guest.state().rescue_image.is_some();
        let running = |power, pid| Observation {
            id: guest.id,
            power,
            pid: Some(pid),
            rescued,
            last_exit: None,
        };
        match self.live_now(guest).await {
            Ok(Some(process)) => match process.run_state().await {
                Ok(run_state) => return Ok(running(power_of(&run_state), process.pid)),
                // It is just ending; what it ends as is known in a moment.
                Err(error) if !process.wait_ended(END_LIMIT).await => return Err(error),
                Err(_) => {}
            },
            // A task is just starting it: the process is there, its processors stand still.
            Ok(None) => {
                if let Some(run) = guest.state().run {
                    return Ok(running(Power::Paused, run.pid));
                }
            }
            // It runs, although it does not let us control it.
            Err(error) => match guest.state().run {
                Some(run) => return Ok(running(Power::Running, run.pid)),
                None => return Err(error),
            },
        }
        let last_exit = guest.state().last_exit;
        let power = if guest.dir.has(guest_dir::MEMORY) {
            Power::Suspended
        } else if last_exit.as_ref().is_some_and(ExitCause::is_crash) {
            Power::Crashed
        } else {
            Power::Shutdown
        };
        Ok(Observation {
            id: guest.id,
            power,
            pid: None,
            rescued,
            last_exit,
        })
    }

    pub(super) fn consoles(&self, guest: &Guest) -> Result<ConsoleSockets, HostError> {
        if guest.process().is_none() {
            let rule = "its consoles listen while it runs: start it";
            return Err(super::power::wrong_state(guest, "shut down", rule));
        }
        Ok(ConsoleSockets {
            serial: guest.dir.socket(guest_dir::SERIAL_SOCKET),
            vnc: guest.dir.socket(guest_dir::VNC_SOCKET),
        })
    }

    pub(super) async fn diagnostics(&self, guest: &Arc<Guest>) -> Result<Diagnostics, HostError> {
        let process = self
            .must_live(guest, "only a guest with power has diagnostics: start it")
            .await?;
        let spec = guest.spec()?;
        let disks = process.execute("query-blockstats", json!({})).await?;
        Ok(Diagnostics {
            power: power_of(&process.run_state().await?),
            uptime_secs: process_uptime_secs(process.pid),
            config_drive: guest.dir.has(guest_dir::CONFIG_DRIVE),
            cpus: cpus(&process).await?,
            memory_maximum_mib: spec.memory_mib,
            memory_used_mib: resident_mib(process.pid),
            disks: disks
                .as_array()
                .map_or_else(Vec::new, |disks| disks.iter().filter_map(disk).collect()),
            nics: self.nics(&spec.nics).await?,
        })
    }
}

impl Inner {
    async fn nics(&self, nics: &[NicSpec]) -> Result<Vec<NicDiagnostics>, HostError> {
        let mut diagnostics = Vec::new();
        let Some(switch) = &self.switch else {
            return Ok(diagnostics);
        };
        for nic in nics {
            // A tap that is just being plugged has passed nothing yet.
            let Counters { rx, tx } = switch.counters(nic.port).await?.unwrap_or_default();
            // A tap counts from the host's side: what it receives, the guest has sent.
            diagnostics.push(NicDiagnostics {
                mac: nic.mac.to_string(),
                tap: switch.tap(nic.port),
                rx_octets: tx.bytes,
                rx_packets: tx.packets,
                rx_errors: tx.errors,
                rx_drop: tx.dropped,
                tx_octets: rx.bytes,
                tx_packets: rx.packets,
                tx_errors: rx.errors,
                tx_drop: rx.dropped,
            });
        }
        Ok(diagnostics)
    }
}

/// QEMU's `RunState` in our words. One that stands still by itself, say on a full disk, is paused.
fn power_of(run_state: &str) -> Power {
    match run_state {
        "running" => Power::Running,
        "guest-panicked" | "internal-error" => Power::Crashed,
        "shutdown" => Power::Shutdown,
        _ => Power::Paused,
    }
}

async fn cpus(process: &Process) -> Result<Vec<CpuDiagnostics>, HostError> {
    let cpus = process.execute("query-cpus-fast", json!({})).await?;
    let cpus = cpus.as_array().map_or(&[][..], Vec::as_slice).iter();
    Ok(cpus
        .filter_map(|cpu| {
            let id = u32::try_from(cpu["cpu-index"].as_u64()?).ok()?;
            let stat = fs::read_to_string(format!(
                "/proc/{}/task/{}/stat",
                process.pid, cpu["thread-id"]
            ))
            .ok()?;
            // utime and stime of proc_pid_stat(5).
            let time_ns = (stat_field(&stat, 14)? + stat_field(&stat, 15)?) * NS_PER_TICK;
            Some(CpuDiagnostics { id, time_ns })
        })
        .collect())
}

fn disk(stats: &Value) -> Option<DiskDiagnostics> {
    let figures = &stats["stats"];
    let figure = |name: &str| figures[name].as_u64().unwrap_or(0);
    // Disks have a device; the firmware's flash has none.
    let name = stats["qdev"]
        .as_str()?
        .split('/')
        .find_map(|part| part.strip_prefix("dev-"))?;
    Some(DiskDiagnostics {
        name: name.to_owned(),
        read_bytes: figure("rd_bytes"),
        read_requests: figure("rd_operations"),
        write_bytes: figure("wr_bytes"),
        write_requests: figure("wr_operations"),
        errors: figure("failed_rd_operations")
            + figure("failed_wr_operations")
            + figure("failed_flush_operations"),
    })
}

/// A field of proc_pid_stat(5), counted from 1. The second may hold spaces, so counting starts behind it.
fn stat_field(stat: &str, field: usize) -> Option<u64> {
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(field.checked_sub(3)?)?
        .parse()
        .ok()
}

fn resident_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

fn process_uptime_secs(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let host = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let host_secs = host
        .split('.')
        .next()
        .and_then(|secs| secs.parse::<u64>().ok())
        .unwrap_or(0);
    // starttime, in ticks after the host's boot.
    host_secs.saturating_sub(stat_field(&stat, 22).unwrap_or(0) / TICKS_PER_SEC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_a_name_with_spaces() {
        let stat = "7 (CPU 0/TCG (x)) S 4 5 6 7 8 9 10 11 12 13 14 15";
        assert_eq!(
            (stat_field(stat, 14), stat_field(stat, 15)),
            (Some(14), Some(15))
        );
    }
}
