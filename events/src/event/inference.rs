//! Events of one request. Stream `inference-{request_id}`: admitted is 1, then failed attempts, then one outcome.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::admin::{NarrowedScope, Provider, Strategy};
use super::context::Context;
use super::family::family;
use super::scope_subject::{ScopeSubject, TeamVersions};
use crate::content::{ContentPart, ContentPolicy};
use crate::fraction::Fraction;
use crate::ids::{BudgetId, ProviderId, ProviderKeyId, RequestId, target_key};
use crate::money::{NanoUsd, NanoUsdSum};
use crate::named;
use crate::output_cap::LoweredCap;
use crate::plain_json;
use crate::refusal::ErrorCode;
use crate::routing::{ChosenBy, PassedOverFor, RankFigures, RecordedLeftOut, RequestFeatures};
use crate::terms::AdmittedTerms;
use crate::time::{rfc3339, wire};
use crate::usage::{Usage, UsageSource};

family! {
    /// Events of one request.
    Inference {
        /// A request was admitted: its hold follows in the same batch.
        Admitted(InferenceAdmitted) "inference.admitted" v 1 in set 1 at First;
        /// A request was refused (or several, see `count`).
        Refused(InferenceRefused) "inference.refused" v 1 in set 1 at First;
        /// The upstream's answer is complete.
        Completed(InferenceEnded) "inference.completed" v 1 in set 1 at Later;
        /// The upstream failed.
        Failed(InferenceEnded) "inference.failed" v 1 in set 1 at Later;
        /// The client, the gateway or its process gave up.
        Aborted(InferenceEnded) "inference.aborted" v 1 in set 1 at Later;
        /// One call failed; the request went on.
        AttemptFailed(AttemptFailed) "inference.attempt_failed" v 1 in set 1 at Later;
    }
}

/// The versions, as log positions, of everything that was in force when the request was admitted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Versions {
    /// The version of the model that served; for an alias, of the model that it stood for.
    pub model: u64,
    /// The version of the requested alias; absent for a model with targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<u64>,
    /// Absent for the operator's own inference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u64>,
    /// The price of every target that may serve, by `provider_id/model`.
    pub prices: BTreeMap<String, u64>,
    pub budgets: BTreeMap<BudgetId, u64>,
    /// The providers of its targets that have a maintenance window about that time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub providers: BTreeMap<ProviderId, u64>,
    /// The teams of its user in its tenant: their budgets and rate limits bind it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub teams: TeamVersions,
}

/// A request was admitted; it is sent upstream only after this is durable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InferenceAdmitted {
    /// The requested frontend name.
    pub model: String,
    /// The client's dialect: `native`, `openai`, `anthropic`, `responses`, `completions` or `openai-embeddings`.
    pub dialect: String,
    pub streamed: bool,
    /// The output cap that goes upstream, in tokens per choice; 0 for embeddings, which have no output.
    pub max_output_tokens: u64,
    /// The requested cap, if budgets that shrink had not enough left for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_max_output_tokens: Option<u64>,
    /// The tokens that each choice can have beyond that cap, because fields of the request ask for them: a thinking budget, a
    /// minimum length. They are held for; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_beyond_cap: Option<u64>,
    /// The upper bound on the prompt, in tokens.
    pub input_tokens_bound: u64,
    /// SHA-256 of the body as received, in hex; empty if the tenant's policy is another one than `digest`.
    pub body_sha256: String,
    /// SHA-256 of the request's salt and of the body as received, in hex, if the body is kept sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_digest: Option<String>,
    /// How much content of the prompt and the answer is kept.
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub content_policy: ContentPolicy,
    pub metadata: BTreeMap<String, String>,
    pub versions: Versions,
    /// The observing budgets that had not enough left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub would_have_refused: Vec<BudgetShortfall>,
    /// The tokens that it counted against rate limits when it was admitted; absent if no limit of tokens bound it, or nodes do
    /// not count together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limited_tokens: Option<u64>,
    /// After how many milliseconds without content from the first target the next one might be called, too, so that two calls are
    /// held for; absent if it might not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge_after_ms: Option<u64>,
    /// The route: its strategy, the inputs of its order that the log does not have elsewhere, and the targets that were left out. Absent
    /// if nothing is kept of what the request says and its order follows from the model's row, and in what earlier versions recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Box<Route>>,
    /// The request that it is a copy of, sent to the model's shadow; absent if a client sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_of: Option<RequestId>,
    /// The shares of budgets to which its cap was lowered: those that were less than what was left of the budget.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hold_shares: BTreeMap<BudgetId, BudgetShare>,
}

