//! What may stand in a flavor's extra specs.
//!
//! Any key outside the known namespaces is the operator's own and is taken as it is. Inside them a misspelt key would
//! silently do nothing, so it is refused, and so is a value that the key cannot have. The table follows Nova's
//! documented extra specs ("Flavor extra specs", configuration guide); `corten` is our own namespace.

use corten_model::lifecycle::InstanceClass;
use corten_model::refusal::Refusal;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// The extra spec that makes a flavor one of whole servers (K109, K110).
pub const CLASS: &str = "corten:class";

/// The class that a flavor's extra specs say: `corten:class`, or a resource class of servers in place of processors, as Nova
/// has it for Ironic.
pub fn class(specs: &BTreeMap<String, String>) -> InstanceClass {
    let no_cpus = specs
        .get("resources:VCPU")
        .is_some_and(|count| count == "0");
    match specs.get(CLASS) {
        Some(word) if word == InstanceClass::Metal.as_str() => InstanceClass::Metal,
        None if no_cpus && resource_class(specs).is_some() => InstanceClass::Metal,
        _ => InstanceClass::Vm,
    }
}

/// The resource class of the servers that a flavor is for: `resources:CUSTOM_BM_SMALL` with the value 1.
pub fn resource_class(specs: &BTreeMap<String, String>) -> Option<&str> {
    let named = specs.iter().filter(|(_, count)| *count == "1");
    named
        .filter_map(|(key, _)| key.strip_prefix("resources:"))
        .find(|class| class.starts_with("CUSTOM_"))
}

/// The traits that a flavor demands.
pub fn required_traits(specs: &BTreeMap<String, String>) -> BTreeSet<String> {
    let required = specs.iter().filter(|(_, word)| *word == "required");
    required
        .filter_map(|(key, _)| key.strip_prefix("trait:"))
        .map(str::to_owned)
        .collect()
}

/// What values a key can have.
enum Kind {
    Text,
    Truth,
    /// A whole number of at least, at most.
    Whole(i64, i64),
    OneOf(&'static [&'static str]),
    Like(&'static str),
}

use Kind::{Like, OneOf, Text, Truth, Whole};

const ANY: Kind = Whole(i64::MIN, i64::MAX);
const NATURAL: Kind = Whole(0, i64::MAX);
const POSITIVE: Kind = Whole(1, i64::MAX);
const CPU_MASK: &str = r"\^?\d+((-\d+)?(,\^?\d+(-\d+)?)?)*";

