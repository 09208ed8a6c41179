//! What the resources of the network service share: bodies of one or many, lists with filters, order, pages and
//! fields, and the attributes that every resource shows.

use crate::params::{BaseUrl, Params, parse_truth};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use corten_model::refusal::Refusal;
use corten_operations::network::Narrow;
use corten_store::network::{Resource, Standard};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::{Map, Value, json};
use std::str::FromStr;

/// A create's body: one thing under its name, or several under the name of the collection.
pub struct Creates<T> {
    pub items: Vec<T>,
    pub is_bulk: bool,
}

/// Reads a create's body.
pub fn creates<T: DeserializeOwned>(
    mut body: Map<String, Value>,
    one: &str,
    many: &str,
) -> Result<Creates<T>, Refusal> {
    let (single, list) = (body.remove(one), body.remove(many));
    if let Some(other) = body.keys().next() {
        return Err(Refusal::invalid(format!(
            "Unrecognized attribute(s) '{other}': the body holds '{one}' or '{many}'."
        )));
    }
    match (single, list) {
        (Some(item), None) => Ok(Creates {
            items: vec![read(item, one)?],
            is_bulk: false,
        }),
        (None, Some(Value::Array(items))) if !items.is_empty() => Ok(Creates {
            items: items
                .into_iter()
                .map(|item| read(item, one))
                .collect::<Result<_, _>>()?,
            is_bulk: true,
        }),
        (None, Some(_)) => Err(Refusal::invalid(format!(
            "'{many}' is not a list of things to make."
        ))),
        _ => Err(Refusal::invalid(format!(
            "Unable to find '{one}' in request body"
        ))),
    }
}

/// Reads the one thing that an update's body, or an action's, holds.
pub fn only<T: DeserializeOwned>(mut body: Map<String, Value>, name: &str) -> Result<T, Refusal> {
    let item = body
        .remove(name)
        .ok_or_else(|| Refusal::invalid(format!("Unable to find '{name}' in request body")))?;
    match body.keys().next() {
        None => read(item, name),
        Some(other) => Err(Refusal::invalid(format!(
            "Unrecognized attribute(s) '{other}': the body holds '{name}'."
        ))),
    }
}

/// Reads a JSON value; the refusal names the attribute.
pub fn read<T: DeserializeOwned>(value: Value, name: &str) -> Result<T, Refusal> {
    if !value.is_object() {
        return Err(Refusal::invalid(format!("'{name}' is not an object.")));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let place = error.path().to_string();
        let cause = error.into_inner().to_string();
        match cause.strip_prefix("unknown field `") {
            Some(rest) => {
                let field = rest.split('`').next().unwrap_or_default();
                Refusal::invalid(format!("Unrecognized attribute(s) '{field}'"))
            }
            None if place == "." => {
                Refusal::invalid(format!("Invalid input for {name}. Reason: {cause}."))
            }
            None => Refusal::invalid(format!("Invalid input for {place}. Reason: {cause}.")),
        }
    })
}

/// What was made: one under its name, or all under the name of the collection.
pub fn created(views: Vec<Value>, is_bulk: bool, one: &str, many: &str) -> Response {
    let body = if is_bulk {
        json!({ many: views })
    } else {
        json!({ one: views.into_iter().next() })
    };
    (StatusCode::CREATED, Json(body)).into_response()
}

/// An id in a path. What is no id is a thing that does not exist.
pub fn id_of<T: Resource, I: FromStr>(text: &str) -> Result<I, Refusal> {
    text.parse()
        .map_err(|_| Refusal::no_such(T::KIND, text).named(T::MISSING))
}

/// Truth as Neutron takes it: JSON's, its spellings as text, 0 and 1.
pub fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let truth = match &value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => parse_truth(text),
        Value::Number(number) => match number.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        _ => None,
    };
    match truth {
        Some(truth) => Ok(Some(truth)),
        None => Err(serde::de::Error::custom(format!(
            "'{}' cannot be converted to boolean",
            plain(&value)
        ))),
    }
}

/// A whole number, also as text.
pub fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = match &value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(serde::de::Error::custom(format!(
            "'{}' is not an integer",
            plain(&value)
        ))),
    }
}

/// Tells an attribute that was set to null from one that was not sent.
pub fn nullable<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// A list where null stands for an empty one.
pub fn list_or_null<'de, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<Vec<T>>::deserialize(deserializer).map(|list| Some(list.unwrap_or_default()))
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The longest name and description, in characters.
const TEXT_MAX: usize = 255;

/// A text that is not too long.
pub fn text(field: &str, value: Option<String>) -> Result<Option<String>, Refusal> {
    match &value {
        Some(text) if text.chars().count() > TEXT_MAX => Err(Refusal::invalid(format!(
            "Invalid input for {field}. Reason: '{text}' exceeds maximum length of {TEXT_MAX}."
        ))),
        _ => Ok(value),
    }
}

