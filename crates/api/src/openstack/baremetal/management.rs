//! `/nodes/{node}/management` and `/nodes/{node}/vmedia`: boot device, indicators, interrupt, virtual media.

use super::kit::{Values, ident, ident_since, links};
use super::version::{Since, Version};
use crate::app::App;
use crate::auth::Caller;
use crate::body::{self, Body};
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, put};
use axum::{Json, Router};
use bytes::Bytes;
use corten_bmc::{BootDevice, Indicator, Lasting, Media, MediaKind, MediaSlot};
use corten_model::refusal::Refusal;
use corten_operations::metal::{access, management};
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    let boot = "/nodes/{node}/management/boot_device";
    Router::new()
        .route(boot, get(boot_device).put(set_boot_device))
        .route(&format!("{boot}/supported"), get(supported))
        .route("/nodes/{node}/management/inject_nmi", put(inject_nmi))
        .route("/nodes/{node}/management/indicators", get(indicators))
        .route(
            "/nodes/{node}/management/indicators/{place}",
            get(indicator).put(set_indicator),
        )
        .route(
            "/nodes/{node}/vmedia",
            get(media)
                .put(no_such_method)
                .post(attach_media)
                .delete(detach_media),
        )
}

const DEVICES: &[(BootDevice, &str)] = &[
    (BootDevice::Network, "pxe"),
    (BootDevice::Disk, "disk"),
    (BootDevice::Cdrom, "cdrom"),
    (BootDevice::Setup, "bios"),
    (BootDevice::Http, "uefihttp"),
    (BootDevice::Floppy, "floppy"),
    (BootDevice::Usb, "usb"),
];

fn word(device: BootDevice) -> Option<&'static str> {
    DEVICES
        .iter()
        .find(|(known, _)| *known == device)
        .map(|(_, word)| *word)
}

async fn boot_device(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let named = ident_since(version, 5, &id);
    let boot = management::boot_device(&app.cx, &actor, &named).await?;
    Ok(Json(json!({
        "boot_device": word(boot.device),
        "persistent": boot.lasting == Lasting::Always,
    })))
}

