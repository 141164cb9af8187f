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
use super::access_tokens::AccessTokens;
use super::breakers::Breakers;
use super::content::{ContentKeeper, RequestContent};
use super::copies::Copies;
use super::health::ProviderHealth;
use super::large_bodies::LargeBodies;
use super::observed_targets::ObservedTargets;
use super::plan::NodeKnowledge;
use super::provider_keys::ProviderKeys;
use super::retry_budget::{Retry, RetryBudgets};
use super::target::PlannedTarget;
use super::target_places::TargetPlaces;
use super::upstream_calls::UpstreamCalls;
use crate::body::memory::BodyMemory;
use crate::figures::RequestFigures;
use crate::tokens::CountedPrompt;
use crate::trace::Tracer;

/// The longest wait for the tables to catch up with the log.
pub(super) const TABLES_WAIT_MAX: Duration = Duration::from_secs(2);

/// The text of an event's leaf in the published log.
pub type LeafOf = fn(&Recorded) -> Option<String>;

/// The request path's dependencies: one for the whole process.
pub struct Gateway {
    pub log: Log,
    pub tables: TablesHandle,
    pub upstreams: Arc<UpstreamClients>,
    pub vault: Arc<Vault>,
    pub served: ServedTenants,
    pub access_tokens: Arc<AccessTokens>,
    pub provider_keys: Arc<ProviderKeys>,
    pub observed: ObservedTargets,
    pub breakers: Arc<Breakers>,
    pub retries: RetryBudgets,
    pub places: TargetPlaces,
    pub calls: UpstreamCalls,
    pub health: Arc<ProviderHealth>,
    pub limits: Arc<RateLimiter>,
    /// The most that one key, or one tenant, may hold of a budget that it shares with others.
    pub hold_share: Fraction,
    pub figures: Arc<RequestFigures>,
    pub content_salts: ContentSalts,
    /// Makes the keys of the fingerprints of requests.
    pub key_check: KeyCheck,
    /// `None` if this node keeps no content.
    pub content_keeper: Option<Arc<ContentKeeper>>,
    /// `None` if the log is not published.
    pub leaf_of: Option<LeafOf>,
    /// `None` if traces are not exported.
    pub tracer: Option<Arc<Tracer>>,
    pub access: Arc<AccessRollup>,
    pub clock: Arc<dyn Clock>,
    pub ids: IdMaker,
    /// After how long without a word the client of a stream gets one; `None` if it gets none.
    pub keep_alive: Option<Duration>,
    /// The timers of the streams that are being relayed; each ends with its stream.
    pub timers: TaskTracker,
    pub abandoned: AbandonedCalls,
    pub copies: Copies,
    pub large_bodies: LargeBodies,
    /// Memory for the bodies of requests.
    pub bodies: Arc<BodyMemory>,
    /// Memory for answers.
    pub answers: Arc<BodyMemory>,
}

impl Gateway {
    /// The longest that a request may still take that was admitted then: always less than is left of its hold's lifetime, which
    /// has begun before the hold was durable.
    pub(super) fn time_left(&self, admitted_at: DateTime<Utc>) -> Duration {
        let age = (self.clock.now() - admitted_at).to_std().unwrap_or_default();
        self.log.request_time_max().saturating_sub(age)
    }

    /// Errors: another node serves the caller's tenant.
    pub(super) fn require_served(&self, caller: &Caller) -> Result<(), Refusal> {
        if caller.chain.tenant.is_none_or(|tenant| self.served.contain(tenant)) {
            return Ok(());
        }
        let message = "this node does not serve the tenant of the request: send it to one that does";
        Err(Refusal::new(ErrorCode::TenantNotServed, message))
    }

    /// This node's knowledge of targets, and of a prompt whose tokens were counted.
    pub(crate) fn knowledge<'a>(&'a self, counted: Option<&'a CountedPrompt>) -> NodeKnowledge<'a> {
        NodeKnowledge { observed: &self.observed, breakers: &self.breakers, salts: &self.content_salts, counted }
    }

    /// Returns the content to keep of a request, by its tenant's policy as the tables have it at `known_until`.
    ///
    /// Errors: the content is to be kept sealed, and this node cannot.
    pub(super) async fn content_of(
        &self,
        policy: ContentPolicy,
        context: &Context,
        request: RequestId,
        known_until: u64,
    ) -> Result<RequestContent, Refusal> {
        let (salts, keeper) = (&self.content_salts, self.content_keeper.as_ref());
        RequestContent::for_policy(policy, salts, keeper, request, context, known_until).await
    }

    /// Whether the retry budget of the target's provider allows this call of an owner; it is counted if not.
    pub(super) fn allows_retry(&self, target: &PlannedTarget, owner: Owner, retry: Retry) -> bool {
        let figures = self.figures.providers.of(&target.provider);
        let is_allowed = self.retries.allows(target.backend.provider_id, figures.own_calls(), owner, retry);
        if !is_allowed {
            figures.retries_forbidden.inc();
        }
        is_allowed
    }

    /// A call in the place of another target's has failed as well.
    pub(super) fn failover_failed(&self, target: &PlannedTarget, owner: Owner) {
        let calls = self.figures.providers.of(&target.provider).own_calls();
        self.retries.failover_failed(target.backend.provider_id, calls, owner);
    }

    /// Another try at a target, or a hedge, that was allowed was not sent.
    pub(super) fn retry_was_not_sent(&self, target: &PlannedTarget, owner: Owner) {
        let calls = self.figures.providers.of(&target.provider).own_calls();
        self.retries.was_not_sent(target.backend.provider_id, calls, owner);
    }

    /// The time that an event would get if it were appended now.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.log.head().time_after(self.clock.now())
    }

    /// Records and renders a rate-limited request. A flood of them leaves few events: see [`AccessRollup`].
    pub(super) fn limited(&self, context: &Context, refused: &LimitRefusal) -> Refusal {
        if let LimitRefusal::RateLimited(limited) = refused {
            self.access.rate_limited(context.clone(), limited.name, limited.measure, limited.limit);
        }
        Refusal::from(refused)
    }
}
