//! A route is decided from the log as it was from the tables: over random histories of administration and random requests, `explain` finds
//! the same order, the same reasons and nothing that differs.
//!
//! `LEDGERWAY_ROUTE_HISTORIES` says how many histories there are.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use dialects::Surface;
use events::abilities::{Abilities, Ability};
use events::content::{ContentPolicy, ContentSalts};
use events::event::admin::{
    BreakerOpened, Canary, CanaryBy, Price, Provider, ProviderKindName, RoutingRule, Strategy, Tenant,
};
use events::event::inference::InferenceAdmitted;
use events::event::{
    Actor, Chain, Change, Context, Event, Inference, Recorded, Resource, Stream, StreamKind, TeamVersions,
};
use events::ids::{PartnerId, TenantId};
use events::maintenance::{MaintenanceWindow, MaintenanceWindows};
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok};
use events::routing::{Affinity, ChosenBy, Order, RecordedLeftOut};
use events::terms::StatedTerms;
use events::time::{Clock, ManualClock};
use events_log::explain::{ReadBounds, RouteCheck, explain};
use events_log::{LEDGER_FILE, LedgerImport, Reader, open_reader};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::admin::tests::lab::Lab;
use crate::inference::targets::breakers::{BreakerSettings, Breakers};
use crate::inference::targets::observed_targets::ObservedTargets;
use crate::tokens::CountedPrompt;

/// The second one is known to be for chat alone.
const BACKENDS: [&str; 2] = ["a", "gpt-4o"];
/// Reasons and inputs that must be among what is decided, so that the histories say something of each.
const TO_BE_SEEN: [&str; 22] = [
    "not_in_rule",
    "no_provider",
    "no_price",
    "kind_unknown",
    "no_such_api",
    "for_another_api",
    "field_not_allowed",
    "context_unknown",
    "cap_above",
    "ability",
    "context_window",
    "residency_not_met",
    "zero_retention_not_met",
    "training_not_met",
    "maintenance",
    "breaker_open",
    "a canary that is first",
    "a canary that is last",
    "a session",
    "a rule",
    "a tenant's strategy",
    "a target that cannot express the request",
];
/// A field that changes the cost, and that some providers allow.
const PRICED_FIELD: &str = "web_search_options";
/// Histories that share a ledger: opening one takes longer than a history, and each of its requests is read with the prices of all.
const IN_A_LEDGER: u64 = 20;

/// Pseudo-random numbers of one seed: splitmix64.
struct SeededNumbers(u64);

impl SeededNumbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// One time in so many.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn one_of<T: Clone>(&mut self, values: &[T]) -> T {
        let at = self.below(values.len() as u64);
        values[usize::try_from(at).unwrap()].clone()
    }

    fn small(&mut self, bound: u32) -> u32 {
        u32::try_from(self.below(bound.into())).unwrap()
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.below(u64::MAX), self.below(u64::MAX))
    }
}

/// Resources of administration that change, and the requests between.
struct RoutingHistory<'a> {
    numbers: SeededNumbers,
    clock: &'a ManualClock,
    /// The state after the last event.
    tables: Tables,
    ledger: &'a mut LedgerEvents,
    tenancy: Chain,
    providers: Vec<Provider>,
    models: Vec<Model>,
    seen: BTreeSet<String>,
}

/// The events of several histories, in the order of a ledger.
#[derive(Default)]
struct LedgerEvents {
    events: Vec<Recorded>,
    sequences: HashMap<(StreamKind, String), u64>,
}

impl LedgerEvents {
    fn add(&mut self, stream: Stream, context: Context, event: Event, at: DateTime<Utc>) -> &Recorded {
        let sequence = self.sequences.entry((stream.kind, stream.id.clone())).or_default();
        *sequence += 1;
        let (position, sequence) = (self.events.len() as u64 + 1, *sequence);
        self.events.push(Recorded { position, recorded_at: at, stream, sequence, context, event });
        &self.events[self.events.len() - 1]
    }
}

