//! `/os-migrations`: the changes of flavor that were asked for, and how each went.

use super::microversion::Microversion;
use super::paging::{Page, only};
use crate::app::App;
use crate::auth::Caller;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::instance::migrations::{self, Course, Filter};
use corten_store::migrations::Migration;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new().route("/os-migrations", get(index))
}

const FILTERS: [&str; 6] = [
    "hidden",
    "host",
    "instance_uuid",
    "source_compute",
    "status",
    "migration_type",
];

/// Checks the query as this version knows it.
fn check(params: &Params, mv: Microversion) -> Result<(), Refusal> {
    if !mv.at_least(59) {
        return Ok(());
    }
    let mut known = FILTERS.to_vec();
    known.extend(["limit", "marker", "changes-since"]);
    if mv.at_least(66) {
        known.push("changes-before");
    }
    if mv.at_least(80) {
        known.extend(["user_id", "project_id"]);
    }
    only(params, &known)
}

fn moment(params: &Params, name: &str) -> Result<Option<Timestamp>, Refusal> {
    match params.get(name) {
        None => Ok(None),
        Some(text) => Timestamp::parse_iso8601(text).map(Some).ok_or_else(|| {
            Refusal::invalid(format!(
                "Invalid input for query parameters {name}. Value: {text}. '{text}' is not a 'date-time'"
            ))
        }),
    }
}

/// `None` where nothing can match.
fn filter(params: &Params, mv: Microversion) -> Result<Option<Filter>, Refusal> {
    let text = |name: &str| params.get(name).map(str::to_owned);
    // No migration is ever hidden.
    if params.truth("hidden")? == Some(true) {
        return Ok(None);
    }
    let (host, source) = (text("host"), text("source_compute"));
    // A change of flavor stays on its host, so both name the same.
    if let (Some(host), Some(source)) = (&host, &source)
        && host != source
    {
        return Ok(None);
    }
    let (changed_since, changed_before) = match mv.at_least(59) {
        false => (None, None),
        true => (
            moment(params, "changes-since")?,
            moment(params, "changes-before")?,
        ),
    };
    if let (Some(since), Some(before)) = (changed_since, changed_before)
        && before < since
    {
        return Err(Refusal::invalid(
            "The value of changes-since must be less than or equal to changes-before.",
        ));
    }
    Ok(Some(Filter {
        instance_id: text("instance_uuid"),
        host: host.or(source),
        kind: text("migration_type"),
        user_id: text("user_id"),
        project_id: text("project_id"),
        status: text("status"),
        changed_since,
        changed_before,
    }))
}

fn view((migration, course): &(Migration, Course), mv: Microversion) -> Value {
    let Migration {
        id,
        number,
        kind,
        instance_id,
        project_id,
        user_id,
        host,
        old_flavor,
        new_flavor,
        created_at,
    } = migration;
    let mut body = json!({
        "id": number,
        "instance_uuid": instance_id,
        "source_compute": host,
        "source_node": host,
        "dest_compute": host,
        "dest_node": host,
        "dest_host": host,
        "old_instance_type_id": old_flavor,
        "new_instance_type_id": new_flavor,
        "status": course.status,
        "created_at": created_at.micros_bare(),
        "updated_at": course.updated_at.micros_bare(),
    });
    if mv.at_least(23) {
        body["migration_type"] = json!(kind);
    }
    if mv.at_least(59) {
        body["uuid"] = json!(id);
    }
    if mv.at_least(80) {
        body["user_id"] = json!(user_id);
        body["project_id"] = json!(project_id);
    }
    body
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    check(&params, mv)?;
    let page = match mv.at_least(59) {
        true => Page::of(&params)?,
        false => Page {
            limit: usize::MAX,
            marker: None,
        },
    };
    let filter = filter(&params, mv)?;
    let limit = filter.as_ref().map_or(0, |_| page.limit);
    let marker = page.marker.as_deref();
    let found =
        migrations::list(&app.cx, &actor, &filter.unwrap_or_default(), marker, limit).await?;
    let shown: Vec<_> = found.iter().map(|one| view(one, mv)).collect();
    let mut body = json!({"migrations": shown});
    let last = found.last().map(|(migration, _)| migration.id.to_string());
    if mv.at_least(59)
        && let Some(links) = page.next(&base, "os-migrations", &params, found.len(), last)
    {
        body["migrations_links"] = links;
    }
    Ok(Json(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_model::ids::{InstanceId, OperationId, ProjectId, UserId};

    fn with(name: &str, value: &str) -> Params {
        Params(vec![(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn the_query_grows_with_microversions() {
        assert!(check(&with("colour", "red"), Microversion::of(58)).is_ok());
        assert!(check(&with("colour", "red"), Microversion::of(59)).is_err());
        assert!(check(&with("user_id", "u"), Microversion::of(79)).is_err());
        assert!(check(&with("user_id", "u"), Microversion::of(80)).is_ok());
        assert!(filter(&with("changes-since", "soon"), Microversion::MAX).is_err());
        assert!(filter(&with("changes-since", "soon"), Microversion::of(58)).is_ok());
    }

    #[test]
    fn what_nothing_can_match_lists_nothing() {
        let nothing = |params: Params| filter(&params, Microversion::MAX).unwrap().is_none();
        assert!(nothing(with("hidden", "true")));
        assert!(!nothing(with("hidden", "false")));
        let mut hosts = with("host", "a");
        hosts.0.push(("source_compute".to_owned(), "b".to_owned()));
        assert!(nothing(hosts));
    }

    #[test]
    fn fields_come_with_their_microversions() {
        let migration = Migration {
            id: OperationId::random(),
            number: 3,
            kind: "resize".to_owned(),
            instance_id: InstanceId::random(),
            project_id: ProjectId::from("p"),
            user_id: UserId::from("u"),
            host: "h".to_owned(),
            old_flavor: Some(1),
            new_flavor: Some(2),
            created_at: Timestamp(0),
        };
        let course = Course {
            status: "finished",
            updated_at: Timestamp(1),
        };
        let seen = (migration, course);
        let fields = |minor: u16| {
            let body = view(&seen, Microversion::of(minor));
            ["migration_type", "uuid", "user_id", "project_id"].map(|name| body.get(name).is_some())
        };
        assert_eq!(fields(22), [false, false, false, false]);
        assert_eq!(fields(23), [true, false, false, false]);
        assert_eq!(fields(59), [true, true, false, false]);
        assert_eq!(fields(80), [true, true, true, true]);
        let body = view(&seen, Microversion::of(1));
        assert_eq!(body["id"], 3);
        assert_eq!(body["status"], "finished");
        assert_eq!(body["updated_at"], "1970-01-01T00:00:00.000001");
    }
}
