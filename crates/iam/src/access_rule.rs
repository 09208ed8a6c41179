//! Access rules: which requests an application credential may make.

use crate::validate::Visit;
use corten_store::identity::access_rule::AccessRule;

/// The first segment of the path names the service; most catalog types are the same word.
fn service_of(segment: &str) -> &str {
    match segment {
        "volume" => "block-storage",
        other => other,
    }
}

/// Whether a rule allows a request.
pub fn allows(rule: &AccessRule, visit: Visit<'_>) -> bool {
    let path = visit.path.trim_start_matches('/');
    let (prefix, rest) = path.split_once('/').unwrap_or((path, ""));
    rule.service == service_of(prefix)
        && rule.method.eq_ignore_ascii_case(visit.method)
        && path_matches(&segments(&rule.path), &segments(rest))
}

fn segments(path: &str) -> Vec<&str> {
    path.trim_matches('/').split('/').collect()
}

/// `*` and `{name}` stand for one segment, `**` for any number of them.
fn path_matches(pattern: &[&str], path: &[&str]) -> bool {
    // reached[n]: the pattern so far matches the first n segments. Linear in both, whatever the pattern.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; path.len() + 1];
        let wild = *part == "*" || (part.starts_with('{') && part.ends_with('}'));
        for count in 0..=path.len() {
            next[count] = match (*part, count.checked_sub(1)) {
                ("**", None) => reached[0],
                ("**", Some(before)) => reached[count] || next[before],
                (_, None) => false,
                (part, Some(before)) => {
                    reached[before] && ((wild && !path[before].is_empty()) || part == path[before])
                }
            };
        }
        reached = next;
    }
    reached[path.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_model::ids::UserId;

    fn allowed(service: &str, method: &str, pattern: &str, request: (&str, &str)) -> bool {
        let rule = AccessRule {
            id: "1".to_owned(),
            user_id: UserId::from("u"),
            service: service.to_owned(),
            method: method.to_owned(),
            path: pattern.to_owned(),
        };
        allows(
            &rule,
            Visit {
                method: request.0,
                path: request.1,
            },
        )
    }

    #[test]
    fn a_rule_allows_its_service_method_and_path_only() {
        let pattern = "/v2.1/servers/*/ips";
        assert!(allowed(
            "compute",
            "GET",
            pattern,
            ("GET", "/compute/v2.1/servers/7/ips")
        ));
        assert!(allowed(
            "compute",
            "GET",
            pattern,
            ("GET", "/compute/v2.1/servers/7/ips/")
        ));
        assert!(!allowed(
            "compute",
            "GET",
            pattern,
            ("POST", "/compute/v2.1/servers/7/ips")
        ));
        assert!(!allowed(
            "image",
            "GET",
            pattern,
            ("GET", "/compute/v2.1/servers/7/ips")
        ));
        assert!(!allowed(
            "compute",
            "GET",
            pattern,
            ("GET", "/compute/v2.1/servers/7/8/ips")
        ));
        assert!(!allowed(
            "compute",
            "GET",
            pattern,
            ("GET", "/compute/v2.1/servers")
        ));
        assert!(allowed(
            "compute",
            "GET",
            "/v2.1/servers/{server_id}",
            ("GET", "/compute/v2.1/servers/7")
        ));
        assert!(allowed(
            "compute",
            "GET",
            "/v2.1/**",
            ("GET", "/compute/v2.1/servers/7/8/ips")
        ));
        assert!(!allowed(
            "compute",
            "GET",
            "/v2.1/**",
            ("GET", "/compute/v2/servers")
        ));
        assert!(allowed(
            "block-storage",
            "GET",
            "/v3/**",
            ("GET", "/volume/v3/x")
        ));
    }
}
