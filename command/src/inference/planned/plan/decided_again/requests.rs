//! Random requests within a history: each is decided from the tables, and its admission recorded, also as other versions would.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use dialects::{ClientRequest, Surface};
use events::content::{ContentPolicy, ContentSalts};
use events::event::admin::{Model, Strategy};
use events::event::inference::{InferenceAdmitted, Route};
use events::event::{Actor, Context, Event, Inference, Stream, TeamVersions};
use events::ids::RequestId;
use events::routing::{CanaryPlace, ChosenBy, Order, RecordedLeftOut, RouteDecision};
use events::time::Clock;
use projections::caller::Caller;
use serde_json::{Value, json};

use super::super::{NodeKnowledge, NotPlanned, TargetOrder, plan};
use super::history::{BACKENDS, PRICED_FIELD, RoutingHistory};
use crate::inference::targets::observed_targets::ObservedTargets;

/// A request as it was decided from the tables.
pub struct DecidedRequest {
    pub id: RequestId,
    /// Each target in the order, with whether it may be called, why it was left out, and why it has its place.
    pub targets: Vec<String>,
    /// False if rules went by features that are not kept.
    pub has_features: bool,
}

impl RoutingHistory<'_> {
    pub fn request(&mut self) -> ClientRequest {
        let choices = &mut self.choices;
        let model = choices.one_of(&["shared", "own"]);
        let texts =
            ["hello", "Wie wird das Wetter heute in Lissabon? Bitte kurz.", "one two three four five six seven "];
        let text = choices.one_of(&texts).repeat(1 + choices.index(40));
        let tools = json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }]);
        let (surface, mut body): (Surface, Value) = match choices.below(12) {
            0 => (Surface::OpenAiEmbeddings, json!({ "model": model, "input": text })),
            1 => {
                let document = json!({ "type": "document", "source": { "type": "base64", "media_type": "application/pdf", "data": "JVBERi0=" } });
                let content = json!([document, { "type": "text", "text": text }]);
                let message = json!({ "role": "user", "content": content });
                (Surface::Anthropic, json!({ "model": model, "max_tokens": 20, "messages": [message] }))
            }
            _ => {
                let message = json!({ "role": "user", "content": text });
                (Surface::OpenAi, json!({ "model": model, "messages": [message], "stream": choices.once_in(3) }))
            }
        };
        if surface == Surface::OpenAi {
            let fields = [
                ("tools", tools),
                ("max_tokens", json!(50)),
                ("n", json!(2)),
                ("metadata", json!({ "team": "red" })),
                (PRICED_FIELD, json!({})),
            ];
            for (field, value) in fields {
                if choices.once_in(if field == PRICED_FIELD { 9 } else { 3 }) {
                    body[field] = value;
                }
            }
        }
        let mut request = ClientRequest::parse(surface, Bytes::from(body.to_string())).expect("a request");
        request.facts.directives.session = choices.once_in(2).then(|| format!("session {}", choices.below(5)));
        if choices.once_in(5) {
            request.facts.directives.strategy = Some(choices.one_of(Strategy::CHOOSABLE).value);
        }
        request.facts.directives.required_terms = self.required_terms();
        request
    }

    /// Measurements of some targets.
    pub fn measure(&mut self, observed: &ObservedTargets) {
        for provider in self.providers.clone() {
            for backend in BACKENDS {
                if self.choices.once_in(2) {
                    let mut call = observed.begin(provider.provider_id, backend);
                    self.clock.advance(Duration::from_millis(self.choices.below(900).into()));
                    call.first_token();
                    call.completed(self.choices.below(40).into());
                }
            }
        }
    }

    /// Plans a request and records its admission. `None` if no target can serve it.
    pub fn admit(&mut self, node: NodeKnowledge<'_>) -> Option<DecidedRequest> {
        let (request, id, now) = (self.request(), RequestId::from(self.choices.uuid()), self.clock.now());
        let caller = Caller::operator(self.tenancy);
        let mut plan = match plan(&self.tables, &caller, &request, id, now, node) {
            Ok(plan) => plan,
            Err(NotPlanned::Refused(_)) => return None,
            Err(NotPlanned::Uncounted(_)) => panic!("the prompt is counted"),
        };
        // It drops the first targets, as far as they cannot express the request.
        plan.first_body(&request).ok()?;
        let ordered = TargetOrder::of(&self.tables, &caller, plan.model(), &request, id, now, node);
        let mut called: Vec<usize> = ordered.decision.called().collect();
        let row = &plan.model().targets;
        let is_left =
            |at: &usize| plan.targets.iter().any(|left| left.backend.is_of(row[*at].provider_id, &row[*at].model));
        if !called.iter().all(is_left) {
            self.seen.insert("a target that cannot express the request".to_owned());
        }
        called.retain(is_left);
        let targets = shown(&ordered.decision.order, plan.model(), &called);
        self.seen.extend(seen_in(&ordered.decision, &plan.route.inputs));
        let content_policy = self.choices.one_of(&[ContentPolicy::Digest, ContentPolicy::Digest, ContentPolicy::None]);
        let salt = (content_policy != ContentPolicy::None).then(|| ContentSalts::new(&[7; 32]).salt(id));
        let route = plan.route.recorded(salt.as_ref());
        let has_features = plan.model().strategy != Strategy::Rules || content_policy != ContentPolicy::None;
        let mut admitted = InferenceAdmitted {
            streamed: request.facts.streamed,
            metadata: request.facts.directives.metadata.clone(),
            content_policy,
            versions: plan.versions(None, &TeamVersions::new()),
            route,
            ..InferenceAdmitted::of_model(&request.facts.model)
        };
        let targets = match self.choices.below(8) {
            0 => without_reasons(&mut admitted, targets),
            1 => with_reason_of_later(&mut admitted, targets),
            _ => targets,
        };
        self.clock.advance(Duration::from_millis(self.choices.below(9_000).into()));
        let context = Context::about(Actor::Operator, self.tenancy).in_request(id);
        let event = Event::Inference(Inference::Admitted(Box::new(admitted)));
        self.tables.fold(self.ledger.add(Stream::inference(id), context, event, self.clock.now()));
        Some(DecidedRequest { id, targets, has_features })
    }
}