/// The project that a body names, under its new name or its old one.
pub fn project(
    project_id: Option<corten_model::ids::ProjectId>,
    tenant_id: Option<corten_model::ids::ProjectId>,
) -> Result<Option<corten_model::ids::ProjectId>, Refusal> {
    match (project_id, tenant_id) {
        (Some(project), Some(tenant)) if project != tenant => Err(Refusal::invalid(
            "'project_id' and 'tenant_id' do not match",
        )),
        (project, tenant) => Ok(project.or(tenant)),
    }
}

/// A resource's own attributes with those that all of them have.
pub fn with_standard(mut view: Value, standard: &Standard) -> Value {
    let Standard {
        project_id,
        name,
        description,
        tags,
        revision,
        created_at,
        updated_at,
    } = standard;
    let common = json!({
        "project_id": project_id,
        "tenant_id": project_id,
        "name": name,
        "description": description,
        "tags": tags,
        "revision_number": revision,
        "created_at": created_at.seconds_z(),
        "updated_at": updated_at.seconds_z(),
    });
    if let (Value::Object(view), Value::Object(common)) = (&mut view, common) {
        for (field, value) in common {
            view.entry(field).or_insert(value);
        }
    }
    view
}

/// The parameters of a list that are not filters.
const CONTROLS: [&str; 10] = [
    "fields",
    "sort_key",
    "sort_dir",
    "limit",
    "marker",
    "page_reverse",
    "tags",
    "tags-any",
    "not-tags",
    "not-tags-any",
];

/// A collection: how it is called, and what its members can be filtered by beside what they show.
pub struct Collection<'a> {
    pub one: &'a str,
    pub many: &'a str,
    /// Parameters that were heeded before the views were made.
    pub heeded: &'a [&'a str],
    /// Attributes of the views, for a list that is empty.
    pub fields: &'a [&'a str],
}

/// What a query narrows a list to by columns that can be looked up.
pub fn narrow(params: &Params, columns: &[(&str, &'static str)]) -> Narrow {
    let mut narrow = Narrow::default();
    for (parameter, column) in columns {
        let values: Vec<String> = params
            .all(parameter)
            .into_iter()
            .map(str::to_owned)
            .collect();
        if !values.is_empty() {
            narrow.0.push((column, values));
        }
    }
    narrow
}

impl Collection<'_> {
    /// The members that pass the filters, in order, one page of them, with the fields that were asked for.
    pub fn answer(
        &self,
        params: &Params,
        base: &BaseUrl,
        mut views: Vec<Value>,
    ) -> Result<Response, Refusal> {
        self.filter(params, &mut views)?;
        filter_tags(params, &mut views);
        self.sort(params, &mut views)?;
        let links = self.page(params, base, &mut views)?;
        let fields = params.all("fields");
        if !fields.is_empty() {
            for view in &mut views {
                choose_fields(view, &fields);
            }
        }
        let mut body = Map::new();
        body.insert(self.many.to_owned(), Value::Array(views));
        if let Some(links) = links {
            body.insert(format!("{}_links", self.many), links);
        }
        Ok(Json(Value::Object(body)).into_response())
    }

    /// One member, with the fields that were asked for.
    pub fn show(&self, params: &Params, mut view: Value) -> Response {
        let fields = params.all("fields");
        if !fields.is_empty() {
            choose_fields(&mut view, &fields);
        }
        Json(json!({ self.one: view })).into_response()
    }

    fn filter(&self, params: &Params, views: &mut Vec<Value>) -> Result<(), Refusal> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in &params.0 {
            let name = name.as_str();
            let is_other = CONTROLS.contains(&name) || self.heeded.contains(&name);
            if !is_other && !names.contains(&name) {
                names.push(name);
            }
        }
        for name in names {
            if !self.fields.contains(&name) {
                return Err(Refusal::invalid(format!(
                    "[\"{name}\" is invalid attribute for filtering: {} are filtered by {}]",
                    self.many,
                    self.fields.join(", ")
                )));
            }
            let wanted = params.all(name);
            views.retain(|view| wanted.iter().any(|wanted| matches(&view[name], wanted)));
        }
        Ok(())
    }

    fn sort(&self, params: &Params, views: &mut [Value]) -> Result<(), Refusal> {
        let keys = params.all("sort_key");
        let directions = params.all("sort_dir");
        if let Some(unknown) = keys.iter().find(|key| !self.fields.contains(key)) {
            return Err(Refusal::invalid(format!(
                "['{unknown}' is invalid attribute for sort_key]"
            )));
        }
        if let Some(odd) = directions.iter().find(|dir| !["asc", "desc"].contains(dir)) {
            return Err(Refusal::invalid(format!(
                "sort_dir '{odd}' is neither asc nor desc"
            )));
        }
        views.sort_by(|a, b| {
            let mut order = std::cmp::Ordering::Equal;
            for (index, key) in keys.iter().enumerate() {
                let by_key = compare(&a[*key], &b[*key]);
                let is_down = directions.get(index) == Some(&"desc");
                order = order.then(if is_down { by_key.reverse() } else { by_key });
            }
            order
        });
        Ok(())
    }

    fn page(
        &self,
        params: &Params,
        base: &BaseUrl,
        views: &mut Vec<Value>,
    ) -> Result<Option<Value>, Refusal> {
        let limit = params.count("limit")?.filter(|limit| *limit > 0);
        let is_reverse = params.truth("page_reverse")?.unwrap_or(false);
        if params.get("sort_key").is_none() && (limit.is_some() || params.get("marker").is_some()) {
            views.sort_by(|a, b| compare(&a["id"], &b["id"]));
        }
        if let Some(marker) = params.get("marker") {
            let at = views
                .iter()
                .position(|view| view["id"].as_str() == Some(marker))
                .ok_or_else(|| {
                    Refusal::invalid(format!(
                        "Invalid marker: there is no {} {marker}.",
                        self.one
                    ))
                })?;
            if is_reverse {
                views.truncate(at);
            } else {
                views.drain(..=at);
            }
        }
        let Some(limit) = limit else { return Ok(None) };
        let has_more = views.len() > limit;
        if is_reverse {
            views.drain(..views.len().saturating_sub(limit));
        } else {
            views.truncate(limit);
        }
        Ok(self.links(params, base, views, has_more, is_reverse))
    }

    fn links(
        &self,
        params: &Params,
        BaseUrl(base): &BaseUrl,
        views: &[Value],
        has_more: bool,
        is_reverse: bool,
    ) -> Option<Value> {
        let link = |rel: &str, at: &Value, reverse: Option<&str>| {
            let query = params.with(&[("marker", at["id"].as_str()), ("page_reverse", reverse)]);
            let path = self.many.replace('_', "-");
            json!({"rel": rel, "href": format!("{base}/network/v2.0/{path}?{query}")})
        };
        let (first, last) = (views.first()?, views.last()?);
        let mut links = Vec::new();
        if has_more || is_reverse {
            links.push(link("next", last, None));
        }
        if params.get("marker").is_some() || (is_reverse && has_more) {
            links.push(link("previous", first, Some("True")));
        }
        (!links.is_empty()).then(|| Value::Array(links))
    }
}

