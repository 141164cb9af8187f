//! The check of references: the versions of models, keys and prices that requests name by log position.

use std::collections::HashMap;

use crate::event::admin::Price;
use crate::event::inference::InferenceAdmitted;
use crate::event::{Change, Recorded, Resource};
use crate::ids::KeyId;

/// All versions that a request can name, by the position at which they were recorded.
#[derive(Default)]
pub(super) struct References {
    /// The frontend names of models.
    models: HashMap<u64, String>,
    keys: HashMap<u64, KeyId>,
    prices: HashMap<u64, Box<Price>>,
}

impl References {
    pub(super) fn record(&mut self, position: u64, fact: &Resource) {
        match fact {
            Resource::Model(Change::Created(model) | Change::Changed(model)) => {
                self.models.insert(position, model.name.clone());
            }
            Resource::Key(Change::Created(key) | Change::Changed(key)) => {
                self.keys.insert(position, key.key_id);
            }
            Resource::KeyRotated(rotated) => {
                self.keys.insert(position, rotated.key_id);
            }
            Resource::Price(Change::Created(price) | Change::Changed(price)) => {
                self.prices.insert(position, price.clone());
            }
            _ => {}
        }
    }

    pub(super) fn price(&self, version: u64) -> Result<&Price, String> {
        self.prices.get(&version).map(AsRef::as_ref).ok_or_else(|| format!("there is no price at position {version}"))
    }

    /// The versions that an admission names exist, match its model, key and targets, and are in force.
    pub(super) fn must_fit(&self, recorded: &Recorded, admitted: &InferenceAdmitted) -> Result<(), String> {
        let versions = &admitted.versions;
        let stood_for = admitted.route.as_ref().and_then(|route| route.stands_for.as_ref());
        if versions.alias.is_some() != stood_for.is_some() {
            return Err(
                "it names the version of an alias without the model that this stood for, or the other way round"
                    .to_owned(),
            );
        }
        let named = [versions.alias.map(|version| (version, &admitted.model))];
        let served = (versions.model, stood_for.unwrap_or(&admitted.model));
        for (version, name) in named.into_iter().flatten().chain([served]) {
            if self.models.get(&version) != Some(name) {
                return Err(format!("there is no model {name} at position {version}"));
            }
        }
        self.key_and_prices_must_fit(recorded, admitted)
    }

    /// Its key and its prices exist, match and are in force.
    pub(super) fn key_and_prices_must_fit(
        &self,
        recorded: &Recorded,
        admitted: &InferenceAdmitted,
    ) -> Result<(), String> {
        let versions = &admitted.versions;
        let key = versions.key.map(|version| self.keys.get(&version).copied());
        if key != recorded.context.key_id.map(Some) {
            return Err(format!("its key's version {:?} is not one of its key", versions.key));
        }
        if versions.prices.is_empty() {
            return Err("it was admitted without a price".to_owned());
        }
        for (target, version) in &versions.prices {
            let price = self.price(*version)?;
            if format!("{}/{}", price.provider_id, price.model) != *target {
                return Err(format!("the price at position {version} is not one of {target}"));
            }
            if price.effective_from > recorded.recorded_at {
                return Err(format!("the price at position {version} is not in force yet"));
            }
        }
        Ok(())
    }
}