/// Keys, as patterns that must match in full, with their values. The first that matches decides.
const KNOWN: &[(&str, Kind)] = &[
    (r"corten:class", OneOf(&["vm", "metal"])),
    (r"accel:device_profile", Text),
    (r"aggregate_instance_extra_specs:.+", Text),
    (r"capabilities:\w+(:\w+)*", Text),
    (r"hw:cpu_policy", OneOf(&["dedicated", "shared", "mixed"])),
    (
        r"hw:cpu_thread_policy",
        OneOf(&["prefer", "isolate", "require"]),
    ),
    (r"hw:emulator_threads_policy", OneOf(&["isolate", "share"])),
    (r"hw:(cpu_dedicated_mask|cpu_realtime_mask)", Like(CPU_MASK)),
    (
        r"hw:mem_page_size",
        Like(r"large|small|any|\d+([kKMGT]i?)?(b|bit|B)?"),
    ),
    (
        r"hw:(cpu_(max_)?(sockets|cores|threads)|numa_nodes)",
        POSITIVE,
    ),
    (
        r"hw:numa_cpus\.\d+",
        Like(r"\^?\d+((-\d+)?(,\^?\d+(-\d+)?)?)*"),
    ),
    (r"hw:numa_mem\.\d+", POSITIVE),
    (
        r"hw:pci_numa_affinity_policy",
        OneOf(&["required", "preferred", "legacy", "socket"]),
    ),
    (r"hw:pmem", Text),
    (r"hw:serial_port_count", NATURAL),
    (r"hw:redirected_usb_ports", Whole(0, 15)),
    (
        r"hw:mem_encryption_model",
        OneOf(&["amd-sev", "amd-sev-es", "amd-sev-snp"]),
    ),
    (r"hw:tpm_model", OneOf(&["tpm-tis", "tpm-crb"])),
    (r"hw:tpm_version", OneOf(&["1.2", "2.0"])),
    (
        r"hw:tpm_secret_security",
        OneOf(&["user", "host", "deployment"]),
    ),
    (
        r"hw:watchdog_action",
        OneOf(&["none", "pause", "poweroff", "reset", "disabled"]),
    ),
    (
        r"hw:viommu_model",
        OneOf(&["intel", "smmuv3", "virtio", "auto"]),
    ),
    (
        r"hw:sound_model",
        OneOf(&[
            "sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb", "virtio",
        ]),
    ),
    (
        r"hw:usb_model",
        OneOf(&["none", "qemu-xhci", "nec-xhci", "piix3-uhci"]),
    ),
    (
        r"hw:ephemeral_encryption_format",
        OneOf(&["plain", "luks", "luksv2"]),
    ),
    (
        r"hw:(cpu_realtime|hide_hypervisor_id|locked_memory|boot_menu|vif_multiqueue_enabled|mem_encryption|pmu|virtio_packed_ring|ephemeral_encryption)",
        Truth,
    ),
    (r"hw_rng:allowed", Truth),
    (r"hw_rng:(rate_bytes|rate_period)", NATURAL),
    (r"hw_video:ram_max_mb", NATURAL),
    (r"hide_hypervisor_id", Truth),
    (r"group_policy", OneOf(&["isolate", "none"])),
    (r"os:secure_boot", OneOf(&["disabled", "required"])),
    (
        r"pci_passthrough:alias",
        Like(r"[^:]+:\d+(?:\s*,\s*[^:]+:\d+)*"),
    ),
    (
        r"quota:(cpu|memory|disk_io|vif)_(limit|shares_share)",
        NATURAL,
    ),
    (r"quota:(cpu|memory|disk_io|vif)_reservation", ANY),
    (
        r"quota:(cpu|memory|disk_io|vif)_shares_level",
        OneOf(&["custom", "high", "normal", "low"]),
    ),
    (r"quota:cpu_(shares|period)", NATURAL),
    (r"quota:cpu_quota", ANY),
    (r"quota:disk_(read|write|total)_(bytes|iops)_sec", NATURAL),
    (
        r"quota:vif_(inbound|outbound)_(average|peak|burst)",
        NATURAL,
    ),
    (r"resources([a-zA-Z0-9_-]{1,64})?:[A-Z0-9_]+", ANY),
    (
        r"trait([a-zA-Z0-9_-]{1,64})?:[A-Z0-9_]+",
        OneOf(&["required", "forbidden"]),
    ),
    (r"vmware:(hw_version|storage_policy)", Text),
];

/// The namespaces in which an unknown key is a mistake.
const NAMESPACES: &str = r"(corten|accel|aggregate_instance_extra_specs|capabilities|hw|hw_rng|hw_video|os|pci_passthrough|quota|vmware|resources[a-zA-Z0-9_-]{0,64}|trait[a-zA-Z0-9_-]{0,64}):.*";

fn whole_match(pattern: &str) -> Option<Regex> {
    Regex::new(&format!("^(?:{pattern})$")).ok()
}

static PATTERNS: LazyLock<Vec<(Regex, &'static Kind)>> = LazyLock::new(|| {
    KNOWN
        .iter()
        .filter_map(|(pattern, kind)| Some((whole_match(pattern)?, kind)))
        .collect()
});

static IN_NAMESPACE: LazyLock<Option<Regex>> = LazyLock::new(|| whole_match(NAMESPACES));

