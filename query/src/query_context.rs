//! The context of a query: who asks, what for, and where the answer is read.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use events::concurrency::QueryPermit;
use events::event::access::ReadKind;
use events::event::admin::Permission;
use events::log::{LogError, PositionStatus, Reader};
use events::refusal::{ErrorCode, Refusal};
use http::request::Parts;
use projections::caller::Caller;
use projections::views::{AsOf, Question, ViewsError};
use projections::visible::Visible;

use crate::QueryState;
use crate::error::QueryError;
use crate::parameters::{Parameters, min_position_among_others, not_known_yet, require_recorded};

/// A query that has no permit to read yet.
pub struct QueryContext {
    pub state: QueryState,
    pub caller: Arc<Caller>,
    /// The query string, not decoded.
    pub query_string: String,
    /// The permission that the query needs; `None` if any key will do.
    required: Option<Permission>,
}

/// A query with its permit to read.
pub struct PermittedQuery {
    pub state: QueryState,
    /// The caller as it was when the permit was given.
    pub caller: Arc<Caller>,
    pub permit: QueryPermit,
}

impl QueryContext {
    pub const fn new(state: QueryState, caller: Arc<Caller>, query_string: String) -> Self {
        Self { state, caller, query_string, required: None }
    }

    /// Begins a query that needs the permission: its parameters, and the `min_position` among them.
    pub fn begin(&mut self, permission: Permission) -> Result<(Parameters, u64), Refusal> {
        self.require(permission)?;
        self.parameters()
    }

    /// The same for a query that has no query string. Waits for a `min_position` that another node has told the client.
    pub async fn begin_with(
        &mut self,
        permission: Permission,
        parameters: Vec<(&str, String)>,
    ) -> Result<(Parameters, u64), QueryError> {
        self.require(permission)?;
        let parameters = Parameters::of(parameters.into_iter().map(|(name, value)| (name.to_owned(), value)))?;
        let min_position = parameters.peek("min_position").and_then(|text| text.parse().ok()).unwrap_or(0);
        wait_until_known(&self.state, min_position).await?;
        self.look_up_again()?;
        Ok(self.with_min_position(parameters)?)
    }

    /// The parameters, and the `min_position` among them.
    pub fn parameters(&self) -> Result<(Parameters, u64), Refusal> {
        self.with_min_position(Parameters::parse(&self.query_string)?)
    }

    fn with_min_position(&self, mut parameters: Parameters) -> Result<(Parameters, u64), Refusal> {
        let min_position = parameters.number("min_position")?.unwrap_or(0);
        require_recorded(self.state.log.head(), min_position)?;
        Ok((parameters, min_position))
    }

    /// Refuses with `FORBIDDEN` unless the caller has the permission, now and whenever it is looked up again.
    pub fn require(&mut self, permission: Permission) -> Result<(), Refusal> {
        self.required = Some(permission);
        self.caller.require(permission)
    }

    /// Looks the caller up again. Call it after every wait: its rights may have ended meanwhile.
    ///
    /// Errors: the caller is no longer authenticated, or has lost the permission that the query needs.
    pub fn look_up_again(&mut self) -> Result<(), Refusal> {
        self.caller = self.caller.refreshed(&self.state.tables.load(), self.state.clock.now())?;
        self.required.map_or(Ok(()), |permission| self.caller.require(permission))
    }

    /// Waits for a permit to read, and then looks the caller up again. All other waits come before this one, because others
    /// cannot use the permit meanwhile; what the caller may see is determined after it.
    pub async fn admit(&mut self) -> Result<PermittedQuery, QueryError> {
        let permit = self.state.concurrency.admit_query(self.caller.requester()).await?;
        self.look_up_again()?;
        Ok(PermittedQuery { state: self.state.clone(), caller: Arc::clone(&self.caller), permit })
    }

    /// Asks the views what the caller may see of them, once they have reached `min_position` and there is a permit to read.
    pub async fn ask<Q: Question>(
        &mut self,
        min_position: u64,
        question: impl FnOnce(Visible) -> Q,
    ) -> Result<(PermittedQuery, AsOf<Q::Answer>), QueryError> {
        for view in Q::VIEWS {
            self.state.views.wait_for(*view, min_position).await?;
        }
        let query = self.admit().await?;
        let answer = query.ask(question(Visible::for_caller(&query.caller))).await?;
        Ok((query, answer))
    }
}

impl PermittedQuery {
    pub async fn ask<Q: Question>(&self, question: Q) -> Result<AsOf<Q::Answer>, ViewsError> {
        self.state.views.ask(&self.permit, question).await
    }

    /// Records that the caller has read something of this kind. Call it once for each answer, when everything in it was read:
    /// a query that is refused has read nothing.
    pub fn record_read(&self, kind: ReadKind) {
        (self.state.reads)(&self.caller, kind);
    }

    /// Reads the log.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.state.log.read(&self.permit, work).await
    }
}

impl FromRequestParts<QueryState> for QueryContext {
    type Rejection = QueryError;

    /// Refuses a request without a caller: it did not come through the door. Waits for a `min_position` that another node
    /// has told the client. Errors: 503 `VIEW_BEHIND` if this node cannot find out now whether it is recorded.
    async fn from_request_parts(parts: &mut Parts, state: &QueryState) -> Result<Self, QueryError> {
        let caller = parts.extensions.get::<Arc<Caller>>().map(Arc::clone);
        let caller = caller.ok_or_else(|| Refusal::new(ErrorCode::Unauthenticated, "no API key"))?;
        let query_string = parts.uri.query().unwrap_or_default().to_owned();
        // A wrong one is refused where the parameters are read.
        if let Ok(Some(min_position)) = min_position_among_others(&query_string) {
            wait_until_known(state, min_position).await?;
        }
        Ok(Self::new(state.clone(), caller, query_string))
    }
}

/// Waits for a position that another node has told the client.
///
/// Errors: this node cannot find out now whether it is recorded.
async fn wait_until_known(state: &QueryState, min_position: u64) -> Result<(), Refusal> {
    match state.log.wait_until_known(min_position).await {
        PositionStatus::Unknown => Err(not_known_yet(min_position)),
        _ => Ok(()),
    }
}
