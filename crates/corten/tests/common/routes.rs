//! Every route that the API serves, read off the router itself, so that none can be forgotten.
//!
//! Each test file uses a part of what is here.
#![allow(dead_code)]

use reqwest::Method;
use std::collections::{BTreeMap, BTreeSet};

/// A path with its parameters in braces, and a method that it takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub path: String,
    pub method: String,
}

impl Route {
    pub fn method(&self) -> Method {
        self.method.parse().unwrap()
    }

    /// The path with each parameter replaced.
    pub fn filled(&self, mut value: impl FnMut(&str) -> String) -> String {
        let fill = |segment: &str| match segment
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'))
        {
            Some(name) => value(name.trim_start_matches('*')),
            None => segment.to_owned(),
        };
        self.path.split('/').map(fill).collect::<Vec<_>>().join("/")
    }

    /// Is this the path of a request to this route? Says how many segments are parameters.
    fn parameters_for(&self, path: &str) -> Option<usize> {
        let (mine, given): (Vec<_>, Vec<_>) =
            (self.path.split('/').collect(), path.split('/').collect());
        if mine.len() != given.len() {
            return None;
        }
        let mut parameters = 0;
        for (mine, given) in mine.into_iter().zip(given) {
            if mine.starts_with('{') && !given.is_empty() {
                parameters += 1;
            } else if mine != given {
                return None;
            }
        }
        Some(parameters)
    }
}

/// The router has no list of its routes to ask for, but it shows them when it is printed for debugging.
pub fn all() -> BTreeSet<Route> {
    let shown = format!("{:?}", corten_api::routes());
    let (shown, _) = shown
        .split_once("fallback_router:")
        .expect("the routes before what answers where there is none");
    let mut paths = BTreeMap::new();
    let mut methods = BTreeMap::new();
    for part in shown.split("RouteId(").skip(1) {
        let Some((id, rest)) = part.split_once("): ") else {
            continue;
        };
        if let Some(path) = between(rest, "\"", "\"").filter(|_| rest.starts_with('"')) {
            paths.insert(id, path);
        } else if rest.starts_with("MethodRouter(") {
            methods.insert(
                id,
                between(rest, "allow_header: Bytes(b\"", "\")").expect("the methods of a route"),
            );
        }
    }
    let mut routes = BTreeSet::new();
    // A trailing slash is cut off before the router sees it.
    for (id, path) in paths
        .into_iter()
        .filter(|(_, path)| *path == "/" || !path.ends_with('/'))
    {
        // HEAD is what GET is, without the body.
        for method in methods[id].split(',').filter(|method| *method != "HEAD") {
            routes.insert(Route {
                path: path.to_owned(),
                method: method.to_owned(),
            });
        }
    }
    assert!(
        routes.len() > 300,
        "only {} routes were found: has the router's debugging form changed?",
        routes.len()
    );
    routes
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}

/// The route that serves a request: the one with the fewest parameters.
pub fn serving<'a>(routes: &'a BTreeSet<Route>, method: &str, path: &str) -> Option<&'a Route> {
    let path = path.split('?').next().unwrap_or_default();
    let fitting = routes.iter().filter(|route| route.method == method);
    fitting
        .filter_map(|route| Some((route.parameters_for(path)?, route)))
        .min_by_key(|(count, _)| *count)
        .map(|(_, route)| route)
}
