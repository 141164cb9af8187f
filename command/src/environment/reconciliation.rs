//! Events to record, so that the resources that the gateway makes itself become those that its environment, its
//! catalogue and local servers have now. Pure: what is found and the tables go in, creations, changes and ends come
//! out; recorded, they leave nothing to record.
//!
//! Each model that a provider offers has a price, a model `provider/model` with one target, and a share in the models of its
//! bare names, whose targets are all that offer it, in the order of the sources. None of them claims its name: a model that a
//! command created comes before it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use built_in_catalogue::is_model_name;
use chrono::{DateTime, Utc};
use events::event::admin::{Model, Origin, Price, Provider, Target};
use events::ids::{IdMaker, PriceId, ProviderId};
use projections::tables::{Entry, Tables};

use super::found_provider::FoundProvider;
use super::offer::{Offer, local_offer, other_spelling};
use crate::admin::recording::Step;

/// The most targets that a model can have.
const TARGETS_MAX: usize = 32;

/// A provider, and what it offers.
#[derive(Clone, Debug)]
pub struct ModelSource {
    pub provider: SourceProvider,
    pub offers: Offers,
}

#[derive(Clone, Debug)]
pub enum SourceProvider {
    /// The environment names it.
    Found(Box<FoundProvider>),
    /// A command created it.
    Created(ProviderId),
}

#[derive(Clone, Debug)]
pub enum Offers {
    Known(Vec<Offer>),
    /// The server did not answer: it offers what it did before.
    AsBefore,
}

/// Everything to record. An end comes before what may take its place, and a resource after what it refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReconciliationPlan {
    pub providers: Vec<Step<Provider>>,
    pub prices: Vec<Step<Price>>,
    pub models: Vec<Step<Model>>,
}

impl ReconciliationPlan {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of events.
    pub fn len(&self) -> usize {
        self.providers.len() + self.prices.len() + self.models.len()
    }

    /// The providers that it ends, and what ends with them.
    pub fn ended_providers(&self) -> EndedProviders {
        let providers: HashSet<ProviderId> = ended(&self.providers).map(|provider| provider.provider_id).collect();
        let has_ended = |target: &Target| providers.contains(&target.provider_id);
        let name = |provider: &Provider| match &provider.key_variable {
            Some(variable) => format!("{} ({variable})", provider.name),
            None => provider.name.clone(),
        };
        EndedProviders {
            names: ended(&self.providers).map(name).collect(),
            prices: ended(&self.prices).filter(|price| providers.contains(&price.provider_id)).count(),
            models: ended(&self.models).filter(|model| model.targets.iter().any(has_ended)).count(),
        }
    }
}

/// The providers that a plan ends. It may end prices and models of providers that stay, too.
#[derive(Debug, PartialEq, Eq)]
pub struct EndedProviders {
    /// Each with its variable.
    pub names: Vec<String>,
    /// The number of their prices.
    pub prices: usize,
    /// The number of the models that end and had a target at one of them.
    pub models: usize,
}

fn ended<R>(steps: &[Step<R>]) -> impl Iterator<Item = &R> {
    steps.iter().filter_map(|step| if let Step::End(ended) = step { Some(ended) } else { None })
}

/// A source's provider as it is to be, and its offers.
struct Offering<'a> {
    id: ProviderId,
    name: String,
    offers: Vec<&'a Offer>,
}

type Prices<'a> = BTreeMap<(ProviderId, &'a str), &'a Offer>;
type Models = BTreeMap<String, WantedModel>;

struct WantedModel {
    origin: Origin,
    targets: Vec<Target>,
}

/// Returns the changes to record now. New resources get ids of `ids`.
pub fn reconcile(sources: &[ModelSource], tables: &Tables, ids: &IdMaker, now: DateTime<Utc>) -> ReconciliationPlan {
    let all_offers: Vec<Cow<'_, [Offer]>> = sources.iter().map(|source| offers(source, tables)).collect();
    let ReconciledProviders { steps: providers, known } = reconcile_providers(sources, tables, ids);
    let own = OwnResources::of(tables);
    let offering = known.into_iter().zip(&all_offers).filter_map(|(provider, offers)| {
        let (id, name) = provider?;
        // The first of a name counts.
        let mut names = HashSet::new();
        let mut offers: Vec<&Offer> = offers.iter().filter(|offer| names.insert(&offer.backend)).collect();
        offers.retain(|offer| offer.origin != Origin::Discovered || !own.has(id, &name, &offer.backend));
        Some(Offering { id, name, offers })
    });
    let offering: Vec<Offering<'_>> = offering.collect();
    let prices = wanted_prices(&offering);
    let models = wanted_models(&offering);
    ReconciliationPlan {
        providers,
        prices: reconcile_prices(&prices, tables, ids, now),
        models: reconcile_models(models, tables, ids),
    }
}

