//! `/v3/regions`.

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
use corten_iam::region::{NewRegion, RegionChanges};
use corten_store::identity::Extra;
use corten_store::identity::region::Region;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/regions", get(list).post(create))
        .route(
            "/regions/{region_id}",
            get(show).put(create_with_id).patch(update).delete(delete),
        )
}

#[derive(Deserialize)]
struct Create {
    region: CreateRegion,
}

#[derive(Deserialize)]
struct CreateRegion {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parent_region_id: Option<String>,
    #[serde(flatten)]
    extra: Extra,
}

#[derive(Deserialize)]
struct Update {
    region: UpdateRegion,
}

#[derive(Deserialize)]
struct UpdateRegion {
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    parent_region_id: Option<Option<String>>,
    #[serde(flatten)]
    extra: Extra,
}

fn render(base: &str, region: &Region) -> Value {
    let body = json!({
        "id": region.id,
        "description": region.description,
        "parent_region_id": region.parent_region_id,
        "links": {"self": format!("{base}/regions/{}", region.id)},
    });
    with_extra(body, &region.extra)
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let regions = app.iam.regions(&bearer.actor).await?;
    let base = format!("{base}/identity/v3");
    let filters = &["parent_region_id"];
    let listing = Listing {
        base: &base,
        path: "/regions",
        key: "regions",
        params: &params,
        filters,
    };
    Ok(listing.answer(regions.iter().map(|region| render(&base, region)).collect())?)
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Create { region }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreateRegion {
        id,
        description,
        parent_region_id,
        extra,
    } = region;
    let new = NewRegion {
        id,
        description,
        parent_region_id,
        extra,
    };
    let region = app.iam.create_region(&bearer.actor, new).await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"region": render(&format!("{base}/identity/v3"), &region)})),
    ))
}

async fn create_with_id(
    app: State<App>,
    bearer: Bearer,
    base: BaseUrl,
    Path(id): Path<String>,
    Body(Create { region }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    create(
        app,
        bearer,
        base,
        Body(Create {
            region: CreateRegion {
                id: Some(id),
                ..region
            },
        }),
    )
    .await
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let region = app.iam.region(&bearer.actor, &id).await?;
    Ok(Json(
        json!({"region": render(&format!("{base}/identity/v3"), &region)}),
    ))
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Update { region }): Body<Update>,
) -> Answer<Json<Value>> {
    let UpdateRegion {
        description,
        parent_region_id,
        extra,
    } = region;
    let changes = RegionChanges {
        description,
        parent_region_id,
        extra,
    };
    let region = app.iam.update_region(&bearer.actor, &id, changes).await?;
    Ok(Json(
        json!({"region": render(&format!("{base}/identity/v3"), &region)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam.delete_region(&bearer.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
