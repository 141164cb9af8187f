//! A provider's address and its key, which belong together: a call uses both as they are at one moment, never the key of
//! one version at the address of another.

use std::sync::Arc;

use dialects::{Redactor, may_be_secret};
use events::event::admin::Provider;
use projections::tables::Tables;
use secrets::{Secret, VaultError};

use super::gateway::{Gateway, TABLES_WAIT_MAX};

/// A provider cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Since the request was planned, so that what was made for it does not fit any more.
    #[error("the provider was ended or changed")]
    Withdrawn,
}

/// A provider as it is now, and its key.
pub struct Credentials {
    pub provider: Arc<Provider>,
    /// `None` where it has none.
    pub secret: Option<Secret>,
}

impl Credentials {
    /// Knows what of them may be secret: the key, and the values of most of the provider's own headers. To be made when it
    /// is needed: it has all their parts.
    pub fn redactor(&self) -> Redactor {
        let headers = self.provider.headers.iter().filter(|(name, value)| may_be_secret(name, value));
        Redactor::new(headers.map(|(_, value)| value.as_str()).chain(self.secret.iter().map(Secret::reveal)))
    }

    /// Of a provider that a request was planned with, maybe long ago: other targets may have been tried first. Where its
    /// key changes at this very moment, the row is looked up once more.
    pub async fn of(gateway: &Gateway, planned: &Arc<Provider>) -> Result<Self, CredentialsError> {
        let opened = Self::open(gateway, planned).await;
        if !matches!(opened, Err(CredentialsError::Vault(VaultError::OtherGeneration { .. }))) {
            return opened;
        }
        // The key is newer than the row: the tables are about to have its newest version.
        gateway.tables.catch_up(TABLES_WAIT_MAX).await;
        Self::open(gateway, planned).await
    }

    async fn open(gateway: &Gateway, planned: &Arc<Provider>) -> Result<Self, CredentialsError> {
        let provider = current(&gateway.tables.load(), planned).ok_or(CredentialsError::Withdrawn)?;
        let secret = gateway.vault.open(provider.provider_id, provider.secret_generation).await?;
        Ok(Self { provider, secret })
    }
}

/// The provider's newest row, where nothing but the way to it has changed: what else it says went into the plan and into
/// the body.
fn current(tables: &Tables, planned: &Arc<Provider>) -> Option<Arc<Provider>> {
    let entry = tables.provider(planned.provider_id).filter(|entry| entry.is_live())?;
    let newest = &entry.value;
    if newest == planned {
        return Some(Arc::clone(planned));
    }
    let by_another_way = Provider {
        name: newest.name.clone(),
        base_url: newest.base_url.clone(),
        allow_private_network: newest.allow_private_network,
        timeout_ms: newest.timeout_ms,
        idle_timeout_ms: newest.idle_timeout_ms,
        headers: newest.headers.clone(),
        secret_generation: newest.secret_generation,
        ..Provider::clone(planned)
    };
    (**newest == by_another_way).then(|| Arc::clone(newest))
}
