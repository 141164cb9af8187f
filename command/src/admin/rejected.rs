//! Resources of refused changes, by which the refusals are recorded. A resource's owners are those whom the record is
//! about, as they are for a change that is carried out.

use std::sync::{Arc, OnceLock};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use events::event::{Chain, StreamKind};
use events::refusal::Refusal;
use http::Method;

/// The resource of a refused change. A response extension next to its [`Refusal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedResource {
    pub kind: StreamKind,
    /// The method of the change.
    pub method: Method,
    /// `None` if the path names no resource, or none that the caller reaches.
    pub reached: Option<ReachedResource>,
}

/// A resource that the caller reaches, and its owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachedResource {
    pub id: String,
    pub chain: Chain,
}

/// Where a command notes the resource that its path names. A request extension.
#[derive(Clone, Debug, Default)]
pub(crate) struct NotedResource(Arc<OnceLock<ReachedResource>>);

impl NotedResource {
    /// Notes the resource once the caller was found to reach it. Only the first call has an effect: a command that is decided
    /// again is about the same resource.
    pub(crate) fn reached(&self, id: impl std::fmt::Display, chain: Chain) {
        self.0.get_or_init(|| ReachedResource { id: id.to_string(), chain });
    }

    pub(crate) fn rejected(&self, kind: StreamKind, method: Method) -> RejectedResource {
        RejectedResource { kind, method, reached: self.0.get().cloned() }
    }
}

/// Middleware of the routes that change resources of a kind.
pub(crate) async fn noted(kind: StreamKind, mut request: Request, next: Next) -> Response {
    let (resource, method) = (NotedResource::default(), request.method().clone());
    request.extensions_mut().insert(resource.clone());
    let mut response = next.run(request).await;
    if response.extensions().get::<Refusal>().is_some() {
        response.extensions_mut().insert(resource.rejected(kind, method));
    }
    response
}
