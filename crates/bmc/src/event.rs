//! What a BMC tells by itself: hints of what to read.

use crate::error::BmcError;
use futures_util::stream::BoxStream;

/// Events as they come. It ends when the BMC ends it, and after its first error.
pub type EventStream = BoxStream<'static, Result<Event, BmcError>>;

/// Something has happened, says a BMC. Events are lost, come late, twice and from others than the BMC, and makers word them as
/// they like: what is so now is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub about: About,
    /// Registry, version and key: `ResourceEvent.1.3.ResourcePoweredOn`; or the maker's own.
    pub message_id: Option<String>,
    pub message: Option<String>,
    /// The path of what it happened to.
    pub origin: Option<String>,
}

/// What is to be read anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    Power,
    /// Sensors and the health of parts; the power may have changed with them.
    Health,
    /// Nothing: logins, tasks, settings.
    Other,
}
