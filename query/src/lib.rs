//! Queries: every GET of the gateway except health and metrics.
//!
//! A handler parses its parameters, waits until the view has reached `min_position`, takes a [`QueryPermit`], asks the
//! view one typed question, and renders the answer. What the caller may see is an argument of every question
//! ([`::projections::visible::Visible`]), so that no query can leave it out. A caller is looked up again after every
//! wait, because its rights may have ended.
//!
//! The crate appends nothing and has no SQL: views own their questions (ADR-0011). It knows nothing of `command`; what is
//! left of rate limits comes in as a function ([`LimitsLeft`]). It decides nothing about money from a view. The only
//! change that it can make is a rebuild of views, which leaves the log and the rows as they were.
//!
//! Answering every query only from what was already in the view was rejected: a caller that has just created something would
//! not find it. A look-up by id that finds nothing waits for the view once (`lookup.rs`), and lists of resources always do.

mod admin;
mod audit;
mod budgets;
mod described;
mod error;
mod events;
mod format;
mod inferences;
mod log_head;
mod lookup;
mod me;
mod models;
mod names;
mod page;
mod parameters;
mod projections;
mod query_caller;
mod record;
mod unread_bytes;
mod usage;

use std::sync::Arc;

use ::events::concurrency::{ConcurrencyLimiter, QueryPermit};
use ::events::event::Chain;
use ::events::log::LogQueries;
use ::events::time::Clock;
use ::projections::last_use::LastUses;
use ::projections::tables::TablesHandle;
use ::projections::views::{AsOf, Question, ViewsHandle};
use ::projections::visible::Visible;
use axum::middleware::from_fn_with_state;
use openapi::refusals::Wording;
use openapi::{Api, Entrance};
use serde_json::Value;
use tokio::sync::watch;

pub use error::QueryError;
use query_caller::QueryCaller;

/// What is left of every rate limit that binds a chain, as `/v1/me` shows it. `command` counts them.
pub type LimitsLeft = Arc<dyn Fn(&Chain) -> Vec<Value> + Send + Sync>;

/// What the handlers read from. Cheap to clone.
#[derive(Clone)]
pub struct QueryState {
    pub log: LogQueries,
    pub tables: TablesHandle,
    pub views: ViewsHandle,
    pub clock: Arc<dyn Clock>,
    /// Becomes true when the gateway drains: event streams then end, because they would never end by themselves.
    pub closing: watch::Receiver<bool>,
    pub limits_left: LimitsLeft,
    pub concurrency: ConcurrencyLimiter,
    pub last_uses: LastUses,
}

impl QueryState {
    /// Waits for a permit to read, and then looks the caller up again. All other waits come before this one, because others
    /// cannot use the permit meanwhile; what the caller may see is determined after it.
    async fn admit(&self, query_caller: &mut QueryCaller) -> Result<QueryPermit, QueryError> {
        let permit = self.concurrency.admit_query(query_caller.requester()).await?;
        query_caller.look_up_again(self)?;
        Ok(permit)
    }

    /// Asks a view what the caller may see of it, once there is a permit to read.
    async fn ask<Q: Question>(
        &self,
        query_caller: &mut QueryCaller,
        question: impl FnOnce(Visible) -> Q,
    ) -> Result<(QueryPermit, AsOf<Q::Answer>), QueryError> {
        let permit = self.admit(query_caller).await?;
        let answer = self.views.ask(&permit, question(Visible::for_caller(query_caller))).await?;
        Ok((permit, answer))
    }
}

/// Every route of this crate. Handlers expect an `Arc<Caller>` among the request's extensions; a refusal is a response
/// with an empty body and a `Refusal` among its extensions. `openai`: the error format of the routes that OpenAI's
/// clients use.
pub fn routes(state: QueryState, openai: Wording) -> Api {
    let concurrency = state.concurrency.clone();
    Api::of(Entrance::Key)
        .merge(admin::routes())
        .merge(audit::routes())
        .merge(budgets::routes())
        .merge(events::routes())
        .merge(inferences::routes())
        .merge(log_head::routes())
        .merge(me::routes())
        .merge(projections::routes())
        .merge(usage::routes())
        .layer(from_fn_with_state(concurrency, unread_bytes::count))
        .merge(models::routes(openai))
        .with_state(state)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
