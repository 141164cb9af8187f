//! What the request path works with.

use std::sync::Arc;
use std::time::Duration;

use access::limits::{RateLimited, RateLimiter};
use access::rollup::AccessRollup;
use chrono::{DateTime, Utc};
use events::event::Context;
use events::ids::IdMaker;
use events::log::Log;
use events::refusal::Refusal;
use events::time::Clock;
use projections::tables::TablesHandle;
use secrets::vault::Vault;
use tokio_util::task::TaskTracker;
use upstream::UpstreamClients;

use super::abandoned::AbandonedCalls;
use crate::body::memory::BodyMemory;
use crate::figures::RequestFigures;
use crate::tokens::TokenCounter;
use crate::trace::Tracer;

/// How long the tables may take to come up to what administration has recorded.
pub(super) const TABLES_WAIT_MAX: Duration = Duration::from_secs(2);

/// One for the whole process.
pub struct Gateway {
    pub log: Log,
    pub tables: TablesHandle,
    pub upstreams: UpstreamClients,
    pub vault: Arc<Vault>,
    pub limits: Arc<RateLimiter>,
    pub figures: Arc<RequestFigures>,
    /// Where traces are exported.
    pub tracer: Option<Arc<Tracer>>,
    pub access: Arc<AccessRollup>,
    pub clock: Arc<dyn Clock>,
    pub ids: IdMaker,
    /// One for each stream that is being relayed; they end with it.
    pub timers: TaskTracker,
    pub abandoned: AbandonedCalls,
    pub tokens: TokenCounter,
    /// What bodies of requests may take.
    pub bodies: Arc<BodyMemory>,
    /// What answers may take.
    pub answers: Arc<BodyMemory>,
}

impl Gateway {
    /// How long a request may take: always shorter than its hold lives.
    pub(super) fn deadline(&self) -> Duration {
        self.log.hold_ttl() * 4 / 5
    }

    /// The time of what would be appended now.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.log.head().time_after(self.clock.now())
    }

    /// A flood of them leaves few events: see [`AccessRollup`].
    pub(super) fn limited(&self, context: &Context, refused: &RateLimited) -> Refusal {
        self.access.rate_limited(context.clone(), refused.name, refused.measure, refused.limit);
        Refusal::from(refused)
    }
}
