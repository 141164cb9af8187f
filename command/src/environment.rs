//! Providers from the gateway's environment, and models that appear by themselves: those that the catalogue has for such a
//! provider, and those that local servers have.
//!
//! All of it is recorded, as events of the actor `system:environment`, so that requests are routed, priced and explained from the
//! log alone, as with resources that commands created. What the environment no longer names is ended. Keys stay in memory.
//!
//! Reading the catalogue at each request, instead of recording it, was rejected: a request's price would then depend on the
//! binary that served it, and nobody could check it from the log.

mod addresses;
mod catalogued;
mod deployments;
mod detection;
mod discovery;
mod imports;
mod offer;
mod orphans;
mod reconciliation;
mod watch;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use catalogue::{Capability, Catalogue, InForce, Model};
use events::event::admin::{Price, Provider};
use events::ids::IdMaker;
use events::log::Log;
use events::time::Clock;
use projections::tables::{Entry, Tables, TablesHandle};
use secrets::{EnvironmentKeys, Vault};
use tokio::task::JoinSet;
use tokio::time::Instant;
use upstream::UpstreamClients;

use crate::admin::CommandError;
use crate::admin::import::ImportQueue;
use crate::admin::recording::{self, Author, Step};
use detection::{Detected, FoundProvider};
use discovery::{Discovery, discover};
use offer::Offer;
use reconciliation::{Offers, Plan, Source, SourceProvider, reconcile, recorded_offers};
use watch::Watch;

pub(crate) use catalogued::at_address as catalogued_at;
pub use detection::{DetectionSettings, EnvironmentFault};
pub(crate) use imports::catalogue_of_folder;

/// How often local servers are asked for their models.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// How long it may take until this node's tables have what was recorded.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(10);

/// The providers that the environment names, and the catalogue that knows what they offer.
pub struct NamedProviders {
    detected: Detected,
    /// Replaced as a whole when another one is taken.
    catalogue: RwLock<Arc<Cow<'static, Catalogue>>>,
}

impl NamedProviders {
    /// Finds the providers that the environment names.
    ///
    /// Errors: the first variable whose value cannot be right.
    pub fn detect(
        in_force: InForce,
        settings: DetectionSettings,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, EnvironmentFault> {
        let known = catalogued::known_providers(&in_force.catalogue);
        let mut detected = detection::detect(&known, settings, variable)?;
        if let Some(warning) = in_force.warning() {
            tracing::warn!("{warning}");
            detected.notes.insert(0, warning);
        }
        Ok(Self { detected, catalogue: RwLock::new(Arc::new(in_force.catalogue)) })
    }

    /// The keys of the providers, for the vault.
    pub fn keys(&self) -> EnvironmentKeys {
        let mut keys = EnvironmentKeys::default();
        for found in &self.detected.providers {
            if let (Some(variable), Some(key)) = (&found.key_variable, &found.key) {
                keys.insert(variable.as_str(), found.base_url.as_str(), key.clone());
            }
        }
        keys
    }

    /// What this catalogue knows of the model behind the name that a provider from the environment has for it.
    pub fn described<'a>(&self, catalogue: &'a Catalogue, provider: &Provider, backend: &str) -> Option<&'a Model> {
        catalogued::described(catalogue, &self.detected.providers, provider, backend)
    }

    /// What the catalogue knows that the model behind a provider's name for it can do; `None` if it does not know the model.
    pub fn capabilities(&self, provider: &Provider, backend: &str) -> Option<Vec<&'static str>> {
        let catalogue = self.catalogue();
        let model = self.described(&catalogue, provider, backend)?;
        Some(model.capabilities.iter().copied().map(Capability::as_str).collect())
    }

    /// The catalogue that offers are made from now.
    pub fn catalogue(&self) -> Arc<Cow<'static, Catalogue>> {
        Arc::clone(&self.catalogue.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes offers from another catalogue from now on. The providers stay those that were found at the start.
    fn take(&self, newer: Arc<Cow<'static, Catalogue>>) {
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = newer;
    }
}

