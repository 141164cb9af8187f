//! The providers that the environment named at the start, and the catalogue that says what they offer.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

use built_in_catalogue::{Capability, Catalogue, InForce, Model};
use events::event::admin::{Provider, StatedFacts};
use secrets::EnvironmentKeys;

use super::catalogued;
use super::detection::{self, Detected, DetectionSettings, EnvironmentFault};

/// The providers that the environment names, and the catalogue that knows what they offer.
pub struct NamedProviders {
    pub(super) detected: Detected,
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

    /// Returns this catalogue's entry for the model behind the name that a provider from the environment has for it.
    pub fn described<'a>(&self, catalogue: &'a Catalogue, provider: &Provider, backend: &str) -> Option<&'a Model> {
        catalogued::described(catalogue, &self.detected.providers, provider, backend)
    }

    /// Returns this catalogue's entry for the model behind a provider's name for it, whoever added the provider.
    pub fn model_behind<'a>(&self, catalogue: &'a Catalogue, provider: &Provider, backend: &str) -> Option<&'a Model> {
        self.described(catalogue, provider, backend).or_else(|| catalogued::at_address(catalogue, provider, backend))
    }

    /// Returns the capabilities of the model behind a provider's name for it; `None` if the catalogue does not know the
    /// model.
    pub fn capabilities(&self, provider: &Provider, backend: &str) -> Option<Vec<&'static str>> {
        let catalogue = self.catalogue();
        let model = self.model_behind(&catalogue, provider, backend)?;
        Some(model.capabilities.iter().copied().map(Capability::as_str).collect())
    }

    /// Returns the facts that the catalogue states of the model behind a provider's name for it.
    pub fn stated_facts(&self, provider: &Provider, backend: &str) -> StatedFacts {
        let catalogue = self.catalogue();
        self.model_behind(&catalogue, provider, backend).map_or(StatedFacts::UNKNOWN, Model::stated_facts)
    }

    /// The catalogue that offers are made from now.
    pub fn catalogue(&self) -> Arc<Cow<'static, Catalogue>> {
        Arc::clone(&self.catalogue.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes offers from another catalogue from now on. The providers stay those that were found at the start.
    pub(super) fn take(&self, newer: Arc<Cow<'static, Catalogue>>) {
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = newer;
    }
}
