//! `/nodes/{node}/vendor_passthru` and `/drivers/{driver}/vendor_passthru`: methods that a vendor adds to a driver. No driver
//! here has any, and whoever calls one is told so.

use super::kit::ident_since;
use super::version::Version;
use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::handler::Handler;
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::metal::{access, driver};
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/nodes/{node}/vendor_passthru/methods", get(of_node))
        .route("/nodes/{node}/vendor_passthru/{method}", any(call_node))
        .route("/nodes/{node}/vendor_passthru", any(call_node_by_query))
        .route("/drivers/{driver}/vendor_passthru/methods", get(of_driver))
        .route(
            "/drivers/{driver}/vendor_passthru/{method}",
            any(call_driver),
        )
        .route(
            "/drivers/{driver}/vendor_passthru",
            any(call_driver_by_query),
        )
}

/// By every method of HTTP that a vendor's can have.
fn any<T: 'static, H: Handler<T, App> + Clone>(handler: H) -> MethodRouter<App> {
    get(handler.clone())
        .post(handler.clone())
        .put(handler.clone())
        .patch(handler.clone())
        .delete(handler)
}

async fn of_node(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    access::may_pass_through(&app.cx, &actor, &ident_since(version, 5, &id)).await?;
    Ok(Json(json!({})))
}

async fn call_node(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path((id, method)): Path<(String, String)>,
) -> Answer<()> {
    let named = ident_since(version, 5, &id);
    Ok(access::pass_through(&app.cx, &actor, &named, &method).await?)
}

/// `?method=NAME`, as the API reference has it.
async fn call_node_by_query(
    state: State<App>,
    caller: Caller,
    version: Version,
    Path(id): Path<String>,
    params: Params,
) -> Answer<()> {
    let method = method(&params)?;
    call_node(state, caller, version, Path((id, method))).await
}

async fn call_driver_by_query(
    state: State<App>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Answer<()> {
    let method = method(&params)?;
    call_driver(state, caller, Path((name, method))).await
}

fn method(params: &Params) -> Result<String, Refusal> {
    let named = params.get("method").map(str::to_owned);
    named.ok_or_else(|| {
        Refusal::invalid(
            "The query parameter method is missing: name a method of the driver's vendor.",
        )
    })
}

async fn of_driver(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    driver::methods(&app.cx, &actor, &name)?;
    Ok(Json(json!({})))
}

async fn call_driver(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((name, method)): Path<(String, String)>,
) -> Answer<()> {
    Ok(access::pass_through_driver(
        &app.cx, &actor, &name, &method,
    )?)
}
