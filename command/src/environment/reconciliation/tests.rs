use std::collections::BTreeSet;
use std::sync::Arc;

use events::event::admin::{StatedFacts, StatedWindow};
use events::event::{Actor, Change, Context, Event, Recorded, Resource, ResourceState, Stream};
use events::ids::SystemRandom;
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok, TokenRate};
use events::time::{Clock, SystemClock, from_micros};
use proptest::prelude::*;
use secrets::Secret;
use uuid::Uuid;

use super::*;

const VARIABLES: [(&str, &str); 4] =
    [("openai", "OPENAI_API_KEY"), ("groq", "GROQ_API_KEY"), ("mistral", "MISTRAL_API_KEY"), ("xai", "XAI_API_KEY")];

fn ids() -> IdMaker {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    IdMaker::new(clock, Arc::new(SystemRandom))
}

fn id<I: From<Uuid>>(number: u128) -> I {
    I::from(Uuid::from_u128(number))
}

/// The tables after what was recorded, at successive times.
#[derive(Default)]
struct Lab {
    tables: Tables,
}

impl Lab {
    fn now(&self) -> DateTime<Utc> {
        from_micros(i64::try_from(self.tables.position).expect("a position") * 1_000_000)
    }

    fn fold(&mut self, resource: Resource) {
        let position = self.tables.position + 1;
        let recorded = Recorded {
            position,
            recorded_at: from_micros(i64::try_from(position).expect("a position") * 1_000_000),
            stream: Stream::new(resource.kind(), position),
            sequence: 1,
            context: Context::of(Actor::System("environment")),
            event: Event::Resource(resource),
        };
        self.tables.fold(&recorded);
    }

    fn apply<R: ResourceState + Clone>(&mut self, steps: Vec<Step<R>>)
    where
        Change<R>: Into<Resource>,
    {
        for step in steps {
            let change = match step {
                Step::Create(made) => Change::created(made),
                Step::Change(state) => Change::changed(state),
                Step::End(state) => Change::Ended(state.id()),
            };
            self.fold(change.into());
        }
    }

    /// Records the plan for these sources; returns the number of its events.
    fn reconcile(&mut self, sources: &[ModelSource]) -> usize {
        let plan = reconcile(sources, &self.tables, &ids(), self.now());
        let (count, ReconciliationPlan { providers, prices, models }) = (plan.len(), plan);
        self.apply(providers);
        self.apply(prices);
        self.apply(models);
        count
    }

    fn provider(&self, name: &str) -> Option<Provider> {
        let live = self.tables.providers().filter(|entry| entry.is_live() && entry.value.tenant_id.is_none());
        live.map(|entry| (*entry.value).clone()).find(|provider| provider.name == name)
    }

    /// The targets of a model, as `provider/model`.
    fn targets(&self, name: &str) -> Vec<String> {
        let model = self.tables.route(None, name).map(|entry| Arc::clone(&entry.value));
        let target = |target: &Target| {
            let provider = self.tables.provider(target.provider_id).expect("a provider");
            format!("{}/{}", provider.value.name, target.model)
        };
        model.iter().flat_map(|model| &model.targets).map(target).collect()
    }

    fn names(&self) -> BTreeSet<String> {
        self.tables.automatic_models().map(|entry| entry.value.name.clone()).collect()
    }
}

fn found(provider: usize, base_url: &str) -> SourceProvider {
    let (id, variable) = VARIABLES[provider];
    SourceProvider::Found(Box::new(FoundProvider {
        id: id.to_owned(),
        kind: dialects::ProviderKind::Openai,
        server: None,
        base_url: base_url.to_owned(),
        has_own_address: false,
        is_private: false,
        key_variable: Some(variable.to_owned()),
        key: Some(Secret::new("k")),
        key_variables: vec![variable.to_owned()],
        region: None,
        api_version: None,
        headers: BTreeMap::new(),
        deployments: None,
    }))
}

