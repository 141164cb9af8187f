//! Who asks: from the headers of a request to its [`Caller`]. A key that was seen before costs one SHA-256 and one
//! look-up; a new one is checked against its stored hash, off the async threads and a few at a time. Whether there was a
//! key at all is said; why a key is refused is not.

pub mod hashing;
pub mod token;

mod callers;
mod chosen;
mod verified;

use std::sync::Arc;
use std::time::Duration;

use events::event::Chain;
use events::ids::KeyId;
use events::log::{KeySecret, Log, LogError};
use events::refusal::{ErrorCode, Refusal};
use events::time::Clock;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use projections::caller::Caller;
use projections::tables::{KeyEntry, TablesHandle};
use subtle::ConstantTimeEq;

use callers::Callers;
use hashing::{HashingError, KeyHasher};
use secrets::{KeyCheck, Secret};
use token::{Digest, Token};
use verified::{Verdict, Verified};

/// Header that names the tenant which a request is for.
pub const TENANT_HEADER: &str = "x-tenant-id";
/// Header that carries a key where `Authorization` does not.
pub const KEY_HEADER: &str = "x-api-key";

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the door needs to know. The hasher is shared with the administration, so that one bound holds for both.
pub struct AuthParts {
    pub key_check: KeyCheck,
    pub operator_key: Secret,
    /// Whom the operator infers as where it names no tenant: the default partner, tenant and user.
    pub operator_chain: Chain,
    pub log: Log,
    pub tables: TablesHandle,
    pub clock: Arc<dyn Clock>,
    pub hasher: KeyHasher,
}

/// The door. Shared by all requests.
pub struct Authenticator {
    key_check: KeyCheck,
    operator_digest: Digest,
    operator: Arc<Caller>,
    log: Log,
    tables: TablesHandle,
    clock: Arc<dyn Clock>,
    hasher: KeyHasher,
    verified: Verified,
    callers: Callers,
}

/// Why nobody was let in.
#[derive(Debug)]
enum Denied {
    NoKey,
    /// There is an `Authorization`, of no scheme or another.
    NotBearer,
    /// Not one that works. Nothing of why is said: whoever has found or guessed a key must not learn what became of it.
    InvalidKey,
    Busy,
    Log(LogError),
}

impl Authenticator {
    pub fn new(parts: AuthParts) -> Self {
        Self {
            key_check: parts.key_check,
            operator_digest: token::digest(parts.operator_key.reveal()),
            operator: Arc::new(Caller::operator(parts.operator_chain)),
            log: parts.log,
            tables: parts.tables,
            clock: parts.clock,
            hasher: parts.hasher,
            verified: Verified::default(),
            callers: Callers::default(),
        }
    }

