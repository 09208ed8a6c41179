//! Events of a Redfish service: the stream at `ServerSentEventUri` of its `EventService`, and what an event is about.
//!
//! Subscriptions by which a BMC would call us are not made: `docs/decisions/0012-events-by-stream.md`.

use super::answer::path_of;
use super::document::Document;
use super::{Layout, Redfish};
use crate::bmc::Bmc;
use crate::capability::Capability;
use crate::error::BmcError;
use crate::event::{About, Event, EventStream};
use crate::oddity::{Oddities, shortened};
use futures_util::stream::{self, StreamExt};
use serde_json::Value;

/// Reports of metrics come on the same stream where it is not told to leave them out.
const ONLY_EVENTS: &str = "$filter=EventFormatType eq Event";
/// Where resources are of one server, in a service that may have several.
const SERVERS: &[&str] = &[
    "/redfish/v1/Systems/",
    "/redfish/v1/Managers/",
    "/redfish/v1/Chassis/",
];

/// By the key of an event's message id, in small letters: the first that begins so, or has it anywhere where it begins with `*`.
const KEYS: &[(&str, About)] = &[
    ("testmessage", About::Other),
    ("*powersupply", About::Health),
    ("*powerunit", About::Health),
    ("*powercap", About::Other),
    ("*power", About::Power),
    ("resourcestatechanged", About::Power),
    ("resourcepaused", About::Power),
    ("resourcestatuschanged", About::Health),
    ("resourceerror", About::Health),
    ("resourcewarning", About::Health),
    ("*fan", About::Health),
    ("*temp", About::Health),
    ("*thermal", About::Health),
    ("*sensor", About::Health),
    ("*drivefail", About::Health),
    // Dell's: the server is turned on, off, or over.
    ("sys100", About::Power),
    ("psu", About::Health),
    ("tmp", About::Health),
    ("vlt", About::Health),
    ("pdr", About::Health),
];

/// By what an event says to people, for makers whose keys are numbers.
const WORDS: &[&str] = &[
    "power on",
    "power off",
    "powered on",
    "powered off",
    "powering on",
    "powering off",
    "turned on",
    "turned off",
    "turning on",
    "turning off",
];

impl Redfish {
    /// Where events are told; `None` where they are not.
    pub(super) async fn event_source(&self) -> Result<Option<EventSource>, BmcError> {
        let Some(path) = self.layout().await?.root.link("EventService") else {
            return Ok(None);
        };
        let Some(service) = self.transport.get_part(&path).await? else {
            return Ok(None);
        };
        if service.flag("ServiceEnabled") == Some(false) {
            return Ok(None);
        }
        Ok(service
            .text("ServerSentEventUri")
            .map(|uri| EventSource::new(&service, &uri)))
    }

    pub(super) async fn open_events(&self) -> Result<EventStream, BmcError> {
        let source = self.event_source().await?;
        let source = source.ok_or_else(|| self.lacks(Capability::EventStream))?;
        let filtered = source.filtered();
        let opened = match self.transport.open_stream(&filtered).await {
            // What is told too much is passed over.
            Err(BmcError::Refused { message, .. }) if filtered != source.path => {
                let expected = "the filter that it says it knows";
                let oddities = &self.transport.oddities;
                oddities.note(&source.path, expected, message);
                self.transport.open_stream(&source.path).await?
            }
            other => other?,
        };
        let reader = Reader::new(self.layout().await?, self.transport.oddities.clone());
        let events = opened.flat_map(move |text| {
            stream::iter(match text {
                Ok(text) => reader.events(&text).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        });
        Ok(events.boxed())
    }
}

pub(super) struct EventSource {
    path: String,
    filters: bool,
}

impl EventSource {
    fn new(service: &Document, uri: &str) -> Self {
        let filters = service.flag("SSEFilterPropertiesSupported/EventFormatType");
        Self {
            path: path_of(uri),
            filters: filters == Some(true),
        }
    }

    fn filtered(&self) -> String {
        if self.filters && !self.path.contains('?') {
            format!("{}?{ONLY_EVENTS}", self.path)
        } else {
            self.path.clone()
        }
    }
}

/// Reads the texts of a stream's events.
struct Reader {
    /// The paths of the server, its managers and its chassis.
    own: Vec<String>,
    oddities: Oddities,
}

impl Reader {
    fn new(layout: &Layout, oddities: Oddities) -> Self {
        let own = std::iter::once(&layout.system)
            .chain(&layout.managers)
            .chain(&layout.chassis);
        Self {
            own: own
                .map(|path| path.trim_end_matches('/').to_owned())
                .collect(),
            oddities,
        }
    }

    /// The events in one text that are of this server, or of nobody in particular.
    fn events(&self, text: &str) -> Vec<Event> {
        let message: Value = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => {
                let found = format!("{} ({error})", shortened(text.to_owned()));
                self.oddities.note("an event", "JSON", found);
                return Vec::new();
            }
        };
        let message = Document::new("an event", message, None, self.oddities.clone());
        let mut records = message.list("Events");
        // Some send one without the list around it.
        if records.is_empty() && message.has("MessageId") {
            records.push(message);
        }
        let events = records.iter().map(read);
        events.filter(|event| self.is_own(event)).collect()
    }

    fn is_own(&self, event: &Event) -> bool {
        let Some(origin) = &event.origin else {
            return true;
        };
        let of_a_server = SERVERS.iter().any(|begin| origin.starts_with(begin));
        let is_below = |own: &String| {
            let rest = origin.strip_prefix(own.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '#']))
        };
        !of_a_server || self.own.iter().any(is_below)
    }
}

