//! Pages and links of Nova's lists.

use crate::params::Params;
use corten_model::refusal::Refusal;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Display;

/// The most items a page has, whatever `limit` says.
pub const MAX_LIMIT: usize = 1000;

/// The path of the API below the cloud's address.
const PREFIX: &str = "/compute/v2.1";

/// `limit` and `marker` as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub limit: usize,
    pub marker: Option<String>,
}

impl Page {
    pub fn of(params: &Params) -> Result<Self, Refusal> {
        let limit = params.count("limit")?.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
        let marker = params.get("marker").map(str::to_owned);
        Ok(Self { limit, marker })
    }

    /// The items after the marker, at most `limit`. 400 if no item is the marker.
    pub fn cut<T>(&self, items: Vec<T>, id: impl Fn(&T) -> String) -> Result<Vec<T>, Refusal> {
        let start = match &self.marker {
            None => 0,
            Some(marker) => match items.iter().position(|item| id(item) == *marker) {
                Some(index) => index + 1,
                None => return Err(no_marker(marker)),
            },
        };
        Ok(items.into_iter().skip(start).take(self.limit).collect())
    }

    /// The link to the next page: Nova gives one whenever the page is full, even if the next is empty.
    pub fn next(
        &self,
        base: &str,
        path: &str,
        params: &Params,
        count: usize,
        last: Option<String>,
    ) -> Option<Value> {
        if self.limit == 0 || count < self.limit {
            return None;
        }
        let query = params.with(&[("marker", Some(&last?))]);
        Some(json!([{"rel": "next", "href": format!("{base}{PREFIX}/{path}?{query}")}]))
    }
}

/// The 400 for a marker that is not in the list.
pub fn no_marker(marker: &str) -> Refusal {
    Refusal::invalid(format!("marker [{marker}] not found"))
}

/// One of a resource's `links`.
#[derive(Debug, Serialize)]
pub struct Link {
    rel: &'static str,
    href: String,
}

impl Link {
    /// The address without a version.
    pub fn bookmark(base: &str, collection: &str, id: impl Display) -> Self {
        Self {
            rel: "bookmark",
            href: format!("{base}/compute/{collection}/{id}"),
        }
    }
}

/// The `links` of one resource: `self` with the version, `bookmark` without.
pub fn links(base: &str, collection: &str, id: impl Display) -> [Link; 2] {
    let with_version = Link {
        rel: "self",
        href: format!("{base}{PREFIX}/{collection}/{id}"),
    };
    [with_version, Link::bookmark(base, collection, id)]
}

/// Refuses query parameters that a list does not know (Nova does so from 2.75 on).
pub fn only(params: &Params, known: &[&str]) -> Result<(), Refusal> {
    match params
        .0
        .iter()
        .find(|(name, _)| !known.contains(&name.as_str()))
    {
        None => Ok(()),
        Some((name, _)) => Err(Refusal::invalid(format!(
            "Additional properties are not allowed ('{name}' was unexpected): this list takes {}.",
            known.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn a_page_starts_after_its_marker_and_names_the_next() {
        let sent = params(&[("limit", "2"), ("marker", "a"), ("minRam", "1")]);
        let page = Page::of(&sent).unwrap();
        let items = page
            .cut(vec!["a", "b", "c", "d"], |item| (*item).to_owned())
            .unwrap();
        assert_eq!(items, ["b", "c"]);
        let next = page
            .next("http://h", "flavors", &sent, 2, Some("c".to_owned()))
            .unwrap();
        assert_eq!(
            next[0]["href"],
            "http://h/compute/v2.1/flavors?limit=2&minRam=1&marker=c"
        );
        assert!(
            page.next("http://h", "flavors", &sent, 1, Some("d".to_owned()))
                .is_none()
        );
    }

    #[test]
    fn a_wrong_limit_or_marker_is_refused() {
        assert!(Page::of(&params(&[("limit", "-1")])).is_err());
        let page = Page::of(&params(&[("marker", "x")])).unwrap();
        assert!(
            page.cut(vec!["a"], |item| (*item).to_owned())
                .unwrap_err()
                .message
                .contains("marker [x]")
        );
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        let refusal = only(
            &params(&[("limit", "1"), ("colour", "red")]),
            &["limit", "marker"],
        )
        .unwrap_err();
        assert!(refusal.message.contains("'colour' was unexpected"));
    }
}
