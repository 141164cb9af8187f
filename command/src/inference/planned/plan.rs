//! The plan of a request: which targets may serve it, in which order, and what it may cost. It is made once, from one
//! snapshot of the tables, before the ledger is asked. Pure, apart from a debug log line that explains the order.

mod maintenance;
mod order_source;
mod recorded_inputs;
mod refusals;
mod target_order;
mod terms;
mod uncounted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use access_control::limits::TokenAmounts;
use chrono::{DateTime, Utc};
use dialects::{ClientRequest, ProviderKind, RequestedCap, UpstreamBodies, WrittenBody, provider_dialects};
use events::decision_time::is_near;
use events::event::TeamVersions;
use events::event::admin::{Model, Retirement, Target, Tokenizer};
use events::event::inference::Versions;
use events::ids::{ModelId, ProviderId, RequestId};
use events::money::{CallsAtOnce, CostLine, NanoUsd, PromptBound};
use events::output_cap::{LoweredCap, OutputCap, SHRUNK_OUTPUT_TOKENS_MIN, Shrinking};
use events::refusal::{ErrorCode, Refusal};
use events::routing::{Canary, CanaryPlace, LeftOut, RouteDecision};
use events::terms::{AdmittedTerms, RequiredTerms};
use projections::caller::Caller;
use projections::tables::{KnownTarget, Offer, Tables};

use super::bound::{Bound, BrokeredTargets, OutputBound};
use crate::body::large_bodies::LargeBodies;
use crate::inference::shaped::PromptShape;
use crate::inference::targets::target::{PlannedTarget, allowed_for_price};

use crate::body::buffer::in_own_pages;
use crate::tokens::TokenSavings;
pub use maintenance::refusal_until as under_maintenance;
pub use recorded_inputs::PlannedRoute;
use recorded_inputs::{RecordedInputs, route};
pub use refusals::{no_offer, not_allowed};
pub use target_order::{NodeKnowledge, TargetOrder};
pub use terms::refusal as terms_not_met;
use uncounted::Uncounted;

/// The targets in the order in which they are tried, and the most that any of them can cost.
#[derive(Debug)]
pub struct Plan {
    pub targets: Vec<PlannedTarget>,
    serving: ServingModel,
    /// The end of the life of the model or alias that was asked for, as clients are told.
    pub retirement: Retirement,
    /// `None` if the request has no output.
    pub output_cap: Option<OutputCap>,
    /// The tokens that each choice can have beyond the cap. They stay the same if the cap is lowered: a lower one is above what
    /// the request's fields ask for.
    pub output_tokens_beyond_cap: u64,
    pub prompt: PromptSize,
    pub bound: Bound,
    /// The cost of each target that accepts only a lower cap than the client's; `None` if money cannot count it.
    excluded: Option<Vec<CostLine>>,
    /// Whether the model's targets, or their providers, have a maintenance window near: within an hour, and no request takes so long.
    pub is_near_maintenance: bool,
    /// The route, as admissions record it.
    pub route: PlannedRoute,
    /// Whether its strategy goes by what is measured of its calls.
    pub is_measured: bool,
    pub hedges: Hedges,
}

/// The model that serves, and the versions of what the plan is based on.
#[derive(Debug)]
struct ServingModel {
    model: Arc<Model>,
    version: u64,
    /// The version of the alias that was asked for.
    alias_version: Option<u64>,
    /// The versions of the providers that have a maintenance window near.
    provider_versions: BTreeMap<ProviderId, u64>,
}

/// The size of a prompt whose tokens were not counted.
#[derive(Clone, Copy, Debug)]
pub struct PromptSize {
    /// Its bytes, which bound its tokens unless it has documents.
    pub bytes: u64,
    /// The estimate of its tokens, used if none are reported.
    pub tokens_estimate: u64,
}

/// The calls that may be made beside the first one.
#[derive(Clone, Copy, Debug)]
pub struct Hedges {
    /// After how long without content from the first target another one may be called beside it; `None` if none may.
    pub after: Option<Duration>,
    /// The targets before this index may be called beside the first one.
    pub end: usize,
}

