//! Facts. Every event that was ever written decodes for ever: type names and versions are literals, fields are never
//! renamed or reinterpreted. One golden JSON a type stands in `tests/golden/events/`.

pub mod access;
pub mod admin;
pub mod alert;
pub mod hold;
pub mod inference;
pub mod node_key;

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ids::{BudgetId, KeyId, LimitId, ModelId, PartnerId, PriceId, ProviderId, RequestId, TenantId, UserId};
use access::{AccessDenied, AccessRateLimited};
use admin::{Budget, Ended, Key, KeyRotated, Model, Partner, Price, Provider, RateLimit, Tenant, User};
use alert::BudgetThresholdReached;
use hold::{BudgetAdjusted, BudgetExpired, BudgetReleased, BudgetReserved, BudgetSettled};
use inference::{AttemptFailed, InferenceAdmitted, InferenceEnded, InferenceRefused};
use node_key::NodeKeyReplaced;

/// A stored event cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("unknown event type {name}.v{version}")]
    UnknownType { name: String, version: u32 },
    #[error("decode {name}.v{version}: {source}")]
    Payload { name: String, version: u32, source: serde_json::Error },
}

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident($data:ty) $name:literal v $version:literal;)*) => {
        /// Every fact that the log can hold.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event {
            $($(#[$doc])* $variant(Box<$data>),)*
        }

        impl Event {
            /// Name and version of every type, as in the catalogue `docs/events.md`.
            pub const TYPES: &'static [(&'static str, u32)] = &[$(($name, $version),)*];

            /// The literal name without its version: `budget.settled`.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            pub const fn version(&self) -> u32 {
                match self { $(Self::$variant(_) => $version,)* }
            }

            /// `data` as JSON text.
            pub fn payload(&self) -> Result<String, serde_json::Error> {
                match self { $(Self::$variant(data) => serde_json::to_string(data),)* }
            }

            /// The same at the end of a buffer that has room from before.
            pub fn write_payload(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
                match self { $(Self::$variant(data) => serde_json::to_writer(out, data),)* }
            }

            pub fn decode(name: &str, version: u32, payload: &str) -> Result<Self, DecodeError> {
                match (name, version) {
                    $(($name, $version) => decode_data(name, version, payload).map(Self::$variant),)*
                    _ => Err(DecodeError::UnknownType { name: name.to_owned(), version }),
                }
            }
        }
    };
}

events! {
    /// A request may be sent: its hold follows in the same batch.
    InferenceAdmitted(InferenceAdmitted) "inference.admitted" v 1;
    /// A request was turned away (or several, see `count`).
    InferenceRefused(InferenceRefused) "inference.refused" v 1;
    /// The upstream answered to the end.
    InferenceCompleted(InferenceEnded) "inference.completed" v 1;
    /// The upstream failed.
    InferenceFailed(InferenceEnded) "inference.failed" v 1;
    /// The client, the gateway or its process gave up.
    InferenceAborted(InferenceEnded) "inference.aborted" v 1;
    /// One target failed; the request went on.
    InferenceAttemptFailed(AttemptFailed) "inference.attempt_failed" v 1;

    BudgetReserved(BudgetReserved) "budget.reserved" v 1;
    BudgetSettled(BudgetSettled) "budget.settled" v 1;
    BudgetReleased(BudgetReleased) "budget.released" v 1;
    BudgetExpired(BudgetExpired) "budget.expired" v 1;
    BudgetAdjusted(BudgetAdjusted) "budget.adjusted" v 1;
    /// A budget is spent up to a fraction that somebody wanted to know of.
    BudgetThresholdReached(BudgetThresholdReached) "budget.threshold_reached" v 1;

    PartnerCreated(Partner) "partner.created" v 1;
    PartnerChanged(Partner) "partner.changed" v 1;
    PartnerEnded(Ended<PartnerId>) "partner.ended" v 1;
    TenantCreated(Tenant) "tenant.created" v 1;
    TenantChanged(Tenant) "tenant.changed" v 1;
    TenantEnded(Ended<TenantId>) "tenant.ended" v 1;
    UserCreated(User) "user.created" v 1;
    UserChanged(User) "user.changed" v 1;
    UserEnded(Ended<UserId>) "user.ended" v 1;
    KeyCreated(Key) "key.created" v 1;
    KeyChanged(Key) "key.changed" v 1;
    /// The key has a new secret; the one before works until `previous_until`.
    KeyRotated(KeyRotated) "key.rotated" v 1;
    KeyRevoked(Ended<KeyId>) "key.revoked" v 1;
    ProviderCreated(Provider) "provider.created" v 1;
    ProviderChanged(Provider) "provider.changed" v 1;
    ProviderEnded(Ended<ProviderId>) "provider.ended" v 1;
    ModelCreated(Model) "model.created" v 1;
    ModelChanged(Model) "model.changed" v 1;
    ModelEnded(Ended<ModelId>) "model.ended" v 1;
    PriceCreated(Price) "price.created" v 1;
    PriceChanged(Price) "price.changed" v 1;
    PriceEnded(Ended<PriceId>) "price.ended" v 1;
    BudgetOpened(Budget) "budget.opened" v 1;
    BudgetChanged(Budget) "budget.changed" v 1;
    BudgetClosed(Ended<BudgetId>) "budget.closed" v 1;
    RateLimitCreated(RateLimit) "rate_limit.created" v 1;
    RateLimitChanged(RateLimit) "rate_limit.changed" v 1;
    RateLimitEnded(Ended<LimitId>) "rate_limit.ended" v 1;

    /// What is sealed at rest hangs on another node's key from here on.
    NodeKeyReplaced(NodeKeyReplaced) "node_key.replaced" v 1;

    /// Bad keys and missing permissions, rolled up.
    AccessDenied(AccessDenied) "access.denied" v 1;
    /// Requests above a rate limit, rolled up.
    AccessRateLimited(AccessRateLimited) "access.rate_limited" v 1;
}

