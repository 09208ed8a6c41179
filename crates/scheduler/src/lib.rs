//! Placement as a pure function: (request, inventory) → choice, or an explanation of each rejection.
//!
//! Hosts pass through the filters in order; each filter drops some and says of one of them why. What is left is ranked:
//! the host with the most free memory per promised memory wins (spread), ties go to the lower id, so that the same
//! inputs always give the same choice.

use corten_model::ids::HostId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// A hypervisor host as the scheduler sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    pub id: HostId,
    pub name: String,
    pub zone: String,
    /// Its agent was heard of in time, and nobody forced it down.
    pub up: bool,
    /// An administrator has not disabled it.
    pub enabled: bool,
    pub architecture: String,
    pub vcpus: Stock,
    pub memory_mib: Stock,
    pub disk_gib: Stock,
    /// How many members of the request's server group run here.
    pub group_members: usize,
}

/// What a host can promise of one thing, allocation ratio included, and what it has promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    pub total: i64,
    pub used: i64,
}

impl Stock {
    pub fn free(self) -> i64 {
        self.total - self.used
    }
}

/// How members of a server group want to stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupPolicy {
    Affinity,
    /// At most this many members on one host.
    AntiAffinity {
        max_per_host: usize,
    },
    SoftAffinity,
    SoftAntiAffinity,
}

/// What is to be placed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    pub vcpus: i64,
    pub memory_mib: i64,
    pub disk_gib: i64,
    pub zone: Option<String>,
    /// Only this host, by name.
    pub host: Option<String>,
    /// The guest's architecture, if its image names one.
    pub architecture: Option<String>,
    /// Hosts that were tried and failed.
    pub tried: BTreeSet<HostId>,
    /// The hints `same_host` and `different_host`, turned from servers into their hosts.
    pub same_host: Option<BTreeSet<HostId>>,
    pub different_host: BTreeSet<HostId>,
    pub group: Option<GroupPolicy>,
    /// Some member of the group runs somewhere already.
    pub group_has_members: bool,
}

/// A filter by its field name, the one Nova's operators know.
type Filter = (&'static str, fn(&Request, &Host) -> Result<(), String>);

const FILTERS: &[Filter] = &[
    ("ComputeFilter", is_up),
    ("RequestedHostFilter", is_requested),
    ("RetryFilter", is_untried),
    ("AvailabilityZoneFilter", is_in_zone),
    ("ImagePropertiesFilter", has_architecture),
    ("SameHostFilter", is_same),
    ("DifferentHostFilter", is_different),
    ("ServerGroupFilter", suits_group),
    ("VCPU", has_vcpus),
    ("MEMORY_MB", has_memory),
    ("DISK_GB", has_disk),
];

/// Chooses a host.
pub fn choose(request: &Request, hosts: &[Host]) -> Result<HostId, NoValidHost> {
    let mut left: Vec<&Host> = hosts.iter().collect();
    let mut rejections = Vec::new();
    for (name, filter) in FILTERS {
        let mut dropped = 0;
        let mut example = None;
        left.retain(|host| match filter(request, host) {
            Ok(()) => true,
            Err(why) => {
                dropped += 1;
                example.get_or_insert_with(|| format!("{}: {why}", host.name));
                false
            }
        });
        if let Some(example) = example {
            rejections.push(Rejection {
                filter: (*name).to_owned(),
                dropped,
                example,
            });
        }
    }
    left.into_iter()
        .max_by_key(|host| {
            (
                group_rank(request, host),
                spare_permille(host),
                std::cmp::Reverse(host.id),
            )
        })
        .map(|host| host.id)
        .ok_or(NoValidHost {
            hosts: hosts.len(),
            rejections,
        })
}

/// Free memory in thousandths of all: the emptier host ranks higher.
fn spare_permille(host: &Host) -> i64 {
    host.memory_mib.free() * 1000 / host.memory_mib.total.max(1)
}

fn group_rank(request: &Request, host: &Host) -> i64 {
    let members = host.group_members as i64;
    match request.group {
        Some(GroupPolicy::SoftAffinity) => members,
        Some(GroupPolicy::SoftAntiAffinity) => -members,
        Some(GroupPolicy::Affinity | GroupPolicy::AntiAffinity { .. }) | None => 0,
    }
}

fn is_up(_: &Request, host: &Host) -> Result<(), String> {
    match (host.enabled, host.up) {
        (true, true) => Ok(()),
        (false, _) => Err("an administrator disabled it".to_owned()),
        (true, false) => Err("its agent is down".to_owned()),
    }
}

fn is_requested(request: &Request, host: &Host) -> Result<(), String> {
    match &request.host {
        Some(name) if *name != host.name => Err(format!("host {name} was asked for")),
        _ => Ok(()),
    }
}

fn is_untried(request: &Request, host: &Host) -> Result<(), String> {
    if request.tried.contains(&host.id) {
        Err("the build failed there before".to_owned())
    } else {
        Ok(())
    }
}

fn is_in_zone(request: &Request, host: &Host) -> Result<(), String> {
    match &request.zone {
        Some(zone) if *zone != host.zone => Err(format!(
            "it is in zone '{}', '{zone}' was asked for",
            host.zone
        )),
        _ => Ok(()),
    }
}

fn has_architecture(request: &Request, host: &Host) -> Result<(), String> {
    match &request.architecture {
        Some(wanted) if *wanted != host.architecture => Err(format!(
            "it runs {} guests, the image is for {wanted}",
            host.architecture
        )),
        _ => Ok(()),
    }
}

fn is_same(request: &Request, host: &Host) -> Result<(), String> {
    match &request.same_host {
        Some(wanted) if !wanted.contains(&host.id) => {
            Err("none of the servers named by same_host is there".to_owned())
        }
        _ => Ok(()),
    }
}

fn is_different(request: &Request, host: &Host) -> Result<(), String> {
    if request.different_host.contains(&host.id) {
        Err("a server named by different_host is there".to_owned())
    } else {
        Ok(())
    }
}

fn suits_group(request: &Request, host: &Host) -> Result<(), String> {
    let members = host.group_members;
    match request.group {
        Some(GroupPolicy::Affinity) if request.group_has_members && members == 0 => {
            Err("the server group wants affinity and its members are elsewhere".to_owned())
        }
        Some(GroupPolicy::AntiAffinity { max_per_host }) if members >= max_per_host => {
            Err(format!(
                "the server group wants anti-affinity, at most {max_per_host} per host, and {members} are there"
            ))
        }
        _ => Ok(()),
    }
}

fn enough(what: &str, wanted: i64, stock: Stock) -> Result<(), String> {
    if wanted <= stock.free() {
        Ok(())
    } else {
        Err(format!(
            "{wanted} {what} asked for, {} of {} free",
            stock.free(),
            stock.total
        ))
    }
}

fn has_vcpus(request: &Request, host: &Host) -> Result<(), String> {
    enough("vCPUs", request.vcpus, host.vcpus)
}

fn has_memory(request: &Request, host: &Host) -> Result<(), String> {
    enough("MiB of memory", request.memory_mib, host.memory_mib)
}

fn has_disk(request: &Request, host: &Host) -> Result<(), String> {
    enough("GiB of disk", request.disk_gib, host.disk_gib)
}

/// Every host was dropped: by which filter, how many, and one example each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoValidHost {
    pub hosts: usize,
    pub rejections: Vec<Rejection>,
}

