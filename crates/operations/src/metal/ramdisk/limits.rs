//! How long an order to a ramdisk may take. An agent that goes on to call is not lost, but it can hang at its work, or wait
//! for a partner that never comes: what is over its limit, and was not seen to move for a while, is given up.
//!
//! | order | its limit, until this server has shown how long it takes |
//! | --- | --- |
//! | an image | ten minutes, and its bytes at 10 MiB/s; an hour where they are not known |
//! | a wipe | an hour, and the largest disk at 20 MiB/s; a day where no disk is known |
//! | a burn-in | the seconds that it is to last, and ten minutes |
//! | an inspection | a quarter of an hour |
//! | an array | half an hour |
//! | any other | an hour |
//!
//! From then on twice the 99th percentile of what such orders took on it, within that.

use crate::context::Context;
use corten_bmc::{Order, Task};
use corten_engine::{Fence, StepCx, StepError};
use corten_model::ids::{ImageId, NodeId};
use corten_model::time::Timestamp;
use corten_store::images::Image;
use corten_store::metal::node::Node;
use corten_store::metal::order_span::{self, OrderSpan};
use corten_store::{Error, Tx, operations, record};
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// An order gets no less, however quick those before were.
const LEAST: Duration = Duration::from_secs(10 * MINUTE);
/// One that was seen to move within so long does not hang.
const STILL: Duration = Duration::from_secs(10 * MINUTE);
/// Of fewer orders nothing is concluded.
const SPANS_MIN: usize = 3;
const WRITE_BYTES_PER_SEC: u64 = 10 << 20;
const ERASE_BYTES_PER_SEC: u64 = 20 << 20;
/// What the ramdisk takes for a burn-in without `seconds`.
const BURN_IN_SECS: u64 = MINUTE;

/// What one order is, and how long it may take where no history says more.
struct Limit {
    kind: String,
    measure: u64,
    least: Duration,
    most: Duration,
}

impl Limit {
    fn new(kind: &str, measure: u64, most_secs: u64) -> Self {
        Self {
            kind: kind.to_owned(),
            measure,
            least: LEAST,
            most: Duration::from_secs(most_secs),
        }
    }

    async fn of(tx: &mut Tx, node: &Node, task: &Task) -> Result<Self, Error> {
        Ok(match task {
            Task::Erase => Self::erase(largest_disk_bytes(node)),
            Task::Write(image) => Self::write(image_bytes(tx, &image.id).await?),
            Task::Inventory => Self::new("inspect", 0, 15 * MINUTE),
            Task::Step {
                interface,
                step,
                args,
            } => {
                let seconds = args.get("seconds").and_then(serde_json::Value::as_u64);
                Self::step(interface, step, seconds.unwrap_or(BURN_IN_SECS))
            }
            Task::Rescue { .. } => Self::new("rescue", 0, HOUR),
            Task::Settle => Self::new("settle", 0, HOUR),
        })
    }

    fn erase(largest_bytes: Option<u64>) -> Self {
        let secs = largest_bytes.map_or(24 * HOUR, |bytes| HOUR + bytes / ERASE_BYTES_PER_SEC);
        Self::new("erase", largest_bytes.unwrap_or(0), secs)
    }

    fn write(bytes: Option<u64>) -> Self {
        let secs = bytes.map_or(HOUR, |bytes| 10 * MINUTE + bytes / WRITE_BYTES_PER_SEC);
        let limit = Self::new("write", bytes.unwrap_or(0), secs);
        Self {
            // An image comes slower to a server that is deployed with a hundred others, and of what size one is may not be known.
            least: limit.most,
            ..limit
        }
    }

    fn step(interface: &str, step: &str, seconds: u64) -> Self {
        match (interface, step) {
            // As long as the work is its partner waited for.
            (_, "burnin_network") => Self::new(
                step,
                seconds,
                seconds.saturating_mul(2).saturating_add(10 * MINUTE),
            ),
            (_, burn_in) if burn_in.starts_with("burnin_") => {
                Self::new(step, seconds, seconds.saturating_add(10 * MINUTE))
            }
            ("raid", _) => Self::new(step, 0, 30 * MINUTE),
            _ => Self::new(step, 0, HOUR),
        }
    }

    /// By what the same took on this node before, where that is known.
    async fn time(&self, tx: &mut Tx, node: NodeId) -> Result<Duration, Error> {
        let before = order_span::of_kind(tx, node, &self.kind).await?;
        let spans = before
            .iter()
            .filter(|span| span.measure == self.measure)
            .filter_map(|span| Some(span.ended_at?.since(span.given_at)));
        let usual = twice_p99(spans.collect());
        Ok(usual.map_or(self.most, |usual| usual.max(self.least).min(self.most)))
    }
}

/// Twice the 99th percentile; `None` of fewer than three.
pub fn twice_p99(mut spans: Vec<Duration>) -> Option<Duration> {
    if spans.len() < SPANS_MIN {
        return None;
    }
    spans.sort_unstable();
    let rank = (spans.len() * 99).div_ceil(100);
    spans.get(rank - 1).map(|span| *span * 2)
}

/// As its inspection found, else as its operator says.
fn largest_disk_bytes(node: &Node) -> Option<u64> {
    let inventory = node.inspection.inventory.as_ref();
    let disks = inventory.and_then(|found| found["disks"].as_array());
    let sizes = disks
        .into_iter()
        .flatten()
        .filter_map(|disk| disk["size"].as_u64());
    let told = || {
        let gib = node.properties.get("local_gb")?;
        let gib = gib.as_u64().or_else(|| gib.as_str()?.parse().ok())?;
        gib.checked_mul(1 << 30)
    };
    sizes.max().or_else(told).filter(|bytes| *bytes > 0)
}

