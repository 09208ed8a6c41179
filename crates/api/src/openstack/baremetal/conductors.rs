//! `/conductors`, and `/shards`.

use super::kit::{date, links};
use super::version::{Since, Version};
use crate::app::App;
use crate::auth::Caller;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_operations::metal::conductor::{self, Conductor};
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/conductors", get(index))
        .route("/conductors/{hostname}", get(show))
        .route("/shards", get(shards))
}

fn view(base: &str, conductor: &Conductor, all: bool) -> Value {
    let Conductor {
        hostname,
        alive,
        drivers,
        created_at,
        updated_at,
    } = conductor;
    let mut view = json!({
        "hostname": hostname,
        "conductor_group": "",
        "alive": alive,
        "links": links(base, &format!("conductors/{hostname}")),
    });
    if all {
        view["drivers"] = json!(drivers);
        view["created_at"] = json!(date(Some(*created_at)));
        view["updated_at"] = json!(date(*updated_at));
    }
    view
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<49>,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    let all = params.truth("detail")?.unwrap_or_default();
    let found = conductor::list(&app.cx, &actor).await?;
    let views: Vec<_> = found
        .iter()
        .map(|conductor| view(&base, conductor, all))
        .collect();
    Ok(Json(json!({ "conductors": views })))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<49>,
    BaseUrl(base): BaseUrl,
    Path(hostname): Path<String>,
) -> Answer<Json<Value>> {
    let found = conductor::show(&app.cx, &actor, &hostname).await?;
    Ok(Json(view(&base, &found, true)))
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