/// The inputs of an order of targets that the log does not have elsewhere, and a digest of what it saw of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub strategy: Strategy,
    /// The party that chose the strategy; absent if the model did.
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub chosen_by: ChosenBy,
    /// The figures that the strategy ordered the targets by, for each target of the model, by `provider_id/model`. The second number
    /// decides among equals of the first. Absent if they follow from the model's row.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, RankFigures>,
    /// The targets that could not serve, as `provider_id/model`, and why: `no_provider`, `no_price`, `kind_unknown`, `no_such_api`,
    /// `for_another_api`, `field_not_allowed`, `cap_above`, `context_unknown`, `context_window`, `breaker_open`, `not_in_rule`,
    /// `maintenance`, the abilities that one lacks as `{"ability":["image"]}`, or the term that it does not meet: `residency_not_met`,
    /// `zero_retention_not_met` or `training_not_met`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, RecordedLeftOut>,
    /// The features that the rules of the model decided by; absent if it has another strategy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<RequestFeatures>,
    /// The salted digest of all features that the decision saw: see [`crate::routing::SeenRequest`]. Absent if nothing is kept of what
    /// the request says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features_digest: Option<String>,
    /// The rule that held, from 0; absent if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u64>,
    /// The name of the model that the requested alias stood for; absent for a model with targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<String>,
    /// The salted digest of the session whose target comes first; absent without one, or if the model has no affinity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The target that came first because it is the canary of the model, in whose share the request is, as `provider_id/model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    /// The time that it was decided by; absent if no date of the requested name or of the model that it stood for, no
    /// switch of an alias, and no maintenance window is about that time.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire::option")]
    pub decided_at: Option<DateTime<Utc>>,
    /// Which terms were required of each target, and by whom; absent if none were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<AdmittedTerms>,
}

impl InferenceAdmitted {
    /// The admission of a request that was refused, of which only that is recorded which decides what binds it.
    pub fn of_refused(refused: &InferenceRefused) -> Self {
        let scoped_by = refused.scoped_by.as_deref().cloned().unwrap_or_default();
        let model = scoped_by.model.as_deref().unwrap_or(&refused.model);
        let versions = Versions { teams: scoped_by.teams, ..Versions::default() };
        let route = scoped_by.stands_for.map(|stands_for| Box::new(Route::of_alias(stands_for)));
        Self { metadata: scoped_by.metadata, versions, route, ..Self::of_model(model) }
    }

    /// An admission of which no more is known than its model.
    pub fn of_model(model: &str) -> Self {
        Self { model: model.to_owned(), ..Self::default() }
    }

    /// The subject of scopes, which decides which budgets and limits bind the request. `context` is that of the event.
    pub fn scope_subject(&self, context: &Context) -> ScopeSubject<'_> {
        let (chain, stands_for, teams) = (context.chain(), self.stood_for(), &self.versions.teams);
        ScopeSubject { chain, model: &self.model, stands_for, metadata: &self.metadata, teams }
    }

    /// The model that the requested alias stood for.
    pub fn stood_for(&self) -> Option<&str> {
        self.route.as_ref()?.stands_for.as_deref()
    }

    /// Replaces the output cap by a lower one.
    pub fn lower(&mut self, cap: LoweredCap) {
        self.max_output_tokens = cap.tokens();
        self.requested_max_output_tokens = Some(cap.requested());
    }
}

