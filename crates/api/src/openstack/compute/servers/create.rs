//! `POST /servers`.

use super::block_devices::{self, BlockDevice, LegacyBlockDevice};
use super::fields::{self, Personality};
use super::{hints, networks};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::openstack::compute::input::{self, Sent, Truth, Whole, WordOrNumber};
use crate::openstack::compute::microversion::Microversion;
use crate::openstack::compute::paging::links;
use crate::params::BaseUrl;
use crate::problem::Answer;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use corten_model::ids::{FlavorId, ImageId};
use corten_model::lifecycle::InstanceClass;
use corten_model::refusal::Refusal;
use corten_operations::instance::edit::MAX_TAGS;
use corten_operations::instance::new::{self, NewInstances};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateBody {
    #[serde(deserialize_with = "fields::object")]
    server: ServerFields,
    #[serde(
        rename = "os:scheduler_hints",
        alias = "OS-SCH-HNT:scheduler_hints",
        default
    )]
    scheduler_hints: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerFields {
    name: String,
    #[serde(rename = "flavorRef")]
    flavor_ref: WordOrNumber,
    #[serde(rename = "imageRef", default, deserialize_with = "fields::given")]
    image_ref: Option<String>,
    #[serde(default, deserialize_with = "fields::given")]
    key_name: Option<String>,
    #[serde(default, deserialize_with = "fields::given")]
    metadata: Option<BTreeMap<String, Value>>,
    #[serde(default, deserialize_with = "fields::given")]
    tags: Option<Vec<String>>,
    #[serde(default)]
    description: Sent<String>,
    #[serde(default, deserialize_with = "fields::given")]
    hostname: Option<String>,
    #[serde(default, deserialize_with = "fields::given")]
    host: Option<String>,
    #[serde(default, deserialize_with = "fields::given")]
    hypervisor_hostname: Option<String>,
    #[serde(default, deserialize_with = "fields::given")]
    user_data: Option<String>,
    #[serde(default, deserialize_with = "fields::given")]
    config_drive: Option<Truth>,
    #[serde(default, deserialize_with = "fields::given")]
    availability_zone: Option<String>,
    #[serde(default, deserialize_with = "fields::given")]
    security_groups: Option<Vec<SecurityGroup>>,
    #[serde(default, deserialize_with = "fields::given")]
    networks: Option<Value>,
    #[serde(default, deserialize_with = "fields::given")]
    block_device_mapping_v2: Option<Vec<BlockDevice>>,
    #[serde(default, deserialize_with = "fields::given")]
    block_device_mapping: Option<Vec<LegacyBlockDevice>>,
    #[serde(default, deserialize_with = "fields::given")]
    personality: Option<Vec<Personality>>,
    #[serde(default)]
    trusted_image_certificates: Sent<Vec<String>>,
    #[serde(default, deserialize_with = "fields::given")]
    min_count: Option<Whole>,
    #[serde(default, deserialize_with = "fields::given")]
    max_count: Option<Whole>,
    #[serde(default, deserialize_with = "fields::given")]
    return_reservation_id: Option<Truth>,
    #[serde(rename = "adminPass", default, deserialize_with = "fields::given")]
    admin_pass: Option<String>,
    #[serde(
        rename = "OS-DCF:diskConfig",
        default,
        deserialize_with = "fields::given"
    )]
    disk_config: Option<String>,
    #[serde(rename = "accessIPv4", default, deserialize_with = "fields::given")]
    access_ip_v4: Option<String>,
    #[serde(rename = "accessIPv6", default, deserialize_with = "fields::given")]
    access_ip_v6: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecurityGroup {
    #[serde(default, deserialize_with = "fields::given")]
    name: Option<String>,
}

/// An image by its id; empty means none.
fn image_id(text: &str) -> Result<Option<ImageId>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Refusal::invalid(format!(
        "Invalid imageRef provided: Invalid input for field/attribute imageRef. Value: {text}. '{text}' is not a 'uuid'"
    )))
}

pub(super) async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    Body(body): Body<CreateBody>,
) -> Answer<Response> {
    let wants_reservation = body
        .server
        .return_reservation_id
        .is_some_and(|Truth(wanted)| wanted);
    let new = request(mv, body)?;
    let accepted = new::create(&app.cx, &actor, new).await?;
    if wants_reservation {
        let body = json!({"reservation_id": accepted.reservation_id});
        return Ok((StatusCode::ACCEPTED, Json(body)).into_response());
    }
    let Some(first) = accepted.instances.first() else {
        return Err(Refusal::invalid("min_count and max_count ask for no server at all.").into());
    };
    let groups = match (first.class, first.intent.security_groups.as_slice()) {
        // Nothing would enforce it.
        (InstanceClass::Metal, _) => Vec::new(),
        (InstanceClass::Vm, []) => vec![json!({"name": "default"})],
        (InstanceClass::Vm, named) => named.iter().map(|name| json!({"name": name})).collect(),
    };
    let body = json!({"server": {
        "id": first.id,
        "links": links(&base, "servers", first.id),
        "OS-DCF:diskConfig": first.intent.disk_config,
        "security_groups": groups,
        "adminPass": accepted.admin_pass,
    }});
    let mut headers = HeaderMap::new();
    if let Ok(location) =
        HeaderValue::from_str(&format!("{base}/compute/v2.1/servers/{}", first.id))
    {
        headers.insert(header::LOCATION, location);
    }
    Ok((StatusCode::ACCEPTED, headers, Json(body)).into_response())
}

