//! The refusals that a client can meet: stable codes, and what goes with each. Which HTTP status a code has and how a
//! surface words it is decided in crates that speak HTTP.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $code:literal;)*) => {
        /// A stable code. Codes are added, never renamed: some are recorded in events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $code)] $name,)*
        }

        impl ErrorCode {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }
    };
}

codes! {
    /// The request is malformed; details: `field`, `reason`.
    InvalidRequest "INVALID_REQUEST";
    /// The upstream says that the request is wrong; details: `reason`, and `upstream_status`, `upstream_code`,
    /// `upstream_param` where it says them.
    UpstreamRejected "UPSTREAM_REJECTED";
    /// No key, or one that is garbage, expired or revoked.
    Unauthenticated "UNAUTHENTICATED";
    /// The key lacks a permission or the reach.
    Forbidden "FORBIDDEN";
    /// The key's allow list does not name the model.
    ModelNotAllowed "MODEL_NOT_ALLOWED";
    /// There is no such resource or path that the key can see.
    NotFound "NOT_FOUND";
    /// There is no such model that the key can see.
    ModelNotFound "MODEL_NOT_FOUND";
    /// The path exists, the method does not.
    MethodNotAllowed "METHOD_NOT_ALLOWED";
    /// Somebody else was faster, or the name is taken.
    Conflict "CONFLICT";
    /// The `Idempotency-Key` came before with another body.
    IdempotencyKeyReused "IDEMPOTENCY_KEY_REUSED";
    /// The body is larger than 32 MiB.
    PayloadTooLarge "PAYLOAD_TOO_LARGE";
    /// The body is not `application/json`.
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE";
    /// What was asked for has no price, so that its cost cannot be bounded.
    ModelUnpriced "MODEL_UNPRICED";
    /// A budget has not enough left; details say which and how much.
    BudgetExceeded "BUDGET_EXCEEDED";
    /// A rate limit, ours or every upstream's.
    RateLimited "RATE_LIMITED";
    /// Headers or query string are too large.
    RequestHeaderFieldsTooLarge "REQUEST_HEADER_FIELDS_TOO_LARGE";
    /// A defect of the gateway. Nothing was promised.
    Internal "INTERNAL";
    /// The upstream answered wrongly or not in its dialect.
    UpstreamError "UPSTREAM_ERROR";
    /// The ledger cannot record, or has not confirmed that it did; details: `recorded`.
    LedgerUnavailable "LEDGER_UNAVAILABLE";
    /// The view did not reach `min_position` within two seconds.
    ViewBehind "VIEW_BEHIND";
    /// A query ran for too long, or waited for too long for those of others.
    QueryTimeout "QUERY_TIMEOUT";
    /// Several upstreams could serve the model and all of them failed.
    AllProvidersUnavailable "ALL_PROVIDERS_UNAVAILABLE";
    /// The gateway holds as much for this key, tenant or in all as it may.
    Overloaded "OVERLOADED";
    /// The gateway is shutting down.
    Draining "DRAINING";
    /// The upstream was silent for too long.
    UpstreamTimeout "UPSTREAM_TIMEOUT";
}

/// A refusal on its way to a client, free of any surface.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub code: ErrorCode,
    /// For people. Never carries a secret, nor an upstream's own words but where they were redacted (`UpstreamRejected`).
    pub message: String,
    pub details: Map<String, Value>,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// Log position of the event that records it, where there is one.
    pub position: Option<u64>,
    /// What is behind it, for the gateway's own log: no client is told.
    pub cause: Option<Box<str>>,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Map::new(), retry_after: None, position: None, cause: None }
    }

    /// A malformed request: names the field and what is wrong with it.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        let (field, reason) = (field.into(), reason.into());
        let message = if field.is_empty() { reason.clone() } else { format!("{field}: {reason}") };
        Self::new(ErrorCode::InvalidRequest, message).with("field", field).with("reason", reason)
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    #[must_use]
    pub fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into());
        self
    }

    #[must_use]
    pub const fn at(mut self, position: Option<u64>) -> Self {
        self.position = position;
        self
    }
}