/// What the environment's resources are made with.
#[derive(Clone)]
pub struct EnvironmentParts {
    pub log: Log,
    pub tables: TablesHandle,
    pub ids: IdMaker,
    pub clock: Arc<dyn Clock>,
    pub vault: Arc<Vault>,
    pub upstreams: Arc<UpstreamClients>,
    /// The data folder, which has another catalogue if one was taken.
    pub data: PathBuf,
}

/// The providers that the environment names, and their resources in the log.
pub struct Environment {
    parts: EnvironmentParts,
    /// `None` if nothing is to appear by itself.
    named: Option<Arc<NamedProviders>>,
    watch: Mutex<Watch>,
}

/// A provider from the environment, or a local one, as the start shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredProvider {
    pub name: String,
    /// `None` if no variable has its key.
    pub key_variable: Option<String>,
    pub base_url: String,
    /// The number of models that it has a price for.
    pub models: usize,
    /// The vendor whose list prices its models have, if it is at another address than the vendor's.
    pub at_list_prices_of: Option<String>,
}

impl Environment {
    pub fn new(parts: EnvironmentParts, named: Option<Arc<NamedProviders>>) -> Self {
        Self { parts, named, watch: Mutex::default() }
    }

    /// Asks local servers for their models, and records what has changed since it was last recorded.
    ///
    /// Errors: something could not be recorded. What is missing is recorded by the next call.
    pub async fn bring_up_to_date(&self) -> Result<(), CommandError> {
        let Some(named) = &self.named else { return self.record_offers(&[]).await };
        self.record_offers(&self.sources(named).await).await
    }

    /// Records what these sources change.
    async fn record_offers(&self, sources: &[Source]) -> Result<(), CommandError> {
        let tables = self.parts.tables.load();
        let plan = reconcile(sources, &tables, &self.parts.ids, self.parts.clock.now());
        if plan.is_empty() {
            return Ok(());
        }
        let recorded = plan.len();
        let position = self.record(plan, &Author::gateway()).await?;
        tracing::info!(recorded, position, "recorded what the environment, the catalogue and local servers offer");
        match self.parts.tables.wait_for(position, IN_FORCE_WITHIN).await {
            true => Ok(()),
            false => Err(CommandError::NotYetInForce { position }),
        }
    }

    /// Keeps the models of local servers up to date, and takes the catalogues that are imported, until it is dropped. One
    /// after the other: two that record what they find at the same time would record it twice.
    pub async fn follow(self, mut imports: ImportQueue) {
        let mut asked_at = Instant::now();
        loop {
            tokio::select! {
                Some(import) = imports.next() => self.answer(import).await,
                () = tokio::time::sleep_until(asked_at + ASK_EVERY), if self.is_on() => {
                    if let Err(error) = self.bring_up_to_date().await {
                        tracing::warn!(%error, "cannot record what the environment and local servers offer: trying again later");
                    }
                    asked_at = Instant::now();
                }
                else => return,
            }
        }
    }

    /// False if nothing is to appear by itself.
    pub const fn is_on(&self) -> bool {
        self.named.is_some()
    }

    /// What the start shows: the live providers that the gateway made or whose models it found, by name.
    pub fn registered(&self) -> Vec<RegisteredProvider> {
        let tables = self.parts.tables.load();
        let is_shown = |provider: &Provider| provider.origin.is_some() || is_asked(provider);
        let shown = tables.providers().filter(|entry| entry.is_live() && is_shown(&entry.value));
        let mut shown: Vec<_> = shown
            .map(|entry| {
                let of_provider = |price: &&Entry<Price>| price.value.provider_id == entry.value.provider_id;
                RegisteredProvider {
                    name: entry.value.name.clone(),
                    key_variable: entry.value.key_variable.clone(),
                    base_url: entry.value.base_url.clone().unwrap_or_default(),
                    models: tables.automatic_prices().filter(of_provider).count(),
                    at_list_prices_of: self.vendor_elsewhere(&entry.value),
                }
            })
            .collect();
        shown.sort_by(|one, other| one.name.cmp(&other.name));
        shown
    }

