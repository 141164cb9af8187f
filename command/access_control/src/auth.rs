//! Authentication turns the headers of a request into its [`Caller`].
//!
//! A key that this process has seen costs one SHA-256 and one look-up. A new key passes three steps: its check is an HMAC
//! that only this installation can make, so a made-up key is refused without a read; the tables must hold a live key of its
//! id; and the secret must match the stored HMAC, which takes microseconds and is read together with those of other keys:
//! thousands are checked in a second after a restart. Of a key that an earlier version stored, a slow hash is computed instead,
//! off the async threads, a few at a time and fewer for one tenant, so that such keys cannot take the processors from callers
//! that are already known, nor the turns of other tenants' keys; its HMAC is stored then (ADR-0037).
//!
//! The result of this step is kept in memory; rights are not. A caller is made from the current tables, and code that has
//! waited looks it up again, so a revoked key stops working at once. A refusal says that a key or its scheme is missing, but
//! never why a key is invalid: anyone who found or guessed one must not learn what became of it. Keys without a check were
//! rejected (ADR-0007): anyone could then make texts that cost a read each.
//!
//! A node that has not confirmed for a second where a shared log ends, or whose tables have lacked a change of it for that long,
//! answers 503 to every key.

pub mod hashing;
pub mod token;

mod caller_cache;
mod tenant_header;
mod verdict_cache;

use std::sync::Arc;
use std::time::Duration;

use events::event::Chain;
use events::ids::KeyId;
use events::refusal::{ErrorCode, Refusal};
use events::time::Clock;
use events_log::{KeyMac, KeySecret, Log, LogError};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use projections::caller::Caller;
use projections::tables::{CatchUp, KeyEntry, Tables, TablesHandle};
use subtle::ConstantTimeEq;

use caller_cache::CallerCache;
use hashing::KeyHasher;
use secrets::{KeyCheck, KeyMacs, Secret};
use tenant_header::NotSelected;
use token::{Digest, Token};
use verdict_cache::{Verdict, VerdictCache};

/// The header that selects the tenant of a request.
pub static TENANT_HEADER: HeaderName = HeaderName::from_static("x-tenant-id");
/// The header that can carry a key if there is no `Authorization`.
pub static KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// How long the tables may lack a change that another node has recorded, from when it was recorded.
const TABLES_LAG_MAX: Duration = Duration::from_secs(1);

/// The parts of an [`Authenticator`]. Administration shares the hasher, so that the same bounds hold for both.
pub struct AuthParts {
    pub key_check: KeyCheck,
    pub operator_key: Secret,
    /// The chain of the operator's inference requests without a tenant: the default partner, tenant and user.
    pub operator_chain: Chain,
    pub log: Log,
    pub tables: TablesHandle,
    pub clock: Arc<dyn Clock>,
    pub hasher: KeyHasher,
}

/// Authenticates requests. Shared by all of them.
pub struct Authenticator {
    parts: AuthParts,
    operator_digest: Digest,
    operator: Arc<Caller>,
    macs: KeyMacs,
    verdicts: VerdictCache,
    callers: CallerCache,
}

/// Why authentication failed.
#[derive(Debug)]
enum Denied {
    NoKey,
    /// `Authorization` has no scheme, or another one.
    NotBearer,
    /// The key does not work. The client does not learn why.
    InvalidKey,
    Busy,
    /// Other nodes may have changed or ended the key, and this one would not know.
    NotCurrent,
    /// The read of its secrets and those of other keys failed.
    Log(Arc<LogError>),
}

impl Authenticator {
    pub fn new(parts: AuthParts) -> Self {
        Self {
            operator_digest: token::digest(parts.operator_key.reveal()),
            operator: Arc::new(Caller::operator(parts.operator_chain)),
            macs: parts.key_check.key_macs(),
            parts,
            verdicts: VerdictCache::default(),
            callers: CallerCache::default(),
        }
    }

