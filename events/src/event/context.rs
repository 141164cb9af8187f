//! The context of events: whom they are about, and who caused them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{KeyId, PartnerId, RequestId, TenantId, UserId};

/// The cause of an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    Key(KeyId),
    Operator,
    /// A part of the gateway itself: `sweeper`, `setup`, `gateway`, `ledger`, `reseal`, `environment`, `revaluation`, `shadow`.
    System(&'static str),
    /// A part of the gateway that this version does not know.
    Other(String),
}

impl Actor {
    /// Sends the copies of requests to the shadows of models.
    pub const SHADOW: Self = Self::System("shadow");

    /// The parts of the gateway itself.
    const SYSTEM: [&str; 8] =
        ["sweeper", "setup", "gateway", "ledger", "reseal", "environment", "revaluation", "shadow"];
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::Operator => f.write_str("operator"),
            Self::System(name) => write!(f, "system:{name}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Key(key) => key.serialize(serializer),
            other => serializer.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "operator" {
            return Ok(Self::Operator);
        }
        let part = text.strip_prefix("system:").and_then(|part| Self::SYSTEM.into_iter().find(|known| *known == part));
        Ok(match (part, text.parse()) {
            (Some(part), _) => Self::System(part),
            (None, Ok(key)) => Self::Key(key),
            (None, Err(_)) => Self::Other(text),
        })
    }
}

/// Whom an event is about, and who caused it. A member that is unknown or does not apply is absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Context {
    pub actor: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner_id: Option<PartnerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
}

impl Context {
    /// The context of an event about nobody in particular.
    pub const fn of(actor: Actor) -> Self {
        Self { actor, partner_id: None, tenant_id: None, user_id: None, key_id: None, request_id: None }
    }

    pub const fn about(actor: Actor, chain: Chain) -> Self {
        Self {
            actor,
            partner_id: chain.partner,
            tenant_id: chain.tenant,
            user_id: chain.user,
            key_id: chain.key,
            request_id: None,
        }
    }

    pub const fn in_request(mut self, request: RequestId) -> Self {
        self.request_id = Some(request);
        self
    }

    /// The context of both: what they have in common. The actor is that of the first.
    #[must_use]
    pub fn common_with(self, other: &Self) -> Self {
        fn common<T: PartialEq>(ours: Option<T>, theirs: &Option<T>) -> Option<T> {
            ours.filter(|ours| theirs.as_ref() == Some(ours))
        }
        Self {
            actor: self.actor,
            partner_id: common(self.partner_id, &other.partner_id),
            tenant_id: common(self.tenant_id, &other.tenant_id),
            user_id: common(self.user_id, &other.user_id),
            key_id: common(self.key_id, &other.key_id),
            request_id: common(self.request_id, &other.request_id),
        }
    }

    pub const fn chain(&self) -> Chain {
        Chain { partner: self.partner_id, tenant: self.tenant_id, user: self.user_id, key: self.key_id }
    }
}

/// The chain of owners, partner → tenant → user → key, down to the level that applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Chain {
    pub partner: Option<PartnerId>,
    pub tenant: Option<TenantId>,
    pub user: Option<UserId>,
    pub key: Option<KeyId>,
}

impl Chain {
    /// The ids of partner, tenant, user and key as text.
    pub fn texts(self) -> [Option<String>; 4] {
        let Self { partner, tenant, user, key } = self;
        let (partner, tenant) = (partner.map(|id| id.to_string()), tenant.map(|id| id.to_string()));
        [partner, tenant, user.map(|id| id.to_string()), key.map(|id| id.to_string())]
    }
}
