//! Streams: the ordered history of one thing each.

use std::fmt;

use crate::ids::{BudgetId, RequestId};

/// Kind of the stream that an event stands on; with an id it names the stream: `hold-req_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamKind {
    Inference,
    Hold,
    Partner,
    Tenant,
    User,
    Key,
    Provider,
    Model,
    Price,
    Budget,
    RateLimit,
    NodeKey,
    Access,
    Alert,
}

impl StreamKind {
    pub const ALL: &'static [Self] = &[
        Self::Inference,
        Self::Hold,
        Self::Partner,
        Self::Tenant,
        Self::User,
        Self::Key,
        Self::Provider,
        Self::Model,
        Self::Price,
        Self::Budget,
        Self::RateLimit,
        Self::NodeKey,
        Self::Access,
        Self::Alert,
    ];

    /// Whether its events are of administration: few and small, so that tables are folded from them at every start.
    pub const fn is_administration(self) -> bool {
        !matches!(self, Self::Inference | Self::Hold | Self::Access | Self::Alert)
    }

    /// The literal that is stored as `aggregate_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Hold => "hold",
            Self::Partner => "partner",
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Key => "key",
            Self::Provider => "provider",
            Self::Model => "model",
            Self::Price => "price",
            Self::Budget => "budget",
            Self::RateLimit => "rate_limit",
            Self::NodeKey => "node_key",
            Self::Access => "access",
            Self::Alert => "alert",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

/// One ordered history: `{kind}-{id}`. Sequences in it are 1, 2, 3 …
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    pub kind: StreamKind,
    pub id: String,
}

impl Stream {
    pub fn new(kind: StreamKind, id: impl fmt::Display) -> Self {
        Self { kind, id: id.to_string() }
    }

    pub fn inference(request: RequestId) -> Self {
        Self::new(StreamKind::Inference, request)
    }

    pub fn hold(request: RequestId) -> Self {
        Self::new(StreamKind::Hold, request)
    }

    pub fn alert(budget: BudgetId) -> Self {
        Self::new(StreamKind::Alert, budget)
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind.as_str(), self.id)
    }
}
