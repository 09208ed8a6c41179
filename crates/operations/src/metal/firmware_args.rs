//! What the step `firmware.update` is asked for: its arguments, and who may give them.

use super::driver::IPMI;
use crate::context::Context;
use crate::image::web::{Reach, url_trouble};
use corten_bmc::Capability;
use corten_iam::actor::Actor;
use corten_model::lifecycle::node::NodeVerb;
use corten_model::refusal::Refusal;
use corten_store::metal::node::{Node, Step};
use serde_json::Value;
use std::fmt;
use url::Url;

pub const FIRMWARE: &str = "firmware";
pub const UPDATE: &str = "update";

/// What the BMC of a real server can be asked for.
pub const OF_BMC: &[(&str, &[&str])] = &[(FIRMWARE, &[UPDATE])];

/// The longest that is waited after a component.
const WAIT_SECS_MAX: u64 = 3600;

/// One component, as it is asked for.
pub struct Setting {
    pub component: String,
    pub url: Url,
    pub wait_secs: u64,
}

/// Whether this is the step.
pub fn is_it(step: &Step) -> bool {
    step.interface == FIRMWARE && step.step == UPDATE
}

/// Refuses arguments that mean nothing, and a driver whose BMCs install nothing.
pub fn check(node: &Node, step: &Step) -> Result<(), Refusal> {
    if node.driver == IPMI {
        return Err(Refusal::invalid(format!(
            "The step firmware.update needs a BMC with a {}, which none has by the driver {IPMI}. Give node {} the driver \
             redfish if its BMC speaks Redfish.",
            Capability::FirmwareUpdate,
            node.id
        )));
    }
    read(step).map(drop)
}

/// Refuses the step where the verb does not take it, and an image that whoever asks may not have fetched.
pub fn check_asked(
    cx: &Context,
    actor: &Actor,
    verb: NodeVerb,
    steps: &[Step],
) -> Result<(), Refusal> {
    for step in steps.iter().filter(|step| is_it(step)) {
        if !matches!(verb, NodeVerb::Clean | NodeVerb::Service) {
            return Err(Refusal::invalid(format!(
                "The step firmware.update is given with the target '{verb}': only clean and service run it."
            )));
        }
        for Setting { url, .. } in read(step)? {
            if let Some(trouble) = trouble(cx, Reach::of(actor), &url) {
                return Err(refused(format!("does not take the url {url}: {trouble}")));
            }
        }
    }
    Ok(())
}

/// The rule of images that the control plane fetches; here it is the BMC that looks up the host, so a name is as good as
/// any address.
fn trouble(cx: &Context, reach: Reach, url: &Url) -> Option<String> {
    let settings = &cx.settings.images;
    url_trouble(settings, reach, url).or_else(|| {
        let is_free = reach == Reach::Outside && settings.web_download_hosts.is_empty();
        (is_free && url.domain().is_some()).then(|| {
            "the BMC looks the host up, wherever it is; an administrator may name it, or anyone an address or a host that the \
             operator lists in images.web_download_hosts"
                .to_owned()
        })
    })
}

fn refused(rule: impl fmt::Display) -> Refusal {
    Refusal::invalid(format!("The step firmware.update {rule}."))
}

pub fn read(step: &Step) -> Result<Vec<Setting>, Refusal> {
    let list = step.args.get("settings").and_then(Value::as_array);
    let list = list.filter(|list| step.args.len() == 1 && !list.is_empty());
    let list = list.ok_or_else(|| {
        refused(
            "needs the argument settings and no other, a list of at least one {\"component\": NAME, \"url\": URL} and \
             optionally \"wait\": SECONDS",
        )
    })?;
    let settings: Vec<Setting> = list.iter().map(setting).collect::<Result<_, _>>()?;
    for (index, setting) in settings.iter().enumerate() {
        let name = &setting.component;
        let mut before = settings.iter().take(index);
        if before.any(|other| other.component.eq_ignore_ascii_case(name)) {
            return Err(refused(format!(
                "names the component '{name}' twice; name each once"
            )));
        }
    }
    Ok(settings)
}

fn setting(value: &Value) -> Result<Setting, Refusal> {
    let none = serde_json::Map::new();
    let fields = value.as_object().unwrap_or(&none);
    if fields.contains_key("checksum") {
        return Err(refused(
            "takes no checksum: the BMC fetches the image and checks its maker's signature, and nobody would check the sum. \
             Leave it out",
        ));
    }
    let known = |key: &&String| !["component", "url", "wait"].contains(&key.as_str());
    if let Some(key) = fields.keys().find(known) {
        return Err(refused(format!(
            "does not know '{key}' of a setting; component, url and wait are known"
        )));
    }
    let text = |key: &str| {
        let text = fields.get(key).and_then(Value::as_str).map(str::trim);
        text.filter(|text| !text.is_empty())
            .ok_or_else(|| refused(format!("needs the text '{key}' in each setting")))
    };
    let (component, address) = (text("component")?.to_owned(), text("url")?);
    let url = Url::parse(address)
        .map_err(|error| refused(format!("does not take the url '{address}': {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused(format!(
            "does not take the url '{address}': serve the image by http or https"
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused(format!(
            "takes no user or password in the url of '{component}', since arguments of steps are shown. Serve the image to the \
             BMC without"
        )));
    }
    let wait = fields.get("wait");
    let wait_secs = wait.map_or(Some(0), |wait| {
        wait.as_u64()
            .filter(|secs| (1..=WAIT_SECS_MAX).contains(secs))
    });
    let wait_secs = wait_secs.ok_or_else(|| {
        refused(format!(
            "takes a wait of 1 to {WAIT_SECS_MAX} s, as a whole number"
        ))
    })?;
    Ok(Setting {
        component,
        url,
        wait_secs,
    })
}
