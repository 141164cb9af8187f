//! Random histories of administration: a tenant, providers, prices, breakers and models, and what changes of them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::abilities::{Abilities, Ability};
use events::event::admin::{
    BreakerOpened, Canary, CanaryBy, Model, Price, Provider, ProviderKindName, RoutingRule, Strategy, Target, Tenant,
};
use events::event::{Actor, Chain, Change, Context, Event, Recorded, Resource, Stream, StreamKind};
use events::ids::{PartnerId, TenantId};
use events::maintenance::{MaintenanceWindow, MaintenanceWindows};
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok};
use events::routing::Affinity;
use events::terms::{RequiredTerms, StatedTerms};
use events::time::{Clock, ManualClock};
use projections::tables::Tables;
use uuid::Uuid;

use super::choices::Choices;

/// The second one is known to be for chat alone.
pub const BACKENDS: [&str; 2] = ["a", "gpt-4o"];
/// A field that changes the cost, and that some providers allow.
pub const PRICED_FIELD: &str = "web_search_options";

/// Resources of administration that change, and the requests between.
pub struct RoutingHistory<'a> {
    pub choices: Choices<'a>,
    pub clock: &'a ManualClock,
    /// The state after the last event.
    pub tables: Tables,
    pub ledger: &'a mut LedgerEvents,
    pub tenancy: Chain,
    pub providers: Vec<Provider>,
    pub models: Vec<Model>,
    pub seen: BTreeSet<String>,
}

/// The events of several histories, in the order of a ledger.
#[derive(Default)]
pub struct LedgerEvents {
    pub events: Vec<Recorded>,
    sequences: HashMap<(StreamKind, String), u64>,
}

impl LedgerEvents {
    pub fn add(&mut self, stream: Stream, context: Context, event: Event, at: DateTime<Utc>) -> &Recorded {
        let sequence = self.sequences.entry((stream.kind, stream.id.clone())).or_default();
        *sequence += 1;
        let (position, sequence) = (self.events.len() as u64 + 1, *sequence);
        self.events.push(Recorded { position, recorded_at: at, stream, sequence, context, event });
        &self.events[self.events.len() - 1]
    }
}

