//! What RAID a node shall have: the words of Ironic's `target_raid_config`, and what of it can be built here.
//!
//! | `raid_interface` | who builds it |
//! | --- | --- |
//! | `agent` | the ramdisk, with mdadm, of whole disks |
//! | `fake` | nobody |

use super::access::{self, Ident};
use crate::context::Context;
use corten_iam::action::baremetal::NODES_WRITE;
use corten_iam::actor::Actor;
use corten_model::refusal::Refusal;
use corten_store::metal::Object;
use corten_store::metal::node::Node;
use corten_store::{Failure, record};
use serde_json::Value;

/// It is built by the step `raid.create_configuration`.
pub async fn set(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    target: Object,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let mut node = access::lock_node(cx, actor, &mut tx, ident, NODES_WRITE).await?;
    check(&node, &target)?;
    node.target_raid_config = target;
    node.standard.updated_at = Some(cx.now());
    record::update(&mut tx, &node).await?;
    tx.commit().await?;
    Ok(())
}

/// What a logical disk is made of, with what each word means.
pub const LOGICAL_DISK: &[(&str, &str)] = &[
    (
        "size_gb",
        "Its size in GiB, or MAX for all that is left. Software RAID takes MAX only. Required.",
    ),
    (
        "raid_level",
        "JBOD, 0, 1, 2, 5, 6, 1+0, 5+0 or 6+0. Software RAID has 0, 1, 5, 6 and 1+0. Required.",
    ),
    ("disk_type", "hdd or ssd. Optional."),
    ("interface_type", "sata, scsi, sas or nvme. Optional."),
    (
        "volume_name",
        "Its name: of software RAID up to 20 letters, digits, dots, hyphens and underscores. Optional.",
    ),
    (
        "is_root_volume",
        "true for the one that is booted from; at most one, and of software RAID one of level 1. Optional.",
    ),
    (
        "share_physical_disks",
        "Whether it may share disks with others, which software RAID cannot. Optional.",
    ),
    (
        "number_of_physical_disks",
        "How many disks it takes. Optional.",
    ),
    (
        "controller",
        "The controller by its name: 'software' is mdadm. Optional.",
    ),
    (
        "physical_disks",
        "The disks, each by root device hints such as {\"serial\": \"…\"}. Optional.",
    ),
];

const LEVELS: &[&str] = &["JBOD", "0", "1", "2", "5", "6", "1+0", "5+0", "6+0"];
/// Those of mdadm, with the fewest disks of each.
const SOFTWARE_LEVELS: &[(&str, u64)] = &[("0", 2), ("1", 2), ("5", 3), ("6", 4), ("1+0", 4)];
/// A member's mark has no room for more.
const NAME_MAX: usize = 20;

fn refused(why: impl std::fmt::Display) -> Refusal {
    Refusal::invalid(format!("RAID config validation error: {why}"))
}

fn check(node: &Node, target: &Object) -> Result<(), Refusal> {
    let way = node.driver_part("raid");
    if way == "no-raid" {
        return Err(Refusal::invalid(format!(
            "The driver {} of node {} does not support raid (disabled or not implemented).",
            node.driver, node.id
        )));
    }
    if let Some(key) = target.keys().find(|key| *key != "logical_disks") {
        return Err(refused(format!(
            "'{key}' is not known, only logical_disks is."
        )));
    }
    let Some(disks) = target.get("logical_disks") else {
        return Ok(());
    };
    let disks = disks.as_array().filter(|disks| !disks.is_empty());
    let disks = disks.ok_or_else(|| refused("logical_disks is no list, or an empty one."))?;
    let disks: Vec<&Object> = disks
        .iter()
        .map(|disk| {
            disk.as_object()
                .ok_or_else(|| refused(format!("{disk} is no logical disk.")))
        })
        .collect::<Result<_, _>>()?;
    for disk in &disks {
        check_disk(disk)?;
    }
    let roots = disks.iter().filter(|disk| is_root(disk)).count();
    if roots > 1 {
        return Err(refused(format!(
            "{roots} logical disks have is_root_volume, and a server boots from one."
        )));
    }
    if way == "agent" {
        let mut names = Vec::new();
        for disk in disks {
            check_software(disk)?;
            names.extend(disk.get("volume_name"));
        }
        if let Some(name) = names
            .iter()
            .enumerate()
            .find_map(|(at, name)| names[..at].contains(name).then_some(name))
        {
            return Err(refused(format!("volume_name {name} is given twice.")));
        }
    }
    Ok(())
}

fn is_root(disk: &Object) -> bool {
    disk.get("is_root_volume") == Some(&Value::Bool(true))
}

fn check_disk(disk: &Object) -> Result<(), Refusal> {
    let known = |key: &&String| LOGICAL_DISK.iter().any(|(known, _)| known == key);
    if let Some(unknown) = disk.keys().find(|key| !known(key)) {
        return Err(refused(format!(
            "'{unknown}' of a logical disk is not known."
        )));
    }
    let level = disk.get("raid_level").and_then(Value::as_str);
    if !level.is_some_and(|level| LEVELS.contains(&level)) {
        return Err(refused(format!(
            "raid_level is one of {}.",
            LEVELS.join(", ")
        )));
    }
    let sized = disk
        .get("size_gb")
        .is_some_and(|size| size.as_u64().is_some_and(|size| size > 0) || size == "MAX");
    if !sized {
        return Err(refused("size_gb is a whole number above 0, or MAX."));
    }
    Ok(())
}

