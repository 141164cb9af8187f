//! Who asks, taken from the request.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use events::wire::{ErrorCode, Refusal};
use http::request::Parts;
use projections::caller::Caller;

use crate::error::QueryError;

/// The authenticated caller.
pub struct Asker(pub Arc<Caller>);

impl Deref for Asker {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = QueryError;

    /// Without a caller the door was left out: closed rather than open.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, QueryError> {
        let caller = parts.extensions.get::<Arc<Caller>>().map(Arc::clone);
        caller.map(Self).ok_or_else(|| Refusal::new(ErrorCode::Unauthenticated, "a key is needed").into())
    }
}

/// The query string as it came.
pub struct QueryString(pub String);

impl<S: Send + Sync> FromRequestParts<S> for QueryString {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.uri.query().unwrap_or_default().to_owned()))
    }
}