async fn set_boot_device(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    params: Params,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<StatusCode> {
    let named = ident_since(version, 5, &id);
    access::may_write(&app.cx, &actor, &named).await?;
    let mut body = Values(body);
    let text = body.required_text("boot_device")?;
    let persistent = body.truth("persistent")?.or(params.truth("persistent")?);
    let device = DEVICES.iter().find(|(_, word)| *word == text);
    let (device, _) =
        device.ok_or_else(|| Refusal::invalid(format!("Invalid boot device {text} specified.")))?;
    let lasting = match persistent {
        Some(true) => Lasting::Always,
        _ => Lasting::Once,
    };
    management::set_boot_device(&app.cx, &actor, &named, *device, lasting).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn supported(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let named = ident_since(version, 5, &id);
    let found = management::supported_boot_devices(&app.cx, &actor, &named).await?;
    let words: Vec<_> = found.iter().filter_map(|device| word(*device)).collect();
    Ok(Json(json!({ "supported_boot_devices": words })))
}

async fn inject_nmi(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<29>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    management::inject_nmi(&app.cx, &actor, &ident(version, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The one light that a BMC has, on the server as a whole.
const COMPONENT: &str = "system";
const LIGHT: &str = "led";

async fn indicators(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<63>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let node = access::read_node(&app.cx, &actor, &ident(version, &id)).await?;
    let own = node.driver_part("management") != "ipmitool";
    let name = format!("{LIGHT}@{COMPONENT}");
    let light = json!({
        "name": name,
        "component": COMPONENT,
        "readonly": false,
        "states": ["ON", "OFF", "BLINKING"],
        "links": links(&base, &format!("nodes/{id}/management/indicators/{name}")),
    });
    let found: Vec<_> = Some(light).filter(|_| own).into_iter().collect();
    Ok(Json(json!({ "indicators": found })))
}

/// Refuses any other indicator than `led@system`.
fn check_place(text: &str) -> Result<(), Refusal> {
    match text.split_once('@') {
        None => Err(Refusal::invalid(format!(
            "Malformed indicator name \"{text}\": it is {LIGHT}@{COMPONENT}, the light and what it is on."
        ))),
        Some((LIGHT, COMPONENT)) => Ok(()),
        Some(_) => Err(Refusal::not_found(format!(
            "There is no indicator {text}: a server has {LIGHT}@{COMPONENT}."
        ))),
    }
}

async fn indicator(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path((id, text)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let named = ident(version, &id);
    access::read_node(&app.cx, &actor, &named).await?;
    version.exists_from(63)?;
    check_place(&text)?;
    let state = management::indicator(&app.cx, &actor, &named).await?;
    let word = match state {
        Indicator::Off => "OFF",
        Indicator::Lit => "ON",
        Indicator::Blinking => "BLINKING",
    };
    Ok(Json(json!({ "state": word })))
}

async fn set_indicator(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path((id, text)): Path<(String, String)>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<StatusCode> {
    let named = ident(version, &id);
    access::may_write(&app.cx, &actor, &named).await?;
    version.exists_from(63)?;
    check_place(&text)?;
    let indicator = match Values(body).required_text("state")?.as_str() {
        "OFF" => Indicator::Off,
        "ON" => Indicator::Lit,
        "BLINKING" => Indicator::Blinking,
        other => {
            return Err(Refusal::invalid(format!(
                "The state '{other}' is none of ON, OFF and BLINKING."
            ))
            .into());
        }
    };
    management::set_indicator(&app.cx, &actor, &named, indicator).await?;
    Ok(StatusCode::NO_CONTENT)
}

const KINDS: &[(&str, MediaKind)] = &[
    ("CDROM", MediaKind::Cdrom),
    ("DVD", MediaKind::Cdrom),
    ("FLOPPY", MediaKind::Floppy),
    ("DISK", MediaKind::Usb),
];

fn kind(text: &str) -> Result<MediaKind, Refusal> {
    KINDS
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text))
        .map(|(_, kind)| *kind)
        .ok_or_else(|| Refusal::invalid(format!("Invalid device type {text}.")))
}

/// Virtual media are inserted by POST. Whoever asks in another way before it came is told that there is no such thing.
async fn no_such_method(
    State(_): State<App>,
    Caller(_): Caller,
    _: Since<89>,
) -> axum::response::Response {
    StatusCode::METHOD_NOT_ALLOWED.into_response()
}

/// The words of Redfish, which Ironic hands on.
fn media_type(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Cdrom => "CD",
        MediaKind::Floppy => "Floppy",
        MediaKind::Usb => "USBStick",
    }
}

async fn media(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<93>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let slots = management::media(&app.cx, &actor, &ident(version, &id)).await?;
    let slots: Vec<_> = slots
        .into_iter()
        .map(|slot| {
            let MediaSlot {
                id: _,
                kinds,
                inserted,
                image,
            } = slot;
            let types: Vec<_> = kinds.into_iter().map(media_type).collect();
            json!({"media_types": types, "inserted": inserted, "image": image})
        })
        .collect();
    Ok(Json(Value::Array(slots)))
}

async fn attach_media(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<89>,
    version: Version,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<StatusCode> {
    let named = ident(version, &id);
    access::may_write(&app.cx, &actor, &named).await?;
    let mut body = Values(body);
    let kind = kind(&body.required_text("device_type")?)?;
    let text = body.required_text("image_url")?;
    let image = text
        .parse()
        .map_err(|_| Refusal::invalid(format!("'{text}' is no URL.")))?;
    match body.text("image_download_source")?.as_deref() {
        None | Some("http") => {}
        Some(other) => {
            return Err(Refusal::invalid(format!(
                "image_download_source is '{other}': the BMC fetches the image itself, over http."
            ))
            .into());
        }
    }
    management::attach_media(&app.cx, &actor, &named, kind, &Media::new(image)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn detach_media(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<89>,
    version: Version,
    params: Params,
    Path(id): Path<String>,
    sent: Bytes,
) -> Answer<StatusCode> {
    let named = ident(version, &id);
    access::may_write(&app.cx, &actor, &named).await?;
    // Some clients send the types as a body.
    let told = match sent.is_empty() {
        true => Map::new(),
        false => body::parse(&sent)?,
    };
    let told = match told.get("device_types") {
        Some(Value::Array(words)) => {
            let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
            Some(words.join(","))
        }
        Some(Value::String(words)) => Some(words.clone()),
        _ => None,
    };
    let asked = params.get("device_types").or(params.get("device_type"));
    let kinds = match asked.or(told.as_deref()) {
        None => None,
        Some(words) => {
            let words = words.split(',').map(|word| kind(word.trim()));
            Some(words.collect::<Result<Vec<_>, _>>()?)
        }
    };
    management::detach_media(&app.cx, &actor, &named, kinds.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}
