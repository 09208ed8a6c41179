//! `/os-quota-class-sets`: the class `default` is what every project starts from.

use super::microversion::Microversion;
use super::quotas::{self, in_classes, shown};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::quota;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new().route("/os-quota-class-sets/{class}", get(show).put(update))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(class): Path<String>,
) -> Answer<Json<Value>> {
    let limits = quota::show_class(&app.cx, &actor, &class).await?;
    let mut view = shown(&limits, |name| in_classes(mv, name));
    view.insert("id".to_owned(), json!(class));
    Ok(Json(json!({"quota_class_set": view})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    quota_class_set: quotas::SentLimits,
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(class): Path<String>,
    Body(body): Body<UpdateBody>,
) -> Answer<Json<Value>> {
    // Classes always took the quotas of server groups, though they showed them only from 2.50 on.
    let takes = |name: &str| in_classes(mv, name) || !mv.at_least(50);
    let (changes, force) = body
        .quota_class_set
        .checked(&quota::known(&app.cx), takes)?;
    if force {
        return Err(Refusal::invalid(
            "Additional properties are not allowed ('force' was unexpected)",
        )
        .into());
    }
    let limits = quota::set_class(&app.cx, &actor, &class, changes).await?;
    Ok(Json(
        json!({"quota_class_set": shown(&limits, |name| in_classes(mv, name))}),
    ))
}
