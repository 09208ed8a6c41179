//! What was seen of a node's boots, and the proofs of its wipes. Ours: Ironic has neither.

use super::kit::{date, ident};
use super::version::Version;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_operations::metal::ramdisk::timeline;
use corten_store::metal::boot_sign::BootSign;
use corten_store::metal::wipe::{Wipe, WipedDisk};
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/nodes/{node}/boot_timeline", get(boot_timeline))
        .route("/nodes/{node}/wipes", get(wipes))
}

/// Oldest first.
async fn boot_timeline(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(node): Path<String>,
) -> Answer<Json<Value>> {
    let signs = timeline::list(&app.cx, &actor, &ident(version, &node)).await?;
    let signs: Vec<Value> = signs
        .into_iter()
        .map(|sign| {
            let BootSign {
                id: _,
                node_id: _,
                at,
                event,
                detail,
            } = sign;
            json!({"at": at.micros_z(), "event": event, "detail": detail})
        })
        .collect();
    Ok(Json(json!({"boot_timeline": signs})))
}

/// The last one first.
async fn wipes(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(node): Path<String>,
) -> Answer<Json<Value>> {
    let wipes = timeline::wipes(&app.cx, &actor, &ident(version, &node)).await?;
    let wipes: Vec<Value> = wipes
        .into_iter()
        .map(|wipe| {
            let Wipe {
                id,
                node_id,
                at,
                disks,
                origin,
            } = wipe;
            json!({
                "uuid": id,
                "node_uuid": node_id,
                "wiped_at": date(Some(at)),
                "operation_id": origin.operation_id,
                "disks": disks.into_iter().map(disk).collect::<Vec<_>>(),
            })
        })
        .collect();
    Ok(Json(json!({"wipes": wipes})))
}

fn disk(disk: WipedDisk) -> Value {
    let WipedDisk {
        serial,
        size_bytes,
        method,
        removable,
    } = disk;
    json!({"serial": serial, "size_bytes": size_bytes, "method": method, "removable": removable})
}
