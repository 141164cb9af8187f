//! Which of several nodes is the one that records: the first of those that have registered and are still there.

use std::collections::HashMap;
use std::time::Duration;

use events::log::EarlierNode;
use tokio::time::Instant;

use super::check_times::CHECK_EVERY;

/// How long a node that has not said that it ends must be unseen, or unable to append, for a node that can all the time, until that
/// one takes its place. Longer than a node needs to connect again after an outage.
const UNSEEN_MIN: Duration = Duration::from_secs(15);
/// How long it may take until the next node has taken the place of one that dies: for ten seconds, nobody misses it.
pub const SUCCEEDED_WITHIN: Duration = UNSEEN_MIN.saturating_add(Duration::from_secs(10)).saturating_add(CHECK_EVERY);

/// A node's observations of the nodes before it.
#[derive(Debug, Default)]
pub struct Succession {
    /// The earlier nodes that are not seen any more or cannot append, and since when this node has found that at every check.
    unseen: HashMap<String, Instant>,
}

impl Succession {
    /// True if this node is the first of those that are there, by what a check has found; `None` if it has found nothing, or if this
    /// node could not append itself: then everything counts anew.
    pub fn is_first(&mut self, earlier: Option<&[EarlierNode]>, now: Instant) -> bool {
        let Some(earlier) = earlier else {
            self.unseen.clear();
            return false;
        };
        self.unseen = earlier
            .iter()
            .filter(|node| !node.could_append_lately)
            .map(|node| (node.node_id.clone(), self.unseen.get(&node.node_id).copied().unwrap_or(now)))
            .collect();
        let is_gone = |node: &EarlierNode| {
            self.unseen.get(&node.node_id).is_some_and(|since| now.duration_since(*since) >= UNSEEN_MIN)
        };
        earlier.iter().all(is_gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, could_append_lately: bool) -> EarlierNode {
        EarlierNode { node_id: name.to_owned(), could_append_lately }
    }

    /// Simulates checks every two seconds, from this one on; returns how many the node takes until it is the first one.
    fn checks_until_first(succession: &mut Succession, began: Instant, earlier: &[EarlierNode]) -> Option<u32> {
        (0..20).find(|check| succession.is_first(Some(earlier), began + Duration::from_secs(2) * *check))
    }

    #[test]
    fn a_node_with_none_before_it_and_one_whose_predecessors_have_left_are_first_at_once() {
        let (mut succession, now) = (Succession::default(), Instant::now());
        assert!(succession.is_first(Some(&[]), now));
        let gone = node("gone", false);
        for seconds in [0, 20] {
            let found = [gone.clone(), node("first", true)];
            assert!(!succession.is_first(Some(&found), now + Duration::from_secs(seconds)));
        }
        assert!(succession.is_first(Some(&[gone]), now + Duration::from_secs(20)), "it was gone all the time");
    }

    #[test]
    fn a_node_that_is_unseen_keeps_its_place_until_fifteen_seconds_have_passed_without_a_gap() {
        let (mut succession, now) = (Succession::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        let unseen = [node("first", false)];
        assert_eq!(checks_until_first(&mut succession, now, &unseen), Some(8), "16 seconds");
        assert!(!succession.is_first(None, after(30)), "the database could not be asked");
        assert!(!succession.is_first(Some(&unseen), after(32)));
        assert!(!succession.is_first(Some(&[node("first", true)]), after(46)), "it is there again");
        assert_eq!(checks_until_first(&mut succession, after(48), &unseen), Some(8), "a second time");
    }
}
