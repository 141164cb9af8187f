//! The body of a request, read and parsed.

use std::sync::Arc;

use axum::extract::Request;
use bytes::Bytes;
use dialects::{ClientRequest, Surface};
use events::refusal::{ErrorCode, Refusal};
use projections::caller::Caller;
use ring::digest::{Digest, SHA256, digest};

use crate::body::large_bodies::{LargeBodies, LargeBodyError};
use crate::body::memory::{BodyOwner, BodyPermit};
use crate::body::{self, BodyError, HeldBody};
use crate::inference::node::gateway::Gateway;

/// Reads the body: it must be `application/json`, complete, and within the bounds.
pub async fn read_body(gateway: &Gateway, caller: &Caller, request: Request) -> Result<HeldBody, Refusal> {
    let (parts, body) = request.into_parts();
    if !body::is_json(&parts.headers) {
        return Err(Refusal::new(
            ErrorCode::UnsupportedMediaType,
            "the body must be JSON, sent with content-type: application/json",
        ));
    }
    let held = body::read_all(&gateway.memory.bodies, BodyOwner::of_inference(caller), &parts.headers, body).await;
    held.map_err(BodyError::into_refusal)
}

/// Parses a body, a large one on a thread of its own.
pub async fn parse_body(
    large_bodies: &LargeBodies,
    permit: &Arc<BodyPermit>,
    surface: Surface,
    body: Bytes,
) -> Result<(Box<ClientRequest>, Digest), Refusal> {
    work_on(large_bodies, permit, body.len(), move || parse(surface, body)).await
}

/// Works on a body of this size: on a large one on a thread of its own.
pub async fn work_on<T: Send + 'static>(
    large_bodies: &LargeBodies,
    permit: &Arc<BodyPermit>,
    bytes: usize,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    if !LargeBodies::is_large(bytes) {
        return work();
    }
    large_bodies.run(permit, work).await.unwrap_or_else(|error| Err(nothing_sent(error)))
}

fn nothing_sent(error: LargeBodyError) -> Refusal {
    error.refusal("nothing was sent to a provider")
}

/// The request, and the SHA-256 of its body.
pub fn parse(surface: Surface, body: Bytes) -> Result<(Box<ClientRequest>, Digest), Refusal> {
    let request = Box::new(ClientRequest::parse(surface, body)?);
    let body_sha256 = digest(&SHA256, request.body());
    Ok((request, body_sha256))
}

#[cfg(test)]
pub mod tests;