/// What one filter dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    pub filter: String,
    pub dropped: usize,
    pub example: String,
}

impl fmt::Display for NoValidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hosts == 0 {
            return f.write_str("No valid host was found. No hypervisor host is registered.");
        }
        write!(
            f,
            "No valid host was found. There are {} hosts:",
            self.hosts
        )?;
        for (index, rejection) in self.rejections.iter().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            let Rejection {
                filter,
                dropped,
                example,
            } = rejection;
            write!(f, "{separator} {filter} dropped {dropped} ({example})")?;
        }
        f.write_str(".")
    }
}

impl std::error::Error for NoValidHost {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(number: u128, memory_used: i64) -> Host {
        Host {
            id: format!("{number:032x}").parse().unwrap(),
            name: format!("host-{number}"),
            zone: "nova".to_owned(),
            up: true,
            enabled: true,
            architecture: "x86_64".to_owned(),
            vcpus: Stock { total: 8, used: 0 },
            memory_mib: Stock {
                total: 1000,
                used: memory_used,
            },
            disk_gib: Stock {
                total: 100,
                used: 0,
            },
            group_members: 0,
        }
    }

    fn request() -> Request {
        Request {
            vcpus: 1,
            memory_mib: 100,
            disk_gib: 1,
            ..Request::default()
        }
    }

    #[test]
    fn the_emptier_host_wins() {
        let hosts = [host(1, 500), host(2, 100), host(3, 900)];
        assert_eq!(choose(&request(), &hosts), Ok(hosts[1].id));
    }

    #[test]
    fn a_refusal_counts_per_filter_and_gives_an_example() {
        let mut down = host(1, 0);
        down.up = false;
        let refusal = choose(&request(), &[down, host(2, 950), host(3, 990)]).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "No valid host was found. There are 3 hosts: ComputeFilter dropped 1 (host-1: its agent is down); \
             MEMORY_MB dropped 2 (host-2: 100 MiB of memory asked for, 50 of 1000 free)."
        );
        assert!(
            choose(&request(), &[])
                .unwrap_err()
                .to_string()
                .contains("No hypervisor host is registered")
        );
    }

    #[test]
    fn groups_keep_their_members_apart_or_together() {
        let mut occupied = host(1, 0);
        occupied.group_members = 1;
        let empty = host(2, 500);
        let hosts = [occupied, empty];
        let with = |group| Request {
            group: Some(group),
            group_has_members: true,
            ..request()
        };
        assert_eq!(
            choose(&with(GroupPolicy::AntiAffinity { max_per_host: 1 }), &hosts),
            Ok(hosts[1].id)
        );
        assert_eq!(
            choose(&with(GroupPolicy::Affinity), &hosts),
            Ok(hosts[0].id)
        );
        assert_eq!(
            choose(&with(GroupPolicy::SoftAntiAffinity), &hosts),
            Ok(hosts[1].id)
        );
        assert_eq!(
            choose(&with(GroupPolicy::SoftAffinity), &hosts),
            Ok(hosts[0].id)
        );
    }

    proptest! {
        /// A choice always fits, and a refusal accounts for every host.
        #[test]
        fn never_more_than_there_is(used in proptest::collection::vec(0_i64..1200, 0..12), wanted in 1_i64..1100) {
            let hosts: Vec<_> = used.iter().enumerate().map(|(n, used)| host(n as u128, *used)).collect();
            let request = Request { memory_mib: wanted, ..request() };
            match choose(&request, &hosts) {
                Ok(id) => {
                    let chosen = hosts.iter().find(|host| host.id == id).unwrap();
                    prop_assert!(chosen.memory_mib.free() >= wanted);
                }
                Err(refusal) => {
                    let dropped: usize = refusal.rejections.iter().map(|rejection| rejection.dropped).sum();
                    prop_assert_eq!(dropped, hosts.len());
                }
            }
        }
    }
}
