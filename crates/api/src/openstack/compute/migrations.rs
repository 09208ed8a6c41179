//! `/os-migrations`: servers that moved between hosts. None does yet, so the list is empty.

use super::microversion::Microversion;
use super::paging::{Page, no_marker, only};
use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::host;
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
    only(params, &known)?;
    let moment = |name: &str| {
        match params.get(name) {
        None => Ok(None),
        Some(text) => Timestamp::parse_iso8601(text).map(Some).ok_or_else(|| {
            Refusal::invalid(format!("Invalid input for query parameters {name}. Value: {text}. '{text}' is not a 'date-time'"))
        }),
    }
    };
    if let (Some(since), Some(before)) = (moment("changes-since")?, moment("changes-before")?)
        && before < since
    {
        return Err(Refusal::invalid(
            "The value of changes-since must be less than or equal to changes-before.",
        ));
    }
    match Page::of(params)?.marker {
        Some(marker) => Err(no_marker(&marker)),
        None => Ok(()),
    }
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
) -> Answer<Json<Value>> {
    check(&params, mv)?;
    host::check_readable(&app.cx, &actor)?;
    Ok(Json(json!({"migrations": []})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_grows_with_microversions() {
        let with = |name: &str, value: &str| Params(vec![(name.to_owned(), value.to_owned())]);
        assert!(check(&with("colour", "red"), Microversion::of(58)).is_ok());
        assert!(check(&with("colour", "red"), Microversion::of(59)).is_err());
        assert!(check(&with("user_id", "u"), Microversion::of(79)).is_err());
        assert!(check(&with("user_id", "u"), Microversion::of(80)).is_ok());
        assert!(check(&with("changes-since", "soon"), Microversion::MAX).is_err());
        assert!(check(&with("marker", "x"), Microversion::MAX).is_err());
    }
}
