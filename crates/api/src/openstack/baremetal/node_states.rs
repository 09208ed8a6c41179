//! `/nodes/{node}/states`: where a node stands, and the verbs that move it.

use super::kit::{Values, ident, ident_since};
use super::node_view::{NODE, NodeView};
use super::schema::Wanted;
use super::version::Version;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::BaseUrl;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use axum::routing::{get, put};
use axum::{Json, Router};
use corten_bmc::BootMode;
use corten_model::lifecycle::node::{NodePowerTarget, NodeVerb, ProvisionState};
use corten_model::refusal::Refusal;
use corten_operations::metal::conductor::Assignment;
use corten_operations::metal::provision::{self, Wish};
use corten_operations::metal::{Ident, access, management, node, power_node, raid};
use corten_store::metal::node::Step;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/nodes/{node}/states", get(states))
        .route("/nodes/{node}/states/power", put(power))
        .route("/nodes/{node}/states/provision", put(provision))
        .route("/nodes/{node}/states/raid", put(raid))
        .route("/nodes/{node}/states/boot_mode", put(boot_mode))
        .route("/nodes/{node}/states/secure_boot", put(secure_boot))
        .route(
            "/nodes/{node}/states/console",
            get(console).put(set_console),
        )
        // What is no state cannot be set.
        .route("/nodes/{node}/states/{state}", get(no_such_state))
        // An older spelling of the same.
        .route("/nodes/states/console/{node}", get(console))
}

const STATES: &[&str] = &[
    "power_state",
    "target_power_state",
    "provision_state",
    "target_provision_state",
    "provision_updated_at",
    "last_error",
    "console_enabled",
    "raid_config",
    "target_raid_config",
    "boot_mode",
    "secure_boot",
];

async fn states(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = node::show(&app.cx, &actor, &ident_since(version, 5, &id)).await?;
    let wanted = Wanted::These(STATES.iter().map(|field| (*field).to_owned()).collect());
    let nobody = Assignment::default();
    let view = NodeView::new(version, &base, &found, &nobody);
    Ok(Json(Value::Object(view.of(NODE.chosen(version, &wanted)))))
}

async fn no_such_state(Caller(_): Caller) -> StatusCode {
    StatusCode::NOT_FOUND
}

/// 202, and where to look.
fn accepted(base: &str, id: &str) -> axum::response::Response {
    let location = format!("{base}/baremetal/v1/nodes/{id}/states");
    (StatusCode::ACCEPTED, [(LOCATION, location)]).into_response()
}

async fn power(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let ident = ident_since(version, 5, &id);
    access::may_operate(&app.cx, &actor, &ident).await?;
    let mut body = Values(body);
    let word = body.required_text("target")?;
    let timeout = body.number("timeout")?;
    let target: NodePowerTarget = word.parse().map_err(Refusal::invalid)?;
    if matches!(
        target,
        NodePowerTarget::SoftOff | NodePowerTarget::SoftRebooting
    ) {
        version.acceptable_from(27, format!("The target '{target}'"))?;
    }
    let timeout = match timeout {
        None => None,
        Some(secs) => {
            version.acceptable_from(27, "The attribute 'timeout'")?;
            let secs = u64::try_from(secs).ok().filter(|secs| *secs > 0);
            Some(secs.ok_or_else(|| Refusal::invalid("timeout has to be positive integer"))?)
        }
    };
    power_node::set(&app.cx, &actor, &ident, target, timeout).await?;
    Ok(accepted(&base, &id))
}

/// The version that brought a verb, by the word that it was asked with.
fn since(word: &str, verb: NodeVerb) -> u16 {
    match verb {
        _ if matches!(word, "deploy" | "undeploy") => 73,
        NodeVerb::Active | NodeVerb::Rebuild | NodeVerb::Deleted => 1,
        NodeVerb::Manage | NodeVerb::Provide => 4,
        NodeVerb::Inspect => 6,
        NodeVerb::Abort => 13,
        NodeVerb::Clean => 15,
        NodeVerb::Adopt => 17,
        NodeVerb::Rescue | NodeVerb::Unrescue => 38,
        NodeVerb::Unhold => 85,
        NodeVerb::Service => 87,
    }
}

async fn provision(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let ident = ident_since(version, 5, &id);
    let node = access::may_operate(&app.cx, &actor, &ident).await?;
    let wish = wish(version, body)?;
    if wish.verb == NodeVerb::Abort {
        match node.provision.state {
            ProvisionState::InspectWait => {
                version.acceptable_from(41, "The target 'abort' for a node that is inspected")?;
            }
            ProvisionState::WaitCallBack => {
                version.acceptable_from(110, "The target 'abort' for a node that is deployed")?;
            }
            _ => {}
        }
    }
    provision::set(&app.cx, &actor, &ident, wish).await?;
    Ok(accepted(&base, &id))
}

