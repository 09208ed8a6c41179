//! `POST /servers/{id}/action`: one key names the action, its value are the arguments.

use super::view::{Mode, Server};
use super::{
    capture, console, fields, interface_actions as interface, parse_id, rebuild, reshape, viewer,
};
use crate::app::App;
use crate::auth::Caller;
use crate::body::{self, Body};
use crate::openstack::compute::microversion::Microversion;
use crate::params::BaseUrl;
use crate::problem::Answer;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use corten_iam::actor::Actor;
use corten_model::ids::{ImageId, InstanceId};
use corten_model::lifecycle::Command;
use corten_model::refusal::Refusal;
use corten_operations::instance::{capability, command, crash_dump, edit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What every action gets.
pub(super) struct Action<'a> {
    pub app: &'a App,
    pub actor: &'a Actor,
    pub mv: Microversion,
    pub base: &'a str,
    pub id: InstanceId,
    arguments: Value,
}

pub(super) async fn act(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Response> {
    let mut keys = body.into_iter();
    let (Some((name, arguments)), None) = (keys.next(), keys.next()) else {
        return Err(Refusal::invalid(
            "The body of an action has exactly one key: the name of the action.",
        )
        .into());
    };
    let action = Action {
        app: &app,
        actor: &actor,
        mv,
        base: &base,
        id: parse_id(&id)?,
        arguments,
    };
    dispatch(&name, action).await
}

async fn dispatch(name: &str, action: Action<'_>) -> Answer<Response> {
    let simple = match name {
        "os-start" => Some(Command::Start),
        "os-stop" => Some(Command::Stop),
        "pause" => Some(Command::Pause),
        "unpause" => Some(Command::Unpause),
        "suspend" => Some(Command::Suspend),
        "resume" => Some(Command::Resume),
        "unrescue" => Some(Command::Unrescue),
        _ => None,
    };
    if let Some(simple) = simple {
        return action.simple(simple).await;
    }
    match name {
        "reboot" => action.reboot().await,
        "createImage" => capture::image(&action).await,
        "createBackup" => capture::backup(&action).await,
        "resize" => reshape::resize(&action).await,
        "confirmResize" => reshape::confirm(&action).await,
        "revertResize" => reshape::revert(&action).await,
        "shelve" => reshape::shelve(&action).await,
        "shelveOffload" => reshape::offload(&action).await,
        "unshelve" => reshape::unshelve(&action).await,
        "migrate" => reshape::migrate(&action).await,
        "os-migrateLive" => reshape::migrate_live(&action).await,
        "rebuild" => action.rebuild().await,
        "rescue" => action.rescue().await,
        "forceDelete" => action.force_delete().await,
        "lock" => action.lock().await,
        "unlock" => action.unlock().await,
        "os-resetState" => action.reset_state().await,
        "restore" => action.restore().await,
        "changePassword" => action.change_password().await,
        "addSecurityGroup" => interface::set_group(&action, true).await,
        "removeSecurityGroup" => interface::set_group(&action, false).await,
        "addFixedIp" if !action.mv.at_least(44) => interface::add_fixed_ip(&action).await,
        "removeFixedIp" if !action.mv.at_least(44) => interface::remove_fixed_ip(&action).await,
        "addFloatingIp" if !action.mv.at_least(44) => interface::add_floating_ip(&action).await,
        "removeFloatingIp" if !action.mv.at_least(44) => {
            interface::remove_floating_ip(&action).await
        }
        "injectNetworkInfo" => action.inject_network_info().await,
        "resetNetwork" => {
            Err(Refusal::gone("The action resetNetwork was for a hypervisor that is gone.").into())
        }
        "trigger_crash_dump" if action.mv.at_least(17) => action.trigger_crash_dump().await,
        "evacuate" => action.evacuate().await,
        "os-getConsoleOutput" => console::output(&action, action.arguments()?).await,
        "os-getVNCConsole" | "os-getSerialConsole" | "os-getSPICEConsole" | "os-getRDPConsole"
            if !action.mv.at_least(6) =>
        {
            console::legacy(&action, name, action.arguments()?).await
        }
        other => Err(no_such_action(other).into()),
    }
}

fn no_such_action(name: &str) -> Refusal {
    Refusal::invalid(format!("There is no such action: {name}"))
}

/// The answer to a rebuild.
#[derive(Serialize)]
struct Rebuilt<'a> {
    #[serde(flatten)]
    server: Server<'a>,
    #[serde(rename = "adminPass")]
    admin_pass: String,
}

