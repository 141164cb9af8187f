//! The parts of the gateway that the request path uses.

use std::sync::Arc;
use std::time::Duration;

use access_control::limits::{LimitRefusal, RateLimiter};
use access_control::rollup::AccessRollup;
use chrono::{DateTime, Utc};
use events::content::{ContentPolicy, ContentSalts};
use events::event::{Context, Recorded};
use events::fraction::Fraction;
use events::ids::{IdMaker, RequestId};
use events::refusal::{ErrorCode, Refusal};
use events::time::Clock;
use events_log::Log;
use projections::caller::Caller;
use projections::tables::TablesHandle;
use provider_client::{Owner, UpstreamClients};
use secrets::vault::Vault;
use secrets::{KeyCheck, ServedTenants};
use tokio_util::task::TaskTracker;

use super::abandoned::AbandonedCalls;
use super::content::{ContentKeeper, RequestContent};
use super::copies::Copies;
use crate::body::large_bodies::LargeBodies;
use crate::body::memory::BodyMemory;
use crate::figures::RequestFigures;
use crate::inference::keys::access_tokens::AccessTokens;
use crate::inference::keys::provider_keys::ProviderKeys;
use crate::inference::targets::breakers::Breakers;
use crate::inference::targets::health::ProviderHealth;
use crate::inference::targets::observed_targets::ObservedTargets;
use crate::inference::targets::retry_budget::{Retry, RetryBudgets};
use crate::inference::targets::target::PlannedTarget;
use crate::inference::targets::target_places::TargetPlaces;
use crate::inference::targets::upstream_calls::UpstreamCalls;
use crate::trace::Tracer;

/// The longest wait for the tables to catch up with the log.
pub const TABLES_WAIT_MAX: Duration = Duration::from_secs(2);

/// The text of an event's leaf in the published log.
pub type LeafOf = fn(&Recorded) -> Option<String>;

/// The request path's dependencies: one for the whole process.
pub struct Gateway {
    pub log: Log,
    pub tables: TablesHandle,
    pub providers: ProviderAccess,
    pub targets: TargetState,
    pub admission: AdmissionControl,
    pub content: ContentRecording,
    pub memory: RequestMemory,
    pub background: BackgroundWork,
    pub figures: Arc<RequestFigures>,
    /// `None` if traces are not exported.
    pub tracer: Option<Arc<Tracer>>,
    /// `None` if the log is not published.
    pub leaf_of: Option<LeafOf>,
    pub clock: Arc<dyn Clock>,
    pub ids: IdMaker,
    /// After how long without a word the client of a stream gets one; `None` if it gets none.
    pub keep_alive: Option<Duration>,
}

/// The connections to providers, and their secrets.
pub struct ProviderAccess {
    pub clients: Arc<UpstreamClients>,
    pub vault: Arc<Vault>,
    pub access_tokens: Arc<AccessTokens>,
    pub keys: Arc<ProviderKeys>,
}

/// The knowledge of targets, and the bounds on the calls to them.
pub struct TargetState {
    pub observed: ObservedTargets,
    pub breakers: Arc<Breakers>,
    pub retries: RetryBudgets,
    pub places: TargetPlaces,
    pub call_places: UpstreamCalls,
    pub health: Arc<ProviderHealth>,
}

/// The parts that decide, beside the ledger, which requests are admitted.
pub struct AdmissionControl {
    pub served: ServedTenants,
    pub limits: Arc<RateLimiter>,
    /// The most that one key, or one tenant, may hold of a budget that it shares with others.
    pub hold_share: Fraction,
    /// Makes the keys of the fingerprints of requests.
    pub key_check: KeyCheck,
    /// Records those that rate limits refuse.
    pub access: Arc<AccessRollup>,
}

/// The parts that keep prompts and answers, or their digests.
pub struct ContentRecording {
    pub salts: ContentSalts,
    /// `None` if this node keeps no content.
    pub keeper: Option<Arc<ContentKeeper>>,
}

/// The memory for the bodies of requests and for answers, and the threads for large ones.
pub struct RequestMemory {
    pub bodies: Arc<BodyMemory>,
    pub answers: Arc<BodyMemory>,
    pub large_bodies: LargeBodies,
}

/// Work that goes on without a client.
pub struct BackgroundWork {
    /// The timers of the streams that are being relayed; each ends with its stream.
    pub timers: TaskTracker,
    pub abandoned: AbandonedCalls,
    pub copies: Copies,
}

impl Gateway {
    /// The longest that a request may still take that was admitted then: always less than is left of its hold's lifetime, which
    /// has begun before the hold was durable.
    pub fn time_left(&self, admitted_at: DateTime<Utc>) -> Duration {
        let age = (self.clock.now() - admitted_at).to_std().unwrap_or_default();
        self.log.request_time_max().saturating_sub(age)
    }

    /// Errors: another node serves the caller's tenant.
    pub fn require_served(&self, caller: &Caller) -> Result<(), Refusal> {
        if caller.chain.tenant.is_none_or(|tenant| self.admission.served.contain(tenant)) {
            return Ok(());
        }
        let message = "this node does not serve the tenant of the request: send it to one that does";
        Err(Refusal::new(ErrorCode::TenantNotServed, message))
    }

    /// Returns the content to keep of a request, by its tenant's policy as the tables have it at `known_until`.
    ///
    /// Errors: the content is to be kept sealed, and this node cannot.
    pub async fn content_of(
        &self,
        policy: ContentPolicy,
        context: &Context,
        request: RequestId,
        known_until: u64,
    ) -> Result<RequestContent, Refusal> {
        let (salts, keeper) = (&self.content.salts, self.content.keeper.as_ref());
        RequestContent::for_policy(policy, salts, keeper, request, context, known_until).await
    }

    /// Whether the retry budget of the target's provider allows this call of an owner; it is counted if not.
    pub fn allows_retry(&self, target: &PlannedTarget, owner: Owner, retry: Retry) -> bool {
        let figures = self.figures.providers.of(&target.provider);
        let is_allowed = self.targets.retries.allows(target.backend.provider_id, figures.own_calls(), owner, retry);
        if !is_allowed {
            figures.retries_forbidden.inc();
        }
        is_allowed
    }

    /// A call in the place of another target's has failed as well.
    pub fn failover_failed(&self, target: &PlannedTarget, owner: Owner) {
        let calls = self.figures.providers.of(&target.provider).own_calls();
        self.targets.retries.failover_failed(target.backend.provider_id, calls, owner);
    }

    /// Another try at a target, or a hedge, that was allowed was not sent.
    pub fn retry_was_not_sent(&self, target: &PlannedTarget, owner: Owner) {
        let calls = self.figures.providers.of(&target.provider).own_calls();
        self.targets.retries.was_not_sent(target.backend.provider_id, calls, owner);
    }

    /// The time that an event would get if it were appended now.
    pub fn now(&self) -> DateTime<Utc> {
        self.log.head().time_after(self.clock.now())
    }

    /// Records and renders a rate-limited request. A flood of them leaves few events: see [`AccessRollup`].
    pub fn limited(&self, context: &Context, refused: &LimitRefusal) -> Refusal {
        if let LimitRefusal::RateLimited(limited) = refused {
            self.admission.access.rate_limited(context.clone(), limited.name, limited.measure, limited.limit);
        }
        Refusal::from(refused)
    }
}
