//! A request whose head and body have arrived, before anything of its body is read.

use axum::extract::Request;
use dialects::{RequestHeaders, Surface};
use events::ids::RequestId;
use events::refusal::Refusal;
use events::routing::Strategy;
use http::HeaderMap;
use projections::caller::Caller;

use super::reading::read_body;
use super::routing_headers::RoutingHeaders;
use crate::body::HeldBody;
use crate::idempotency;
use crate::inference::node::gateway::Gateway;

/// A request as its headers ask for it.
pub struct RequestHead {
    pub(super) id: RequestId,
    pub(super) surface: Surface,
    pub(super) idempotency_key: Option<String>,
    pub(super) headers: RequestHeaders,
    pub(super) routing: RoutingHeaders,
}

impl RequestHead {
    /// Errors: `INVALID_REQUEST` for a header that the gateway reads and that has a value that it cannot have.
    pub fn read(id: RequestId, surface: Surface, headers: &HeaderMap) -> Result<Self, Refusal> {
        let idempotency_key = idempotency::key_of(headers)
            .map_err(|error| Refusal::invalid(idempotency::IDEMPOTENCY_HEADER.as_str(), error.to_string()))?;
        Ok(Self {
            id,
            surface,
            idempotency_key,
            headers: (surface.spec().read_headers)(headers)?,
            routing: RoutingHeaders::of(headers)?,
        })
    }

    pub const fn requested_strategy(&self) -> Option<Strategy> {
        self.routing.strategy
    }

    /// The request with its body: it must be JSON, complete, and within the bounds.
    pub async fn receive(
        self,
        gateway: &Gateway,
        caller: &Caller,
        request: Request,
    ) -> Result<ReceivedRequest, Refusal> {
        Ok(ReceivedRequest { head: self, body: read_body(gateway, caller, request).await? })
    }
}

/// A request with its whole body.
pub struct ReceivedRequest {
    pub(super) head: RequestHead,
    pub(super) body: HeldBody,
}
