//! Answers: every GET of the gateway but health, metrics and the models that a key may use. Reads views and the log,
//! never writes. What a caller may see is part of every query's signature, as [`visible::Visible`].

mod admin;
mod asker;
mod audit;
mod budgets;
mod described;
mod edge;
mod error;
mod events;
mod found;
mod inferences;
mod log_head;
mod me;
mod page;
mod parameters;
mod projections;
mod record;
mod since;
mod usage;
mod visible;

use std::sync::Arc;

use ::events::event::Chain;
use ::events::log::Log;
use ::events::time::Clock;
use ::projections::tables::TablesHandle;
use ::projections::views::ViewsHandle;
use openapi::Api;
use serde_json::Value;
use tokio::sync::watch;

pub use error::QueryError;

/// What is left of every limit that binds a chain, as `/v1/me` says it. They are counted where requests are let in.
pub type LimitsLeft = Arc<dyn Fn(&Chain) -> Vec<Value> + Send + Sync>;

/// What the handlers answer from. Cheap to clone.
#[derive(Clone)]
pub struct QueryState {
    pub log: Log,
    pub tables: TablesHandle,
    pub views: ViewsHandle,
    pub clock: Arc<dyn Clock>,
    /// Becomes true when the gateway drains: event streams then end, since they would never end by themselves.
    pub closing: watch::Receiver<bool>,
    pub limits_left: LimitsLeft,
}

/// Every route of this crate. Handlers expect `Arc<Caller>` among the request's extensions, and answer refusals as an
/// empty body with a `Refusal` among the response's.
pub fn routes(state: QueryState) -> Api {
    Api::new()
        .merge(admin::routes())
        .merge(audit::routes())
        .merge(budgets::routes())
        .merge(events::routes())
        .merge(inferences::routes())
        .merge(log_head::routes())
        .merge(me::routes())
        .merge(projections::routes())
        .merge(usage::routes())
        .with_state(state)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
