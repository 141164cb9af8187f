//! A request that was read: its facts, and what is fixed for all of its plans.

use std::sync::Arc;

use dialects::ClientRequest;
use events::ids::{RequestId, TenantId};
use events::refusal::Refusal;
use ring::digest::Digest;

use super::reading::parse_body;
use super::received_request::{ReceivedRequest, RequestHead};
use super::routing_headers::{RoutingHeaders, terms_of_both};
use crate::body::HeldBody;
use crate::body::large_bodies::LargeBodies;
use crate::body::memory::BodyPermit;
use crate::inference::targets::target_places::Priority;

/// A request that was read.
pub struct ParsedRequest {
    pub request: Box<ClientRequest>,
    pub envelope: RequestEnvelope,
}

/// The input that is the same for all plans of a request.
pub struct RequestEnvelope {
    pub id: RequestId,
    pub body_sha256: Digest,
    pub body_bytes: usize,
    pub body_permit: Arc<BodyPermit>,
    pub idempotency_key: Option<String>,
    pub priority: Priority,
    /// `None` if a client has sent it.
    pub copied: Option<Copied>,
}

/// The request that another one is a copy of.
#[derive(Clone, Copy)]
pub struct Copied {
    pub request: RequestId,
    /// The tenant that it belongs to.
    pub tenant: Option<TenantId>,
}

impl ReceivedRequest {
    /// Reads its body, with what its headers ask for.
    pub async fn parse(self, large_bodies: &LargeBodies) -> Result<ParsedRequest, Refusal> {
        let RequestHead { id, surface, idempotency_key, headers, routing } = self.head;
        let HeldBody { bytes, permit: body_permit } = self.body;
        let RoutingHeaders { priority, session, strategy, terms } = routing;
        let body_bytes = bytes.len();
        let (mut request, body_sha256) = parse_body(large_bodies, &body_permit, surface, bytes).await?;
        request.set_headers(headers);
        let directives = &mut request.facts.directives;
        if session.is_some() {
            directives.session = session;
        }
        directives.required_terms = terms_of_both(std::mem::take(&mut directives.required_terms), terms)?;
        directives.strategy = strategy;
        let envelope =
            RequestEnvelope { id, body_sha256, body_bytes, body_permit, idempotency_key, priority, copied: None };
        Ok(ParsedRequest { request, envelope })
    }
}
