//! What Placement's lists are filtered by: amounts, traits and aggregates.

use crate::params::Params;
use corten_model::refusal::Refusal;
use corten_operations::resource_provider::{Amounts, Provider};

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

/// `VCPU:1,MEMORY_MB:64`. A class that no provider has is no error: nobody has room for it.
pub fn amounts(text: &str) -> Result<Amounts, Refusal> {
    let mut amounts = Amounts::new();
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
        amounts.insert(class.to_owned(), count);
    }
    Ok(amounts)
}

/// What a provider must be for a list to have it.
#[derive(Debug, Default)]
pub struct Filter {
    pub resources: Option<Amounts>,
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
        let resources = params.get("resources").map(amounts).transpose()?;
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
        let has = |name: &String| provider.traits.contains(name);
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
        let room = self
            .resources
            .as_ref()
            .is_none_or(|wanted| provider.has_room(wanted));
        required && member_of && room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_by_class() {
        let read = amounts("VCPU:1,CUSTOM_BM_SMALL:2").unwrap();
        let wanted = [("CUSTOM_BM_SMALL".to_owned(), 2), ("VCPU".to_owned(), 1)];
        assert_eq!(read, Amounts::from(wanted));
        for wrong in ["", "VCPU", "VCPU:0", "VCPU:-1", "VCPU:many"] {
            assert!(amounts(wrong).is_err(), "{wrong}");
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
