//! Usage reports: how long each server existed in a span of time, and what it was made of.
//!
//! This is Nova's report ("simple tenant usage"), which counts a server from its launch to its end whatever its state.
//! The bill is another fold of the transition log, by state.

use crate::context::Context;
use corten_iam::action::compute::{USAGE_READ, USAGE_READ_ALL};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{InstanceId, ProjectId};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::instances::Instance;
use corten_store::{Failure, Query, Tx};
use std::collections::BTreeMap;

/// A span of time: from `start`, up to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Span {
    pub fn new(start: Timestamp, end: Timestamp) -> Result<Self, Refusal> {
        if start > end {
            return Err(Refusal::invalid(
                "Invalid start time. The start time cannot occur after the end time.",
            ));
        }
        Ok(Self { start, end })
    }
}

/// One server's part in a report.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerUsage {
    pub instance_id: InstanceId,
    pub project_id: ProjectId,
    pub name: String,
    pub flavor: String,
    pub vcpus: i64,
    pub memory_mib: i64,
    pub disk_gib: i64,
    pub launched_at: Timestamp,
    pub terminated_at: Option<Timestamp>,
    /// `vm_state`, or `terminated`.
    pub state: &'static str,
    /// Hours inside the span.
    pub hours: f64,
    /// Seconds from launch until the end, or until now.
    pub uptime_secs: u64,
}

/// The sums over some servers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    pub hours: f64,
    pub vcpu_hours: f64,
    pub memory_mib_hours: f64,
    pub disk_gib_hours: f64,
}

impl Totals {
    pub fn of(servers: &[ServerUsage]) -> Self {
        servers.iter().fold(Self::default(), |sum, server| Self {
            hours: sum.hours + server.hours,
            vcpu_hours: sum.vcpu_hours + server.hours * server.vcpus as f64,
            memory_mib_hours: sum.memory_mib_hours + server.hours * server.memory_mib as f64,
            disk_gib_hours: sum.disk_gib_hours + server.hours * server.disk_gib as f64,
        })
    }
}

/// Where a page of a report starts and how long it is: servers, not projects, are counted.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub marker: Option<String>,
    pub limit: Option<usize>,
}

/// The servers of one project that existed in the span, oldest first.
pub async fn of_project(
    cx: &Context,
    actor: &Actor,
    project: &ProjectId,
    span: Span,
    page: &Page,
) -> Result<Vec<ServerUsage>, Failure> {
    cx.policy
        .check(actor, USAGE_READ, &Target::project(project))?;
    report(cx, Some(project), span, page).await
}

/// The servers of every project that existed in the span, by project; and the last server of the page.
pub async fn of_all(
    cx: &Context,
    actor: &Actor,
    span: Span,
    page: &Page,
) -> Result<(BTreeMap<ProjectId, Vec<ServerUsage>>, Option<InstanceId>), Failure> {
    cx.policy.check(actor, USAGE_READ_ALL, &Target::cloud())?;
    let servers = report(cx, None, span, page).await?;
    let last = servers.last().map(|server| server.instance_id);
    let mut projects: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for server in servers {
        projects
            .entry(server.project_id.clone())
            .or_default()
            .push(server);
    }
    Ok((projects, last))
}

async fn report(
    cx: &Context,
    project: Option<&ProjectId>,
    span: Span,
    page: &Page,
) -> Result<Vec<ServerUsage>, Failure> {
    let instances = in_span(&mut cx.store.read().await?, project, span).await?;
    let start = match &page.marker {
        None => 0,
        Some(marker) => {
            let index = instances
                .iter()
                .position(|instance| instance.id.to_string() == *marker);
            index.ok_or_else(|| Refusal::invalid(format!("marker [{marker}] not found")))? + 1
        }
    };
    let now = cx.now();
    let rest = instances
        .into_iter()
        .skip(start)
        .take(page.limit.unwrap_or(usize::MAX));
    Ok(rest
        .filter_map(|instance| server_usage(&instance, span, now))
        .collect())
}

/// The instances that were launched before the span's end and not gone before its start.
async fn in_span(
    tx: &mut Tx,
    project: Option<&ProjectId>,
    span: Span,
) -> Result<Vec<Instance>, Failure> {
    let launched = || {
        let query = Query::<Instance>::new()
            .at_least("launched_at", 1)
            .at_most("launched_at", span.end);
        match project {
            Some(project) => query.equals("project_id", project),
            None => query,
        }
    };
    let mut found = launched().equals("deleted", false).all(tx).await?;
    found.extend(
        launched()
            .equals("deleted", true)
            .at_least("terminated_at", span.start)
            .all(tx)
            .await?,
    );
    found.sort_by_key(|instance| (instance.created_at, instance.id));
    Ok(found)
}

fn server_usage(instance: &Instance, span: Span, now: Timestamp) -> Option<ServerUsage> {
    let launched_at = instance.launched_at?;
    let flavor = &instance.intent.flavor;
    Some(ServerUsage {
        instance_id: instance.id,
        project_id: instance.project_id.clone(),
        name: instance.intent.name.clone(),
        flavor: flavor.name.clone(),
        vcpus: flavor.vcpus,
        memory_mib: flavor.memory_mib,
        disk_gib: flavor.root_gib + flavor.ephemeral_gib,
        launched_at,
        terminated_at: instance.terminated_at,
        state: if instance.terminated_at.is_some() {
            "terminated"
        } else {
            instance.state.vm.as_str()
        },
        hours: hours(launched_at, instance.terminated_at, span),
        uptime_secs: instance
            .terminated_at
            .unwrap_or(now)
            .since(launched_at)
            .as_secs(),
    })
}

/// How much of the span, in hours, lies between launch and end.
fn hours(launched_at: Timestamp, terminated_at: Option<Timestamp>, span: Span) -> f64 {
    let from = launched_at.max(span.start);
    let until = terminated_at.map_or(span.end, |moment| moment.min(span.end));
    until.since(from).as_secs_f64() / 3600.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn at(hour: i64) -> Timestamp {
        Timestamp(hour * HOUR)
    }

    #[test]
    fn only_what_lies_in_the_span_is_counted() {
        let span = Span::new(at(10), at(20)).unwrap();
        assert_eq!(hours(at(5), None, span), 10.0);
        assert_eq!(hours(at(12), None, span), 8.0);
        assert_eq!(hours(at(12), Some(at(14)), span), 2.0);
        assert_eq!(hours(at(5), Some(at(8)), span), 0.0);
        assert_eq!(hours(at(5), Some(at(30)), span), 10.0);
        assert_eq!(hours(at(25), None, span), 0.0);
    }

    #[test]
    fn a_span_does_not_end_before_it_starts() {
        assert!(Span::new(at(2), at(1)).is_err());
        assert!(Span::new(at(1), at(1)).is_ok());
    }

    #[test]
    fn totals_weigh_hours_with_size() {
        let server = |hours, vcpus| ServerUsage {
            instance_id: InstanceId::random(),
            project_id: ProjectId::from("p"),
            name: "s".to_owned(),
            flavor: "m1.tiny".to_owned(),
            vcpus,
            memory_mib: 64,
            disk_gib: 2,
            launched_at: at(0),
            terminated_at: None,
            state: "active",
            hours,
            uptime_secs: 0,
        };
        let totals = Totals::of(&[server(1.0, 1), server(0.5, 4)]);
        assert_eq!(
            totals,
            Totals {
                hours: 1.5,
                vcpu_hours: 3.0,
                memory_mib_hours: 96.0,
                disk_gib_hours: 3.0
            }
        );
    }
}