/// The request, as of its microversion, in the words of the floor below.
fn request(mv: Microversion, body: CreateBody) -> Result<NewInstances, Refusal> {
    let server = body.server;
    mv.takes_from(19, "description", server.description.is_sent())?;
    mv.takes_from(52, "tags", server.tags.is_some())?;
    mv.takes_from(
        63,
        "trusted_image_certificates",
        server.trusted_image_certificates.is_sent(),
    )?;
    mv.takes_from(74, "host", server.host.is_some())?;
    mv.takes_from(
        74,
        "hypervisor_hostname",
        server.hypervisor_hostname.is_some(),
    )?;
    mv.takes_from(90, "hostname", server.hostname.is_some())?;
    mv.takes_until(56, "personality", server.personality.is_some())?;
    let networks = networks::read(mv, server.networks)?;
    hints::check(&body.scheduler_hints)?;
    let image_id = match image_id(&server.image_ref.unwrap_or_default())? {
        Some(id) => Some(id),
        None => block_devices::image(server.block_device_mapping_v2.as_deref())?,
    };
    block_devices::check(
        mv,
        server.block_device_mapping_v2,
        server.block_device_mapping,
    )?;
    let (availability_zone, host) = zone_and_host(
        server.availability_zone,
        server.host,
        server.hypervisor_hostname,
    )?;
    let (min_count, max_count) = counts(server.min_count, server.max_count)?;
    Ok(NewInstances {
        name: input::name("name", &server.name)?,
        description: fields::description(server.description)?.flatten(),
        hostname: server
            .hostname
            .map(|hostname| fields::hostname(mv, &hostname))
            .transpose()?,
        flavor_id: Some(flavor_id(server.flavor_ref)?),
        image_id,
        key_name: server
            .key_name
            .map(|name| input::name("key_name", &name))
            .transpose()?,
        metadata: fields::metadata(server.metadata.unwrap_or_default())?,
        tags: tags(server.tags.unwrap_or_default())?,
        user_data: server.user_data.map(fields::user_data).transpose()?,
        config_drive: server.config_drive.map(|Truth(wanted)| wanted),
        availability_zone,
        host,
        disk_config: server.disk_config.map(fields::disk_config).transpose()?,
        security_groups: security_groups(server.security_groups.unwrap_or_default())?,
        networks,
        // Nova has no word for it.
        public_ip: None,
        scheduler_hints: body.scheduler_hints,
        personality: fields::personality(server.personality.unwrap_or_default())?,
        trusted_image_certificates: fields::certificates(server.trusted_image_certificates)?
            .flatten(),
        admin_pass: server.admin_pass,
        access_ip_v4: server
            .access_ip_v4
            .map(|text| fields::address_v4(&text))
            .transpose()?
            .unwrap_or_default(),
        access_ip_v6: server
            .access_ip_v6
            .map(|text| fields::address_v6(&text))
            .transpose()?
            .unwrap_or_default(),
        min_count,
        max_count,
    })
}

/// A flavor: its id, or a link that ends in it.
pub(super) fn flavor_id(reference: WordOrNumber) -> Result<FlavorId, Refusal> {
    let text = reference.into_text();
    match text.trim_end_matches('/').rsplit('/').next() {
        Some(id) if !id.is_empty() => Ok(FlavorId::from(id)),
        _ => Err(Refusal::invalid(
            "Invalid input for field/attribute flavorRef. Value: . '' is too short",
        )),
    }
}

fn tags(tags: Vec<String>) -> Result<BTreeSet<String>, Refusal> {
    if tags.len() > MAX_TAGS {
        return Err(Refusal::invalid(format!(
            "Invalid input for field/attribute tags. A server has at most {MAX_TAGS} tags"
        )));
    }
    tags.iter().map(|tag| fields::tag(tag)).collect()
}

fn security_groups(groups: Vec<SecurityGroup>) -> Result<Vec<String>, Refusal> {
    let names = groups.into_iter().filter_map(|SecurityGroup { name }| name);
    names
        .map(|name| input::name("security_groups.name", &name))
        .collect()
}

/// `zone:host` and `zone:host:node` name a host too; `host` and `hypervisor_hostname` (2.74) name the host alone.
fn zone_and_host(
    zone: Option<String>,
    host: Option<String>,
    hypervisor: Option<String>,
) -> Result<(Option<String>, Option<String>), Refusal> {
    for (field, name) in [("host", &host), ("hypervisor_hostname", &hypervisor)] {
        if let Some(name) = name {
            fields::domain_name(field, name)?;
        }
    }
    if let (Some(host), Some(hypervisor)) = (&host, &hypervisor)
        && host != hypervisor
    {
        return Err(Refusal::invalid(format!(
            "No compute host has both the name {host} and the hypervisor {hypervisor}."
        )));
    }
    let named = host.or(hypervisor);
    let Some(zone) = zone else {
        return Ok((None, named));
    };
    input::name("availability_zone", &zone)?;
    let mut parts = zone
        .split(':')
        .map(|part| Some(part.to_owned()).filter(|part| !part.is_empty()));
    let (zone, host, node, more) = (
        parts.next().flatten(),
        parts.next(),
        parts.next(),
        parts.next(),
    );
    if more.is_some() {
        return Err(Refusal::invalid(
            "Invalid availability zone: it has the form zone, zone:host or zone:host:node.",
        ));
    }
    let forced = host.flatten().or(node.flatten());
    if forced.is_some() && named.is_some() {
        return Err(Refusal::invalid(
            "Name the host once: in availability_zone or in host, not in both.",
        ));
    }
    Ok((zone, named.or(forced)))
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
