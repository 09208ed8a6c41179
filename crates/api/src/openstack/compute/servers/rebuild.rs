//! The `rebuild` action's body.

use super::fields::{self, Personality};
use crate::openstack::compute::input::{self, Sent, Truth};
use crate::openstack::compute::microversion::Microversion;
use corten_model::ids::ImageId;
use corten_model::refusal::Refusal;
use corten_operations::instance::command::Rebuild;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RebuildFields {
    #[serde(rename = "imageRef")]
    image_ref: ImageId,
    #[serde(default, deserialize_with = "fields::given")]
    name: Option<String>,
    #[serde(default)]
    description: Sent<String>,
    #[serde(default, deserialize_with = "fields::given")]
    hostname: Option<String>,
    #[serde(default, deserialize_with = "fields::given")]
    metadata: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    key_name: Sent<String>,
    #[serde(default)]
    user_data: Sent<String>,
    #[serde(default, deserialize_with = "fields::given")]
    personality: Option<Vec<Personality>>,
    #[serde(
        rename = "OS-DCF:diskConfig",
        default,
        deserialize_with = "fields::given"
    )]
    disk_config: Option<String>,
    #[serde(default)]
    trusted_image_certificates: Sent<Vec<String>>,
    #[serde(rename = "adminPass", default, deserialize_with = "fields::given")]
    admin_pass: Option<String>,
    #[serde(default, deserialize_with = "fields::given")]
    preserve_ephemeral: Option<Truth>,
    #[serde(rename = "accessIPv4", default, deserialize_with = "fields::given")]
    access_ip_v4: Option<String>,
    #[serde(rename = "accessIPv6", default, deserialize_with = "fields::given")]
    access_ip_v6: Option<String>,
}

/// The request, as of its microversion, in the words of the floor below.
pub(super) fn request(mv: Microversion, body: RebuildFields) -> Result<Rebuild, Refusal> {
    mv.takes_from(19, "description", body.description.is_sent())?;
    mv.takes_from(54, "key_name", body.key_name.is_sent())?;
    mv.takes_from(57, "user_data", body.user_data.is_sent())?;
    mv.takes_from(
        63,
        "trusted_image_certificates",
        body.trusted_image_certificates.is_sent(),
    )?;
    mv.takes_from(90, "hostname", body.hostname.is_some())?;
    mv.takes_until(56, "personality", body.personality.is_some())?;
    if body.preserve_ephemeral == Some(Truth(true)) {
        return Err(Refusal::invalid(
            "preserve_ephemeral is not possible here: a rebuild makes every local disk anew.",
        ));
    }
    let user_data = match body.user_data {
        Sent::Absent => None,
        Sent::Null => Some(None),
        Sent::Value(text) => Some(Some(fields::user_data(text)?)),
    };
    Ok(Rebuild {
        image_id: Some(body.image_ref),
        name: body
            .name
            .map(|name| input::name("name", &name))
            .transpose()?,
        description: fields::description(body.description)?,
        hostname: body
            .hostname
            .map(|hostname| fields::hostname(mv, &hostname))
            .transpose()?,
        metadata: body.metadata.map(fields::metadata).transpose()?,
        key_name: key_name(body.key_name)?,
        user_data,
        personality: body.personality.map(fields::personality).transpose()?,
        disk_config: body.disk_config.map(fields::disk_config).transpose()?,
        trusted_image_certificates: fields::certificates(body.trusted_image_certificates)?,
        admin_pass: body.admin_pass,
        access_ip_v4: body
            .access_ip_v4
            .map(|text| fields::address_v4(&text))
            .transpose()?,
        access_ip_v6: body
            .access_ip_v6
            .map(|text| fields::address_v6(&text))
            .transpose()?,
    })
}

/// Null takes the key away, absence leaves it.
fn key_name(sent: Sent<String>) -> Result<Option<Option<String>>, Refusal> {
    Ok(match sent {
        Sent::Absent => None,
        Sent::Null => Some(None),
        Sent::Value(name) => Some(Some(input::name("key_name", &name)?)),
    })
}
