//! A provider's address and its key, read together: a call never sends the key of one version to the address of another.

use std::sync::Arc;

use dialects::upstreams;
use dialects::{Redactor, may_be_secret};
use events::event::admin::Provider;
use projections::tables::Tables;
use secrets::{Secret, VaultError};

use super::access_tokens::AccessTokens;
use super::gateway::{Gateway, TABLES_WAIT_MAX};
use crate::service_account::ServiceAccount;

/// Why a provider cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The provider has changed since the request was planned, so that the plan no longer fits it.
    #[error("the provider was deleted or changed after the request was planned")]
    Withdrawn,
}

/// A provider's current row, and its key.
pub struct Credentials {
    pub provider: Arc<Provider>,
    /// `None` if the provider has no key.
    pub secret: Option<Secret>,
    /// The provider's key, if `secret` is an access token: the key was exchanged for it.
    pub exchanged_key: Option<Secret>,
}

impl Credentials {
    /// A redactor of everything here that may be secret: the key, and the values of most of the provider's own headers. Make
    /// it only when it is needed: it holds all their parts.
    pub fn redactor(&self) -> Redactor {
        let headers = self.provider.headers.iter().filter(|(name, value)| may_be_secret(name, value));
        // The rest of such a key is no secret: words that any error may have.
        let account = self.exchanged_key.as_ref().and_then(|key| ServiceAccount::parse(key).ok());
        let private_part = account.map(|account| account.private_part());
        let secrets = self.secret.as_ref().map(Secret::reveal).into_iter().chain(private_part.as_deref());
        Redactor::new(headers.map(|(_, value)| value.as_str()).chain(secrets))
    }

    /// The credentials of a planned provider as they are now; the plan may be old, if other targets were tried first. If the
    /// key changes at this very moment, the row is looked up a second time.
    pub async fn of(gateway: &Gateway, planned: &Arc<Provider>) -> Result<Self, CredentialsError> {
        let opened = Self::open(gateway, planned).await;
        if !matches!(opened, Err(CredentialsError::Vault(VaultError::OtherGeneration { .. }))) {
            return opened;
        }
        // The key is newer than the row: the tables will have its newest version in a moment.
        gateway.tables.catch_up(TABLES_WAIT_MAX).await;
        Self::open(gateway, planned).await
    }

    /// Takes the token that the key was exchanged for.
    pub fn exchange(&mut self, token: Secret) {
        self.exchanged_key = self.secret.replace(token);
    }

    /// Drops the access token, if it is one and this status says that it is no longer good. 403 says that its account lacks a
    /// permission, which another token would lack as well.
    pub fn drop_token_refused_with(&self, status: u16, tokens: &AccessTokens) {
        if let (401, Some(token), Some(_)) = (status, &self.secret, &self.exchanged_key) {
            tokens.refused(self.provider.provider_id, self.provider.secret_generation, token);
        }
    }

    async fn open(gateway: &Gateway, planned: &Arc<Provider>) -> Result<Self, CredentialsError> {
        let provider = current(&gateway.tables.load(), planned).ok_or(CredentialsError::Withdrawn)?;
        let secret = gateway.vault.key_of(&provider).await?;
        Ok(Self { provider, secret, exchanged_key: None })
    }
}

/// The provider's newest row, if a request that was planned for another one of its rows may still be sent by it.
fn current(tables: &Tables, planned: &Arc<Provider>) -> Option<Arc<Provider>> {
    let newest = &tables.live_provider(planned.provider_id)?.value;
    if newest == planned {
        return Some(Arc::clone(planned));
    }
    fits(newest, planned).then(|| Arc::clone(newest))
}

/// True if only connection settings have changed: all others went into the plan and the body. So did the server that an
/// address may stand for, and whether it takes thoughts without a signature.
fn fits(newest: &Provider, planned: &Provider) -> bool {
    let planned_with_new_connection = Provider {
        name: newest.name.clone(),
        base_url: newest.base_url.clone(),
        allow_private_network: newest.allow_private_network,
        timeout_ms: newest.timeout_ms,
        idle_timeout_ms: newest.idle_timeout_ms,
        headers: newest.headers.clone(),
        api_version: newest.api_version.clone(),
        region: newest.region.clone(),
        secret_generation: newest.secret_generation,
        ..planned.clone()
    };
    *newest == planned_with_new_connection
        && upstreams::server_of(newest) == upstreams::server_of(planned)
        && upstreams::takes_signed_thoughts_alone(newest) == upstreams::takes_signed_thoughts_alone(planned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the kind that has servers.
    fn provider(base_url: &str, server: Option<&str>) -> Provider {
        let id = format!("prv_{:032x}", 1).parse().expect("an id");
        let kind: events::event::admin::ProviderKindName = "openai".parse().expect("a name");
        let server = server.map(|name| name.parse().expect("a name"));
        Provider { base_url: Some(base_url.to_owned()), server, ..Provider::new(id, "p", kind) }
    }

    #[test]
    fn a_plan_fits_another_address_of_the_same_server_alone() {
        let planned = provider("https://proxy.example.com/v1", None);
        for (newest, wanted) in [
            (provider("https://other.example.com/v1", None), true),
            (provider("https://api.mistral.ai/v1", None), false),
            (provider("https://api.mistral.ai/v1", Some("other")), false),
            (provider("https://proxy.example.com/v1", Some("mistral")), false),
            (Provider { timeout_ms: 1, ..planned.clone() }, true),
            (Provider { allowed_fields: ["n".to_owned()].into(), ..planned.clone() }, false),
        ] {
            assert_eq!(fits(&newest, &planned), wanted, "{newest:?}");
        }
        let mistral = provider("https://api.mistral.ai/v1", None);
        assert!(fits(&provider("https://codestral.mistral.ai/v1", None), &mistral));
        // Another server's unsigned thoughts are in the body.
        let anthropic = |base_url| Provider { kind: "anthropic".parse().expect("a name"), ..provider(base_url, None) };
        let [own, local] = ["https://api.anthropic.com", "http://127.0.0.1:11434"].map(anthropic);
        assert!(!fits(&own, &local) && fits(&anthropic("https://proxy.example.com"), &local));
    }
}
