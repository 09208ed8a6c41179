//! `/os-assisted-volume-snapshots`: snapshots that the block storage service asks the host of a server to make. Until
//! volumes exist, every volume it can name is unknown, which Nova answers with 400.

use super::microversion::Microversion;
use super::paging::only;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::Params;
use crate::problem::Answer;
use axum::Router;
use axum::extract::State;
use axum::routing::{delete, post};
use corten_model::refusal::Refusal;
use corten_operations::service_calls;
use serde::Deserialize;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/os-assisted-volume-snapshots", post(create))
        .route("/os-assisted-volume-snapshots/{id}", delete(remove))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    snapshot: Snapshot,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    volume_id: String,
    create_info: CreateInfo,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateInfo {
    snapshot_id: String,
    #[serde(rename = "type")]
    kind: Kind,
    new_file: String,
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Qcow2,
}

fn unknown(volume: &str) -> Refusal {
    Refusal::invalid(format!("No volume Block Device Mapping with id {volume}."))
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(CreateBody { snapshot }): Body<CreateBody>,
) -> Answer<()> {
    service_calls::check(&app.cx, &actor)?;
    let Snapshot {
        volume_id,
        create_info:
            CreateInfo {
                snapshot_id,
                kind: Kind::Qcow2,
                new_file,
                id,
            },
    } = snapshot;
    let texts = [
        Some(&volume_id),
        Some(&snapshot_id),
        Some(&new_file),
        id.as_ref(),
    ];
    if texts.into_iter().flatten().any(String::is_empty) {
        return Err(Refusal::invalid(
            "Invalid input for field/attribute snapshot. '' is too short",
        )
        .into());
    }
    Err(unknown(&volume_id).into())
}

#[derive(Deserialize)]
struct DeleteInfo {
    volume_id: String,
}

async fn remove(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
) -> Answer<()> {
    if mv.at_least(75) {
        only(&params, &["delete_info"])?;
    }
    service_calls::check(&app.cx, &actor)?;
    let text = params
        .get("delete_info")
        .ok_or_else(|| Refusal::invalid("'delete_info' is a required query parameter"))?;
    let info: DeleteInfo = crate::body::parse(text.as_bytes())?;
    Err(unknown(&info.volume_id).into())
}
