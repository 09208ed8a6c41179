//! `EventService`: who wants to be told, and the telling, in the order in which things happened: by a POST to each subscriber,
//! or on the connection of who listens (`event_stream`).

use super::event_stream;
use super::find::Asked;
use super::refusal::Refusal;
use super::registries::EVENTS;
use super::resource::{Body, Done, Privilege, Resource, collection, document, healthy, link};
use super::{RedfishNode, Service, locked, schema};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const PATH: &str = "/redfish/v1/EventService";
const PREFIXES: &[&str] = &["ResourceEvent"];
/// The kinds that a subscription in the old form names; those of here are of the first two.
const KINDS: &[&str] = &["StatusChange", "Alert"];
const TRIES: u32 = 3;
const TRY: Duration = Duration::from_secs(5);

/// How a subscriber is told.
enum Outbox {
    Posts(UnboundedSender<Value>),
    Stream(event_stream::Sender),
}

struct Subscription {
    /// As it is shown.
    rest: Value,
    prefixes: Vec<String>,
    kinds: Vec<String>,
    origins: Vec<String>,
    below_origins: bool,
    outbox: Outbox,
}

impl Subscription {
    fn wants(&self, kind: &str, origin: &str) -> bool {
        let is_origin = |wanted: &String| {
            wanted == origin
                || self.below_origins
                    && origin
                        .strip_prefix(wanted)
                        .is_some_and(|rest| rest.starts_with('/'))
        };
        (self.prefixes.is_empty()
            || self
                .prefixes
                .iter()
                .any(|prefix| EVENTS.starts_with(prefix)))
            && (self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind))
            && (self.origins.is_empty() || self.origins.iter().any(is_origin))
    }
}

#[derive(Default)]
pub(super) struct Subscriptions {
    made: u64,
    events: u64,
    by_id: BTreeMap<u64, Subscription>,
}

impl Subscriptions {
    fn add(&mut self, subscription: Subscription) -> u64 {
        self.made += 1;
        self.by_id.insert(self.made, subscription);
        self.made
    }

    /// Of who listens on a stream: it wants all there is.
    pub(super) fn add_stream(&mut self, outbox: event_stream::Sender) -> u64 {
        let context = format!("stream {}", self.made + 1);
        self.add(Subscription {
            rest: json!({
                "Destination": event_stream::PATH,
                "Protocol": "Redfish",
                "Context": context,
                "SubscriptionType": "SSE",
                "EventFormatType": "Event",
                "Status": healthy(),
            }),
            prefixes: Vec::new(),
            kinds: Vec::new(),
            origins: Vec::new(),
            below_origins: false,
            outbox: Outbox::Stream(outbox),
        })
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.by_id.remove(&id);
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = &event_stream::Sender> {
        self.by_id
            .values()
            .filter_map(|subscription| match &subscription.outbox {
                Outbox::Stream(outbox) => Some(outbox),
                Outbox::Posts(_) => None,
            })
    }
}

/// Something that subscribers are told.
pub(super) struct Told<'a> {
    /// The key of its message in the registry of resources' events.
    pub(super) key: &'a str,
    pub(super) message: String,
    pub(super) args: Vec<String>,
    /// The path of what it happened to.
    pub(super) origin: &'a str,
}

impl Service {
    /// Tells each who subscribed to such.
    pub(super) fn tell(&self, told: &Told<'_>) {
        let now = self.now();
        let mut subscriptions = locked(&self.subscriptions);
        subscriptions.events += 1;
        let number = subscriptions.events;
        for subscription in subscriptions.by_id.values() {
            if !subscription.wants("StatusChange", told.origin) {
                continue;
            }
            let event = json!({
                "@odata.type": schema::of("Event"),
                "Id": number.to_string(),
                "Name": "Event",
                "Context": subscription.rest["Context"],
                "Events": [{
                    "MemberId": "0",
                    "EventId": number.to_string(),
                    "EventType": "StatusChange",
                    "EventTimestamp": now.to_string(),
                    "MessageId": format!("{EVENTS}.{}", told.key),
                    "Message": told.message,
                    "MessageArgs": told.args,
                    "MessageSeverity": "OK",
                    "OriginOfCondition": link(told.origin),
                }],
            });
            // One whose receiver is gone is about to be forgotten.
            let _ = match &subscription.outbox {
                Outbox::Posts(outbox) => outbox.send(event).is_ok(),
                Outbox::Stream(outbox) => {
                    outbox.send(Ok(event_stream::told(number, &event))).is_ok()
                }
            };
        }
    }

