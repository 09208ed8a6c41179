//! `POST /servers`.

use super::fields;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::openstack::compute::input::{Sent, Truth, Whole};
use crate::openstack::compute::microversion::Microversion;
use crate::openstack::compute::paging::links;
use crate::params::BaseUrl;
use crate::problem::Answer;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::Json;
use corten_model::ids::{FlavorId, ImageId};
use corten_model::refusal::Refusal;
use corten_operations::instance::new::{self, NewInstances};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateBody {
    server: ServerFields,
    #[serde(rename = "os:scheduler_hints", alias = "OS-SCH-HNT:scheduler_hints", default)]
    scheduler_hints: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerFields {
    name: String,
    #[serde(rename = "flavorRef")]
    flavor_ref: Reference,
    #[serde(rename = "imageRef", default)]
    image_ref: Sent<String>,
    key_name: Option<String>,
    metadata: Option<BTreeMap<String, Value>>,
    tags: Option<Vec<String>>,
    description: Option<String>,
    hostname: Option<String>,
    host: Option<String>,
    hypervisor_hostname: Option<String>,
    user_data: Option<String>,
    config_drive: Option<Truth>,
    availability_zone: Option<String>,
    security_groups: Option<Vec<SecurityGroup>>,
    networks: Option<Value>,
    block_device_mapping_v2: Option<Vec<BTreeMap<String, Value>>>,
    block_device_mapping: Option<Vec<BTreeMap<String, Value>>>,
    personality: Option<Vec<Personality>>,
    trusted_image_certificates: Option<Vec<String>>,
    min_count: Option<Whole>,
    max_count: Option<Whole>,
    return_reservation_id: Option<Truth>,
    #[serde(rename = "adminPass")]
    admin_pass: Option<String>,
    #[serde(rename = "OS-DCF:diskConfig")]
    disk_config: Option<String>,
    #[serde(rename = "accessIPv4", default)]
    access_ip_v4: Sent<String>,
    #[serde(rename = "accessIPv6", default)]
    access_ip_v6: Sent<String>,
}

/// A flavor: its id, or a link that ends in it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Reference {
    Text(String),
    Number(u64),
}

#[derive(Deserialize)]
struct SecurityGroup {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Personality {
    path: String,
    contents: String,
}

/// The files of a body, checked.
pub(super) fn personality(files: Vec<Personality>) -> Result<Vec<(String, String)>, Refusal> {
    files.into_iter().map(|Personality { path, contents }| Ok((path, fields::user_data(contents)?))).collect()
}

fn last_part(text: &str) -> &str {
    text.trim_end_matches('/').rsplit('/').next().unwrap_or(text)
}

/// An image: its UUID, or (below 2.36) a link that ends in it. Empty means none.
pub(super) fn image_id(text: &str) -> Result<Option<ImageId>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    last_part(text).parse().map(Some).map_err(|_| Refusal::invalid("Invalid imageRef provided."))
}

pub(super) async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    Body(body): Body<CreateBody>,
) -> Answer<Response> {
    let wants_reservation = body.server.return_reservation_id.is_some_and(|Truth(wanted)| wanted);
    let new = request(mv, body)?;
    let accepted = new::create(&app.cx, &actor, new).await?;
    if wants_reservation {
        let body = json!({"reservation_id": accepted.reservation_id});
        return Ok((StatusCode::ACCEPTED, Json(body)).into_response());
    }
    let Some(first) = accepted.instances.first() else {
        return Err(Refusal::invalid("min_count and max_count ask for no server at all.").into());
    };
    let groups = match first.intent.security_groups.as_slice() {
        [] => vec![json!({"name": "default"})],
        named => named.iter().map(|name| json!({"name": name})).collect(),
    };
    let body = json!({"server": {
        "id": first.id,
        "links": links(&base, "servers", first.id),
        "OS-DCF:diskConfig": first.intent.disk_config,
        "security_groups": groups,
        "adminPass": accepted.admin_pass,
    }});
    let mut headers = HeaderMap::new();
    if let Ok(location) = HeaderValue::from_str(&format!("{base}/compute/v2.1/servers/{}", first.id)) {
        headers.insert(header::LOCATION, location);
    }
    Ok((StatusCode::ACCEPTED, headers, Json(body)).into_response())
}

