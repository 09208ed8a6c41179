//! `/flavors`: the sizes a server can have.

use super::input::{self, Sent, Truth, Whole, WordOrNumber};
use super::microversion::Microversion;
use super::paging::{Link, Page, links, only};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params, parse_truth};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::actor::Actor;
use corten_model::ids::FlavorId;
use corten_model::refusal::Refusal;
use corten_operations::flavor::{self, Listing, NewFlavor, SortKey};
use corten_store::flavors::Flavor;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/flavors", get(index).post(create))
        .route("/flavors/detail", get(detail))
        .route("/flavors/{id}", get(show).put(update).delete(delete))
}

/// A flavor as the API shows it; what a microversion lacks is left out.
#[derive(Serialize)]
struct View<'f> {
    id: &'f str,
    name: &'f str,
    links: [Link; 2],
    #[serde(flatten)]
    detail: Option<Detail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Option<&'f str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_specs: Option<&'f BTreeMap<String, String>>,
}

#[derive(Serialize)]
struct Detail {
    vcpus: u32,
    ram: u32,
    disk: u32,
    #[serde(rename = "OS-FLV-EXT-DATA:ephemeral")]
    ephemeral: u32,
    swap: Value,
    rxtx_factor: f64,
    #[serde(rename = "OS-FLV-DISABLED:disabled")]
    disabled: bool,
    #[serde(rename = "os-flavor-access:is_public")]
    is_public: bool,
}

fn brief<'f>(flavor: &'f Flavor, mv: Microversion, base: &str) -> View<'f> {
    View {
        id: flavor.id.as_str(),
        name: &flavor.name,
        links: links(base, "flavors", &flavor.id),
        detail: None,
        description: mv.at_least(55).then_some(flavor.description.as_deref()),
        extra_specs: None,
    }
}

fn full<'f>(flavor: &'f Flavor, mv: Microversion, base: &str) -> View<'f> {
    let detail = Detail {
        vcpus: flavor.vcpus,
        ram: flavor.memory_mib,
        disk: flavor.disk_gib,
        ephemeral: flavor.ephemeral_gib,
        // No swap was an empty string until 2.75 made it a number.
        swap: if flavor.swap_mib == 0 && !mv.at_least(75) {
            json!("")
        } else {
            json!(flavor.swap_mib)
        },
        rxtx_factor: flavor.rxtx_factor,
        disabled: flavor.disabled,
        is_public: flavor.is_public,
    };
    let extra_specs = mv.at_least(61).then_some(&flavor.extra_specs);
    View {
        detail: Some(detail),
        extra_specs,
        ..brief(flavor, mv, base)
    }
}

fn one(flavor: &Flavor, mv: Microversion, base: &str) -> Json<Value> {
    Json(json!({"flavor": full(flavor, mv, base)}))
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    list(&app, &actor, mv, &base.0, &params, "flavors", brief).await
}

async fn detail(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    list(&app, &actor, mv, &base.0, &params, "flavors/detail", full).await
}

async fn list(
    app: &App,
    actor: &Actor,
    mv: Microversion,
    base: &str,
    params: &Params,
    path: &str,
    view: for<'f> fn(&'f Flavor, Microversion, &str) -> View<'f>,
) -> Answer<Json<Value>> {
    if mv.at_least(75) {
        only(
            params,
            &[
                "limit",
                "marker",
                "is_public",
                "minRam",
                "minDisk",
                "sort_key",
                "sort_dir",
            ],
        )?;
    }
    let page = Page::of(params)?;
    let flavors = flavor::list(&app.cx, actor, &listing(params)?).await?;
    let flavors = page.cut(flavors, |flavor| flavor.id.to_string())?;
    let next = page.next(
        base,
        path,
        params,
        flavors.len(),
        flavors.last().map(|flavor| flavor.id.to_string()),
    );
    let views: Vec<_> = flavors
        .iter()
        .map(|flavor| view(flavor, mv, base))
        .collect();
    let mut body = json!({"flavors": views});
    if let Some(next) = next {
        body["flavors_links"] = next;
    }
    Ok(Json(body))
}

