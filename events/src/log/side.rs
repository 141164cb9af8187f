//! Rows beside the log: what must never be in an event (secrets, people), and what makes a retry answer the same.

use crate::event::StreamKind;
use crate::ids::{KeyId, RequestId, UserId};

/// Written in the transaction of the events that it belongs to.
#[derive(Clone, Debug)]
pub enum SideRow {
    /// A name that must be unique in its scope. Claiming what one has already is no conflict.
    ClaimName {
        kind: StreamKind,
        scope: String,
        name: String,
        owner: String,
    },
    ReleaseNames {
        owner: String,
    },
    PersonalData(PersonalData),
    ErasePersonalData(UserId),
    KeySecret(KeySecret),
    DropKeySecrets {
        key_id: KeyId,
        below_generation: u32,
    },
    SealedSecret(SealedSecret),
    DropSealedSecret {
        subject: String,
    },
    WrappedKey {
        scope: String,
        wrapped: Vec<u8>,
    },
    ClientAddress(ClientAddress),
}

/// What is known of a person; erasing the row erases the person, and the log stays whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonalData {
    pub subject: UserId,
    pub name: String,
    pub email: Option<String>,
    /// Of the digests in the events.
    pub salt: Vec<u8>,
}

/// A key's secret, hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySecret {
    pub key_id: KeyId,
    pub generation: u32,
    pub salt: Vec<u8>,
    /// PBKDF2-HMAC-SHA256.
    pub hash: Vec<u8>,
}

/// A provider's credentials, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSecret {
    pub subject: String,
    /// Whose wrapped key opens it: `platform` or a tenant's id.
    pub key_scope: String,
    pub generation: u32,
    /// Empty where it was given up together with the key that it was sealed under.
    pub sealed: Vec<u8>,
}

impl SealedSecret {
    /// What is left of one that nobody can open any more: that there was one, and has to be another.
    #[must_use]
    pub fn given_up(&self) -> Self {
        Self { sealed: Vec::new(), ..self.clone() }
    }

    pub const fn is_given_up(&self) -> bool {
        self.sealed.is_empty()
    }
}

/// Where a request came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    pub request_id: RequestId,
    pub ip: String,
    pub user_agent: Option<String>,
}

/// An idempotency key of administration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ReplyKey {
    pub(super) scope: String,
    pub(super) key: String,
}

/// Makes a repeat of the same request answer the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Whose key it is.
    pub scope: String,
    pub key: String,
    /// SHA-256 of all that the request says.
    pub fingerprint: [u8; 32],
    pub status: u16,
    /// JSON, without any secret.
    pub body: String,
}

/// What was answered before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReply {
    pub fingerprint: [u8; 32],
    pub status: u16,
    pub body: String,
    pub position: u64,
}

impl Idempotency {
    pub(super) fn reply_key(&self) -> ReplyKey {
        ReplyKey { scope: self.scope.clone(), key: self.key.clone() }
    }
}
