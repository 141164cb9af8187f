//! Everything that offers models: the providers from the environment, with what the catalogue has for them, and local servers,
//! which are asked.

use std::sync::{MutexGuard, PoisonError};

use built_in_catalogue::Catalogue;
use events::event::admin::Provider;
use projections::tables::Tables;
use secrets::VaultError;
use tokio::task::JoinSet;

use super::discovery::{Discovery, discover};
use super::found_provider::FoundProvider;
use super::named_providers::NamedProviders;
use super::offer::Offer;
use super::reconciliation::{ModelSource, Offers, SourceProvider, recorded_offers};
use super::watch::Watch;
use super::{Environment, EnvironmentParts, addresses, catalogued};
use crate::provider_get::Sender;
use crate::secret_headers::SecretHeaders;

/// A local server that is asked for its models.
pub(super) struct AskedServer {
    /// The position of its source.
    at: usize,
    provider: Provider,
}

impl Environment {
    /// Everything that offers models now. Local servers are asked.
    pub(super) async fn sources(&self, named: &NamedProviders) -> Vec<ModelSource> {
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
    pub(super) fn sources_with(
        &self,
        named: &NamedProviders,
        catalogue: &Catalogue,
        tables: &Tables,
    ) -> Vec<ModelSource> {
        let (mut sources, _) = self.known_sources(named, catalogue, tables);
        let unnamed = self.unnamed(named, catalogue);
        let is_live =
            |found: &FoundProvider| tables.providers().any(|entry| entry.is_live() && found.made_here(&entry.value));
        sources.extend(
            unnamed.filter(is_live).map(|found| ModelSource {
                provider: SourceProvider::Found(Box::new(found)),
                offers: Offers::AsBefore,
            }),
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
    ) -> (Vec<ModelSource>, Vec<AskedServer>) {
        let mut sources: Vec<ModelSource> = Vec::new();
        let mut asked: Vec<AskedServer> = Vec::new();
        for found in &named.detected.providers {
            let state = found.state(self.parts.ids.make(), found.id.clone());
            let offers = if state.discover_models {
                asked.push(AskedServer { at: sources.len(), provider: state });
                Offers::AsBefore
            } else {
                Offers::Known(self.offers_of(catalogue, found).0)
            };
            sources.push(ModelSource { provider: SourceProvider::Found(Box::new(found.clone())), offers });
        }
        for entry in tables.providers().filter(|entry| entry.is_live() && is_asked(&entry.value)) {
            asked.push(AskedServer { at: sources.len(), provider: (*entry.value).clone() });
            let provider = SourceProvider::Created(entry.value.provider_id);
            sources.push(ModelSource { provider, offers: Offers::AsBefore });
        }
        (sources, asked)
    }

    /// Asks these servers at once. The answers come with the numbers that the servers were given.
    async fn ask(&self, asked: Vec<AskedServer>) -> Vec<(usize, Discovery)> {
        let mut asking = JoinSet::new();
        for AskedServer { at, provider } in asked {
            let parts = self.parts.clone();
            asking.spawn(async move { (at, ask_one(&parts, &provider).await) });
        }
        asking.join_all().await
    }

    /// Returns the offers of a server after it was asked; `None` if it has not answered.
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
    /// does not. One that a variable named until now, at another address, is none.
    async fn unnamed_local(
        &self,
        named: &NamedProviders,
        catalogue: &Catalogue,
        tables: &Tables,
    ) -> Option<ModelSource> {
        let found = self.unnamed(named, catalogue)?;
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
        let is_recorded = live.iter().any(|entry| found.made_here(&entry.value));
        let provider = SourceProvider::Found(Box::new(found));
        let answer = ask_one(&self.parts, &state).await;
        let offers = match self.offers_after(&provider, answer, tables) {
            Some(offers) => offers,
            None if is_recorded && !self.watch().is_gone(&name_of(&provider), self.parts.clock.now()) => {
                Offers::AsBefore
            }
            None => return None,
        };
        Some(ModelSource { provider, offers })
    }

    /// The local server at its usual address. Nodes that share a ledger have machines of their own, of which the others cannot reach
    /// it: none is a source of theirs unless a variable names it.
    fn unnamed(&self, named: &NamedProviders, catalogue: &Catalogue) -> Option<FoundProvider> {
        if self.parts.log.is_shared() { None } else { catalogued::unnamed_local(catalogue, &named.detected) }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn offers_of(&self, catalogue: &Catalogue, found: &FoundProvider) -> (Vec<Offer>, Vec<String>) {
        catalogued::offers(catalogue, found, self.parts.clock.now().date_naive())
    }
}

/// True for a local server of all tenants that a command added, and that is to be asked.
pub(super) fn is_asked(provider: &Provider) -> bool {
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
    let opened = async {
        let key = parts.vault.key_of(provider).await?;
        Ok::<_, VaultError>((key, SecretHeaders::of(&parts.vault, provider).await?))
    };
    match opened.await {
        Ok((key, headers)) => {
            let sender = Sender::Own(key.as_ref(), &headers);
            discover(&parts.upstreams, provider, sender, parts.clock.now()).await
        }
        Err(error) => {
            tracing::warn!(%error, provider = %provider.name, "cannot open the secrets of a local server");
            Discovery::NoAnswer
        }
    }
}
