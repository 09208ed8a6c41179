//! `/limits`: a project's quota and what it has of it, in the words clients show to people.

use super::microversion::Microversion;
use super::paging::only;
use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::ProjectId;
use corten_operations::quota::{self, Report};
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new().route("/limits", get(index))
}

/// Name in the answer, quota, and the last version that shows it (0: all).
const MAXIMA: [(&str, &str, u16); 13] = [
    ("maxTotalRAMSize", "ram", 0),
    ("maxTotalInstances", "instances", 0),
    ("maxTotalCores", "cores", 0),
    ("maxTotalKeypairs", "key_pairs", 0),
    ("maxServerMeta", "metadata_items", 0),
    ("maxServerGroups", "server_groups", 0),
    ("maxServerGroupMembers", "server_group_members", 0),
    ("maxImageMeta", "metadata_items", 38),
    ("maxPersonality", "injected_files", 56),
    ("maxPersonalitySize", "injected_file_content_bytes", 56),
    ("maxTotalFloatingIps", "floating_ips", 35),
    ("maxSecurityGroups", "security_groups", 35),
    ("maxSecurityGroupRules", "security_group_rules", 35),
];

const USED: [(&str, &str, u16); 6] = [
    ("totalRAMUsed", "ram", 0),
    ("totalCoresUsed", "cores", 0),
    ("totalInstancesUsed", "instances", 0),
    ("totalServerGroupsUsed", "server_groups", 0),
    ("totalFloatingIpsUsed", "floating_ips", 35),
    ("totalSecurityGroupsUsed", "security_groups", 35),
];

fn absolute(report: &Report, mv: Microversion) -> Map<String, Value> {
    let shown = |until: u16| until == 0 || !mv.at_least(until + 1);
    let maxima = MAXIMA
        .iter()
        .filter(|(.., until)| shown(*until))
        .filter_map(|(name, quota, _)| {
            report
                .limits
                .get(*quota)
                .map(|limit| ((*name).to_owned(), json!(limit)))
        });
    let used = USED
        .iter()
        .filter(|(.., until)| shown(*until))
        .map(|(name, quota, _)| {
            (
                (*name).to_owned(),
                json!(report.used.get(*quota).copied().unwrap_or(0)),
            )
        });
    maxima.chain(used).collect()
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
) -> Answer<Json<Value>> {
    if mv.at_least(75) {
        only(&params, &["reserved", "tenant_id"])?;
    }
    let other = params.get("tenant_id").map(ProjectId::from);
    let report = quota::for_limits(&app.cx, &actor, other.as_ref()).await?;
    Ok(Json(
        json!({"limits": {"rate": [], "absolute": absolute(&report, mv)}}),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn limits_shrink_with_microversions() {
        let limits = MAXIMA
            .iter()
            .map(|(_, quota, _)| ((*quota).to_owned(), 5))
            .collect();
        let report = Report {
            limits,
            used: BTreeMap::from([("cores".to_owned(), 3)]),
        };
        let count = |minor| absolute(&report, Microversion::of(minor)).len();
        assert_eq!(
            [count(35), count(36), count(39), count(57)],
            [19, 14, 13, 11]
        );
        let newest = absolute(&report, Microversion::MAX);
        assert_eq!(
            (&newest["totalCoresUsed"], &newest["maxTotalCores"]),
            (&json!(3), &json!(5))
        );
    }
}
