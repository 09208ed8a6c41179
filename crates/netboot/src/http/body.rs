//! A body that tells how it ended: whole, or broken off by the client or by a file that could not be read.

use crate::event::{BootStep, Events, Transport};
use crate::shelf::Found;
use bytes::Bytes;
use corten_model::ids::NodeId;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

/// The bytes of a range. Ranges are how a BMC reads a disc, and are not told of, except the one that is the whole.
pub(super) fn reported(
    found: Found,
    range: Range<u64>,
    from: IpAddr,
    events: Events,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let is_whole = range == (0..found.content.length());
    Reported {
        bytes: found.content.stream(range.clone()).boxed(),
        report: is_whole.then(|| Report {
            node: found.node,
            file: found.file,
            from,
            events,
            started: Instant::now(),
            wanted: range.end - range.start,
            sent: 0,
            why: "the client broke off".to_owned(),
        }),
    }
}

struct Reported {
    bytes: BoxStream<'static, io::Result<Bytes>>,
    report: Option<Report>,
}

impl Stream for Reported {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.bytes.poll_next_unpin(cx);
        if let (Poll::Ready(Some(chunk)), Some(report)) = (&next, &mut self.report) {
            match chunk {
                Ok(chunk) => report.sent += chunk.len() as u64,
                Err(error) => report.why = error.to_string(),
            }
        }
        next
    }
}

/// Tells when it is dropped, because a client that goes away is told to nobody else.
struct Report {
    node: Option<NodeId>,
    file: String,
    from: IpAddr,
    events: Events,
    started: Instant,
    wanted: u64,
    sent: u64,
    why: String,
}

impl Drop for Report {
    fn drop(&mut self) {
        let (node, file) = (self.node, std::mem::take(&mut self.file));
        let (by, from, bytes) = (Transport::Http, self.from, self.sent);
        self.events.tell(if self.sent == self.wanted {
            BootStep::Fetched {
                node,
                file,
                by,
                from,
                bytes,
                took: self.started.elapsed(),
            }
        } else {
            BootStep::Broken {
                node,
                file,
                by,
                from,
                bytes,
                why: std::mem::take(&mut self.why),
            }
        });
    }
}
