//! Whom a budget or a rate limit binds.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::{Chain, Context, StreamKind};
use crate::ids::{KeyId, PartnerId, TenantId, UserId};

/// The scope of a budget or a limit: exactly one level of the chain. `{"tenant_id":"ten_…"}` on the wire, `ten_…` as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    #[serde(rename = "partner_id")]
    Partner(PartnerId),
    #[serde(rename = "tenant_id")]
    Tenant(TenantId),
    #[serde(rename = "user_id")]
    User(UserId),
    #[serde(rename = "key_id")]
    Key(KeyId),
}

impl Scope {
    /// The kind of the owner.
    pub const fn kind(self) -> StreamKind {
        match self {
            Self::Partner(_) => StreamKind::Partner,
            Self::Tenant(_) => StreamKind::Tenant,
            Self::User(_) => StreamKind::User,
            Self::Key(_) => StreamKind::Key,
        }
    }

    /// Whom a budget or a limit of this scope belongs to, by the context of its event.
    pub const fn owners(self, context: &Context) -> Chain {
        match self {
            Self::Partner(id) => Chain { partner: Some(id), tenant: None, user: None, key: None },
            Self::Tenant(id) => Chain { partner: context.partner_id, tenant: Some(id), user: None, key: None },
            Self::User(_) | Self::Key(_) => context.chain(),
        }
    }

    /// Whether it binds requests of this chain.
    pub fn binds(self, chain: &Chain) -> bool {
        match self {
            Self::Partner(id) => chain.partner == Some(id),
            Self::Tenant(id) => chain.tenant == Some(id),
            Self::User(id) => chain.user == Some(id),
            Self::Key(id) => chain.key == Some(id),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partner(id) => id.fmt(f),
            Self::Tenant(id) => id.fmt(f),
            Self::User(id) => id.fmt(f),
            Self::Key(id) => id.fmt(f),
        }
    }
}
