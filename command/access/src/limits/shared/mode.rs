//! How nodes count rate limits: *shared*, in Redis, or *local*, each by itself. The log says which, on a stream of its own, so
//! that all nodes agree at which position that changed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::event::{Access, Event, Recorded};
use events::log::{LogError, Reader, RunningNode};
use tokio::sync::watch;
use tokio::time::timeout;

/// Longer than any window keeps anything.
pub const KEPT_MAX: Duration = Duration::from_hours(25);
/// How long a node that recorded an event keeps its share although the register does not list it: as long as the register lists one
/// that died.
const RECORDED_LATELY: Duration = Duration::from_secs(10);
/// The most that the clocks of a node and of the database may differ.
const CLOCKS_DIFFER_MAX: TimeDelta = TimeDelta::seconds(5);

/// How limits are counted since the last event of `access-limits`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, behind an `Arc`")]
pub enum Mode {
    /// In Redis. The turn is the position of the event that says so; 0 if there never was an outage.
    Shared { turn: u64 },
    /// Each node for itself.
    Local(LocalPeriod),
}

/// The part of the log in which each node counts by itself: from an `access.limits_local` to the `access.limits_shared` that ends
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPeriod {
    /// The position of the event with which it began.
    pub began: u64,
    /// The position of the event that gave this node a share; `None` if it has none yet. What was admitted before is the base of its
    /// share.
    pub member_since: Option<u64>,
    /// The position of the last event of it.
    pub turn: u64,
    pub began_at: DateTime<Utc>,
    pub beginning: Beginning,
    /// The nodes that have a share now.
    pub nodes: HashSet<String>,
    /// The nodes that have had a share in it: others have admitted nothing in it.
    pub members: HashSet<String>,
    /// When nodes last recorded an event of it, by the monotonic clock: those that had done so lately when the last one was recorded.
    recorded_at_micros: HashMap<String, i64>,
    /// The shares that its events gave, as far back as a window may need them; the newest last.
    shares: Vec<SharesGiven>,
}

/// The event with which a local period began: who could not share counts, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    pub node: String,
    pub reason: String,
    pub recorded_at: DateTime<Utc>,
}

/// The shares that an event gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SharesGiven {
    /// By the monotonic clock.
    at_micros: i64,
    /// How many nodes have a share from then on.
    nodes: u64,
    /// How many of them had none before.
    new: u64,
}

impl Mode {
    pub const fn turn(&self) -> u64 {
        match self {
            Self::Shared { turn } => *turn,
            Self::Local(period) => period.turn,
        }
    }

    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Shared { .. })
    }

    /// The nodes that have a share if this one records an `access.limits_local` now: those that the register lists, this one, and
    /// those that have recorded such an event of the period lately.
    ///
    /// A node that has died is listed for ten seconds. One that runs unlisted, because the register does not hear of it, is left out
    /// once and then records itself. The next one that does so keeps it, so that two unlisted nodes do not take turns.
    pub fn nodes_to_record(&self, own: &str, listed: impl IntoIterator<Item = String>, now_micros: i64) -> Vec<String> {
        let of_period = match self {
            Self::Shared { .. } => None,
            Self::Local(period) => Some(recorded_lately(&period.recorded_at_micros, now_micros)),
        };
        let recorders = of_period.into_iter().flatten().map(|(node, _)| node.clone());
        let nodes: BTreeSet<String> = listed.into_iter().chain([own.to_owned()]).chain(recorders).collect();
        nodes.into_iter().collect()
    }

    /// The mode after an event; `None` if it does not change it.
    fn after(&self, recorded: &Recorded, node: &str, now_micros: i64) -> Option<Self> {
        let turn = recorded.position;
        match &recorded.event {
            Event::Access(Access::LimitsLocal(local)) => {
                let nodes: HashSet<String> = local.nodes.iter().cloned().collect();
                let is_member = nodes.contains(node);
                let given = |before: &HashSet<String>| SharesGiven {
                    at_micros: now_micros,
                    nodes: nodes.len() as u64,
                    new: nodes.difference(before).count() as u64,
                };
                Some(Self::Local(match self {
                    Self::Shared { .. } => {
                        let (member_since, shares) = (is_member.then_some(turn), vec![given(&HashSet::new())]);
                        let beginning = Beginning {
                            node: local.node.clone(),
                            reason: local.reason.clone(),
                            recorded_at: recorded.recorded_at,
                        };
                        LocalPeriod {
                            began: turn,
                            turn,
                            member_since,
                            began_at: local.began_at,
                            beginning,
                            members: nodes.clone(),
                            recorded_at_micros: HashMap::from([(local.node.clone(), now_micros)]),
                            nodes,
                            shares,
                        }
                    }
                    Self::Local(before) => {
                        let needed = before.shares.get(first_needed(&before.shares, KEPT_MAX, now_micros)..);
                        let shares = needed.unwrap_or_default().iter().copied().chain([given(&before.nodes)]).collect();
                        let recorders = recorded_lately(&before.recorded_at_micros, now_micros);
                        let recorders = recorders.map(|(node, at)| (node.clone(), at));
                        // Without a share, it has to be given one before it admits anything.
                        let member_since = is_member.then(|| before.member_since.unwrap_or(turn));
                        LocalPeriod {
                            began: before.began,
                            began_at: before.began_at,
                            beginning: before.beginning.clone(),
                            turn,
                            member_since,
                            members: before.members.union(&nodes).cloned().collect(),
                            recorded_at_micros: recorders.chain([(local.node.clone(), now_micros)]).collect(),
                            nodes,
                            shares,
                        }
                    }
                }))
            }
            Event::Access(Access::LimitsShared(shared)) if shared.ends == self.turn() => Some(Self::Shared { turn }),
            _ => None,
        }
    }
}

