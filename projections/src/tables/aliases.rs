//! Which model a name means at a time: one with targets, or an alias, which stands for another model.

use chrono::{DateTime, Utc};
use events::event::admin::{Model, Retirement};
use events::ids::TenantId;
use events::refusal::{ErrorCode, Refusal};

use super::{Entry, Tables, model_not_found, model_retired};

/// The model that a client has named, and the one that serves.
#[derive(Clone, Copy, Debug)]
pub struct NamedModel<'a> {
    pub named: &'a Entry<Model>,
    /// The model with targets: the named one, unless that is an alias.
    pub serving: &'a Entry<Model>,
}

impl<'a> NamedModel<'a> {
    /// The alias, if that was named.
    pub fn alias(&self) -> Option<&'a Entry<Model>> {
        (!self.named.value.alias.is_empty()).then_some(self.named)
    }

    /// The ends of the lives of both, by each of which a request is refused.
    pub fn retirements(&self) -> impl Iterator<Item = &'a Retirement> {
        let of_serving = self.alias().map(|_| &self.serving.value.retirement);
        [&self.named.value.retirement].into_iter().chain(of_serving)
    }

    /// The end of its life as clients are told it: the dates of the alias, or if it has none, those of the model that it stands for.
    pub fn retirement(&self) -> &'a Retirement {
        let own = &self.named.value.retirement;
        if own.has_dates() { own } else { &self.serving.value.retirement }
    }

    /// Errors: `MODEL_NOT_FOUND` if the model, or the one that it stands for, is retired.
    pub fn require_not_retired(self, now: DateTime<Utc>) -> Result<Self, Refusal> {
        if let Some(since) = self.named.value.retirement.retired_since(now) {
            return Err(model_retired(&self.named.value, since));
        }
        let serving = &self.serving.value;
        match serving.retirement.retired_since(now) {
            Some(since) => Err(stands_for_retired(&self.named.value.name, serving, since)),
            None => Ok(self),
        }
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
        self.resolve_alias(named, now).ok_or_else(|| alias_of_nothing(&named.value, now))
    }

    /// Resolves a live model at a time: to itself, or for an alias to another one; `None` if there is no such model with targets. An alias
    /// names models as its owner sees them.
    pub fn resolve_alias<'a>(&'a self, named: &'a Entry<Model>, now: DateTime<Utc>) -> Option<NamedModel<'a>> {
        let Some(name) = named.value.alias.stands_for(now) else { return Some(NamedModel { named, serving: named }) };
        let serving = self.route(named.value.tenant_id, name).filter(|entry| entry.value.alias.is_empty())?;
        Some(NamedModel { named, serving })
    }
}

/// A 404 for an alias of a model that answered until then.
fn stands_for_retired(alias: &str, serving: &Model, since: DateTime<Utc>) -> Refusal {
    let refusal = model_retired(serving, since);
    let message = format!("the model {alias} stands for {}: {}", serving.name, refusal.message);
    Refusal { message, ..refusal }.with("model", alias).with("stands_for", &*serving.name)
}

fn alias_of_nothing(alias: &Model, now: DateTime<Utc>) -> Refusal {
    let (name, stands_for) = (&alias.name, alias.alias.stands_for(now).unwrap_or_default());
    let message = format!("the model {name} stands for {stands_for}, and there is no model with targets of that name");
    Refusal::new(ErrorCode::ModelNotFound, message).with("model", &**name).with("stands_for", stands_for)
}
