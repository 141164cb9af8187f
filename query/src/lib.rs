//! Answers: every GET of the gateway but health and metrics. Reads views, tables and the log, never writes. What a caller may see is part of every query's signature, as [`::projections::visible::Visible`].

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
mod unread;
mod usage;

use std::sync::Arc;

use ::events::concurrency::{ConcurrencyLimiter, QueryPermit};
use ::events::event::Chain;
use ::events::log::LogQueries;
use ::events::time::Clock;
use ::projections::last_use::LastUses;
use ::projections::tables::TablesHandle;
use ::projections::views::ViewsHandle;
use axum::middleware::from_fn_with_state;
use openapi::refusals::Wording;
use openapi::{Api, Entrance};
use serde_json::Value;
use tokio::sync::watch;

pub use error::QueryError;
use query_caller::QueryCaller;

/// What is left of every limit that binds a chain, as `/v1/me` says it. They are counted where requests are let in.
pub type LimitsLeft = Arc<dyn Fn(&Chain) -> Vec<Value> + Send + Sync>;

/// What the handlers answer from. Cheap to clone.
#[derive(Clone)]
pub struct QueryState {
    pub log: LogQueries,
    pub tables: TablesHandle,
    pub views: ViewsHandle,
    pub clock: Arc<dyn Clock>,
    /// Becomes true when the gateway drains: event streams then end, since they would never end by themselves.
    pub closing: watch::Receiver<bool>,
    pub limits_left: LimitsLeft,
    pub concurrency: ConcurrencyLimiter,
    pub last_uses: LastUses,
}

impl QueryState {
    /// Waits for the caller's turn to read. Whatever else there is to wait for comes before it: meanwhile nobody else reads
    /// in its stead. The caller is then looked up again: what it may see is to be asked after this, not before.
    async fn admit(&self, query_caller: &mut QueryCaller) -> Result<QueryPermit, QueryError> {
        let permit = self.concurrency.admit_query(query_caller.requester()).await?;
        query_caller.look_up_again(self)?;
        Ok(permit)
    }
}

/// Every route of this crate. Handlers expect `Arc<Caller>` among the request's extensions, and answer refusals as an
/// empty body with a `Refusal` among the response's. `openai`: how refusals are worded to OpenAI's clients, who list models.
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
        .layer(from_fn_with_state(concurrency, unread::count))
        .merge(models::routes(openai))
        .with_state(state)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