impl RoutingHistory<'_> {
    pub fn begin<'a>(bytes: &'a [u8], clock: &'a ManualClock, ledger: &'a mut LedgerEvents) -> RoutingHistory<'a> {
        let mut choices = Choices::of(bytes);
        let (partner, tenant) = (PartnerId::from(choices.uuid()), TenantId::from(choices.uuid()));
        let tenancy = Chain { partner: Some(partner), tenant: Some(tenant), user: None, key: None };
        let (tables, providers, models) = (Tables::default(), Vec::new(), Vec::new());
        let seen = BTreeSet::new();
        let mut history = RoutingHistory { choices, clock, tables, ledger, tenancy, providers, models, seen };
        history.set_tenant(true);
        for number in 0..3 {
            let id = history.choices.uuid();
            history.set_provider(id, number);
        }
        for (number, is_own) in [(0, false), (1, true)] {
            let id = history.choices.uuid();
            history.set_model(id, number, is_own);
        }
        history
    }

    /// Some time passes, so that what was before is not what a request may have been planned by.
    pub fn wait(&mut self) {
        self.clock.advance(Duration::from_secs(20 + u64::from(self.choices.below(600))));
    }

    fn record(&mut self, stream: Stream, event: impl Into<Event>) {
        let context = Context::about(Actor::Operator, self.tenancy);
        self.tables.fold(self.ledger.add(stream, context, event.into(), self.clock.now()));
    }

    pub fn change_something(&mut self) {
        match self.choices.below(8) {
            0 => self.set_tenant(false),
            1 => {
                let (at, provider) = self.any_provider();
                self.set_provider(provider.provider_id.uuid(), at);
            }
            2 if self.choices.once_in(3) => {
                let (at, provider) = self.any_provider();
                self.record(
                    Stream::new(StreamKind::Provider, provider.provider_id),
                    Change::<Provider>::Ended(provider.provider_id),
                );
                let id = self.choices.uuid();
                self.set_provider(id, at);
            }
            3 => self.open_breaker(),
            4 => {
                let (_, provider) = self.any_provider();
                self.set_price(&provider);
            }
            _ => {
                let at = self.choices.one_of(&[0, 1]);
                let (id, is_own) = (self.models[at].model_id.uuid(), self.models[at].tenant_id.is_some());
                self.set_model(id, at, is_own);
            }
        }
    }

    fn any_provider(&mut self) -> (usize, Provider) {
        let at = self.choices.index(self.providers.len());
        (at, self.providers[at].clone())
    }

    fn set_tenant(&mut self, is_new: bool) {
        let Chain { partner: Some(partner), tenant: Some(id), .. } = self.tenancy else { return };
        let required_terms = self.required_terms();
        let mut choosable = vec![None];
        choosable.extend(Strategy::CHOOSABLE.iter().map(|named| Some(named.value)));
        let default_strategy = self.choices.one_of(&choosable);
        let tenant = Tenant { required_terms, default_strategy, ..Tenant::new(id, partner, "t") };
        let change = if is_new { Change::created(tenant) } else { Change::changed(tenant) };
        self.record(Stream::new(StreamKind::Tenant, id), change);
    }

    pub fn required_terms(&mut self) -> RequiredTerms {
        if !self.choices.once_in(8) {
            return RequiredTerms::NONE;
        }
        RequiredTerms {
            residency: self.choices.one_of(&[None, Some("eu"), Some("eu-west")]).map(|region| region.parse().unwrap()),
            zero_retention: self.choices.once_in(3),
            training: !self.choices.once_in(3),
        }
    }

    fn stated_terms(&mut self) -> StatedTerms {
        StatedTerms {
            region: self
                .choices
                .one_of(&[None, Some("eu"), Some("eu-west-3"), Some("us")])
                .map(|region| region.parse().unwrap()),
            zero_retention: self.choices.below(2) == 0,
            training: self.choices.one_of(&[None, Some(false), Some(false), Some(true)]),
        }
    }

    /// Windows that are near the present, or in force now.
    fn windows(&mut self) -> MaintenanceWindows {
        let count = if self.choices.once_in(5) { 1 + self.choices.below(2) } else { 0 };
        let window = |choices: &mut Choices<'_>, now: DateTime<Utc>| {
            let minutes = |minutes: u32| chrono::Duration::minutes(minutes.into());
            let from = now - minutes(60) + minutes(choices.below(180));
            MaintenanceWindow { from, to: from + minutes(1 + choices.below(90)) }
        };
        let now = self.clock.now();
        (0..count).map(|_| window(&mut self.choices, now)).collect::<Vec<_>>().into()
    }

    fn set_provider(&mut self, id: Uuid, at: usize) {
        let kind = if self.choices.once_in(12) {
            "of_later_times"
        } else {
            self.choices.one_of(&["openai", "simulator", "anthropic"])
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
        if is_new && !self.choices.once_in(10) {
            self.set_price(&provider);
        }
    }

    /// Prices of all of a provider's models.
    fn set_price(&mut self, provider: &Provider) {
        for model in BACKENDS {
            let mut rate =
                || NanoUsdPerMtok::new(NanoUsd::new(i64::from(self.choices.below(5)) * 1_000_000_000)).unwrap();
            let given = GivenRates::new(rate(), rate());
            let price = Price::new(self.choices.uuid().into(), provider.provider_id, model, given, self.clock.now());
            self.record(Stream::new(StreamKind::Price, price.price_id), Change::created(price));
        }
    }

    fn open_breaker(&mut self) {
        let (_, provider) = self.any_provider();
        let opened = BreakerOpened {
            provider_id: provider.provider_id,
            model: self.choices.one_of(&BACKENDS).to_owned(),
            failures: 5,
            reason: "connect".to_owned(),
            status: None,
            until: self.clock.now() + chrono::Duration::minutes(30),
        };
        self.record(Stream::new(StreamKind::Provider, provider.provider_id), Resource::BreakerOpened(Box::new(opened)));
    }

    fn target(&mut self, provider: &Provider, backend: &str) -> Target {
        let choices = &mut self.choices;
        let ability = |choices: &mut Choices<'_>, abilities: Abilities, ability: Ability| match choices.below(10) {
            0 => abilities.stating(ability, false),
            1 => abilities.stating(ability, true),
            _ => abilities,
        };
        let abilities = [Ability::Tools, Ability::Streaming, Ability::Document, Ability::Chat];
        let abilities = abilities.into_iter().fold(Abilities::UNKNOWN, |known, of| ability(choices, known, of));
        let mut target = Target {
            priority: choices.below(3),
            weight: choices.below(4),
            quality: choices.one_of(&[None, Some(1), Some(50)]),
            max_output_tokens: choices.one_of(&[None, None, None, Some(16), Some(100)]),
            default_max_output_tokens: Some(8),
            name: choices.once_in(3).then(|| format!("{}-{}", choices.below(9), choices.below(1_000_000))),
            ..Target::new(provider.provider_id, backend)
        };
        target.window.tokens = choices.one_of(&[None, None, Some(40), Some(1_000), Some(100_000)]);
        target.window.counts_output = choices.once_in(3);
        let stated_by = if choices.once_in(3) { &mut target.facts.catalogued } else { &mut target.facts.stated };
        stated_by.abilities = abilities;
        target.terms = if self.choices.once_in(3) { StatedTerms::NONE } else { self.stated_terms() };
        target.maintenance = if self.choices.once_in(3) { self.windows() } else { MaintenanceWindows::default() };
        target
    }

    fn set_model(&mut self, id: Uuid, at: usize, is_own: bool) {
        let mut targets = Vec::new();
        for provider in self.providers.clone() {
            for backend in BACKENDS {
                if self.choices.below(3) > 0 {
                    targets.push(self.target(&provider, backend));
                }
            }
        }
        if targets.is_empty() {
            let (_, provider) = self.any_provider();
            targets.push(self.target(&provider, "a"));
        }
        let strategies: Vec<Strategy> = Strategy::ACCEPTED.iter().map(|named| named.value).collect();
        let strategy = if self.choices.once_in(4) { Strategy::Rules } else { self.choices.one_of(&strategies) };
        if self.choices.once_in(4) {
            targets.iter_mut().for_each(|target| target.priority = 1);
        }
        let canary = self.choices.one_of(&targets);
        let canary = Canary {
            provider_id: canary.provider_id,
            model: canary.model,
            share_percent: 1 + self.choices.below(50),
            by: self.choices.one_of(&[CanaryBy::Request, CanaryBy::Tenant]),
        };
        let rules: Vec<RoutingRule> = (0..self.choices.below(4)).map(|_| self.rule(&targets)).collect();
        let model = Model {
            strategy,
            affinity: self.choices.one_of(&[Affinity::None, Affinity::Session]),
            canary: self.choices.once_in(3).then_some(canary),
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
        let mut named: Vec<String> = targets.iter().map(Target::key).filter(|_| self.choices.below(3) > 0).collect();
        if self.choices.once_in(4) {
            named.clear();
        }
        named.sort();
        let strategy = self.choices.one_of(&strategies);
        let strategy = if named.is_empty() { strategy.or(Some(Strategy::Cost)) } else { strategy };
        RoutingRule { when: self.choices.one_of(&when).to_owned(), targets: named, strategy }
    }
}
