//! A provider's address and its secrets, read together: a call never sends those of one version to the address of another.

use std::sync::Arc;
use std::time::Duration;

use dialects::provider_dialects;
use dialects::{Redactor, may_be_secret};
use events::event::admin::{Provider, UpstreamKey};
use projections::tables::Tables;
use secrets::{Secret, VaultError};

use crate::inference::keys::access_tokens::{AccessTokens, KeyGeneration};
use crate::inference::keys::provider_keys::{Choice, KeyAttempts, KeyRow, ProviderKeys};
use crate::inference::node::gateway::{Gateway, TABLES_WAIT_MAX};
use crate::secret_headers::SecretHeaders;
use crate::service_account::ServiceAccount;

/// Why a provider cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The provider has changed since the request was planned, so that the plan no longer fits it.
    #[error("the provider was deleted or changed after the request was planned")]
    Withdrawn,
    /// The first key has room again after this time.
    #[error("every key of the provider has reached a limit of its own")]
    KeysAtLimit(Duration),
    #[error("none of the provider's keys can be opened and sent to its address")]
    NoKey,
}

/// A provider's current row, one of its keys, and its secret headers.
pub struct Credentials {
    pub provider: Arc<Provider>,
    /// `None` if the provider has no key.
    pub secret: Option<Secret>,
    pub secret_headers: SecretHeaders,
    /// `None` if the provider has one key at most.
    of_several: Option<Box<OneOfSeveral>>,
    /// The provider's key, if `secret` is an access token: the key was exchanged for it.
    pub exchanged_key: Option<Secret>,
}

/// A key of a provider, with its credentials or the reason why there are none.
pub struct OpenedKey {
    pub row: KeyRow,
    pub credentials: Result<Credentials, CredentialsError>,
}

impl CredentialsError {
    /// True if what is stored is newer than the provider's row that it was looked up by.
    const fn is_of_old_row(&self) -> bool {
        matches!(self, Self::Vault(VaultError::OtherGeneration { .. }))
    }
}

/// One of a provider's keys.
struct OneOfSeveral {
    key: KeyGeneration,
    /// Others that the provider has seen before.
    sent_before: Vec<Secret>,
}

impl Credentials {
    /// Those of a provider's own key, without secret headers.
    pub fn own(provider: Arc<Provider>, secret: Option<Secret>) -> Self {
        let secret_headers = SecretHeaders::default();
        Self { provider, secret, secret_headers, of_several: None, exchanged_key: None }
    }

    /// The key, and the generation of its secret.
    pub fn key(&self) -> KeyGeneration {
        let own = || KeyGeneration {
            key: UpstreamKey::Own(self.provider.provider_id),
            generation: self.provider.secret_generation,
        };
        self.of_several.as_ref().map_or_else(own, |of_several| of_several.key)
    }

    /// A redactor of everything here that may be secret: the keys, the secret headers, and the values of most of the provider's own
    /// headers. Make it only when it is needed: it holds all their parts.
    pub fn redactor(&self) -> Redactor {
        let headers = self.provider.headers.iter().filter(|(name, value)| may_be_secret(name, value));
        // The rest of such a key is no secret: words that any error may have.
        let account = self.exchanged_key.as_ref().and_then(|key| ServiceAccount::parse(key).ok());
        let private_part = account.map(|account| account.private_part());
        let sent_before = self.of_several.iter().flat_map(|of_several| &of_several.sent_before);
        let secrets = self.secret.iter().chain(sent_before).map(Secret::reveal).chain(private_part.as_deref());
        Redactor::new(headers.map(|(_, value)| value.as_str()).chain(secrets).chain(self.secret_headers.values()))
    }

    /// The credentials of a planned provider as they are now; the plan may be old, if other targets were tried first. If the
    /// key changes at this very moment, the row is looked up a second time.
    ///
    /// Of several keys, it chooses one that is not among the `attempts` of this request. `tokens` is what the request's prompt
    /// is likely to have.
    pub async fn of(
        gateway: &Gateway,
        planned: &Arc<Provider>,
        attempts: &mut KeyAttempts,
        tokens: u64,
    ) -> Result<Self, CredentialsError> {
        let opened = Self::open(gateway, planned, attempts, tokens).await;
        if !opened.as_ref().is_err_and(CredentialsError::is_of_old_row) {
            return opened;
        }
        // The secret is newer than the row: the tables will have its newest version in a moment.
        gateway.tables.catch_up(TABLES_WAIT_MAX).await;
        Self::open(gateway, planned, attempts, tokens).await
    }