impl LocalPeriod {
    /// Whether a node may have admitted something in it. One that started in it and has no share has not, and may never be ready: a node
    /// that cannot use Redis starts again and again. One that is older may have been suspended when it began.
    pub fn may_have_admitted(&self, node: &RunningNode) -> bool {
        let last_start = self.beginning.recorded_at + CLOCKS_DIFFER_MAX;
        self.members.contains(&node.node_id) || (node.started_at <= last_start && !node.is_starting())
    }

    /// Into how many shares a limit is divided whose window is this long: one for each time in the window that a node was given a
    /// share. What a node has admitted still counts when another one has taken its place, and a node that had none for a while
    /// begins anew.
    pub fn shares(&self, kept: Duration, now_micros: i64) -> u64 {
        let of_window = self.shares.get(first_needed(&self.shares, kept, now_micros)..).unwrap_or_default();
        let Some((first, later)) = of_window.split_first() else { return 1 };
        (first.nodes + later.iter().map(|given| given.new).sum::<u64>()).max(1)
    }
}

/// The first event that counts in a window of this length: those before it were replaced before the window began.
fn first_needed(shares: &[SharesGiven], kept: Duration, now_micros: i64) -> usize {
    let begins = now_micros.saturating_sub(i64::try_from(kept.as_micros()).unwrap_or(i64::MAX));
    shares.iter().rposition(|given| given.at_micros < begins).unwrap_or(0)
}

/// The nodes that recorded an event lately.
fn recorded_lately(at_micros: &HashMap<String, i64>, now_micros: i64) -> impl Iterator<Item = (&String, i64)> {
    let since = now_micros.saturating_sub(i64::try_from(RECORDED_LATELY.as_micros()).unwrap_or(i64::MAX));
    at_micros.iter().map(|(node, at)| (node, *at)).filter(move |(_, at)| *at > since)
}

/// The mode, and the position up to which the log was read for it.
#[derive(Clone, Debug)]
pub struct KnownMode {
    pub position: u64,
    pub mode: Arc<Mode>,
    /// The last sequence of the stream.
    pub sequence: u64,
}

/// Since when each node counts rate limits by itself, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalSince {
    pub began_at: DateTime<Utc>,
    /// The node that could not share its counts.
    pub node: String,
    pub reason: String,
}

impl LocalSince {
    /// Of the nodes that run now; `None` if they share their counts, or if none of them has a Redis.
    pub fn of(reader: &dyn Reader) -> Result<Option<Self>, LogError> {
        if !reader.running_nodes()?.iter().any(RunningNode::has_redis) {
            return Ok(None);
        }
        Ok(Self::after(&reader.stream(&Access::limits_stream())?))
    }

    /// By all events of the stream `access-limits`; `None` if counts are shared after them.
    fn after(events: &[Recorded]) -> Option<Self> {
        let modes = Modes::new("");
        for recorded in events {
            modes.apply(recorded, 0);
        }
        match &*modes.mode() {
            Mode::Shared { .. } => None,
            Mode::Local(LocalPeriod { began_at, beginning, .. }) => {
                Some(Self { began_at: *began_at, node: beginning.node.clone(), reason: beginning.reason.clone() })
            }
        }
    }
}

/// The current mode, for all who ask and all who wait.
pub struct Modes {
    /// The name of this node.
    node: String,
    known: watch::Sender<KnownMode>,
}

impl Modes {
    pub fn new(node: &str) -> Self {
        let known = KnownMode { position: 0, mode: Arc::new(Mode::Shared { turn: 0 }), sequence: 0 };
        Self { node: node.to_owned(), known: watch::Sender::new(known) }
    }