/// The reasons and inputs of a decision, of which all in `TO_BE_SEEN` must be seen.
fn seen_in(decision: &RouteDecision<'_>, route: &Route) -> BTreeSet<String> {
    let RouteDecision { order, canary, session, .. } = decision;
    let reasons = order.left_out().map(|(_, why)| why.recorded().shown().into_owned());
    let words = reasons.filter_map(|reason| reason.split(' ').next().map(str::to_owned));
    let inputs = [
        ("a canary that is first", *canary == Some(CanaryPlace::First)),
        ("a canary that is last", *canary == Some(CanaryPlace::Last)),
        ("a session", session.is_some()),
        ("a rule", route.rule.is_some()),
        ("a tenant's strategy", route.chosen_by == ChosenBy::Tenant),
    ];
    let inputs = inputs.into_iter().filter(|(_, is_seen)| *is_seen).map(|(what, _)| what.to_owned());
    words.chain(inputs).collect()
}

/// The targets of an order: those that may be called first, as `explain` has them.
fn shown(order: &Order<'_>, model: &Model, called: &[usize]) -> Vec<String> {
    let (able, unable): (Vec<usize>, Vec<usize>) = order.all().partition(|at| called.contains(at));
    let why = |at: usize| order.left_out().find(|(left_out, _)| *left_out == at).map(|(_, why)| why.recorded());
    let target = |at: usize| {
        shown_target(
            &model.targets[at].key(),
            called.contains(&at),
            why(at).as_ref(),
            &order.reason(at).unwrap().to_string(),
        )
    };
    able.into_iter().chain(unable).map(target).collect()
}

pub fn shown_target(backend: &str, may_be_called: bool, why: Option<&RecordedLeftOut>, reason: &str) -> String {
    format!("{backend} {may_be_called} {reason}; {}", why.map(RecordedLeftOut::shown).unwrap_or_default())
}

/// An admission as an earlier version recorded it: the reasons only where it recorded a route for something else.
fn without_reasons(admitted: &mut InferenceAdmitted, targets: Vec<String>) -> Vec<String> {
    let is_nothing_else = |route: &Route| {
        let inputs =
            [route.session.is_none(), route.canary.is_none(), route.decided_at.is_none(), route.terms.is_none()];
        let has_open_breaker = route.left_out.values().any(RecordedLeftOut::is_breaker_open);
        route.figures.is_empty() && inputs.into_iter().all(|is_absent| is_absent) && !has_open_breaker
    };
    let Some(_) = admitted.route.take_if(|route| is_nothing_else(route)) else { return targets };
    targets.into_iter().map(|target| without_reason(&target)).collect()
}

fn without_reason(target: &str) -> String {
    format!("{}; ", target.split_once("; ").unwrap().0)
}

/// An admission as a later version may record it: with a reason that is not known here.
fn with_reason_of_later(admitted: &mut InferenceAdmitted, targets: Vec<String>) -> Vec<String> {
    let Some(route) = &mut admitted.route else { return targets };
    let prices = &admitted.versions.prices;
    let Some((backend, why)) = route.left_out.iter_mut().find(|(backend, _)| !prices.contains_key(*backend)) else {
        return targets;
    };
    *why = RecordedLeftOut::Later(json!({ "device": ["a100"] }));
    let replaced = |target: String| match target.starts_with(&format!("{backend} ")) {
        true => format!("{}{}", without_reason(&target), why.shown()),
        false => target,
    };
    targets.into_iter().map(replaced).collect()
}