/// The bytes that a cap adds to a body besides its name: a number of any length, punctuation and white space.
const NAMED_CAP_BYTES: u64 = 48;

/// Why there is no plan.
#[derive(Debug)]
pub enum NotPlanned {
    /// Whether the prompt fits into the windows of all targets is known only when it has been counted.
    Uncounted(Uncounted),
    Refused(Refusal),
}

impl From<Refusal> for NotPlanned {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Plans a request.
///
/// Errors: [`NotPlanned::Uncounted`]; `MODEL_NOT_FOUND`, `MODEL_NOT_ALLOWED`, `TERMS_NOT_MET`, `MODEL_UNPRICED`; `INVALID_REQUEST` for a cap
/// that no target accepts, a prompt that fits into no window, and abilities that targets lack;
/// `ALL_PROVIDERS_UNAVAILABLE` if only a later version knows its providers, or all that could serve are under maintenance.
pub fn plan(
    tables: &Tables,
    caller: &Caller,
    request: &ClientRequest,
    request_id: RequestId,
    now: DateTime<Utc>,
    node: NodeKnowledge<'_>,
) -> Result<Plan, NotPlanned> {
    // First, since what a name stands for is not told to those who may not use it.
    if !caller.may_use_model(tables, &request.facts.model) {
        return Err(not_allowed(&request.facts.model).into());
    }
    let named = tables.named_model(caller.chain.tenant, &request.facts.model, now)?.require_not_retired(now)?;
    let (model, alias) = (named.serving, named.alias());
    let choices = request.facts.choices;
    let ordered = TargetOrder::of(tables, caller, &model.value, request, request_id, now, node);
    tracing::debug!(%request_id, model = &request.facts.model, order = %ordered.in_words(tables), "targets are chosen");
    if !ordered.uncounted.is_empty() {
        return Err(NotPlanned::Uncounted(ordered.uncounted));
    }
    if ordered.decision.called().next().is_none() {
        return Err(refusals::no_target(request, &ordered, now).into());
    }
    let TargetOrder { targets: known, decision, source, maintenance, required, seen, prompt: prompt_size, .. } =
        ordered;
    let RouteDecision { order, canary, last_resorts, session } = &decision;
    let offered = |at: usize| {
        let KnownTarget { offer, inputs } = known.get(at)?;
        let offer = (*offer)?;
        Some((ProviderKind::named(&offer.provider.kind)?, inputs.target, offer))
    };
    let tried = || decision.called().filter_map(offered);
    let output_cap = output_cap(request, tried().map(|(_, target, _)| target))?;
    let planned = |at: usize| offered(at).map(|(kind, target, offer)| PlannedTarget::of(request, kind, target, offer));
    let with_open_breakers = last_resorts.iter().filter_map(|at| planned(*at)).map(PlannedTarget::with_open_breaker);
    let targets: Vec<_> = order.tried().filter_map(planned).chain(with_open_breakers).collect();
    let prompt = |context_window| prompt_bound(request, prompt_size.bytes, context_window);
    // A canary behind all others serves only what none of them can, so it is no hedge either.
    let spare = model.value.canary.as_ref().filter(|_| *canary == Some(CanaryPlace::Last));
    let is_spare =
        |target: &PlannedTarget| spare.is_some_and(|spare| target.backend.is_of(spare.provider_id, &spare.model));
    let hedges_end = targets.iter().position(is_spare).unwrap_or(targets.len());
    let hedge_after_ms = model.value.hedge_after_ms.filter(|_| can_be_hedged(request, hedges_end, output_cap));
    let calls = CallsAtOnce::of(hedge_after_ms);
    let output_tokens_beyond_cap = output_tokens_beyond_cap(request, output_cap, &targets);
    let output = OutputBound { cap: output_cap, beyond_cap: output_tokens_beyond_cap, choices };
    let bound = Bound::over(&targets, |target| prompt(target.limits.context_window), output, calls);
    let bound = bound.ok_or_else(|| refusals::beyond_counting(request))?;
    let above_the_cap = order.left_out().filter(|(_, why)| matches!(why, LeftOut::CapAbove(_)));
    let excluded = above_the_cap
        .filter_map(|(at, _)| offered(at))
        .map(|(_, _, offer)| output.line(&offer.price.value.tariff, prompt(offer.limits.context_window)));
    let excluded = excluded.collect();
    let is_switched = alias.is_some_and(|alias| alias.value.alias.is_switched_near(now));
    let retires = named.retirements().filter_map(|of| of.retires_at).any(|date| is_near(date, now));
    let decided_at = maintenance.decided_at.or_else(|| (retires || is_switched).then_some(now));
    let stands_for = alias.map(|_| model.value.name.clone());
    let called = decision.called().filter_map(|at| known.get(at));
    let terms = terms::admitted(tables, &model.value, required, called);
    let is_near_maintenance = maintenance.decided_at.is_some();
    let first_canary = model.value.canary.as_ref().filter(|_| *canary == Some(CanaryPlace::First));
    let canary = first_canary.map(Canary::key);
    let recorded = RecordedInputs { decided_at, stands_for, session: session.clone(), canary, terms };
    Ok(Plan {
        targets,
        serving: ServingModel {
            model: Arc::clone(&model.value),
            version: model.version,
            alias_version: alias.map(|alias| alias.version),
            provider_versions: maintenance.providers,
        },
        retirement: named.retirement().clone(),
        output_cap,
        output_tokens_beyond_cap,
        prompt: prompt_size,
        bound,
        excluded,
        is_near_maintenance,
        route: route(&model.value, order, source, recorded, seen),
        is_measured: order.strategy.needs_observations(),
        hedges: Hedges { after: hedge_after_ms.map(Duration::from_millis), end: hedges_end },
    })
}

impl Plan {
    /// The estimate of the prompt's tokens.
    pub fn prompt_tokens_counted(&self) -> u64 {
        self.prompt.tokens_estimate.min(self.bound.input_tokens)
    }

