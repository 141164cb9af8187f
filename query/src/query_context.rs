//! The context of a query: who asks, what for, and where the answer is read.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use chrono::{DateTime, Utc};
use events::event::access::ReadKind;
use events::event::admin::Permission;
use events::refusal::{ErrorCode, Refusal};
use events::time::rfc3339;
use events_log::concurrency::QueryPermit;
use events_log::{LogError, PositionStatus, Reader};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use projections::caller::Caller;
use projections::tables::Tables;
use projections::views::{AsOf, Moment, NotRecorded, PastViews, Question, View, ViewsError};
use projections::visible::Visible;

use crate::QueryState;
use crate::error::QueryError;
use crate::page::AS_OF_POSITION_HEADER;
use crate::parameters::{
    AS_OF, Parameters, beyond_the_head, min_position_among_others, not_known_yet, require_recorded,
};

const MOMENT_FORMS: &str = "must be a position such as 1200, or an RFC 3339 time such as 2026-11-20T08:00:00Z";

/// A query that has no permit to read yet.
pub struct QueryContext {
    pub state: QueryState,
    pub caller: Arc<Caller>,
    /// The query string, not decoded.
    pub query_string: String,
    /// The permission that the query needs; `None` if any key will do.
    required: Option<Permission>,
    /// The earlier state that the query asks for; `None` for the newest.
    as_of: Option<Moment>,
    /// The views at that state, once they are there.
    past: Option<Past>,
}

/// The views as of an earlier position.
#[derive(Clone)]
struct Past {
    views: Arc<PastViews>,
    /// The time that is asked for, or that of the event at the position.
    at: DateTime<Utc>,
}

/// A query with its permit to read.
pub struct PermittedQuery {
    pub state: QueryState,
    /// The caller as it was when the permit was given.
    pub caller: Arc<Caller>,
    pub permit: QueryPermit,
    past: Option<Past>,
}

impl QueryContext {
    pub const fn new(state: QueryState, caller: Arc<Caller>, query_string: String) -> Self {
        Self { state, caller, query_string, required: None, as_of: None, past: None }
    }

    /// Begins a query that needs the permission: its parameters, and the `min_position` among them.
    pub fn begin(&mut self, permission: Permission) -> Result<(Parameters, u64), Refusal> {
        self.require(permission)?;
        self.parameters()
    }

    /// The same for a query that takes `as_of`: all that it asks of the views is then answered as of an earlier position.
    pub async fn begin_as_of(&mut self, permission: Permission) -> Result<(Parameters, u64), QueryError> {
        self.require(permission)?;
        let mut parameters = Parameters::parse(&self.query_string)?;
        if let Some(text) = parameters.text(AS_OF) {
            if parameters.peek("min_position").is_some() {
                return Err(Refusal::invalid(AS_OF, "cannot be given together with min_position").into());
            }
            let moment = Moment::parse(&text).ok_or_else(|| Refusal::invalid(AS_OF, MOMENT_FORMS))?;
            if let Moment::Position(position) = moment {
                wait_until_known(&self.state, position).await?;
                self.look_up_again()?;
                let head = self.state.log.head();
                if position > head.position {
                    return Err(beyond_the_head(AS_OF, &text, head).into());
                }
            }
            self.as_of = Some(moment);
        }
        Ok(self.with_min_position(parameters)?)
    }

