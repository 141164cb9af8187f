//! The targets of a model in the order in which they are tried for one request, with what each was left out for.

use std::cmp::Reverse;
use std::fmt;

use chrono::{DateTime, Utc};
use dialects::{ClientRequest, ProviderKind, provider_dialects};
use events::content::ContentSalts;
use events::event::admin::{Model, Target};
use events::ids::RequestId;
use events::money::PromptBound;
use events::routing::{CanaryPlace, Candidate, Features, LeftOut, Observed, Order, choose};
use events::terms::Requirements;
use projections::caller::Caller;
use projections::tables::{EvaluatedTarget, Tables};

use super::maintenance::{self, NearMaintenance};
use super::order_source::OrderSource;
use super::{PromptSize, requested_output_tokens, unpriced_at};
use crate::inference::breakers::Breakers;
use crate::inference::model_mode::is_for_another_api;
use crate::inference::observed_targets::ObservedTargets;

/// This node's knowledge of targets beyond the tables.
#[derive(Clone, Copy)]
pub struct KnownOfTargets<'a> {
    pub observed: &'a ObservedTargets,
    pub breakers: &'a Breakers,
    pub salts: &'a ContentSalts,
}

/// The order of a request's targets, and what it follows from.
pub struct TargetOrder<'a> {
    /// In the order of the model's row.
    pub considered: Vec<EvaluatedTarget<'a>>,
    pub order: Order<'a>,
    pub source: OrderSource<'a>,
    pub maintenance: NearMaintenance,
    /// The digest of the session, if the model goes by it.
    pub session: Option<String>,
    /// Where the model's canary stands; `None` without one.
    pub canary: Option<CanaryPlace>,
    /// The requirements on each target.
    pub required: Requirements<'a>,
    /// The targets whose breakers are open, which are tried after all others, in this order.
    pub open: Vec<usize>,
    pub prompt: PromptSize,
}

impl<'a> TargetOrder<'a> {
    pub fn of(
        tables: &'a Tables,
        caller: &Caller,
        model: &'a Model,
        request: &'a ClientRequest,
        request_id: RequestId,
        now: DateTime<Utc>,
        known: KnownOfTargets<'_>,
    ) -> Self {
        // Only a prompt with an output has a system message.
        let prefix = model.system_prefix.as_ref().filter(|_| request.facts.output_cap.is_some());
        let prefix_bytes = prefix.map_or(0, String::len) as u64;
        let bytes = request.input_tokens_bound().saturating_add(prefix_bytes);
        let prompt = PromptSize { bytes, tokens_estimate: request.input_tokens_estimate(bytes) };
        let source = OrderSource::of(tables, model, request, caller, prompt.tokens_estimate, now);
        let required =
            Requirements { tenant: tables.required_terms(caller.chain.tenant), request: &request.facts.required_terms };
        let evaluate = |target| {
            let considered = tables.evaluate(caller.chain.tenant, model, target, now, required);
            for_request(considered, request)
        };
        let mut considered: Vec<_> = model.targets.iter().map(evaluate).collect();
        source.leave_out(&mut considered);
        let maintenance = maintenance::leave_out(&mut considered, tables, now);
        let open = match model.targets.len() {
            // Its answer is the only one that there is.
            0 | 1 => Vec::new(),
            _ => set_aside_open_breakers(&mut considered, model.canary_index(), tables, known.breakers),
        };
        let features = Features {
            request: Some(request_id),
            prompt: PromptBound {
                tokens: prompt.tokens_estimate,
                images: request.facts.images.count,
                service_tier: request.facts.service_tier(),
            },
            choices: request.facts.choices,
            output_tokens: requested_output_tokens(request),
        };
        let candidates = considered.iter().map(|considered| candidate(considered, &source, known.observed));
        let mut order = choose(source.strategy(), candidates, &features);
        let canary = model.canary.as_ref().zip(model.canary_index()).map(|(canary, at)| {
            let is_able = considered.get(at).is_some_and(|considered| considered.left_out.is_none());
            let is_first = is_able && canary.draws(model.model_id, request_id, caller.chain.tenant);
            let place = if is_first { CanaryPlace::First } else { CanaryPlace::Last };
            order.place_canary(at, place);
            place
        });
        let session = request.facts.session.as_deref().filter(|_| !model.affinity.is_none());
        let session = session.map(|session| known.salts.session_digest(caller.chain.tenant, session));
        if let Some(session) = &session {
            order.put_session_target_first(session, |at| model.targets.get(at).map(Target::key));
        }
        Self { considered, order, source, maintenance, session, canary, required, open, prompt }
    }

