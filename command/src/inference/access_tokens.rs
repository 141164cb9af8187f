//! Access tokens of providers whose keys are exchanged for them: fetched once for all requests of a provider, and renewed
//! before they end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dialects::upstreams::TokenExchange;
use events::event::admin::Provider;
use events::ids::{IdMap, ProviderId};
use events::time::Clock;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use projections::tables::TablesHandle;
use secrets::Secret;
use serde::Deserialize;
use tokio::time::{Instant, timeout, timeout_at};
use upstream::{Owner, RequestBody, SendError, Transmission};

use super::gateway::Gateway;
use crate::service_account::{ServiceAccount, is_json};

/// The longest wait for a token.
const TOKEN_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long before its end a token is renewed, if it lasts at least twice as long.
const RENEWED_BEFORE_END: Duration = Duration::from_secs(300);
/// How long a token lasts if its response does not say so.
const LASTS_AT_LEAST: Duration = Duration::from_secs(300);
/// How long a failure stands for all requests, so that they do not fail one after the other.
const FAILURE_STANDS: Duration = Duration::from_secs(2);
/// The largest response with a token.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;

/// Why there is no token. No message repeats text from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the key cannot sign")]
    Key,
    #[error("the server refused the key with status {0}")]
    Refused(u16),
    #[error("the server cannot be called: {0}")]
    Send(SendError),
    #[error("the server did not answer in time")]
    Timeout,
    #[error("the server's answer has no token")]
    Malformed,
}

/// A token and how long it lasts.
#[derive(Clone, Debug)]
pub struct GrantedToken {
    pub token: Secret,
    pub lasts: Duration,
}

/// The tokens of all providers.
pub struct AccessTokens {
    clock: Arc<dyn Clock>,
    slots: Mutex<IdMap<ProviderId, Slot>>,
}

/// The token for one generation of a provider's key.
struct Slot {
    generation: u32,
    state: Arc<tokio::sync::Mutex<SlotState>>,
}

#[derive(Default)]
struct SlotState {
    token: Option<KeptToken>,
    /// The last failure, and the time until which it stands.
    failure: Option<(TokenError, Duration)>,
}

struct KeptToken {
    token: Secret,
    renewed_at: Duration,
    ends_at: Duration,
}

impl AccessTokens {
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, slots: Mutex::default() })
    }

    /// The token for this generation of a provider's key. Of requests at once, one fetches it and the others wait. A token
    /// that cannot be renewed is used to its end.
    pub async fn token(
        &self,
        provider: ProviderId,
        generation: u32,
        fetch: impl Future<Output = Result<GrantedToken, TokenError>>,
    ) -> Result<Secret, TokenError> {
        let slot = self.slot(provider, generation);
        // Held while the token is fetched: that is what makes the others wait.
        let mut state = slot.lock().await;
        let now = self.clock.monotonic();
        if let Some(kept) = &state.token
            && now < kept.renewed_at
        {
            return Ok(kept.token.clone());
        }
        let failure = match state.failure {
            Some((error, until)) if now < until => error,
            _ => match fetch.await {
                Ok(GrantedToken { token, lasts }) => {
                    let renewed_at = now + lasts.saturating_sub(RENEWED_BEFORE_END.min(lasts / 2));
                    state.token = Some(KeptToken { token: token.clone(), renewed_at, ends_at: now + lasts });
                    state.failure = None;
                    return Ok(token);
                }
                Err(error) => {
                    state.failure = Some((error, self.clock.monotonic() + FAILURE_STANDS));
                    error
                }
            },
        };
        let now = self.clock.monotonic();
        state.token.as_ref().filter(|kept| now < kept.ends_at).map(|kept| kept.token.clone()).ok_or(failure)
    }

    fn slot(&self, provider: ProviderId, generation: u32) -> Arc<tokio::sync::Mutex<SlotState>> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(&provider).filter(|slot| slot.generation >= generation) {
            // A request that still has an older key gets a token of its own.
            return if slot.generation == generation { Arc::clone(&slot.state) } else { Arc::default() };
        }
        let state = Arc::default();
        slots.insert(provider, Slot { generation, state: Arc::clone(&state) });
        state
    }

    fn slots(&self) -> MutexGuard<'_, IdMap<ProviderId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops tokens from memory whenever their keys are no longer in force. Runs until the tables end.
    pub async fn follow(self: Arc<Self>, mut tables: TablesHandle) {
        while tables.changed().await {
            let tables = tables.load();
            self.slots().retain(|provider, slot| {
                let live = tables.live_provider(*provider);
                // The tables may not have the newest key yet.
                live.is_some_and(|provider| provider.value.secret_generation <= slot.generation)
            });
        }
    }
}