fn listing(params: &Params) -> Result<Listing, Refusal> {
    let number = |name: &str| match params.get(name) {
        None => Ok(None),
        Some(text) => text
            .trim()
            .parse()
            .map(Some)
            .map_err(|_| Refusal::invalid(format!("Invalid {name} filter [{text}]"))),
    };
    let is_public = match params.get("is_public") {
        None => Some(true),
        Some(text) if text.eq_ignore_ascii_case("none") => None,
        Some(text) => Some(
            parse_truth(text)
                .ok_or_else(|| Refusal::invalid(format!("Invalid is_public filter [{text}]")))?,
        ),
    };
    let descending = match params.get("sort_dir") {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(other) => {
            return Err(Refusal::invalid(format!(
                "Invalid sort_dir [{other}]: it is asc or desc"
            )));
        }
    };
    Ok(Listing {
        is_public,
        min_memory_mib: number("minRam")?,
        min_disk_gib: number("minDisk")?,
        sort_key: params
            .get("sort_key")
            .map(SortKey::parse)
            .transpose()?
            .unwrap_or_default(),
        descending,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    flavor: CreateFlavor,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateFlavor {
    name: String,
    #[serde(default)]
    id: Sent<WordOrNumber>,
    ram: Whole,
    vcpus: Whole,
    disk: Whole,
    #[serde(rename = "OS-FLV-EXT-DATA:ephemeral")]
    ephemeral: Option<Whole>,
    swap: Option<Whole>,
    rxtx_factor: Option<WordOrNumber>,
    #[serde(rename = "os-flavor-access:is_public")]
    is_public: Option<Truth>,
    #[serde(default)]
    description: Sent<String>,
}

impl CreateFlavor {
    fn checked(self, mv: Microversion) -> Result<NewFlavor, Refusal> {
        let Self {
            name,
            id,
            ram,
            vcpus,
            disk,
            ephemeral,
            swap,
            rxtx_factor,
            is_public,
            description,
        } = self;
        mv.takes_from(55, "description", description.is_sent())?;
        Ok(NewFlavor {
            id: id
                .value()
                .map(WordOrNumber::into_text)
                .map(flavor_id)
                .transpose()?,
            name: input::name("name", &name)?,
            vcpus: vcpus.size("vcpus", 1)?,
            memory_mib: ram.size("ram", 1)?,
            disk_gib: disk.size("disk", 0)?,
            ephemeral_gib: ephemeral
                .unwrap_or(Whole(0))
                .size("OS-FLV-EXT-DATA:ephemeral", 0)?,
            swap_mib: swap.unwrap_or(Whole(0)).size("swap", 0)?,
            rxtx_factor: rxtx_factor.map_or(Ok(1.0), |text| rxtx(&text.into_text()))?,
            is_public: is_public.is_none_or(|truth| truth.0),
            description: checked_description(description)?,
        })
    }
}

/// The largest single-precision number: Nova's column holds no more.
const MAX_RXTX: f64 = 3.40282e38;

fn rxtx(text: &str) -> Result<f64, Refusal> {
    let factor = text
        .parse::<f64>()
        .ok()
        .filter(|factor| *factor > 0.0 && *factor <= MAX_RXTX);
    factor.ok_or_else(|| {
        Refusal::invalid(format!(
            "Invalid input for field/attribute rxtx_factor. Value: {text}. It must be a number above 0 and at most {MAX_RXTX:e}"
        ))
    })
}

fn flavor_id(text: String) -> Result<FlavorId, Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ' ' | '_' | '-');
    if text.is_empty() || text.len() > 255 || !text.chars().all(legal) || text.trim() != text {
        return Err(Refusal::invalid(
            "Invalid input for field/attribute id. It has 1 to 255 letters, digits, dots, underscores, dashes and \
             spaces, with no space at its start or end",
        ));
    }
    Ok(FlavorId(text))
}

fn checked_description(sent: Sent<String>) -> Result<Option<String>, Refusal> {
    sent.value()
        .map(|text| input::description("description", &text, 65_535))
        .transpose()
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    base: BaseUrl,
    Body(body): Body<CreateBody>,
) -> Answer<Json<Value>> {
    let flavor = flavor::create(&app.cx, &actor, body.flavor.checked(mv)?).await?;
    Ok(one(&flavor, mv, &base.0))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    base: BaseUrl,
    Path(id): Path<FlavorId>,
) -> Answer<Json<Value>> {
    let flavor = flavor::show(&app.cx, &actor, &id).await?;
    Ok(one(&flavor, mv, &base.0))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    flavor: UpdateFlavor,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateFlavor {
    #[serde(default)]
    description: Sent<String>,
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    base: BaseUrl,
    Path(id): Path<FlavorId>,
    Body(body): Body<UpdateBody>,
) -> Answer<Json<Value>> {
    mv.exists_from(55)?;
    if !body.flavor.description.is_sent() {
        return Err(Refusal::invalid(
            "Invalid input for field/attribute flavor. 'description' is a required property",
        )
        .into());
    }
    let description = checked_description(body.flavor.description)?;
    let flavor = flavor::describe(&app.cx, &actor, &id, description).await?;
    Ok(one(&flavor, mv, &base.0))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<FlavorId>,
) -> Answer<StatusCode> {
    flavor::delete(&app.cx, &actor, &id).await?;
    Ok(StatusCode::ACCEPTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, minor: u16) -> Result<NewFlavor, Refusal> {
        crate::body::parse::<CreateBody>(text.as_bytes())?
            .flavor
            .checked(Microversion::of(minor))
    }

    #[test]
    fn a_flavor_may_come_with_numbers_as_text_and_a_null_id() {
        let new = parse(
            r#"{"flavor": {"name": "f", "id": null, "ram": "64", "vcpus": 1, "disk": "0", "rxtx_factor": "1.5"}}"#,
            1,
        )
        .unwrap();
        assert!(new.id.is_none() && new.is_public);
        assert_eq!((new.memory_mib, new.vcpus, new.disk_gib), (64, 1, 0));
        assert_eq!(new.rxtx_factor, 1.5);
        let numbered = parse(
            r#"{"flavor": {"name": "f", "id": 1234, "ram": 1, "vcpus": 1, "disk": 0}}"#,
            1,
        )
        .unwrap();
        assert_eq!(numbered.id, Some(FlavorId::from("1234")));
    }

    #[test]
    fn wrong_flavors_are_refused_with_the_field() {
        for (body, field) in [
            (r#"{"name": "", "ram": 1, "vcpus": 1, "disk": 1}"#, "name"),
            (r#"{"name": "f", "ram": 0, "vcpus": 1, "disk": 1}"#, "ram"),
            (r#"{"name": "f", "ram": 1, "vcpus": 0, "disk": 1}"#, "vcpus"),
            (r#"{"name": "f", "ram": 1, "vcpus": 1, "disk": -1}"#, "disk"),
            (
                r#"{"name": "f", "ram": 1, "vcpus": 1, "disk": 1, "rxtx_factor": 0}"#,
                "rxtx_factor",
            ),
            (
                r#"{"name": "f", "ram": 1, "vcpus": 1, "disk": 1, "id": "a/b"}"#,
                "id",
            ),
            (
                r#"{"name": "f", "ram": 1, "vcpus": 1, "disk": 1, "colour": 1}"#,
                "colour",
            ),
            (
                r#"{"name": "f", "ram": 99999999999, "vcpus": 1, "disk": 1}"#,
                "ram",
            ),
        ] {
            let refusal = parse(&format!(r#"{{"flavor": {body}}}"#), 100).unwrap_err();
            assert!(refusal.message.contains(field), "{body}: {refusal}");
        }
    }

    #[test]
    fn a_description_came_with_2_55() {
        let body =
            r#"{"flavor": {"name": "f", "ram": 1, "vcpus": 1, "disk": 1, "description": null}}"#;
        assert!(parse(body, 54).is_err());
        assert!(parse(body, 55).is_ok());
    }
}
