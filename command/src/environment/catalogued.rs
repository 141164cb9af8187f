//! The catalogue's entries for the providers that the environment names: their variables, and the models that they
//! offer.

use std::collections::BTreeMap;

use built_in_catalogue::{Catalogue, Model, Price};
use chrono::NaiveDate;
use dialects::{Api, ProviderKind, Server};
use events::event::admin::{Origin, Provider, StatedWindow};

use super::availability::terms;
use super::detection::{DEPLOYMENTS_VARIABLE, Detected, KnownProvider};
use super::found_provider::FoundProvider;
use super::offer::{Offer, default_cap};
use crate::admin::base_url;

/// The geography of inference profiles that serve a model in any commercial region.
const ANYWHERE: &str = "global";

/// The providers that variables can name, as far as this version can call them.
pub fn known_providers(catalogue: &Catalogue) -> Vec<KnownProvider> {
    catalogue.providers().iter().filter_map(known_provider).collect()
}

fn known_provider(provider: &built_in_catalogue::Provider) -> Option<KnownProvider> {
    let has_variable = !provider.key_variables.is_empty() || provider.local;
    let kind = ProviderKind::named(&provider.kind).filter(|_| has_variable)?;
    Some(KnownProvider {
        id: provider.id.clone(),
        kind,
        server: provider.server.as_ref().and_then(|name| name.find(Server::NAMED)),
        base_url: provider.base_url.as_ref().or(provider.base_url_template.as_ref()).cloned(),
        key_variables: provider.key_variables.clone(),
        access_key: provider.access_key_variables.clone(),
        base_url_variables: provider.address_variables(),
        region_variables: provider.region_variables.clone(),
        api_version_variables: provider.api_version_variable.iter().cloned().collect(),
        header_variables: provider.header_variables.clone(),
        is_local: provider.local,
    })
}

/// The local provider at its usual address, if the environment does not name one.
pub fn unnamed_local(catalogue: &Catalogue, detected: &Detected) -> Option<FoundProvider> {
    let known = known_providers(catalogue).into_iter().find(|known| known.is_local)?;
    let is_named = detected.providers.iter().any(|found| found.id == known.id);
    known.base_url.filter(|_| !is_named).map(|base_url| FoundProvider {
        id: known.id,
        kind: known.kind,
        server: known.server,
        base_url,
        has_own_address: false,
        is_private: true,
        key_variable: None,
        key: None,
        key_variables: known.key_variables,
        region: None,
        api_version: None,
        headers: BTreeMap::new(),
        deployments: None,
    })
}

/// The models that the provider offers on this day, and a note for each deployment that cannot be one.
pub fn offers(catalogue: &Catalogue, found: &FoundProvider, today: NaiveDate) -> (Vec<Offer>, Vec<String>) {
    let Some(deployments) = &found.deployments else {
        let models = catalogue.models_of(&found.id).iter();
        let served = models.filter(|model| !model.is_retired(today) && is_served_in(model, found.region.as_deref()));
        let offered = served.filter_map(|model| {
            let price = found.region.as_deref().map_or(model.price.as_ref(), |region| model.price_in(region));
            offer(catalogue, found, model, price)
        });
        return (offered.collect(), Vec::new());
    };
    let (mut offers, mut notes) = (Vec::new(), Vec::new());
    for deployment in deployments {
        let offered = model_of(catalogue, &found.id, &deployment.model).and_then(|model| {
            // A zone costs more than none: where its price is not known, the other one would be too low.
            let price = deployment.zone.map_or(model.price.as_ref(), |zone| model.regional_prices.get(zone));
            offer(catalogue, found, model, price)
        });
        match offered {
            Some(offer) => {
                let (backend, name) = (deployment.name.clone(), deployment.model.clone());
                offers.push(Offer { backend, name, ..offer });
            }
            None => notes.push(format!(
                "{DEPLOYMENTS_VARIABLE} has {}{}, which the catalogue has no price of that is exact here: create a price and a model",
                deployment.model,
                deployment.zone.map(|zone| format!("@{zone}")).unwrap_or_default()
            )),
        }
    }
    (offers, notes)
}