fn offer(name: &str, bare: &[&str], input: i64) -> Offer {
    let rate = |nanos| NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("not negative");
    Offer {
        backend: name.to_owned(),
        name: name.to_owned(),
        bare_names: bare.iter().map(|name| (*name).to_owned()).collect(),
        window: StatedWindow { tokens: Some(1000), counts_output: false },
        facts: StatedFacts::UNKNOWN,
        max_output_tokens: Some(100),
        default_max_output_tokens: Some(10),
        rates: GivenRates::new(rate(input), rate(input)),
        origin: Origin::Catalogue,
    }
}

fn source(provider: usize, offers: Vec<Offer>) -> ModelSource {
    ModelSource { provider: found(provider, "https://a.example/v1"), offers: Offers::Known(offers) }
}

#[test]
fn a_provider_gets_its_prices_and_its_models_by_both_names() {
    let mut lab = Lab::default();
    let sources = [
        source(0, vec![offer("gpt-4o", &["gpt-4o"], 5), offer("llama", &["llama"], 3)]),
        source(1, vec![offer("meta/llama", &["llama"], 1)]),
    ];
    assert_eq!(lab.reconcile(&sources), 2 + 3 + 5);
    assert_eq!(lab.targets("gpt-4o"), ["openai/gpt-4o"]);
    assert_eq!(lab.targets("openai/gpt-4o"), ["openai/gpt-4o"]);
    assert_eq!(lab.targets("llama"), ["openai/llama", "groq/meta/llama"]);
    assert_eq!(lab.targets("groq/meta/llama"), ["groq/meta/llama"]);
    let openai = lab.provider("openai").expect("the provider");
    let price = lab.tables.price_in_force(openai.provider_id, "gpt-4o", lab.now()).expect("a price");
    assert_eq!(price.value.origin, Some(Origin::Catalogue));
    assert_eq!(lab.reconcile(&sources), 0);
}

#[test]
fn a_bare_name_with_a_slash_yields_to_the_name_of_a_provider() {
    let mut lab = Lab::default();
    let router = || source(1, vec![offer("openai/gpt-4o", &["openai/gpt-4o"], 5)]);
    lab.reconcile(&[source(0, vec![offer("gpt-4o", &[], 5)]), router()]);
    assert_eq!(lab.targets("openai/gpt-4o"), ["openai/gpt-4o"]);
    lab.reconcile(&[router()]);
    assert_eq!(lab.targets("openai/gpt-4o"), ["groq/openai/gpt-4o"]);
}

/// Holds: environment.gone
#[test]
fn what_is_gone_is_ended_and_what_remains_is_changed() {
    let mut lab = Lab::default();
    let both = |name: &'static str| vec![offer(name, &["shared"], 5)];
    lab.reconcile(&[source(0, both("a")), source(1, both("b"))]);
    let kept = lab.tables.route(None, "shared").expect("the model").value.model_id;
    // The provider, its price and its model end; the shared model loses a target.
    assert_eq!(lab.reconcile(&[source(1, both("b"))]), 3 + 1);
    assert_eq!(lab.targets("shared"), ["groq/b"]);
    assert_eq!(lab.tables.route(None, "shared").expect("the model").value.model_id, kept);
    assert_eq!(lab.reconcile(&[]), 1 + 1 + 2);
    assert!(lab.names().is_empty() && lab.tables.automatic_prices().next().is_none());
    assert_eq!((lab.provider("groq"), lab.reconcile(&[])), (None, 0));
}

#[test]
fn what_ends_at_a_provider_that_stays_does_not_count_as_ended_with_another() {
    let mut lab = Lab::default();
    let of_openai = || source(0, vec![offer("a", &["a"], 5)]);
    lab.reconcile(&[of_openai(), source(1, vec![offer("b", &["b"], 5), offer("retired", &["retired"], 5)])]);
    let stays = source(1, vec![offer("b", &["b"], 5)]);
    let plan = reconcile(&[stays], &lab.tables, &ids(), lab.now());
    assert_eq!((plan.prices.len(), plan.models.len()), (2, 4), "the model that has retired ends, too");
    let names = vec!["openai (OPENAI_API_KEY)".to_owned()];
    assert_eq!(plan.ended_providers(), EndedProviders { names, prices: 1, models: 2 });
    let retired = reconcile(&[of_openai(), source(1, vec![])], &lab.tables, &ids(), lab.now());
    assert_eq!(retired.ended_providers(), EndedProviders { names: vec![], prices: 0, models: 0 });
}

