//! A filter over events, and the part of the log that it selects.

use chrono::{DateTime, Utc};
use events::event::{Recorded, Resource};
use events::ids::{PartnerId, TenantId};

/// A filter over events. An absent field matches everything.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Pairs of a name without its version, and the version.
    pub types: Option<Vec<(String, u32)>>,
    pub partner: Option<PartnerId>,
    pub tenant: Option<TenantId>,
    /// Recorded at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Recorded before this time.
    pub to: Option<DateTime<Utc>>,
}

impl EventFilter {
    /// True if it selects only events of administrative streams, which are few.
    pub(super) fn is_of_administration(&self) -> bool {
        let is_one = |name: &str| Resource::TYPES.iter().any(|(of_resource, _)| *of_resource == name);
        self.types.as_ref().is_some_and(|types| types.iter().all(|(name, _)| is_one(name)))
    }
}

/// The filtered events of one part of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// In order.
    pub events: Vec<Recorded>,
    /// The last position examined: the next part begins after it.
    pub until: u64,
    /// The log's last position at that time.
    pub head: u64,
    /// The last position that the filter's time range can match: the head, or an earlier one if the range has ended.
    pub end: u64,
}

impl Part {
    /// True if positions after this part remain to be examined.
    pub const fn has_more(&self) -> bool {
        self.until < self.end
    }

    /// True if no future event can match, because the filter's time range has ended.
    pub const fn is_over(&self) -> bool {
        self.end < self.head
    }
}
