//! `/images`, which 2.36 dropped (and their metadata 2.39): an older view of the image service's images.

use super::microversion::Microversion;
use super::paging::{Page, links};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::actor::Actor;
use corten_model::ids::ImageId;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::image::{self, Change, List};
use corten_store::images::{
    Comparison, Condition, Image, ImageStatus, NumberColumn, TextColumn, VisibilityFilter,
};
use corten_store::record::Direction;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/images", get(index))
        .route("/images/detail", get(detail))
        .route("/images/{id}", get(show).delete(delete))
        .route(
            "/images/{id}/metadata",
            get(list_metadata).post(add_metadata).put(replace_metadata),
        )
        .route(
            "/images/{id}/metadata/{key}",
            get(show_meta).put(set_meta).delete(delete_meta),
        )
}

/// The last version with images, and with their metadata.
const LAST: u16 = 35;
const LAST_METADATA: u16 = 38;

/// A text that is no UUID names no image.
fn image_id(text: &str) -> Result<ImageId, Refusal> {
    text.parse()
        .map_err(|_| Refusal::not_found("Image not found."))
}

fn brief(image: &Image, base: &str) -> Value {
    let [with_version, bookmark] = links(base, "images", image.id);
    let alternate = json!({
        "rel": "alternate",
        "type": "application/vnd.openstack.image",
        "href": format!("{base}/image/images/{}", image.id),
    });
    json!({"id": image.id, "name": image.name, "links": [with_version, bookmark, alternate]})
}

fn full(image: &Image, base: &str) -> Value {
    let (status, progress) = match image.status {
        ImageStatus::Active => ("ACTIVE", 100),
        ImageStatus::Queued => ("SAVING", 25),
        ImageStatus::Saving => ("SAVING", 50),
        ImageStatus::Deleted | ImageStatus::PendingDelete => ("DELETED", 0),
        ImageStatus::Killed => ("ERROR", 0),
        _ => ("UNKNOWN", 0),
    };
    let mut view = brief(image, base);
    view["status"] = json!(status);
    view["progress"] = json!(progress);
    view["minRam"] = json!(image.min_ram_mib);
    view["minDisk"] = json!(image.min_disk_gib);
    view["metadata"] = json!(image.properties);
    view["created"] = json!(image.created_at.seconds_z());
    view["updated"] = json!(image.updated_at.seconds_z());
    view["OS-EXT-IMG-SIZE:size"] = json!(image.size_bytes());
    if let Some(server) = image.properties.get("instance_uuid") {
        view["server"] = json!({"id": server, "links": links(base, "servers", server)});
    }
    if let Some(auto) = image.properties.get("auto_disk_config") {
        let auto = crate::params::parse_truth(auto).unwrap_or(false);
        view["OS-DCF:diskConfig"] = json!(if auto { "AUTO" } else { "MANUAL" });
    }
    view
}