#[test]
fn another_address_changes_the_provider_and_another_key_changes_nothing() {
    let mut lab = Lab::default();
    lab.reconcile(&[source(0, vec![])]);
    let before = lab.provider("openai").expect("the provider");
    let SourceProvider::Found(mut with_other_key) = found(0, "https://a.example/v1") else {
        unreachable!("it is found")
    };
    with_other_key.key = Some(Secret::new("other"));
    let provider = SourceProvider::Found(with_other_key);
    assert_eq!(lab.reconcile(&[ModelSource { provider, offers: Offers::Known(vec![]) }]), 0);
    let moved = ModelSource { provider: found(0, "https://b.example/v1"), offers: Offers::Known(vec![]) };
    assert_eq!(lab.reconcile(&[moved]), 1);
    let after = lab.provider("openai").expect("the provider");
    assert_eq!((after.provider_id, after.base_url.as_deref()), (before.provider_id, Some("https://b.example/v1")));
}

#[test]
fn a_name_that_is_taken_gets_a_number_and_keeps_it() {
    let mut lab = Lab::default();
    let own = Provider::new(id(7), "openai", dialects::ProviderKind::Openai);
    lab.fold(Change::created(own.clone()).into());
    let sources = [source(0, vec![offer("m", &["m"], 5)])];
    lab.reconcile(&sources);
    assert_eq!(lab.targets("openai-2/m"), ["openai-2/m"]);
    assert_eq!(lab.provider("openai"), Some(own));
    lab.fold(Change::<Provider>::Ended(id(7)).into());
    assert_eq!(lab.reconcile(&sources), 0, "its models keep their names");
}

/// Holds: environment.prices
#[test]
fn a_new_price_holds_from_now_on_and_leaves_the_operators_alone() {
    let mut lab = Lab::default();
    lab.reconcile(&[source(0, vec![offer("m", &["m"], 5)])]);
    let provider = lab.provider("openai").expect("the provider").provider_id;
    let in_force = |lab: &Lab| {
        let price = lab.tables.price_in_force(provider, "m", lab.now()).expect("a price");
        (price.value.price_id, price.value.tariff.base().of(TokenRate::Input), price.value.effective_from)
    };
    let (first, _, begun) = in_force(&lab);
    assert_eq!(lab.reconcile(&[source(0, vec![offer("m", &["m"], 6)])]), 1);
    let (second, rate, from) = in_force(&lab);
    assert_eq!((second, rate), (first, NanoUsdPerMtok::new(NanoUsd::new(6)).expect("a price")));
    assert!(from > begun);
    let own = Price::new(id(9), provider, "m", offer("m", &[], 1).rates, from_micros(0));
    lab.fold(Change::created(own.clone()).into());
    assert_eq!(in_force(&lab).0, own.price_id);
    assert_eq!(lab.reconcile(&[source(0, vec![offer("m", &["m"], 7)])]), 1);
    assert_eq!(in_force(&lab).0, own.price_id);
    assert!(lab.tables.price(own.price_id).is_some_and(Entry::is_live));
}

