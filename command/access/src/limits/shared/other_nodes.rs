//! What other nodes say, in the register of running nodes, of how they count rate limits.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::log::{LimitSharing, Log, LogError, RunningNode};
use tokio::time::Instant;

/// The register lists a node for ten seconds after it died, by the database's clock; two more for the checks.
const DEAD_NODE_LISTED_MAX: Duration = Duration::from_secs(12);
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A node that shares its counts while this one cannot, or may do so once it has started.
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
#[derive(Debug)]
pub struct Nodes {
    own: RunningNode,
    others: Vec<RunningNode>,
}

/// What a node without Redis makes of the others at its start.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    Serve,
    /// This node runs.
    End(&'a RunningNode),
    /// Some may have died, or may never reach their Redis.
    Unclear,
}

impl Nodes {
    /// `None` if this one is not listed: the database has not heard of it lately.
    pub fn of(own: &str, listed: Vec<RunningNode>) -> Option<Self> {
        let serving = listed.into_iter().filter(|node| node.serves_requests);
        let (mut own, others): (Vec<_>, Vec<_>) = serving.partition(|node| node.node_id == own);
        Some(Self { own: own.pop()?, others })
    }

    pub async fn listed(log: &Log, own: &str) -> Result<Option<Self>, LogError> {
        let listed = log.read(|reader| reader.running_nodes()).await?;
        Ok(Self::of(own, listed))
    }

    /// What a node does that has no Redis.
    pub fn verdict_without_redis(&self) -> Verdict<'_> {
        match self.sharing().find(|other| self.runs(other)) {
            Some(other) => Verdict::End(other),
            None if self.with_redis().next().is_some() => Verdict::Unclear,
            None => Verdict::Serve,
        }
    }

    /// Those that share their counts, or will when their Redis is back.
    pub fn sharing(&self) -> impl Iterator<Item = &RunningNode> {
        self.others.iter().filter(|other| other.shares_limits())
    }

    /// Those that count by themselves for good.
    pub fn without_redis(&self) -> impl Iterator<Item = &RunningNode> {
        self.others.iter().filter(|other| other.limit_sharing == Some(LimitSharing::Off))
    }

    pub fn with_redis(&self) -> impl Iterator<Item = &RunningNode> {
        self.others.iter().filter(|other| other.has_redis())
    }

    /// Those that start, and may connect to their Redis or have done so.
    pub fn starting(&self) -> impl Iterator<Item = &RunningNode> {
        self.others.iter().filter(|other| other.is_starting() && self.runs(other))
    }

    /// Whether a node was seen since this one started. If not, it has died, as far as anybody can know.
    fn runs(&self, other: &RunningNode) -> bool {
        other.seen_at > self.own.started_at
    }
}

fn is_connected(node: &RunningNode) -> bool {
    node.limit_sharing == Some(LimitSharing::Connected)
}

/// Looks at the register until nodes that have died are no longer listed.
pub struct Looks<'a> {
    log: &'a Log,
    own: &'a str,
    until: Instant,
    has_looked: bool,
    has_seen: bool,
}

impl<'a> Looks<'a> {
    pub fn begin(log: &'a Log, own: &'a str) -> Self {
        Self { log, own, until: Instant::now() + DEAD_NODE_LISTED_MAX, has_looked: false, has_seen: false }
    }

    /// `None` once it is over.
    ///
    /// Errors: the log cannot be read; or this node was not listed in all this time, so that it knows nothing of others.
    pub async fn next(&mut self) -> Result<Option<Nodes>, LogError> {
        loop {
            if std::mem::replace(&mut self.has_looked, true) {
                tokio::time::sleep(LOOK_EVERY).await;
                if Instant::now() >= self.until {
                    return if self.has_seen { Ok(None) } else { Err(LogError::TimedOut(DEAD_NODE_LISTED_MAX)) };
                }
            }
            if let Some(nodes) = Nodes::listed(self.log, self.own).await? {
                self.has_seen = true;
                return Ok(Some(nodes));
            }
        }
    }
}

/// What the other nodes that are connected to Redis have said so far.
#[derive(Debug, Default)]
pub struct ConnectedNodes {
    first_seen: HashMap<String, DateTime<Utc>>,
}

/// Whether others reach Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OthersReach {
    /// No node that may run says that it is connected.
    Nobody,
    /// One said so: it may have died since, or may be about to notice an outage.
    Perhaps,
    /// One said so again, later than when this was first asked.
    Certainly,
}