impl Route {
    /// The route of an alias of which no more is known than the model that it stood for.
    fn of_alias(stands_for: String) -> Self {
        Self {
            strategy: Strategy::Priority,
            chosen_by: ChosenBy::Model,
            figures: BTreeMap::new(),
            left_out: BTreeMap::new(),
            features: None,
            features_digest: None,
            rule: None,
            stands_for: Some(stands_for),
            session: None,
            canary: None,
            decided_at: None,
            terms: None,
        }
    }
}

named! {
    /// A party that may hold no more than its share of a budget.
    pub enum ShareHolder {
        /// The key of the request.
        Key = "key",
        /// The tenant of the request, of its partner's budget.
        Tenant = "tenant",
    }
}

/// The share of a budget that one of those who share it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetShare {
    pub of: ShareHolder,
    /// The part of what is not settled that it may hold.
    pub fraction: Fraction,
    /// The amount that it held before the request.
    pub held_usd: NanoUsdSum,
}

impl BudgetShare {
    /// The amount that it may hold besides, of a budget of which so much is not settled.
    pub fn left_of(&self, unsettled: NanoUsdSum) -> NanoUsdSum {
        self.fraction.of(unsettled) - self.held_usd
    }
}

/// A budget that had not enough left for a request, with its figures before the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetShortfall {
    pub budget_id: BudgetId,
    pub scope: NarrowedScope,
    pub limit_usd: NanoUsd,
    pub settled_usd: NanoUsdSum,
    pub held_usd: NanoUsdSum,
    /// The most that the request can cost, as far as it counts in this budget.
    pub requested_usd: NanoUsd,
    /// `null` for the period `total`.
    #[serde(with = "wire::option")]
    pub resets_at: Option<DateTime<Utc>>,
    /// Present if not the budget has too little left, but the requester's share of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<BudgetShare>,
    /// The most that a refused request can cost at providers that are not its tenant's own, which is what it would have held of budgets
    /// above its tenant; absent if no provider is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brokered_usd: Option<NanoUsd>,
}

impl BudgetShortfall {
    /// The amount that the requester can still hold; never below zero, even if a lowered limit or an overrun has exceeded it.
    pub fn remaining(&self) -> NanoUsd {
        let unsettled = NanoUsdSum::from(self.limit_usd) - self.settled_usd;
        let left = self.share.map_or_else(|| unsettled - self.held_usd, |share| share.left_of(unsettled));
        left.to_amount().unwrap_or(NanoUsd::ZERO).max(NanoUsd::ZERO)
    }
}

impl fmt::Display for BudgetShortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { budget_id, scope, requested_usd, resets_at, share, .. } = self;
        let remaining = self.remaining();
        write!(f, "this request could cost up to {requested_usd} US dollars, but ")?;
        if let Some(BudgetShare { of, fraction, held_usd }) = share {
            return write!(
                f,
                "its {of} can hold only {remaining} more of the budget {budget_id} of {scope}, which others share: at most {fraction} of \
                 what is not settled, and it holds {held_usd}; wait until other requests of this {of} have ended, or lower the output cap"
            );
        }
        write!(f, "the budget {budget_id} of {scope} has only {remaining} left")?;
        match resets_at {
            Some(at) => write!(f, " until {}", rfc3339(*at)),
            None => f.write_str(" and never resets"),
        }
    }
}

