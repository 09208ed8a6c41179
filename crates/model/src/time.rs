//! One clock type for the whole house: microseconds since 1970 in UTC, and the date formats of each API.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A moment in UTC, in microseconds since 1970-01-01T00:00:00Z. What the store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub fn micros(self) -> i64 {
        self.0
    }

    pub fn plus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(span.as_micros().min(i64::MAX as u128) as i64),
        )
    }

    pub fn minus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(span.as_micros().min(i64::MAX as u128) as i64),
        )
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    fn format(self, pattern: &str) -> String {
        let moment =
            jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        moment.strftime(pattern).to_string()
    }

    /// `2026-11-20T12:00:00Z`: Nova's servers, Glance.
    pub fn seconds_z(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%SZ")
    }

    /// `2026-11-20T12:00:00.000000`: Nova's older resources (no zone).
    pub fn micros_bare(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S%.6f")
    }

    /// `2026-11-20T12:00:00.000000Z`: Keystone.
    pub fn micros_z(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S%.6fZ")
    }

    /// `2026-11-20T12:00:00+00:00`: Ironic.
    pub fn seconds_offset(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S+00:00")
    }

    /// Reads an ISO 8601 date and time, with or without fraction and zone (no zone means UTC), or a date alone.
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(moment) = text.parse::<jiff::Timestamp>() {
            return Some(Self(moment.as_microsecond()));
        }
        let local = text.parse::<jiff::civil::DateTime>().ok()?;
        let moment = local.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        Some(Self(moment.as_microsecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_gets_its_own_date_format() {
        let moment = Timestamp::parse_iso8601("2026-11-20T12:00:00.5Z").unwrap();
        assert_eq!(moment.seconds_z(), "2026-11-20T12:00:00Z");
        assert_eq!(moment.micros_bare(), "2026-11-20T12:00:00.500000");
        assert_eq!(moment.micros_z(), "2026-11-20T12:00:00.500000Z");
        assert_eq!(moment.seconds_offset(), "2026-11-20T12:00:00+00:00");
    }

    #[test]
    fn a_date_without_zone_is_utc() {
        let with = Timestamp::parse_iso8601("2026-11-20T12:00:00Z");
        assert!(with.is_some());
        assert_eq!(Timestamp::parse_iso8601("2026-11-20T12:00:00"), with);
        assert_eq!(Timestamp::parse_iso8601("2026-11-20 12:00:00"), with);
        assert_eq!(Timestamp::parse_iso8601("tomorrow"), None);
    }
}