    /// The caller of a request, from `Authorization: Bearer …` (or `x-api-key`) and `X-Tenant-ID`.
    ///
    /// Errors: `UNAUTHENTICATED` without a valid key; `FORBIDDEN` for a tenant beyond the key's reach; `LEDGER_UNAVAILABLE`
    /// if the key or the tenant cannot be checked now.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Refusal> {
        let caller = self.caller_of_key(headers).await.map_err(Denied::into_refusal)?;
        match headers.get(&TENANT_HEADER) {
            None => Ok(caller),
            Some(tenant) => self.select_tenant(&caller, tenant).await,
        }
    }

    /// The caller for a tenant, which another node may have made a moment ago.
    async fn select_tenant(&self, caller: &Arc<Caller>, tenant: &HeaderValue) -> Result<Arc<Caller>, Refusal> {
        let AuthParts { log, tables, .. } = &self.parts;
        let now = tables.load();
        match tenant_header::select_tenant(caller, &now, tenant) {
            Err(NotSelected::Unknown) => match tables.catch_up_with_others(log, now.position).await {
                CatchUp::FoundMore => Ok(tenant_header::select_tenant(caller, &tables.load(), tenant)?),
                CatchUp::FoundNothing => Err(NotSelected::Unknown.into()),
                CatchUp::TimedOut => Err(Denied::NotCurrent.into_refusal()),
            },
            selected => Ok(selected?),
        }
    }

    /// The key of a refused request, if this installation issued it: revoked, expired, or used beyond its reach. `None` for
    /// the operator's key and for made-up ones.
    pub fn presented_key(&self, headers: &HeaderMap) -> Option<KeyId> {
        Token::parse(key_in(headers).ok()?)
            .filter(|token| token.is_ours(&self.parts.key_check))
            .map(|token| token.key_id)
    }

    async fn caller_of_key(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Denied> {
        let text = key_in(headers)?;
        if !self.is_current() {
            return Err(Denied::NotCurrent);
        }
        let digest = token::digest(text);
        if bool::from(digest.ct_eq(&self.operator_digest)) {
            return Ok(Arc::clone(&self.operator));
        }
        let (tables, now) = (self.parts.tables.load(), self.parts.clock.now());
        if let Some(caller) = self.callers.get(&tables, &digest, now) {
            return Ok(caller);
        }
        let token =
            Token::parse(text).filter(|token| token.is_ours(&self.parts.key_check)).ok_or(Denied::InvalidKey)?;
        let tables = match tables.key(token.key_id) {
            Some(_) => tables,
            // Another node may have issued it a moment ago.
            None => self.tables_after_catching_up(tables.position).await?,
        };
        let entry = tables.key(token.key_id).filter(|entry| tables.key_is_live(entry, now));
        let entry = entry.ok_or(Denied::InvalidKey)?;
        let generation = match self.generation(&digest, &token, entry).await? {
            Some(generation) => generation,
            // Another node may have rotated it a moment ago.
            None => {
                let tables = self.tables_after_catching_up(tables.position).await?;
                let entry = tables.key(token.key_id).ok_or(Denied::InvalidKey)?;
                self.generation(&digest, &token, entry).await?.ok_or(Denied::InvalidKey)?
            }
        };
        // Read the tables again: the key may have ended, changed or been rotated while its secret was checked.
        let tables = self.parts.tables.load();
        let caller = Caller::of_key(&tables, token.key_id, generation, self.parts.clock.now());
        Ok(self.callers.put(&tables, digest, Arc::new(caller.ok_or(Denied::InvalidKey)?)))
    }

    /// The tables with what other nodes have recorded since this position.
    ///
    /// Errors: `InvalidKey` if there is nothing newer, `NotCurrent` if the node cannot catch up.
    async fn tables_after_catching_up(&self, position: u64) -> Result<Arc<Tables>, Denied> {
        let AuthParts { log, tables, .. } = &self.parts;
        match tables.catch_up_with_others(log, position).await {
            CatchUp::FoundMore => Ok(tables.load()),
            CatchUp::FoundNothing => Err(Denied::InvalidKey),
            CatchUp::TimedOut => Err(Denied::NotCurrent),
        }
    }

    /// False if another node may have ended a key for a second.
    pub fn is_current(&self) -> bool {
        let AuthParts { log, tables, .. } = &self.parts;
        log.is_current() && (!log.is_shared() || tables.lag() <= TABLES_LAG_MAX)
    }

    /// The generation of the key's secret in the token; `None` if the secret is not valid, or no longer.
    async fn generation(&self, digest: &Digest, token: &Token<'_>, entry: &KeyEntry) -> Result<Option<u32>, Denied> {
        if let Some(verdict) = self.verdicts.get(digest, entry.generation) {
            return Ok(verdict.generation);
        }
        let mut stored = self.parts.log.key_secrets(entry.chain.tenant, token.key_id).await.map_err(Denied::Log)?;
        stored.retain(|secret| may_be_used(entry, secret));
        let has_right_mac = |KeySecret { key_id, generation, mac, .. }: &&KeySecret| {
            mac.as_ref().is_some_and(|mac| self.macs.verifies(*key_id, *generation, token.secret, mac))
        };
        let mut generation = stored.iter().find(has_right_mac).map(|secret| secret.generation);
        if generation.is_none() {
            stored.retain(|secret| secret.mac.is_none());
            generation = self.generation_by_hash(digest, token, entry, stored).await?;
        }
        self.verdicts.put(*digest, Verdict { generation, newest: entry.generation });
        Ok(generation)
    }

    /// The generation whose slow hash is that of the token's secret. The HMAC of the secret is stored, for the next start.
    async fn generation_by_hash(
        &self,
        digest: &Digest,
        token: &Token<'_>,
        entry: &KeyEntry,
        stored: Vec<KeySecret>,
    ) -> Result<Option<u32>, Denied> {
        if stored.is_empty() {
            return Ok(None);
        }
        let permit = self.parts.hasher.permit(entry.chain.tenant).await.map_err(|_| Denied::Busy)?;
        // Many requests may have arrived with the same key: the first one has computed the verdict for all.
        if let Some(verdict) = self.verdicts.get(digest, entry.generation) {
            return Ok(verdict.generation);
        }
        let generation = permit.matching(token.secret, stored).await.map_err(|_| Denied::Busy)?;
        if let Some(generation) = generation {
            let mac = self.macs.sign(token.key_id, generation, token.secret);
            self.parts.log.store_key_mac(KeyMac { key_id: token.key_id, generation, mac });
        }
        Ok(generation)
    }
}