    /// The same for a query that has no query string. Waits for a `min_position` that another node has told the client.
    pub async fn begin_with(
        &mut self,
        permission: Permission,
        parameters: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Parameters, u64), QueryError> {
        self.require(permission)?;
        let parameters = Parameters::of(parameters)?;
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

    /// Waits for the views as of the earlier position that is asked for, if one is. They are asked from then on.
    async fn go_to_past(&mut self) -> Result<(), QueryError> {
        let Some(moment) = self.as_of.filter(|_| self.past.is_none()) else { return Ok(()) };
        let position = match moment {
            Moment::Position(position) => position,
            Moment::Time(at) => self.position_at(moment, at).await?,
        };
        let views = self.state.views.at(position, self.caller.requester()).await?;
        let at = match moment {
            Moment::Time(at) => at,
            // Before the first event, there is nothing that a time could matter to.
            Moment::Position(_) => views.recorded_at().unwrap_or_default(),
        };
        self.past = Some(Past { views, at });
        Ok(self.look_up_again()?)
    }

    /// The position of the last event at a time, which only the log knows.
    async fn position_at(&mut self, moment: Moment, at: DateTime<Utc>) -> Result<u64, QueryError> {
        let permit = self.state.concurrency.admit_query(self.caller.requester()).await?;
        self.look_up_again()?;
        let now = self.state.clock.now();
        let found = self.state.log.read(&permit, move |reader| moment.position(reader, now)).await?;
        found.map_err(|why| not_recorded(at, why).into())
    }

    /// Waits until a view has reached a position. A query of an earlier state waits for its views instead.
    pub async fn wait_for(&mut self, view: View, position: u64) -> Result<(), QueryError> {
        self.go_to_past().await?;
        if self.past.is_none() {
            self.state.views.wait_for(view, position).await?;
        }
        Ok(())
    }

    /// The time as of which the answer is.
    pub async fn at(&mut self) -> Result<DateTime<Utc>, QueryError> {
        self.go_to_past().await?;
        Ok(self.past.as_ref().map_or_else(|| self.state.clock.now(), |past| past.at))
    }

    /// Waits for a permit to read, and then looks the caller up again. All other waits come before this one, because others
    /// cannot use the permit meanwhile; what the caller may see is determined after it.
    pub async fn admit(&mut self) -> Result<PermittedQuery, QueryError> {
        self.go_to_past().await?;
        let permit = self.state.concurrency.admit_query(self.caller.requester()).await?;
        self.look_up_again()?;
        let past = self.past.clone();
        Ok(PermittedQuery { state: self.state.clone(), caller: Arc::clone(&self.caller), permit, past })
    }

    /// Asks the views what the caller may see of them, once they have reached `min_position` and there is a permit to read.
    pub async fn ask<Q: Question>(
        &mut self,
        min_position: u64,
        question: impl FnOnce(Visible) -> Q,
    ) -> Result<(PermittedQuery, AsOf<Q::Answer>), QueryError> {
        for view in Q::VIEWS {
            self.wait_for(*view, min_position).await?;
        }
        let query = self.admit().await?;
        let answer = query.ask(question(Visible::for_caller(&query.caller))).await?;
        Ok((query, answer))
    }
}

impl PermittedQuery {
    pub async fn ask<Q: Question>(&self, question: Q) -> Result<AsOf<Q::Answer>, ViewsError> {
        match &self.past {
            Some(past) => past.views.ask(&self.permit, question).await,
            None => self.state.views.ask(&self.permit, question).await,
        }
    }

    /// True if the answer is of an earlier state.
    pub const fn is_past(&self) -> bool {
        self.past.is_some()
    }

    /// The time as of which the answer is.
    pub fn at(&self) -> DateTime<Utc> {
        self.past.as_ref().map_or_else(|| self.state.clock.now(), |past| past.at)
    }

    /// Providers, their keys and prices, as the tables have or had them.
    pub fn provider_tables(&self) -> Arc<Tables> {
        self.past.as_ref().map_or_else(|| self.state.tables.load(), |past| past.views.provider_tables())
    }

    /// The header with the position of an answer of an earlier state; none for others.
    pub fn as_of_header(&self) -> HeaderMap {
        let position = self.past.as_ref().map(|past| HeaderValue::from(past.views.position()));
        position.map(|position| (HeaderName::from_static(AS_OF_POSITION_HEADER.0), position)).into_iter().collect()
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

fn not_recorded(at: DateTime<Utc>, why: NotRecorded) -> Refusal {
    let at = rfc3339(at);
    match why {
        NotRecorded::Beyond(head) => beyond_the_head(AS_OF, &at, head),
        NotRecorded::Future(head) => {
            Refusal::invalid(AS_OF, format!("{at} is in the future")).with("position", head.position)
        }
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