fn read(record: &Document) -> Event {
    let origin = match record.value("OriginOfCondition") {
        // As it was before it was a link.
        Some(Value::String(path)) => Some(path.clone()),
        _ => record.link("OriginOfCondition"),
    };
    Event {
        about: about(record),
        message_id: record.text("MessageId"),
        message: record.text("Message"),
        origin,
    }
}

fn about(record: &Document) -> About {
    let id = record.text("MessageId").unwrap_or_default();
    let key = id.rsplit('.').next().unwrap_or_default();
    let key = key.to_ascii_lowercase();
    let fits = |pattern: &str| match pattern.strip_prefix('*') {
        Some(part) => key.contains(part),
        None => key.starts_with(pattern),
    };
    if let Some((_, about)) = KEYS.iter().find(|(pattern, _)| fits(pattern)) {
        return *about;
    }
    let message = record.text("Message").unwrap_or_default();
    let message = message.to_ascii_lowercase();
    if WORDS.iter().any(|words| message.contains(words)) {
        return About::Power;
    }
    let severity = record
        .text("MessageSeverity")
        .or_else(|| record.text("Severity"));
    let is_bad = matches!(severity.as_deref(), Some("Warning" | "Critical"));
    // The old way to say of what kind it is.
    let is_status = record.text("EventType").as_deref() == Some("StatusChange");
    if is_bad || is_status {
        About::Health
    } else {
        About::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reader() -> Reader {
        Reader {
            own: vec!["/redfish/v1/Systems/1".to_owned()],
            oddities: Oddities::default(),
        }
    }

    #[test]
    fn makers_say_in_their_own_words_that_the_power_changed() {
        for (record, expected) in [
            (
                json!({"MessageId": "ResourceEvent.1.3.0.ResourcePoweredOff"}),
                About::Power,
            ),
            (
                json!({"MessageId": "iLOEvents.2.3.ServerPoweredOn"}),
                About::Power,
            ),
            (
                json!({"MessageId": "IDRAC.2.8.SYS1000", "Message": "System is turning on."}),
                About::Power,
            ),
            (json!({"MessageId": "OpenBMC.0.1.DCPowerOff"}), About::Power),
            (
                json!({"MessageId": "Maker.1.0.4711", "Message": "Host power has been turned off."}),
                About::Power,
            ),
            (
                json!({"MessageId": "OpenBMC.0.1.PowerSupplyFailed"}),
                About::Health,
            ),
            (
                json!({"MessageId": "ResourceEvent.1.3.ResourceStatusChangedWarning"}),
                About::Health,
            ),
            (
                json!({"MessageId": "Maker.1.0.Odd", "Severity": "Critical"}),
                About::Health,
            ),
            (json!({"EventType": "StatusChange"}), About::Health),
            // Each reading logs in; it must not be the reason for the next.
            (
                json!({"MessageId": "IDRAC.2.8.USR0030", "MessageSeverity": "OK", "EventType": "Alert",
                    "Message": "Successfully logged in using admin, from 10.0.0.9 and REDFISH."}),
                About::Other,
            ),
            (
                json!({"MessageId": "ResourceEvent.1.0.TestMessage", "EventType": "StatusChange"}),
                About::Other,
            ),
            (
                json!({"MessageId": "TaskEvent.1.0.TaskCompletedOK"}),
                About::Other,
            ),
            (json!({}), About::Other),
        ] {
            let events = reader().events(&json!({"Events": [record]}).to_string());
            assert_eq!(events[0].about, expected, "{record}");
        }
    }

    #[test]
    fn what_happens_to_other_servers_of_the_service_is_theirs() {
        let own = [
            json!({"@odata.id": "/redfish/v1/Systems/1"}),
            json!({"@odata.id": "/redfish/v1/Systems/1/Processors/2"}),
            json!("/redfish/v1/Systems/1"),
            json!({"@odata.id": "/redfish/v1/EventService"}),
            json!(null),
            json!(7),
        ];
        let others = [
            json!({"@odata.id": "/redfish/v1/Systems/12"}),
            json!({"@odata.id": "/redfish/v1/Chassis/1"}),
        ];
        for (origins, count) in [(own.as_slice(), 1), (others.as_slice(), 0)] {
            for origin in origins {
                let text = json!({"Events": [{"OriginOfCondition": origin}]}).to_string();
                assert_eq!(reader().events(&text).len(), count, "{origin}");
            }
        }
    }

    #[test]
    fn no_text_is_a_panic_and_one_record_needs_no_list() {
        let reader = reader();
        for odd in [
            "",
            "}",
            "null",
            "7",
            "[]",
            r#"{"Events": 3}"#,
            r#"{"Events": [null, 4, "x"]}"#,
            r#"{"MetricValues": []}"#,
        ] {
            assert!(reader.events(odd).is_empty(), "{odd}");
        }
        assert!(!reader.oddities.list().is_empty());
        let alone = json!({"MessageId": "ResourceEvent.1.0.ResourcePoweredOn"}).to_string();
        assert_eq!(reader.events(&alone)[0].about, About::Power);
    }
}