/// One or several requests were refused before anything was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InferenceRefused {
    /// The code that the client got.
    pub code: ErrorCode,
    pub model: String,
    /// The number of refusals that this stands for.
    pub count: u64,
    /// The subject of scopes beside the parties and the model, which decided which budgets bound the request. Only for a refusal by a
    /// budget, and absent if it is empty; for several refusals, that of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoped_by: Option<Box<ScopedBy>>,
    /// For budgets: `budget_id`, `scope`, `limit_usd`, `settled_usd`, `held_usd`, `requested_usd`, `resets_at`,
    /// `remaining_usd`, `share` if the requester's share had too little left, and `affordable_max_output_tokens` if a lower output cap
    /// would fit.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl InferenceRefused {
    /// The subject of scopes, which decided which budgets bound the request, as far as it is recorded. `context` is that of the event.
    pub fn scope_subject(&self, context: &Context) -> ScopeSubject<'_> {
        let chain = context.chain();
        match &self.scoped_by {
            None => ScopeSubject::unmarked(chain, &self.model),
            Some(scoped_by) => {
                let model = scoped_by.model.as_ref().unwrap_or(&self.model);
                let stands_for = scoped_by.stands_for.as_deref();
                ScopeSubject { chain, model, stands_for, metadata: &scoped_by.metadata, teams: &scoped_by.teams }
            }
        }
    }
}

/// The subject of the scopes of budgets, beside the parties of a request and its model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopedBy {
    /// The model's name, if the event has another one because it stands for several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model that the requested alias stood for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The teams that it counted for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub teams: TeamVersions,
}

impl ScopedBy {
    /// Returns the subject of an admission; `None` if it is empty.
    pub fn of(admitted: &InferenceAdmitted) -> Option<Box<Self>> {
        let stands_for = admitted.stood_for().map(str::to_owned);
        let (metadata, teams) = (admitted.metadata.clone(), admitted.versions.teams.clone());
        let scoped_by = Self { model: None, stands_for, metadata, teams };
        (scoped_by != Self::default()).then(|| Box::new(scoped_by))
    }
}

/// The target that served a request, or was called for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    pub provider_id: ProviderId,
    /// The provider's name at that time.
    pub provider: String,
    /// The provider's name for the model.
    pub model: String,
    /// The provider key that it was called with; absent for the provider's own key, and for one without provider keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_key_id: Option<ProviderKeyId>,
}

impl Backend {
    pub fn is_of(&self, provider: ProviderId, model: &str) -> bool {
        self.provider_id == provider && self.model == model
    }

    /// See [`target_key`].
    pub fn key(&self) -> String {
        target_key(self.provider_id, &self.model)
    }
}

named! {
    /// Whose account at the provider a request is billed to.
    pub enum Payer {
        /// The tenant's: the provider is the tenant's own.
        Own = "own",
        /// The platform's: all tenants share the provider.
        Brokered = "brokered",
    }
}

impl Payer {
    pub const fn of(provider: &Provider) -> Self {
        if provider.tenant_id.is_some() { Self::Own } else { Self::Brokered }
    }
}

named! {
    /// Why an answer ended, as in events, native answers and traces.
    pub enum FinishReason {
        Stop = "stop",
        Length = "length",
        ToolCalls = "tool_calls",
        ContentFilter = "content_filter",
        Cancelled = "cancelled",
        Error = "error",
    }
}

named! {
    /// The outcome of a hedge: a second call made beside the first one, because that had not answered.
    pub enum Hedge {
        /// The second call answered first.
        Answered = "answered",
        /// The first call answered first.
        Lost = "lost",
        /// The second call failed.
        Failed = "failed",
        /// The request ended before either of them had answered.
        Unfinished = "unfinished",
    }
}