    pub fn known(&self) -> KnownMode {
        self.known.borrow().clone()
    }

    pub fn mode(&self) -> Arc<Mode> {
        Arc::clone(&self.known.borrow().mode)
    }

    pub fn subscribe(&self) -> watch::Receiver<KnownMode> {
        self.known.subscribe()
    }

    /// Applies an event, unless it was applied before. All that is recorded before it must have been counted. Returns whether the
    /// mode has changed.
    pub fn apply(&self, recorded: &Recorded, now_micros: i64) -> bool {
        if !matches!(recorded.event, Event::Access(Access::LimitsLocal(_) | Access::LimitsShared(_))) {
            return false;
        }
        self.known.send_if_modified(|known| {
            if recorded.sequence <= known.sequence {
                return false;
            }
            known.sequence = recorded.sequence;
            if let Some(mode) = known.mode.after(recorded, &self.node, now_micros) {
                known.mode = Arc::new(mode);
            }
            true
        })
    }

    /// The log was read up to here.
    pub fn reached(&self, position: u64) {
        self.known.send_if_modified(|known| {
            let is_later = position > known.position;
            known.position = known.position.max(position);
            is_later
        });
    }

    /// Waits for a state. Returns false if it takes longer than `deadline`.
    pub async fn wait_for(&self, is_there: impl FnMut(&KnownMode) -> bool, deadline: Duration) -> bool {
        let mut known = self.subscribe();
        matches!(timeout(deadline, known.wait_for(is_there)).await, Ok(Ok(_)))
    }
}

#[cfg(test)]
mod tests {
    use events::event::access::{AccessLimitsLocal, AccessLimitsShared};
    use events::event::{Actor, Context};
    use events::log::LimitSharing;
    use events::time::from_micros;

    use super::*;

    fn recorded(position: u64, sequence: u64, event: impl Into<Event>) -> Recorded {
        let stream = Access::limits_stream();
        let context = Context::of(Actor::System("limits"));
        let recorded_at = from_micros(i64::try_from(position).expect("a position"));
        Recorded { position, recorded_at, stream, sequence, context, event: event.into() }
    }

    fn local(nodes: &[&str]) -> AccessLimitsLocal {
        let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        AccessLimitsLocal { node: "a".to_owned(), nodes, began_at: from_micros(5), reason: String::new() }
    }

    fn shared(ends: u64) -> AccessLimitsShared {
        let at = from_micros(9);
        AccessLimitsShared { node: "a".to_owned(), ends, began_at: at, ended_at: at, admitted: 0, refused: 0 }
    }

    fn period(modes: &Modes) -> LocalPeriod {
        match &*modes.mode() {
            Mode::Local(period) => period.clone(),
            Mode::Shared { .. } => panic!("shared"),
        }
    }

    #[test]
    fn the_log_says_when_nodes_count_by_themselves() {
        let modes = Modes::new("c");
        modes.apply(&recorded(7, 1, local(&["a", "b"])), 0);
        assert_eq!((period(&modes).began, period(&modes).turn, period(&modes).member_since), (7, 7, None));
        modes.apply(&recorded(9, 2, local(&["a", "b", "c"])), 1);
        assert_eq!((period(&modes).began, period(&modes).turn, period(&modes).member_since), (7, 9, Some(9)));
        assert_eq!(
            period(&modes).beginning.recorded_at,
            from_micros(7),
            "when it began, and not when a share was given"
        );
        modes.apply(&recorded(10, 3, shared(7)), 2);
        assert!(!modes.mode().is_shared(), "it does not know of the third node");
        modes.apply(&recorded(11, 4, shared(9)), 3);
        assert_eq!(*modes.mode(), Mode::Shared { turn: 11 });
        modes.apply(&recorded(9, 2, local(&["a"])), 4);
        assert_eq!(*modes.mode(), Mode::Shared { turn: 11 }, "each event once");
    }

    #[test]
    fn the_first_event_of_a_local_period_says_why_it_began() {
        let because = |reason: &str| AccessLimitsLocal { reason: reason.to_owned(), ..local(&["a"]) };
        let events = [
            recorded(7, 1, because("an older one")),
            recorded(8, 2, shared(7)),
            recorded(9, 3, because("no answer")),
            recorded(10, 4, because("no share")),
            recorded(11, 5, shared(10)),
        ];
        let reason = |count: usize| LocalSince::after(&events[..count]).map(|since| since.reason);
        let reasons: Vec<_> = (0..=5).map(reason).collect();
        assert_eq!(
            reasons.iter().map(Option::as_deref).collect::<Vec<_>>(),
            [None, Some("an older one"), None, Some("no answer"), Some("no answer"), None]
        );
    }