    /// The model that serves.
    pub fn model(&self) -> &Model {
        &self.serving.model
    }

    pub fn model_id(&self) -> ModelId {
        self.serving.model.model_id
    }

    /// Returns the terms that its tenant and the request required of each target together; `None` if no target can meet
    /// both.
    pub fn required_terms(&self) -> Option<RequiredTerms> {
        let Some(AdmittedTerms { tenant, request, .. }) = &self.route.inputs.terms else {
            return Some(RequiredTerms::NONE);
        };
        tenant.clone().and(request.clone())
    }

    /// The most tokens that the request can consume at any of its targets, and at those that are not its tenant's own.
    pub fn tokens_bound(&self, choices: u64, is_guest: bool) -> TokenAmounts {
        let with_output = |input: u64| input.saturating_add(self.output_tokens_bound(choices));
        let all = with_output(self.bound.input_tokens);
        let brokered = match self.bound.brokered {
            None => all,
            Some(_) if self.targets.iter().all(PlannedTarget::is_own) => 0,
            Some(brokered) => with_output(brokered.input_tokens),
        };
        TokenAmounts { all, brokered, is_guest }
    }

    /// The most tokens of output that the request can consume, beyond the cap included.
    pub const fn output_tokens_bound(&self, choices: u64) -> u64 {
        self.output_tokens_max().saturating_add(self.output_tokens_beyond_cap).saturating_mul(choices)
    }

    /// The most tokens that each choice can have under the cap.
    pub const fn output_tokens_max(&self) -> u64 {
        match self.output_cap {
            Some(cap) => cap.tokens(),
            None => 0,
        }
    }