pub(super) fn accepted() -> Response {
    StatusCode::ACCEPTED.into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reboot {
    r#type: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rescue {
    #[serde(rename = "adminPass", default, deserialize_with = "fields::given")]
    admin_pass: Option<String>,
    #[serde(default, deserialize_with = "fields::given")]
    rescue_image_ref: Option<ImageId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    #[serde(default, deserialize_with = "fields::given")]
    locked_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetState {
    state: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    #[serde(rename = "adminPass")]
    _admin_pass: String,
}

impl Action<'_> {
    /// The arguments, read strictly.
    pub fn arguments<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        if !self.arguments.is_object() {
            let sent = &self.arguments;
            return Err(Refusal::invalid(format!(
                "Invalid input: the arguments of an action are an object, not {sent}."
            )));
        }
        body::read(self.arguments.clone())
    }

    /// The arguments of an action that can do without.
    pub fn arguments_or_null<T: DeserializeOwned>(&self) -> Result<Option<T>, Refusal> {
        if self.arguments.is_null() {
            return Ok(None);
        }
        self.arguments().map(Some)
    }

    async fn simple(self, command: Command) -> Answer<Response> {
        command::simple(&self.app.cx, self.actor, self.id, command).await?;
        Ok(accepted())
    }

    async fn reboot(self) -> Answer<Response> {
        let Reboot { r#type } = self.arguments()?;
        let command = match r#type.as_str() {
            "SOFT" | "Soft" | "soft" => Command::SoftReboot,
            "HARD" | "Hard" | "hard" => Command::HardReboot,
            _ => {
                return Err(Refusal::invalid(format!(
                    "Invalid input for field/attribute type. Value: {type}. '{type}' is not one of ['HARD', 'Hard', 'hard', 'SOFT', 'Soft', 'soft']"
                ))
                .into());
            }
        };
        self.simple(command).await
    }

    async fn rebuild(self) -> Answer<Response> {
        let change = rebuild::request(self.mv, self.arguments()?)?;
        let (instance, admin_pass) =
            command::rebuild(&self.app.cx, self.actor, self.id, change).await?;
        let shown = std::slice::from_ref(&instance);
        let viewer = viewer(self.app, self.actor, self.mv, self.base, shown).await?;
        let server = Rebuilt {
            server: viewer.server(&instance, Mode::Rebuild),
            admin_pass,
        };
        let location = [(
            header::LOCATION,
            format!("{}/compute/v2.1/servers/{}", self.base, self.id),
        )];
        Ok((
            StatusCode::ACCEPTED,
            location,
            Json(json!({"server": server})),
        )
            .into_response())
    }

    async fn rescue(self) -> Answer<Response> {
        let arguments = if self.arguments.is_null() {
            None
        } else {
            Some(self.arguments::<Rescue>()?)
        };
        let (admin_pass, image) = arguments.map_or((None, None), |rescue| {
            (rescue.admin_pass, rescue.rescue_image_ref)
        });
        let admin_pass =
            command::rescue(&self.app.cx, self.actor, self.id, image, admin_pass).await?;
        Ok(Json(json!({"adminPass": admin_pass})).into_response())
    }

    async fn force_delete(self) -> Answer<Response> {
        command::force_delete(&self.app.cx, self.actor, self.id).await?;
        Ok(accepted())
    }

    async fn restore(self) -> Answer<Response> {
        command::restore(&self.app.cx, self.actor, self.id).await?;
        Ok(accepted())
    }

    async fn change_password(self) -> Answer<Response> {
        let ChangePassword { .. } = self.arguments()?;
        command::change_password(&self.app.cx, self.actor, self.id).await?;
        Ok(accepted())
    }

    /// For hypervisors that write the addresses into the guest: ours gets them from the network, so nothing is to do.
    async fn inject_network_info(self) -> Answer<Response> {
        command::inject_network_info(&self.app.cx, self.actor, self.id).await?;
        Ok(accepted())
    }

    async fn trigger_crash_dump(self) -> Answer<Response> {
        if !self.arguments.is_null() {
            let sent = &self.arguments;
            return Err(Refusal::invalid(format!(
                "Invalid input for field/attribute trigger_crash_dump. Value: {sent}. It is null: the action takes no \
                 arguments."
            ))
            .into());
        }
        crash_dump::trigger(&self.app.cx, self.actor, self.id).await?;
        Ok(accepted())
    }

    /// Nothing is rebuilt elsewhere; a whole server never will be, and its refusal says why.
    async fn evacuate(self) -> Answer<Response> {
        capability::check(&self.app.cx, self.actor, self.id, Command::Evacuate).await?;
        Err(no_such_action("evacuate").into())
    }

    async fn lock(self) -> Answer<Response> {
        // Before 2.73 the value means nothing, whatever it is.
        let reason = match self.arguments {
            Value::Null => None,
            _ if !self.mv.at_least(73) => None,
            _ => self.arguments::<Lock>()?.locked_reason,
        };
        if reason
            .as_ref()
            .is_some_and(|reason| reason.is_empty() || reason.chars().count() > 255)
        {
            return Err(Refusal::invalid(
                "Invalid input for field/attribute locked_reason. It has 1 to 255 characters",
            )
            .into());
        }
        edit::lock(&self.app.cx, self.actor, self.id, reason).await?;
        Ok(accepted())
    }

    async fn unlock(self) -> Answer<Response> {
        edit::unlock(&self.app.cx, self.actor, self.id).await?;
        Ok(accepted())
    }

    async fn reset_state(self) -> Answer<Response> {
        let ResetState { state } = self.arguments()?;
        let active = match state.as_str() {
            "active" => true,
            "error" => false,
            other => {
                return Err(Refusal::invalid(format!(
                    "Invalid input for field/attribute state. Value: {other}. '{other}' is not one of ['active', 'error']"
                ))
                .into());
            }
        };
        command::reset_state(&self.app.cx, self.actor, self.id, active).await?;
        Ok(accepted())
    }
}
