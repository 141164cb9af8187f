//! The model that the start proposes for a first request.

use built_in_catalogue::{Capability, Catalogue, Mode};
use events::event::admin::Model;
use events::money::NanoUsd;
use events::terms::Requirements;
use events::usage::TokenClasses;
use projections::tables::Tables;

use super::Environment;

/// Aliases of the catalogue that always stand for a newer model, the best known first.
const ALIASES: [&str; 3] = ["gpt", "claude", "gemini"];
/// A small request, by which models are compared.
const TOKENS: u64 = 100;

impl Environment {
    /// A model for all tenants that a command in a shell can name and that needs no cap: an alias of the catalogue; otherwise the
    /// cheapest chat model of the catalogue that calls tools and is not deprecated; otherwise the first one by name.
    pub fn model_to_try(&self) -> Option<String> {
        let tables = self.parts.tables.load();
        let models = tables.models_for(None).into_iter().map(|entry| &*entry.value);
        let models: Vec<&Model> = models.filter(|model| is_plain(&model.name) && answers(model)).collect();
        let has = |name: &&str| models.iter().any(|model| model.name == **name);
        let catalogue = self.named.as_ref().map(|named| named.catalogue());
        let aliases =
            ALIASES.into_iter().filter(|alias| catalogue.as_ref().is_some_and(|c| c.aliased(alias).is_some()));
        let cheapest = || self.cheapest(catalogue.as_ref()?.as_ref(), &models, &tables);
        let found = aliases.into_iter().find(has).or_else(cheapest);
        found.or_else(|| models.iter().map(|model| model.name.as_str()).min_by_key(by_name)).map(str::to_owned)
    }

    fn cheapest<'a>(&self, catalogue: &Catalogue, models: &[&'a Model], tables: &'a Tables) -> Option<&'a str> {
        let named = self.named.as_ref()?;
        let now = self.parts.clock.now();
        let costs = models.iter().filter_map(|model| {
            let (target, offer) = tables.first_offer(None, model, now, Requirements::NONE)?;
            let known = named.described(catalogue, offer.provider, &target.model)?;
            let is_good = known.mode == Mode::Chat
                && known.capabilities.contains(&Capability::Tools)
                && known.deprecated_on.is_none();
            let used =
                TokenClasses { input_uncached_tokens: TOKENS, output_text_tokens: TOKENS, ..TokenClasses::default() };
            let cost: NanoUsd = offer.price.value.tariff.cost(&used, None).filter(|_| is_good)?;
            Some((cost, model.name.as_str()))
        });
        costs.min_by_key(|(cost, name)| (*cost, by_name(name))).map(|(_, name)| name)
    }
}

/// A bare name comes first.
fn by_name<'a>(name: &&'a str) -> (bool, &'a str) {
    (name.contains('/'), *name)
}

/// True for a name that a shell needs no quotes for.
fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || "-._:/@".contains(c))
}

/// A model for embeddings has no default cap.
fn answers(model: &Model) -> bool {
    model.targets.iter().any(|target| target.default_max_output_tokens.is_some())
}
