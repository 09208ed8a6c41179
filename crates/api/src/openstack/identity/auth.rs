//! `/v3/auth`: tokens, the catalog, and which scopes a user can have.

use super::auth_body::Request;
use super::listing::Listing;
use super::subject_token::SubjectToken;
use super::{domains, projects, token_body};
use crate::app::App;
use crate::auth::Bearer;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::TokenView;
use corten_store::Failure;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/auth/tokens", get(show).post(issue).delete(revoke))
        .route("/auth/catalog", get(catalog))
        .route("/auth/projects", get(own_projects))
        .route("/auth/domains", get(own_domains))
        .route("/auth/system", get(own_system))
        .route("/OS-REVOKE/events", get(revocations))
}

async fn issue(State(app): State<App>, params: Params, Body(request): Body<Request>) -> Answer {
    let (proofs, wish) = request.read()?;
    let issued = app.iam.authenticate(&proofs, &wish).await?;
    let body = Json(render(&app, &issued.view, &params).await?);
    with_token((StatusCode::CREATED, body).into_response(), &issued.text)
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    SubjectToken(subject): SubjectToken,
    params: Params,
) -> Answer {
    let view = app.iam.inspect(&bearer.actor, &subject).await?;
    with_token(
        Json(render(&app, &view, &params).await?).into_response(),
        &subject,
    )
}

async fn revoke(
    State(app): State<App>,
    bearer: Bearer,
    SubjectToken(subject): SubjectToken,
) -> Answer<StatusCode> {
    app.iam.revoke(&bearer.actor, &subject).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn render(app: &App, view: &TokenView, params: &Params) -> Result<Value, Failure> {
    if params.get("nocatalog").is_some() {
        return Ok(token_body::token(view, None));
    }
    Ok(token_body::token(view, Some(&app.iam.catalog(view).await?)))
}

fn with_token(mut response: Response, text: &str) -> Answer {
    let value = HeaderValue::from_str(text)
        .map_err(|error| Failure::outside("writing X-Subject-Token", error))?;
    response.headers_mut().insert("x-subject-token", value);
    Ok(response)
}

async fn catalog(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
) -> Answer<Json<Value>> {
    let entries = app.iam.catalog(&bearer.token).await?;
    let own = format!("{base}/identity/v3/auth/catalog");
    Ok(Json(json!({
        "catalog": token_body::catalog(&entries),
        "links": {"next": null, "self": own, "previous": null},
    })))
}

async fn own_projects(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let projects = app.iam.projects_open_to(&bearer.actor.user_id).await?;
    let base = format!("{base}/identity/v3");
    let listing = Listing {
        base: &base,
        path: "/auth/projects",
        key: "projects",
        params: &params,
        filters: &["name"],
    };
    Ok(listing.answer(
        projects
            .iter()
            .map(|project| projects::render(&base, project))
            .collect(),
    )?)
}

async fn own_domains(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let domains = app.iam.domains_open_to(&bearer.actor.user_id).await?;
    let base = format!("{base}/identity/v3");
    let listing = Listing {
        base: &base,
        path: "/auth/domains",
        key: "domains",
        params: &params,
        filters: &["name"],
    };
    Ok(listing.answer(
        domains
            .iter()
            .map(|domain| domains::render(&base, domain))
            .collect(),
    )?)
}

async fn own_system(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
) -> Answer<Json<Value>> {
    let open = app.iam.is_system_open_to(&bearer.actor.user_id).await?;
    let system = if open {
        json!([{"all": true}])
    } else {
        json!([])
    };
    Ok(Json(
        json!({"system": system, "links": {"self": format!("{base}/identity/v3/auth/system")}}),
    ))
}

async fn revocations(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
) -> Answer<Json<Value>> {
    let events: Vec<Value> = app
        .iam
        .revocations(&bearer.actor)
        .await?
        .into_iter()
        .map(|event| json!({"audit_id": event.audit_id, "issued_before": event.revoked_at.micros_z()}))
        .collect();
    let own = format!("{base}/identity/v3/OS-REVOKE/events");
    Ok(Json(
        json!({"events": events, "links": {"next": null, "self": own, "previous": null}}),
    ))
}
