//! Rate limits that several nodes count together (ADR-0033). Redis decides, in one script, by its own clock. While a node cannot use
//! it, the node decides by itself, by its share: the limit divided by the number of nodes that serve. It keeps all that it has
//! counted, in Redis or not, and sends it to Redis with every new connection.
//!
//! `counting` counts a request, `limiter` has what this node knows, `conductor` keeps the connection, `recording` says in the log when a node counts by its share, and
//! `start` decides whether a node may serve that cannot use Redis.
//!
//! `counts` has what a node knows of one limit, with its share, and `turns` keeps one tenant's limits from all of Redis.

mod binding;
mod conductor;
mod counted;
mod counting;
mod counts;
mod figures;
mod group;
mod limiter;
mod link;
mod permit;
mod recording;
mod start;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::Arc;

use events_log::LogError;
use futures_util::future::BoxFuture;
use prometheus::Registry;
use shared_limits::CounterError;

pub(super) use binding::SharedLimits;
pub use limiter::{SharedLimiter, SharedLimiterParts};
pub(super) use permit::SharedPermit;
pub use recording::LocalSince;
pub use start::{SharingNode, node_that_shares};

/// Why limits cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum SharedLimitsError {
    #[error("read the log for rate limits: {0}")]
    Log(#[from] LogError),
    #[error("this node cannot use Redis, and others can: {0}")]
    Unusable(CounterError),
    #[error("register the metrics of rate limits: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The background task of shared limits, which must run as long as requests do.
pub struct SharedLimitsTask(Arc<SharedLimiter>);

impl SharedLimiter {
    /// Connects to Redis, and finds out which nodes run. It also starts while Redis is away, but not if this node cannot use Redis while
    /// other nodes are connected to theirs.
    pub fn start<'a>(
        parts: SharedLimiterParts,
        registry: &'a Registry,
    ) -> BoxFuture<'a, Result<(Arc<Self>, SharedLimitsTask), SharedLimitsError>> {
        Box::pin(Self::started(parts, registry))
    }

    async fn started(
        parts: SharedLimiterParts,
        registry: &Registry,
    ) -> Result<(Arc<Self>, SharedLimitsTask), SharedLimitsError> {
        let limiter = Arc::new(Self::new(parts, registry)?);
        limiter.connect_first().await?;
        limiter.warn_of_nodes_without_redis().await?;
        limiter.look_for_nodes().await?;
        let redis = limiter.parts.address.shown();
        tracing::info!(redis, "counts of rate limits are shared in Redis, where it is there");
        Ok((Arc::clone(&limiter), SharedLimitsTask(limiter)))
    }

    /// True while this node counts in Redis, false while it counts by its share.
    pub fn is_shared(&self) -> bool {
        self.link.number().is_some()
    }
}

impl SharedLimitsTask {
    /// Tells other nodes that this one serves from now on. Call it before the first request is counted.
    pub async fn end_start(&self) {
        self.0.end_start().await;
    }

    pub fn run(self) -> BoxFuture<'static, ()> {
        Box::pin(self.run_until_dropped())
    }

    async fn run_until_dropped(self) {
        let limiter = self.0;
        let _disconnects = limiter.link.disconnect_on_drop();
        tokio::join!(
            limiter.stay_connected(),
            limiter.tell_corrections(),
            limiter.watch_nodes(),
            limiter.record_periods()
        );
    }
}
