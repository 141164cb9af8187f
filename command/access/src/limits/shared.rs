//! Rate limits that several nodes count together (ADR-0023). Redis decides, in one script, by its own clock; each node keeps what
//! it has counted, and reads from the log what the others admit. So Redis may go and come back, with or without its data: in a
//! *local period*, each node counts by itself, with a share of what was left, and all put everything into Redis before counts are
//! *shared* again.
//!
//! `limiter` counts a request, `mode` says how, `conductor` leads through outages (`return_pause` says how long it waits before it
//! returns from one), `putting` and `telling` say what Redis gets besides, and `mirror` reads the log. By what
//! `other_nodes` say of themselves, `start` decides whether a node may serve that cannot use Redis.

mod asking;
mod binding;
mod conductor;
mod corrections;
mod counts;
mod figures;
mod group;
mod limiter;
mod link;
mod mirror;
mod mode;
mod other_nodes;
mod permit;
mod putting;
mod return_pause;
mod start;
mod state;
mod telling;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use events::log::LogError;
use events::shown_text::shown_text;
use prometheus::Registry;
use shared_limits::CounterError;

pub(super) use binding::SharedLimits;
use conductor::Conductor;
use mirror::Mirror;
pub use mode::LocalSince;
use other_nodes::Nodes;
pub use other_nodes::SharingNode;
pub(super) use permit::SharedPermit;
pub use start::node_that_shares;
pub use state::{SharedLimiter, SharedLimiterParts};

/// The most characters of the ids of nodes in a log line.
const NODES_CHARS_MAX: usize = 300;

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

/// What must run as long as requests do.
pub struct SharedLimitsTask {
    limiter: Arc<SharedLimiter>,
    mirror: Mirror,
    conductor: Conductor,
}

impl SharedLimiter {
    /// Reads from the log how limits are counted, and connects to Redis if counts are shared. It also starts while Redis is
    /// away, but not if this node cannot use Redis while other nodes can.
    pub async fn start(
        parts: SharedLimiterParts,
        registry: &Registry,
    ) -> Result<(Arc<Self>, SharedLimitsTask), SharedLimitsError> {
        let limiter = Arc::new(Self::new(parts, registry)?);
        let mirror = Mirror::start(Arc::clone(&limiter)).await?;
        limiter.connect_first().await?;
        limiter.warn_of_nodes_without_redis().await?;
        tracing::info!(
            redis = limiter.parts.address.shown(),
            "counts of rate limits are shared in Redis, where it is there"
        );
        let conductor = Conductor::new(Arc::clone(&limiter));
        Ok((Arc::clone(&limiter), SharedLimitsTask { limiter, mirror, conductor }))
    }

    async fn warn_of_nodes_without_redis(&self) -> Result<(), LogError> {
        let Some(nodes) = Nodes::listed(&self.parts.log, &self.parts.node).await? else { return Ok(()) };
        let without: Vec<&str> = nodes.without_redis().map(|node| &*node.node_id).collect();
        if !without.is_empty() {
            let nodes = shown_text(without.join(", "), NODES_CHARS_MAX);
            tracing::warn!(nodes, "nodes without a Redis run beside this one: each admits every rate limit once more");
        }
        Ok(())
    }

    /// True while counts are shared, false in a local period.
    pub fn is_shared(&self) -> bool {
        self.modes.mode().is_shared()
    }
}

impl SharedLimitsTask {
    /// Tells other nodes that this one serves from now on, and gives up a connection that has broken since it was made. Call it before
    /// the first request is counted.
    pub async fn end_start(&mut self) {
        self.limiter.link.end_start().await;
    }

    pub async fn run(self) {
        let Self { limiter, mirror, conductor } = self;
        let _disconnects = limiter.link.disconnect_on_drop();
        tokio::join!(mirror.run(), conductor.run(), limiter.tell_corrections());
    }
}