    /// The versions of everything that the plan is based on; the ledger adds the budgets.
    pub fn versions(&self, key: Option<u64>, teams: &TeamVersions) -> Versions {
        let price = |target: &PlannedTarget| (target.backend.key(), target.price_version);
        Versions {
            model: self.serving.version,
            alias: self.serving.alias_version,
            key,
            prices: self.targets.iter().map(price).collect(),
            budgets: BTreeMap::new(),
            providers: self.serving.provider_versions.clone(),
            teams: teams.clone(),
        }
    }

    /// The bounds within which the ledger may lower the output cap; `None` if there is none.
    pub fn shrinking(&self, request: &ClientRequest) -> Option<Shrinking> {
        let requested = request.facts.output_cap?;
        let (resent, tokens_min) = (self.resent(request, requested), least_output(request));
        Some(Shrinking { line: self.bound.line, resent, tokens_min })
    }

    /// The highest output cap with which the request, sent again, may take so many tokens less; `None` if no useful one is so low.
    pub fn cap_with_fewer_tokens(&self, request: &ClientRequest, fewer: u64) -> Option<u64> {
        let fewer = fewer.saturating_add(naming_bytes(request.facts.output_cap?));
        let cap = self.output_tokens_max().checked_sub(fewer.div_ceil(request.facts.choices.max(1)))?;
        (cap >= least_output(request)).then_some(cap)
    }

    /// The cost of the request if the client sent it again with a lower cap: targets that did not accept the higher one
    /// could serve it then, also as one of two that are called at the same time, and a body that names a cap for the first time is
    /// longer.
    fn resent(&self, request: &ClientRequest, requested: RequestedCap) -> Option<CostLine> {
        let line = match self.excluded.as_deref()? {
            [] => self.bound.line,
            excluded => {
                let targets = self.targets.len() + excluded.len();
                let after_ms = self.serving.model.hedge_after_ms;
                let calls = CallsAtOnce::of(after_ms.filter(|_| can_be_hedged(request, targets, self.output_cap)));
                let planned = self.bound.dearest.called(calls);
                excluded.iter().try_fold(planned, |dearest, line| dearest.with(*line))?.line()?
            }
        };
        line.with_more_input(naming_bytes(requested))
    }

    /// The targets' tokenizers, each once; empty if none is known.
    pub fn tokenizers(&self) -> Vec<Tokenizer> {
        let mut tokenizers: Vec<_> = self.targets.iter().filter_map(|target| target.limits.tokenizer).collect();
        tokenizers.sort_unstable();
        tokenizers.dedup();
        tokenizers
    }

    /// Lowers the bound by `savings`: the excess of the prompt's bytes over its tokens, by tokenizer.
    pub fn tighten(&mut self, request: &ClientRequest, savings: &[TokenSavings]) {
        self.bound = self.bound_with(request, savings);
    }

    fn bound_with(&self, request: &ClientRequest, savings: &[TokenSavings]) -> Bound {
        let of = |target: &PlannedTarget| {
            let saved = savings.iter().find(|savings| target.limits.tokenizer == Some(savings.tokenizer));
            let prompt_tokens = self.prompt.bytes.saturating_sub(saved.map_or(0, |savings| savings.tokens));
            prompt_bound(request, prompt_tokens, target.limits.context_window)
        };
        // The bound by bytes could be counted, so a lower one can be too.
        let (output, calls) = (self.output_bound(request), self.calls_at_once());
        Bound::over(&self.targets, of, output, calls).unwrap_or(self.bound)
    }

    fn output_bound(&self, request: &ClientRequest) -> OutputBound {
        OutputBound { cap: self.output_cap, beyond_cap: self.output_tokens_beyond_cap, choices: request.facts.choices }
    }

    /// In milliseconds, as it is recorded.
    pub fn hedge_after_ms(&self) -> Option<u64> {
        self.hedges.after.and_then(|after| u64::try_from(after.as_millis()).ok())
    }

    fn calls_at_once(&self) -> CallsAtOnce {
        CallsAtOnce::of(self.hedge_after_ms())
    }

