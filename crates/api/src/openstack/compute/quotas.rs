//! What quota sets and quota classes have in common: which resources a microversion shows and takes.

use super::input::{Truth, Whole};
use super::microversion::Microversion;
use corten_model::refusal::Refusal;
use corten_store::quotas::Limits;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The network's quotas, which the compute API dropped.
const NETWORK: [&str; 4] = [
    "fixed_ips",
    "floating_ips",
    "security_groups",
    "security_group_rules",
];
/// Personality went with 2.57, and its quotas with it.
const INJECTED: [&str; 3] = [
    "injected_files",
    "injected_file_content_bytes",
    "injected_file_path_bytes",
];
const GROUPS: [&str; 2] = ["server_groups", "server_group_members"];

/// Quota sets lost the network's quotas with 2.36.
pub fn in_sets(mv: Microversion, resource: &str) -> bool {
    !(mv.at_least(36) && NETWORK.contains(&resource)
        || mv.at_least(57) && INJECTED.contains(&resource))
}

/// Quota classes lost them with 2.50, and got those of server groups.
pub fn in_classes(mv: Microversion, resource: &str) -> bool {
    let network = mv.at_least(50) && NETWORK.contains(&resource);
    let injected = mv.at_least(57) && INJECTED.contains(&resource);
    let groups = !mv.at_least(50) && GROUPS.contains(&resource);
    !(network || injected || groups)
}

/// The limits that a microversion shows.
pub fn shown(limits: &Limits, shows: impl Fn(&str) -> bool) -> Map<String, Value> {
    limits
        .iter()
        .filter(|(name, _)| shows(name))
        .map(|(name, limit)| (name.clone(), json!(limit)))
        .collect()
}

/// Limits as sent, perhaps with `force`.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct SentLimits(BTreeMap<String, Field>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Field {
    Limit(Whole),
    Flag(Truth),
}

impl SentLimits {
    /// The limits and whether they are forced. `takes` says which resources this microversion has.
    pub fn checked(
        self,
        known: &Limits,
        takes: impl Fn(&str) -> bool,
    ) -> Result<(Limits, bool), Refusal> {
        let mut limits = Limits::new();
        let mut force = false;
        for (name, field) in self.0 {
            match field {
                Field::Flag(Truth(flag)) if name == "force" => force = flag,
                Field::Limit(Whole(number @ (0 | 1))) if name == "force" => force = number == 1,
                Field::Limit(limit) if known.contains_key(&name) && takes(&name) => {
                    limits.insert(name.clone(), limit.within(&name, -1, i64::from(i32::MAX))?);
                }
                _ if known.contains_key(&name) && takes(&name) => {
                    return Err(Refusal::invalid(format!(
                        "Invalid input for field/attribute {name}. A limit is a whole number; -1 means none"
                    )));
                }
                _ => {
                    return Err(Refusal::invalid(format!(
                        "Additional properties are not allowed ('{name}' was unexpected)"
                    )));
                }
            }
        }
        Ok((limits, force))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Limits {
        [
            NETWORK.as_slice(),
            &INJECTED,
            &GROUPS,
            &["cores", "instances", "ram"],
        ]
        .concat()
        .into_iter()
        .map(|name| (name.to_owned(), 1))
        .collect()
    }

    fn names(shows: impl Fn(&str) -> bool) -> usize {
        shown(&known(), shows).len()
    }

    #[test]
    fn resources_go_and_come_with_microversions() {
        assert_eq!(names(|name| in_sets(Microversion::of(35), name)), 12);
        assert_eq!(names(|name| in_sets(Microversion::of(36), name)), 8);
        assert_eq!(names(|name| in_sets(Microversion::of(57), name)), 5);
        assert_eq!(names(|name| in_classes(Microversion::of(49), name)), 10);
        assert_eq!(names(|name| in_classes(Microversion::of(50), name)), 8);
        assert_eq!(names(|name| in_classes(Microversion::of(57), name)), 5);
    }

    #[test]
    fn limits_may_be_text_and_minus_one_but_not_less() {
        let parse = |text: &str| {
            crate::body::parse::<SentLimits>(text.as_bytes())?
                .checked(&known(), |name| in_sets(Microversion::of(36), name))
        };
        let (limits, force) = parse(r#"{"cores": "4", "ram": -1, "force": "True"}"#).unwrap();
        assert!(force);
        assert_eq!((limits["cores"], limits["ram"]), (4, -1));
        assert!(parse(r#"{"cores": -2}"#).is_err());
        assert!(parse(r#"{"cores": true}"#).is_err());
        assert!(
            parse(r#"{"floating_ips": 1}"#)
                .unwrap_err()
                .message
                .contains("'floating_ips' was unexpected")
        );
        assert!(parse(r#"{"colour": 1}"#).is_err());
        assert!(parse(r#"{"cores": "many"}"#).is_err());
    }
}