    pub(super) fn tell_power(&self, node: &RedfishNode, is_on: bool) {
        let path = node.system_path();
        let (key, word) = if is_on {
            ("ResourcePoweredOn", "on")
        } else {
            ("ResourcePoweredOff", "off")
        };
        self.tell(&Told {
            key,
            message: format!("The resource {path} was powered {word}."),
            args: vec![path.clone()],
            origin: &path,
        });
    }
}

pub(super) fn find(asked: &Asked<'_>, rest: &[&str]) -> Option<Resource> {
    let service = Arc::clone(asked.service);
    let found = match rest {
        [] => event_service(),
        ["Actions", "EventService.SubmitTestEvent"] => Resource::action(move |_| {
            service.tell(&Told {
                key: "TestMessage",
                message: "An event to try out a subscription.".to_owned(),
                args: Vec::new(),
                origin: PATH,
            });
            Ok(Done::Nothing)
        }),
        ["Subscriptions"] => {
            let subscriptions = locked(&service.subscriptions);
            let ids: Vec<u64> = subscriptions.by_id.keys().copied().collect();
            drop(subscriptions);
            let path = format!("{PATH}/Subscriptions");
            let paths = ids.iter().map(|id| format!("{path}/{id}"));
            Resource::of(collection(&path, "EventDestination", paths))
                .posted(move |body| subscribe(&service, body))
        }
        ["Subscriptions", id] => {
            let id: u64 = id.parse().ok()?;
            let rest = locked(&service.subscriptions).by_id.get(&id)?.rest.clone();
            let changed = Arc::clone(&service);
            Resource::of(shown(id, rest))
                .patched(&["Context"], move |body| {
                    let context = Body(body).text("Context")?.unwrap_or_default();
                    if let Some(subscription) = locked(&changed.subscriptions).by_id.get_mut(&id) {
                        subscription.rest["Context"] = json!(context);
                    }
                    Ok(Done::Shown)
                })
                .deleted(move |_| {
                    locked(&service.subscriptions).by_id.remove(&id);
                    Ok(Done::Nothing)
                })
        }
        _ => return None,
    };
    Some(found.needing(Privilege::Manager))
}

fn event_service() -> Resource {
    let rest = json!({
        "ServiceEnabled": true,
        "Status": healthy(),
        "DeliveryRetryAttempts": TRIES,
        "EventFormatTypes": ["Event"],
        "EventTypesForSubscription": KINDS,
        "RegistryPrefixes": PREFIXES,
        "IncludeOriginOfConditionSupported": false,
        "SubordinateResourcesSupported": true,
        "ServerSentEventUri": event_stream::PATH,
        "SSEFilterPropertiesSupported": {
            "EventFormatType": true, "EventType": false, "MessageId": false, "MetricReportDefinition": false,
            "OriginResource": false, "RegistryPrefix": false, "ResourceType": false,
        },
        "Subscriptions": link("/redfish/v1/EventService/Subscriptions"),
        "Actions": {"#EventService.SubmitTestEvent": {
            "target": "/redfish/v1/EventService/Actions/EventService.SubmitTestEvent"}},
    });
    Resource::of(document(
        PATH,
        "EventService",
        "EventService",
        "Events",
        rest,
    ))
}

fn shown(id: u64, rest: Value) -> Value {
    let path = format!("{PATH}/Subscriptions/{id}");
    document(
        &path,
        "EventDestination",
        &id.to_string(),
        "A subscription",
        rest,
    )
}

/// What a subscription may have. What is not here would not be kept to.
const TAKEN: &[&str] = &[
    "Destination",
    "Protocol",
    "Context",
    "SubscriptionType",
    "EventFormatType",
    "RegistryPrefixes",
    "EventTypes",
    "OriginResources",
    "SubordinateResources",
    "DeliveryRetryPolicy",
    "Name",
    "HttpHeaders",
];

