//! Events of requests that changed nothing: refused at the door, refused by a rule of administration, or read. Stream
//! `access-{key_id}`, `access-operator` or `access-anonymous`. They are rolled up by second, reads by minute, so that a flood
//! cannot flood the log: the first is recorded at once, the rest as one event.
//!
//! On the stream `access-limits`: when nodes count rate limits by their shares.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::family::family;
use super::{Event, Stream, StreamKind};
use crate::limit::{LimitName, LimitedMeasure};
use crate::named;
use crate::refusal::ErrorCode;
use crate::time::wire;

family! {
    /// Events of requests that were refused or only read, and of how rate limits are counted.
    Access {
        /// Bad keys and missing permissions, rolled up.
        Denied(AccessDenied) "access.denied" v 1 in set 1 at Anywhere;
        /// Requests above a rate limit, rolled up.
        RateLimited(AccessRateLimited) "access.rate_limited" v 1 in set 1 at Anywhere;
        /// Reads of what is recorded, rolled up.
        Read(AccessRead) "access.read" v 1 in set 1 at Anywhere;
        /// Changes by administration that a rule refused, rolled up.
        Rejected(AdminRejected) "admin.rejected" v 1 in set 1 at Anywhere;
        /// A node counts rate limits by its share from here on.
        LimitsLocal(AccessLimitsLocal) "access.limits_local" v 1 in set 1 at Anywhere;
        /// A node counts rate limits in Redis again from here on.
        LimitsShared(AccessLimitsShared) "access.limits_shared" v 1 in set 1 at Anywhere;
    }
}

impl Access {
    /// The stream of `access.limits_local` and `access.limits_shared`.
    pub fn limits_stream() -> Stream {
        Stream::new(StreamKind::Access, "limits")
    }
}

impl From<AccessLimitsLocal> for Event {
    fn from(local: AccessLimitsLocal) -> Self {
        Self::Access(Access::LimitsLocal(Box::new(local)))
    }
}

impl From<AccessLimitsShared> for Event {
    fn from(shared: AccessLimitsShared) -> Self {
        Self::Access(Access::LimitsShared(Box::new(shared)))
    }
}

/// A bad key or a missing permission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessDenied {
    pub code: ErrorCode,
    /// The number of requests that this stands for.
    pub count: u64,
}

/// Requests above a rate limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRateLimited {
    pub limit_id: LimitName,
    pub measure: LimitedMeasure,
    pub limit: u64,
    /// The number of requests that this stands for.
    pub count: u64,
}

named! {
    /// The part of the record that a read shows.
    pub enum ReadKind {
        /// `/v1/audit`.
        Audit = "audit",
        /// The log itself: pages of `/v1/events`, event streams and tails over gRPC.
        Events = "events",
        /// `/v1/usage`, and reports over gRPC.
        Usage = "usage",
        /// Single requests: `/v1/inferences`, alone or in lists.
        Inferences = "inferences",
        /// The kept prompt and answer: `/v1/inferences/{request_id}/content`.
        Content = "content",
    }
}

impl ReadKind {
    /// Whether reads of it are recorded whatever the configuration says.
    pub const fn is_always_recorded(self) -> bool {
        matches!(self, Self::Content)
    }
}

/// Reads of one kind in one minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRead {
    pub kind: ReadKind,
    /// The beginning of the minute, in UTC, by the clock of the node that was read.
    #[serde(with = "wire")]
    pub minute: DateTime<Utc>,
    /// The number of reads that this stands for.
    pub count: u64,
}

named! {
    /// The method of a change by administration.
    pub enum ChangeMethod {
        Post = "POST",
        Patch = "PATCH",
        Delete = "DELETE",
    }
}

/// Changes by administration that a rule refused. Nothing of their bodies is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminRejected {
    /// The code that the client got.
    pub code: ErrorCode,
    /// The kind of the resource that the path names.
    pub resource: StreamKind,
    /// The resource that the path names, if the caller reaches it: then the event is about the resource's owners, as a change
    /// would be. Absent if this stands for the rest of a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    pub method: ChangeMethod,
    /// The number of changes that this stands for.
    pub count: u64,
}

/// A node cannot count rate limits in Redis: it admits its share of each limit, which is divided by the number of `nodes`. It does so
/// since `began_at`. Recorded again when the nodes have changed.
///
/// Before ADR-0033, one node recorded it for all: from this position on, each node of `nodes` counts so, until an `access.limits_shared` whose `ends` is the last of these events, whichever node records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLimitsLocal {
    /// The node that records it.
    pub node: String,
    /// The nodes among which the node divides limits: those that serve requests.
    pub nodes: Vec<String>,
    /// When Redis was away for the node, or when it began to run while it was.
    #[serde(with = "wire")]
    pub began_at: DateTime<Utc>,
    /// The failure in words, for people.
    pub reason: String,
}

/// A node counts rate limits in Redis again, since `ended_at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLimitsShared {
    /// The node that records it.
    pub node: String,
    /// The position of the last `access.limits_local` of this node.
    pub ends: u64,
    #[serde(with = "wire")]
    pub began_at: DateTime<Utc>,
    #[serde(with = "wire")]
    pub ended_at: DateTime<Utc>,
    /// The requests under rate limits that this node admitted by itself meanwhile.
    pub admitted: u64,
    /// Those that it refused.
    pub refused: u64,
}
