//! Side rows: data that must never be in an event (secrets, people), and the answers that retries repeat.

use events::event::StreamKind;
use events::ids::{KeyId, PartnerId, RequestId, TenantId, UserId};

/// A row that is written in the transaction of its events.
#[derive(Clone, Debug)]
pub enum SideRow {
    /// Claims a name. Claiming it again for the same owner is no conflict.
    ClaimName {
        name: Name,
        owner: String,
    },
    ReleaseNames {
        owner: String,
    },
    PersonalData(PersonalData),
    /// Also what could be compared with a guess: the fingerprints of commands that named the user.
    ErasePersonalData(UserId),
    /// Erases where these requests came from.
    EraseClientAddresses(Vec<RequestId>),
    KeySecret(KeySecret),
    /// Replaces the slow hash of a secret, if the key still has this secret.
    KeyMac(KeyMac),
    DropKeySecrets {
        key_id: KeyId,
        below_generation: u32,
    },
    SealedSecret(SealedSecret),
    DropSealedSecret {
        subject: String,
    },
    /// Drops the sealed secrets of all that has its id as a name of this kind in this scope, also of what its author does not
    /// know yet; and these names.
    DropSealedSecretsWithin {
        kind: StreamKind,
        scope: String,
    },
    /// Drops the keys that seal the content of this user, in whatever tenant.
    DropContentKeys(UserId),
    WrappedKey {
        scope: String,
        wrapped: Vec<u8>,
    },
    DropWrappedKey {
        scope: String,
    },
    Node(RegisteredNode),
    DropNode {
        node: String,
    },
    TenantKey(TenantKey),
    DropTenantKey {
        tenant: String,
        node: String,
    },
    /// Drops everything that is sealed under the tenant's key, and all copies of this key.
    DropTenantSecrets(TenantId),
    /// The same of all tenants of the partner, also of those that its author does not know yet.
    DropPartnerSecrets(PartnerId),
    ClientAddress(ClientAddress),
    /// The document of a catalogue that all nodes of a shared ledger use from now on. Refused if another one than that of the
    /// revision `replaces` is in force; 0 is none.
    Catalogue {
        document: String,
        replaces: u64,
    },
}

/// A name that is unique in its scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    pub kind: StreamKind,
    pub scope: String,
    pub name: String,
}

/// The personal data of a user. Erasing this row erases the person; the log stays complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonalData {
    pub subject: UserId,
    pub name: String,
    pub email: Option<String>,
    /// The salt of the digests in the events.
    pub salt: Vec<u8>,
}

/// The stored form of a key's secret: an HMAC, a slow hash of an earlier version, or both for nodes of such a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySecret {
    pub key_id: KeyId,
    pub generation: u32,
    /// Empty without a slow hash.
    pub salt: Vec<u8>,
    /// PBKDF2-HMAC-SHA256; empty without a slow hash.
    pub hash: Vec<u8>,
    /// See [`KeyMac`].
    pub mac: Option<Vec<u8>>,
}

/// The HMAC of a key's secret under a key of the installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMac {
    pub key_id: KeyId,
    pub generation: u32,
    pub mac: Vec<u8>,
}

/// A provider's credentials, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSecret {
    pub subject: String,
    /// The scope of the data key that opens it: `platform` or a tenant's id.
    pub key_scope: String,
    pub generation: u32,
    /// Empty if it was given up because the key that opens it was lost.
    pub sealed: Vec<u8>,
}

impl SealedSecret {
    /// The remains of a secret that can no longer be opened: they show that there was one, and that a new one is needed.
    #[must_use]
    pub fn given_up(&self) -> Self {
        Self { sealed: Vec::new(), ..self.clone() }
    }

    pub const fn is_given_up(&self) -> bool {
        self.sealed.is_empty()
    }
}

/// A node that tenants' keys can be wrapped to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredNode {
    /// The fingerprint of its key.
    pub node: String,
    /// The public half of its identity.
    pub recipient: String,
    /// `all`, or ids of tenants, separated by commas.
    pub serves: String,
    /// An HMAC of the other fields under the check key of API keys.
    pub tag: Vec<u8>,
}

/// A tenant's key, wrapped to one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantKey {
    pub tenant: String,
    pub node: String,
    pub wrapped: Vec<u8>,
}

/// The origin of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    pub request_id: RequestId,
    pub ip: String,
    pub user_agent: Option<String>,
}

/// The catalogue that was imported last into a shared ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedCatalogue {
    /// Another one after each import.
    pub revision: u64,
    pub document: String,
}

/// The fingerprints of a request, by which it is recognized when it is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// An HMAC of the whole request: what is stored.
    pub keyed: [u8; 32],
    /// The SHA-256 of the whole request: what processes of an earlier version store, also while they share the ledger.
    pub unkeyed: [u8; 32],
}

impl Fingerprint {
    /// Returns whether `stored` is a fingerprint of the same request.
    pub fn matches(&self, stored: &[u8; 32]) -> bool {
        [self.keyed, self.unkeyed].contains(stored)
    }
}

/// An administrative idempotency key, without the request's fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ReplyKey {
    pub(super) scope: String,
    pub(super) key: String,
}

/// An administrative idempotency key with its answer, which a repeated request receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The owner of the key.
    pub scope: String,
    pub key: String,
    pub fingerprint: Fingerprint,
    pub status: u16,
    /// JSON, without any secret.
    pub body: String,
}

/// The stored answer to an earlier request.
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
