//! What the resources of the bare-metal service share: names in paths, values in documents, links, pages.

use super::schema::{Schema, Wanted};
use super::version::Version;
use crate::params::{Params, parse_truth};
use corten_model::ids::InvalidId;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::metal::{Ident, Page, SortBy};
use corten_store::metal::{Object, Standard};
use corten_store::record::Direction;
use serde_json::{Map, Value, json};
use std::str::FromStr;

/// What a path names. Before 1.91 a suffix `.json` was no part of a name.
pub fn ident(version: Version, text: &str) -> Ident {
    let text = match text.strip_suffix(".json") {
        Some(stem) if !version.at_least(91) => stem,
        _ => text,
    };
    Ident {
        text: text.to_owned(),
        by_name: true,
    }
}

/// The same where names came with a version of their own.
pub fn ident_since(version: Version, minor: u16, text: &str) -> Ident {
    Ident {
        by_name: version.at_least(minor),
        ..ident(version, text)
    }
}

/// Values of a document, by their attributes. Each is read once.
pub struct Values(pub Map<String, Value>);

impl Values {
    fn take(&mut self, field: &str) -> Value {
        self.0.remove(field).unwrap_or_default()
    }

    fn refuse<T>(field: &str, expected: &str, value: &Value) -> Result<T, Refusal> {
        Err(Refusal::invalid(format!(
            "Invalid input for field/attribute {field}: expected {expected}, got {value}."
        )))
    }

    pub fn text(&mut self, field: &str) -> Result<Option<String>, Refusal> {
        match self.take(field) {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            other => Self::refuse(field, "a text", &other),
        }
    }

    pub fn required_text(&mut self, field: &str) -> Result<String, Refusal> {
        self.text(field)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| mandatory(field))
    }

    /// Truth, also as text.
    pub fn truth(&mut self, field: &str) -> Result<Option<bool>, Refusal> {
        match self.take(field) {
            Value::Null => Ok(None),
            Value::Bool(truth) => Ok(Some(truth)),
            Value::String(text) => match parse_truth(&text) {
                Some(truth) => Ok(Some(truth)),
                None => Self::refuse(field, "a boolean", &text.into()),
            },
            other => Self::refuse(field, "a boolean", &other),
        }
    }

    /// An object; null is an empty one.
    pub fn object(&mut self, field: &str) -> Result<Object, Refusal> {
        match self.take(field) {
            Value::Null => Ok(Object::new()),
            Value::Object(object) => Ok(object),
            other => Self::refuse(field, "an object", &other),
        }
    }

    /// A whole number, also as text.
    pub fn number(&mut self, field: &str) -> Result<Option<i64>, Refusal> {
        let value = self.take(field);
        let number = match &value {
            Value::Null => return Ok(None),
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) => Ok(Some(number)),
            None => Self::refuse(field, "an integer", &value),
        }
    }

    pub fn texts(&mut self, field: &str) -> Result<Vec<String>, Refusal> {
        let value = self.take(field);
        let texts = match &value {
            Value::Null => return Ok(Vec::new()),
            Value::Array(list) => list
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>(),
            _ => None,
        };
        match texts {
            Some(texts) => Ok(texts),
            None => Self::refuse(field, "a list of texts", &value),
        }
    }

    pub fn id<I: FromStr<Err = InvalidId>>(&mut self, field: &str) -> Result<Option<I>, Refusal> {
        match self.text(field)? {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(id) => Ok(Some(id)),
                Err(_) => Self::refuse(field, "a UUID", &text.into()),
            },
        }
    }

    pub fn required_id<I: FromStr<Err = InvalidId>>(&mut self, field: &str) -> Result<I, Refusal> {
        self.id(field)?.ok_or_else(|| mandatory(field))
    }

    /// A list of things of one shape, at least one.
    pub fn list<T: serde::de::DeserializeOwned>(&mut self, field: &str) -> Result<Vec<T>, Refusal> {
        match self.take(field) {
            Value::Null => Err(mandatory(field)),
            value => serde_json::from_value(value).map_err(|error| {
                Refusal::invalid(format!(
                    "Invalid input for field/attribute {field}: {error}."
                ))
            }),
        }
    }
}

fn mandatory(field: &str) -> Refusal {
    Refusal::invalid(format!("Mandatory field missing: '{field}'."))
}

/// The id that a create names, or a new one.
pub fn new_id<I: FromStr<Err = InvalidId>>(
    body: &Map<String, Value>,
    random: fn() -> I,
) -> Result<I, Refusal> {
    match body.get("uuid") {
        None | Some(Value::Null) => Ok(random()),
        Some(Value::String(text)) => text
            .parse()
            .map_err(|_| Refusal::invalid(format!("Expected a UUID but received {text}."))),
        Some(other) => Err(Refusal::invalid(format!(
            "Expected a UUID but received {other}."
        ))),
    }
}