    #[test]
    fn a_node_without_a_share_in_the_last_event_has_none() {
        let modes = Modes::new("c");
        modes.apply(&recorded(7, 1, local(&["a", "b", "c"])), 0);
        assert_eq!(period(&modes).member_since, Some(7));
        modes.apply(&recorded(8, 2, local(&["a", "b", "c", "d"])), 0);
        assert_eq!(period(&modes).member_since, Some(7), "it keeps the one that it has");
        modes.apply(&recorded(9, 3, local(&["a", "d"])), 0);
        assert_eq!(period(&modes).member_since, None);
        assert_eq!(
            period(&modes).members,
            ["a", "b", "c", "d"].map(str::to_owned).into(),
            "of what it had, others know"
        );
        modes.apply(&recorded(11, 4, local(&["a", "c", "d"])), 0);
        assert_eq!(period(&modes).member_since, Some(11), "it begins anew");
    }

    #[test]
    fn nodes_with_a_share_have_admitted_something_and_older_ones_that_serve_may_have() {
        let modes = Modes::new("a");
        modes.apply(&recorded(7, 1, local(&["a", "member"])), 0);
        let period = period(&modes);
        let (before, after) = (from_micros(1), from_micros(7) + CLOCKS_DIFFER_MAX + TimeDelta::microseconds(1));
        let may = |id: &str, started_at, limit_sharing| {
            period.may_have_admitted(&RunningNode {
                node_id: id.to_owned(),
                address: String::new(),
                started_at,
                seen_at: after,
                serves_requests: true,
                limit_sharing: Some(limit_sharing),
            })
        };
        let (starting, serving) = (LimitSharing::Starting, LimitSharing::Disconnected);
        assert!(may("member", after, starting), "its row may be a second old");
        assert!(may("member", after, serving) && may("other", before, serving));
        assert!(!may("other", before, starting) && !may("other", after, serving));
    }

    #[test]
    fn a_node_is_recorded_while_it_is_listed_or_has_recorded_itself_lately() {
        let second = i64::try_from(Duration::from_secs(1).as_micros()).expect("a time");
        let (modes, listed) = (Modes::new("c"), |nodes: &[&str]| -> Vec<String> {
            nodes.iter().map(|node| (*node).to_owned()).collect()
        });
        assert_eq!(
            modes.mode().nodes_to_record("c", listed(&["d", "b"]), 0),
            ["b", "c", "d"],
            "while counts are shared"
        );
        // Node a records both.
        modes.apply(&recorded(7, 1, local(&["a", "b"])), 0);
        modes.apply(&recorded(8, 2, local(&["a", "b", "c"])), second);
        let recorded_at = |now| modes.mode().nodes_to_record("c", listed(&["d"]), now);
        assert_eq!(recorded_at(11 * second - 1), ["a", "c", "d"]);
        assert_eq!(recorded_at(11 * second), ["c", "d"]);
        assert_eq!(modes.mode().nodes_to_record("c", listed(&["c", "a"]), 11 * second), ["a", "c"]);
    }

    #[test]
    fn a_limit_is_divided_by_all_nodes_that_its_window_has_seen() {
        let modes = Modes::new("c");
        let events = [(0, &["a", "b", "c"][..]), (50, &["a"]), (60, &["a", "d"]), (70, &["a", "b"])];
        for (sequence, (at, nodes)) in (1..).zip(events) {
            modes.apply(&recorded(sequence, sequence, local(nodes)), at);
        }
        let shares = |kept, now| period(&modes).shares(Duration::from_micros(kept), now);
        assert_eq!(shares(10, 80), 3, "nodes a, d, and b, which has taken the place of d");
        assert_eq!(shares(10, 81), 2);
        assert_eq!(shares(20, 80), 3);
        assert_eq!(shares(100, 80), 5, "nodes a, b, c, d, and b once more");
    }

    #[test]
    fn an_outage_of_many_restarts_remembers_what_its_windows_need() {
        let modes = Modes::new("c");
        let hours = |hours: u64| i64::try_from(Duration::from_hours(hours).as_micros()).expect("a time");
        for hour in 0..100 {
            modes.apply(&recorded(hour + 1, hour + 1, local(&[&format!("node-{hour}")])), hours(hour));
        }
        let period = period(&modes);
        assert_eq!(
            period.shares(Duration::from_hours(24), hours(99)),
            26,
            "the one before, and one in each hour since"
        );
        assert_eq!(period.shares(Duration::from_hours(1), hours(99)), 3);
        assert_eq!(period.shares.len(), 27);
    }
}
