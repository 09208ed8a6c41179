//! Images: `/v2/images` and `/v2/images/{id}`.

use super::attributes::{self, Parsed};
use super::patch::{self, Draft};
use super::{image_id, query, view};
use crate::app::App;
use crate::auth::Caller;
use crate::body::{Body, MAX_BODY_BYTES, parse};
use crate::params::{BaseUrl, Params};
use crate::problem::{Answer, Problem};
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::image::{self, Attribute, METHODS, NewImage, STORE};
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/images", get(list).post(create))
        .route("/images/", get(no_id).delete(no_id))
        .route("/images/{id}", get(show).patch(update).delete(delete))
}

/// A path that lacks the id: no image has an empty one.
async fn no_id(Caller(_): Caller) -> Problem {
    image::no_such_image("''").into()
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
) -> Answer<Json<Value>> {
    let list = query::read(&params)?;
    let limit = list.limit;
    let images = image::list(&app.cx, &actor, list).await?;
    let link = |marker: Option<&str>| match params.with(&[("marker", marker)]) {
        query if query.is_empty() => "/v2/images".to_owned(),
        query => format!("/v2/images?{query}"),
    };
    let mut body = json!({
        "images": images.iter().map(view::render).collect::<Vec<_>>(),
        "first": link(None),
        "schema": "/v2/schemas/images",
    });
    if let Some(last) = images.last()
        && images.len() as i64 == limit
    {
        body["next"] = json!(link(Some(&last.id.to_string())));
    }
    Ok(Json(body))
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    BaseUrl(base): BaseUrl,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let image = image::create(&app.cx, &actor, new_image(body)?).await?;
    let headers = [
        (
            LOCATION.as_str(),
            format!("{base}/image{}", view::path(&image)),
        ),
        ("openstack-image-import-methods", METHODS.join(",")),
        ("openstack-image-store-ids", STORE.to_owned()),
    ];
    Ok((StatusCode::CREATED, headers, Json(view::render(&image))).into_response())
}

/// Reads what a new image starts with.
pub fn new_image(body: Map<String, Value>) -> Result<NewImage, Refusal> {
    let mut new = NewImage::default();
    for (name, value) in body {
        if name == "id" {
            let text = value.as_str().unwrap_or_default();
            let id = text.parse().ok().filter(|_| text.len() == 36);
            new.id = Some(id.ok_or_else(|| {
                Refusal::invalid(format!(
                    "Provided object does not match schema 'image': {value} is not a value for 'id': it is a UUID, 32 \
                     hexadecimal digits with dashes."
                ))
            })?);
            continue;
        }
        attributes::check_writable(&name)?;
        match attributes::parse(&name, value)? {
            Parsed::Property { name, value } => {
                new.properties.insert(name, value);
            }
            Parsed::Base(attribute) => set(&mut new, attribute),
        }
    }
    Ok(new)
}

fn set(new: &mut NewImage, attribute: Attribute) {
    match attribute {
        Attribute::Name(name) => new.name = name,
        Attribute::Visibility(visibility) => new.visibility = Some(visibility),
        Attribute::Owner(owner) => new.owner = owner,
        Attribute::Protected(protected) => new.protected = protected,
        Attribute::Hidden(hidden) => new.hidden = hidden,
        Attribute::DiskFormat(format) => new.disk_format = format,
        Attribute::ContainerFormat(format) => new.container_format = format,
        Attribute::MinDiskGib(gib) => new.min_disk_gib = gib,
        Attribute::MinRamMib(mib) => new.min_ram_mib = mib,
        Attribute::Tags(tags) => new.tags = tags,
    }
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let image = image::get(&app.cx, &actor, image_id(&id)?).await?;
    Ok(Json(view::render(&image)))
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let id = image_id(&id)?;
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let Some(draft) = content_type.and_then(Draft::of) else {
        return Ok(unsupported_patch());
    };
    let bytes = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES)
        .await
        .map_err(|_| {
            Refusal::too_large(format!(
                "The request body is larger than {MAX_BODY_BYTES} bytes."
            ))
        })?;
    let changes = patch::changes(parse(&bytes)?, draft)?;
    let image = image::update(&app.cx, &actor, id, changes).await?;
    Ok(Json(view::render(&image)).into_response())
}

fn unsupported_patch() -> Response {
    let allowed = patch::MEDIA_TYPES.join(", ");
    let refusal = Refusal::unsupported_media(format!(
        "Image PATCH expects Content-Type one of: {allowed}"
    ));
    let mut response = Problem::from(refusal).into_response();
    if let Ok(value) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert("accept-patch", value);
    }
    response
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    image::delete(&app.cx, &actor, image_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
