//! Processors and memory, from `/proc/cpuinfo` and `/proc/meminfo`.

use crate::protocol::inventory::Cpu;
use std::collections::BTreeSet;

pub fn parse(cpuinfo: &str, architecture: &str) -> Cpu {
    let values = |name: &str| {
        cpuinfo
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim())
            .collect::<Vec<_>>()
    };
    let first = |name: &str| values(name).first().map(|value| (*value).to_owned());
    let sockets: BTreeSet<&str> = values("physical id").into_iter().collect();
    Cpu {
        model_name: first("model name"),
        frequency: first("cpu MHz"),
        count: values("processor").len(),
        socket_count: sockets.len().max(1),
        architecture: architecture.to_owned(),
        flags: first("flags")
            .unwrap_or_default()
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect(),
    }
}

/// In bytes.
pub fn memory_total(meminfo: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        })
        .map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_and_sockets_are_counted() {
        let thread = |number: u32, socket: u32| {
            format!(
                "processor\t: {number}\nmodel name\t: AMD EPYC 9354\ncpu MHz\t\t: 3250.000\nphysical id\t: {socket}\nflags\t\t: fpu sse2 aes\n\n"
            )
        };
        let cpu = parse(
            &[thread(0, 0), thread(1, 0), thread(2, 1), thread(3, 1)].concat(),
            "x86_64",
        );
        assert_eq!((cpu.count, cpu.socket_count), (4, 2));
        assert_eq!(cpu.model_name.as_deref(), Some("AMD EPYC 9354"));
        assert_eq!(cpu.frequency.as_deref(), Some("3250.000"));
        assert_eq!(cpu.flags, ["fpu", "sse2", "aes"]);
        assert_eq!(
            memory_total("MemTotal:       16384 kB\nMemFree: 1 kB\n"),
            16 << 20
        );
    }
}
