//! `/conductors`, and `/shards`.

use super::kit::{chosen, date, direction, limit, links, named_fields, no_sort_key};
use super::version::{Since, Version};
use crate::app::App;
use crate::auth::Caller;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::metal::conductor::{self, Conductor};
use corten_store::record::Direction;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/conductors", get(index))
        .route("/conductors/{hostname}", get(show))
        .route("/shards", get(shards))
}

/// What the list shows unless it is asked for more.
const BRIEF: &[&str] = &["hostname", "conductor_group", "alive"];

/// All that can be said of it.
fn view(base: &str, group: &str, conductor: &Conductor) -> Value {
    let Conductor {
        hostname,
        alive,
        drivers,
        created_at,
        updated_at,
    } = conductor;
    json!({
        "hostname": hostname,
        "conductor_group": group,
        "alive": alive,
        "drivers": drivers,
        "created_at": date(Some(*created_at)),
        "updated_at": date(*updated_at),
        "links": links(base, &format!("conductors/{hostname}")),
    })
}

/// Attributes that the list can be sorted by.
const SORT_KEYS: &[&str] = &["hostname", "conductor_group", "created_at", "updated_at"];

/// Sorts views, which come by their host names.
fn sort(params: &Params, views: &mut [Value]) -> Result<(), Refusal> {
    let key = match params.get("sort_key") {
        None | Some("id") => "hostname",
        Some(key) => key,
    };
    if !SORT_KEYS.contains(&key) {
        return Err(no_sort_key(key, SORT_KEYS.iter().copied()));
    }
    views.sort_by_cached_key(|view| view[key].as_str().unwrap_or_default().to_owned());
    if direction(params)? == Direction::Descending {
        views.reverse();
    }
    Ok(())
}

/// The place behind a marker, the name of a host.
fn after(views: &[Value], marker: &str) -> Result<usize, Refusal> {
    let place = views.iter().position(|view| view["hostname"] == marker);
    place
        .map(|place| place + 1)
        .ok_or_else(|| Refusal::not_found(format!("Conductor {marker} could not be found.")))
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<49>,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    let detail = params.truth("detail")?.unwrap_or_default();
    let fields = named_fields(&params);
    if fields.is_some() && detail {
        return Err(Refusal::invalid(
            "Can not specify ?detail=True and fields in the same request.",
        )
        .into());
    }
    let limit = limit(&params)?;
    let found = conductor::list(&app.cx, &actor).await?;
    let group = conductor::group(&app.cx);
    let mut views: Vec<_> = found
        .iter()
        .map(|conductor| view(&base, group, conductor))
        .collect();
    sort(&params, &mut views)?;
    let begin = match params.get("marker") {
        None => 0,
        Some(marker) => after(&views, marker)?,
    };
    let end = views.len().min(begin + limit);
    let next = (end < views.len()).then(|| {
        let query = params.with(&[("marker", views[end - 1]["hostname"].as_str())]);
        format!("{base}/baremetal/v1/conductors?{query}")
    });
    let brief: Vec<String> = BRIEF.iter().map(|field| (*field).to_owned()).collect();
    let fields = match fields {
        None if !detail => Some(brief),
        fields => fields,
    };
    let page = views
        .into_iter()
        .skip(begin)
        .take(limit)
        .map(|view| chosen(view, fields.as_deref(), "conductor"))
        .collect::<Result<Vec<_>, _>>()?;
    let mut answer = json!({ "conductors": page });
    if let Some(next) = next {
        answer["next"] = next.into();
    }
    Ok(Json(answer))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<49>,
    BaseUrl(base): BaseUrl,
    params: Params,
    Path(hostname): Path<String>,
) -> Answer<Json<Value>> {
    let found = conductor::show(&app.cx, &actor, &hostname).await?;
    let fields = named_fields(&params);
    Ok(Json(chosen(
        view(&base, conductor::group(&app.cx), &found),
        fields.as_deref(),
        "conductor",
    )?))
}

async fn shards(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<82>,
    _: Version,
) -> Answer<Json<Value>> {
    let found = conductor::shards(&app.cx, &actor).await?;
    let views: Vec<_> = found
        .into_iter()
        .map(|(name, count)| json!({"name": name, "count": count}))
        .collect();
    Ok(Json(json!({ "shards": views })))
}
