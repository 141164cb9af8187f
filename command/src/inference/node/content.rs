//! The kept parts of a request, by the policy that its tenant has when it is admitted (ADR-0029). No request waits for
//! the store of sealed content: content that finds no room on its way there is lost, and the end of the request says
//! so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use content_store::{Content, ContentAddress, ContentKey, ContentWriter};
use dialects::Metered;
use events::content::{AnswerText, ContentKeyOwner, ContentPart, ContentPolicy, ContentSalt, ContentSalts};
use events::event::Context;
use events::ids::{RequestId, TenantId};
use events::refusal::{ErrorCode, Refusal};
use secrets::Vault;
use secrets::vault::content_keys::ContentKeyError;

use crate::ledger_unavailable::ledger_unavailable;

/// The most keys that are kept in memory. Any others are opened for each request.
const KEYS_MAX: usize = 10_000;

/// Seals the content of requests, and stores it.
pub struct ContentKeeper {
    vault: Arc<Vault>,
    writer: ContentWriter,
    keys: Mutex<HashMap<(TenantId, ContentKeyOwner), Arc<ContentKey>>>,
}

impl ContentKeeper {
    pub fn new(vault: Arc<Vault>, writer: ContentWriter) -> Self {
        Self { vault, writer, keys: Mutex::default() }
    }

    /// The key of whom a request is for. A key in memory may have been erased since: then nobody opens what it seals.
    ///
    /// Errors: those of [`Vault::content_key`].
    async fn key(
        &self,
        tenant: TenantId,
        owner: ContentKeyOwner,
        known_until: u64,
    ) -> Result<Arc<ContentKey>, ContentKeyError> {
        let known = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(&(tenant, owner)).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let opened = self.vault.content_key_or_new(tenant, owner, known_until).await?;
        let key = Arc::new(ContentKey::new(owner, opened.generation, &opened.secret));
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX
            && let Some(any) = keys.keys().next().copied()
        {
            keys.remove(&any);
        }
        keys.insert((tenant, owner), Arc::clone(&key));
        Ok(key)
    }
}

/// The content that is kept of one request.
#[derive(Clone)]
pub enum RequestContent {
    Nothing,
    Digests(ContentSalt),
    Sealed(SealedRequest),
}

/// A request whose prompt and answer are kept sealed.
#[derive(Clone)]
pub struct SealedRequest {
    keeper: Arc<ContentKeeper>,
    key: Arc<ContentKey>,
    tenant: TenantId,
    request: RequestId,
    salt: ContentSalt,
}

impl RequestContent {
    /// The salt of the digests of what the request says; `None` if nothing is kept of that.
    pub const fn salt(&self) -> Option<&ContentSalt> {
        match self {
            Self::Nothing => None,
            Self::Digests(salt) => Some(salt),
            Self::Sealed(sealed) => Some(&sealed.salt),
        }
    }

    /// Returns the content to keep by the policy that the tables have at `known_until`.
    ///
    /// Errors: the policy is to keep content sealed, and this node cannot.
    pub async fn for_policy(
        policy: ContentPolicy,
        salts: &ContentSalts,
        keeper: Option<&Arc<ContentKeeper>>,
        request: RequestId,
        context: &Context,
        known_until: u64,
    ) -> Result<Self, Refusal> {
        match (policy, context.tenant_id) {
            (ContentPolicy::None, _) => Ok(Self::Nothing),
            (ContentPolicy::Sealed, Some(tenant)) => {
                let keeper = keeper.ok_or_else(no_store)?;
                let owner = ContentKeyOwner::of(tenant, context.user_id);
                // Boxed: few requests need it, and all would have its size.
                let key = Box::pin(keeper.key(tenant, owner, known_until)).await.map_err(no_key)?;
                let salt = key.salts().salt(request);
                Ok(Self::Sealed(SealedRequest { keeper: Arc::clone(keeper), key, tenant, request, salt }))
            }
            (ContentPolicy::Digest | ContentPolicy::Sealed, _) => Ok(Self::Digests(salts.salt(request))),
        }
    }

    pub const fn policy(&self) -> ContentPolicy {
        match self {
            Self::Nothing => ContentPolicy::None,
            Self::Digests(_) => ContentPolicy::Digest,
            Self::Sealed(_) => ContentPolicy::Sealed,
        }
    }

    /// Returns the collector of an answer's text; `None` if no text is kept.
    pub fn answer_text(&self) -> Option<Box<AnswerText>> {
        match self {
            Self::Nothing => None,
            Self::Digests(salt) => Some(Box::new(salt.answer())),
            Self::Sealed(sealed) => Some(Box::new(sealed.salt.kept_answer())),
        }
    }

    /// The salted digest of a prompt that is kept.
    pub fn prompt_digest(&self, body: &[u8]) -> Option<String> {
        match self {
            Self::Sealed(sealed) => Some(sealed.salt.digest(body)),
            Self::Nothing | Self::Digests(_) => None,
        }
    }

    /// Keeps the prompt of an admitted request. Returns what is lost.
    pub fn keep_prompt(&self, admitted_at: DateTime<Utc>, body: Bytes) -> Option<ContentPart> {
        match self {
            Self::Sealed(sealed) => sealed.keep(ContentPart::Prompt, admitted_at, body),
            Self::Nothing | Self::Digests(_) => None,
        }
    }

    /// Keeps the text of the answer as far as it arrived. Returns what is lost.
    pub fn keep_answer(&self, admitted_at: DateTime<Utc>, metered: &Metered) -> Option<ContentPart> {
        let Self::Sealed(sealed) = self else { return None };
        match metered.answer_text()?.kept() {
            Some([]) => None,
            Some(text) => sealed.keep(ContentPart::Answer, admitted_at, Bytes::copy_from_slice(text)),
            None => {
                sealed.keeper.writer.count_lost(ContentPart::Answer);
                Some(ContentPart::Answer)
            }
        }
    }
}

impl SealedRequest {
    fn keep(&self, part: ContentPart, admitted_at: DateTime<Utc>, text: Bytes) -> Option<ContentPart> {
        let address = ContentAddress { tenant: self.tenant, admitted_at, request: self.request, part };
        let is_kept = self.keeper.writer.try_enqueue(Content { address, key: Arc::clone(&self.key), text });
        (!is_kept).then_some(part)
    }
}

fn no_store() -> Refusal {
    let message = "the tenant's content is kept sealed, and this node has no store for it, so nothing was sent to a provider: set \
                   LEDGERWAY_CONTENT_URL where the gateway starts";
    Refusal::new(ErrorCode::ContentUnavailable, message).try_again()
}

fn no_key(error: ContentKeyError) -> Refusal {
    match error {
        ContentKeyError::Outdated => ledger_unavailable(
            "no",
            "the user or the tenant was just changed, so nothing was sent to a provider: try again",
        ),
        error => {
            let message =
                "the tenant's content is kept sealed, and there is no key for it now: nothing was sent to a provider";
            Refusal::new(ErrorCode::ContentUnavailable, message).try_again().because(error)
        }
    }
}
