//! The targets of a model in the order in which they are tried for one request: what is known of them is gathered here, and decided by
//! `events::routing::decide`.

use std::fmt;

use chrono::{DateTime, Utc};
use dialects::{ClientRequest, ProviderKind, provider_dialects};
use events::content::ContentSalts;
use events::event::admin::{Model, Target, Tokenizer};
use events::ids::RequestId;
use events::money::PromptBound;
use events::routing::{
    DialectFit, Features, LeftOut, Observed, OpenBreakerInputs, RouteDecision, RouteInputs, RouteQuestion, SeenRequest,
    TargetInputs, decide,
};
use events::terms::Requirements;
use projections::caller::Caller;
use projections::tables::{KnownTarget, Offer, Tables};

use super::maintenance::NearMaintenance;
use super::order_source::OrderSource;
use super::uncounted::Uncounted;
use super::{PromptSize, requested_output_tokens, unpriced_at};
use crate::inference::node::gateway::{Gateway, TargetState};
use crate::inference::planned::model_mode::is_for_another_api;
use crate::inference::shaped::PromptShape;
use crate::inference::targets::breakers::Breakers;
use crate::inference::targets::observed_targets::ObservedTargets;
use crate::tokens::{CountedPrompt, few_tokens};

/// This node's knowledge beyond the tables.
#[derive(Clone, Copy)]
pub struct NodeKnowledge<'a> {
    pub observed: &'a ObservedTargets,
    pub breakers: &'a Breakers,
    pub salts: &'a ContentSalts,
    /// `None` if the prompt's tokens were not counted.
    pub counted: Option<&'a CountedPrompt>,
}

impl<'a> NodeKnowledge<'a> {
    pub fn of(gateway: &'a Gateway, counted: Option<&'a CountedPrompt>) -> Self {
        let TargetState { observed, breakers, .. } = &gateway.targets;
        Self { observed, breakers, salts: &gateway.content.salts, counted }
    }
}

/// The order of a request's targets, and what it follows from.
pub struct TargetOrder<'a> {
    /// In the order of the model's row.
    pub targets: Vec<KnownTarget<'a>>,
    pub decision: RouteDecision<'a>,
    pub source: OrderSource<'a>,
    pub maintenance: NearMaintenance,
    /// The requirements on each target.
    pub required: Requirements<'a>,
    /// The parts of the request that the decision saw.
    pub seen: SeenRequest,
    pub prompt: PromptSize,
    /// The counts that are missing to know whether the prompt fits into the windows of all targets.
    pub uncounted: Uncounted,
}

impl<'a> TargetOrder<'a> {
    pub fn of(
        tables: &'a Tables,
        caller: &Caller,
        model: &'a Model,
        request: &'a ClientRequest,
        request_id: RequestId,
        now: DateTime<Utc>,
        node: NodeKnowledge<'_>,
    ) -> Self {
        let tenant = caller.chain.tenant;
        let shape = PromptShape::of(model, request);
        let prompt = prompt_size(shape, request);
        let source = OrderSource::of(tables, model, request, caller, prompt.tokens_estimate, now);
        let required =
            Requirements { tenant: tables.required_terms(tenant), request: &request.facts.directives.required_terms };
        let question = RouteQuestion {
            now,
            rule: source.rule(),
            required,
            needs: request.facts.needs,
            output_cap: requested_output_tokens(request),
            has_documents: request.has_documents(),
        };
        let mut gathering = Gathering {
            tables,
            request,
            question,
            node,
            needs_observations: source.strategy().needs_observations(),
            // The answer of the only target is the only one that there is.
            has_others: model.targets.len() > 1,
            prompt,
            uncounted: Uncounted::default(),
        };
        let gather = |target| gathering.complete(tables.known_target(tenant, model, target, now, required));
        let targets: Vec<_> = model.targets.iter().map(gather).collect();
        let mut uncounted = gathering.uncounted;
        let prefix = shape.system_prefix.filter(|_| !uncounted.is_empty());
        uncounted.system_prefix = prefix.map(str::to_owned);
        let maintenance = NearMaintenance::of(&targets, tables, now);
        let session = request.facts.directives.session.as_deref().filter(|_| !model.affinity.is_none());
        let session = session.map(|session| node.salts.session_digest(tenant, session));
        let features = features(request, request_id, prompt);
        let seen = SeenRequest::of(&question, &features, request.seen_fields());
        let decision = decide(RouteInputs {
            model_id: model.model_id,
            canary: model.canary.as_ref(),
            tenant,
            strategy: source.strategy(),
            features,
            session,
            question,
            targets: targets.iter().map(|known| known.inputs).collect(),
        });
        Self { targets, decision, source, maintenance, required, seen, prompt, uncounted }
    }

