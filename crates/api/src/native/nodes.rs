//! `/v1/nodes`: what operators ask of bare-metal nodes beyond the bare-metal API.

use super::Refusals;
use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_operations::metal::{Ident, console};
use serde::Serialize;
use utoipa::ToSchema;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/nodes/{node}/console-log", get(console_log))
}

/// What a node printed on its serial line.
#[derive(Serialize, ToSchema)]
#[schema(as = NodeConsoleLog)]
pub(super) struct ConsoleLog {
    /// The newest lines are the last. Empty before anything was printed.
    console_log: String,
}

/// What a node printed while no instance was on it and its console was on (`openstack baremetal node console enable`), for
/// administrators. What it prints under an instance is that instance's console log.
#[utoipa::path(
    get,
    path = "/v1/nodes/{node}/console-log",
    tag = "nodes",
    params(
        ("node" = String, Path, description = "The node, by its UUID or name."),
        ("lines" = Option<usize>, Query, description = "Only so many lines of the end; all that is kept by default."),
    ),
    responses(
        (status = 200, description = "The text.", body = ConsoleLog),
        (status = 409, description = "An instance is on the node, or its console is not kept.", body = super::Problem),
        Refusals
    ),
    security(("token" = []))
)]
pub(super) async fn console_log(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(node): Path<String>,
) -> Answer<Json<ConsoleLog>> {
    let lines = params.count("lines")?;
    let ident = Ident {
        text: node,
        by_name: true,
    };
    let console_log = console::log_of_nobody(&app.cx, &actor, &ident, lines).await?;
    Ok(Json(ConsoleLog { console_log }))
}
