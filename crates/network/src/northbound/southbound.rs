//! The hosts, as the southbound database knows them (ovn-sb(5)). It is only read.

use crate::fabric::Chassis;
use crate::ovsdb::{Monitored, Replica, Row};

pub const DATABASE: &str = "OVN_Southbound";

const CHASSIS: &str = "Chassis";
const CHASSIS_PRIVATE: &str = "Chassis_Private";
const ENCAP: &str = "Encap";

pub const MONITORED: Monitored = Monitored(&[
    (CHASSIS, &["name", "hostname", "encaps", "other_config"]),
    (CHASSIS_PRIVATE, &["name", "nb_cfg"]),
    (ENCAP, &["type", "ip"]),
]);

/// The chassis that do not have this state yet.
pub fn behind(replica: &Replica, nb_cfg: i64) -> Vec<String> {
    let mut names: Vec<_> = replica
        .rows(CHASSIS_PRIVATE)
        .filter(|(_, row)| reached(row) < nb_cfg)
        .filter_map(|(_, row)| row.text("name").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// Every chassis, alive unless it is `behind`.
pub fn chassis(replica: &Replica, behind: &[String]) -> Vec<Chassis> {
    let mut all: Vec<_> = replica
        .rows(CHASSIS)
        .filter_map(|(_, row)| {
            let name = row.text("name")?.to_owned();
            Some(Chassis {
                alive: !behind.contains(&name),
                hostname: row.text("hostname").unwrap_or_default().to_owned(),
                tunnels: tunnels(replica, row),
                physical_networks: physical_networks(row),
                name,
            })
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn reached(row: &Row) -> i64 {
    row.get("nb_cfg")
        .and_then(|cfg| cfg.as_integer())
        .unwrap_or(0)
}

fn tunnels(replica: &Replica, chassis: &Row) -> Vec<(String, String)> {
    let encaps = chassis
        .get("encaps")
        .into_iter()
        .flat_map(|encaps| encaps.uuids());
    let encaps = encaps.filter_map(|uuid| replica.row(ENCAP, uuid));
    let mut tunnels: Vec<_> = encaps
        .filter_map(|row| Some((row.text("type")?.to_owned(), row.text("ip")?.to_owned())))
        .collect();
    tunnels.sort();
    tunnels
}

/// Of `physnet1:br-ex,physnet2:br-two`, the names before the colons.
fn physical_networks(chassis: &Row) -> Vec<String> {
    let mappings = chassis
        .at("other_config", "ovn-bridge-mappings")
        .unwrap_or_default();
    let names = mappings
        .split(',')
        .filter_map(|mapping| mapping.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}
