//! Rate limits that several nodes count together (ADR-0023). Redis decides, in one script, by its own clock; each node keeps what
//! it has counted, and reads from the log what the others admit. So Redis may go and come back, with or without its data: in a
//! *local period*, each node counts by itself, with a share of what was left, and all put everything into Redis before counts are
//! *shared* again.
//!
//! `limiter` counts a request, `mode` says how, `conductor` leads through outages, and `mirror` reads the log.

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
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use events::log::LogError;
use events::shown_text::shown_text;
use prometheus::Registry;
use shared_limits::CounterError;
use tokio::sync::oneshot;

pub(super) use binding::SharedLimits;
use conductor::Conductor;
use mirror::Mirror;
pub use mode::LocalSince;
pub use other_nodes::{SharingNode, node_that_shares};
pub(super) use permit::SharedPermit;
pub use state::{SharedLimiter, SharedLimiterParts};

/// The most characters of the ids of nodes in a log line.
const NODES_CHARS_MAX: usize = 300;

/// Why limits cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum SharedLimitsError {
    #[error("read the log for rate limits: {0}")]
    Log(#[from] LogError),
    #[error("Redis refuses this node, and nodes that started before it may run: {0}")]
    Refused(CounterError),
    #[error("Redis gives this node no answer, and others are connected: {0}")]
    Unreached(CounterError),
    #[error("register the metrics of rate limits: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What must run as long as requests do.
pub struct SharedLimitsTask {
    limiter: Arc<SharedLimiter>,
    mirror: Mirror,
    conductor: Conductor,
    ended: Option<oneshot::Receiver<CounterError>>,
}

impl SharedLimiter {
    /// Reads from the log how limits are counted, and connects to Redis if counts are shared. It also starts while Redis is
    /// away, but not if this node cannot use Redis while other nodes can, or may.
    pub async fn start(
        parts: SharedLimiterParts,
        registry: &Registry,
    ) -> Result<(Arc<Self>, SharedLimitsTask), SharedLimitsError> {
        let limiter = Arc::new(Self::new(parts, registry)?);
        let mirror = Mirror::start(Arc::clone(&limiter)).await?;
        let (end, ended) = oneshot::channel();
        let conductor = Conductor::new(Arc::clone(&limiter), end);
        conductor.connect_first().await?;
        limiter.warn_of_nodes_without_redis().await?;
        Ok((Arc::clone(&limiter), SharedLimitsTask { limiter, mirror, conductor, ended: Some(ended) }))
    }

    /// They started before this one: later ones end, because this one runs.
    async fn warn_of_nodes_without_redis(&self) -> Result<(), LogError> {
        let listed = self.parts.log.read(|reader| reader.running_nodes()).await?;
        let nodes: Vec<&str> =
            other_nodes::nodes_without_redis(&self.parts.node, &listed).map(|node| &*node.node_id).collect();
        if !nodes.is_empty() {
            let nodes = shown_text(nodes.join(", "), NODES_CHARS_MAX);
            tracing::warn!(
                nodes,
                "nodes without LEDGERWAY_REDIS_URL run beside this one: each admits every rate limit once more"
            );
        }
        Ok(())
    }

    /// True while counts are shared, false in a local period.
    pub fn is_shared(&self) -> bool {
        self.modes.mode().is_shared()
    }
}

impl SharedLimitsTask {
    /// Gets the reason if this node must end, because it cannot use Redis and other nodes can; `None` for all but the first
    /// call. The limits continue to work meanwhile.
    pub const fn take_ended(&mut self) -> Option<oneshot::Receiver<CounterError>> {
        self.ended.take()
    }

    pub async fn run(self) {
        let Self { limiter, mirror, conductor, ended: _ } = self;
        tokio::join!(mirror.run(), conductor.run(), limiter.tell_corrections());
    }
}
