//! `/nodes/{node}/bios` and `/nodes/{node}/firmware`: what the BMC last showed of both.

use super::kit::{date, ident, links};
use super::version::{Since, Version};
use crate::app::App;
use crate::auth::Caller;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::metal::access;
use corten_store::metal::node::{BiosSetting, FirmwareComponent};
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/nodes/{node}/bios", get(bios))
        .route("/nodes/{node}/bios/{setting}", get(bios_setting))
        .route("/nodes/{node}/firmware", get(firmware))
}

/// Attributes of which a request may want some.
struct Attributes {
    /// Those of a list that does not ask for more.
    usual: &'static [&'static str],
    all: &'static [&'static str],
    /// Some can be asked for from this minor version on.
    since: u16,
}

const BIOS: Attributes = Attributes {
    usual: &["name", "value"],
    all: &[
        "name",
        "value",
        "attribute_type",
        "allowable_values",
        "lower_bound",
        "max_length",
        "min_length",
        "read_only",
        "reset_required",
        "unique",
        "upper_bound",
    ],
    since: 74,
};

const FIRMWARE: Attributes = Attributes {
    usual: &[
        "component",
        "initial_version",
        "current_version",
        "last_version_flashed",
    ],
    all: &[
        "component",
        "initial_version",
        "current_version",
        "last_version_flashed",
        "vendor",
        "model",
        "serial_number",
    ],
    since: 86,
};

/// Which model a component is came later than the component.
const IDENTITY: &[&str] = &["vendor", "model", "serial_number"];
const IDENTITY_SINCE: u16 = 114;

/// What is shown of each beside the attributes.
const ALWAYS: &[&str] = &["created_at", "updated_at", "links"];

impl Attributes {
    /// Those that the parameters ask for.
    fn chosen<'a>(&self, version: Version, params: &'a Params) -> Result<Vec<&'a str>, Refusal> {
        let detail = params.truth("detail")?;
        let fields = params.get("fields");
        for name in ["detail", "fields"] {
            if let Some(value) = params.get(name)
                && !version.at_least(self.since)
            {
                return Err(Refusal::invalid(format!(
                    "Invalid query parameter ?{name}={value} received: it came with version 1.{} of the API, and this \
                     request asked for {version}.",
                    self.since
                )));
            }
        }
        let Some(fields) = fields else {
            let some = match detail {
                Some(true) => self.all,
                _ => self.usual,
            };
            return Ok(some.to_vec());
        };
        if detail == Some(true) {
            return Err(Refusal::invalid(
                "Can not specify ?detail=True and fields in the same request.",
            ));
        }
        let fields = fields.split(',').map(str::trim);
        fields
            .filter(|field| !field.is_empty())
            .map(|field| {
                if self.all.contains(&field) || ALWAYS.contains(&field) {
                    return Ok(field);
                }
                Err(Refusal::invalid(format!(
                    "Field(s) \"{field}\" are not valid. Those that are: {}.",
                    self.all.join(", ")
                )))
            })
            .collect()
    }
}

fn shown(mut document: Map<String, Value>, chosen: &[&str]) -> Value {
    document
        .retain(|field, _| ALWAYS.contains(&field.as_str()) || chosen.contains(&field.as_str()));
    Value::Object(document)
}

/// No BMC's registry of attributes is read: what it would tell of a setting is not known.
fn setting_document(base: &str, id: &str, setting: &BiosSetting) -> Map<String, Value> {
    let BiosSetting {
        name,
        value,
        seen_at,
    } = setting;
    let mut document: Map<String, Value> = BIOS
        .all
        .iter()
        .map(|field| ((*field).to_owned(), Value::Null))
        .collect();
    for (field, value) in [
        ("name", json!(name)),
        ("value", json!(value)),
        ("created_at", json!(date(Some(*seen_at)))),
        ("updated_at", Value::Null),
        ("links", links(base, &format!("nodes/{id}/bios/{name}"))),
    ] {
        document.insert(field.to_owned(), value);
    }
    document
}

async fn bios(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<40>,
    version: Version,
    BaseUrl(base): BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let node = access::read_node(&app.cx, &actor, &ident(version, &id)).await?;
    let chosen = BIOS.chosen(version, &params)?;
    let found = node
        .bios
        .iter()
        .map(|setting| shown(setting_document(&base, &id, setting), &chosen));
    Ok(Json(json!({"bios": found.collect::<Vec<_>>()})))
}

async fn bios_setting(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<40>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path((id, name)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let node = access::read_node(&app.cx, &actor, &ident(version, &id)).await?;
    let found = node.bios.iter().find(|setting| setting.name == name);
    let found = found.ok_or_else(|| {
        Refusal::not_found(format!(
            "Node {} doesn't have a BIOS setting '{name}'.",
            node.id
        ))
    })?;
    let chosen = if version.at_least(BIOS.since) {
        BIOS.all
    } else {
        BIOS.usual
    };
    let view = shown(setting_document(&base, &id, found), chosen);
    Ok(Json(json!({ name: view })))
}

/// A BMC's list of firmware tells versions; which model a component is stands in none.
fn component_document(item: &FirmwareComponent) -> Map<String, Value> {
    let view = json!({
        "component": item.component,
        "initial_version": item.initial_version,
        "current_version": item.current_version,
        "last_version_flashed": item.last_version_flashed,
        "vendor": null,
        "model": null,
        "serial_number": null,
        "created_at": date(Some(item.created_at)),
        "updated_at": date(item.updated_at),
    });
    match view {
        Value::Object(document) => document,
        _ => Map::new(),
    }
}

async fn firmware(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<86>,
    version: Version,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let node = access::read_node(&app.cx, &actor, &ident(version, &id)).await?;
    let mut chosen = FIRMWARE.chosen(version, &params)?;
    let named = params.get("fields").is_some();
    if version.at_least(IDENTITY_SINCE) {
        if !named {
            chosen.extend(IDENTITY);
        }
    } else if named && let Some(field) = chosen.iter().find(|field| IDENTITY.contains(field)) {
        return Err(Refusal::invalid(format!(
            "Fields {field} are not allowed in this API version. They require at least API version 1.{IDENTITY_SINCE}."
        ))
        .into());
    } else {
        chosen.retain(|field| !IDENTITY.contains(field));
    }
    let found = node
        .firmware
        .iter()
        .map(|item| shown(component_document(item), &chosen));
    Ok(Json(json!({"firmware": found.collect::<Vec<_>>()})))
}