pub fn date(moment: Option<Timestamp>) -> Option<String> {
    moment.map(Timestamp::seconds_offset)
}

/// An object of JSON as a document.
pub fn document(value: Value, standard: &Standard) -> Map<String, Value> {
    let mut document = match value {
        Value::Object(document) => document,
        _ => Map::new(),
    };
    document.insert("extra".to_owned(), standard.extra.clone().into());
    document.insert(
        "created_at".to_owned(),
        standard.created_at.seconds_offset().into(),
    );
    document.insert("updated_at".to_owned(), date(standard.updated_at).into());
    document
}

/// The attributes that the parameters name.
pub fn named_fields(params: &Params) -> Option<Vec<String>> {
    let names = params.get("fields")?.split(',').map(str::trim);
    let names = names.filter(|name| !name.is_empty());
    Some(names.map(str::to_owned).collect())
}

/// What a request is shown of a view that holds all that there is in its version; the links always.
pub fn chosen(mut view: Value, fields: Option<&[String]>, one: &str) -> Result<Value, Refusal> {
    let (Some(fields), Some(document)) = (fields, view.as_object_mut()) else {
        return Ok(view);
    };
    if let Some(unknown) = fields.iter().find(|field| !document.contains_key(*field)) {
        let known: Vec<_> = document.keys().map(String::as_str).collect();
        return Err(Refusal::invalid(format!(
            "Field(s) \"{unknown}\" are not valid for a {one}. Those that are: {}.",
            known.join(", ")
        )));
    }
    document.retain(|field, _| field == "links" || fields.contains(field));
    Ok(view)
}

/// Where a resource is, with its version and without.
pub fn links(base: &str, path: &str) -> Value {
    json!([
        {"href": format!("{base}/baremetal/v1/{path}"), "rel": "self"},
        {"href": format!("{base}/baremetal/{path}"), "rel": "bookmark"},
    ])
}

const LIMIT_MAX: usize = 1000;

/// Attributes that a list can be sorted by, with their columns; of one without a column, its place in the record, which
/// begins with a slash.
pub type SortKeys = &'static [(&'static str, &'static str)];

/// How much the parameters of a list want of each.
pub fn wanted(
    version: Version,
    params: &Params,
    schema: &Schema,
    detailed: bool,
) -> Result<Wanted, Refusal> {
    let detail = params.truth("detail")?;
    if detail.is_some() {
        version.acceptable_from(43, "The parameter 'detail'")?;
    }
    let all = detailed || detail == Some(true);
    match params.get("fields") {
        Some(_) if all => Err(Refusal::invalid(
            "Can't fetch a subset of fields with 'detail' set.",
        )),
        Some(fields) => schema.wanted(version, fields),
        None if all => Ok(Wanted::All),
        None => Ok(Wanted::Brief),
    }
}

/// The page that the parameters ask for.
pub fn page(params: &Params, sort_keys: SortKeys) -> Result<Page, Refusal> {
    let sort = match params.get("sort_key") {
        None | Some("id") => None,
        Some(key) => Some(sort_by(key, sort_keys)?),
    };
    Ok(Page {
        marker: params.get("marker").map(Ident::id),
        limit: limit(params)?,
        sort,
        direction: direction(params)?,
    })
}

/// How many the parameters ask for at most.
pub fn limit(params: &Params) -> Result<usize, Refusal> {
    match params.count("limit")? {
        Some(0) => Err(Refusal::invalid("Limit must be positive")),
        Some(limit) => Ok(limit.min(LIMIT_MAX)),
        None => Ok(LIMIT_MAX),
    }
}

/// Which way the parameters have a list sorted.
pub fn direction(params: &Params) -> Result<Direction, Refusal> {
    match params.get("sort_dir") {
        None | Some("asc") => Ok(Direction::Ascending),
        Some("desc") => Ok(Direction::Descending),
        Some(other) => Err(Refusal::invalid(format!(
            "Invalid sort direction: {other}. Acceptable values are 'asc' or 'desc'"
        ))),
    }
}

/// A list cannot be sorted by this.
pub fn no_sort_key<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> Refusal {
    let known: Vec<_> = known.into_iter().collect();
    Refusal::invalid(format!(
        "The sort_key value \"{key}\" is an invalid field for sorting. Those that are valid: {}.",
        known.join(", ")
    ))
}

fn sort_by(key: &str, sort_keys: SortKeys) -> Result<SortBy, Refusal> {
    let common = [
        ("uuid", "id"),
        ("created_at", "created_at"),
        ("updated_at", "updated_at"),
    ];
    let known = || common.iter().chain(sort_keys);
    let (_, place) = known()
        .find(|(name, _)| *name == key)
        .ok_or_else(|| no_sort_key(key, known().map(|(name, _)| *name)))?;
    Ok(if place.starts_with('/') {
        SortBy::Place(place)
    } else {
        SortBy::Column(place)
    })
}
