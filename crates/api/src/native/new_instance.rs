//! `POST /v1/instances`: an instance, with a public IP if one is wanted.

use super::instances::{self, View};
use super::{Refusals, public_ips};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::openstack::compute::input;
use crate::openstack::compute::servers::fields;
use crate::problem::Answer;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use corten_model::ids::{FlavorId, ImageId, NetworkId};
use corten_model::refusal::Refusal;
use corten_operations::instance::networks::{Asked, Networks};
use corten_operations::instance::new::{self, NewInstances};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewInstance {
    name: String,
    description: Option<String>,
    flavor_id: String,
    image_id: String,
    /// A key pair of yours.
    key_name: Option<String>,
    /// A card on each of these networks; none for an empty list. Left out: the one network that the project has, if any. A
    /// bare-metal server is on the flat network that it is deployed on: leave it out for a flavor of those.
    network_ids: Option<Vec<String>>,
    /// By name or id; `default` if left out. A bare-metal server has none, as nothing would enforce it: leave it out.
    #[serde(default)]
    security_groups: Vec<String>,
    /// For cloud-init, in base64.
    user_data: Option<String>,
    /// `ephemeral` for one from the pool, which is given back when the instance stops, is shelved or deleted, or
    /// `static:ID` for a floating IP that the project holds and that leads nowhere. Left out: none. Not for bare-metal servers.
    #[schema(example = "ephemeral")]
    public_ip: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateInstance {
    instance: NewInstance,
}

#[derive(Serialize, ToSchema)]
pub(super) struct CreatedInstance {
    instance: View,
    /// For the guest's console; it is told only once.
    admin_password: String,
}

/// Accepts a new instance. Its ports and its public IP are there at once, the guest when the state says so.
#[utoipa::path(
    post,
    path = "/v1/instances",
    tag = "instances",
    request_body = CreateInstance,
    responses(
        (status = 202, description = "It is being made.", body = CreatedInstance),
        (
            status = 409,
            description = "A network or the public IP cannot be had now, or servers of the flavor lack what is asked for.",
            body = super::Problem
        ),
        Refusals
    ),
    security(("token" = []))
)]
pub(super) async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(CreateInstance { instance }): Body<CreateInstance>,
) -> Answer<(StatusCode, Json<CreatedInstance>)> {
    let accepted = new::create(&app.cx, &actor, request(instance)?).await?;
    let mut made = instances::views(&app, &actor, &accepted.instances).await?;
    let instance = made
        .pop()
        .ok_or_else(|| Refusal::unavailable("No instance was made: ask again."))?;
    let created = CreatedInstance {
        instance,
        admin_password: accepted.admin_pass,
    };
    Ok((StatusCode::ACCEPTED, Json(created)))
}

fn request(new: NewInstance) -> Result<NewInstances, Refusal> {
    let NewInstance {
        name,
        description,
        flavor_id,
        image_id,
        key_name,
        network_ids,
        security_groups,
        user_data,
        public_ip,
    } = new;
    let description = description
        .map(|text| input::description("description", &text, 255))
        .transpose()?;
    Ok(NewInstances {
        name: input::name("name", &name)?,
        description,
        flavor_id: Some(FlavorId::from(flavor_id.as_str())),
        image_id: Some(image(&image_id)?),
        key_name,
        networks: networks(network_ids)?,
        security_groups,
        user_data: user_data.map(fields::user_data).transpose()?,
        public_ip: public_ip.as_deref().map(public_ips::wanted).transpose()?,
        min_count: 1,
        max_count: 1,
        ..NewInstances::default()
    })
}

fn image(id: &str) -> Result<ImageId, Refusal> {
    id.parse()
        .map_err(|_| Refusal::invalid(format!("image_id '{id}' is no id of an image.")))
}

fn networks(ids: Option<Vec<String>>) -> Result<Networks, Refusal> {
    let Some(ids) = ids else {
        return Ok(Networks::Unsaid);
    };
    if ids.is_empty() {
        return Ok(Networks::None);
    }
    let asked = |id: &String| -> Result<Asked, Refusal> {
        let network: NetworkId = id.parse().map_err(|_| {
            Refusal::invalid(format!(
                "network_ids holds '{id}', which is no id of a network."
            ))
        })?;
        Ok(Asked {
            network_id: Some(network),
            ..Asked::default()
        })
    };
    let asked: Result<_, _> = ids.iter().map(asked).collect();
    Ok(Networks::These(asked?))
}
