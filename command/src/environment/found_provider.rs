//! A provider that the environment names, and the state that its events record.

use std::collections::BTreeMap;

use dialects::{ProviderKind, Server, provider_dialects};
use events::event::admin::{Origin, OutputCapField, Provider, ServerName};
use events::ids::ProviderId;
use secrets::Secret;

use super::deployments::Deployment;

/// A provider that the environment names.
#[derive(Clone, Debug)]
pub struct FoundProvider {
    pub id: String,
    pub kind: ProviderKind,
    pub server: Option<Server>,
    pub base_url: String,
    /// True if a variable gave the address: what is behind it may be another server than the vendor's.
    pub has_own_address: bool,
    /// True if the address is a private one.
    pub is_private: bool,
    /// The variable of its key; `None` if it needs none.
    pub key_variable: Option<String>,
    pub key: Option<Secret>,
    /// Every variable that its key may be in.
    pub key_variables: Vec<String>,
    pub region: Option<String>,
    pub api_version: Option<String>,
    pub headers: BTreeMap<String, String>,
    /// The deployments of an account, by model; `None` for a provider whose models are the same for all accounts.
    pub deployments: Option<Vec<Deployment>>,
}

impl FoundProvider {
    /// The provider's state as its events record it.
    pub fn state(&self, id: ProviderId, name: String) -> Provider {
        let takes =
            |setting: &str| provider_dialects::of(self.kind).endpoint().is_some_and(|e| e.settings.contains(&setting));
        // The host of a provider's own address says which server it is; another one does not.
        let named = self.server.filter(|_| self.has_own_address && takes("server"));
        let has_deployments = provider_dialects::has_deployments(&self.kind.into());
        let provider = Provider {
            base_url: Some(self.base_url.clone()),
            allow_private_network: self.is_private,
            headers: self.headers.clone(),
            // Its deployments of reasoning models take no other, and the others take both.
            output_cap_field: if has_deployments {
                OutputCapField::MaxCompletionTokens
            } else {
                OutputCapField::default()
            },
            output_cap_field_given: has_deployments,
            api_version: self.api_version.clone(),
            server: named.and_then(|server| server.as_str().parse::<ServerName>().ok()),
            region: self.region.clone(),
            origin: Some(Origin::Environment),
            key_variable: self.key_variable.clone(),
            ..Provider::new(id, name, self.kind)
        };
        Provider {
            discover_models: self.is_private && provider_dialects::model_list_of(&provider).is_some(),
            ..provider
        }
    }

    /// True for the provider that was made from these variables, maybe from another one of them.
    pub fn made(&self, provider: &Provider) -> bool {
        let is_of_kind = ProviderKind::named(&provider.kind) == Some(self.kind);
        let has_variable = match &provider.key_variable {
            Some(variable) => self.key_variables.contains(variable),
            None => self.key_variable.is_none(),
        };
        provider.origin == Some(Origin::Environment) && is_of_kind && has_variable
    }

    /// True for that provider while it is at this address. At another one, it is another server.
    pub fn made_here(&self, provider: &Provider) -> bool {
        self.made(provider) && provider.base_url.as_deref() == Some(self.base_url.as_str())
    }
}
