//! `/os-aggregates`: named sets of hosts.

use super::input::{self, Sent};
use super::microversion::Microversion;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use corten_model::ids::ImageId;
use corten_model::refusal::Refusal;
use corten_operations::aggregate::{self, MetadataChange};
use corten_store::aggregates::Aggregate;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/os-aggregates", get(index).post(create))
        .route("/os-aggregates/{id}", get(show).put(update).delete(delete))
        .route("/os-aggregates/{id}/action", post(action))
        .route("/os-aggregates/{id}/images", post(cache_images))
}

fn view(aggregate: &Aggregate, mv: Microversion) -> Value {
    let Aggregate {
        uuid,
        number,
        name,
        hosts,
        metadata,
        created_at,
        updated_at,
    } = aggregate;
    let mut view = json!({
        "id": number,
        "name": name,
        "availability_zone": aggregate.availability_zone(),
        "hosts": hosts,
        "metadata": metadata,
        "created_at": created_at.micros_bare(),
        "updated_at": updated_at.map(|moment| moment.micros_bare()),
        "deleted": false,
        "deleted_at": null,
    });
    if mv.at_least(41) {
        view["uuid"] = json!(uuid);
    }
    view
}

fn one(aggregate: &Aggregate, mv: Microversion) -> Json<Value> {
    Json(json!({"aggregate": view(aggregate, mv)}))
}