fn decode_data<T: DeserializeOwned>(name: &str, version: u32, payload: &str) -> Result<Box<T>, DecodeError> {
    serde_json::from_str(payload).map(Box::new).map_err(|source| DecodeError::Payload {
        name: name.to_owned(),
        version,
        source,
    })
}

/// Kind of the stream that an event stands on; with an id it names the stream: `hold-req_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamKind {
    Inference,
    Hold,
    Partner,
    Tenant,
    User,
    Key,
    Provider,
    Model,
    Price,
    Budget,
    RateLimit,
    NodeKey,
    Access,
    Alert,
}

impl StreamKind {
    pub const ALL: &'static [Self] = &[
        Self::Inference,
        Self::Hold,
        Self::Partner,
        Self::Tenant,
        Self::User,
        Self::Key,
        Self::Provider,
        Self::Model,
        Self::Price,
        Self::Budget,
        Self::RateLimit,
        Self::NodeKey,
        Self::Access,
        Self::Alert,
    ];

    /// Whether its events are of administration: few and small, so that tables are folded from them at every start.
    pub const fn is_administration(self) -> bool {
        !matches!(self, Self::Inference | Self::Hold | Self::Access | Self::Alert)
    }

    /// The literal that is stored as `aggregate_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Hold => "hold",
            Self::Partner => "partner",
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Key => "key",
            Self::Provider => "provider",
            Self::Model => "model",
            Self::Price => "price",
            Self::Budget => "budget",
            Self::RateLimit => "rate_limit",
            Self::NodeKey => "node_key",
            Self::Access => "access",
            Self::Alert => "alert",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

/// One ordered history: `{kind}-{id}`. Sequences in it are 1, 2, 3 …
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    pub kind: StreamKind,
    pub id: String,
}

impl Stream {
    pub fn new(kind: StreamKind, id: impl fmt::Display) -> Self {
        Self { kind, id: id.to_string() }
    }

    pub fn inference(request: RequestId) -> Self {
        Self::new(StreamKind::Inference, request)
    }

    pub fn hold(request: RequestId) -> Self {
        Self::new(StreamKind::Hold, request)
    }

    pub fn alert(budget: BudgetId) -> Self {
        Self::new(StreamKind::Alert, budget)
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind.as_str(), self.id)
    }
}

/// Who caused an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    Key(KeyId),
    Operator,
    /// A part of the gateway itself: `sweeper`, `setup`, `gateway`, `ledger`, `reseal`.
    System(&'static str),
    /// A part of the gateway that this version does not know any more.
    Other(String),
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
        Ok(match text.as_str() {
            "operator" => Self::Operator,
            "system:sweeper" => Self::System("sweeper"),
            "system:setup" => Self::System("setup"),
            "system:gateway" => Self::System("gateway"),
            "system:ledger" => Self::System("ledger"),
            "system:reseal" => Self::System("reseal"),
            key => match key.parse() {
                Ok(key) => Self::Key(key),
                Err(_) => Self::Other(text),
            },
        })
    }
}

/// Whom an event is about and who caused it. What is unknown or does not apply is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// About nobody in particular.
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

    pub const fn chain(&self) -> Chain {
        Chain { partner: self.partner_id, tenant: self.tenant_id, user: self.user_id, key: self.key_id }
    }
}

/// Partner → tenant → user → key, as far down as it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Chain {
    pub partner: Option<PartnerId>,
    pub tenant: Option<TenantId>,
    pub user: Option<UserId>,
    pub key: Option<KeyId>,
}

/// An event as it stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// 1, 2, 3 … without a gap, in commit order.
    pub position: u64,
    /// UTC, whole microseconds; never goes back along positions.
    pub recorded_at: DateTime<Utc>,
    pub stream: Stream,
    /// Place in its stream, from 1.
    pub sequence: u64,
    pub context: Context,
    pub event: Event,
}
