//! Who asks, taken from the request.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use events::event::admin::Permission;
use events::refusal::{ErrorCode, Refusal};
use http::request::Parts;
use projections::caller::Caller;

use crate::QueryState;
use crate::error::QueryError;

/// The authenticated caller, and the permission that its question needs.
pub struct QueryCaller {
    caller: Arc<Caller>,
    /// `None` where any key may ask.
    required: Option<Permission>,
}

impl QueryCaller {
    pub const fn new(caller: Arc<Caller>) -> Self {
        Self { caller, required: None }
    }

    /// Refuses with `FORBIDDEN` unless the caller has the permission, now and whenever it is looked up again.
    pub fn require(&mut self, permission: Permission) -> Result<(), QueryError> {
        self.required = Some(permission);
        Ok(self.caller.require(permission)?)
    }

    /// To be done after every wait: what the caller was let in with may have been taken away meanwhile.
    ///
    /// Errors: the caller would not be let in any more, or has lost the permission that its question needs.
    pub fn look_up_again(&mut self, state: &QueryState) -> Result<(), QueryError> {
        self.caller = self.caller.looked_up_again(&state.tables.load(), state.clock.now())?;
        match self.required {
            Some(permission) => Ok(self.caller.require(permission)?),
            None => Ok(()),
        }
    }

    pub fn into_caller(self) -> Arc<Caller> {
        self.caller
    }
}

impl Deref for QueryCaller {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl<S: Send + Sync> FromRequestParts<S> for QueryCaller {
    type Rejection = QueryError;

    /// Without a caller the door was left out: closed rather than open.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, QueryError> {
        let caller = parts.extensions.get::<Arc<Caller>>().map(Arc::clone);
        caller.map(Self::new).ok_or_else(|| Refusal::new(ErrorCode::Unauthenticated, "no API key").into())
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
