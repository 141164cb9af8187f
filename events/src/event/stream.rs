//! Streams: each is the ordered history of one thing.

use std::fmt;

use crate::ids::{BudgetId, RequestId};
use crate::named;

named! {
    /// The kind of a stream; with an id it names the stream: `hold-req_…`. The word is stored as `aggregate_type`.
    #[derive(PartialOrd, Ord)]
    pub enum StreamKind {
        Inference = "inference",
        Hold = "hold",
        Partner = "partner",
        Tenant = "tenant",
        User = "user",
        Team = "team",
        Key = "key",
        Provider = "provider",
        /// A provider key; or, under a provider's id, the provider's own key while it has others.
        ProviderKey = "provider_key",
        Model = "model",
        Price = "price",
        Budget = "budget",
        RateLimit = "rate_limit",
        AuditSearch = "audit_search",
        NodeKey = "node_key",
        LogKey = "log_key",
        Revaluation = "revaluation",
        Import = "import",
        PublishedLog = "published_log",
        Access = "access",
        Alert = "alert",
    }
}

impl StreamKind {
    /// True for events of administration: they are few and small, so that tables are folded from them at every start.
    pub const fn is_administration(self) -> bool {
        !matches!(self, Self::Inference | Self::Hold | Self::Access | Self::Alert)
    }

    /// Its name in texts for people: `rate limit`.
    pub fn in_text(self) -> String {
        match self {
            Self::AuditSearch => "saved search".to_owned(),
            named => named.as_str().replace('_', " "),
        }
    }
}

/// A stream: `{kind}-{id}`. Its sequences are 1, 2, 3 …
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
        write!(f, "{}-{}", self.kind, self.id)
    }
}