fn choose_fields(view: &mut Value, fields: &[&str]) {
    if let Value::Object(view) = view {
        view.retain(|name, _| fields.contains(&name.as_str()));
    }
}

/// Whether an attribute is what a query asks for.
fn matches(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Bool(truth) => parse_truth(wanted) == Some(*truth),
        Value::Null => wanted.is_empty() || wanted == "None" || wanted == "null",
        Value::Array(members) => members.iter().any(|member| matches(member, wanted)),
        other => plain(other) == wanted,
    }
}

fn compare(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => plain(a).cmp(&plain(b)),
    }
}

fn filter_tags(params: &Params, views: &mut Vec<Value>) {
    let wanted = |name: &str| -> Vec<String> {
        let lists = params.all(name);
        let tags = lists.iter().flat_map(|list| list.split(','));
        tags.map(str::to_owned).collect()
    };
    let has = |view: &Value, tag: &String| {
        let tags = view["tags"].as_array();
        tags.is_some_and(|tags| tags.iter().any(|present| present == tag))
    };
    let all = |view: &Value, tags: &[String]| tags.iter().all(|tag| has(view, tag));
    let any = |view: &Value, tags: &[String]| tags.iter().any(|tag| has(view, tag));
    for (name, keeps) in [
        ("tags", &all as &dyn Fn(&Value, &[String]) -> bool),
        ("tags-any", &any),
        ("not-tags", &|view, tags| !all(view, tags)),
        ("not-tags-any", &|view, tags| !any(view, tags)),
    ] {
        let tags = wanted(name);
        if !tags.is_empty() {
            views.retain(|view| keeps(view, &tags));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(query: &str, views: Vec<Value>) -> Result<Value, Refusal> {
        let pairs = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let collection = Collection {
            one: "port",
            many: "ports",
            heeded: &["fixed_ips"],
            fields: &["id", "name", "admin_state_up", "mtu", "tags"],
        };
        let base = BaseUrl("http://x".to_owned());
        let response = collection.answer(&Params(pairs), &base, views)?;
        let bytes = futures_util::FutureExt::now_or_never(axum::body::to_bytes(
            response.into_body(),
            100_000,
        ));
        Ok(serde_json::from_slice(&bytes.unwrap().unwrap()).unwrap())
    }

    fn ports() -> Vec<Value> {
        vec![
            json!({"id": "3", "name": "c", "admin_state_up": true, "mtu": 9, "tags": ["red", "blue"]}),
            json!({"id": "1", "name": "a", "admin_state_up": false, "mtu": 10, "tags": ["red"]}),
            json!({"id": "2", "name": "b", "admin_state_up": true, "mtu": null, "tags": []}),
        ]
    }

    fn ids(body: &Value) -> Vec<&str> {
        let members = body["ports"].as_array().unwrap();
        members
            .iter()
            .map(|view| view["id"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn a_list_is_filtered_by_what_its_members_show() {
        assert_eq!(ids(&list("name=a&name=b", ports()).unwrap()), ["1", "2"]);
        assert_eq!(ids(&list("admin_state_up=False", ports()).unwrap()), ["1"]);
        assert_eq!(ids(&list("fixed_ips=x", ports()).unwrap()).len(), 3);
        assert_eq!(ids(&list("tags=red,blue", ports()).unwrap()), ["3"]);
        assert_eq!(
            ids(&list("tags-any=red,blue", ports()).unwrap()),
            ["3", "1"]
        );
        assert_eq!(
            ids(&list("not-tags-any=blue", ports()).unwrap()),
            ["1", "2"]
        );
        let refusal = list("colour=red", ports()).unwrap_err();
        assert!(refusal.message.contains("invalid attribute for filtering"));
    }

    #[test]
    fn a_list_is_sorted_by_numbers_and_texts() {
        assert_eq!(
            ids(&list("sort_key=name&sort_dir=desc", ports()).unwrap()),
            ["3", "2", "1"]
        );
        assert_eq!(
            ids(&list("sort_key=mtu&sort_dir=asc&mtu=9&mtu=10", ports()).unwrap()),
            ["3", "1"]
        );
        assert!(list("sort_key=colour", ports()).is_err());
        assert!(list("sort_key=name&sort_dir=up", ports()).is_err());
    }

    #[test]
    fn pages_follow_one_another_both_ways() {
        let first = list("limit=2", ports()).unwrap();
        assert_eq!(ids(&first), ["1", "2"]);
        assert_eq!(first["ports_links"][0]["rel"], "next");
        assert_eq!(
            first["ports_links"][0]["href"],
            "http://x/network/v2.0/ports?limit=2&marker=2"
        );
        let second = list("limit=2&marker=2", ports()).unwrap();
        assert_eq!(ids(&second), ["3"]);
        assert_eq!(second["ports_links"][0]["rel"], "previous");
        let back = list("limit=2&marker=3&page_reverse=True", ports()).unwrap();
        assert_eq!(ids(&back), ["1", "2"]);
        assert!(list("marker=9", ports()).is_err());
    }

    #[test]
    fn fields_choose_what_is_shown() {
        let body = list("fields=id&fields=name&name=a", ports()).unwrap();
        assert_eq!(body["ports"][0], json!({"id": "1", "name": "a"}));
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        #[serde(default, deserialize_with = "truth")]
        admin_state_up: Option<bool>,
        #[serde(default, deserialize_with = "nullable")]
        gateway: Option<Option<String>>,
    }

    fn body(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn bodies_hold_one_or_many_and_say_what_is_wrong() {
        let one = creates::<Thing>(
            body(r#"{"thing": {"admin_state_up": "False"}}"#),
            "thing",
            "things",
        )
        .unwrap();
        assert!(!one.is_bulk && one.items[0].admin_state_up == Some(false));
        assert_eq!(one.items[0].gateway, None);
        let many = creates::<Thing>(
            body(r#"{"things": [{}, {"gateway": null}]}"#),
            "thing",
            "things",
        )
        .unwrap();
        assert!(many.is_bulk && many.items[1].gateway == Some(None));
        let wrong = |text: &str| {
            creates::<Thing>(body(text), "thing", "things")
                .map(|_| ())
                .unwrap_err()
                .message
        };
        assert_eq!(
            wrong(r#"{"thing": {"colour": 1}}"#),
            "Unrecognized attribute(s) 'colour'"
        );
        assert!(
            wrong(r#"{"thing": {"admin_state_up": "maybe"}}"#)
                .contains("cannot be converted to boolean")
        );
        assert!(wrong(r#"{"things": []}"#).contains("not a list"));
        assert!(wrong(r#"{"other": {}}"#).contains("Unrecognized"));
        assert!(wrong("{}").contains("Unable to find 'thing'"));
    }
}
