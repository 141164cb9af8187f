//! A checked document, and how to look things up in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use chrono::NaiveDate;
use events::event::admin::ProviderKindName;

use crate::checks;
use crate::document::Document;
use crate::error_place;
use crate::model::Model;
use crate::provider::Provider;

/// The longest document that is read.
pub const TEXT_LEN_MAX: usize = 16 * 1024 * 1024;

const SHIPPED: &str = include_str!("../data/catalogue.json");

/// Providers, models and aliases of one document.
#[derive(Clone, Debug)]
pub struct Catalogue {
    version: NaiveDate,
    providers: Vec<Provider>,
    /// Sorted by provider and model.
    models: Vec<Model>,
    /// Indices of models, by their bare names.
    named: BTreeMap<String, Vec<usize>>,
    aliases: BTreeMap<String, String>,
}

/// Why a text is not a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCatalogue {
    #[error("is larger than {} MiB", TEXT_LEN_MAX >> 20)]
    TooLarge,
    /// The text is not JSON, or not of the form of a catalogue; with the line and the column, and the provider or the
    /// model if the error is in one that has a name.
    #[error("is not a catalogue: {}{problem}", .place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
    Form { place: Option<String>, problem: String },
    #[error("is not a catalogue: {place} {problem}")]
    Content { place: String, problem: String },
}

impl Catalogue {
    /// The catalogue of this version of the gateway. Parsed at the first use.
    pub fn shipped() -> &'static Self {
        static CATALOGUE: LazyLock<Catalogue> =
            LazyLock::new(|| Catalogue::parse(SHIPPED).expect("a test parses the shipped catalogue"));
        &CATALOGUE
    }

    /// Reads and checks a document.
    pub fn parse(text: &str) -> Result<Self, InvalidCatalogue> {
        if text.len() > TEXT_LEN_MAX {
            return Err(InvalidCatalogue::TooLarge);
        }
        let document: Document = serde_json::from_str(text).map_err(|error| {
            let place = error_place::place_of(text, error.line(), error.column());
            InvalidCatalogue::Form { place, problem: in_one_line(&error) }
        })?;
        checks::check(&document)
            .map_err(|wrong| InvalidCatalogue::Content { place: wrong.place, problem: wrong.problem })?;
        let Document { version, providers, models, aliases, .. } = document;
        Ok(Self::indexed(version, providers, models, aliases))
    }

    fn indexed(
        version: NaiveDate,
        providers: Vec<Provider>,
        mut models: Vec<Model>,
        aliases: BTreeMap<String, String>,
    ) -> Self {
        models.sort_by(|one, other| key_of(one).cmp(&key_of(other)));
        let mut named: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, model) in models.iter().enumerate() {
            if let Some(name) = &model.name {
                named.entry(name.clone()).or_default().push(index);
            }
        }
        Self { version, providers, models, named, aliases }
    }

    /// The same models, prices and aliases with the providers of a release, as far as these have them. Where keys are sent, and
    /// which variables hold them, is decided by whoever makes the release, and not by whoever makes a document.
    pub fn with_providers_of(self, release: &Self) -> Self {
        let Self { version, mut models, mut aliases, .. } = self;
        models.retain(|model| release.provider(&model.provider).is_some());
        let names: BTreeSet<&str> = models.iter().filter_map(|model| model.name.as_deref()).collect();
        aliases.retain(|_, name| names.contains(name.as_str()));
        Self::indexed(version, release.providers.clone(), models, aliases)
    }

    /// The providers of which the two do not say the same, or which only one of them has.
    pub fn differing_providers<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let every = self.providers.iter().chain(&other.providers).map(|provider| provider.id.as_str());
        let ids: BTreeSet<&str> = every.collect();
        ids.into_iter().filter(|id| self.provider(id) != other.provider(id)).collect()
    }

    /// The day of the document.
    pub fn version(&self) -> NaiveDate {
        self.version
    }

    /// In the order of the document.
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    pub fn provider(&self, id: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.id == id)
    }

    /// The variable that may hold the address of a provider from the environment: by the variable of its key, or, as only local
    /// servers have none, by its kind.
    pub fn address_variable(&self, kind: &ProviderKindName, key_variable: Option<&str>) -> Option<String> {
        let is_it = |provider: &&Provider| match key_variable {
            Some(key) => provider.key_variables.iter().any(|name| name == key),
            None => provider.local && provider.kind == *kind,
        };
        self.providers.iter().find(is_it)?.address_variables().into_iter().next()
    }

    /// Every model, by provider and model.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The models of a provider; empty if there is none of this id.
    pub fn models_of(&self, provider: &str) -> &[Model] {
        let begin = self.models.partition_point(|model| model.provider.as_str() < provider);
        let end = self.models.partition_point(|model| model.provider.as_str() <= provider);
        &self.models[begin..end]
    }

    /// The model that a provider knows by this name.
    pub fn model(&self, provider: &str, model: &str) -> Option<&Model> {
        let index = self.models.binary_search_by(|found| key_of(found).cmp(&(provider, model))).ok()?;
        self.models.get(index)
    }

    /// The models with this bare name, of all providers.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Model> {
        self.named.get(name).into_iter().flatten().filter_map(|index| self.models.get(*index))
    }

    /// All bare names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// The bare name behind an alias.
    pub fn aliased(&self, alias: &str) -> Option<&str> {
        self.aliases.get(alias).map(String::as_str)
    }

    /// All aliases, with the bare names behind them.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.aliases.iter().map(|(alias, name)| (alias.as_str(), name.as_str()))
    }

    /// The models that a user means by `PROVIDER/MODEL`, a bare name, an alias, or the name that a provider knows.
    pub fn meant(&self, asked: &str) -> Vec<&Model> {
        let one_of_provider = asked.split_once('/').and_then(|(provider, model)| self.model(provider, model));
        if let Some(model) = one_of_provider {
            return vec![model];
        }
        let named: Vec<&Model> = self.named(self.aliased(asked).unwrap_or(asked)).collect();
        if !named.is_empty() {
            return named;
        }
        self.models.iter().filter(|model| model.model == asked).collect()
    }
}

/// The words of an error, which repeat the document: escaped and shortened, with the line and the column.
fn in_one_line(error: &serde_json::Error) -> String {
    const CHARS_MAX: usize = 300;
    let (words, place) = (error.to_string(), format!(" at line {} column {}", error.line(), error.column()));
    let escaped = |character: char| -> String {
        if character.is_control() { character.escape_default().collect() } else { character.into() }
    };
    let words: String = words.trim_end_matches(&place).chars().take(CHARS_MAX).map(escaped).collect();
    words + &place
}

fn key_of(model: &Model) -> (&str, &str) {
    (&model.provider, &model.model)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