/// Checks one extra spec. `strict` also holds the known namespaces to their table; our own is always held to it.
pub fn check(key: &str, value: &str, strict: bool) -> Result<(), Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.' | ' ');
    if key.is_empty() || key.chars().count() > 255 || !key.chars().all(legal) {
        return Err(Refusal::invalid(format!(
            "Invalid extra spec key '{key}': key names have 1 to 255 characters and can only contain alphanumeric \
             characters, periods, dashes, underscores, colons and spaces."
        )));
    }
    if value.chars().count() > 255 {
        return Err(Refusal::invalid(format!(
            "The value of extra spec '{key}' is too long: at most 255 characters."
        )));
    }
    if !strict && !key.starts_with("corten:") {
        return Ok(());
    }
    match PATTERNS.iter().find(|(pattern, _)| pattern.is_match(key)) {
        Some((_, kind)) => check_value(key, value, kind),
        None if IN_NAMESPACE
            .as_ref()
            .is_some_and(|namespace| namespace.is_match(key)) =>
        {
            Err(Refusal::invalid(format!(
                "Validation failed; extra spec '{key}' does not appear to be a valid extra spec."
            )))
        }
        None => Ok(()),
    }
}

fn check_value(key: &str, value: &str, kind: &Kind) -> Result<(), Refusal> {
    let wrong = |rule: String| {
        Err(Refusal::invalid(format!(
            "Validation failed; extra spec '{key}': '{value}' {rule}"
        )))
    };
    match kind {
        Text => Ok(()),
        Truth => {
            let words = [
                "1", "t", "true", "on", "y", "yes", "0", "f", "false", "off", "n", "no",
            ];
            if words.contains(&value.to_ascii_lowercase().as_str()) {
                Ok(())
            } else {
                wrong("is not a valid boolean-like value.".to_owned())
            }
        }
        Whole(least, most) => match value.parse::<i64>() {
            Err(_) => wrong("is not a valid integer value.".to_owned()),
            Ok(number) if number > *most => {
                wrong(format!("is greater than the max value of '{most}'."))
            }
            Ok(number) if number < *least => {
                wrong(format!("is less than the min value of '{least}'."))
            }
            Ok(_) => Ok(()),
        },
        OneOf(words) if words.contains(&value) => Ok(()),
        OneOf(words) => wrong(format!("is not one of: {}.", words.join(", "))),
        Like(pattern) if whole_match(pattern).is_some_and(|regex| regex.is_match(value)) => Ok(()),
        Like(pattern) => wrong(format!("is not of the format '{pattern}'.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_the_table_compiles() {
        assert_eq!(PATTERNS.len(), KNOWN.len());
        assert!(IN_NAMESPACE.is_some());
        for (_, kind) in KNOWN {
            if let Like(pattern) = kind {
                assert!(whole_match(pattern).is_some(), "{pattern}");
            }
        }
    }

    #[test]
    fn known_namespaces_are_strict_and_others_are_free() {
        for (key, value) in [
            ("hw:cpu_policy", "shared"),
            ("hw:numa_nodes", "2"),
            ("hw:mem_page_size", "1GB"),
            ("foo:bar", "baz"),
            ("plain", "x"),
            ("resources:CUSTOM_BAREMETAL", "1"),
            ("resources1:VCPU", "2"),
            ("trait:HW_CPU_X86_AVX", "required"),
            ("quota:disk_read_iops_sec", "100"),
        ] {
            check(key, value, true).unwrap_or_else(|refusal| panic!("{key}: {refusal}"));
        }
        for (key, value) in [
            ("hw:cpu_policy", "sharrred"),
            ("hw:cpu_polices", "shared"),
            ("hw:numa_nodes", "0"),
            ("hw:numa_nodes", "many"),
            ("hw:boot_menu", "perhaps"),
            ("trait:X", "wanted"),
        ] {
            assert!(check(key, value, true).is_err(), "{key}={value}");
            assert!(
                check(key, value, false).is_ok(),
                "{key}={value} before 2.86"
            );
        }
    }

    #[test]
    fn keys_have_a_form_and_values_a_length() {
        assert!(check("a/b", "1", false).is_err());
        assert!(check("", "1", false).is_err());
        assert!(check("a", &"x".repeat(256), false).is_err());
    }

    #[test]
    fn a_flavor_of_whole_servers_says_so_in_its_extra_specs() {
        // K109, K110
        assert!(check(CLASS, "metal", false).is_ok());
        assert!(check(CLASS, "steel", false).is_err());
        assert_eq!(
            class(&BTreeMap::from([(CLASS.to_owned(), "metal".to_owned())])),
            InstanceClass::Metal
        );
        assert_eq!(class(&BTreeMap::new()), InstanceClass::Vm);
    }
}