    /// The order with its reasons: `cost: p/a (expected cost 0.000000012 USD); left out: p/b (no price in force)`.
    pub fn in_words(&self, tables: &Tables) -> impl fmt::Display {
        self.decision.order.explained(move |at, f| {
            let Some(KnownTarget { inputs: TargetInputs { target, .. }, .. }) = self.targets.get(at) else {
                return Ok(());
            };
            match tables.provider(target.provider_id) {
                Some(provider) => write!(f, "{}/{}", provider.value.name, target.model),
                None => write!(f, "{}/{}", target.provider_id, target.model),
            }
        })
    }
}

fn prompt_size(shape: PromptShape<'_>, request: &ClientRequest) -> PromptSize {
    let bytes = request.input_tokens_bound().saturating_add(shape.added_bytes());
    PromptSize { bytes, tokens_estimate: request.input_tokens_estimate(bytes) }
}

/// The features of the request that strategies order its targets by.
fn features(request: &ClientRequest, id: RequestId, prompt: PromptSize) -> Features {
    Features {
        request: Some(id),
        prompt: PromptBound {
            tokens: prompt.tokens_estimate,
            images: request.facts.images.count,
            service_tier: request.facts.service_tier(),
        },
        choices: request.facts.choices,
        output_tokens: requested_output_tokens(request),
    }
}

/// The gathering of what is known of the targets of one request.
struct Gathering<'a> {
    tables: &'a Tables,
    request: &'a ClientRequest,
    question: RouteQuestion<'a>,
    node: NodeKnowledge<'a>,
    needs_observations: bool,
    has_others: bool,
    prompt: PromptSize,
    uncounted: Uncounted,
}

impl Gathering<'_> {
    /// Adds what the request and this node know of a target to what the tables have of it.
    fn complete<'t>(&mut self, mut known: KnownTarget<'t>) -> KnownTarget<'t> {
        let Some(offer) = known.offer else { return known };
        let target = known.inputs.target;
        known.inputs.dialect = dialect_fit(self.request, target, offer);
        known.inputs.prompt_tokens = self.prompt_tokens(&known.inputs, offer);
        known.inputs.open_breaker = if self.has_others { self.open_breaker(target) } else { None };
        known.inputs.observed = match self.needs_observations {
            true => self.node.observed.get(target.provider_id, &target.model),
            false => Observed::default(),
        };
        known
    }

    /// The prompt's tokens, bounded by its bytes if these fit into the target's window, as nearly always. Otherwise they are counted, for a
    /// backend whose tokenizer is not known by a common one; what could not be counted in time is estimated low.
    fn prompt_tokens(&mut self, inputs: &TargetInputs<'_>, offer: Offer<'_>) -> Option<u64> {
        let (request, window) = (self.request, inputs.context_window?);
        let (bound, token_ids) = (request.window_tokens_bound(self.prompt.bytes), request.window_token_ids());
        let output = inputs.output_in_window(&self.question);
        let is_exact = bound == token_ids;
        if is_exact || bound.saturating_add(output) <= window || LeftOut::judge(&self.question, inputs).is_some() {
            return Some(bound);
        }
        let tokenizer = offer.limits.tokenizer.unwrap_or(Tokenizer::O200kBase);
        let Some(counted) = self.node.counted else {
            self.uncounted.add(tokenizer, window);
            return None;
        };
        let tokens = counted.tokens(tokenizer, request.facts.output_cap.is_none());
        Some(tokens.unwrap_or_else(|| few_tokens(bound)).max(token_ids))
    }

    fn open_breaker(&self, target: &Target) -> Option<OpenBreakerInputs> {
        let breakers = self.node.breakers;
        let state = breakers.state(self.tables, target.provider_id, &target.model);
        (!state.may_call()).then(|| OpenBreakerInputs {
            has_answered: breakers.answered_while_open(target.provider_id, &target.model),
            until: state.until(),
        })
    }
}

/// Whether the target's provider can be sent the request as it is.
fn dialect_fit(request: &ClientRequest, target: &Target, offer: Offer<'_>) -> DialectFit {
    let Some(kind) = ProviderKind::named(&offer.provider.kind) else { return DialectFit::KindUnknown };
    if !provider_dialects::for_model(kind, &target.model).has(request.api()) {
        DialectFit::NoSuchApi
    } else if is_for_another_api(request.api(), target, offer.provider) {
        DialectFit::ForAnotherApi
    } else if unpriced_at(request, offer).is_some() {
        // Nobody vouches for the cost of this field.
        DialectFit::FieldNotAllowed
    } else {
        DialectFit::Fits
    }
}