    /// The vendor whose variables put this provider at another address.
    fn vendor_elsewhere(&self, provider: &Provider) -> Option<String> {
        let found = self.named.as_ref()?.detected.providers.iter().find(|found| found.made(provider))?;
        let has_list_prices = found.has_own_address && !provider.discover_models && found.deployments.is_none();
        has_list_prices.then(|| found.id.clone())
    }

    /// What seems to be meant and has no effect; a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let Some(named) = &self.named else { return Vec::new() };
        let unknown = named.detected.providers.iter().flat_map(|found| self.offers_of(&named.catalogue(), found).1);
        let orphans = orphans::notes(&self.parts.tables.load());
        named.detected.notes.iter().cloned().chain(unknown).chain(orphans).collect()
    }

    /// Everything that offers models now. Local servers are asked.
    async fn sources(&self, named: &NamedProviders) -> Vec<Source> {
        let (tables, catalogue) = (self.parts.tables.load(), named.catalogue());
        let (mut sources, asked) = self.known_sources(named, &catalogue, &tables);
        let (answers, unnamed) = tokio::join!(self.ask(asked), self.unnamed_local(named, &catalogue, &tables));
        for (at, answer) in answers {
            if let Some(source) = sources.get_mut(at) {
                source.offers = self.offers_after(&source.provider, answer, &tables).unwrap_or(Offers::AsBefore);
            }
        }
        sources.extend(unnamed);
        sources
    }

    /// The same with another catalogue, and with local servers as they were when they last answered.
    fn sources_with(&self, named: &NamedProviders, catalogue: &Catalogue, tables: &Tables) -> Vec<Source> {
        let (mut sources, _) = self.known_sources(named, catalogue, tables);
        let unnamed = catalogued::unnamed_local(catalogue, &named.detected);
        let is_live =
            |found: &FoundProvider| tables.providers().any(|entry| entry.is_live() && found.made(&entry.value));
        sources.extend(
            unnamed
                .filter(is_live)
                .map(|found| Source { provider: SourceProvider::Found(Box::new(found)), offers: Offers::AsBefore }),
        );
        sources
    }

    /// The providers from the environment and the local servers that commands added, and of these sources by their numbers
    /// the servers to ask.
    fn known_sources(
        &self,
        named: &NamedProviders,
        catalogue: &Catalogue,
        tables: &Tables,
    ) -> (Vec<Source>, Vec<(usize, Provider)>) {
        let mut sources: Vec<Source> = Vec::new();
        let mut asked: Vec<(usize, Provider)> = Vec::new();
        for found in &named.detected.providers {
            let state = found.state(self.parts.ids.make(), found.id.clone());
            let offers = if state.discover_models {
                asked.push((sources.len(), state));
                Offers::AsBefore
            } else {
                Offers::Known(self.offers_of(catalogue, found).0)
            };
            sources.push(Source { provider: SourceProvider::Found(Box::new(found.clone())), offers });
        }
        for entry in tables.providers().filter(|entry| entry.is_live() && is_asked(&entry.value)) {
            asked.push((sources.len(), (*entry.value).clone()));
            let provider = SourceProvider::Created(entry.value.provider_id);
            sources.push(Source { provider, offers: Offers::AsBefore });
        }
        (sources, asked)
    }

    /// Asks these servers at once. The answers come with the numbers that the servers were given.
    async fn ask(&self, asked: Vec<(usize, Provider)>) -> Vec<(usize, Discovery)> {
        let mut asking = JoinSet::new();
        for (at, provider) in asked {
            let parts = self.parts.clone();
            asking.spawn(async move { (at, ask_one(&parts, &provider).await) });
        }
        asking.join_all().await
    }

    /// What a server offers after it was asked; `None` if it has not answered.
    fn offers_after(&self, source: &SourceProvider, answer: Discovery, tables: &Tables) -> Option<Offers> {
        let listed = match answer {
            Discovery::Listed(listed) => listed,
            Discovery::NotPrivate => return Some(Offers::Known(Vec::new())),
            Discovery::NoAnswer => return None,
        };
        let (server, before) = (name_of(source), recorded_offers(source, tables));
        let (offers, waiting) = self.watch().listed(&server, listed, before, self.parts.clock.now());
        if waiting > 0 {
            tracing::warn!(server, waiting, "a local server lists many new models: some of them appear later");
        }
        Some(Offers::Known(offers))
    }

    /// The Ollama on this machine, if no variable names one: it is a source once it has answered, and for a while in which it
    /// does not.
    async fn unnamed_local(&self, named: &NamedProviders, catalogue: &Catalogue, tables: &Tables) -> Option<Source> {
        let found = catalogued::unnamed_local(catalogue, &named.detected)?;
        let state = found.state(self.parts.ids.make(), found.id.clone());
        let live: Vec<_> = tables.providers().filter(|entry| entry.is_live()).collect();
        // Whoever has added this server decides who may use it, also under another name of this machine.
        let is_own = |provider: &Provider| {
            let address = provider.base_url.as_deref().filter(|_| provider.origin.is_none());
            address.is_some_and(|address| addresses::is_same_local_port(address, &found.base_url))
        };
        if live.iter().any(|entry| is_own(&entry.value)) {
            return None;
        }
        let is_recorded = live.iter().any(|entry| found.made(&entry.value));
        let provider = SourceProvider::Found(Box::new(found));
        let answer = ask_one(&self.parts, &state).await;
        let offers = match self.offers_after(&provider, answer, tables) {
            Some(offers) => offers,
            None if is_recorded && !self.watch().is_gone(&name_of(&provider), self.parts.clock.now()) => {
                Offers::AsBefore
            }
            None => return None,
        };
        Some(Source { provider, offers })
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offers_of(&self, catalogue: &Catalogue, found: &FoundProvider) -> (Vec<Offer>, Vec<String>) {
        catalogued::offers(catalogue, found, self.parts.clock.now().date_naive())
    }

    /// Records a plan; returns the position of its last event.
    async fn record(&self, plan: Plan, author: &Author) -> Result<u64, CommandError> {
        let Plan { providers, prices, models } = plan;
        let (ending_prices, prices) = prices.into_iter().partition(Step::is_end);
        let (ending_models, models) = models.into_iter().partition(Step::is_end);
        let log = &self.parts.log;
        let mut position = recording::record(log, author, ending_models).await?;
        position = position.max(recording::record(log, author, ending_prices).await?);
        position = position.max(recording::record(log, author, providers).await?);
        position = position.max(recording::record(log, author, prices).await?);
        Ok(position.max(recording::record(log, author, models).await?))
    }
}

/// True for a local server of all tenants that a command added, and that is to be asked.
fn is_asked(provider: &Provider) -> bool {
    provider.discover_models && provider.origin.is_none() && provider.tenant_id.is_none()
}

/// A name that a source keeps.
fn name_of(source: &SourceProvider) -> String {
    match source {
        SourceProvider::Found(found) => found.id.clone(),
        SourceProvider::Created(id) => id.to_string(),
    }
}

async fn ask_one(parts: &EnvironmentParts, provider: &Provider) -> Discovery {
    let key = match parts.vault.key_of(provider).await {
        Ok(key) => key,
        Err(error) => {
            tracing::warn!(%error, provider = %provider.name, "cannot open the key of a local server");
            return Discovery::NoAnswer;
        }
    };
    discover(&parts.upstreams, provider, key.as_ref(), parts.clock.now()).await
}

#[cfg(test)]
mod fuzz;
