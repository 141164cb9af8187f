//! What other nodes say, in the register of running nodes, of how they count rate limits.

use std::time::Duration;

use events::log::{LimitSharing, Log, LogError, RunningNode};
use tokio::time::Instant;

/// The register lists a node for ten seconds after it died, by the database's clock; two more for the checks.
pub const DEAD_NODE_LISTED_MAX: Duration = Duration::from_secs(12);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A node that shares its counts while this one cannot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {node} (connected from {address}) shares its counts of rate limits")]
pub struct SharingNode {
    pub node: String,
    pub address: String,
}

/// Makes sure that no node runs that shares its counts: this one has no Redis, and would admit every limit once more. A node that died,
/// such as this one before a restart, is listed for ten seconds more: this waits until it is not.
///
/// Errors: the log cannot be read.
pub async fn node_that_shares(log: &Log, own: &str) -> Result<Option<SharingNode>, LogError> {
    let until = Instant::now() + DEAD_NODE_LISTED_MAX;
    loop {
        let listed = log.read(|reader| reader.running_nodes()).await?;
        let mut sharing = others(own, &listed).filter(|other| other.shares_limits()).peekable();
        let Some(first) = sharing.peek().copied() else { return Ok(None) };
        let started_at = listed.iter().find(|node| node.node_id == own).map(|node| node.started_at);
        let runs = sharing.find(|other| started_at.is_some_and(|started_at| other.seen_at > started_at));
        // If nobody can tell by then, this node must not serve either.
        if let Some(found) = runs.or_else(|| (Instant::now() >= until).then_some(first)) {
            return Ok(Some(SharingNode { node: found.node_id.clone(), address: found.address.clone() }));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The nodes that count rate limits by themselves for good, because they have no Redis.
pub fn nodes_without_redis<'a>(own: &str, listed: &'a [RunningNode]) -> impl Iterator<Item = &'a RunningNode> {
    others(own, listed).filter(|other| other.limit_sharing == Some(LimitSharing::Off))
}

fn others<'a>(own: &str, listed: &'a [RunningNode]) -> impl Iterator<Item = &'a RunningNode> {
    listed.iter().filter(move |node| node.serves_requests && node.node_id != own)
}