/// The secret that a provider's requests are authenticated with: a token for a service account's key, or the key itself.
pub async fn exchanged(
    gateway: &Gateway,
    exchange: &TokenExchange,
    provider: &Provider,
    key: &Secret,
    owner: Owner,
    until: Instant,
) -> Result<Secret, TokenError> {
    if !is_json(key.reveal()) {
        return Ok(key.clone());
    }
    let (id, generation) = (provider.provider_id, provider.secret_generation);
    let fetch = async {
        let fetched = timeout(TOKEN_WAIT_MAX, fetch(gateway, exchange, provider, key, owner)).await;
        let fetched = fetched.unwrap_or(Err(TokenError::Timeout));
        if let Err(error) = &fetched {
            tracing::error!(%error, provider = %id, "cannot exchange a provider's key for an access token");
        }
        fetched
    };
    let token = gateway.access_tokens.token(id, generation, fetch);
    timeout_at(until, token).await.unwrap_or(Err(TokenError::Timeout))
}

async fn fetch(
    gateway: &Gateway,
    exchange: &TokenExchange,
    provider: &Provider,
    key: &Secret,
    owner: Owner,
) -> Result<GrantedToken, TokenError> {
    let account = ServiceAccount::parse(key).map_err(|_| TokenError::Key)?;
    // The key's own address is whatever its administrator wrote there: it counts only where private ones are allowed.
    let own = account.token_uri().filter(|_| provider.allow_private_network);
    let address = own.unwrap_or(exchange.token_uri);
    let assertion = account.assertion(exchange.scope, address, gateway.clock.now()).ok_or(TokenError::Key)?;
    let body = ["grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=", &assertion].concat();
    let request = Request::post(address)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(RequestBody::new(Bytes::from(body), Transmission::default()))
        .map_err(|_| TokenError::Key)?;
    let server = Provider { base_url: Some(address.to_owned()), ..provider.clone() };
    let client = gateway.upstreams.uncached_client(&server);
    let response = client.send(owner, request).await.map_err(TokenError::Send)?;
    if response.status() != http::StatusCode::OK {
        return Err(TokenError::Refused(response.status().as_u16()));
    }
    let body = Limited::new(response.into_body(), RESPONSE_BYTES_MAX).collect().await;
    granted(&body.map_err(|_| TokenError::Malformed)?.to_bytes()).ok_or(TokenError::Malformed)
}

/// The token in a response.
fn granted(body: &[u8]) -> Option<GrantedToken> {
    #[derive(Deserialize)]
    struct Response {
        access_token: String,
        expires_in: Option<u32>,
    }
    let Response { access_token, expires_in } = serde_json::from_slice(body).ok()?;
    let is_token = !access_token.is_empty() && access_token.bytes().all(|byte| byte.is_ascii_graphic());
    let lasts = expires_in.map_or(LASTS_AT_LEAST, |seconds| Duration::from_secs(seconds.into()));
    is_token.then(|| GrantedToken { token: Secret::new(access_token), lasts })
}

#[cfg(test)]
mod tests;