impl ConnectedNodes {
    pub fn look(&mut self, nodes: &Nodes) -> OthersReach {
        let connected = || nodes.others.iter().filter(|other| is_connected(other) && nodes.runs(other));
        // One that says in between that it is not connected begins anew.
        let are_connected: HashSet<&str> = connected().map(|other| &*other.node_id).collect();
        self.first_seen.retain(|node, _| are_connected.contains(&**node));
        let mut reach = OthersReach::Nobody;
        for other in connected() {
            match self.first_seen.get(&other.node_id) {
                Some(first) if other.seen_at > *first => return OthersReach::Certainly,
                Some(_) => {}
                None => drop(self.first_seen.insert(other.node_id.clone(), other.seen_at)),
            }
            reach = OthersReach::Perhaps;
        }
        reach
    }
}

#[cfg(test)]
mod tests {
    use events::log::LimitSharing::{Connected, Disconnected, Off, Starting, Unreached};
    use events::time::from_micros;

    use super::*;

    fn node(id: &str, started_at: i64, seen_at: i64, limit_sharing: Option<LimitSharing>) -> RunningNode {
        RunningNode {
            node_id: id.to_owned(),
            address: "local".to_owned(),
            started_at: from_micros(started_at),
            seen_at: from_micros(seen_at),
            serves_requests: true,
            limit_sharing,
        }
    }

    /// Beside one that started at 10.
    fn beside(others: &[RunningNode]) -> Nodes {
        let own = node("own", 10, 20, Some(Disconnected));
        Nodes::of("own", [std::slice::from_ref(&own), others].concat()).expect("it is listed")
    }

    #[test]
    fn a_node_without_redis_ends_if_one_runs_that_shares_and_waits_for_one_that_has_not_reached_its_own() {
        let without = |other| match beside(&[other]).verdict_without_redis() {
            Verdict::Serve => "serve",
            Verdict::End(_) => "end",
            Verdict::Unclear => "unclear",
        };
        for sharing in [Disconnected, Connected] {
            assert_eq!(without(node("other", 1, 11, Some(sharing))), "end");
            assert_eq!(without(node("other", 11, 12, Some(sharing))), "end", "also a later one");
            assert_eq!(without(node("other", 1, 9, Some(sharing))), "unclear", "it may have died");
        }
        for without_counts in [Starting, Unreached] {
            assert_eq!(without(node("other", 1, 11, Some(without_counts))), "unclear");
        }
        assert_eq!(without(node("other", 1, 11, Some(Off))), "serve");
        assert_eq!(without(node("other", 1, 11, None)), "serve", "it does not say it");
        let both = [node("unreached", 1, 11, Some(Unreached)), node("shares", 1, 11, Some(Connected))];
        assert_eq!(beside(&both).verdict_without_redis(), Verdict::End(&both[1]));
    }

    #[test]
    fn a_node_that_runs_and_starts_may_connect_however_long_its_start_takes() {
        let starts = |seen_at, sharing| beside(&[node("other", 1, seen_at, Some(sharing))]).starting().count() == 1;
        assert!(starts(11, Starting));
        assert!(!starts(10, Starting), "it may have died");
        assert!(!starts(11, Unreached) && !starts(11, Disconnected) && !starts(11, Off));
    }

    #[test]
    fn a_node_that_is_not_listed_knows_nothing_of_others() {
        assert!(Nodes::of("own", vec![node("other", 1, 20, Some(Connected))]).is_none());
    }

    #[test]
    fn another_node_reaches_redis_once_it_has_said_so_again() {
        let mut connected = ConnectedNodes::default();
        let mut looks = |others: &[RunningNode]| connected.look(&beside(others));
        let at = |seen_at| node("other", 1, seen_at, Some(Connected));
        let disconnected = |seen_at| node("other", 1, seen_at, Some(Disconnected));
        assert_eq!(looks(&[]), OthersReach::Nobody);
        assert_eq!(looks(&[at(10)]), OthersReach::Nobody, "it has died before this one started");
        assert_eq!(looks(&[disconnected(20)]), OthersReach::Nobody);
        assert_eq!(looks(&[RunningNode { serves_requests: false, ..at(20) }]), OthersReach::Nobody);
        assert_eq!(looks(&[RunningNode { limit_sharing: None, ..at(20) }]), OthersReach::Nobody, "it does not say it");
        assert_eq!(looks(&[at(21)]), OthersReach::Perhaps);
        assert_eq!(looks(&[at(21)]), OthersReach::Perhaps, "it has said nothing new");
        assert_eq!(looks(&[disconnected(22)]), OthersReach::Nobody, "an outage");
        assert_eq!(looks(&[at(23)]), OthersReach::Perhaps);
        assert_eq!(looks(&[at(24)]), OthersReach::Certainly);
    }
}