/// What mdadm in the ramdisk could not do, or would do otherwise, is refused before a node is cleaned for it.
fn check_software(disk: &Object) -> Result<(), Refusal> {
    let text = |key: &str| disk.get(key).and_then(Value::as_str);
    let level = text("raid_level").unwrap_or_default();
    let Some((_, fewest)) = SOFTWARE_LEVELS.iter().find(|(known, _)| *known == level) else {
        let known: Vec<_> = SOFTWARE_LEVELS.iter().map(|(level, _)| *level).collect();
        return Err(refused(format!(
            "raid_level is {level}, and software RAID has {}.",
            known.join(", ")
        )));
    };
    if disk.get("size_gb") != Some(&"MAX".into()) {
        return Err(refused(
            "size_gb is a number, and software RAID takes whole disks: give MAX.",
        ));
    }
    let one_of = |key: &str, known: &[&str]| match disk.get(key) {
        None => Ok(()),
        Some(value) if value.as_str().is_some_and(|word| known.contains(&word)) => Ok(()),
        Some(value) => Err(refused(format!(
            "{key} is {value}, and software RAID knows {}.",
            known.join(", ")
        ))),
    };
    one_of("controller", &["software"])?;
    one_of("disk_type", &["hdd", "ssd"])?;
    one_of("interface_type", &["sata", "scsi", "sas", "nvme"])?;
    if disk.get("share_physical_disks") == Some(&Value::Bool(true)) {
        return Err(refused(
            "share_physical_disks is true, and software RAID takes whole disks.",
        ));
    }
    if is_root(disk) && level != "1" {
        return Err(refused(format!(
            "is_root_volume is true of a disk of raid_level {level}: firmware boots from software RAID of level 1 only."
        )));
    }
    if let Some(name) = disk.get("volume_name") {
        let fits = name.as_str().is_some_and(is_name);
        if !fits {
            return Err(refused(format!(
                "volume_name is {name}: give 1 to {NAME_MAX} letters, digits, dots, hyphens and underscores, not beginning \
                 with a dot or a hyphen."
            )));
        }
    }
    let named = match disk.get("physical_disks") {
        None => None,
        Some(Value::Array(disks)) if disks.iter().all(Value::is_object) => Some(disks.len() as u64),
        Some(_) => {
            return Err(refused(
                "physical_disks is a list of root device hints, such as {\"serial\": \"S1\"}.",
            ));
        }
    };
    let number = match disk.get("number_of_physical_disks") {
        None => None,
        Some(number) => Some(number.as_u64().ok_or_else(|| {
            refused(format!(
                "number_of_physical_disks is {number}: give a whole number."
            ))
        })?),
    };
    if let (Some(number), Some(named)) = (number, named)
        && number != named
    {
        return Err(refused(format!(
            "number_of_physical_disks is {number}, and physical_disks names {named}."
        )));
    }
    match number.or(named) {
        Some(count) if count < *fewest => Err(refused(format!(
            "raid_level {level} needs {fewest} disks at least, and {count} are given."
        ))),
        _ => Ok(()),
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=NAME_MAX).contains(&name.len()) && name.chars().all(plain) && !name.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_software_raid_cannot_do_is_refused_with_the_rule() {
        let disk = |more: Value| {
            let mut disk = json!({"raid_level": "1", "size_gb": "MAX"});
            let disk = disk.as_object_mut().unwrap();
            disk.extend(more.as_object().cloned().unwrap());
            disk.clone()
        };
        for right in [
            json!({}),
            json!({"is_root_volume": true, "volume_name": "root", "controller": "software"}),
            json!({"number_of_physical_disks": 2, "physical_disks": [{"serial": "a"}, {"serial": "b"}]}),
            json!({"raid_level": "1+0", "disk_type": "ssd", "interface_type": "nvme"}),
        ] {
            check_disk(&disk(right.clone())).unwrap();
            check_software(&disk(right)).unwrap();
        }
        for (wrong, rule) in [
            (json!({"raid_level": "5+0"}), "software RAID has 0, 1, 5"),
            (json!({"size_gb": 100}), "give MAX"),
            (
                json!({"controller": "RAID.Integrated.1-1"}),
                "knows software",
            ),
            (json!({"disk_type": "tape"}), "knows hdd, ssd"),
            (json!({"share_physical_disks": true}), "whole disks"),
            (
                json!({"raid_level": "0", "is_root_volume": true}),
                "level 1 only",
            ),
            (json!({"volume_name": "-x"}), "not beginning"),
            (json!({"physical_disks": ["sda"]}), "root device hints"),
            (
                json!({"number_of_physical_disks": 3, "physical_disks": [{}, {}]}),
                "names 2",
            ),
            (
                json!({"raid_level": "5", "number_of_physical_disks": 2}),
                "needs 3 disks",
            ),
        ] {
            let refusal = check_software(&disk(wrong.clone())).unwrap_err();
            assert!(
                refusal.message.contains(rule),
                "{wrong}: {}",
                refusal.message
            );
        }
    }
}