fn subscribe(service: &Arc<Service>, body: &Value) -> Result<Done, Refusal> {
    if let Some(unknown) = body.as_object().and_then(|keys| {
        let mut keys = keys.keys();
        keys.find(|key| !TAKEN.contains(&key.as_str()))
    }) {
        return Err(Refusal::unknown_property(unknown));
    }
    let headers = headers_in(body)?;
    let body = Body(body);
    let destination = body.text("Destination")?;
    let destination = destination.ok_or_else(|| Refusal::missing_property("Destination"))?;
    let is_http = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    let url = reqwest::Url::parse(destination).ok().filter(is_http);
    let url = url.ok_or_else(|| {
        Refusal::bad_value("Destination", destination, "it is a URL of http or https")
    })?;
    let protocol = body.word("Protocol", &["Redfish"])?;
    protocol.ok_or_else(|| Refusal::missing_property("Protocol"))?;
    body.word("SubscriptionType", &["RedfishEvent"])?;
    body.word("EventFormatType", &["Event"])?;
    body.word("DeliveryRetryPolicy", &["TerminateAfterRetries"])?;
    let (prefixes, kinds) = (body.texts("RegistryPrefixes")?, body.texts("EventTypes")?);
    for (property, given, known) in [
        ("RegistryPrefixes", &prefixes, PREFIXES),
        ("EventTypes", &kinds, KINDS),
    ] {
        if let Some(unknown) = given.iter().find(|word| !known.contains(&word.as_str())) {
            return Err(Refusal::not_in_list(property, unknown, known));
        }
    }
    let origins = body.get("OriginResources").and_then(Value::as_array);
    let origins: Vec<String> = origins
        .into_iter()
        .flatten()
        .filter_map(|origin| {
            Some(
                origin
                    .get("@odata.id")?
                    .as_str()?
                    .trim_end_matches('/')
                    .to_owned(),
            )
        })
        .collect();
    let below_origins = body.flag("SubordinateResources")?.unwrap_or(false);
    let mut rest = json!({
        "Destination": destination,
        "Protocol": "Redfish",
        "Context": body.text("Context")?.unwrap_or_default(),
        "SubscriptionType": "RedfishEvent",
        "EventFormatType": "Event",
        "RegistryPrefixes": prefixes,
        "SubordinateResources": below_origins,
        "DeliveryRetryPolicy": "TerminateAfterRetries",
        // Never shown, as DSP0266 has it.
        "HttpHeaders": [],
        "Status": healthy(),
    });
    if !kinds.is_empty() {
        rest["EventTypes"] = json!(kinds);
    }
    if !origins.is_empty() {
        let links: Vec<Value> = origins.iter().map(|path| link(path)).collect();
        rest["OriginResources"] = json!(links);
    }
    let (outbox, inbox) = unbounded_channel();
    let id = locked(&service.subscriptions).add(Subscription {
        rest: rest.clone(),
        prefixes,
        kinds,
        origins,
        below_origins,
        outbox: Outbox::Posts(outbox),
    });
    tokio::spawn(deliver(Arc::downgrade(service), id, url, headers, inbox));
    Ok(Done::Created {
        location: format!("{PATH}/Subscriptions/{id}"),
        document: shown(id, rest),
        token: None,
    })
}

/// The headers that the subscriber wants to see with each event.
fn headers_in(body: &Value) -> Result<reqwest::header::HeaderMap, Refusal> {
    let mut headers = reqwest::header::HeaderMap::new();
    let given = body.get("HttpHeaders").and_then(Value::as_array);
    for (name, value) in given
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .flatten()
    {
        let text = value.as_str().unwrap_or_default();
        let name = reqwest::header::HeaderName::from_bytes(name.as_bytes());
        let (Ok(name), Ok(value)) = (name, reqwest::header::HeaderValue::from_str(text)) else {
            return Err(Refusal::bad_value(
                "HttpHeaders",
                text,
                "it is a header of HTTP",
            ));
        };
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Sends events to one subscriber as they come. One that cannot be reached for one event is forgotten.
async fn deliver(
    service: Weak<Service>,
    id: u64,
    url: reqwest::Url,
    headers: reqwest::header::HeaderMap,
    mut inbox: UnboundedReceiver<Value>,
) {
    let client = reqwest::Client::builder().no_proxy().timeout(TRY).build();
    let Ok(client) = client else {
        tracing::warn!(
            id,
            "no HTTP client can be made, so a subscriber is told nothing"
        );
        return;
    };
    while let Some(event) = inbox.recv().await {
        let mut is_told = false;
        for _ in 0..TRIES {
            let request = client
                .post(url.clone())
                .headers(headers.clone())
                .header("Content-Type", "application/json")
                .header("OData-Version", "4.0")
                .body(event.to_string());
            is_told = request
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success());
            if is_told {
                break;
            }
        }
        if !is_told && let Some(service) = service.upgrade() {
            tracing::debug!(id, "a subscriber cannot be reached and is forgotten");
            locked(&service.subscriptions).by_id.remove(&id);
            return;
        }
    }
}
