//! API keys and their permissions.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::event::Shown;
use crate::ids::{KeyId, UserId};
use crate::named;
use crate::time::wire;

named! {
    /// A permission of a key.
    #[derive(PartialOrd, Ord)]
    pub enum Permission {
        ModelsUse = "models:use",
        UsageRead = "usage:read",
        AuditRead = "audit:read",
        EventsRead = "events:read",
        ContentRead = "content:read",
        AdminAccess = "admin:access",
        RoutingChoose = "routing:choose",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub key_id: KeyId,
    pub user_id: UserId,
    pub name: String,
    pub permissions: Vec<Permission>,
    /// Frontend names and globs; absent for every model that the tenant can see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    #[serde(default, with = "wire::option", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

impl Key {
    /// The permissions of a key that is created without any given.
    pub const PERMISSIONS: [Permission; 1] = [Permission::ModelsUse];

    /// A key for every model, which never expires.
    pub fn new(key_id: KeyId, user_id: UserId, name: impl Into<String>) -> Self {
        let permissions = Self::PERMISSIONS.to_vec();
        Self { key_id, user_id, name: name.into(), permissions, models: None, expires_at: None }
    }
}

impl Shown for Key {
    const NULLABLE: &'static [&'static str] = &["models", "expires_at"];
}

/// A key got a new secret. Generation 1 is the secret made with the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotated {
    pub key_id: KeyId,
    pub generation: u32,
    /// Until then the previous generation works as well; older ones end at once.
    #[serde(with = "wire")]
    pub previous_until: DateTime<Utc>,
}