    /// Every key of the provider as it is now, to look at them all. It takes no permit and counts nothing, so whether and when
    /// requests use a key stays as it was. A provider without provider keys has one entry, also if it has no key.
    pub async fn of_every_key(gateway: &Gateway, planned: &Arc<Provider>) -> Result<Vec<OpenedKey>, CredentialsError> {
        let opened = Self::open_every_key(gateway, planned).await;
        let is_of_old_row = match &opened {
            Ok(keys) => {
                keys.iter().filter_map(|key| key.credentials.as_ref().err()).any(CredentialsError::is_of_old_row)
            }
            Err(error) => error.is_of_old_row(),
        };
        if !is_of_old_row {
            return opened;
        }
        gateway.tables.catch_up(TABLES_WAIT_MAX).await;
        Self::open_every_key(gateway, planned).await
    }

    /// Takes the token that the key was exchanged for.
    pub fn exchange(&mut self, token: Secret) {
        self.exchanged_key = self.secret.replace(token);
    }

    /// Drops the access token, if it is one and this status says that it is no longer good. 403 says that its account lacks a
    /// permission, which another token would lack as well.
    pub fn drop_token_refused_with(&self, status: u16, tokens: &AccessTokens) {
        if let (401, Some(token), Some(_)) = (status, &self.secret, &self.exchanged_key) {
            tokens.refused(self.key(), token);
        }
    }

    async fn open(
        gateway: &Gateway,
        planned: &Arc<Provider>,
        attempts: &mut KeyAttempts,
        tokens: u64,
    ) -> Result<Self, CredentialsError> {
        let tables = gateway.tables.load();
        let provider = current(&tables, planned).ok_or(CredentialsError::Withdrawn)?;
        if tables.has_provider_keys(provider.provider_id) {
            return Box::pin(Self::open_one_of_several(gateway, tables, provider, attempts, tokens)).await;
        }
        drop(tables);
        let secret = gateway.providers.vault.key_of(&provider).await?;
        let secret_headers = SecretHeaders::of(&gateway.providers.vault, &provider).await?;
        Ok(Self { secret_headers, ..Self::own(provider, secret) })
    }

    async fn open_every_key(gateway: &Gateway, planned: &Arc<Provider>) -> Result<Vec<OpenedKey>, CredentialsError> {
        let tables = gateway.tables.load();
        let provider = current(&tables, planned).ok_or(CredentialsError::Withdrawn)?;
        let secret_headers = SecretHeaders::of(&gateway.providers.vault, &provider).await?;
        let own = gateway.providers.vault.key_of(&provider).await;
        let has_several = tables.has_provider_keys(provider.provider_id);
        let rows = ProviderKeys::rows(&tables, &provider, !has_several || !matches!(own, Ok(None)));
        drop(tables);
        let mut opened = Vec::with_capacity(rows.len());
        let mut own = Some(own);
        for row in rows {
            let secret = match row.key {
                UpstreamKey::Own(_) => own.take().unwrap_or(Ok(None)).map_err(CredentialsError::from),
                UpstreamKey::Further(_) => {
                    let secret = gateway.providers.vault.open(provider.tenant_id, row.key, row.generation).await;
                    secret
                        .map_err(CredentialsError::from)
                        .and_then(|secret| Ok(Some(secret.ok_or(CredentialsError::NoKey)?)))
                }
            };
            opened.push((row, secret));
        }
        // The provider may repeat any of them.
        let all: Vec<Secret> = opened.iter().filter_map(|(_, secret)| secret.as_ref().ok()?.clone()).collect();
        let with_others = |(row, secret): (KeyRow, Result<Option<Secret>, CredentialsError>)| {
            let of_several =
                has_several.then(|| Box::new(OneOfSeveral { key: row.key_generation(), sent_before: all.clone() }));
            let credentials = secret.map(|secret| {
                let secret_headers = secret_headers.clone();
                Self { of_several, secret_headers, ..Self::own(Arc::clone(&provider), secret) }
            });
            OpenedKey { row, credentials }
        };
        Ok(opened.into_iter().map(with_others).collect())
    }

