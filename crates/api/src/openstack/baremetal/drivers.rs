//! `/drivers`: which hardware this cloud can speak to.

use super::kit::{chosen, links, named_fields};
use super::version::Version;
use crate::app::App;
use crate::auth::Caller;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::metal::conductor::{self, Conductor};
use corten_operations::metal::driver::{self, Driver, KINDS};
use corten_operations::metal::raid::LOGICAL_DISK;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/drivers", get(index))
        .route("/drivers/{driver}", get(show))
        .route("/drivers/{driver}/properties", get(properties))
        .route(
            "/drivers/{driver}/raid/logical_disk_properties",
            get(logical_disk),
        )
}

fn view(version: Version, base: &str, driver: &Driver, hosts: &[String], all: bool) -> Value {
    let name = driver.name;
    let path = format!("drivers/{name}");
    let mut view = json!({
        "name": name,
        "hosts": hosts,
        "links": links(base, &path),
    });
    if version.at_least(14) {
        view["properties"] = links(base, &format!("{path}/properties"));
    }
    if version.at_least(30) {
        view["type"] = "dynamic".into();
    }
    if all && version.at_least(30) {
        // All but these two came with the drivers' parts themselves.
        let since = |kind: &str, since: u16| match kind {
            "network" => 30,
            _ => since.max(30),
        };
        for (kind, minor) in KINDS {
            let minor = if *minor == 31 {
                30
            } else {
                since(kind, *minor)
            };
            if version.at_least(minor) {
                view[format!("default_{kind}_interface")] = driver.default_way(kind).into();
                view[format!("enabled_{kind}_interfaces")] = json!(driver.ways(kind));
            }
        }
    }
    view
}

/// The attributes that a request names.
fn fields(version: Version, params: &Params) -> Result<Option<Vec<String>>, Refusal> {
    let fields = named_fields(params);
    if fields.is_some() {
        version.acceptable_from(77, "The parameter 'fields' of drivers")?;
    }
    Ok(fields)
}

async fn hosts(app: &App) -> Answer<Vec<String>> {
    let all = conductor::alive(&app.cx).await?;
    Ok(all
        .into_iter()
        .map(|Conductor { hostname, .. }| hostname)
        .collect())
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    let found = driver::list(&app.cx, &actor)?;
    let detail = params.truth("detail")?;
    let fields = fields(version, &params)?;
    if fields.is_some() && detail == Some(true) {
        return Err(Refusal::invalid(
            "Can not specify ?detail=True and fields in the same request.",
        )
        .into());
    }
    let all = detail == Some(true) || fields.is_some();
    if detail.is_some() || params.get("type").is_some() {
        version.acceptable_from(30, "The parameters 'type' and 'detail'")?;
    }
    let none = match params.get("type") {
        None | Some("dynamic") => false,
        Some("classic") => true,
        Some(other) => {
            return Err(Refusal::invalid(format!(
                "driver type must be one of classic, dynamic, not {other}"
            ))
            .into());
        }
    };
    let hosts = hosts(&app).await?;
    let views = found
        .into_iter()
        .filter(|_| !none)
        .map(|driver| view(version, &base, driver, &hosts, all))
        .map(|view| chosen(view, fields.as_deref(), "driver"))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Json(json!({ "drivers": views })))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    params: Params,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    let found = driver::show(&app.cx, &actor, &name)?;
    let fields = fields(version, &params)?;
    let view = view(version, &base, found, &hosts(&app).await?, true);
    Ok(Json(chosen(view, fields.as_deref(), "driver")?))
}

fn described(list: impl Iterator<Item = driver::Property>) -> Json<Value> {
    let described: Map<String, Value> = list
        .map(|(name, text)| (name.to_owned(), text.into()))
        .collect();
    Json(Value::Object(described))
}

async fn properties(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    let found = driver::show(&app.cx, &actor, &name)?;
    Ok(described(found.properties()))
}

async fn logical_disk(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    version.acceptable_from(12, "The RAID configuration")?;
    let found = driver::show(&app.cx, &actor, &name)?;
    if found.default_way("raid") == "no-raid" {
        return Err(Refusal::invalid(format!(
            "The driver {name} does not support raid (disabled or not implemented)."
        ))
        .into());
    }
    Ok(described(LOGICAL_DISK.iter().copied()))
}
