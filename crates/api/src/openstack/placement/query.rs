//! What Placement's lists are filtered by: amounts, traits and aggregates.

use crate::params::Params;
use corten_model::refusal::Refusal;
use corten_operations::resource_provider::Provider;
use corten_store::hosts::Resources;

/// Refuses parameters that are not known.
pub fn only(params: &Params, known: &[&str]) -> Result<(), Refusal> {
    match params
        .0
        .iter()
        .find(|(name, _)| !known.contains(&name.as_str()))
    {
        None => Ok(()),
        Some((name, _)) => Err(Refusal::invalid(format!(
            "Invalid query string parameters: '{name}' is not one of {}",
            known.join(", ")
        ))),
    }
}

/// `VCPU:1,MEMORY_MB:64`. A class that no host has makes the amount unobtainable: `None`.
pub fn amount(text: &str) -> Result<Option<Resources>, Refusal> {
    let mut amount = Some(Resources::default());
    for part in text.split(',') {
        let wrong = || {
            Refusal::invalid(format!(
                "Malformed resources parameter. Expected something of the form ?resources=VCPU:2,MEMORY_MB:1024, got: {part}"
            ))
        };
        let (class, count) = part.split_once(':').ok_or_else(wrong)?;
        let count: u64 = count
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(wrong)?;
        match (class, &mut amount) {
            ("VCPU", Some(amount)) => amount.vcpus = count,
            ("MEMORY_MB", Some(amount)) => amount.memory_mib = count,
            ("DISK_GB", Some(amount)) => amount.disk_gib = count,
            _ => amount = None,
        }
    }
    Ok(amount)
}

/// What a provider must be for a list to have it.
#[derive(Debug, Default)]
pub struct Filter {
    /// `Some(None)`: wants what no host has.
    pub resources: Option<Option<Resources>>,
    required: Vec<TraitRule>,
    /// Each must hold one of these aggregates; with `not`, none.
    member_of: Vec<(bool, Vec<String>)>,
}

#[derive(Debug)]
enum TraitRule {
    Has(String),
    HasNot(String),
    HasOneOf(Vec<String>),
}

impl Filter {
    pub fn of(params: &Params) -> Result<Self, Refusal> {
        let resources = params.get("resources").map(amount).transpose()?;
        let mut required = Vec::new();
        for value in params.all("required") {
            match value.strip_prefix("in:") {
                Some(any) => required.push(TraitRule::HasOneOf(
                    any.split(',').map(str::to_owned).collect(),
                )),
                None => {
                    required.extend(value.split(',').map(|name| match name.strip_prefix('!') {
                        Some(name) => TraitRule::HasNot(name.to_owned()),
                        None => TraitRule::Has(name.to_owned()),
                    }))
                }
            }
        }
        let member_of = params.all("member_of").into_iter().map(|value| {
            let (forbidden, value) = value
                .strip_prefix('!')
                .map_or((false, value), |value| (true, value));
            let ids = value
                .strip_prefix("in:")
                .unwrap_or(value)
                .split(',')
                .map(str::to_lowercase)
                .collect();
            (forbidden, ids)
        });
        Ok(Self {
            resources,
            required,
            member_of: member_of.collect(),
        })
    }

    pub fn wants(&self, provider: &Provider) -> bool {
        let has = |name: &String| provider.traits.contains(&name.as_str());
        let required = self.required.iter().all(|rule| match rule {
            TraitRule::Has(name) => has(name),
            TraitRule::HasNot(name) => !has(name),
            TraitRule::HasOneOf(names) => names.iter().any(has),
        });
        let member_of = self.member_of.iter().all(|(forbidden, ids)| {
            let is_in = provider
                .aggregates
                .iter()
                .any(|aggregate| ids.contains(&aggregate.to_string()));
            is_in != *forbidden
        });
        let room = match self.resources {
            None => true,
            Some(None) => false,
            Some(Some(amount)) => provider.has_room(amount),
        };
        required && member_of && room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_unknown_classes_fit_nowhere() {
        assert_eq!(
            amount("VCPU:1,MEMORY_MB:64").unwrap(),
            Some(Resources {
                vcpus: 1,
                memory_mib: 64,
                disk_gib: 0
            })
        );
        assert_eq!(amount("VCPU:1,CUSTOM_GPU:1").unwrap(), None);
        for wrong in ["", "VCPU", "VCPU:0", "VCPU:-1", "VCPU:many"] {
            assert!(amount(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        let sent = Params(vec![("colour".to_owned(), "red".to_owned())]);
        assert!(
            only(&sent, &["name"])
                .unwrap_err()
                .message
                .contains("'colour'")
        );
    }
}
