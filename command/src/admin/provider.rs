//! An upstream. Its API key is sealed in a side table; the facts know only how often it was set.

use std::collections::{BTreeMap, BTreeSet};

use events::event::admin::{Ended, OutputCapField, Provider, ProviderKind};
use events::ids::ProviderId;

use crate::admin::base_url;
use crate::admin::fields::Patched;
use crate::admin::life::{Life, LifeError, admin_aggregate};
use crate::dialects::upstreams::{self, Transport};

/// What can be done to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderCommand {
    /// As it will stand in the log: `secret_generation` is 1 where it has an API key, else 0.
    CreateProvider(Provider),
    ChangeProvider(ChangeProvider),
    EndProvider,
}

/// `None` keeps what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeProvider {
    pub name: Option<String>,
    pub base_url: Option<String>,
    pub allow_private_network: Option<bool>,
    pub timeout_ms: Option<u64>,
    pub idle_timeout_ms: Option<u64>,
    pub headers: Option<BTreeMap<String, String>>,
    pub output_cap_field: Patched<OutputCapField>,
    pub allowed_fields: Option<BTreeSet<String>>,
    /// A new API key is sealed beside this, or the old one is dropped.
    pub new_secret: bool,
}

/// Why a command to a provider is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    #[error(transparent)]
    Life(#[from] LifeError),
    #[error("is missing: every kind but the simulator has an address")]
    BaseUrlMissing,
    #[error("the simulator has no address")]
    BaseUrlOfSimulator,
    #[error("the simulator needs no API key")]
    SecretOfSimulator,
    #[error(
        "is a private address, which needs \"allow_private_network\": true; link-local and metadata addresses are never called"
    )]
    AddressForbidden,
    #[error("must not end in {0}: the path of what is called is added to it")]
    AddressOverlaps(&'static str),
    #[error("is for kind openai alone: for anthropic a request is translated, and other fields are left out")]
    AllowedFieldsOfAnthropic,
    #[error(
        "is missing: its key is not sent to another scheme, host or port. Send api_key with base_url, or null to remove it"
    )]
    SecretOfAnotherOrigin,
    /// Four billion API keys.
    #[error("has no generation left")]
    GenerationsExhausted,
}

/// The generation of an API key that is set now.
pub fn next_generation(current: &Provider) -> Result<u32, ProviderError> {
    current.secret_generation.checked_add(1).ok_or(ProviderError::GenerationsExhausted)
}

impl ChangeProvider {
    fn over(self, current: &Provider) -> Result<Provider, ProviderError> {
        let output_cap_field = match self.output_cap_field {
            Patched::Kept => current.given_output_cap_field(),
            Patched::Removed => None,
            Patched::Set(field) => Some(field),
        };
        Ok(Provider {
            provider_id: current.provider_id,
            name: self.name.unwrap_or_else(|| current.name.clone()),
            kind: current.kind,
            base_url: self.base_url.or_else(|| current.base_url.clone()),
            tenant_id: current.tenant_id,
            allow_private_network: self.allow_private_network.unwrap_or(current.allow_private_network),
            timeout_ms: self.timeout_ms.unwrap_or(current.timeout_ms),
            idle_timeout_ms: self.idle_timeout_ms.unwrap_or(current.idle_timeout_ms),
            headers: self.headers.unwrap_or_else(|| current.headers.clone()),
            output_cap_field: output_cap_field.unwrap_or_default(),
            output_cap_field_given: output_cap_field.is_some(),
            allowed_fields: self.allowed_fields.unwrap_or_else(|| current.allowed_fields.clone()),
            secret_generation: if self.new_secret { next_generation(current)? } else { current.secret_generation },
        })
    }
}

admin_aggregate! {
    Provider, Provider, "provider", ProviderCommand, ProviderError,
    /// What can have happened to a provider.
    ProviderFact { ProviderCreated(Provider), ProviderChanged(Provider), ProviderEnded(Ended<ProviderId>) }
}

fn decide(life: &Life<Provider>, command: ProviderCommand) -> Result<Vec<ProviderFact>, ProviderError> {
    match command {
        ProviderCommand::CreateProvider(made) => {
            life.absent()?;
            fits(made.kind, made.base_url.as_deref())?;
            Ok(vec![ProviderFact::ProviderCreated(sound(made)?)])
        }
        ProviderCommand::ChangeProvider(change) => {
            let current = life.live()?;
            fits(current.kind, change.base_url.as_deref())?;
            keeps_its_secret_to_itself(current, &change)?;
            Ok(vec![ProviderFact::ProviderChanged(sound(change.over(current)?)?)])
        }
        ProviderCommand::EndProvider => {
            Ok(life.end(|state| ProviderFact::ProviderEnded(Ended { id: state.provider_id }))?)
        }
    }
}

/// An address that is given now. What was given before this was asked may stay as it is.
fn fits(kind: ProviderKind, given: Option<&str>) -> Result<(), ProviderError> {
    let endpoint = upstreams::of(kind).endpoint();
    match given.and_then(|address| endpoint?.wrong_end_of(address)) {
        Some(overlap) => Err(ProviderError::AddressOverlaps(overlap)),
        None => Ok(()),
    }
}

