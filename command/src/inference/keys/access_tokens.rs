//! Access tokens of providers whose keys are exchanged for them: fetched once for all requests of a provider, renewed before
//! they end, and dropped if the provider refuses them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::event::admin::UpstreamKey;
use events::ids::IdMap;
use events::time::Clock;
use projections::tables::TablesHandle;
use provider_client::SendError;
use secrets::Secret;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// How long before its end a token is renewed, if it lasts at least twice as long.
const RENEWED_BEFORE_END: Duration = Duration::from_secs(300);
/// How long a failure stands for all requests, so that they do not fail one after the other.
const FAILURE_STANDS: Duration = Duration::from_secs(2);
/// The longest time that fetching a token may take.
const FETCH_MAX: Duration = Duration::from_secs(10);
/// How long the token that follows a refused one is kept, even if the provider refuses it as well: the token is hardly at
/// fault. Doubles each time.
const KEPT_AFTER_REFUSAL: Duration = Duration::from_secs(30);
const KEPT_AFTER_REFUSAL_MAX: Duration = Duration::from_secs(600);

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

/// The tokens of all keys.
pub struct AccessTokens {
    clock: Arc<dyn Clock>,
    slots: Mutex<IdMap<UpstreamKey, Slot>>,
    /// Each fetch is a task of its own, so that it outlives the request that began it.
    fetches: TaskTracker,
}

/// The token for one generation of a key.
struct Slot {
    generation: u32,
    state: SharedState,
}

type SharedState = Arc<Mutex<SlotState>>;
type FetchResult = Result<Secret, TokenError>;
/// `None` until the fetch has ended.
type PendingFetch = watch::Receiver<Option<FetchResult>>;

#[derive(Default)]
struct SlotState {
    kept: Option<KeptToken>,
    /// The last failure to fetch a token, and the time until which it stands.
    failure: Option<(TokenError, Duration)>,
    fetching: Option<PendingFetch>,
    /// The time before which no token is dropped because it was refused, and how long that was after the last one.
    kept_until: Duration,
    kept_for: Duration,
}

struct KeptToken {
    token: Secret,
    renewed_at: Duration,
    ends_at: Duration,
}

/// The token that a request gets.
enum AvailableToken {
    Now(Secret),
    OnceFetched(PendingFetch),
}

impl SlotState {
    /// The token, if `is_good` says so.
    fn kept(&self, is_good: impl FnOnce(&KeptToken) -> bool) -> Option<Secret> {
        self.kept.as_ref().filter(|kept| is_good(kept)).map(|kept| kept.token.clone())
    }

    /// The fetch that runs. One whose task has died never ends.
    fn running(&self) -> Option<PendingFetch> {
        self.fetching.clone().filter(|fetching| fetching.has_changed().is_ok())
    }

    /// Keeps what a fetch that began at `began` has brought.
    fn keep(&mut self, granted: Result<GrantedToken, TokenError>, began: Duration, now: Duration) -> FetchResult {
        self.fetching = None;
        match granted {
            Ok(GrantedToken { token, lasts }) => {
                let renewed_at = began + lasts.saturating_sub(RENEWED_BEFORE_END.min(lasts / 2));
                self.kept = Some(KeptToken { token: token.clone(), renewed_at, ends_at: began + lasts });
                self.failure = None;
                Ok(token)
            }
            Err(error) => {
                self.failure = Some((error, now + FAILURE_STANDS));
                Err(error)
            }
        }
    }

    /// Drops a token that the provider refused; true if it did. Not before `kept_until`: if the next token is refused as well,
    /// the token is hardly at fault.
    fn drop_refused(&mut self, token: &Secret, now: Duration) -> bool {
        let is_kept = self.kept(|kept| kept.token.reveal() == token.reveal()).is_some();
        if !is_kept || now < self.kept_until {
            return false;
        }
        let is_long_ago = now >= self.kept_until + KEPT_AFTER_REFUSAL_MAX;
        let longer = if is_long_ago { Duration::ZERO } else { self.kept_for * 2 };
        self.kept_for = longer.clamp(KEPT_AFTER_REFUSAL, KEPT_AFTER_REFUSAL_MAX);
        self.kept_until = now + self.kept_for;
        self.kept = None;
        true
    }
}