    /// A key that cannot be opened is passed over.
    async fn open_one_of_several(
        gateway: &Gateway,
        tables: Arc<Tables>,
        provider: Arc<Provider>,
        attempts: &mut KeyAttempts,
        tokens: u64,
    ) -> Result<Self, CredentialsError> {
        let secret_headers = SecretHeaders::of(&gateway.providers.vault, &provider).await?;
        let own = match gateway.providers.vault.key_of(&provider).await {
            Err(error @ VaultError::OtherGeneration { .. }) => return Err(error.into()),
            Err(error) => {
                log_unopened(&error, &provider);
                None
            }
            Ok(own) => own,
        };
        let mut rows = ProviderKeys::rows(&tables, &provider, own.is_some());
        drop(tables);
        loop {
            let chosen = attempts.choose(&gateway.providers.keys, &provider, rows.clone(), tokens);
            let key = chosen.map_err(|choice| match choice {
                Choice::AtLimit(wait) => CredentialsError::KeysAtLimit(wait),
                Choice::Key(_) | Choice::None => CredentialsError::NoKey,
            })?;
            let opened = match key.key {
                UpstreamKey::Own(_) => Ok(own.clone()),
                further @ UpstreamKey::Further(_) => {
                    gateway.providers.vault.open(provider.tenant_id, further, key.generation).await
                }
            };
            match opened {
                Ok(Some(secret)) => {
                    let of_several = Some(Box::new(OneOfSeveral { key, sent_before: attempts.send(&secret) }));
                    return Ok(Self { of_several, secret_headers, ..Self::own(provider, Some(secret)) });
                }
                Err(error @ VaultError::OtherGeneration { .. }) => {
                    attempts.give_back();
                    return Err(error.into());
                }
                Err(error) => log_unopened(&error, &provider),
                Ok(None) => {}
            }
            rows.retain(|row| row.key != key.key);
        }
    }
}

fn log_unopened(error: &VaultError, provider: &Provider) {
    tracing::error!(%error, provider = %provider.provider_id, "cannot open one of a provider's keys");
}

/// The provider's newest row, if a request that was planned for another one of its rows may still be sent by it.
fn current(tables: &Tables, planned: &Arc<Provider>) -> Option<Arc<Provider>> {
    let newest = &tables.live_provider(planned.provider_id)?.value;
    if newest == planned {
        return Some(Arc::clone(planned));
    }
    fits(newest, planned).then(|| Arc::clone(newest))
}

/// True if only connection settings have changed, and what no call is made by: all others went into the plan and the body. So did the
/// server that an address may stand for, and whether it takes thoughts without a signature. Maintenance is looked at before each call.
fn fits(newest: &Provider, planned: &Provider) -> bool {
    let planned_with_new_connection = Provider {
        name: newest.name.clone(),
        labels: newest.labels.clone(),
        maintenance: newest.maintenance.clone(),
        billed_by: newest.billed_by,
        base_url: newest.base_url.clone(),
        allow_private_network: newest.allow_private_network,
        timeout_ms: newest.timeout_ms,
        idle_timeout_ms: newest.idle_timeout_ms,
        headers: newest.headers.clone(),
        secret_header_names: newest.secret_header_names.clone(),
        headers_generation: newest.headers_generation,
        api_version: newest.api_version.clone(),
        region: newest.region.clone(),
        secret_generation: newest.secret_generation,
        ..planned.clone()
    };
    *newest == planned_with_new_connection
        && provider_dialects::server_of(newest) == provider_dialects::server_of(planned)
        && provider_dialects::takes_signed_thoughts_alone(newest)
            == provider_dialects::takes_signed_thoughts_alone(planned)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use events::maintenance::MaintenanceWindow;

    use super::*;

    /// A provider of the kind that has servers.
    fn provider(base_url: &str, server: Option<&str>) -> Provider {
        let id = format!("prv_{:032x}", 1).parse().expect("an id");
        let kind: events::event::admin::ProviderKindName = "openai".parse().expect("a name");
        let server = server.map(|name| name.parse().expect("a name"));
        Provider { base_url: Some(base_url.to_owned()), server, ..Provider::new(id, "p", kind) }
    }

    #[test]
    fn a_plan_fits_another_address_of_the_same_server_alone() {
        let labels = [("managed-by".to_owned(), "git".to_owned())].into_iter().collect();
        let ever = MaintenanceWindow { from: DateTime::<Utc>::MIN_UTC, to: DateTime::<Utc>::MAX_UTC };
        let planned = provider("https://proxy.example.com/v1", None);
        for (newest, wanted) in [
            (provider("https://other.example.com/v1", None), true),
            (provider("https://api.mistral.ai/v1", None), false),
            (provider("https://api.mistral.ai/v1", Some("other")), false),
            (provider("https://proxy.example.com/v1", Some("mistral")), false),
            (Provider { timeout_ms: 1, ..planned.clone() }, true),
            (Provider { labels, ..planned.clone() }, true),
            (Provider { headers_generation: 1, ..planned.clone() }, true),
            (Provider { maintenance: vec![ever].into(), ..planned.clone() }, true),
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