    /// The caller that `Authorization: Bearer …` (or `x-api-key`) and `X-Tenant-ID` stand for.
    ///
    /// Errors: `UNAUTHENTICATED` without a key that works; `FORBIDDEN` for a tenant out of the key's reach;
    /// `LEDGER_UNAVAILABLE` where the key cannot be checked now.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Refusal> {
        let caller = self.bearer(headers).await.map_err(Denied::into_refusal)?;
        match headers.get(TENANT_HEADER) {
            None => Ok(caller),
            Some(tenant) => chosen::choose(&caller, &self.tables.load(), tenant),
        }
    }

    /// The key that a refused request presented, where it is one that we made: revoked, expired, or let in and then out
    /// of its reach. `None` for the operator's, and for whatever anybody could have made up.
    pub fn presented_key(&self, headers: &HeaderMap) -> Option<KeyId> {
        Token::parse(presented(headers).ok()?)
            .filter(|token| token.is_ours(&self.key_check))
            .map(|token| token.key_id())
    }

    async fn bearer(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Denied> {
        let text = presented(headers)?;
        let digest = token::digest(text);
        if bool::from(digest.ct_eq(&self.operator_digest)) {
            return Ok(Arc::clone(&self.operator));
        }
        let (tables, now) = (self.tables.load(), self.clock.now());
        if let Some(caller) = self.callers.get(&tables, &digest, now) {
            return Ok(caller);
        }
        let token = Token::parse(text).filter(|token| token.is_ours(&self.key_check)).ok_or(Denied::InvalidKey)?;
        let entry = tables.key(token.key_id()).filter(|entry| tables.key_is_live(entry, now));
        let entry = entry.ok_or(Denied::InvalidKey)?;
        let generation = self.generation(&digest, &token, entry).await?.ok_or(Denied::InvalidKey)?;
        // Waiting for the hash took a while: a key that was ended, changed or rotated meanwhile is what it is now.
        let tables = self.tables.load();
        let caller = Caller::of_key(&tables, token.key_id(), generation, self.clock.now());
        Ok(self.callers.put(&tables, digest, Arc::new(caller.ok_or(Denied::InvalidKey)?)))
    }

    /// Which of the key's secrets the token carries; `None` for one that is none any more.
    async fn generation(&self, digest: &Digest, token: &Token<'_>, entry: &KeyEntry) -> Result<Option<u32>, Denied> {
        if let Some(verdict) = self.verified.get(digest, entry.generation) {
            return Ok(verdict.generation);
        }
        let permit = self.hasher.permit().await?;
        // Many requests may have come with the same new key: the first one has answered for all of them.
        if let Some(verdict) = self.verified.get(digest, entry.generation) {
            return Ok(verdict.generation);
        }
        let key_id = token.key_id();
        let secrets = self.log.read(move |reader| reader.key_secrets(key_id)).await.map_err(Denied::Log)?;
        let known = secrets.into_iter().filter(|secret| may_be_used(entry, secret)).collect();
        let generation = permit.matching(token.secret(), known).await?;
        self.verified.put(*digest, Verdict { generation, newest: entry.generation });
        Ok(generation)
    }
}

impl Denied {
    fn into_refusal(self) -> Refusal {
        let unauthenticated = |message: &str| Refusal::new(ErrorCode::Unauthenticated, message);
        match self {
            Self::NoKey => unauthenticated("no API key: send authorization: Bearer sgk_… or x-api-key: sgk_…"),
            Self::NotBearer => unauthenticated("the authorization header must begin with Bearer"),
            Self::InvalidKey => {
                unauthenticated("this API key is not valid: it is unknown, has expired, or was revoked or rotated out")
            }
            Self::Busy => Refusal::new(ErrorCode::LedgerUnavailable, "too many keys are being checked; try again")
                .retry_after(RETRY_AFTER),
            Self::Log(error) => Refusal::new(ErrorCode::LedgerUnavailable, "the key cannot be checked now")
                .retry_after(RETRY_AFTER)
                .because(format_args!("a key's stored hash cannot be read: {error}")),
        }
    }
}

impl From<HashingError> for Denied {
    fn from(error: HashingError) -> Self {
        match error {
            HashingError::Busy | HashingError::Stopped => Self::Busy,
        }
    }
}

/// The key in the headers: a bearer's, else the one in `x-api-key`.
fn presented(headers: &HeaderMap) -> Result<&str, Denied> {
    let key = match (headers.get(AUTHORIZATION), headers.get(KEY_HEADER)) {
        (Some(authorization), _) => {
            let text = authorization.to_str().map_err(|_| Denied::InvalidKey)?;
            let (scheme, key) = text.split_once(' ').unwrap_or((text, ""));
            if !text.is_empty() && !scheme.eq_ignore_ascii_case("bearer") {
                return Err(Denied::NotBearer);
            }
            key
        }
        (None, Some(key)) => key.to_str().map_err(|_| Denied::InvalidKey)?,
        (None, None) => "",
    };
    Some(key.trim()).filter(|key| !key.is_empty()).ok_or(Denied::NoKey)
}

/// The newest secret and the one before it; whether that one still works is asked on every request.
fn may_be_used(entry: &KeyEntry, secret: &KeySecret) -> bool {
    secret.generation == entry.generation
        || entry.previous.is_some_and(|(generation, _)| generation == secret.generation)
}
