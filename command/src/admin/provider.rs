//! An upstream. Its API key is sealed in a side table; the facts know only how often it was set.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use dialects::upstreams::{self, Transport};
use events::event::admin::{OutputCapField, Provider, ProviderKind};

use crate::admin::base_url;
use crate::admin::fields::Patched;
use crate::admin::lifecycle::{LifecycleError, Rules};

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
    Lifecycle(#[from] LifecycleError),
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
    #[error("is for kind openai alone: for {0} a request is translated, and other fields are left out")]
    AllowedFieldsNotTaken(&'static str),
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

impl Rules for Provider {
    type State = Self;
    type Change = ChangeProvider;
    type Special = Infallible;
    type Error = ProviderError;

    fn made(self) -> Result<Self, ProviderError> {
        fits(self.kind, self.base_url.as_deref())?;
        sound(self)
    }

    fn changed(&self, change: ChangeProvider) -> Result<Self, ProviderError> {
        fits(self.kind, change.base_url.as_deref())?;
        keeps_its_secret_to_itself(self, &change)?;
        sound(change.over(self)?)
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
            Err(ProviderError::AllowedFieldsNotTaken(upstream.name))
        }
        (Transport::Http(_), Some(address)) => {
            if base_url::is_forbidden(address, provider.allow_private_network) {
                return Err(ProviderError::AddressForbidden);
            }
            Ok(provider)
        }
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;

    use super::*;
    use crate::admin::lifecycle::Command::{Change, Create, End};
    use crate::admin::lifecycle::spec::{self, Given, changed, created, ended, id};

    fn given(facts: impl IntoIterator<Item = Resource>) -> Given<Provider> {
        spec::given(facts)
    }

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
        given([]).when(Create(openai(PUBLIC))).then([created(openai(PUBLIC))]);
        given([]).when(Create(simulator())).then([created(simulator())]);
        let without = Provider { base_url: None, ..openai("") };
        given([]).when(Create(without)).then_refused(ProviderError::BaseUrlMissing);
        let with = Provider { base_url: Some(PUBLIC.into()), ..simulator() };
        given([]).when(Create(with)).then_refused(ProviderError::BaseUrlOfSimulator);
        let keyed = Provider { secret_generation: 1, ..simulator() };
        given([]).when(Create(keyed)).then_refused(ProviderError::SecretOfSimulator);
    }

    #[test]
    fn the_opt_in_for_private_addresses_cannot_be_taken_back_while_one_is_used() {
        given([]).when(Create(openai(PRIVATE))).then_refused(ProviderError::AddressForbidden);
        let private = Provider { allow_private_network: true, ..openai(PRIVATE) };
        given([]).when(Create(private.clone())).then([created(private.clone())]);
        let close = ChangeProvider { allow_private_network: Some(false), ..ChangeProvider::default() };
        given([created(private.clone())]).when(Change(close.clone())).then_refused(ProviderError::AddressForbidden);
        let moved = ChangeProvider { base_url: Some(PUBLIC.into()), new_secret: true, ..close };
        let at_public = Provider { secret_generation: 2, ..openai(PUBLIC) };
        given([created(private)]).when(Change(moved)).then([changed(at_public)]);
    }

    #[test]
    fn an_address_that_has_what_is_called_in_it_is_refused_when_it_is_given() {
        let whole = "https://api.example.com/v1/chat/completions";
        let refused = || ProviderError::AddressOverlaps("/chat/completions");
        given([]).when(Create(openai(whole))).then_refused(refused());
        let moved = ChangeProvider { base_url: Some(whole.into()), ..ChangeProvider::default() };
        given([created(openai(PUBLIC))]).when(Change(moved)).then_refused(refused());
        let renamed = ChangeProvider { name: Some("p".into()), ..ChangeProvider::default() };
        let earlier = Provider { name: "p".into(), ..openai(whole) };
        given([created(openai(whole))]).when(Change(renamed)).then([changed(earlier)]);
    }

    #[test]
    fn fields_are_allowed_where_requests_are_passed_on_as_they_are() {
        let allowed_fields = BTreeSet::from(["provider".to_owned()]);
        let allow = ChangeProvider { allowed_fields: Some(allowed_fields.clone()), ..ChangeProvider::default() };
        let allowing = Provider { allowed_fields: allowed_fields.clone(), ..openai(PUBLIC) };
        given([created(openai(PUBLIC))]).when(Change(allow.clone())).then([changed(allowing.clone())]);
        let renamed = ChangeProvider { name: Some("p".into()), ..ChangeProvider::default() };
        given([created(allowing.clone())])
            .when(Change(renamed))
            .then([changed(Provider { name: "p".into(), ..allowing.clone() })]);
        let none = ChangeProvider { allowed_fields: Some(BTreeSet::new()), ..ChangeProvider::default() };
        given([created(allowing)]).when(Change(none)).then([changed(openai(PUBLIC))]);
        let anthropic = Provider { kind: ProviderKind::Anthropic, ..openai("https://api.example.com") };
        given([created(anthropic.clone())])
            .when(Change(allow))
            .then_refused(ProviderError::AllowedFieldsNotTaken("anthropic"));
        let created = Provider { allowed_fields, ..anthropic };
        given([]).when(Create(created)).then_refused(ProviderError::AllowedFieldsNotTaken("anthropic"));
    }

    #[test]
    fn a_key_that_is_kept_goes_to_no_other_scheme_host_or_port() {
        let to = |base_url: &str| ChangeProvider { base_url: Some(base_url.into()), ..ChangeProvider::default() };
        let keyless = Provider { secret_generation: 0, ..openai(PUBLIC) };
        for other in ["http://api.example.com/v1", "https://api.example.com:8443/v1", "https://example.com/v1"] {
            let refused = ProviderError::SecretOfAnotherOrigin;
            given([created(openai(PUBLIC))]).when(Change(to(other))).then_refused(refused);
            let with_key = ChangeProvider { new_secret: true, ..to(other) };
            let moved = Provider { secret_generation: 2, ..openai(other) };
            given([created(openai(PUBLIC))]).when(Change(with_key)).then([changed(moved)]);
            let moved = Provider { secret_generation: 0, ..openai(other) };
            given([created(keyless.clone())]).when(Change(to(other))).then([changed(moved)]);
        }
        let same = "https://api.example.com/v2";
        given([created(openai(PUBLIC))]).when(Change(to(same))).then([changed(openai(same))]);
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
            given([created(openai(PUBLIC))]).when(change(Patched::Set(field))).then([changed(with(field, true))]);
            given([created(with(field, true))]).when(change(Patched::Removed)).then([changed(openai(PUBLIC))]);
            given([created(with(field, true))]).when(change(Patched::Kept)).then([changed(with(field, true))]);
        }
        // As 0.1.0 recorded it: what is not the default was given.
        given([created(with(OutputCapField::MaxCompletionTokens, false))])
            .when(change(Patched::Kept))
            .then([changed(with(OutputCapField::MaxCompletionTokens, true))]);
    }

    #[test]
    fn a_new_api_key_is_a_new_generation() {
        let change = ChangeProvider { new_secret: true, ..ChangeProvider::default() };
        given([created(openai(PUBLIC))])
            .when(Change(change))
            .then([changed(Provider { secret_generation: 2, ..openai(PUBLIC) })]);
    }

    #[test]
    fn an_ended_provider_is_not_changed() {
        let facts = || [created(simulator()), ended::<Provider>(id(1))];
        given(facts())
            .when(Change(ChangeProvider::default()))
            .then_refused(ProviderError::Lifecycle(LifecycleError::Ended));
        given(facts()).when(End).then_nothing();
    }
}