/// Holds: environment.local-models
#[test]
fn a_local_server_keeps_its_models_while_it_does_not_answer() {
    let mut lab = Lab::default();
    let local = Provider { allow_private_network: true, ..Provider::new(id(7), "gpu", dialects::ProviderKind::Openai) };
    lab.fold(Change::created(local).into());
    let source = |offers| [ModelSource { provider: SourceProvider::Created(id(7)), offers }];
    let known =
        || Offers::Known(vec![local_offer("llama3:latest".to_owned(), None), local_offer("b".to_owned(), Some(4096))]);
    assert_eq!(lab.reconcile(&source(Offers::AsBefore)), 0);
    assert_eq!(lab.reconcile(&source(known())), 2 + 5);
    for name in ["llama3", "llama3:latest", "gpu/llama3:latest"] {
        assert_eq!(lab.targets(name), ["gpu/llama3:latest"]);
    }
    let price = lab.tables.price_in_force(id(7), "b", lab.now()).expect("a price").clone();
    assert!(
        price.value.tariff.base().of(TokenRate::Output) == NanoUsdPerMtok::default()
            && price.value.tariff.defaulted().is_empty()
    );
    assert_eq!(lab.reconcile(&source(Offers::AsBefore)), 0);
    // Renamed while it does not answer, it keeps them under its new name.
    let named = |name: &str| Provider {
        allow_private_network: true,
        ..Provider::new(id(7), name, dialects::ProviderKind::Openai)
    };
    lab.fold(Change::changed(named("big")).into());
    assert_eq!(lab.reconcile(&source(Offers::AsBefore)), 2 + 2);
    assert_eq!(lab.targets("big/llama3:latest"), ["big/llama3:latest"]);
    assert_eq!(lab.tables.price_in_force(id(7), "b", lab.now()).expect("a price").value.price_id, price.value.price_id);
    lab.fold(Change::changed(named("gpu")).into());
    assert_eq!(lab.reconcile(&source(Offers::AsBefore)), 2 + 2);
    assert_eq!(lab.reconcile(&source(Offers::Known(vec![local_offer("b".to_owned(), Some(4096))]))), 1 + 3);
    assert_eq!(lab.names(), ["b", "gpu/b"].map(str::to_owned).into());
    lab.fold(Change::<Provider>::Ended(id(7)).into());
    assert_eq!(lab.reconcile(&source(Offers::AsBefore)), 1 + 2);
}

/// Holds: environment.separate-names
#[test]
fn a_local_model_shares_no_name_with_a_model_of_a_vendor() {
    let mut lab = Lab::default();
    lab.fold(Change::created(Provider::new(id(7), "gpu", dialects::ProviderKind::Ollama)).into());
    let local = |name: &str| local_offer(name.to_owned(), None);
    let at_local = || ModelSource {
        provider: SourceProvider::Created(id(7)),
        offers: Offers::Known(vec![local("gpt-oss:latest"), local("qwen3:4b"), local("groq/fast")]),
    };
    let vendor = || source(1, vec![offer("openai/gpt-oss-120b", &["gpt-oss-120b", "gpt-oss"], 5)]);
    for sources in [vec![at_local(), vendor()], vec![vendor(), at_local()]] {
        lab.reconcile(&sources);
        assert_eq!(lab.targets("gpt-oss"), ["groq/openai/gpt-oss-120b"]);
        assert_eq!(lab.targets("gpu/gpt-oss:latest"), ["gpu/gpt-oss:latest"]);
        assert_eq!(lab.targets("qwen3:4b"), ["gpu/qwen3:4b"]);
        assert_eq!(lab.targets("gpu/groq/fast"), ["gpu/groq/fast"]);
        for none in ["gpt-oss:latest", "groq/fast"] {
            assert!(lab.targets(none).is_empty(), "{none}");
        }
    }
    // Without the vendor, the name is free.
    lab.reconcile(&[at_local()]);
    assert_eq!(lab.targets("gpt-oss"), ["gpu/gpt-oss:latest"]);
}

