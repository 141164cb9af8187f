//! Which model a name means at a time: one with targets, or an alias, which stands for another model.

use chrono::{DateTime, Utc};
use events::event::admin::Model;
use events::ids::TenantId;
use events::refusal::{ErrorCode, Refusal};

use super::{Entry, Tables, model_not_found, model_retired};

/// The model that a client has named, and the one that serves.
#[derive(Clone, Copy, Debug)]
pub struct NamedModel<'a> {
    pub named: &'a Entry<Model>,
    /// It has targets. The named one, unless that is an alias.
    pub serving: &'a Entry<Model>,
}

impl<'a> NamedModel<'a> {
    /// The alias, if that was named.
    pub fn alias(&self) -> Option<&'a Entry<Model>> {
        (!self.named.value.alias.is_empty()).then_some(self.named)
    }

    /// Errors: `MODEL_NOT_FOUND` if the model, or the one that it stands for, is retired.
    pub fn require_in_service(self, now: DateTime<Utc>) -> Result<Self, Refusal> {
        for entry in [self.named, self.serving] {
            if let Some(since) = entry.value.retirement.retired_since(now) {
                return Err(model_retired(&entry.value, since));
            }
        }
        Ok(self)
    }
}

impl Tables {
    /// The live model with this name for a client of `tenant`, and the one that it stands for at a time.
    ///
    /// Errors: `MODEL_NOT_FOUND`.
    pub fn named_model(
        &self,
        tenant: Option<TenantId>,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<NamedModel<'_>, Refusal> {
        let named = self.route(tenant, name).ok_or_else(|| model_not_found(name))?;
        self.behind(named, now).ok_or_else(|| alias_of_nothing(&named.value, now))
    }

    /// What a live model stands for at a time: itself, or for an alias another one; `None` if there is no such model with targets. An alias
    /// names models as its owner sees them.
    pub fn behind<'a>(&'a self, named: &'a Entry<Model>, now: DateTime<Utc>) -> Option<NamedModel<'a>> {
        let Some(name) = named.value.alias.stands_for(now) else { return Some(NamedModel { named, serving: named }) };
        let serving = self.route(named.value.tenant_id, name).filter(|entry| entry.value.alias.is_empty())?;
        Some(NamedModel { named, serving })
    }
}

fn alias_of_nothing(alias: &Model, now: DateTime<Utc>) -> Refusal {
    let (name, stands_for) = (&alias.name, alias.alias.stands_for(now).unwrap_or_default());
    let message = format!("the model {name} stands for {stands_for}, and there is no model with targets of that name");
    Refusal::new(ErrorCode::ModelNotFound, message).with("model", &**name).with("stands_for", stands_for)
}