/// Aggregates are named by number in paths.
fn number(id: &str) -> Result<i64, Refusal> {
    id.parse().map_err(|_| {
        Refusal::invalid(format!(
            "Invalid input received: id '{id}' must be an integer"
        ))
    })
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
) -> Answer<Json<Value>> {
    let all = aggregate::list(&app.cx, &actor).await?;
    Ok(Json(
        json!({"aggregates": all.iter().map(|aggregate| view(aggregate, mv)).collect::<Vec<_>>()}),
    ))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    Ok(one(
        &aggregate::show(&app.cx, &actor, number(&id)?).await?,
        mv,
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    aggregate: NewAggregate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAggregate {
    name: String,
    availability_zone: Option<String>,
}

/// A zone's name has no colon: `zone:host` names a host in a zone.
fn zone_name(text: &str) -> Result<String, Refusal> {
    let zone = input::name("availability_zone", text)?;
    if zone.contains(':') {
        return Err(Refusal::invalid(format!(
            "Invalid input for field/attribute availability_zone. Value: {zone}. A zone's name has no colon"
        )));
    }
    Ok(zone)
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Body(CreateBody {
        aggregate: NewAggregate {
            name,
            availability_zone,
        },
    }): Body<CreateBody>,
) -> Answer<Json<Value>> {
    let name = input::name("name", &name)?;
    let zone = availability_zone.map(|zone| zone_name(&zone)).transpose()?;
    let aggregate = aggregate::create(&app.cx, &actor, name, zone).await?;
    // The answer to a create never had these two.
    let mut view = view(&aggregate, mv);
    if let Some(view) = view.as_object_mut() {
        view.remove("hosts");
        view.remove("metadata");
    }
    Ok(Json(json!({"aggregate": view})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    aggregate: UpdateAggregate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateAggregate {
    name: Option<String>,
    #[serde(default)]
    availability_zone: Sent<String>,
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
    Body(UpdateBody {
        aggregate: UpdateAggregate {
            name,
            availability_zone,
        },
    }): Body<UpdateBody>,
) -> Answer<Json<Value>> {
    if name.is_none() && !availability_zone.is_sent() {
        return Err(Refusal::invalid("Invalid input for field/attribute aggregate. Give a name, an availability_zone, or both").into());
    }
    let name = name
        .map(|name| input::name("name", name.trim()))
        .transpose()?;
    let zone = match availability_zone {
        Sent::Absent => None,
        Sent::Null => Some(None),
        Sent::Value(zone) => Some(Some(zone_name(&zone)?)),
    };
    let aggregate = aggregate::update(&app.cx, &actor, number(&id)?, name, zone).await?;
    Ok(one(&aggregate, mv))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<()> {
    Ok(aggregate::delete(&app.cx, &actor, number(&id)?).await?)
}

/// `POST /os-aggregates/{id}/action`: exactly one of these.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    AddHost(HostName),
    RemoveHost(HostName),
    SetMetadata(Metadata),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostName {
    host: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    metadata: MetadataChange,
}

fn checked_host(HostName { host }: HostName) -> Result<String, Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.is_empty() || host.len() > 255 || !host.chars().all(legal) {
        return Err(Refusal::invalid(format!(
            "Invalid input for field/attribute host. Value: {host}. A host's name has 1 to 255 letters, digits, \
             dashes, dots and underscores"
        )));
    }
    Ok(host)
}

fn checked_metadata(Metadata { metadata }: Metadata) -> Result<MetadataChange, Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.' | ' ');
    for (key, value) in &metadata {
        if key.is_empty() || key.len() > 255 || !key.chars().all(legal) {
            return Err(Refusal::invalid(format!(
                "Invalid input for field/attribute metadata. '{key}' is no legal key"
            )));
        }
        if value
            .as_ref()
            .is_some_and(|value| value.chars().count() > 255)
        {
            return Err(Refusal::invalid(format!(
                "Invalid input for field/attribute metadata. The value of '{key}' has more than 255 characters"
            )));
        }
    }
    Ok(metadata)
}

async fn action(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
    Body(action): Body<Action>,
) -> Answer<Json<Value>> {
    let cx = &app.cx;
    let number = number(&id)?;
    let aggregate = match action {
        Action::AddHost(host) => {
            aggregate::add_host(cx, &actor, number, &checked_host(host)?).await?
        }
        Action::RemoveHost(host) => {
            aggregate::remove_host(cx, &actor, number, &checked_host(host)?).await?
        }
        Action::SetMetadata(metadata) => {
            aggregate::set_metadata(cx, &actor, number, checked_metadata(metadata)?).await?
        }
    };
    Ok(one(&aggregate, mv))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheBody {
    cache: Vec<CacheImage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheImage {
    id: ImageId,
}

/// Asks the aggregate's hosts to fetch images before they are needed.
async fn cache_images(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
    Body(CacheBody { cache }): Body<CacheBody>,
) -> Answer<StatusCode> {
    mv.exists_from(81)?;
    let number = number(&id)?;
    let images: BTreeSet<_> = cache.iter().map(|image| image.id).collect();
    if cache.is_empty() || images.len() != cache.len() {
        return Err(Refusal::invalid(
            "Name at least one image to cache, each only once: Duplicate images in request",
        )
        .into());
    }
    aggregate::cache_images(&app.cx, &actor, number, &images).await?;
    Ok(StatusCode::ACCEPTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::parse;

    #[test]
    fn an_action_is_exactly_one_of_three() {
        assert!(matches!(
            parse(br#"{"add_host": {"host": "h"}}"#),
            Ok(Action::AddHost(_))
        ));
        assert!(
            parse::<Action>(br#"{"add_host": {"host": "h"}, "remove_host": {"host": "h"}}"#)
                .is_err()
        );
        assert!(
            parse::<Action>(br#"{"paint": {}}"#)
                .unwrap_err()
                .message
                .contains("paint")
        );
        assert!(matches!(
            parse(br#"{"set_metadata": {"metadata": {"a": null}}}"#),
            Ok(Action::SetMetadata(_))
        ));
    }

    #[test]
    fn names_of_zones_and_hosts_are_checked() {
        assert!(zone_name("east").is_ok());
        assert!(zone_name("east:host").is_err());
        assert!(
            checked_host(HostName {
                host: "a/b".to_owned()
            })
            .is_err()
        );
        assert!(
            checked_metadata(Metadata {
                metadata: [("a/b".to_owned(), None)].into()
            })
            .is_err()
        );
    }
}
