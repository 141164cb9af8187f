//! Refusals: their stable codes, and the message and details that go with each. The crates that speak HTTP decide a code's
//! status and how a surface words it.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::named;

named! {
    /// A stable code. Codes are added, never renamed: some are recorded in events.
    pub enum ErrorCode {
        /// The request is malformed; details: `field`, `reason`.
        InvalidRequest = "INVALID_REQUEST",
        /// The upstream says that the request is wrong; details: `reason`, and `upstream_status`, `upstream_code`,
        /// `upstream_param` if it gives them.
        UpstreamRejected = "UPSTREAM_REJECTED",
        /// The key is missing, malformed, unknown, expired or revoked.
        Unauthenticated = "UNAUTHENTICATED",
        /// The key lacks a permission or the reach.
        Forbidden = "FORBIDDEN",
        /// The allow list of the key, or that of its tenant, does not name the model.
        ModelNotAllowed = "MODEL_NOT_ALLOWED",
        /// No target that could serve the request meets a term that its tenant or the request requires; details: `term`,
        /// `required`, `required_by`.
        TermsNotMet = "TERMS_NOT_MET",
        /// There is no such resource or path that the key can see.
        NotFound = "NOT_FOUND",
        /// There is no such model that the key can see.
        ModelNotFound = "MODEL_NOT_FOUND",
        /// The path exists, the method does not.
        MethodNotAllowed = "METHOD_NOT_ALLOWED",
        /// Another change came first, or the name is taken.
        Conflict = "CONFLICT",
        /// The `Idempotency-Key` came before with another body.
        IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED",
        /// A tenant is under legal hold: nothing of it is deleted or erased.
        LegalHold = "LEGAL_HOLD",
        /// The kept content of a request is gone for good; details: `reason`.
        ContentGone = "CONTENT_GONE",
        /// The body is larger than 32 MiB.
        PayloadTooLarge = "PAYLOAD_TOO_LARGE",
        /// The body is not `application/json`.
        UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
        /// This node does not serve the tenant of the request.
        TenantNotServed = "TENANT_NOT_SERVED",
        /// The model or a field has no price, so that the cost cannot be bounded.
        ModelUnpriced = "MODEL_UNPRICED",
        /// A budget has not enough left; details name it and its figures.
        BudgetExceeded = "BUDGET_EXCEEDED",
        /// A rate limit is reached, the gateway's or every upstream's.
        RateLimited = "RATE_LIMITED",
        /// A rate limit that nodes share cannot be counted now.
        LimitsUnavailable = "LIMITS_UNAVAILABLE",
        /// The headers or the query string are too large.
        RequestHeaderFieldsTooLarge = "REQUEST_HEADER_FIELDS_TOO_LARGE",
        /// A defect in the gateway.
        Internal = "INTERNAL",
        /// The upstream failed, or answered in something other than its dialect.
        UpstreamError = "UPSTREAM_ERROR",
        /// The ledger cannot record, or has not confirmed the record; details: `recorded`.
        LedgerUnavailable = "LEDGER_UNAVAILABLE",
        /// The view did not reach `min_position` within two seconds.
        ViewBehind = "VIEW_BEHIND",
        /// This node keeps no views; another one answers.
        ViewsOff = "VIEWS_OFF",
        /// The object store of the published log does not answer.
        PublishedLogUnavailable = "PUBLISHED_LOG_UNAVAILABLE",
        /// The store of sealed content does not answer, or this node has none.
        ContentUnavailable = "CONTENT_UNAVAILABLE",
        /// A query ran too long, or waited too long for other callers' queries.
        QueryTimeout = "QUERY_TIMEOUT",
        /// Several upstreams could serve the model and all of them failed; or only a later version knows their kind.
        AllProvidersUnavailable = "ALL_PROVIDERS_UNAVAILABLE",
        /// The gateway has no memory left for this key, for this tenant, or at all.
        Overloaded = "OVERLOADED",
        /// The gateway is shutting down.
        Draining = "DRAINING",
        /// The upstream was silent for too long.
        UpstreamTimeout = "UPSTREAM_TIMEOUT",
        /// The request has come back to a gateway that sent it; details: `reason` and `upstream_status` if an upstream says so.
        LoopDetected = "LOOP_DETECTED",
    }
}

/// A refusal on its way to a client, free of any surface.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub code: ErrorCode,
    /// For people. It never contains a secret, and an upstream's own words only after redaction (`UpstreamRejected`).
    pub message: String,
    pub details: Map<String, Value>,
    /// How long to wait before a retry.
    pub retry_after: Option<Duration>,
    /// The log position of the event that records it, if there is one.
    pub position: Option<u64>,
    /// The cause, for the gateway's own log; never shown to a client.
    pub cause: Option<Box<str>>,
}

/// The `condition` of a request whose prompt is longer than the context windows of its targets, in OpenAI's word.
pub const CONTEXT_LENGTH_EXCEEDED: &str = "context_length_exceeded";

impl Refusal {
    /// See [`Refusal::try_again`].
    pub const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Map::new(), retry_after: None, position: None, cause: None }
    }

    /// A malformed request: names the field and what is wrong with it.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        let (field, reason) = (field.into(), reason.into());
        let message = if field.is_empty() { reason.clone() } else { format!("{field}: {reason}") };
        Self::new(ErrorCode::InvalidRequest, message).with("field", field).with("reason", reason)
    }

    /// This node does not know in time what other nodes have recorded, such as the end of a key.
    pub fn behind_the_ledger() -> Self {
        let message = "this node is behind the ledger, so it cannot tell whether the request is allowed; try again";
        Self::new(ErrorCode::LedgerUnavailable, message).try_again()
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

    /// With the wait that is advised where nobody knows the right one.
    #[must_use]
    pub const fn try_again(self) -> Self {
        self.retry_after(Self::TRY_AGAIN_AFTER)
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

/// Whole seconds for `Retry-After`: rounded up, at least 1.
pub fn retry_after_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}