/// The request, as of its microversion, in the words of the floor below.
fn request(mv: Microversion, body: CreateBody) -> Result<NewInstances, Refusal> {
    let server = body.server;
    mv.takes_from(19, "description", server.description.is_some())?;
    mv.takes_from(52, "tags", server.tags.is_some())?;
    mv.takes_from(63, "trusted_image_certificates", server.trusted_image_certificates.is_some())?;
    mv.takes_from(74, "host", server.host.is_some())?;
    mv.takes_from(74, "hypervisor_hostname", server.hypervisor_hostname.is_some())?;
    mv.takes_from(90, "hostname", server.hostname.is_some())?;
    mv.takes_until(56, "personality", server.personality.is_some())?;
    networks(mv, server.networks)?;
    let image_ref = server.image_ref.value().unwrap_or_default();
    let image_id = match image_id(&image_ref)? {
        Some(id) => Some(id),
        None => image_of_devices(server.block_device_mapping_v2.as_deref())?,
    };
    only_local_root(&server.block_device_mapping_v2, &server.block_device_mapping)?;
    let (availability_zone, host) = zone_and_host(server.availability_zone, server.host, server.hypervisor_hostname)?;
    let (min_count, max_count) = counts(server.min_count, server.max_count)?;
    let tags: BTreeSet<String> =
        server.tags.unwrap_or_default().iter().map(|tag| fields::tag(tag)).collect::<Result<_, _>>()?;
    if tags.len() > corten_operations::instance::edit::MAX_TAGS {
        return Err(Refusal::invalid("Invalid input for field/attribute tags. A server has at most 50 tags"));
    }
    let flavor = match server.flavor_ref {
        Reference::Text(text) => last_part(&text).to_owned(),
        Reference::Number(number) => number.to_string(),
    };
    Ok(NewInstances {
        name: fields::server_name(mv, &server.name)?,
        description: fields::description(server.description.map_or(Sent::Absent, Sent::Value))?.flatten(),
        hostname: server.hostname.map(|hostname| fields::hostname(mv, &hostname)).transpose()?,
        flavor_id: Some(FlavorId::from(flavor)),
        image_id,
        key_name: server.key_name,
        metadata: fields::metadata(server.metadata.unwrap_or_default())?,
        tags,
        user_data: server.user_data.map(fields::user_data).transpose()?,
        config_drive: server.config_drive.map(|Truth(wanted)| wanted),
        availability_zone,
        host,
        disk_config: server.disk_config.map(fields::disk_config).transpose()?,
        security_groups: server.security_groups.unwrap_or_default().into_iter().map(|group| group.name).collect(),
        scheduler_hints: body.scheduler_hints,
        personality: personality(server.personality.unwrap_or_default())?,
        trusted_image_certificates: server.trusted_image_certificates,
        admin_pass: server.admin_pass.map(fields::admin_pass).transpose()?,
        access_ip_v4: fields::address("accessIPv4", server.access_ip_v4)?.unwrap_or_default(),
        access_ip_v6: fields::address("accessIPv6", server.access_ip_v6)?.unwrap_or_default(),
        min_count,
        max_count,
    })
}

/// From 2.37 on `networks` is required. There are no networks yet: only none at all can be kept as a promise.
fn networks(mv: Microversion, networks: Option<Value>) -> Result<(), Refusal> {
    match networks {
        None if mv.at_least(37) => Err(Refusal::invalid(
            "Invalid input for field/attribute server. 'networks' is a required property since 2.37",
        )),
        None => Ok(()),
        Some(Value::String(word)) if mv.at_least(37) && matches!(word.as_str(), "none" | "auto") => Ok(()),
        Some(Value::Array(list)) if list.is_empty() => Ok(()),
        Some(Value::Array(list)) => {
            let known = |entry: &Value| {
                entry.as_object().is_some_and(|entry| {
                    entry.keys().all(|key| matches!(key.as_str(), "uuid" | "port" | "fixed_ip" | "tag" | "network"))
                })
            };
            if !list.iter().all(known) {
                return Err(Refusal::invalid("Invalid input for field/attribute networks. Each entry names a uuid or a port"));
            }
            Err(Refusal::invalid(
                "Network not found: this cloud has no networks yet. Use \"networks\": \"none\" (--nic none).",
            ))
        }
        Some(other) => Err(Refusal::invalid(format!("Invalid input for field/attribute networks. Value: {other}. It is a list, or from 2.37 on 'none' or 'auto'"))),
    }
}

/// The image of a mapping that only says the obvious: boot from the image on a local disk.
fn image_of_devices(devices: Option<&[BTreeMap<String, Value>]>) -> Result<Option<ImageId>, Refusal> {
    let text = |device: &BTreeMap<String, Value>, key: &str| device.get(key).and_then(Value::as_str).map(str::to_owned);
    let root = devices.into_iter().flatten().find(|device| {
        text(device, "source_type").as_deref() == Some("image") && text(device, "destination_type").as_deref() == Some("local")
    });
    match root.and_then(|device| text(device, "uuid")) {
        Some(id) => image_id(&id),
        None => Ok(None),
    }
}

fn only_local_root(
    devices: &Option<Vec<BTreeMap<String, Value>>>,
    older: &Option<Vec<BTreeMap<String, Value>>>,
) -> Result<(), Refusal> {
    let local = |device: &BTreeMap<String, Value>| {
        device.get("source_type").and_then(Value::as_str) == Some("image")
            && device.get("destination_type").and_then(Value::as_str) == Some("local")
    };
    let volumes = devices.iter().flatten().any(|device| !local(device)) || older.iter().flatten().next().is_some();
    if volumes {
        return Err(Refusal::invalid(
            "Block Device Mapping is Invalid: this cloud has no volumes yet. Boot from an image with imageRef.",
        ));
    }
    Ok(())
}

/// `zone:host` names both; `host` (2.74) names the host alone.
fn zone_and_host(
    zone: Option<String>,
    host: Option<String>,
    hypervisor: Option<String>,
) -> Result<(Option<String>, Option<String>), Refusal> {
    let named = host.or(hypervisor);
    let Some(zone) = zone else { return Ok((None, named)) };
    let mut parts = zone.splitn(3, ':').map(str::to_owned);
    let zone = parts.next().filter(|zone| !zone.is_empty());
    let host = parts.next().filter(|host| !host.is_empty()).or(parts.next());
    if host.is_some() && named.is_some() {
        return Err(Refusal::invalid("Name the host once: in availability_zone or in host, not in both."));
    }
    Ok((zone, named.or(host)))
}

fn counts(min: Option<Whole>, max: Option<Whole>) -> Result<(u32, u32), Refusal> {
    let min = min.map(|count| count.size("min_count", 1)).transpose()?;
    let max = max.map(|count| count.size("max_count", 1)).transpose()?;
    let least = min.unwrap_or(1);
    let most = max.unwrap_or(least);
    if least > most {
        return Err(Refusal::invalid("min_count must be <= max_count"));
    }
    Ok((least, most))
}