/// An API key is never shown: it must not be sent either to anyone it was not given for, whoever changes the address.
fn keeps_its_secret_to_itself(current: &Provider, change: &ChangeProvider) -> Result<(), ProviderError> {
    let Some(moved_to) = change.base_url.as_deref().filter(|_| current.secret_generation > 0 && !change.new_secret)
    else {
        return Ok(());
    };
    if current.base_url.as_deref().is_some_and(|current| base_url::same_origin(current, moved_to)) {
        return Ok(());
    }
    Err(ProviderError::SecretOfAnotherOrigin)
}

/// Rules over several fields, which hold after every command.
fn sound(provider: Provider) -> Result<Provider, ProviderError> {
    let upstream = upstreams::of(provider.kind);
    match (&upstream.transport, &provider.base_url) {
        (Transport::InProcess(_), Some(_)) => Err(ProviderError::BaseUrlOfSimulator),
        (Transport::InProcess(_), None) if provider.secret_generation > 0 => Err(ProviderError::SecretOfSimulator),
        (Transport::InProcess(_), None) => Ok(provider),
        (Transport::Http(_), None) => Err(ProviderError::BaseUrlMissing),
        (Transport::Http(_), Some(_)) if !provider.allowed_fields.is_empty() && !upstream.takes_allowed_fields => {
            Err(ProviderError::AllowedFieldsOfAnthropic)
        }
        (Transport::Http(_), Some(address)) => {
            if base_url::is_forbidden(address, provider.allow_private_network) {
                return Err(ProviderError::AddressForbidden);
            }
            Ok(provider)
        }
    }
}

fn evolve(life: &mut Life<Provider>, fact: ProviderFact) {
    match fact {
        ProviderFact::ProviderCreated(state) | ProviderFact::ProviderChanged(state) => *life = Life::Live(state),
        ProviderFact::ProviderEnded(_) => life.has_ended(),
    }
}

#[cfg(test)]
mod tests {
    use super::ProviderCommand::{ChangeProvider as Change, CreateProvider, EndProvider};
    use super::ProviderFact::{ProviderChanged, ProviderCreated, ProviderEnded};
    use super::*;
    use crate::admin::life::spec::id;

    fn openai(base_url: &str) -> Provider {
        Provider {
            provider_id: id(1),
            name: "o".into(),
            kind: ProviderKind::Openai,
            base_url: Some(base_url.into()),
            tenant_id: None,
            allow_private_network: false,
            timeout_ms: 120_000,
            idle_timeout_ms: 30_000,
            headers: BTreeMap::new(),
            output_cap_field: OutputCapField::MaxTokens,
            output_cap_field_given: false,
            allowed_fields: BTreeSet::new(),
            secret_generation: 1,
        }
    }

    fn simulator() -> Provider {
        Provider { kind: ProviderKind::Simulator, base_url: None, secret_generation: 0, ..openai("") }
    }

    const PUBLIC: &str = "https://api.example.com/v1";
    const PRIVATE: &str = "http://10.1.2.3";

    /// Holds: admin.provider-kinds
    #[test]
    fn a_provider_has_an_address_and_the_simulator_has_none() {
        given([]).when(CreateProvider(openai(PUBLIC))).then([ProviderCreated(openai(PUBLIC))]);
        given([]).when(CreateProvider(simulator())).then([ProviderCreated(simulator())]);
        let without = Provider { base_url: None, ..openai("") };
        given([]).when(CreateProvider(without)).then_refused(ProviderError::BaseUrlMissing);
        let with = Provider { base_url: Some(PUBLIC.into()), ..simulator() };
        given([]).when(CreateProvider(with)).then_refused(ProviderError::BaseUrlOfSimulator);
        let keyed = Provider { secret_generation: 1, ..simulator() };
        given([]).when(CreateProvider(keyed)).then_refused(ProviderError::SecretOfSimulator);
    }

    #[test]
    fn the_opt_in_for_private_addresses_cannot_be_taken_back_while_one_is_used() {
        given([]).when(CreateProvider(openai(PRIVATE))).then_refused(ProviderError::AddressForbidden);
        let private = Provider { allow_private_network: true, ..openai(PRIVATE) };
        given([]).when(CreateProvider(private.clone())).then([ProviderCreated(private.clone())]);
        let close = ChangeProvider { allow_private_network: Some(false), ..ChangeProvider::default() };
        given([ProviderCreated(private.clone())])
            .when(Change(close.clone()))
            .then_refused(ProviderError::AddressForbidden);
        let moved = ChangeProvider { base_url: Some(PUBLIC.into()), new_secret: true, ..close };
        let at_public = Provider { secret_generation: 2, ..openai(PUBLIC) };
        given([ProviderCreated(private)]).when(Change(moved)).then([ProviderChanged(at_public)]);
    }

