//! What other nodes say, in the register of running nodes, of how they count rate limits.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
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
/// such as this one before a restart, is listed for ten seconds more: this waits until it is not. It also waits for one that starts, and
/// serves beside it if it starts for longer: that one may never reach its Redis.
///
/// Errors: the log cannot be read.
pub async fn node_that_shares(log: &Log, own: &str) -> Result<Option<SharingNode>, LogError> {
    let until = Instant::now() + DEAD_NODE_LISTED_MAX;
    loop {
        let listed = log.read(|reader| reader.running_nodes()).await?;
        let mut sharing = others(own, &listed).filter(|other| other.shares_limits()).peekable();
        let first = sharing.peek().copied();
        let does_one_start = others(own, &listed).any(|other| other.limit_sharing == Some(LimitSharing::Starting));
        let is_over = Instant::now() >= until;
        if first.is_none() && (is_over || !does_one_start) {
            return Ok(None);
        }
        let started_at = listed.iter().find(|node| node.node_id == own).map(|node| node.started_at);
        let runs = sharing.find(|other| started_at.is_some_and(|started_at| other.seen_at > started_at));
        // If nobody can tell by then, this node must not serve either.
        if let Some(found) = runs.or(first.filter(|_| is_over)) {
            return Ok(Some(SharingNode { node: found.node_id.clone(), address: found.address.clone() }));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The nodes that count rate limits by themselves for good, because they have no Redis.
pub fn nodes_without_redis<'a>(own: &str, listed: &'a [RunningNode]) -> impl Iterator<Item = &'a RunningNode> {
    others(own, listed).filter(|other| other.limit_sharing == Some(LimitSharing::Off))
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
    /// Looks at what the register lists. A node that was last seen before this one started has died, as far as anybody can know.
    pub fn look(&mut self, own: &str, listed: &[RunningNode]) -> OthersReach {
        let started_at = listed.iter().find(|node| node.node_id == own).map(|node| node.started_at);
        let is_connected = |other: &&RunningNode| {
            other.limit_sharing == Some(LimitSharing::Connected)
                && started_at.is_none_or(|started_at| other.seen_at > started_at)
        };
        // One that says in between that it is not connected begins anew.
        let are_connected: HashSet<&str> =
            others(own, listed).filter(is_connected).map(|other| &*other.node_id).collect();
        self.first_seen.retain(|node, _| are_connected.contains(&**node));
        let mut reach = OthersReach::Nobody;
        for other in others(own, listed).filter(is_connected) {
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

/// Whether at least as many of these nodes are connected as are not: if more of them cannot use Redis, those that are connected may be the
/// ones that are set up wrongly. One that starts does not count: it may be one that cannot use Redis, and starts again and again.
pub fn are_half_connected(listed: &[RunningNode]) -> bool {
    let count = |sharing| listed.iter().filter(|node| node.limit_sharing == Some(sharing)).count();
    let (connected, starting) = (count(LimitSharing::Connected), count(LimitSharing::Starting));
    connected * 2 >= listed.len() - starting
}

fn others<'a>(own: &str, listed: &'a [RunningNode]) -> impl Iterator<Item = &'a RunningNode> {
    listed.iter().filter(move |node| node.serves_requests && node.node_id != own)
}

#[cfg(test)]
mod tests {
    use events::time::from_micros;

    use super::*;

    fn node(id: &str, started_at: i64, seen_at: i64, limit_sharing: LimitSharing) -> RunningNode {
        RunningNode {
            node_id: id.to_owned(),
            address: "local".to_owned(),
            started_at: from_micros(started_at),
            seen_at: from_micros(seen_at),
            serves_requests: true,
            limit_sharing: Some(limit_sharing),
        }
    }

    #[test]
    fn another_node_reaches_redis_once_it_has_said_so_again() {
        let mut connected = ConnectedNodes::default();
        let own = node("own", 10, 20, LimitSharing::Disconnected);
        let mut looks = |others: &[RunningNode]| connected.look("own", &[std::slice::from_ref(&own), others].concat());
        let at = |seen_at| node("other", 1, seen_at, LimitSharing::Connected);
        assert_eq!(looks(&[]), OthersReach::Nobody);
        assert_eq!(looks(&[node("own", 10, 20, LimitSharing::Connected)]), OthersReach::Nobody, "it is this one");
        assert_eq!(looks(&[at(10)]), OthersReach::Nobody, "it has died before this one started");
        assert_eq!(looks(&[node("other", 1, 20, LimitSharing::Disconnected)]), OthersReach::Nobody);
        assert_eq!(looks(&[RunningNode { serves_requests: false, ..at(20) }]), OthersReach::Nobody);
        assert_eq!(looks(&[RunningNode { limit_sharing: None, ..at(20) }]), OthersReach::Nobody, "it does not say it");
        assert_eq!(looks(&[at(21)]), OthersReach::Perhaps);
        assert_eq!(looks(&[at(21)]), OthersReach::Perhaps, "it has said nothing new");
        assert_eq!(looks(&[node("other", 1, 22, LimitSharing::Disconnected)]), OthersReach::Nobody, "an outage");
        assert_eq!(looks(&[at(23)]), OthersReach::Perhaps);
        assert_eq!(looks(&[at(24)]), OthersReach::Certainly);
    }

    #[test]
    fn one_connected_node_of_three_is_less_than_half() {
        let listed = |connected: usize| {
            let sharing =
                |number| if number < connected { LimitSharing::Connected } else { LimitSharing::Disconnected };
            (0..3).map(|number| node(&number.to_string(), 1, 20, sharing(number))).collect::<Vec<_>>()
        };
        assert_eq!([0, 1, 2].map(|connected| are_half_connected(&listed(connected))), [false, false, true]);
        assert!(are_half_connected(&listed(1)[..2]));
        let starts = node("3", 1, 20, LimitSharing::Starting);
        assert!(
            are_half_connected(&[listed(1)[..2].to_vec(), vec![starts]].concat()),
            "one that starts is not there yet"
        );
    }
}
