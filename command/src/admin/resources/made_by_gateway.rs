//! Resources that the gateway made itself, from its environment, its catalogue, or what local servers have. Commands neither change nor
//! end them: the next start, or the next look at a server, would undo that.
//! They claim no names of models, and yield to resources that commands created.

use std::collections::BTreeSet;

use built_in_catalogue::Catalogue;
use events::event::admin::{Model, Origin, Price, Provider};
use events::ids::ProviderId;
use openapi::schema;
use projections::tables::Tables;

use crate::admin::declaration::{Member, replied};
use crate::admin::error::CommandError;

/// The field that tells what made a resource.
pub fn origin(meaning: &str) -> Member {
    replied("origin", schema::nullable(schema::one_of(Origin::words()))).meaning(meaning)
}

/// Advice about settings that a provider made by the gateway cannot have.
const OWN_PROVIDER: &str = "add a provider of your own: POST /v1/admin/providers";

/// Errors: the gateway made the provider, which has the one key of its variable.
pub fn refuse_provider_key(provider: &Provider) -> Result<(), CommandError> {
    let Some(variable) = variable_of(provider) else { return Ok(()) };
    let reason = format!(
        "the gateway made this provider from the variable {variable} of its environment, and it has no other keys: to use \
         several, {OWN_PROVIDER}"
    );
    Err(CommandError::MadeByGateway { reason })
}

/// Errors: the gateway made the provider.
pub fn refuse_provider(provider: &Provider) -> Result<(), CommandError> {
    let reason = match (provider.origin, &provider.key_variable) {
        (None, _) => return Ok(()),
        (Some(_), Some(variable)) => format!(
            "the gateway made this provider from the variable {variable} of its environment: to change or remove it, change \
             or unset the variable and start the gateway again. For other settings, such as allowed_fields and timeouts, {OWN_PROVIDER}"
        ),
        (Some(_), None) => {
            let address = provider.base_url.as_deref().unwrap_or_default();
            let variable = address_variable(provider);
            let variable = variable.as_deref().unwrap_or("a variable");
            format!(
                "the gateway made this provider because {variable} names it, or because a server answered at {address}: \
                 unset the variable, if it is set, and stop the server: it ends ten minutes after the next start. Or set \
                 LEDGERWAY_PROVIDERS_FROM_ENV=off. For other settings, {OWN_PROVIDER}"
            )
        }
    };
    Err(CommandError::MadeByGateway { reason })
}

/// Errors: the gateway made the model.
pub fn refuse_model(model: &Model, tables: &Tables) -> Result<(), CommandError> {
    if model.origin.is_none() {
        return Ok(());
    }
    let sources: BTreeSet<_> = model.targets.iter().map(|target| source(target.provider_id, tables)).collect();
    let sources: Vec<_> = sources.into_iter().collect();
    let reason = format!(
        "the gateway made this model, from {}: create a model of the same name, which takes precedence over it",
        sources.join(" and from ")
    );
    Err(CommandError::MadeByGateway { reason })
}

/// Errors: the gateway made the price.
pub fn refuse_price(price: &Price, tables: &Tables) -> Result<(), CommandError> {
    if price.origin.is_none() {
        return Ok(());
    }
    let reason = format!(
        "the gateway made this price, from {}: create a price of the same provider and model, which takes precedence over it",
        source(price.provider_id, tables)
    );
    Err(CommandError::MadeByGateway { reason })
}

/// Where the resources of a provider come from.
fn source(provider: ProviderId, tables: &Tables) -> String {
    let Some(provider) = tables.provider(provider) else { return "a provider that is gone".to_owned() };
    match variable_of(&provider.value) {
        Some(variable) => format!("the variable {variable} of its environment"),
        None => format!("the server of the provider {}", provider.value.name),
    }
}

fn variable_of(provider: &Provider) -> Option<String> {
    provider.origin?;
    provider.key_variable.clone().or_else(|| address_variable(provider))
}

/// The variable that names the server of a provider without a key. The log has no record of it, so it is looked up among those
/// of this version.
fn address_variable(provider: &Provider) -> Option<String> {
    Catalogue::shipped().address_variable(&provider.kind, None)
}