    /// The order with its reasons: `cost: p/a (expected cost 0.000000012 USD); left out: p/b (no price in force)`.
    pub fn in_words(&self, tables: &Tables) -> impl fmt::Display {
        self.order.explained(move |at, f| {
            let Some(EvaluatedTarget { target, .. }) = self.considered.get(at) else { return Ok(()) };
            match tables.provider(target.provider_id) {
                Some(provider) => write!(f, "{}/{}", provider.value.name, target.model),
                None => write!(f, "{}/{}", target.provider_id, target.model),
            }
        })
    }
}

/// Leaves targets with open breakers out of the order, and returns them in the order in which they are tried if no other one can be called:
/// first those that answered while open, then by when their time is over, and last the canary.
fn set_aside_open_breakers(
    considered: &mut [EvaluatedTarget<'_>],
    canary: Option<usize>,
    tables: &Tables,
    breakers: &Breakers,
) -> Vec<usize> {
    let mut open = Vec::new();
    let able = considered.iter_mut().enumerate().filter(|(_, considered)| considered.left_out.is_none());
    for (at, considered) in able {
        let state = breakers.state(tables, considered.target.provider_id, &considered.target.model);
        if !state.may_call() {
            considered.left_out = Some(LeftOut::BreakerOpen);
            let answered = breakers.answered_while_open(considered.target.provider_id, &considered.target.model);
            open.push((canary == Some(at), Reverse(answered), state.until(), at));
        }
    }
    open.sort_unstable();
    open.into_iter().map(|(_, _, _, at)| at).collect()
}

/// A target as the strategy sees it.
fn candidate<'a>(
    considered: &EvaluatedTarget<'a>,
    source: &OrderSource<'_>,
    observed: &ObservedTargets,
) -> Candidate<'a> {
    let target = considered.target;
    let observed = match source.strategy().needs_observations() {
        true => observed.get(target.provider_id, &target.model),
        false => Observed::default(),
    };
    let priority = source.place_of(target).unwrap_or(target.priority);
    Candidate { observed, priority, ..considered.candidate() }
}

/// The target with the reason why it cannot serve this request, if there is one. That it does not meet a term comes last: such a target
/// lacks nothing else.
fn for_request<'a>(mut considered: EvaluatedTarget<'a>, request: &ClientRequest) -> EvaluatedTarget<'a> {
    if let Some(offer) = considered.offer {
        let (kind, target) = (ProviderKind::named(&offer.provider.kind), considered.target);
        let of_request = if kind.is_none() {
            Some(LeftOut::KindUnknown)
        } else if kind.is_some_and(|kind| !provider_dialects::for_model(kind, &target.model).has(request.api())) {
            Some(LeftOut::NoSuchApi)
        } else if is_for_another_api(request.api(), target, offer.provider) {
            Some(LeftOut::ForAnotherApi)
        } else if unpriced_at(request, offer).is_some() {
            // Nobody vouches for the cost of this field.
            Some(LeftOut::FieldNotAllowed)
        } else if request.has_documents() && offer.limits.context_window.is_none() {
            Some(LeftOut::ContextUnknown)
        } else {
            // The client's own cap is kept; a default is lowered to the target's.
            let above = requested_output_tokens(request)
                .zip(offer.limits.max_output_tokens)
                .filter(|(cap, maximum)| cap > maximum);
            above.map(|(_, maximum)| LeftOut::CapAbove { maximum })
        };
        considered.left_out = of_request.or(considered.left_out);
    }
    considered
}