    #[test]
    fn an_address_that_has_what_is_called_in_it_is_refused_when_it_is_given() {
        let whole = "https://api.example.com/v1/chat/completions";
        let refused = || ProviderError::AddressOverlaps("/chat/completions");
        given([]).when(CreateProvider(openai(whole))).then_refused(refused());
        let moved = ChangeProvider { base_url: Some(whole.into()), ..ChangeProvider::default() };
        given([ProviderCreated(openai(PUBLIC))]).when(Change(moved)).then_refused(refused());
        let renamed = ChangeProvider { name: Some("p".into()), ..ChangeProvider::default() };
        let earlier = Provider { name: "p".into(), ..openai(whole) };
        given([ProviderCreated(openai(whole))]).when(Change(renamed)).then([ProviderChanged(earlier)]);
    }

    #[test]
    fn fields_are_allowed_where_requests_are_passed_on_as_they_are() {
        let allowed_fields = BTreeSet::from(["provider".to_owned()]);
        let allow = ChangeProvider { allowed_fields: Some(allowed_fields.clone()), ..ChangeProvider::default() };
        let allowing = Provider { allowed_fields: allowed_fields.clone(), ..openai(PUBLIC) };
        given([ProviderCreated(openai(PUBLIC))]).when(Change(allow.clone())).then([ProviderChanged(allowing.clone())]);
        let renamed = ChangeProvider { name: Some("p".into()), ..ChangeProvider::default() };
        given([ProviderCreated(allowing.clone())])
            .when(Change(renamed))
            .then([ProviderChanged(Provider { name: "p".into(), ..allowing.clone() })]);
        let none = ChangeProvider { allowed_fields: Some(BTreeSet::new()), ..ChangeProvider::default() };
        given([ProviderCreated(allowing)]).when(Change(none)).then([ProviderChanged(openai(PUBLIC))]);
        let anthropic = Provider { kind: ProviderKind::Anthropic, ..openai("https://api.example.com") };
        given([ProviderCreated(anthropic.clone())])
            .when(Change(allow))
            .then_refused(ProviderError::AllowedFieldsOfAnthropic);
        let created = Provider { allowed_fields, ..anthropic };
        given([]).when(CreateProvider(created)).then_refused(ProviderError::AllowedFieldsOfAnthropic);
    }

    #[test]
    fn a_key_that_is_kept_goes_to_no_other_scheme_host_or_port() {
        let to = |base_url: &str| ChangeProvider { base_url: Some(base_url.into()), ..ChangeProvider::default() };
        let keyless = Provider { secret_generation: 0, ..openai(PUBLIC) };
        for other in ["http://api.example.com/v1", "https://api.example.com:8443/v1", "https://example.com/v1"] {
            let refused = ProviderError::SecretOfAnotherOrigin;
            given([ProviderCreated(openai(PUBLIC))]).when(Change(to(other))).then_refused(refused);
            let with_key = ChangeProvider { new_secret: true, ..to(other) };
            let moved = Provider { secret_generation: 2, ..openai(other) };
            given([ProviderCreated(openai(PUBLIC))]).when(Change(with_key)).then([ProviderChanged(moved)]);
            let moved = Provider { secret_generation: 0, ..openai(other) };
            given([ProviderCreated(keyless.clone())]).when(Change(to(other))).then([ProviderChanged(moved)]);
        }
        let same = "https://api.example.com/v2";
        given([ProviderCreated(openai(PUBLIC))]).when(Change(to(same))).then([ProviderChanged(openai(same))]);
    }

    #[test]
    fn the_name_of_the_cap_is_given_and_taken_back() {
        let change = |output_cap_field| Change(ChangeProvider { output_cap_field, ..ChangeProvider::default() });
        let with = |output_cap_field, output_cap_field_given| Provider {
            output_cap_field,
            output_cap_field_given,
            ..openai(PUBLIC)
        };
        for field in [OutputCapField::MaxTokens, OutputCapField::MaxCompletionTokens] {
            given([ProviderCreated(openai(PUBLIC))])
                .when(change(Patched::Set(field)))
                .then([ProviderChanged(with(field, true))]);
            given([ProviderCreated(with(field, true))])
                .when(change(Patched::Removed))
                .then([ProviderChanged(openai(PUBLIC))]);
            given([ProviderCreated(with(field, true))])
                .when(change(Patched::Kept))
                .then([ProviderChanged(with(field, true))]);
        }
        // As 0.1.0 recorded it: what is not the default was given.
        given([ProviderCreated(with(OutputCapField::MaxCompletionTokens, false))])
            .when(change(Patched::Kept))
            .then([ProviderChanged(with(OutputCapField::MaxCompletionTokens, true))]);
    }

    #[test]
    fn a_new_api_key_is_a_new_generation() {
        let change = ChangeProvider { new_secret: true, ..ChangeProvider::default() };
        given([ProviderCreated(openai(PUBLIC))])
            .when(Change(change))
            .then([ProviderChanged(Provider { secret_generation: 2, ..openai(PUBLIC) })]);
    }

    #[test]
    fn an_ended_provider_is_not_changed() {
        let facts = || [ProviderCreated(simulator()), ProviderEnded(Ended { id: id(1) })];
        given(facts()).when(Change(ChangeProvider::default())).then_refused(ProviderError::Life(LifeError::Ended));
        given(facts()).when(EndProvider).then_nothing();
    }
}
