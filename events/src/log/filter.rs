//! Which events a reader wants, and what it is given of them.

use chrono::{DateTime, Utc};

use crate::event::{Recorded, Resource};
use crate::ids::{PartnerId, TenantId};

/// Which events a reader wants; what is absent does not filter.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Names without version, and versions.
    pub types: Option<Vec<(String, u32)>>,
    pub partner: Option<PartnerId>,
    pub tenant: Option<TenantId>,
    /// Recorded at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Recorded before this time.
    pub to: Option<DateTime<Utc>>,
}

impl EventFilter {
    /// Whether it asks for nothing but events on streams of administration, which are few among many.
    pub(super) fn is_of_administration(&self) -> bool {
        let is_one = |name: &str| Resource::TYPES.iter().any(|(of_resource, _)| *of_resource == name);
        self.types.as_ref().is_some_and(|types| types.iter().all(|(name, _)| is_one(name)))
    }
}

/// A part of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// In order.
    pub events: Vec<Recorded>,
    /// Everything up to here was looked at: the next part begins behind it.
    pub until: u64,
    /// Where the log stood then.
    pub head: u64,
    /// The last position that the filter's time lets through: the head, or one before it where the time is over.
    pub end: u64,
}

impl Part {
    /// Whether there is something behind it that has not been looked at.
    pub const fn has_more(&self) -> bool {
        self.until < self.end
    }

    /// Whether nothing that is recorded from now on can pass the filter, because its time is over.
    pub const fn is_over(&self) -> bool {
        self.end < self.head
    }
}