fn wish(version: Version, body: Map<String, Value>) -> Result<Wish, Refusal> {
    let mut body = Values(body);
    let word = body.required_text("target")?;
    let verb = NodeVerb::from_target(&word).ok_or_else(|| {
        let legal: Vec<_> = NodeVerb::ALL.iter().map(|verb| verb.as_str()).collect();
        Refusal::invalid(format!(
            "The requested action \"{word}\" is not known. Those that are: {}.",
            legal.join(", ")
        ))
    })?;
    version.acceptable_from(since(&word, verb), format!("The target '{word}'"))?;
    let mut asked = None;
    for (field, minor, verbs) in [
        ("clean_steps", 15, &[NodeVerb::Clean][..]),
        ("deploy_steps", 69, &[NodeVerb::Active, NodeVerb::Rebuild]),
        ("service_steps", 87, &[NodeVerb::Service]),
    ] {
        let Some(value) = body.0.remove(field).filter(|value| !value.is_null()) else {
            continue;
        };
        version.acceptable_from(minor, format!("The attribute '{field}'"))?;
        if !verbs.contains(&verb) {
            return Err(Refusal::invalid(format!(
                "{field} is not legal with the target '{word}'."
            )));
        }
        asked = Some(steps(field, value)?);
    }
    let runbook = body.text("runbook")?;
    if runbook.is_some() {
        version.acceptable_from(92, "The attribute 'runbook'")?;
    }
    let config_drive = body
        .0
        .remove("configdrive")
        .filter(|value| !value.is_null());
    if let Some(drive) = &config_drive {
        check_config_drive(version, verb, drive)?;
    }
    if let Some(disabled) = body.truth("disable_ramdisk")? {
        check_disable_ramdisk(version, verb, disabled)?;
    }
    let rescue_password = body.text("rescue_password")?;
    if let Some(unknown) = body.0.keys().next() {
        return Err(Refusal::invalid(format!(
            "Unknown attribute '{unknown}' of a change of the provision state."
        )));
    }
    Ok(Wish {
        verb,
        steps: asked,
        runbook: runbook.map(|text| Ident {
            text,
            by_name: true,
        }),
        config_drive: config_drive.map(|drive| drive.to_string()),
        rescue_password,
    })
}

/// Ways to give a config drive came one after the other; each is refused with 400 before.
fn check_config_drive(version: Version, verb: NodeVerb, drive: &Value) -> Result<(), Refusal> {
    let since = |minor: u16, what: &str| {
        if version.at_least(minor) {
            return Ok(());
        }
        Err(Refusal::invalid(format!(
            "{what} is only supported starting with API version 1.{minor}; this request asked for {version}."
        )))
    };
    if verb == NodeVerb::Rebuild {
        since(35, "Adding a config drive with the target 'rebuild'")?;
    }
    if let Value::Object(parts) = drive {
        since(56, "Providing a JSON object for configdrive")?;
        if parts.contains_key("vendor_data") {
            since(59, "Providing vendor_data in configdrive")?;
        }
    }
    Ok(())
}

fn check_disable_ramdisk(version: Version, verb: NodeVerb, disabled: bool) -> Result<(), Refusal> {
    let minor = match verb {
        NodeVerb::Clean => 70,
        NodeVerb::Service => 108,
        _ => {
            return Err(Refusal::invalid(
                "disable_ramdisk is supported only with manual cleaning or servicing.",
            ));
        }
    };
    version.acceptable_from(
        minor,
        format!("The attribute 'disable_ramdisk' with the target '{verb}'"),
    )?;
    if disabled {
        return Err(Refusal::invalid(
            "disable_ramdisk cannot be true: every step of this cloud is run from within the server.",
        ));
    }
    Ok(())
}

/// Steps as a request lists them.
fn steps(field: &str, value: Value) -> Result<Vec<Step>, Refusal> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        interface: String,
        step: String,
        #[serde(default)]
        args: Map<String, Value>,
        #[serde(default)]
        priority: u32,
        /// How many nodes may be at it; this cloud has one limit for all.
        #[serde(default)]
        execute_on_child_nodes: bool,
    }
    let asked: Vec<Asked> = serde_json::from_value(value)
        .map_err(|error| Refusal::invalid(format!("Provided {field} are invalid: {error}.")))?;
    if asked.is_empty() {
        return Err(Refusal::invalid(format!("{field} is empty.")));
    }
    if asked.iter().any(|step| step.execute_on_child_nodes) {
        return Err(Refusal::invalid(
            "execute_on_child_nodes is not taken: ask for the steps on each child node.",
        ));
    }
    Ok(asked
        .into_iter()
        .map(|step| Step {
            interface: step.interface,
            step: step.step,
            args: step.args,
            priority: step.priority,
            booted: false,
        })
        .collect())
}

async fn raid(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<StatusCode> {
    version.acceptable_from(12, "The RAID configuration")?;
    raid::set(&app.cx, &actor, &ident(version, &id), body).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn boot_mode(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let named = ident(version, &id);
    access::may_write(&app.cx, &actor, &named).await?;
    version.exists_from(76)?;
    let mode = match Values(body).required_text("target")?.as_str() {
        "uefi" => BootMode::Uefi,
        "bios" => BootMode::Legacy,
        other => {
            return Err(Refusal::invalid(format!(
                "The boot mode '{other}' is none of uefi and bios."
            ))
            .into());
        }
    };
    management::set_boot_mode(&app.cx, &actor, &named, mode).await?;
    Ok(accepted(&base, &id))
}

async fn secure_boot(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let named = ident(version, &id);
    access::may_write(&app.cx, &actor, &named).await?;
    version.exists_from(76)?;
    let wanted = Values(body).truth("target")?;
    let wanted = wanted.ok_or_else(|| Refusal::invalid("Mandatory field missing: 'target'."))?;
    management::set_secure_boot(&app.cx, &actor, &named, wanted).await?;
    Ok(accepted(&base, &id))
}

async fn console(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let enabled = management::console(&app.cx, &actor, &ident_since(version, 5, &id)).await?;
    // Nobody connects to it: what is printed is kept, and is the console log of the instance.
    let info = enabled.then(|| json!({"type": "log"}));
    Ok(Json(
        json!({"console_enabled": enabled, "console_info": info}),
    ))
}

async fn set_console(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let named = ident_since(version, 5, &id);
    access::may_write(&app.cx, &actor, &named).await?;
    let wanted = Values(body).truth("enabled")?;
    let wanted = wanted.ok_or_else(|| Refusal::invalid("Mandatory field missing: 'enabled'."))?;
    management::set_console(&app.cx, &actor, &named, wanted).await?;
    Ok(accepted(&base, &id))
}
