//! `/auto-allocated-topology`.

use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::actor::Actor;
use corten_model::ids::ProjectId;
use corten_model::refusal::Refusal;
use corten_operations::network::auto_allocated;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new().route(
        "/auto-allocated-topology/{project_id}",
        get(show).delete(delete),
    )
}

/// What clients write who mean the project of their token.
const OWN: [&str; 2] = ["None", "null"];

fn project(actor: &Actor, text: String) -> Result<ProjectId, Refusal> {
    if !OWN.contains(&text.as_str()) {
        return Ok(ProjectId::from(text));
    }
    let own = actor.project_id().cloned();
    own.ok_or_else(|| {
        Refusal::invalid("Missing project: name one, or use a token that is scoped to it.")
    })
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(text): Path<String>,
) -> Answer<Json<Value>> {
    let project = project(&actor, text)?;
    let id = if params.all("fields").contains(&"dry-run") {
        auto_allocated::check(&app.cx, &actor, &project).await?;
        json!("dry-run=pass")
    } else {
        json!(auto_allocated::get(&app.cx, &actor, &project).await?)
    };
    let view = json!({"id": id, "project_id": project, "tenant_id": project});
    Ok(Json(json!({ "auto_allocated_topology": view })))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(text): Path<String>,
) -> Answer<StatusCode> {
    let project = project(&actor, text)?;
    auto_allocated::delete(&app.cx, &actor, &project).await?;
    Ok(StatusCode::NO_CONTENT)
}
