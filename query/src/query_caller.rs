//! The caller of a request.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use events::event::admin::Permission;
use events::log::LogQueries;
use events::refusal::{ErrorCode, Refusal};
use http::request::Parts;
use projections::caller::Caller;

use crate::QueryState;
use crate::error::QueryError;
use crate::parameters::{Parameters, QueryString};

/// The authenticated caller, and the permission that the query needs.
pub struct QueryCaller {
    caller: Arc<Caller>,
    /// `None` if any key will do.
    required: Option<Permission>,
}

impl QueryCaller {
    pub const fn new(caller: Arc<Caller>) -> Self {
        Self { caller, required: None }
    }

    /// Begins a query that needs the permission: its parameters, and the `min_position` among them.
    pub fn begin(
        &mut self,
        permission: Permission,
        query: &QueryString,
        log: &LogQueries,
    ) -> Result<(Parameters, u64), QueryError> {
        self.require(permission)?;
        Ok(Parameters::with_min_position(query, log)?)
    }

    /// Refuses with `FORBIDDEN` unless the caller has the permission, now and whenever it is looked up again.
    pub fn require(&mut self, permission: Permission) -> Result<(), QueryError> {
        self.required = Some(permission);
        Ok(self.caller.require(permission)?)
    }

    /// Looks the caller up again. Call it after every wait: its rights may have ended meanwhile.
    ///
    /// Errors: the caller is no longer authenticated, or has lost the permission that the query needs.
    pub fn look_up_again(&mut self, state: &QueryState) -> Result<(), QueryError> {
        self.caller = self.caller.refreshed(&state.tables.load(), state.clock.now())?;
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

    /// Refuses a request without a caller: it did not come through the door.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, QueryError> {
        let caller = parts.extensions.get::<Arc<Caller>>().map(Arc::clone);
        caller.map(Self::new).ok_or_else(|| Refusal::new(ErrorCode::Unauthenticated, "no API key").into())
    }
}