    /// The most that one call to a target of the plan can cost, if the hold is for two.
    pub fn share_of_hold(&self, request: &ClientRequest, target: &PlannedTarget) -> Option<NanoUsd> {
        self.hedges.after.map(|_| self.cost_bound(request, target))
    }

    /// Uses the bound of the prompt for the target that counts most; for one that is not the tenant's own, of those that are not.
    fn cost_bound(&self, request: &ClientRequest, target: &PlannedTarget) -> NanoUsd {
        let (tokens, held) = match self.bound.brokered.filter(|_| !target.is_own()) {
            Some(BrokeredTargets { input_tokens, held, .. }) => (input_tokens, held),
            None => (self.bound.input_tokens, self.bound.held),
        };
        let prompt = PromptBound { tokens, ..prompt_bound(request, 0, target.limits.context_window) };
        let line = self.output_bound(request).line(target.tariff(), prompt);
        line.and_then(|line| line.at(self.output_tokens_max())).map_or(held, |cost| cost.min(held))
    }

    /// Lowers the output cap to the one that the ledger admitted.
    pub const fn lower_cap(&mut self, cap: LoweredCap) {
        self.output_cap = Some(OutputCap::Lowered(cap));
    }

    /// Drops the targets at the front whose dialect cannot express the request, and returns the body for the first one whose
    /// dialect can.
    ///
    /// Errors: the first target's refusal, if no dialect can.
    pub fn first_body(&mut self, request: &ClientRequest) -> Result<WrittenBody, Refusal> {
        let mut refused = None;
        let written = request.upstream_bodies();
        let bodies = self.targets.iter().map(|target| self.written(&written, target));
        for (at, body) in bodies.enumerate() {
            match body {
                Ok(body) => {
                    self.targets.drain(..at);
                    self.hedges.end = self.hedges.end.saturating_sub(at);
                    if at > 0 {
                        self.hold_for_fewer(request);
                    }
                    return Ok(body);
                }
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        Err(refused.unwrap_or_else(|| Refusal::new(ErrorCode::Internal, "a plan without targets")))
    }

    /// Holds for two calls only if there are two targets left that may be called at the same time; and if some of the targets were the
    /// tenant's own, in all and above the tenant only for those that are left: without its own ones, all counts above it.
    fn hold_for_fewer(&mut self, request: &ClientRequest) {
        let was_hedged = self.hedges.after.is_some();
        if self.hedges.end < 2 {
            self.hedges.after = None;
        }
        if was_hedged || self.bound.brokered.is_some() {
            self.tighten(request, &[]);
        }
    }

    /// Whether the body for the first target is the one for another plan's, if both are of one request.
    pub fn has_first_body_of(&self, other: &Self) -> bool {
        let (Some(target), Some(of_other)) = (self.targets.first(), other.targets.first()) else { return false };
        let (shape, of_others) =
            (PromptShape::of_chat(&self.serving.model), PromptShape::of_chat(&other.serving.model));
        let is_same = match (self.output_cap, other.output_cap) {
            (Some(cap), Some(others_cap)) => {
                target.outbound(cap, shape.system_prefix) == of_other.outbound(others_cap, of_others.system_prefix)
            }
            (None, None) => target.of_embeddings() == of_other.of_embeddings(),
            (Some(_), None) | (None, Some(_)) => false,
        };
        is_same && target.kind == of_other.kind
    }

    /// The body for a target.
    pub fn body(&self, request: &ClientRequest, target: &PlannedTarget) -> Result<WrittenBody, Refusal> {
        self.written(&request.upstream_bodies(), target)
    }

    fn written(&self, bodies: &UpstreamBodies<'_>, target: &PlannedTarget) -> Result<WrittenBody, Refusal> {
        let written = match self.output_cap {
            Some(cap) => {
                let shape = PromptShape::of_chat(&self.serving.model);
                bodies.body(target.kind, &target.outbound(cap, shape.system_prefix))
            }
            None => bodies.embeddings_body(target.kind, &target.of_embeddings()),
        }?;
        // Large ones are written on another thread than the one that sends them, and then frees them.
        let is_large = LargeBodies::is_large(written.bytes.len());
        Ok(if is_large { WrittenBody { bytes: in_own_pages(written.bytes), ..written } } else { written })
    }
}

/// Whether another target may be called beside the first one. Not for embeddings, which have no first token to wait for, nor for a body
/// that is too large to be written a second time while the first call waits.
fn can_be_hedged(request: &ClientRequest, targets: usize, output_cap: Option<OutputCap>) -> bool {
    targets > 1 && output_cap.is_some() && !LargeBodies::is_large(request.body().len())
}

/// Upper bound of what is billed for the prompt, whose text has so many tokens at most. Documents have pages that cannot be
/// counted here: with them it may fill the whole context, and they never lower the bound of the text beside them. Without a
/// window only a text bounds it, but such targets are left out.
fn prompt_bound(request: &ClientRequest, text_tokens: u64, context_window: Option<u64>) -> PromptBound {
    let tokens = match context_window {
        Some(window) if request.has_documents() => window.max(text_tokens),
        _ => text_tokens,
    };
    PromptBound { tokens, images: request.facts.images.count, service_tier: request.facts.service_tier() }
}

/// The refusal of the first field that changes the cost and that the offer's provider does not allow.
fn unpriced_at(request: &ClientRequest, offer: Offer<'_>) -> Option<Refusal> {
    let provider = offer.provider;
    let of_price = allowed_for_price(&request.facts.unpriced, offer);
    let allowed = of_price.as_ref().unwrap_or(&provider.allowed_fields);
    let of_documents = || {
        let server = request.has_documents().then(|| provider_dialects::server_of(provider))??;
        request.unpriced_documents(server, allowed)
    };
    let found = request.first_unpriced(ProviderKind::named(&provider.kind)?, allowed).or_else(of_documents);
    found.map(|(field, remedy)| field.refuse(remedy.at(provider)))
}

/// The tokens that each choice can have beyond the cap, at the target that is sent the lowest one.
fn output_tokens_beyond_cap(request: &ClientRequest, cap: Option<OutputCap>, targets: &[PlannedTarget]) -> u64 {
    let Some(cap) = cap else { return 0 };
    let sent = targets.iter().map(|target| target.cap_sent(cap)).min();
    request.facts.reserved_output.beyond(sent.unwrap_or(cap.tokens()))
}

/// The client's own cap; `None` if it gave none.
fn requested_output_tokens(request: &ClientRequest) -> Option<u64> {
    request.facts.output_cap?.tokens
}

/// The client's cap if it gave one, otherwise the default of the first target that has one; `None` if the request has no
/// output.
fn output_cap<'a>(
    request: &ClientRequest,
    mut tried: impl Iterator<Item = &'a Target>,
) -> Result<Option<OutputCap>, Refusal> {
    let Some(requested) = request.facts.output_cap else { return Ok(None) };
    if let Some(tokens) = requested.tokens {
        return Ok(Some(OutputCap::Requested(tokens)));
    }
    let default = tried.find_map(|target| target.default_max_output_tokens.or(target.max_output_tokens));
    let default = default.map(OutputCap::Bounded);
    default
        .map(Some)
        .ok_or_else(|| requested.refuse("is required: no target of this model has a default_max_output_tokens"))
}

/// The lowest output cap that is of use to a request.
fn least_output(request: &ClientRequest) -> u64 {
    request.facts.reserved_output.needed().saturating_add(SHRUNK_OUTPUT_TOKENS_MIN)
}

/// The bytes by which a body gets longer that names its cap for the first time.
const fn naming_bytes(RequestedCap { field, tokens }: RequestedCap) -> u64 {
    if tokens.is_some() { 0 } else { field.len() as u64 + NAMED_CAP_BYTES }
}

#[cfg(test)]
mod decided_again;
#[cfg(test)]
mod tests;
