//! Whether a model of the catalogue appears by itself once its provider's variable is set; and if not, why.

use built_in_catalogue::{Catalogue, Mode, Model, Price};
use chrono::NaiveDate;
use dialects::{Api, ProviderKind, provider_dialects};
use events::money::GivenRates;

/// Whether a model appears by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability<'a> {
    /// Once its provider's variable is set, and, if the account has deployments, one is of this model.
    Offered,
    Retired {
        on: NaiveDate,
        successor: Option<&'a str>,
    },
    /// Its provider serves it only through an API that the gateway does not call.
    ResponsesOnly,
    /// No known price covers all that its provider charges for it.
    NoPrice,
    /// No variable names its provider, or the gateway cannot call it there.
    NotCalled,
}

/// Whether the model appears by itself on this day, in some region.
pub fn availability<'a>(catalogue: &Catalogue, model: &'a Model, today: NaiveDate) -> Availability<'a> {
    let provider = catalogue.provider(&model.provider).filter(|provider| !provider.key_variables.is_empty());
    let Some(kind) = provider.and_then(|provider| ProviderKind::named(&provider.kind)) else {
        return Availability::NotCalled;
    };
    if let Some(on) = model.deprecated_on.filter(|_| model.is_retired(today)) {
        return Availability::Retired { on, successor: model.successor.as_deref() };
    }
    match terms(kind, model, model.price.iter().chain(model.regional_prices.values())) {
        Ok(_) => Availability::Offered,
        Err(why_not) => why_not,
    }
}

/// The API by which the gateway calls the model at a provider of this kind, and the first of these prices that is its whole
/// one.
///
/// Errors: why the model is not offered.
pub fn terms<'a>(
    kind: ProviderKind,
    model: &Model,
    prices: impl IntoIterator<Item = &'a Price>,
) -> Result<(Api, GivenRates), Availability<'static>> {
    let api = match model.mode {
        Mode::Chat | Mode::Completion => Api::Chat,
        Mode::Embedding => Api::Embeddings,
        Mode::Responses => return Err(Availability::ResponsesOnly),
    };
    if !provider_dialects::for_model(kind, &model.model).has(api) {
        return Err(Availability::NotCalled);
    }
    let mut whole = prices.into_iter().filter(|price| model.is_whole(price));
    let rates = whole.find_map(|price| price.given().ok()).ok_or(Availability::NoPrice)?;
    Ok((api, rates))
}