/// Returns the catalogue's entry for the model behind a provider's name for it.
pub fn described<'a>(
    catalogue: &'a Catalogue,
    found: &[FoundProvider],
    provider: &Provider,
    backend: &str,
) -> Option<&'a Model> {
    let found = found.iter().find(|found| found.made(provider))?;
    let deployed = found.deployments.as_ref().and_then(|all| all.iter().find(|deployment| deployment.name == backend));
    model_of(catalogue, &found.id, deployed.map_or(backend, |deployment| &deployment.model))
}

/// Returns the catalogue's entry for a model of the provider at this address, whoever added the provider. `None` if the
/// address is not that of a provider of the catalogue.
pub fn at_address<'a>(catalogue: &'a Catalogue, provider: &Provider, backend: &str) -> Option<&'a Model> {
    let base_url = provider.base_url.as_deref()?;
    let is_it = |known: &&built_in_catalogue::Provider| {
        let own = known.base_url.as_deref().filter(|_| !known.local && known.kind == provider.kind);
        own.is_some_and(|own| base_url::same_origin(own, base_url))
    };
    let known = catalogue.providers().iter().find(is_it)?;
    model_of(catalogue, &known.id, backend)
}

/// The provider's model of this name, or of this bare name.
fn model_of<'a>(catalogue: &'a Catalogue, provider: &str, name: &str) -> Option<&'a Model> {
    let by_bare_name = || catalogue.named(name).find(|model| model.provider == provider);
    catalogue.model(provider, name).or_else(by_bare_name)
}

/// The model as an offer; `None` if it has no API that the gateway calls, or no price that is its whole
/// one.
fn offer(catalogue: &Catalogue, found: &FoundProvider, model: &Model, price: Option<&Price>) -> Option<Offer> {
    let (api, rates) = terms(found.kind, model, price).ok()?;
    let has_output = api == Api::Chat;
    let (context_window, max_output_tokens) =
        (model.context_window.map(u64::from), model.max_output_tokens.map(u64::from));
    let reasons = model.capabilities.contains(&built_in_catalogue::Capability::Reasoning);
    // A bare name stays where the region is: what may be served anywhere has to be asked for by its full name.
    let bare = model.name.as_deref().filter(|_| model.geography.as_deref() != Some(ANYWHERE));
    let aliases = catalogue.aliases().filter(|(_, name)| Some(*name) == bare).map(|(alias, _)| alias);
    Some(Offer {
        backend: model.model.clone(),
        name: model.model.clone(),
        bare_names: bare.into_iter().chain(aliases).map(str::to_owned).collect(),
        window: StatedWindow { tokens: context_window, counts_output: model.facts.window_counts_output },
        max_output_tokens: max_output_tokens.filter(|_| has_output),
        default_max_output_tokens: has_output.then(|| default_cap(context_window, max_output_tokens, reasons)),
        facts: model.stated_facts(),
        rates,
        origin: Origin::Catalogue,
    })
}

/// True if the model is served in the region: a model of an inference profile is served where the profile is.
fn is_served_in(model: &Model, region: Option<&str>) -> bool {
    let Some(geography) = model.geography.as_deref() else { return true };
    let begins =
        |prefixes: &[&str]| region.is_some_and(|region| prefixes.iter().any(|prefix| region.starts_with(prefix)));
    let is_apart = begins(&["us-gov-", "cn-"]);
    match geography {
        ANYWHERE => !is_apart,
        "us" => begins(&["us-"]) && !is_apart,
        "us-gov" => begins(&["us-gov-"]),
        "eu" => begins(&["eu-"]),
        "apac" => begins(&["ap-"]),
        "jp" => begins(&["ap-northeast-1", "ap-northeast-3"]),
        "au" => begins(&["ap-southeast-2", "ap-southeast-4"]),
        "in" => begins(&["ap-south-"]),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
