//! `/os-simple-tenant-usage`: what projects used, by server.

use super::microversion::Microversion;
use super::paging::{MAX_LIMIT, Page, only};
use crate::app::App;
use crate::auth::Caller;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::ProjectId;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::usage::{self, ServerUsage, Span, Totals};
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/os-simple-tenant-usage", get(index))
        .route("/os-simple-tenant-usage/{project}", get(show))
}

/// What a report is asked for.
struct Asked {
    span: Span,
    page: Page,
    detailed: bool,
}

impl Asked {
    fn of(params: &Params, mv: Microversion, now: Timestamp) -> Result<Self, Refusal> {
        if mv.at_least(75) {
            only(params, &["start", "end", "detailed", "limit", "marker"])?;
        }
        let first = |name: &str| {
            params
                .0
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        let start = moment(first("start"), now)?;
        let end = moment(first("end"), now)?;
        if start >= end && first("start").is_some() {
            return Err(Refusal::invalid(
                "Invalid start time. The start time cannot occur after the end time.",
            ));
        }
        let page = if mv.at_least(40) {
            Page::of(params)?
        } else {
            Page {
                limit: MAX_LIMIT,
                marker: None,
            }
        };
        Ok(Self {
            span: Span::new(start, end.min(now).max(start))?,
            page,
            detailed: first("detailed") == Some("1"),
        })
    }

    fn servers(&self) -> usage::Page {
        usage::Page {
            marker: self.page.marker.clone(),
            limit: Some(self.page.limit),
        }
    }
}

/// `2026-11-20T12:00:00`, with or without a fraction; no zone, which means UTC. Nothing means now.
fn moment(text: Option<&str>, now: Timestamp) -> Result<Timestamp, Refusal> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(now);
    };
    let has_form = text.len() >= 19
        && matches!(text.as_bytes()[10], b'T' | b' ')
        && !text.ends_with('Z')
        && !text.contains('+');
    let parsed = if has_form {
        Timestamp::parse_iso8601(text)
    } else {
        None
    };
    parsed.ok_or_else(|| {
        Refusal::invalid(format!(
            "Invalid time '{text}': Datetime is in invalid format"
        ))
    })
}

fn server(usage: &ServerUsage) -> Value {
    let ServerUsage {
        instance_id,
        project_id,
        name,
        flavor,
        vcpus,
        memory_mib,
        disk_gib,
        launched_at,
        terminated_at,
        state,
        hours,
        uptime_secs,
    } = usage;
    json!({
        "instance_id": instance_id,
        "tenant_id": project_id,
        "name": name,
        "flavor": flavor,
        "vcpus": vcpus,
        "memory_mb": memory_mib,
        "local_gb": disk_gib,
        "started_at": launched_at.micros_bare(),
        "ended_at": terminated_at.map(|moment| moment.micros_bare()),
        "state": state,
        "hours": hours,
        "uptime": uptime_secs,
    })
}

fn project(id: &ProjectId, servers: &[ServerUsage], span: Span, detailed: bool) -> Value {
    let Totals {
        hours,
        vcpu_hours,
        memory_mib_hours,
        disk_gib_hours,
    } = Totals::of(servers);
    let mut view = json!({
        "tenant_id": id,
        "start": span.start.micros_bare(),
        "stop": span.end.micros_bare(),
        "total_hours": hours,
        "total_vcpus_usage": vcpu_hours,
        "total_memory_mb_usage": memory_mib_hours,
        "total_local_gb_usage": disk_gib_hours,
    });
    if detailed {
        view["server_usages"] = servers.iter().map(server).collect();
    }
    view
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    let asked = Asked::of(&params, mv, app.cx.now())?;
    let (projects, last) = usage::of_all(&app.cx, &actor, asked.span, &asked.servers()).await?;
    let count = projects.values().map(Vec::len).sum();
    let views: Vec<_> = projects
        .iter()
        .map(|(id, servers)| project(id, servers, asked.span, asked.detailed))
        .collect();
    let mut body = json!({"tenant_usages": views});
    let last = last.map(|id| id.to_string());
    if mv.at_least(40)
        && let Some(next) = asked
            .page
            .next(&base.0, "os-simple-tenant-usage", &params, count, last)
    {
        body["tenant_usages_links"] = next;
    }
    Ok(Json(body))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    base: BaseUrl,
    params: Params,
    Path(id): Path<ProjectId>,
) -> Answer<Json<Value>> {
    let asked = Asked::of(&params, mv, app.cx.now())?;
    let servers = usage::of_project(&app.cx, &actor, &id, asked.span, &asked.servers()).await?;
    // A project without servers has an empty report, not one full of zeros.
    let view = if servers.is_empty() {
        json!({})
    } else {
        project(&id, &servers, asked.span, true)
    };
    let mut body = json!({"tenant_usage": view});
    let path = format!("os-simple-tenant-usage/{id}");
    let last = servers.last().map(|server| server.instance_id.to_string());
    if mv.at_least(40)
        && let Some(next) = asked
            .page
            .next(&base.0, &path, &params, servers.len(), last)
    {
        body["tenant_usage_links"] = next;
    }
    Ok(Json(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_no_zone_and_default_to_now() {
        let now = Timestamp(7);
        assert_eq!(moment(None, now), Ok(now));
        assert_eq!(
            moment(Some("1970-01-01T00:00:01"), now),
            Ok(Timestamp(1_000_000))
        );
        assert_eq!(
            moment(Some("1970-01-01T00:00:01.500000"), now),
            Ok(Timestamp(1_500_000))
        );
        assert_eq!(
            moment(Some("1970-01-01 00:00:01.5"), now),
            Ok(Timestamp(1_500_000))
        );
        for wrong in [
            "yesterday",
            "1970-01-01",
            "1970-01-01T00:00:01Z",
            "1970-01-01T00:00:01+00:00",
        ] {
            assert!(moment(Some(wrong), now).is_err(), "{wrong}");
        }
    }
}
