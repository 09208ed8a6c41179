//! A collection as Keystone shows it: filters (`name`, `name__contains`, …), pages, and the links around it.

use crate::params::{Params, parse_truth};
use axum::Json;
use axum::response::{IntoResponse, Response};
use corten_model::refusal::Refusal;
use serde_json::{Map, Value, json};

/// No page is longer.
const MAX_PAGE: usize = 1000;

/// Where a collection is, and how it is called in the body.
pub struct Listing<'a> {
    /// `http://…/identity/v3`
    pub base: &'a str,
    /// `/users`
    pub path: &'a str,
    /// `users`
    pub key: &'a str,
    pub params: &'a Params,
    /// The attributes that may be filtered by.
    pub filters: &'a [&'a str],
}

impl Listing<'_> {
    /// The members that pass the filters, one page of them.
    pub fn answer(&self, mut members: Vec<Value>) -> Result<Response, Refusal> {
        for (name, wanted) in &self.params.0 {
            let (attribute, comparator) = name.split_once("__").unwrap_or((name, ""));
            if self.filters.contains(&attribute) {
                members.retain(|member| passes(member, attribute, comparator, wanted));
            }
        }
        let limit = self.params.count("limit")?;
        let marker = self.params.get("marker");
        // Pages need an order that does not change between them.
        if limit.is_some() || marker.is_some() || members.len() > MAX_PAGE {
            members.sort_by(|left, right| id_of(left).cmp(id_of(right)));
        }
        if let Some(marker) = marker {
            members.retain(|member| id_of(member) > marker);
        }
        let page = limit
            .filter(|limit| *limit > 0)
            .unwrap_or(MAX_PAGE)
            .min(MAX_PAGE);
        let has_more = members.len() > page;
        members.truncate(page);
        let next = members.last().filter(|_| has_more).map(|last| {
            let query = self.params.with(&[("marker", Some(id_of(last)))]);
            format!("{}{}?{query}", self.base, self.path)
        });
        let query = self.params.with(&[]);
        let own = if query.is_empty() {
            String::new()
        } else {
            format!("?{query}")
        };
        let links = json!({"next": next, "self": format!("{}{}{own}", self.base, self.path), "previous": null});
        let mut body = Map::new();
        body.insert(self.key.to_owned(), Value::Array(members));
        body.insert("links".to_owned(), links);
        Ok(Json(Value::Object(body)).into_response())
    }
}

fn id_of(member: &Value) -> &str {
    member["id"].as_str().unwrap_or_default()
}

/// Whether a member's attribute compares as wanted. Keystone's comparators; an unknown one filters nothing.
fn passes(member: &Value, attribute: &str, comparator: &str, wanted: &str) -> bool {
    let value = &member[attribute];
    if let Value::Bool(truth) = value {
        // `?enabled` alone means true.
        return *truth == parse_truth(wanted).unwrap_or(true);
    }
    if value.is_null() {
        return comparator.is_empty() && matches!(wanted, "" | "null" | "None");
    }
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    let (folded, wanted_folded) = (text.to_lowercase(), wanted.to_lowercase());
    match comparator {
        // Names are unique without regard to case, so they are found that way too.
        "" if attribute == "name" => folded == wanted_folded,
        "" => text == wanted,
        "contains" => text.contains(wanted),
        "icontains" => folded.contains(&wanted_folded),
        "startswith" => text.starts_with(wanted),
        "istartswith" => folded.starts_with(&wanted_folded),
        "endswith" => text.ends_with(wanted),
        "iendswith" => folded.ends_with(&wanted_folded),
        _ => true,
    }
}

/// A member with the attributes that Keystone keeps for its callers beside its own.
pub fn with_extra(mut member: Value, extra: &Map<String, Value>) -> Value {
    if let Value::Object(fields) = &mut member {
        for (name, value) in extra {
            fields.entry(name).or_insert_with(|| value.clone());
        }
    }
    member
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_compare_as_keystone_does() {
        let user = json!({"id": "1", "name": "Anna", "enabled": true, "parent_id": null});
        assert!(passes(&user, "name", "", "anna"));
        assert!(!passes(&user, "name", "contains", "anna"));
        assert!(passes(&user, "name", "icontains", "NN"));
        assert!(passes(&user, "name", "startswith", "An"));
        assert!(passes(&user, "enabled", "", ""));
        assert!(!passes(&user, "enabled", "", "False"));
        assert!(!passes(&user, "parent_id", "", "7"));
    }

    #[tokio::test]
    async fn pages_follow_one_another_until_the_end() {
        let mut seen = Vec::new();
        let mut query = "limit=2&name__startswith=u".to_owned();
        loop {
            let pairs = url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect();
            let params = Params(pairs);
            let listing = Listing {
                base: "http://x",
                path: "/users",
                key: "users",
                params: &params,
                filters: &["name"],
            };
            let members =
                ["3", "1", "5", "2", "4"].map(|id| json!({"id": id, "name": format!("u{id}")}));
            let response = listing.answer(members.to_vec()).unwrap();
            let bytes = axum::body::to_bytes(response.into_body(), 10_000)
                .await
                .unwrap();
            let body: Value = serde_json::from_slice(&bytes).unwrap();
            seen.extend(
                body["users"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|user| user["id"].as_str().unwrap().to_owned()),
            );
            match body["links"]["next"].as_str() {
                Some(next) => query = next.split_once('?').unwrap().1.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, ["1", "2", "3", "4", "5"]);
    }
}
