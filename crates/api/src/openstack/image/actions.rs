//! What is done to an image as a whole: deactivate, reactivate, import.

use super::image_id;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use corten_model::refusal::Refusal;
use corten_operations::image::{self, ImportMethod, ImportRequest, METHODS};
use serde::Deserialize;
use serde_json::{Map, Value};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/images/{id}/actions/deactivate", post(deactivate))
        .route("/images/{id}/actions/reactivate", post(reactivate))
        .route("/images/{id}/import", post(import))
}

async fn deactivate(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    image::deactivate(&app.cx, &actor, image_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn reactivate(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    image::reactivate(&app.cx, &actor, image_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportBody {
    method: Map<String, Value>,
    #[serde(default)]
    stores: Vec<String>,
    #[serde(default)]
    all_stores: bool,
    #[serde(default = "truth")]
    all_stores_must_succeed: bool,
}

fn truth() -> bool {
    true
}

async fn import(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<ImportBody>,
) -> Answer<StatusCode> {
    let ImportBody {
        method,
        stores,
        all_stores,
        all_stores_must_succeed,
    } = body;
    let request = ImportRequest {
        method: import_method(&method)?,
        stores,
        all_stores,
        all_stores_must_succeed,
    };
    image::import(&app.cx, &actor, image_id(&id)?, request).await?;
    Ok(StatusCode::ACCEPTED)
}

fn import_method(method: &Map<String, Value>) -> Result<ImportMethod, Refusal> {
    let name = method
        .get("name")
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::invalid("Import request requires a 'name' field in 'method'."))?;
    match name {
        "glance-direct" => Ok(ImportMethod::GlanceDirect),
        "copy-image" => Ok(ImportMethod::CopyImage),
        "web-download" => {
            let uri = method.get("uri").and_then(Value::as_str);
            let uri =
                uri.ok_or_else(|| Refusal::invalid("The method web-download requires a 'uri'."))?;
            Ok(ImportMethod::WebDownload {
                uri: uri.to_owned(),
            })
        }
        "glance-download" => {
            let field = |name: &str| method.get(name).and_then(Value::as_str);
            let required = |name: &str| {
                field(name).ok_or_else(|| {
                    Refusal::invalid(format!(
                        "'{name}' needs to be set for glance-download import method."
                    ))
                })
            };
            let id = required("glance_image_id")?;
            Ok(ImportMethod::GlanceDownload {
                glance_region: required("glance_region")?.to_owned(),
                glance_image_id: id.parse().map_err(|_| {
                    Refusal::invalid(format!("Remote image id does not look like a UUID: {id}"))
                })?,
                glance_service_interface: field("glance_service_interface")
                    .unwrap_or("public")
                    .to_owned(),
            })
        }
        unknown => Err(Refusal::invalid(format!(
            "Unknown import method name '{unknown}'. It is one of: {}.",
            METHODS.join(", ")
        ))),
    }
}
