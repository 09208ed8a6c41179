//! Tasks: `/v2/tasks` for administrators, `/v2/images/{id}/tasks` for everybody who sees the image.

use super::{image_id, images, query};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::OperationId;
use corten_model::refusal::Refusal;
use corten_operations::image::tasks::{self, Task, TaskStatus};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How long Glance shows a task that has ended. Operations are kept longer.
const SHOWN_FOR: Duration = Duration::from_secs(48 * 3600);

pub fn routes() -> Router<App> {
    Router::new()
        .route("/images/{id}/tasks", get(of_image))
        .route("/tasks", get(list).post(create))
        .route("/tasks/{id}", get(show).delete(delete))
}

fn stub(task: &Task) -> Map<String, Value> {
    let mut view = Map::new();
    for (name, value) in [
        ("id", json!(task.id)),
        ("type", json!(task.kind.as_str())),
        ("status", json!(task.status.as_str())),
        ("owner", json!(task.owner)),
        ("created_at", json!(task.created_at.seconds_z())),
        ("updated_at", json!(task.updated_at.seconds_z())),
        ("self", json!(format!("/v2/tasks/{}", task.id))),
        ("schema", json!("/v2/schemas/task")),
    ] {
        view.insert(name.to_owned(), value);
    }
    if matches!(task.status, TaskStatus::Success | TaskStatus::Failure) {
        let expires_at = task.updated_at.plus(SHOWN_FOR).seconds_z();
        view.insert("expires_at".to_owned(), json!(expires_at));
    }
    view
}

fn render(task: &Task) -> Value {
    let mut view = stub(task);
    let result = match task.status {
        TaskStatus::Success => json!({"image_id": task.image_id}),
        TaskStatus::Pending | TaskStatus::Processing | TaskStatus::Failure => Value::Null,
    };
    for (name, value) in [
        ("input", task.input.clone()),
        ("result", result),
        ("message", json!(task.message)),
        ("image_id", json!(task.image_id)),
        ("user_id", json!(task.user_id)),
        ("request_id", json!(task.request_id)),
    ] {
        view.insert(name.to_owned(), value);
    }
    Value::Object(view)
}

async fn of_image(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let tasks = tasks::of_image(&app.cx, &actor, image_id(&id)?).await?;
    Ok(Json(
        json!({"tasks": tasks.iter().map(render).collect::<Vec<_>>()}),
    ))
}

fn task_id(text: &str) -> Result<OperationId, Refusal> {
    text.parse().map_err(|_| Refusal::no_such("Task", text))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    Ok(Json(render(
        &tasks::get(&app.cx, &actor, task_id(&id)?).await?,
    )))
}

async fn delete(State(app): State<App>, Caller(actor): Caller, Path(_): Path<String>) -> Answer {
    tasks::check_delete(&app.cx, &actor)?;
    Ok((StatusCode::METHOD_NOT_ALLOWED, [("allow", "GET")]).into_response())
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
) -> Answer<Json<Value>> {
    let all = tasks::list(&app.cx, &actor).await?;
    let page = page(all, &params)?;
    let link = |marker: Option<&str>| match params.with(&[("marker", marker)]) {
        query if query.is_empty() => "/v2/tasks".to_owned(),
        query => format!("/v2/tasks?{query}"),
    };
    let mut body = json!({
        "tasks": page.shown.iter().map(|task| Value::Object(stub(task))).collect::<Vec<_>>(),
        "first": link(None),
        "schema": "/v2/schemas/tasks",
    });
    if let (true, Some(last)) = (page.is_full, page.shown.last()) {
        body["next"] = json!(link(Some(&last.id.to_string())));
    }
    Ok(Json(body))
}

struct Page {
    shown: Vec<Task>,
    is_full: bool,
}

fn page(mut tasks: Vec<Task>, params: &Params) -> Result<Page, Refusal> {
    if let Some(status) = params.get("status") {
        if !TaskStatus::ALL.iter().any(|known| known.as_str() == status) {
            return Err(Refusal::invalid(format!(
                "Invalid status value: {status}. It is pending, processing, success or failure."
            )));
        }
        tasks.retain(|task| task.status.as_str() == status);
    }
    if let Some(kind) = params.get("type") {
        if kind != "import" {
            return Err(Refusal::invalid(format!(
                "Invalid type value: {kind}. It is import."
            )));
        }
        tasks.retain(|task| task.kind.as_str() == kind);
    }
    match params.get("sort_dir").unwrap_or("desc") {
        "desc" => {}
        "asc" => tasks.reverse(),
        other => {
            return Err(Refusal::invalid(format!(
                "Invalid sort direction: {other}. It is asc or desc."
            )));
        }
    }
    if let Some(marker) = params.get("marker") {
        let marker: OperationId = marker
            .parse()
            .map_err(|_| Refusal::invalid("Invalid marker format"))?;
        let place = tasks.iter().position(|task| task.id == marker);
        let place = place.ok_or_else(|| {
            Refusal::invalid(format!("Invalid marker: task {marker} is not listed."))
        })?;
        tasks.drain(..=place);
    }
    let limit = params
        .count("limit")?
        .unwrap_or(query::DEFAULT_LIMIT as usize)
        .min(query::MAX_LIMIT as usize);
    tasks.truncate(limit);
    Ok(Page {
        is_full: tasks.len() == limit,
        shown: tasks,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    #[serde(rename = "type")]
    kind: String,
    input: Input,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    import_from: String,
    import_from_format: Option<String>,
    #[serde(default)]
    image_properties: Map<String, Value>,
}

async fn create(State(app): State<App>, Caller(actor): Caller, Body(body): Body<Create>) -> Answer {
    if body.kind != "import" {
        return Err(Refusal::invalid(format!(
            "Invalid type of task: {}. It is import.",
            body.kind
        ))
        .into());
    }
    let Input {
        import_from,
        import_from_format,
        image_properties,
    } = body.input;
    let sent = json!({
        "import_from": import_from,
        "import_from_format": import_from_format,
        "image_properties": image_properties,
    });
    let new = images::new_image(image_properties)?;
    let id = tasks::import_new(&app.cx, &actor, new, &import_from, sent).await?;
    let task = tasks::get(&app.cx, &actor, id).await?;
    let location = [(LOCATION, format!("/v2/tasks/{id}"))];
    Ok((StatusCode::CREATED, location, Json(render(&task))).into_response())
}