/// The end of a request. The event's type says how it ended: completed, failed or aborted. Unknown fields are absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InferenceEnded {
    /// The frontend name, repeated so that a reader of outcomes needs no other event.
    pub model: String,
    /// When it was admitted: usage counts in that hour, and budgets in that window.
    #[serde(with = "wire")]
    pub admitted_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// The payer of the backend. Events of versions that did not record it lack it: see [`InferenceEnded::payer`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<Payer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The provider's own usage block, equal as a JSON value. For streams all blocks are merged, and later figures win.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "plain_json::option")]
    pub provider_usage: Option<Value>,
    /// The cost of the request, including its failed calls; zero if its hold was released.
    pub cost_usd: NanoUsd,
    /// The log position of the price that was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// From admission to the end, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// From admission to the first byte with content, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// The number of calls to upstreams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The targets of the order, as `provider_id/model`, that were not called, or not once more, when it was their turn, and why: each
    /// reason once, the first one first. One that had no room may have been called after the others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub passed_over: BTreeMap<String, Vec<PassedOverFor>>,
    /// How long it waited for a target to have room, in milliseconds; absent if it did not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_ms: Option<u64>,
    /// The outcome of the hedge, a second call beside the first one; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<Hedge>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_request_id: Option<String>,
    /// SHA-256 of the request's salt and of the answer's text as far as it arrived: text, refusals, names and arguments of tool
    /// calls, as the provider sent them. Absent without text, or if the policy is to keep nothing. See [`crate::content`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_digest: Option<String>,
    /// Parts that should have been kept sealed, but were lost because there was no room on their way to the object store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content_lost: Vec<ContentPart>,
    /// The error code that the client got; absent if it completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why, in a word: `upstream_status`, `client_closed`, `node_lost`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl InferenceEnded {
    /// An end of which no more is known.
    pub const fn new(model: String, admitted_at: DateTime<Utc>, cost_usd: NanoUsd) -> Self {
        Self {
            model,
            admitted_at,
            backend: None,
            payer: None,
            usage: None,
            provider_usage: None,
            cost_usd,
            price_version: None,
            finish_reason: None,
            latency_ms: None,
            first_token_ms: None,
            attempts: None,
            passed_over: BTreeMap::new(),
            queued_ms: None,
            hedge: None,
            upstream_request_id: None,
            answer_digest: None,
            content_lost: Vec::new(),
            code: None,
            reason: None,
        }
    }

    /// The payer of the backend; `None` without a backend. The platform, if the event does not say it.
    pub fn payer(&self) -> Option<Payer> {
        self.payer.or(self.backend.as_ref().map(|_| Payer::Brokered))
    }
}

/// The reason of a call that was cancelled because another one, which was made at the same time, answered first.
pub const HEDGED: &str = "hedged";
/// The reason of a request whose client has left, and of a second call that was cancelled with it.
pub const CLIENT_CLOSED: &str = "client_closed";

/// One call to a target failed before anything was relayed. Another call followed, or the request failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptFailed {
    pub backend: Backend,
    /// 1 for the first call of the request.
    pub attempt: u32,
    /// Why, in a word: `connect`, `timeout`, `status`, `malformed`, …; `hedged` if another call that was made at the same time answered
    /// first.
    pub reason: String,
    /// The upstream's HTTP status, if it answered with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The upstream's own code if it rejected the request, such as `context_length_exceeded`: at most 64 letters, digits
    /// and `_-.`, and nothing that looks like a key. Its message is not recorded, since it may repeat the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_code: Option<String>,
    /// From the call to its failure, in milliseconds.
    pub latency_ms: u64,
    /// The usage that the provider reported before it failed; absent if it reported none. Of a call that was cancelled, what it
    /// may have used.
    #[serde(flatten)]
    pub reported: ReportedByFailedCall,
}

/// The usage of a failed call by its provider's own report. All fields are absent without a report: the call cost nothing. A call that
/// was cancelled because another one answered is measured as an answer that broke off: by what went through, or as unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportedByFailedCall {
    /// `source` is `unknown` if the report was implausible, or if a cancelled call gave no sign of what it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The provider's own usage block, as for an answer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "plain_json::option")]
    pub provider_usage: Option<Value>,
    /// Part of the request's cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<NanoUsd>,
    /// The log position of the price that was applied to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_version: Option<u64>,
}

impl ReportedByFailedCall {
    /// Whether it is charged although nobody knows what it used, so that no price says what it costs.
    pub fn is_charged_unknown(&self) -> bool {
        let is_unknown = self.usage.as_ref().is_some_and(|usage| usage.source == UsageSource::Unknown);
        is_unknown && self.cost_usd.is_some_and(|cost| cost != NanoUsd::ZERO)
    }
}
