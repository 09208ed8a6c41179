//! `/v3/domains/{id}/config`: configuration that clients of Keystone deposit for a domain.

use crate::app::App;
use crate::auth::Bearer;
use crate::body::Body;
use crate::problem::{Answer, Problem};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::action::identity::DOMAIN_CONFIG_READ;
use corten_iam::domain_config::{Part, defaults};
use corten_iam::policy::Target;
use corten_model::ids::DomainId;
use corten_store::identity::domain_config::Options;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/domains/config/default", get(show_defaults))
        .route("/domains/config/{group}/default", get(show_default_group))
        .route(
            "/domains/config/{group}/{option}/default",
            get(show_default_option),
        )
        .route(
            "/domains/{domain_id}/config",
            get(show).put(put).patch(update).delete(delete),
        )
        .route(
            "/domains/{domain_id}/config/{group}",
            get(show_group).patch(update_group).delete(delete_group),
        )
        .route(
            "/domains/{domain_id}/config/{group}/{option}",
            get(show_option).patch(update_option).delete(delete_option),
        )
}

#[derive(Deserialize)]
struct Request {
    config: Options,
}

/// A change of one option: `{"config": {"driver": "sql"}}`.
#[derive(Deserialize)]
struct OptionRequest {
    config: Map<String, Value>,
}

fn answer(options: &Options) -> Json<Value> {
    Json(json!({"config": options}))
}

/// One option is shown without its group around it.
fn answer_option(options: &Options, group: &str, option: &str) -> Json<Value> {
    let value = options.get(group).and_then(|values| values.get(option));
    Json(json!({"config": {option: value}}))
}

/// The defaults are for those who may read a domain's configuration, too.
fn shared_defaults(app: &App, bearer: &Bearer) -> Result<Options, Problem> {
    app.iam
        .policy()
        .check(&bearer.actor, DOMAIN_CONFIG_READ, &Target::cloud())?;
    Ok(defaults())
}

async fn show_defaults(State(app): State<App>, bearer: Bearer) -> Answer<Json<Value>> {
    Ok(answer(&shared_defaults(&app, &bearer)?))
}

async fn show_default_group(
    State(app): State<App>,
    bearer: Bearer,
    Path(group): Path<String>,
) -> Answer<Json<Value>> {
    Ok(answer(
        &Part::Group(&group).of(&shared_defaults(&app, &bearer)?)?,
    ))
}

async fn show_default_option(
    State(app): State<App>,
    bearer: Bearer,
    Path((group, option)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let found = Part::Option(&group, &option).of(&shared_defaults(&app, &bearer)?)?;
    Ok(answer_option(&found, &group, &option))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    Path(domain): Path<String>,
) -> Answer<Json<Value>> {
    Ok(answer(
        &app.iam
            .domain_config(&bearer.actor, &DomainId(domain), Part::All)
            .await?,
    ))
}

async fn show_group(
    State(app): State<App>,
    bearer: Bearer,
    Path((domain, group)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    Ok(answer(
        &app.iam
            .domain_config(&bearer.actor, &DomainId(domain), Part::Group(&group))
            .await?,
    ))
}

async fn show_option(
    State(app): State<App>,
    bearer: Bearer,
    Path((domain, group, option)): Path<(String, String, String)>,
) -> Answer<Json<Value>> {
    let part = Part::Option(&group, &option);
    let found = app
        .iam
        .domain_config(&bearer.actor, &DomainId(domain), part)
        .await?;
    Ok(answer_option(&found, &group, &option))
}

async fn put(
    State(app): State<App>,
    bearer: Bearer,
    Path(domain): Path<String>,
    Body(Request { config }): Body<Request>,
) -> Answer<(StatusCode, Json<Value>)> {
    let (options, is_new) = app
        .iam
        .put_domain_config(&bearer.actor, &DomainId(domain), config)
        .await?;
    Ok((
        if is_new {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        },
        answer(&options),
    ))
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    Path(domain): Path<String>,
    Body(Request { config }): Body<Request>,
) -> Answer<Json<Value>> {
    Ok(answer(
        &app.iam
            .update_domain_config(&bearer.actor, &DomainId(domain), Part::All, config)
            .await?,
    ))
}

async fn update_group(
    State(app): State<App>,
    bearer: Bearer,
    Path((domain, group)): Path<(String, String)>,
    Body(Request { config }): Body<Request>,
) -> Answer<Json<Value>> {
    let part = Part::Group(&group);
    Ok(answer(
        &app.iam
            .update_domain_config(&bearer.actor, &DomainId(domain), part, config)
            .await?,
    ))
}

async fn update_option(
    State(app): State<App>,
    bearer: Bearer,
    Path((domain, group, option)): Path<(String, String, String)>,
    Body(OptionRequest { config }): Body<OptionRequest>,
) -> Answer<Json<Value>> {
    let options = Options::from([(group.clone(), config.into_iter().collect())]);
    let part = Part::Option(&group, &option);
    Ok(answer(
        &app.iam
            .update_domain_config(&bearer.actor, &DomainId(domain), part, options)
            .await?,
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(domain): Path<String>,
) -> Answer<StatusCode> {
    app.iam
        .delete_domain_config(&bearer.actor, &DomainId(domain), Part::All)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete_group(
    State(app): State<App>,
    bearer: Bearer,
    Path((domain, group)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .delete_domain_config(&bearer.actor, &DomainId(domain), Part::Group(&group))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete_option(
    State(app): State<App>,
    bearer: Bearer,
    Path((domain, group, option)): Path<(String, String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .delete_domain_config(
            &bearer.actor,
            &DomainId(domain),
            Part::Option(&group, &option),
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