/// Holds: environment.own-local-models
#[test]
fn a_model_of_a_server_that_the_operator_has_priced_or_made_is_left_to_the_operator() {
    let local = || Provider { discover_models: true, ..Provider::new(id(7), "gpu", dialects::ProviderKind::Ollama) };
    let offers = || Offers::Known(["llama3:latest", "qwen3:4b"].map(|name| local_offer(name.to_owned(), None)).into());
    let sources = || [ModelSource { provider: SourceProvider::Created(id(7)), offers: offers() }];
    let target = |model: &str| vec![Target::new(id(7), model)];
    let price = |model: &str| Price::new(id(9), id(7), model, offer(model, &[], 1).rates, from_micros(0));
    let prefixed = |name: &str, model: &str| Model {
        system_prefix: Some("Be brief.".to_owned()),
        ..Model::new(id(8), name, target(model))
    };
    let of_tenant = Model { tenant_id: Some(id(5)), ..prefixed("llama3", "llama3") };
    let own: [(Resource, bool); 8] = [
        (Change::created(price("llama3")).into(), true),
        (Change::created(price("llama3:latest")).into(), true),
        (Change::created(price("llama3:8b")).into(), false),
        (Change::created(prefixed("polite", "llama3")).into(), true),
        (Change::created(prefixed("polite", "llama3:latest")).into(), true),
        (Change::created(Model::new(id(8), "llama3", vec![Target::new(id(6), "other")])).into(), true),
        (Change::created(Model::new(id(8), "gpu/llama3", vec![Target::new(id(6), "other")])).into(), true),
        // One tenant takes nothing away from the others.
        (Change::created(of_tenant).into(), false),
    ];
    for (resource, is_left) in own {
        let mut lab = Lab::default();
        lab.fold(Change::created(local()).into());
        lab.reconcile(&sources());
        assert!(lab.names().contains("gpu/llama3:latest"));
        let shown = format!("{resource:?}");
        lab.fold(resource);
        lab.reconcile(&sources());
        let kept: BTreeSet<_> = lab.names().into_iter().filter(|name| name.contains("llama3")).collect();
        assert_eq!(kept.is_empty(), is_left, "{shown}: {kept:?}");
        let priced = lab.tables.automatic_prices().any(|price| price.value.model == "llama3:latest");
        assert_eq!(priced, !is_left, "{shown}");
        assert!(lab.names().contains("qwen3:4b"), "{shown}");
        assert_eq!(lab.reconcile(&sources()), 0, "{shown}");
    }
}

/// A provider, its address, and its models with their prices.
#[derive(Clone, Debug)]
struct DrawnSource {
    provider: usize,
    address: u8,
    models: Vec<(u8, i64)>,
}

/// Which providers are there, at which address, with which models at which price.
fn worlds() -> impl Strategy<Value = Vec<Vec<DrawnSource>>> {
    let models = prop::collection::vec((0..4u8, 1..3i64), 0..4);
    let drawn = (0..VARIABLES.len(), 0..2u8, models);
    let source = drawn.prop_map(|(provider, address, models)| DrawnSource { provider, address, models });
    prop::collection::vec(prop::collection::vec(source, 0..5), 1..5)
}

fn sources_of(world: &[DrawnSource]) -> Vec<ModelSource> {
    let mut seen = HashSet::new();
    let world = world.iter().filter(|drawn| seen.insert(drawn.provider));
    let source = |DrawnSource { provider, address, models }: &DrawnSource| {
        let offer =
            |(number, price): &(u8, i64)| offer(&format!("m{number}"), &[&format!("bare{}", number % 2)], *price);
        let offers = Offers::Known(models.iter().map(offer).collect());
        ModelSource { provider: found(*provider, &format!("https://{address}.example")), offers }
    };
    world.map(source).collect()
}

proptest! {
    /// Holds: environment.idempotent, environment.gone
    #[test]
    fn recorded_once_nothing_is_left_to_record_and_nothing_lives_without_its_source(worlds in worlds()) {
        let mut lab = Lab::default();
        for world in worlds {
            let sources = sources_of(&world);
            lab.reconcile(&sources);
            prop_assert_eq!(lab.reconcile(&sources), 0);
            let wanted: BTreeSet<_> = sources.iter().filter_map(|source| match &source.provider {
                SourceProvider::Found(found) => found.key_variable.clone(),
                SourceProvider::Created(_) => None,
            }).collect();
            let live: Vec<_> = environments(&lab.tables).collect();
            let made: BTreeSet<_> = live.iter().filter_map(|entry| entry.value.key_variable.clone()).collect();
            prop_assert_eq!(&made, &wanted);
            prop_assert_eq!(made.len(), live.len());
            let is_live = |provider: ProviderId| live.iter().any(|entry| entry.value.provider_id == provider);
            prop_assert!(lab.tables.automatic_prices().all(|price| is_live(price.value.provider_id)));
            for model in lab.tables.automatic_models() {
                prop_assert!(model.value.targets.iter().all(|target| is_live(target.provider_id)));
                let priced = |target: &Target| {
                    lab.tables.price_in_force(target.provider_id, &target.model, lab.now()).is_some()
                };
                prop_assert!(model.value.targets.iter().all(priced));
            }
        }
        lab.reconcile(&[]);
        prop_assert!(environments(&lab.tables).next().is_none() && lab.names().is_empty());
    }
}
