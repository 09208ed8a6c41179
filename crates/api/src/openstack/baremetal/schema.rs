//! The attributes of a resource: which there are in which microversion, and which may be set when.

use super::patch::Patch;
use super::version::Version;
use corten_model::refusal::Refusal;
use serde_json::{Map, Value};

/// One resource's attributes.
pub struct Schema {
    /// In sentences: `node`.
    pub one: &'static str,
    /// Every attribute with the minor version that brought it.
    pub fields: &'static [(&'static str, u16)],
    /// Those that a create may set.
    pub created: &'static [&'static str],
    /// Those that a patch may change.
    pub patched: &'static [&'static str],
    /// Those of a list that does not ask for more.
    pub brief: &'static [&'static str],
}

impl Schema {
    /// The minor version that brought an attribute.
    pub fn since(&self, field: &str) -> Option<u16> {
        self.fields
            .iter()
            .find(|(name, _)| *name == field)
            .map(|(_, since)| *since)
    }

    fn check(&self, version: Version, field: &str, settable: &[&str]) -> Result<(), Refusal> {
        match self.since(field) {
            None => Err(Refusal::invalid(format!(
                "Unknown attribute '{field}' of a {}.",
                self.one
            ))),
            Some(_) if !settable.contains(&field) => Err(Refusal::invalid(format!(
                "'/{field}' is an internal attribute of a {} and can not be set here.",
                self.one
            ))),
            Some(since) => version.acceptable_from(since, format!("The attribute '{field}'")),
        }
    }

    /// The document of a new resource: the usual values with those of a request over them.
    pub fn new_document(
        &self,
        version: Version,
        mut defaults: Map<String, Value>,
        body: Map<String, Value>,
    ) -> Result<Map<String, Value>, Refusal> {
        for (field, value) in body {
            self.check(version, &field, self.created)?;
            defaults.insert(field, value);
        }
        Ok(defaults)
    }

    /// The document after a patch.
    pub fn patched_document(
        &self,
        version: Version,
        before: Map<String, Value>,
        patch: &Patch,
    ) -> Result<Map<String, Value>, Refusal> {
        for field in patch.touched() {
            self.check(version, field, self.patched)?;
        }
        patch.apply(before)
    }

    /// The attributes that a request is shown.
    pub fn chosen(&self, version: Version, wanted: &Wanted) -> impl Iterator<Item = &'static str> {
        let fields = self.fields.iter();
        fields
            .filter(move |(field, since)| version.at_least(*since) && self.is_wanted(field, wanted))
            .map(|(field, _)| *field)
    }

    fn is_wanted(&self, field: &str, wanted: &Wanted) -> bool {
        match wanted {
            Wanted::All => true,
            Wanted::Brief => self.brief.contains(&field),
            Wanted::These(fields) => fields.iter().any(|wanted| wanted == field),
        }
    }

    /// What a request is shown of a document.
    pub fn view(
        &self,
        version: Version,
        document: Map<String, Value>,
        wanted: &Wanted,
    ) -> Map<String, Value> {
        document
            .into_iter()
            .filter(|(field, _)| self.is_wanted(field, wanted))
            .filter(|(field, _)| {
                self.since(field)
                    .is_some_and(|since| version.at_least(since))
            })
            .collect()
    }

    /// The attributes that a request names.
    pub fn wanted(&self, version: Version, text: &str) -> Result<Wanted, Refusal> {
        version.acceptable_from(8, "The parameter 'fields'")?;
        let mut fields: Vec<String> = vec!["links".to_owned()];
        for field in text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let since = self.since(field).ok_or_else(|| {
                Refusal::invalid(format!(
                    "Field(s) \"{field}\" are not valid for a {}.",
                    self.one
                ))
            })?;
            version.acceptable_from(since, format!("The attribute '{field}'"))?;
            fields.push(field.to_owned());
        }
        Ok(Wanted::These(fields))
    }
}

/// How much of a resource is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    All,
    Brief,
    These(Vec<String>),
}