/// A request as it was decided from the tables.
struct DecidedRequest {
    id: RequestId,
    /// Each target in the order, with whether it may be called, why it was left out, and why it has its place.
    targets: Vec<String>,
    /// False if rules went by features that are not kept.
    has_features: bool,
}

impl RoutingHistory<'_> {
    fn begin<'a>(seed: u64, clock: &'a ManualClock, ledger: &'a mut LedgerEvents) -> RoutingHistory<'a> {
        let mut numbers = SeededNumbers(seed.wrapping_mul(0xd134_2543_de82_ef95));
        let (partner, tenant) = (PartnerId::from(numbers.uuid()), TenantId::from(numbers.uuid()));
        let tenancy = Chain { partner: Some(partner), tenant: Some(tenant), user: None, key: None };
        let (tables, providers, models) = (Tables::default(), Vec::new(), Vec::new());
        let seen = BTreeSet::new();
        let mut history = RoutingHistory { numbers, clock, tables, ledger, tenancy, providers, models, seen };
        history.set_tenant(true);
        for number in 0..3 {
            let id = history.numbers.uuid();
            history.set_provider(id, number);
        }
        for (number, is_own) in [(0, false), (1, true)] {
            let id = history.numbers.uuid();
            history.set_model(id, number, is_own);
        }
        history
    }

    /// Some time passes, so that what was before is not what a request may have been planned by.
    fn wait(&mut self) {
        self.clock.advance(Duration::from_secs(20 + self.numbers.below(600)));
    }

    fn record(&mut self, stream: Stream, event: impl Into<Event>) {
        let context = Context::about(Actor::Operator, self.tenancy);
        self.tables.fold(self.ledger.add(stream, context, event.into(), self.clock.now()));
    }

    fn change_something(&mut self) {
        match self.numbers.below(8) {
            0 => self.set_tenant(false),
            1 => {
                let (at, provider) = self.any_provider();
                self.set_provider(provider.provider_id.uuid(), at);
            }
            2 if self.numbers.once_in(3) => {
                let (at, provider) = self.any_provider();
                self.record(
                    Stream::new(StreamKind::Provider, provider.provider_id),
                    Change::<Provider>::Ended(provider.provider_id),
                );
                let id = self.numbers.uuid();
                self.set_provider(id, at);
            }
            3 => self.open_breaker(),
            4 => {
                let (_, provider) = self.any_provider();
                self.set_price(&provider);
            }
            _ => {
                let at = self.numbers.one_of(&[0, 1]);
                let (id, is_own) = (self.models[at].model_id.uuid(), self.models[at].tenant_id.is_some());
                self.set_model(id, at, is_own);
            }
        }
    }

    fn any_provider(&mut self) -> (usize, Provider) {
        let at = usize::try_from(self.numbers.below(self.providers.len() as u64)).unwrap();
        (at, self.providers[at].clone())
    }

    fn set_tenant(&mut self, is_new: bool) {
        let Chain { partner: Some(partner), tenant: Some(id), .. } = self.tenancy else { return };
        let required_terms = self.required_terms();
        let mut choosable = vec![None];
        choosable.extend(Strategy::CHOOSABLE.iter().map(|named| Some(named.value)));
        let default_strategy = self.numbers.one_of(&choosable);
        let tenant = Tenant { required_terms, default_strategy, ..Tenant::new(id, partner, "t") };
        let change = if is_new { Change::created(tenant) } else { Change::changed(tenant) };
        self.record(Stream::new(StreamKind::Tenant, id), change);
    }

    fn required_terms(&mut self) -> RequiredTerms {
        if !self.numbers.once_in(8) {
            return RequiredTerms::NONE;
        }
        RequiredTerms {
            residency: self.numbers.one_of(&[None, Some("eu"), Some("eu-west")]).map(|region| region.parse().unwrap()),
            zero_retention: self.numbers.once_in(3),
            training: !self.numbers.once_in(3),
        }
    }

    fn stated_terms(&mut self) -> StatedTerms {
        StatedTerms {
            region: self
                .numbers
                .one_of(&[None, Some("eu"), Some("eu-west-3"), Some("us")])
                .map(|region| region.parse().unwrap()),
            zero_retention: self.numbers.below(2) == 0,
            training: self.numbers.one_of(&[None, Some(false), Some(false), Some(true)]),
        }
    }

    /// Windows that are near the present, or in force now.
    fn windows(&mut self) -> MaintenanceWindows {
        let count = if self.numbers.once_in(5) { 1 + self.numbers.below(2) } else { 0 };
        let window = |numbers: &mut SeededNumbers, now: DateTime<Utc>| {
            let minutes = |minutes: u64| chrono::Duration::minutes(i64::try_from(minutes).unwrap());
            let from = now - minutes(60) + minutes(numbers.below(180));
            MaintenanceWindow { from, to: from + minutes(1 + numbers.below(90)) }
        };
        let now = self.clock.now();
        (0..count).map(|_| window(&mut self.numbers, now)).collect::<Vec<_>>().into()
    }

    fn set_provider(&mut self, id: Uuid, at: usize) {
        let kind = if self.numbers.once_in(12) {
            "of_later_times"
        } else {
            self.numbers.one_of(&["openai", "simulator", "anthropic"])
        };
        let known = self.providers.get(at).filter(|known| known.provider_id.uuid() == id).cloned();
        let fresh = Provider {
            tenant_id: self.tenancy.tenant.filter(|_| at == 2),
            allowed_fields: (kind == "openai").then(|| PRICED_FIELD.to_owned()).into_iter().collect(),
            base_url: (kind == "openai").then(|| "https://api.openai.com/v1".to_owned()),
            ..Provider::new(id.into(), "p", ProviderKindName::literal(kind))
        };
        let is_new = known.is_none();
        let provider = Provider { maintenance: self.windows(), ..known.unwrap_or(fresh) };
        let change = if is_new { Change::created(provider.clone()) } else { Change::changed(provider.clone()) };
        self.record(Stream::new(StreamKind::Provider, provider.provider_id), change);
        match self.providers.get_mut(at) {
            Some(known) => *known = provider.clone(),
            None => self.providers.push(provider.clone()),
        }
        if is_new && !self.numbers.once_in(10) {
            self.set_price(&provider);
        }
    }

    /// Prices of all of a provider's models.
    fn set_price(&mut self, provider: &Provider) {
        for model in BACKENDS {
            let mut rate =
                || NanoUsdPerMtok::new(NanoUsd::new(i64::from(self.numbers.small(5)) * 1_000_000_000)).unwrap();
            let given = GivenRates::new(rate(), rate());
            let price = Price::new(self.numbers.uuid().into(), provider.provider_id, model, given, self.clock.now());
            self.record(Stream::new(StreamKind::Price, price.price_id), Change::created(price));
        }
    }

    fn open_breaker(&mut self) {
        let (_, provider) = self.any_provider();
        let opened = BreakerOpened {
            provider_id: provider.provider_id,
            model: self.numbers.one_of(&BACKENDS).to_owned(),
            failures: 5,
            reason: "connect".to_owned(),
            status: None,
            until: self.clock.now() + chrono::Duration::minutes(30),
        };
        self.record(Stream::new(StreamKind::Provider, provider.provider_id), Resource::BreakerOpened(Box::new(opened)));
    }

    fn target(&mut self, provider: &Provider, backend: &str) -> Target {
        let numbers = &mut self.numbers;
        let ability = |numbers: &mut SeededNumbers, abilities: Abilities, ability: Ability| match numbers.below(10) {
            0 => abilities.stating(ability, false),
            1 => abilities.stating(ability, true),
            _ => abilities,
        };
        let abilities = [Ability::Tools, Ability::Streaming, Ability::Document, Ability::Chat];
        let abilities = abilities.into_iter().fold(Abilities::UNKNOWN, |known, of| ability(numbers, known, of));
        let mut target = Target {
            priority: numbers.small(3),
            weight: numbers.small(4),
            quality: numbers.one_of(&[None, Some(1), Some(50)]),
            max_output_tokens: numbers.one_of(&[None, None, None, Some(16), Some(100)]),
            default_max_output_tokens: Some(8),
            name: numbers.once_in(3).then(|| format!("{}-{}", numbers.below(9), numbers.below(1_000_000))),
            abilities,
            ..Target::new(provider.provider_id, backend)
        };
        target.window.tokens = numbers.one_of(&[None, None, Some(40), Some(1_000), Some(100_000)]);
        target.window.counts_output = numbers.once_in(3);
        target.terms = if self.numbers.once_in(3) { StatedTerms::NONE } else { self.stated_terms() };
        target.maintenance = if self.numbers.once_in(3) { self.windows() } else { MaintenanceWindows::default() };
        target
    }

    fn set_model(&mut self, id: Uuid, at: usize, is_own: bool) {
        let mut targets = Vec::new();
        for provider in self.providers.clone() {
            for backend in BACKENDS {
                if self.numbers.below(3) > 0 {
                    targets.push(self.target(&provider, backend));
                }
            }
        }
        if targets.is_empty() {
            let (_, provider) = self.any_provider();
            targets.push(self.target(&provider, "a"));
        }
        let strategies: Vec<Strategy> = Strategy::ACCEPTED.iter().map(|named| named.value).collect();
        let strategy = if self.numbers.once_in(4) { Strategy::Rules } else { self.numbers.one_of(&strategies) };
        if self.numbers.once_in(4) {
            targets.iter_mut().for_each(|target| target.priority = 1);
        }
        let canary = self.numbers.one_of(&targets);
        let canary = Canary {
            provider_id: canary.provider_id,
            model: canary.model,
            share_percent: 1 + self.numbers.small(50),
            by: self.numbers.one_of(&[CanaryBy::Request, CanaryBy::Tenant]),
        };
        let rules: Vec<RoutingRule> = (0..self.numbers.below(4)).map(|_| self.rule(&targets)).collect();
        let model = Model {
            strategy,
            affinity: self.numbers.one_of(&[Affinity::None, Affinity::Session]),
            canary: self.numbers.once_in(3).then_some(canary),
            rules: rules.into(),
            tenant_id: self.tenancy.tenant.filter(|_| is_own),
            ..Model::new(id.into(), if at == 0 { "shared" } else { "own" }, targets)
        };
        let is_new = self.models.len() <= at;
        if is_new {
            self.models.push(model.clone())
        } else {
            self.models[at] = model.clone()
        }
        let change = if is_new { Change::created(model) } else { Change::changed(model) };
        self.record(Stream::new(StreamKind::Model, self.models[at].model_id), change);
    }

    fn rule(&mut self, targets: &[Target]) -> RoutingRule {
        let when = [
            "input_tokens > 40",
            "tools",
            "streaming && documents == 0",
            "language == \"de\"",
            "hour < 12",
            "metadata.team == \"red\"",
            "true",
        ];
        let strategies: Vec<Option<Strategy>> =
            [None, None].into_iter().chain(Strategy::CHOOSABLE.iter().map(|named| Some(named.value))).collect();
        let mut named: Vec<String> = targets.iter().map(Target::key).filter(|_| self.numbers.below(3) > 0).collect();
        if self.numbers.once_in(4) {
            named.clear();
        }
        named.sort();
        let strategy = self.numbers.one_of(&strategies);
        let strategy = if named.is_empty() { strategy.or(Some(Strategy::Cost)) } else { strategy };
        RoutingRule { when: self.numbers.one_of(&when).to_owned(), targets: named, strategy }
    }

    fn request(&mut self) -> ClientRequest {
        let numbers = &mut self.numbers;
        let model = numbers.one_of(&["shared", "own"]);
        let texts =
            ["hello", "Wie wird das Wetter heute in Lissabon? Bitte kurz.", "one two three four five six seven "];
        let text = numbers.one_of(&texts).repeat(1 + usize::try_from(numbers.below(40)).unwrap());
        let tools = json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }]);
        let (surface, mut body): (Surface, Value) = match numbers.below(12) {
            0 => (Surface::OpenAiEmbeddings, json!({ "model": model, "input": text })),
            1 => {
                let document = json!({ "type": "document", "source": { "type": "base64", "media_type": "application/pdf", "data": "JVBERi0=" } });
                let content = json!([document, { "type": "text", "text": text }]);
                let message = json!({ "role": "user", "content": content });
                (Surface::Anthropic, json!({ "model": model, "max_tokens": 20, "messages": [message] }))
            }
            _ => {
                let message = json!({ "role": "user", "content": text });
                (Surface::OpenAi, json!({ "model": model, "messages": [message], "stream": numbers.once_in(3) }))
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
                if numbers.once_in(if field == PRICED_FIELD { 9 } else { 3 }) {
                    body[field] = value;
                }
            }
        }
        let mut request = ClientRequest::parse(surface, Bytes::from(body.to_string())).expect("a request");
        request.facts.directives.session = numbers.once_in(2).then(|| format!("session {}", numbers.below(5)));
        if numbers.once_in(5) {
            request.facts.directives.strategy = Some(numbers.one_of(Strategy::CHOOSABLE).value);
        }
        request.facts.directives.required_terms = self.required_terms();
        request
    }

    /// Measurements of some targets.
    fn measure(&mut self, observed: &ObservedTargets) {
        for provider in self.providers.clone() {
            for backend in BACKENDS {
                if self.numbers.once_in(2) {
                    let mut call = observed.begin(provider.provider_id, backend);
                    self.clock.advance(Duration::from_millis(self.numbers.below(900)));
                    call.first_token();
                    call.completed(self.numbers.below(40));
                }
            }
        }
    }

    /// Plans a request and records its admission. `None` if no target can serve it.
    fn admit(&mut self, node: NodeKnowledge<'_>) -> Option<DecidedRequest> {
        let (request, id, now) = (self.request(), RequestId::from(self.numbers.uuid()), self.clock.now());
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
        self.seen.extend(seen_in(&ordered.decision, plan.route.as_deref()));
        let content_policy = self.numbers.one_of(&[ContentPolicy::Digest, ContentPolicy::Digest, ContentPolicy::None]);
        let mut route = plan.route.clone();
        if let Some(route) = route.as_mut().filter(|_| content_policy == ContentPolicy::None) {
            route.features = None;
        }
        let has_features = plan.model().strategy != Strategy::Rules || content_policy != ContentPolicy::None;
        let mut admitted = InferenceAdmitted {
            streamed: request.facts.streamed,
            metadata: request.facts.directives.metadata.clone(),
            content_policy,
            versions: plan.versions(None, &TeamVersions::new()),
            route,
            ..InferenceAdmitted::of_model(&request.facts.model)
        };
        let targets = match self.numbers.below(8) {
            0 => without_reasons(&mut admitted, targets),
            1 => with_reason_of_later(&mut admitted, targets),
            _ => targets,
        };
        self.clock.advance(Duration::from_millis(self.numbers.below(9_000)));
        let context = Context::about(Actor::Operator, self.tenancy).in_request(id);
        let event = Event::Inference(Inference::Admitted(Box::new(admitted)));
        self.tables.fold(self.ledger.add(Stream::inference(id), context, event, self.clock.now()));
        Some(DecidedRequest { id, targets, has_features })
    }
}

