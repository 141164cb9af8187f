//! Queries: every GET of the gateway except health and metrics.
//!
//! A handler parses its parameters, waits until the view has reached `min_position`, takes a permit, asks the
//! view one typed question, and renders the answer. What the caller may see is an argument of every question
//! ([`::projections::visible::Visible`]), so that no query can leave it out. A caller is looked up again after every
//! wait, because its rights may have ended.
//!
//! The crate appends nothing and has no SQL: views own their questions (ADR-0011). It knows nothing of `command`; what is
//! left of rate limits, what models can do and the record of reads come in as functions ([`LimitsLeft`], [`Capabilities`],
//! [`ReadRecord`]). It decides nothing about money from a view. The only
//! change that it can make is a rebuild of views, which leaves the log and the rows as they were.
//!
//! Answering every query only from what was already in the view was rejected: a caller that has just created something would
//! not find it. A look-up by id that finds nothing waits for the view once (`lookup.rs`), and lists of resources always do.
//!
//! - `admin`: lists of resources, and what is shown below a model: `admin/callers.rs` who calls it, `admin/canary.rs` how its
//!   canary does, `admin/one_model.rs` what such routes share.
//! - `inferences`, `explain`, `content`: a request, its decisions, and what is kept of it; `request_rights` says what a
//!   caller may see of these.
//! - `grpc`, a crate beside: the same questions over gRPC. After a change of `grpc/proto/`, run `grpc/codegen/`.

mod access_log;
mod admin;
mod audit;
mod budgets;
mod content;
mod described;
mod error;
mod events;
mod explain;
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
mod published_log;
mod query_context;
mod record;
mod request_rights;
mod revocable;
mod unread_bytes;
mod usage;

use std::sync::Arc;

use ::access_log::View;
use ::events::content::ContentSalts;
use ::events::event::access::ReadKind;
use ::events::event::admin::Provider;
use ::events::time::Clock;
use ::projections::caller::Caller;
use ::projections::last_use::LastUses;
use ::projections::tables::TablesHandle;
use ::projections::views::NodeViews;
use axum::middleware::from_fn_with_state;
use content_store::ContentReader;
use events_log::LogQueries;
use events_log::concurrency::ConcurrencyLimiter;
use openapi::refusals::Wording;
use openapi::{Api, Entrance};
use serde_json::Value;
use tokio::sync::watch;
use transparency::PublishedPlace;

pub use self::events::event_tail;
pub use self::events::tail::{EventTail, Extent, TailEnd, TailFormat};
pub use error::QueryError;
pub use revocable::Revocable;
pub use unread_bytes::count as count_unread_bytes;
pub use usage::report::{GroupDimension, UsageGroup, UsageReport, ValueName};
pub use usage::usage_report;

/// The rest of every rate limit that binds the requests of a caller, as `/v1/me` shows it. `command` counts them.
pub type LimitsLeft = Arc<dyn Fn(&Caller) -> Vec<Value> + Send + Sync>;

/// The capabilities of the model behind a provider's name for it, if they are known. `command` asks its catalogue.
pub type Capabilities = Arc<dyn Fn(&Provider, &str) -> Option<Vec<&'static str>> + Send + Sync>;

/// Records that a caller has read something of this kind, without waiting for it. `access_control` rolls it up.
pub type ReadRecord = Arc<dyn Fn(&Caller, ReadKind) + Send + Sync>;

/// False if other nodes may have ended a key, and this one would not know. `access_control` asks the same when a request arrives.
pub type IsCurrent = Arc<dyn Fn() -> bool + Send + Sync>;

/// The sources that the handlers read from. Cheap to clone.
#[derive(Clone)]
pub struct QueryState {
    pub log: LogQueries,
    pub tables: TablesHandle,
    pub views: NodeViews,
    pub clock: Arc<dyn Clock>,
    pub is_current: IsCurrent,
    /// Becomes true when the gateway drains: event streams then end, because they would never end by themselves.
    pub closing: watch::Receiver<bool>,
    pub limits_left: LimitsLeft,
    pub capabilities: Capabilities,
    pub concurrency: ConcurrencyLimiter,
    pub last_uses: LastUses,
    pub reads: ReadRecord,
    /// `None` if no access log is kept.
    pub access_log: Option<View>,
    /// `None` if the log is not published.
    pub published: Option<PublishedPlace>,
    pub content_salts: ContentSalts,
    /// `None` if this node keeps no content.
    pub content: Option<ContentReader>,
}

/// Every route of this crate. Handlers expect an `Arc<Caller>` among the request's extensions; a refusal is a response
/// with an empty body and a `Refusal` among its extensions. `openai`: the error format of the routes that OpenAI's
/// clients use.
pub fn routes(state: QueryState, openai: Wording) -> Api {
    let (concurrency, is_published) = (state.concurrency.clone(), state.published.is_some());
    let published = if is_published { published_log::routes() } else { Api::of(Entrance::Key) };
    let access_log = if state.access_log.is_some() { access_log::routes() } else { Api::of(Entrance::Key) };
    Api::of(Entrance::Key)
        .merge(access_log)
        .merge(admin::routes())
        .merge(audit::routes())
        .merge(budgets::routes())
        .merge(content::routes())
        .merge(events::routes())
        .merge(explain::routes())
        .merge(inferences::routes())
        .merge(log_head::routes())
        .merge(me::routes())
        .merge(projections::routes())
        .merge(published)
        .merge(usage::routes())
        .layer(from_fn_with_state(concurrency, unread_bytes::count))
        .merge(models::routes(openai))
        .with_state(state)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