/// The resources that commands created for models of servers: discovery leaves these to them. A model that discovery
/// created beside one would be a way past its price and its prefix. Tenants' own models do not count, so that no tenant
/// takes one away from the others.
struct OwnResources<'a> {
    prices: HashSet<(ProviderId, &'a str)>,
    targets: HashSet<(ProviderId, &'a str)>,
    names: HashSet<&'a str>,
}

impl<'a> OwnResources<'a> {
    fn of(tables: &'a Tables) -> Self {
        let models: Vec<&Model> = tables.shared_models().map(|entry| &*entry.value).collect();
        let targets = models.iter().flat_map(|model| &model.targets);
        Self {
            prices: tables
                .created_prices()
                .map(|entry| (entry.value.provider_id, entry.value.model.as_str()))
                .collect(),
            targets: targets.map(|target| (target.provider_id, target.model.as_str())).collect(),
            names: models.iter().map(|model| model.name.as_str()).collect(),
        }
    }

    fn has(&self, provider: ProviderId, provider_name: &str, backend: &str) -> bool {
        let other = other_spelling(backend);
        std::iter::once(backend).chain(other.as_deref()).any(|name| {
            let key = (provider, name);
            let is_named = self.names.contains(name) || self.names.contains(format!("{provider_name}/{name}").as_str());
            is_named || self.prices.contains(&key) || self.targets.contains(&key)
        })
    }
}

/// Returns the offers of a source: of a server that does not answer, the last known ones.
fn offers<'a>(source: &'a ModelSource, tables: &Tables) -> Cow<'a, [Offer]> {
    match &source.offers {
        Offers::Known(offers) => offers.into(),
        Offers::AsBefore => recorded_offers(&source.provider, tables).into(),
    }
}

/// Returns the recorded offers found at a source's server: none if they were found at another address. Looked up by its
/// provider's id: that may have another name now.
pub fn recorded_offers(source: &SourceProvider, tables: &Tables) -> Vec<Offer> {
    let provider = match source {
        SourceProvider::Found(found) => environments(tables).find(|entry| found.made_here(&entry.value)),
        SourceProvider::Created(id) => tables.live_provider(*id),
    };
    let Some(id) = provider.map(|entry| entry.value.provider_id) else { return Vec::new() };
    let discovered = tables.automatic_models().filter(|model| model.value.origin == Some(Origin::Discovered));
    let targets = discovered.flat_map(|model| &model.value.targets).filter(|target| target.provider_id == id);
    let by_name: BTreeMap<_, _> = targets.map(|target| (target.model.as_str(), target.window.tokens)).collect();
    by_name.into_iter().map(|(model, window)| local_offer(model.to_owned(), window)).collect()
}

/// The live providers that were made from the environment, the oldest first.
fn environments(tables: &Tables) -> impl Iterator<Item = &Entry<Provider>> {
    let made = |entry: &&Entry<Provider>| entry.is_live() && entry.value.origin.is_some();
    let mut found: Vec<_> = tables.providers().filter(made).collect();
    found.sort_by_key(|entry| (entry.created_at, entry.value.provider_id));
    found.into_iter()
}

/// The changes of providers, and what they lead to.
struct ReconciledProviders {
    steps: Vec<Step<Provider>>,
    /// For each source the id and the name that its provider has then; `None` for one that is gone.
    known: Vec<Option<(ProviderId, String)>>,
}

fn reconcile_providers(sources: &[ModelSource], tables: &Tables, ids: &IdMaker) -> ReconciledProviders {
    let (mut changes, mut creations) = (Vec::new(), Vec::new());
    let mut existing: Vec<&Entry<Provider>> = environments(tables).collect();
    let mut names = shared_names(tables);
    let mut known = Vec::new();
    for source in sources {
        let found = match &source.provider {
            SourceProvider::Found(found) => found,
            SourceProvider::Created(id) => {
                known.push(tables.live_provider(*id).map(|entry| (*id, entry.value.name.clone())));
                continue;
            }
        };
        let state = match existing.iter().position(|entry| found.made(&entry.value)) {
            Some(at) => {
                let before = &existing.remove(at).value;
                let state = found.state(before.provider_id, before.name.clone());
                if **before != state {
                    changes.push(Step::Change(state.clone()));
                }
                state
            }
            None => {
                let name = free_name(&found.id, &names);
                names.insert(name.clone());
                let state = found.state(ids.make(), name);
                creations.push(Step::Create(state.clone()));
                state
            }
        };
        known.push(Some((state.provider_id, state.name)));
    }
    let ends = existing.iter().map(|entry| Step::End((*entry.value).clone()));
    ReconciledProviders { steps: ends.chain(changes).chain(creations).collect(), known }
}