/// The reasons and inputs of a decision, of which all in `TO_BE_SEEN` must be seen.
fn seen_in(decision: &RouteDecision<'_>, route: Option<&Route>) -> BTreeSet<String> {
    let RouteDecision { order, canary, session, .. } = decision;
    let reasons = order.left_out().map(|(_, why)| why.recorded().shown().into_owned());
    let words = reasons.filter_map(|reason| reason.split(' ').next().map(str::to_owned));
    let inputs = [
        ("a canary that is first", *canary == Some(CanaryPlace::First)),
        ("a canary that is last", *canary == Some(CanaryPlace::Last)),
        ("a session", session.is_some()),
        ("a rule", route.is_some_and(|route| route.rule.is_some())),
        ("a tenant's strategy", route.is_some_and(|route| route.chosen_by == ChosenBy::Tenant)),
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

fn shown_target(backend: &str, may_be_called: bool, why: Option<&RecordedLeftOut>, reason: &str) -> String {
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

/// Checks that what was decided from the tables follows from the log.
fn must_follow(reader: &dyn Reader, request: &DecidedRequest, seed: u64) {
    // No part but the route needs other changes than those that the admission names.
    let bounds = ReadBounds { positions: 0, changes: 0 };
    let explanation = explain(reader, request.id, bounds).expect("read").expect("a request");
    let RouteCheck { verdict, targets, model, .. } = explanation.route.expect("a route");
    assert!(model.is_some(), "history {seed}");
    assert!(verdict.differences.is_empty(), "history {seed}: {verdict:#?}");
    assert_eq!(verdict.undecided.is_empty(), request.has_features, "history {seed}: {verdict:#?}");
    let targets = targets.iter().map(|target| {
        let backend = events::ids::target_key(target.provider_id, &target.model);
        shown_target(&backend, target.rank.is_some(), target.left_out.as_ref(), &target.reason.to_string())
    });
    assert_eq!(targets.collect::<Vec<_>>(), request.targets, "history {seed}");
}

/// Holds: admin.strategies
#[tokio::test]
async fn whatever_is_decided_from_the_tables_follows_from_the_log() {
    let histories = std::env::var("LEDGERWAY_ROUTE_HISTORIES").map_or(300, |count| count.parse().expect("a number"));
    let lab = Lab::new().await;
    let settings = BreakerSettings { failures: 5, open: Duration::from_secs(60) };
    let breakers = Breakers::new(settings, lab.admin.log.clone(), lab.admin.tables.clone(), lab.clock.clone());
    let (salts, counted) = (ContentSalts::new(b"secret"), CountedPrompt::default());
    let (mut decided, mut refused, mut seen) = (0, 0, BTreeSet::new());
    for first in (0..histories).step_by(usize::try_from(IN_A_LEDGER).unwrap()) {
        let mut ledger = LedgerEvents::default();
        let mut requests = Vec::new();
        for seed in first..(first + IN_A_LEDGER).min(histories) {
            let mut history = RoutingHistory::begin(seed, &lab.clock, &mut ledger);
            for _ in 0..3 {
                for _ in 0..history.numbers.below(4) {
                    history.change_something();
                }
                history.wait();
                let observed = ObservedTargets::new(lab.admin.clock.clone());
                history.measure(&observed);
                let node =
                    NodeKnowledge { observed: &observed, breakers: &breakers, salts: &salts, counted: Some(&counted) };
                match history.admit(node) {
                    Some(request) => requests.push((seed, request)),
                    None => refused += 1,
                }
            }
            seen.append(&mut history.seen);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let mut import = LedgerImport::begin(folder.path(), 0).expect("a ledger");
        import.append(ledger.events).expect("events");
        import.finish(Vec::new()).expect("finished");
        let reader = open_reader(&folder.path().join(LEDGER_FILE)).expect("a reader");
        for (seed, request) in &requests {
            must_follow(&*reader, request, *seed);
        }
        decided += requests.len();
    }
    assert!(decided > refused, "{decided} requests were decided, and {refused} were not");
    let unseen: Vec<_> = TO_BE_SEEN.iter().filter(|what| !seen.contains(**what)).collect();
    assert!(unseen.is_empty(), "{unseen:?} are not among what was decided");
}
