//! `ServerSentEventUri`: events on a connection that who listens opened (DSP0266, "Server-sent events").

use super::refusal::Refusal;
use super::{Service, locked};
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use std::io;
use std::sync::{Arc, Weak};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub(super) const PATH: &str = "/redfish/v1/EventService/SSE";
const KIND: &str = "text/event-stream";

/// What goes to one listener: an error cuts the connection.
pub(super) type Sender = UnboundedSender<io::Result<Bytes>>;

/// An event as it is written to a stream.
pub(super) fn told(number: u64, event: &Value) -> Bytes {
    format!("id: {number}\ndata: {event}\n\n").into()
}

/// The answer that goes on until its listener leaves, or its subscription is deleted.
pub(super) fn open(
    service: &Arc<Service>,
    query: &str,
    accepted: Option<&HeaderValue>,
) -> Result<Response, Refusal> {
    let accepts = |accepted: &HeaderValue| {
        let text = accepted.to_str().unwrap_or_default();
        [KIND, "text/*", "*/*"]
            .iter()
            .any(|kind| text.contains(kind))
    };
    if accepted.is_some_and(|accepted| !accepts(accepted)) {
        return Err(Refusal::not_acceptable(KIND));
    }
    check_filter(query)?;
    let (sender, inbox) = unbounded_channel();
    let listener = Listener {
        id: locked(&service.subscriptions).add_stream(sender),
        service: Arc::downgrade(service),
        inbox,
    };
    let events = stream::unfold(listener, |mut listener| async {
        let piece = listener.inbox.recv().await?;
        Some((piece, listener))
    });
    // Something at once, so that the listener has the head of the answer.
    let begin = stream::iter([Ok(Bytes::from_static(b": stream keep-alive\n\n"))]);
    let body = Body::from_stream(begin.chain(events));
    Ok(([(header::CONTENT_TYPE, KIND)], body).into_response())
}

/// The one filter that changes nothing: there are events and no reports of metrics here.
fn check_filter(query: &str) -> Result<(), Refusal> {
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let plain = option
            .replace("%24", "$")
            .replace("%27", "'")
            .replace(['+'], " ")
            .replace("%20", " ");
        let filter = plain.strip_prefix("$filter=");
        let known = ["EventFormatType eq Event", "EventFormatType eq 'Event'"];
        match filter {
            Some(filter) if known.contains(&filter) => {}
            Some(filter) => {
                let rule = "it is EventFormatType eq Event";
                return Err(Refusal::bad_value("$filter", filter, rule));
            }
            None => {
                let name = plain.split('=').next().unwrap_or_default();
                return Err(Refusal::query(name));
            }
        }
    }
    Ok(())
}

/// A listener; its subscription is gone when its connection is.
struct Listener {
    service: Weak<Service>,
    id: u64,
    inbox: UnboundedReceiver<io::Result<Bytes>>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(service) = self.service.upgrade() {
            locked(&service.subscriptions).remove(self.id);
        }
    }
}