/// The names of the live providers that all tenants share.
fn shared_names(tables: &Tables) -> HashSet<String> {
    let shared = tables.providers_of(None);
    shared.map(|entry| entry.value.name.clone()).collect()
}

/// The name, or `name-2` and so on.
fn free_name(name: &str, taken: &HashSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let free = std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken.contains(name));
    free.unwrap_or_else(|| name.to_owned())
}

fn wanted_prices<'a>(offering: &[Offering<'a>]) -> Prices<'a> {
    let of_provider = |Offering { id, offers, .. }: &Offering<'a>| {
        let id = *id;
        offers.iter().map(move |offer| ((id, offer.backend.as_str()), *offer)).collect::<Vec<_>>()
    };
    offering.iter().flat_map(of_provider).collect()
}

fn reconcile_prices(wanted: &Prices<'_>, tables: &Tables, ids: &IdMaker, now: DateTime<Utc>) -> Vec<Step<Price>> {
    let mut missing = wanted.clone();
    let (mut ends, mut changes) = (Vec::new(), Vec::new());
    let mut existing: Vec<_> = tables.automatic_prices().collect();
    existing.sort_by_key(|entry| (entry.created_at, entry.value.price_id));
    for entry in existing {
        let before = &entry.value;
        let Some(offer) = missing.remove(&(before.provider_id, before.model.as_str())) else {
            ends.push(Step::End((**before).clone()));
            continue;
        };
        let state = price(before.price_id, before.provider_id, offer, before.effective_from);
        if state != **before {
            changes.push(Step::Change(Price { effective_from: now, ..state }));
        }
    }
    let creations =
        missing.into_iter().map(|((provider, _), offer)| Step::Create(price(ids.make(), provider, offer, now)));
    ends.into_iter().chain(changes).chain(creations).collect()
}

fn price(id: PriceId, provider: ProviderId, offer: &Offer, effective_from: DateTime<Utc>) -> Price {
    let rates = offer.rates.clone();
    Price { origin: Some(offer.origin), ..Price::new(id, provider, offer.backend.as_str(), rates, effective_from) }
}

/// The models by their names. `provider/model` comes before a bare name with a slash in it.
fn wanted_models(offering: &[Offering<'_>]) -> Models {
    let mut models = Models::new();
    for Offering { id, name, offers } in offering {
        for offer in offers {
            let name = format!("{name}/{}", offer.name);
            if is_model_name(&name) {
                let model = || WantedModel { origin: offer.origin, targets: vec![offer.target(*id, 0)] };
                models.entry(name).or_insert_with(model);
            }
        }
    }
    let listed: HashSet<&String> = offering
        .iter()
        .flat_map(|offering| &offering.offers)
        .filter(|offer| offer.origin != Origin::Discovered)
        .flat_map(|offer| &offer.bare_names)
        .collect();
    // A prompt that is meant for this machine must not go to a vendor, nor a vendor's price turn into none: a local model shares
    // no name with a vendor's.
    let is_apart =
        |offer: &Offer| offer.origin == Origin::Discovered && offer.bare_names.iter().any(|name| listed.contains(name));
    let mut bare = Models::new();
    for Offering { id, offers, .. } in offering {
        let named = offers.iter().filter(|offer| !is_apart(offer));
        for (name, offer) in named.flat_map(|offer| offer.bare_names.iter().map(move |name| (name, offer))) {
            if models.contains_key(name) || !is_model_name(name) {
                continue;
            }
            let model = || WantedModel { origin: offer.origin, targets: Vec::new() };
            let targets = &mut bare.entry(name.clone()).or_insert_with(model).targets;
            let is_new = !targets.iter().any(|other| other.provider_id == *id && other.model == offer.backend);
            if is_new && targets.len() < TARGETS_MAX {
                let priority = u32::try_from(targets.len()).unwrap_or(u32::MAX);
                targets.push(offer.target(*id, priority));
            }
        }
    }
    models.extend(bare);
    models
}

fn reconcile_models(wanted: Models, tables: &Tables, ids: &IdMaker) -> Vec<Step<Model>> {
    let mut missing = wanted;
    let (mut ends, mut changes) = (Vec::new(), Vec::new());
    for entry in tables.automatic_models() {
        let before = &entry.value;
        let Some(WantedModel { origin, targets }) = missing.remove(&before.name) else {
            ends.push(Step::End((**before).clone()));
            continue;
        };
        let state = Model { origin: Some(origin), ..Model::new(before.model_id, before.name.as_str(), targets) };
        if state != **before {
            changes.push(Step::Change(state));
        }
    }
    let creations = missing.into_iter().map(|(name, WantedModel { origin, targets })| {
        Step::Create(Model { origin: Some(origin), ..Model::new(ids.make(), name, targets) })
    });
    ends.into_iter().chain(changes).chain(creations).collect()
}

#[cfg(test)]
mod tests;