impl Denied {
    fn into_refusal(self) -> Refusal {
        let unauthenticated = |message: &str| Refusal::new(ErrorCode::Unauthenticated, message);
        match self {
            Self::NoKey => {
                unauthenticated("the request has no API key; send authorization: Bearer sgk_… or x-api-key: sgk_…")
            }
            Self::NotBearer => unauthenticated("the authorization header must begin with Bearer"),
            Self::InvalidKey => unauthenticated(
                "this API key is not valid: it is unknown, has expired, was revoked or rotated out, or its owner has ended",
            ),
            Self::Busy => {
                Refusal::new(ErrorCode::LedgerUnavailable, "too many keys are being checked; try again").try_again()
            }
            Self::NotCurrent => Refusal::behind_the_ledger(),
            Self::Log(error) => Refusal::new(ErrorCode::LedgerUnavailable, "the key cannot be checked now")
                .try_again()
                .because(format_args!("a key's stored secrets cannot be read: {error}")),
        }
    }
}

/// The key in the headers: the bearer token, else `x-api-key`.
fn key_in(headers: &HeaderMap) -> Result<&str, Denied> {
    let key = match (headers.get(AUTHORIZATION), headers.get(&KEY_HEADER)) {
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

/// True for the newest secret and the one before it. Whether the latter is still valid is checked on every request.
fn may_be_used(entry: &KeyEntry, secret: &KeySecret) -> bool {
    secret.generation == entry.generation
        || entry.previous.is_some_and(|(generation, _)| generation == secret.generation)
}
