//! The check of references: the versions of models, keys, prices and teams that requests name by log position.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use events::decision_time::may_have_known;
use events::event::admin::{Model, Price, Target};
use events::event::inference::{InferenceAdmitted, InferenceRefused};
use events::event::{Change, Recorded, Resource, TeamVersions};
use events::ids::{KeyId, ModelId, target_key};
use events::refusal::ErrorCode;

use super::memberships::Memberships;

/// All versions that a request can name, by the position at which they were recorded.
#[derive(Default)]
pub(super) struct References {
    models: HashMap<u64, ModelVersion>,
    /// Those of them that are in force.
    newest_models: HashMap<ModelId, u64>,
    keys: HashMap<u64, KeyId>,
    prices: HashMap<u64, Box<Price>>,
    /// Those of them that a tenant set for its own provider.
    own_prices: HashSet<u64>,
    memberships: Memberships,
}

/// A version of a model.
struct ModelVersion {
    /// The frontend name.
    name: String,
    /// The backends of which it states terms, if all tenants share it.
    stated: BTreeSet<String>,
    /// When the next version was recorded, or its end.
    replaced_at: Option<DateTime<Utc>>,
}

/// The backends of which a model that all tenants share states terms: those of a tenant's model count for its own providers alone.
fn stated_backends(model: &Model) -> BTreeSet<String> {
    let stating = model.targets.iter().filter(|target| model.tenant_id.is_none() && !target.terms.is_empty());
    stating.map(Target::key).collect()
}

impl ModelVersion {
    fn must_be_in_force(&self, recorded: &Recorded, version: u64) -> Result<(), String> {
        match self.replaced_at {
            Some(at) if !may_have_known(at, recorded.recorded_at) => {
                Err(format!("the model {} at position {version} was no longer in force", self.name))
            }
            _ => Ok(()),
        }
    }
}

impl References {
    pub(super) fn record(&mut self, recorded: &Recorded, fact: &Resource) {
        let position = recorded.position;
        match fact {
            Resource::Team(change) => self.memberships.record(recorded, change),
            Resource::Model(change) => self.record_model(recorded, change),
            Resource::Key(Change::Created(key) | Change::Changed(key)) => {
                self.keys.insert(position, key.key_id);
            }
            Resource::KeyRotated(rotated) => {
                self.keys.insert(position, rotated.key_id);
            }
            Resource::Price(Change::Created(price) | Change::Changed(price)) => {
                self.prices.insert(position, price.clone());
                if recorded.context.tenant_id.is_some() {
                    self.own_prices.insert(position);
                }
            }
            _ => {}
        }
    }

    fn record_model(&mut self, recorded: &Recorded, change: &Change<Model>) {
        let replaced = match change.state() {
            Some(_) => self.newest_models.insert(change.id(), recorded.position),
            None => self.newest_models.remove(&change.id()),
        };
        if let Some(replaced) = replaced.and_then(|version| self.models.get_mut(&version)) {
            replaced.replaced_at = Some(recorded.recorded_at);
        }
        if let Some(model) = change.state() {
            let (name, stated) = (model.name.clone(), stated_backends(model));
            self.models.insert(recorded.position, ModelVersion { name, stated, replaced_at: None });
        }
    }

    /// Errors: there is no version of a model of this name at that position, or another one was in force when the request was planned.
    fn model_must_fit(&self, recorded: &Recorded, version: u64, name: &str) -> Result<(), String> {
        let named = self.models.get(&version).filter(|model| model.name == name);
        let named = named.ok_or_else(|| format!("there is no model {name} at position {version}"))?;
        named.must_be_in_force(recorded, version)
    }

    /// Errors: a version that is named for stating the terms of a target is not that of a shared model, does not state any of it, or another
    /// one was in force when the request was planned.
    fn terms_must_be_stated(&self, recorded: &Recorded, admitted: &InferenceAdmitted) -> Result<(), String> {
        let Some(terms) = admitted.route.as_ref().and_then(|route| route.terms.as_ref()) else { return Ok(()) };
        for (backend, versions) in &terms.stated_by {
            for version in versions {
                let stating = self.models.get(version).filter(|model| model.stated.contains(backend));
                let stating = stating.ok_or_else(|| {
                    format!("no model that all tenants share states the terms of {backend} at position {version}")
                })?;
                stating.must_be_in_force(recorded, *version)?;
            }
        }
        Ok(())
    }

    pub(super) fn price(&self, version: u64) -> Result<&Price, String> {
        self.prices.get(&version).map(AsRef::as_ref).ok_or_else(|| format!("there is no price at position {version}"))
    }

    /// Whether the version that an admission names for a backend, as `provider_id/model`, is the price of its tenant's own provider.
    pub(super) fn is_own(&self, admitted: &InferenceAdmitted, backend: &str) -> bool {
        admitted.versions.prices.get(backend).is_some_and(|version| self.own_prices.contains(version))
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
            self.model_must_fit(recorded, version, name)?;
        }
        self.terms_must_be_stated(recorded, admitted)?;
        self.parties_and_prices_must_fit(recorded, admitted)
    }

    /// Its key, its teams and its prices exist, match and are in force.
    pub(super) fn parties_and_prices_must_fit(
        &self,
        recorded: &Recorded,
        admitted: &InferenceAdmitted,
    ) -> Result<(), String> {
        let versions = &admitted.versions;
        let key = versions.key.map(|version| self.keys.get(&version).copied());
        if key != recorded.context.key_id.map(Some) {
            return Err(format!("its key's version {:?} is not one of its key", versions.key));
        }
        self.memberships.must_be(recorded, &versions.teams)?;
        if versions.prices.is_empty() {
            return Err("it was admitted without a price".to_owned());
        }
        for (target, version) in &versions.prices {
            let price = self.price(*version)?;
            if target_key(price.provider_id, &price.model) != *target {
                return Err(format!("the price at position {version} is not one of {target}"));
            }
            if price.effective_from > recorded.recorded_at {
                return Err(format!("the price at position {version} is not in force yet"));
            }
        }
        Ok(())
    }

    /// Checks the teams that a refusal by a budget records. The check of a whole log does not call it: a count of refusals may wait for as
    /// long as the log cannot be written.
    pub(super) fn teams_of_refused_must_fit(
        &self,
        recorded: &Recorded,
        refused: &InferenceRefused,
    ) -> Result<(), String> {
        if refused.code != ErrorCode::BudgetExceeded {
            return Ok(());
        }
        let none = TeamVersions::new();
        let teams = refused.scoped_by.as_deref().map_or(&none, |scoped_by| &scoped_by.teams);
        self.memberships.must_be(recorded, teams)
    }
}
