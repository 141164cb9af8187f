//! Whether a node may serve at its start although it cannot use Redis, or was given none, by what other nodes say in the register.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::shown_text::shown_text;
use events_log::{LimitSharing, Log, LogError, RunningNode};
use shared_limits::{CounterError, CounterErrorKind};
use tokio::time::Instant;

use super::SharedLimitsError;
use super::limiter::SharedLimiter;
use super::link::Outage;

/// How long a node that starts tries to reach Redis. An attempt that began in time runs to its own end.
const TRIED_AT_START: Duration = Duration::from_secs(5);
/// How long after Redis has gone every node that runs has noticed it, and has said so: each asks once a second, waits half a second for the
/// answer, and gives a sign each second. Until then, what others say may be from before an outage.
const OUTAGE_NOTICED_MAX: Duration = Duration::from_secs(3);
/// The register lists a node for ten seconds after it died, by the database's clock; two more for the checks.
const DEAD_NODE_LISTED_MAX: Duration = Duration::from_secs(12);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The most characters of the ids of nodes in a log line.
const NODES_CHARS_MAX: usize = 300;

/// A node that shares its counts, or may do so once it has started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {node} (connected from {address}) shares its counts of rate limits, or may do so after its start")]
pub struct SharingNode {
    pub node: String,
    pub address: String,
}

impl From<&RunningNode> for SharingNode {
    fn from(node: &RunningNode) -> Self {
        Self { node: node.node_id.clone(), address: node.address.clone() }
    }
}

/// The nodes that serve requests, as the register lists them.
struct Nodes {
    started_at: DateTime<Utc>,
    others: Vec<RunningNode>,
}

impl Nodes {
    /// `None` if this node is not listed: the database has not heard of it lately.
    fn of(own: &str, listed: Vec<RunningNode>) -> Option<Self> {
        let serving = listed.into_iter().filter(|node| node.serves_requests);
        let (own, others): (Vec<_>, Vec<_>) = serving.partition(|node| node.node_id == own);
        Some(Self { started_at: own.first()?.started_at, others })
    }

    async fn listed(log: &Log, own: &str) -> Result<Option<Self>, LogError> {
        Ok(Self::of(own, log.read(|reader| reader.running_nodes()).await?))
    }

    /// Those of which this is true, and that were seen so long after this one started: others may have died.
    fn seen(&self, after: Duration, is: impl Fn(&RunningNode) -> bool) -> impl Iterator<Item = &RunningNode> {
        let since = self.started_at + after;
        self.others.iter().filter(move |other| other.seen_at > since && is(other))
    }
}

/// Makes sure that no node runs that shares its counts: this one has no Redis, and would admit every limit once more. It waits for one that
/// may have died, such as this one before a restart, and for one that has not reached its Redis yet, which may never do so. Returns the
/// node because of which this one must end.
///
/// Errors: the log cannot be read; or the database has not heard of this node in all this time.
pub async fn node_that_shares(log: &Log, own: &str) -> Result<Option<SharingNode>, LogError> {
    if !log.is_shared() {
        return Ok(None);
    }
    let (began, mut last) = (Instant::now(), Err(LogError::TimedOut(DEAD_NODE_LISTED_MAX)));
    while began.elapsed() < DEAD_NODE_LISTED_MAX {
        if let Some(nodes) = Nodes::listed(log, own).await? {
            if let Some(runs) = nodes.seen(Duration::ZERO, RunningNode::shares_limits).next() {
                return Ok(Some(runs.into()));
            }
            let Some(_) = nodes.others.iter().find(|other| other.has_redis()) else { return Ok(None) };
            if last.is_err() {
                tracing::info!(
                    "waiting for up to twelve seconds: nodes with a Redis may run, or may be about to use it"
                );
            }
            let may_share = |other: &&RunningNode| other.shares_limits() || other.is_starting();
            last = Ok(nodes.others.iter().find(may_share).map(SharingNode::from));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    last
}

impl SharedLimiter {
    /// Connects to Redis, if that is possible.
    ///
    /// Errors: it is not, and other nodes are connected to theirs.
    pub(super) async fn connect_first(&self) -> Result<(), SharedLimitsError> {
        let began = Instant::now();
        // One that is final says the most: a server that has refused this node may not answer the next attempt in time.
        let mut failure: Option<CounterError> = None;
        while failure.is_none() || began.elapsed() < TRIED_AT_START {
            match self.open().await {
                Ok(counter) => {
                    self.connected(counter);
                    return Ok(());
                }
                Err(error) => {
                    if failure.is_none() {
                        tracing::warn!(%error, "this node cannot use Redis: trying again for five seconds");
                    }
                    failure = failure.filter(CounterError::is_final).or(Some(error));
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let Some(failure) = failure else { return Ok(()) };
        let listed = Nodes::listed(&self.parts.log, &self.parts.node).await?;
        let is_connected = |node: &RunningNode| node.limit_sharing == Some(LimitSharing::Connected);
        if listed.is_some_and(|nodes| nodes.seen(OUTAGE_NOTICED_MAX, is_connected).next().is_some()) {
            return Err(SharedLimitsError::Unusable(failure));
        }
        tracing::warn!(error = %failure, "this node cannot use Redis, and serves: no other node is connected to one");
        self.link.begin_away(Outage { began_at: self.parts.clock.now(), reason: failure.to_string() });
        self.figures.local_period_begins();
        Ok(())
    }

    /// A connection of the start may have broken since, and a start that took long was silent: Redis has nothing of this node yet.
    pub(super) async fn end_start(&self) {
        if let Some(connection) = self.link.connection()
            && let Err(error) = connection.counter.check().await
            && *error.kind() != CounterErrorKind::Lost
        {
            self.fail(connection.number, &error.to_string());
        }
        self.link.end_start();
    }

    pub(super) async fn warn_of_nodes_without_redis(&self) -> Result<(), LogError> {
        let Some(nodes) = Nodes::listed(&self.parts.log, &self.parts.node).await? else { return Ok(()) };
        let without = nodes.others.iter().filter(|other| other.limit_sharing == Some(LimitSharing::Off));
        let without: Vec<&str> = without.map(|node| &*node.node_id).collect();
        if !without.is_empty() {
            let nodes = shown_text(without.join(", "), NODES_CHARS_MAX);
            tracing::warn!(nodes, "nodes without a Redis run beside this one: each admits every rate limit once more");
        }
        Ok(())
    }
}
