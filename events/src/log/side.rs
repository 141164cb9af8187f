//! Rows beside the log: what must never be in an event (secrets, people), and what makes a retry answer the same.

use rusqlite::{Connection, params};

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

const CLAIM_NAME: &str = "INSERT OR REPLACE INTO names (kind, scope, name, owner) VALUES (?1, ?2, ?3, ?4)";
const PUT_PERSON: &str = "INSERT OR REPLACE INTO personal_data (subject, name, email, salt) VALUES (?1, ?2, ?3, ?4)";
const PUT_KEY_SECRET: &str =
    "INSERT OR REPLACE INTO key_secrets (key_id, generation, salt, hash) VALUES (?1, ?2, ?3, ?4)";
const DROP_KEY_SECRETS: &str = "DELETE FROM key_secrets WHERE key_id = ?1 AND generation < ?2";
const PUT_SEALED: &str =
    "INSERT OR REPLACE INTO sealed_secrets (subject, generation, key_scope, sealed) VALUES (?1, ?2, ?3, ?4)";
const PUT_WRAPPED: &str = "INSERT OR REPLACE INTO wrapped_keys (scope, wrapped) VALUES (?1, ?2)";
const PUT_ADDRESS: &str = "INSERT OR REPLACE INTO client_addresses (request_id, ip, user_agent) VALUES (?1, ?2, ?3)";

impl SideRow {
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let run =
            |sql: &str, values: &[&dyn rusqlite::ToSql]| connection.prepare_cached(sql)?.execute(values).map(drop);
        match self {
            Self::ClaimName { kind, scope, name, owner } => run(CLAIM_NAME, params![kind.as_str(), scope, name, owner]),
            Self::ReleaseNames { owner } => run("DELETE FROM names WHERE owner = ?1", params![owner]),
            Self::PersonalData(person) => {
                run(PUT_PERSON, params![person.subject.to_string(), person.name, person.email, person.salt])
            }
            Self::ErasePersonalData(subject) => {
                run("DELETE FROM personal_data WHERE subject = ?1", params![subject.to_string()])
            }
            Self::KeySecret(secret) => {
                run(PUT_KEY_SECRET, params![secret.key_id.to_string(), secret.generation, secret.salt, secret.hash])
            }
            Self::DropKeySecrets { key_id, below_generation } => {
                run(DROP_KEY_SECRETS, params![key_id.to_string(), below_generation])
            }
            Self::SealedSecret(secret) => {
                run(PUT_SEALED, params![secret.subject, secret.generation, secret.key_scope, secret.sealed])
            }
            Self::DropSealedSecret { subject } => {
                run("DELETE FROM sealed_secrets WHERE subject = ?1", params![subject])
            }
            Self::WrappedKey { scope, wrapped } => run(PUT_WRAPPED, params![scope, wrapped]),
            Self::ClientAddress(address) => {
                run(PUT_ADDRESS, params![address.request_id.to_string(), address.ip, address.user_agent])
            }
        }
    }
}