/// What is fetched, or what becomes of it on the disk where that is more. Of an image of elsewhere it is not known.
async fn image_bytes(tx: &mut Tx, id: &str) -> Result<Option<u64>, Error> {
    let Ok(id) = id.parse::<ImageId>() else {
        return Ok(None);
    };
    let image: Option<Image> = record::get(tx, id).await?;
    let content = image.and_then(|image| image.content);
    let bytes = content.map(|content| {
        content
            .size_bytes
            .max(content.virtual_size_bytes.unwrap_or(0))
    });
    Ok(bytes.and_then(|bytes| bytes.try_into().ok()))
}

/// Looks at an order that is not done: what is to be written of it, if anything is new. One that hangs fails.
pub async fn look(
    at: &StepCx,
    node: &Node,
    order: &Order,
    done: Option<u64>,
) -> Result<Option<Box<OrderSpan>>, StepError> {
    let now = at.now();
    let mut tx = at.read().await?;
    let limit = Limit::of(&mut tx, node, &order.task).await?;
    let kept: Option<OrderSpan> = record::get(&mut tx, &order.mark).await?;
    let Some(mut span) = kept.filter(|span| is_of_this_boot(span, node)) else {
        return Ok(Some(Box::new(OrderSpan {
            mark: order.mark.clone(),
            node_id: node.id,
            kind: limit.kind,
            measure: limit.measure,
            given_at: now,
            done,
            moved_at: now,
            ended_at: None,
        })));
    };
    let moved = done > span.done;
    if moved {
        span.done = done;
        span.moved_at = now;
    }
    let goes_on = moved.then(|| Box::new(span.clone()));
    let took = now.since(span.given_at);
    if took <= limit.least || now.since(span.moved_at) <= STILL {
        return Ok(goes_on);
    }
    let time = limit.time(&mut tx, node.id).await?;
    if took <= time {
        return Ok(goes_on);
    }
    Err(StepError::Fail(hangs(&span, now, time)))
}

/// After another boot the same order is given to another ramdisk, which begins it anew.
fn is_of_this_boot(span: &OrderSpan, node: &Node) -> bool {
    let boot = node.boot.as_ref();
    span.ended_at.is_none() && boot.is_none_or(|boot| span.given_at >= boot.since)
}

fn hangs(span: &OrderSpan, now: Timestamp, time: Duration) -> String {
    let progress = match span.done {
        Some(_) => format!(
            "was last seen to go on {} ago",
            words(now.since(span.moved_at))
        ),
        None => "told of no progress".to_owned(),
    };
    format!(
        "The ramdisk was given the order '{}' at {}, is not done after {}, and {progress}; it may take {}. Its agent is \
         not lost, so it hangs at this, or waits for somebody: look at the server's console, and at the \
         ramdisk's lines in the control plane's log. Asked again, the server is booted anew.",
        span.kind,
        span.given_at.seconds_z(),
        words(now.since(span.given_at)),
        words(time),
    )
}

fn words(span: Duration) -> String {
    let minutes = span.as_secs() / MINUTE;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// An order came to its good end: how long it took is what those after it are measured by. One that was done when it was
/// given took no time that counts.
pub async fn ended(cx: &Context, at: &StepCx, order: &Order) -> Result<(), StepError> {
    let works = |span: &OrderSpan| span.ended_at.is_none();
    let kept: Option<OrderSpan> = record::get(&mut at.read().await?, &order.mark).await?;
    if !kept.as_ref().is_some_and(works) {
        return Ok(());
    }
    let Fence { operation, epoch } = at.fence();
    let mut tx = cx.store.write().await?;
    operations::hold(&mut tx, operation, epoch).await?;
    let kept: Option<OrderSpan> = record::lock(&mut tx, &order.mark).await?;
    if let Some(mut span) = kept.filter(works) {
        span.ended_at = Some(at.now());
        record::update(&mut tx, &span).await?;
    }
    Ok(tx.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn minutes(limit: &Limit) -> u64 {
        limit.most.as_secs() / MINUTE
    }

    #[test]
    fn a_limit_grows_with_what_there_is_to_do() {
        assert_eq!(minutes(&Limit::write(Some(10 * GIB))), 10 + 17);
        assert_eq!(minutes(&Limit::write(None)), 60);
        assert_eq!(minutes(&Limit::erase(Some(480 * GIB))), 60 + 409);
        assert_eq!(minutes(&Limit::erase(None)), 24 * 60);
        let minutes_of = |step| minutes(&Limit::step("deploy", step, 6 * HOUR));
        assert_eq!(minutes_of("burnin_cpu"), 370);
        assert_eq!(minutes_of("burnin_network"), 730, "with its partner's");
        let forever = Limit::step("deploy", "burnin_cpu", u64::MAX);
        assert_eq!(forever.most, Duration::from_secs(u64::MAX));
        assert_eq!(minutes(&Limit::step("raid", "create_configuration", 0)), 30);
    }

    #[test]
    fn it_is_twice_what_the_slowest_took() {
        let secs = |list: &[u64]| list.iter().copied().map(Duration::from_secs).collect();
        assert_eq!(twice_p99(secs(&[60, 90])), None, "too few");
        assert_eq!(
            twice_p99(secs(&[70, 90, 60])),
            Some(Duration::from_secs(180))
        );
        let many: Vec<u64> = (1..=200).collect();
        assert_eq!(twice_p99(secs(&many)), Some(Duration::from_secs(396)));
    }

    #[test]
    fn times_are_told_in_hours_and_minutes() {
        assert_eq!(words(Duration::from_secs(59 * MINUTE)), "59 min");
        assert_eq!(
            words(Duration::from_secs(7 * HOUR + 49 * MINUTE)),
            "7 h 49 min"
        );
    }
}
