//! `/v3/OS-OAUTH1/consumers`.

use super::fields::given;
use super::listing::{Listing, with_extra};
use crate::app::App;
use crate::auth::Bearer;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_store::identity::Extra;
use corten_store::identity::consumer::Consumer;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/OS-OAUTH1/consumers", get(list).post(create))
        .route(
            "/OS-OAUTH1/consumers/{consumer_id}",
            get(show).patch(update).delete(delete),
        )
}

#[derive(Deserialize)]
struct Request {
    consumer: RequestConsumer,
}

#[derive(Deserialize)]
struct RequestConsumer {
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    #[serde(flatten)]
    extra: Extra,
}

fn render(base: &str, consumer: &Consumer) -> Value {
    let body = json!({
        "id": consumer.id,
        "description": consumer.description,
        "links": {"self": format!("{base}/OS-OAUTH1/consumers/{}", consumer.id)},
    });
    with_extra(body, &consumer.extra)
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let consumers = app.iam.consumers(&bearer.actor).await?;
    let base = format!("{base}/identity/v3");
    let path = "/OS-OAUTH1/consumers";
    let listing = Listing {
        base: &base,
        path,
        key: "consumers",
        params: &params,
        filters: &[],
    };
    Ok(listing.answer(
        consumers
            .iter()
            .map(|consumer| render(&base, consumer))
            .collect(),
    )?)
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Request { consumer }): Body<Request>,
) -> Answer<(StatusCode, Json<Value>)> {
    let RequestConsumer { description, extra } = consumer;
    let (consumer, secret) = app
        .iam
        .create_consumer(&bearer.actor, description.flatten(), extra)
        .await?;
    let mut body = render(&format!("{base}/identity/v3"), &consumer);
    body["secret"] = json!(secret);
    Ok((StatusCode::CREATED, Json(json!({"consumer": body}))))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let consumer = app.iam.consumer(&bearer.actor, &id).await?;
    Ok(Json(
        json!({"consumer": render(&format!("{base}/identity/v3"), &consumer)}),
    ))
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Request { consumer }): Body<Request>,
) -> Answer<Json<Value>> {
    let RequestConsumer { description, extra } = consumer;
    let consumer = app
        .iam
        .update_consumer(&bearer.actor, &id, description, extra)
        .await?;
    Ok(Json(
        json!({"consumer": render(&format!("{base}/identity/v3"), &consumer)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam.delete_consumer(&bearer.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
