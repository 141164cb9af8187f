//! Access tokens of providers whose keys are exchanged for them: fetched once for all requests of a provider, and renewed
//! before they end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::ids::{IdMap, ProviderId};
use events::time::Clock;
use projections::tables::TablesHandle;
use secrets::Secret;
use upstream::SendError;

/// How long before its end a token is renewed, if it lasts at least twice as long.
const RENEWED_BEFORE_END: Duration = Duration::from_secs(300);
/// How long a failure stands for all requests, so that they do not fail one after the other.
const FAILURE_STANDS: Duration = Duration::from_secs(2);

/// Why there is no token. No message repeats text from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the key cannot sign")]
    Key,
    #[error("the server refused the key with status {0}")]
    Refused(u16),
    #[error("the server failed with status {0}")]
    Failed(u16),
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
    state: Arc<SlotState>,
}

#[derive(Default)]
struct SlotState {
    kept: Mutex<Option<KeptToken>>,
    /// The last failure to fetch a token, and the time until which it stands. Held while a token is fetched.
    failure: tokio::sync::Mutex<Option<(TokenError, Duration)>>,
}

impl SlotState {
    /// The token, if `is_good` says so.
    fn kept(&self, is_good: impl FnOnce(&KeptToken) -> bool) -> Option<Secret> {
        self.lock().as_ref().filter(|kept| is_good(kept)).map(|kept| kept.token.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<KeptToken>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

    /// The token for this generation of a provider's key. Of requests at once, one fetches it and the others wait; if it is
    /// only renewed, they use the old one. A token that cannot be renewed is used to its end.
    pub async fn token(
        &self,
        provider: ProviderId,
        generation: u32,
        fetch: impl Future<Output = Result<GrantedToken, TokenError>>,
    ) -> Result<Secret, TokenError> {
        let slot = self.slot(provider, generation);
        let fresh = || slot.kept(|kept| self.clock.monotonic() < kept.renewed_at);
        let in_force = || slot.kept(|kept| self.clock.monotonic() < kept.ends_at);
        if let Some(token) = fresh() {
            return Ok(token);
        }
        let mut failure = match slot.failure.try_lock() {
            Ok(failure) => failure,
            Err(_) => match in_force() {
                Some(token) => return Ok(token),
                None => slot.failure.lock().await,
            },
        };
        if let Some(token) = fresh() {
            return Ok(token);
        }
        let now = self.clock.monotonic();
        let error = match *failure {
            Some((error, until)) if now < until => error,
            _ => match fetch.await {
                Ok(GrantedToken { token, lasts }) => {
                    let renewed_at = now + lasts.saturating_sub(RENEWED_BEFORE_END.min(lasts / 2));
                    *slot.lock() = Some(KeptToken { token: token.clone(), renewed_at, ends_at: now + lasts });
                    *failure = None;
                    return Ok(token);
                }
                Err(error) => {
                    *failure = Some((error, self.clock.monotonic() + FAILURE_STANDS));
                    error
                }
            },
        };
        in_force().ok_or(error)
    }

    fn slot(&self, provider: ProviderId, generation: u32) -> Arc<SlotState> {
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

#[cfg(test)]
mod tests;