/// The filters of the query, as the image service knows them.
fn conditions(params: &Params) -> Result<Vec<Condition>, Refusal> {
    let mut conditions = Vec::new();
    let property = |name: &str, value: &str| Condition::Property {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    for (name, value) in &params.0 {
        let number = |column| {
            let number = value
                .parse()
                .map_err(|_| Refusal::invalid(format!("Invalid {name} filter [{value}]")))?;
            Ok::<_, Refusal>(Condition::Number(column, Comparison::Equal, number))
        };
        conditions.push(match name.as_str() {
            "name" => Condition::Text(TextColumn::Name, vec![value.clone()]),
            "status" => Condition::Text(TextColumn::Status, vec![value.to_lowercase()]),
            "minRam" => number(NumberColumn::MinRam)?,
            "minDisk" => number(NumberColumn::MinDisk)?,
            "type" => property("image_type", value),
            // The server may be given as a link.
            "server" => property("instance_uuid", value.rsplit('/').next().unwrap_or(value)),
            "changes-since" => {
                let moment = Timestamp::parse_iso8601(value).ok_or_else(|| {
                    Refusal::invalid(format!("Invalid changes-since filter [{value}]"))
                })?;
                Condition::Second(
                    NumberColumn::UpdatedAt,
                    Comparison::AtLeast,
                    moment.micros() / 1_000_000,
                )
            }
            name => match name.strip_prefix("property-") {
                Some(name) => property(name, value),
                None => continue,
            },
        });
    }
    Ok(conditions)
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    mv.exists_until(LAST)?;
    list(&app, &actor, &base.0, &params, "images", brief).await
}

async fn detail(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    mv.exists_until(LAST)?;
    list(&app, &actor, &base.0, &params, "images/detail", full).await
}

async fn list(
    app: &App,
    actor: &Actor,
    base: &str,
    params: &Params,
    path: &str,
    view: fn(&Image, &str) -> Value,
) -> Answer<Json<Value>> {
    let page = Page::of(params)?;
    let wanted = List {
        visibility: VisibilityFilter::Usual,
        member_status: None,
        conditions: conditions(params)?,
        order: vec![("created_at", Direction::Descending)],
        marker: page.marker.as_deref().map(image_id).transpose()?,
        limit: page.limit as i64,
    };
    let found = image::list(&app.cx, actor, wanted).await?;
    let views: Vec<_> = found.iter().map(|image| view(image, base)).collect();
    let mut body = json!({"images": views});
    let last = found.last().map(|image| image.id.to_string());
    if let Some(next) = page.next(base, path, params, found.len(), last) {
        body["images_links"] = next;
    }
    Ok(Json(body))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    base: BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_until(LAST)?;
    let image = image::get(&app.cx, &actor, image_id(&id)?).await?;
    Ok(Json(json!({"image": full(&image, &base.0)})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    mv.exists_until(LAST)?;
    image::delete(&app.cx, &actor, image_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

type Metadata = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetadataBody {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetaBody {
    meta: Metadata,
}

/// Letters, digits and a few signs; at most 255 characters each.
fn checked(metadata: Metadata) -> Result<Metadata, Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.' | ' ');
    for (key, value) in &metadata {
        if key.is_empty() || key.len() > 255 || !key.chars().all(legal) {
            return Err(Refusal::invalid(format!(
                "Invalid input for field/attribute metadata. '{key}' is no legal key"
            )));
        }
        if value.chars().count() > 255 {
            return Err(Refusal::invalid(format!(
                "Invalid input for field/attribute metadata. The value of '{key}' has more than 255 characters"
            )));
        }
    }
    Ok(metadata)
}

fn set_all(metadata: Metadata) -> impl Iterator<Item = Change> {
    metadata
        .into_iter()
        .map(|(name, value)| Change::SetProperty { name, value })
}

async fn list_metadata(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_until(LAST_METADATA)?;
    let image = image::get(&app.cx, &actor, image_id(&id)?).await?;
    Ok(Json(json!({"metadata": image.properties})))
}

async fn add_metadata(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
    Body(MetadataBody { metadata }): Body<MetadataBody>,
) -> Answer<Json<Value>> {
    mv.exists_until(LAST_METADATA)?;
    let changes = set_all(checked(metadata)?).collect();
    let image = image::update(&app.cx, &actor, image_id(&id)?, changes).await?;
    Ok(Json(json!({"metadata": image.properties})))
}

async fn replace_metadata(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
    Body(MetadataBody { metadata }): Body<MetadataBody>,
) -> Answer<Json<Value>> {
    mv.exists_until(LAST_METADATA)?;
    let id = image_id(&id)?;
    let metadata = checked(metadata)?;
    let old = image::get(&app.cx, &actor, id).await?.properties;
    let gone = old.into_keys().filter(|name| !metadata.contains_key(name));
    let mut changes: Vec<_> = gone.map(|name| Change::RemoveProperty { name }).collect();
    changes.extend(set_all(metadata));
    let image = image::update(&app.cx, &actor, id, changes).await?;
    Ok(Json(json!({"metadata": image.properties})))
}

async fn show_meta(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path((id, key)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    mv.exists_until(LAST_METADATA)?;
    let image = image::get(&app.cx, &actor, image_id(&id)?).await?;
    let value = image.properties.get(&key).ok_or_else(|| no_key(&key))?;
    Ok(Json(json!({"meta": {key: value}})))
}

fn no_key(key: &str) -> Refusal {
    Refusal::not_found(format!("Invalid metadata key: the image has no '{key}'."))
}

async fn set_meta(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path((id, key)): Path<(String, String)>,
    Body(MetaBody { meta }): Body<MetaBody>,
) -> Answer<Json<Value>> {
    mv.exists_until(LAST_METADATA)?;
    let meta = checked(meta)?;
    if meta.len() != 1 || !meta.contains_key(&key) {
        return Err(Refusal::invalid("Request body and URI mismatch").into());
    }
    image::update(
        &app.cx,
        &actor,
        image_id(&id)?,
        set_all(meta.clone()).collect(),
    )
    .await?;
    Ok(Json(json!({"meta": meta})))
}

async fn delete_meta(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path((id, key)): Path<(String, String)>,
) -> Answer<StatusCode> {
    mv.exists_until(LAST_METADATA)?;
    let id = image_id(&id)?;
    if !image::get(&app.cx, &actor, id)
        .await?
        .properties
        .contains_key(&key)
    {
        return Err(no_key(&key).into());
    }
    image::update(
        &app.cx,
        &actor,
        id,
        vec![Change::RemoveProperty { name: key }],
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_translated_and_others_ignored() {
        let params = [
            ("status", "ACTIVE"),
            ("server", "http://h/servers/s1"),
            ("type", "snapshot"),
            ("minRam", "64"),
            ("property-colour", "red"),
            ("limit", "3"),
        ];
        let params = Params(
            params
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
        );
        let conditions = conditions(&params).unwrap();
        assert_eq!(conditions.len(), 5);
        assert!(
            matches!(&conditions[0], Condition::Text(TextColumn::Status, words) if words == &["active"])
        );
        assert!(
            matches!(&conditions[1], Condition::Property { name, value } if name == "instance_uuid" && value == "s1")
        );
    }

    #[test]
    fn bad_metadata_and_filters_are_refused() {
        assert!(conditions(&Params(vec![("minDisk".to_owned(), "much".to_owned())])).is_err());
        assert!(
            conditions(&Params(vec![(
                "changes-since".to_owned(),
                "then".to_owned()
            )]))
            .is_err()
        );
        assert!(checked([("a/b".to_owned(), String::new())].into()).is_err());
        assert!(checked([("a".to_owned(), "x".repeat(256))].into()).is_err());
    }
}
