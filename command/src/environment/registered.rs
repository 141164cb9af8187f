//! The summary of the environment at the start: the providers that were found, and settings that have no effect or will
//! fail.

use events::event::admin::{Price, Provider};
use projections::tables::{Entry, Tables};

use super::found_provider::FoundProvider;
use super::named_providers::NamedProviders;
use super::sources::is_asked;
use super::{Environment, orphans};

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
    /// Returns the live providers shown at the start: those the gateway made or whose models it found, by name.
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

    /// Returns a sentence for each setting that has no effect or will fail.
    pub fn notes(&self) -> Vec<String> {
        let tables = self.parts.tables.load();
        let lacking = self.without_variable(&tables);
        let Some(named) = &self.named else { return lacking };
        let unknown = named.detected.providers.iter().flat_map(|found| self.offers_of(&named.catalogue(), found).1);
        let unpriced = named.detected.providers.iter().filter_map(|found| self.without_prices(named, found, &tables));
        let notes = named.detected.notes.iter().cloned().chain(unknown).chain(unpriced);
        notes.chain(orphans::notes(&tables)).chain(lacking).collect()
    }

    /// A sentence for each provider that another node made from a variable that this one does not have.
    fn without_variable(&self, tables: &Tables) -> Vec<String> {
        let is_from_here = |provider: &Provider| {
            let named = self.named.as_ref();
            named.is_some_and(|named| named.detected.providers.iter().any(|found| found.made_here(provider)))
        };
        let made = tables.providers().filter(|entry| entry.is_live() && !is_from_here(&entry.value));
        let lacking = made.filter_map(|entry| {
            let variable = entry.value.key_variable.as_ref()?;
            Some(format!(
                "{variable} is not set on this node, or is set for another address: its requests for the provider {} fail. Start \
                 every node that shares the ledger with the same variables",
                entry.value.name
            ))
        });
        let mut lacking: Vec<_> = lacking.collect();
        lacking.sort();
        lacking
    }

    /// A sentence about a provider of which the catalogue has no prices, and the operator neither.
    fn without_prices(&self, named: &NamedProviders, found: &FoundProvider, tables: &Tables) -> Option<String> {
        let variable = found.key_variable.as_ref()?;
        let has_own = || {
            tables.created_prices().any(|entry| {
                tables.live_provider(entry.value.provider_id).is_some_and(|provider| found.made(&provider.value))
            })
        };
        let is_without =
            found.deployments.is_none() && self.offers_of(&named.catalogue(), found).0.is_empty() && !has_own();
        is_without.then(|| {
            format!(
                "{variable} is set, but the catalogue has no prices of {}: give it one, as docs/providers.md shows",
                found.id
            )
        })
    }
}