/// A key of a provider, as it was when its secret had been replaced so many times.
#[derive(Clone, Copy, Debug)]
pub struct KeyGeneration {
    pub key: UpstreamKey,
    pub generation: u32,
}

impl AccessTokens {
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, slots: Mutex::default(), fetches: TaskTracker::new() })
    }

    /// The token for this generation of a key. If several requests need a token at once, one fetch serves all of
    /// them, even if the request that began it is cancelled. During a renewal they use the old token, at most to its end.
    pub async fn token<F>(&self, key: KeyGeneration, fetch: impl FnOnce() -> F) -> Result<Secret, TokenError>
    where
        F: Future<Output = Result<GrantedToken, TokenError>> + Send + 'static,
    {
        let slot = self.slot(key);
        let mut fetching = match self.available(&slot, fetch)? {
            AvailableToken::Now(token) => return Ok(token),
            AvailableToken::OnceFetched(fetching) => fetching,
        };
        let fetched = fetching.wait_for(Option::is_some).await;
        fetched.ok().and_then(|fetched| fetched.clone()).unwrap_or(Err(TokenError::Timeout))
    }

    fn available<F>(&self, slot: &SharedState, fetch: impl FnOnce() -> F) -> Result<AvailableToken, TokenError>
    where
        F: Future<Output = Result<GrantedToken, TokenError>> + Send + 'static,
    {
        let mut state = locked(slot);
        let now = self.clock.monotonic();
        if let Some(token) = state.kept(|kept| now < kept.renewed_at) {
            return Ok(AvailableToken::Now(token));
        }
        let in_force = state.kept(|kept| now < kept.ends_at).map(AvailableToken::Now);
        if let Some(fetching) = state.running() {
            return Ok(in_force.unwrap_or(AvailableToken::OnceFetched(fetching)));
        }
        match state.failure {
            Some((error, until)) if now < until => in_force.ok_or(error),
            _ => {
                let fetching = self.start(Arc::clone(slot), now, fetch());
                state.fetching = Some(fetching.clone());
                Ok(in_force.unwrap_or(AvailableToken::OnceFetched(fetching)))
            }
        }
    }

    fn start(
        &self,
        slot: SharedState,
        began: Duration,
        fetch: impl Future<Output = Result<GrantedToken, TokenError>> + Send + 'static,
    ) -> PendingFetch {
        let (ended, fetching) = watch::channel(None);
        let clock = Arc::clone(&self.clock);
        self.fetches.spawn(async move {
            let granted = timeout(FETCH_MAX, fetch).await.unwrap_or(Err(TokenError::Timeout));
            let fetched = locked(&slot).keep(granted, began, clock.monotonic());
            ended.send_replace(Some(fetched));
        });
        fetching
    }

    /// Drops a token that the provider has refused, so that the next request fetches another; unless another has taken its
    /// place, or the one before was refused a moment ago.
    pub fn refused(&self, KeyGeneration { key, generation }: KeyGeneration, token: &Secret) {
        let slots = self.slots();
        let slot = slots.get(&key).filter(|slot| slot.generation == generation);
        if slot.is_some_and(|slot| locked(&slot.state).drop_refused(token, self.clock.monotonic())) {
            tracing::warn!(%key, "dropped an access token that the provider refuses");
        }
    }

    fn slot(&self, KeyGeneration { key, generation }: KeyGeneration) -> SharedState {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(&key).filter(|slot| slot.generation >= generation) {
            // A request that still has an older key gets a token of its own.
            return if slot.generation == generation { Arc::clone(&slot.state) } else { Arc::default() };
        }
        let state = Arc::default();
        slots.insert(key, Slot { generation, state: Arc::clone(&state) });
        state
    }

    fn slots(&self) -> MutexGuard<'_, IdMap<UpstreamKey, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops tokens from memory soon after their keys are no longer in force. Runs until the tables end.
    pub async fn follow(self: Arc<Self>, mut tables: TablesHandle) {
        while tables.changed_for_a_while().await {
            let tables = tables.load();
            self.slots().retain(|key, slot| {
                // The tables may not have the newest key yet.
                tables.secret_generation(*key).is_some_and(|generation| generation <= slot.generation)
            });
        }
    }
}

fn locked(slot: &SharedState) -> MutexGuard<'_, SlotState> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
