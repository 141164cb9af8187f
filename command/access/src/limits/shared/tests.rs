//! Shares of a limit, against a list of all that was admitted.

mod one_node;

use std::sync::Arc;
use std::time::Duration;

use events::event::access::AccessLimitsLocal;
use events::event::{Access, Actor, Context, Event, Recorded};
use events::limit::Measure;
use events::time::from_micros;
use proptest::prelude::*;

use super::counts::{Instants, SharedCounts};
use super::group::Groups;
use super::mode::{LocalPeriod, Mode, Modes};
use crate::limits::slot::Shortage;
use crate::limits::window::Fits;

const MEASURE: Measure = Measure::RequestsPerMinute;
const MINUTE: i64 = 60_000_000;
/// How long the register lists a node that has died.
const LISTED: i64 = 10_000_000;
/// The position at which a local period begins.
const BEGAN: u64 = 100;

/// Nodes that read each other's admissions in the log, without a delay.
struct Nodes {
    nodes: Vec<Node>,
    /// What the log says of how limits are counted, and when.
    events: Vec<(Recorded, i64)>,
    /// The nodes of its last event.
    with_share: Vec<String>,
    shares_given: u64,
    admitted: Vec<i64>,
    limit: u64,
    now: i64,
}

struct Node {
    name: String,
    counts: SharedCounts,
    modes: Modes,
    died_at: Option<i64>,
    /// The register hears of it.
    is_heard: bool,
}

impl Node {
    const fn runs(&self) -> bool {
        self.died_at.is_none()
    }

    /// It runs, or has not been dead for long.
    fn is_recent(&self, now: i64) -> bool {
        self.died_at.is_none_or(|at| now < at + LISTED)
    }

    /// `None` while it has no share.
    fn share(&self) -> Option<(LocalPeriod, u64)> {
        match &*self.modes.mode() {
            Mode::Local(period) => Some((period.clone(), period.member_since?)),
            Mode::Shared { .. } => panic!("shared"),
        }
    }
}

/// What happens to a node in a local period.
#[derive(Clone, Debug)]
enum Change {
    Joins,
    /// It dies, and another one begins to run.
    IsReplaced(prop::sample::Index),
    /// The register hears of it no longer, and another one records an event without it.
    IsOverlooked(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let any = any::<prop::sample::Index>;
    prop_oneof![Just(Change::Joins), any().prop_map(Change::IsReplaced), any().prop_map(Change::IsOverlooked)]
}

impl Nodes {
    fn new(count: usize, limit: u64) -> Self {
        let mut all = Self {
            nodes: Vec::new(),
            events: Vec::new(),
            with_share: Vec::new(),
            shares_given: 0,
            admitted: Vec::new(),
            limit,
            now: 0,
        };
        (0..count).for_each(|_| all.begin_node());
        all
    }

    /// A node that has read the log.
    fn begin_node(&mut self) {
        let name = self.nodes.len().to_string();
        let (mut counts, modes) = (SharedCounts::new(Groups::default().of(None)), Modes::new(&name));
        for at in &self.admitted {
            counts.advance(*at);
            counts.count_others(MEASURE, 1, *at);
        }
        for (recorded, at) in &self.events {
            modes.apply(recorded, *at);
        }
        self.nodes.push(Node { name, counts, modes, died_at: None, is_heard: true });
    }

    fn passes(&mut self, micros: i64) {
        self.now += micros;
        self.nodes.iter_mut().for_each(|node| node.counts.advance(self.now));
    }

    fn instants(&self) -> Instants {
        Instants { now_micros: self.now, known_since_micros: i64::MIN }
    }

    fn admit(&mut self, by: usize, local_since: Option<u64>) {
        let now = self.now;
        self.admitted.push(now);
        for (number, node) in self.nodes.iter_mut().enumerate() {
            if number == by {
                node.counts.count(MEASURE, 1, local_since, now);
            } else {
                node.counts.count_others(MEASURE, 1, now);
            }
        }
    }

    fn in_window(&self) -> u64 {
        self.admitted.iter().filter(|at| **at > self.now - MINUTE).count() as u64
    }

    /// As Redis does.
    fn ask_shared(&mut self, by: usize) {
        if self.in_window() < self.limit {
            self.admit(by, None);
        }
    }

    /// By this node.
    fn record_local(&mut self, by: usize) {
        let listed = self.nodes.iter().filter(|node| node.is_heard && node.is_recent(self.now));
        let (listed, own) = (listed.map(|node| node.name.clone()), &self.nodes[by]);
        let nodes = own.modes.mode().nodes_to_record(&own.name, listed, self.now);
        let is_recent = |name: &String| self.nodes.iter().any(|node| node.name == *name && node.is_recent(self.now));
        assert!(nodes.iter().all(is_recent), "{nodes:?} at {}", self.now);
        self.shares_given += nodes.iter().filter(|name| !self.with_share.contains(name)).count() as u64;
        self.with_share.clone_from(&nodes);
        let sequence = self.events.len() as u64 + 1;
        let local =
            AccessLimitsLocal { node: own.name.clone(), nodes, began_at: from_micros(0), reason: String::new() };
        let recorded = Recorded {
            position: BEGAN + sequence,
            recorded_at: from_micros(0),
            stream: Access::limits_stream(),
            sequence,
            context: Context::of(Actor::System("gateway")),
            event: Event::from(local),
        };
        for node in &mut self.nodes {
            node.modes.apply(&recorded, self.now);
            if let Some((_, since)) = node.share() {
                node.counts.begin_local(since);
            }
        }
        self.events.push((recorded, self.now));
    }

    /// Each node that has no share records itself. If it gets one, it does so once.
    fn record_those_without_a_share(&mut self) {
        let without = |nodes: &[Node]| nodes.iter().position(|node| node.runs() && node.share().is_none());
        for _ in 0..self.nodes.len() {
            let Some(by) = without(&self.nodes) else { return };
            self.record_local(by);
        }
        assert_eq!(without(&self.nodes), None, "nodes take turns");
    }

    /// Returns whether it is admitted.
    fn ask_locally(&mut self, by: usize) -> bool {
        let (instants, limit, node) = (self.instants(), self.limit, &mut self.nodes[by]);
        let Some((period, since)) = node.share().filter(|_| node.runs()) else { return false };
        let fits = node.counts.shortage_of_share((MEASURE, limit), 1, &period, instants).is_none();
        if fits {
            self.admit(by, Some(since));
        }
        fits
    }

    fn dies(&mut self, which: usize) {
        self.nodes[which].died_at.get_or_insert(self.now);
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Joins => self.begin_node(),
            Change::IsReplaced(which) => {
                self.dies(which.index(self.nodes.len()));
                self.begin_node();
            }
            Change::IsOverlooked(which) => {
                let overlooked = which.index(self.nodes.len());
                self.nodes[overlooked].is_heard = false;
                let another = (0..self.nodes.len()).find(|number| *number != overlooked && self.nodes[*number].runs());
                if let Some(another) = another {
                    self.record_local(another);
                }
            }
        }
        self.record_those_without_a_share();
    }
}

proptest! {
    /// The argument of ADR-0023, points 2 and 3.
    #[test]
    fn shares_together_never_exceed_a_limit_by_more_than_a_request_a_node(
        count in 1_usize..5,
        limit in 1_u64..60,
        before in prop::collection::vec((0_i64..3_000_000, any::<prop::sample::Index>()), 0..80),
        since in prop::collection::vec(
            (prop_oneof![4 => 0_i64..800_000, 1 => 5_000_000_i64..70_000_000], any::<prop::sample::Index>(), 1_usize..40),
            1..100,
        ),
        changes in prop::collection::vec((0_usize..40, change()), 0..4),
    ) {
        let mut nodes = Nodes::new(count, limit);
        for (gap, by) in before {
            nodes.passes(gap);
            nodes.ask_shared(by.index(count));
        }
        nodes.record_local(0);
        for (step, (gap, by, asks)) in since.into_iter().enumerate() {
            nodes.passes(gap);
            for (_, change) in changes.iter().filter(|(at, _)| *at == step) {
                nodes.change(change);
            }
            let by = by.index(nodes.nodes.len());
            for _ in 0..asks {
                nodes.ask_locally(by);
            }
            prop_assert!(nodes.in_window() <= limit + nodes.shares_given, "{} of {limit}", nodes.in_window());
        }
    }
}

#[test]
fn a_node_in_the_place_of_another_takes_nothing_that_was_left_for_others() {
    let mut nodes = Nodes::new(3, 90);
    nodes.record_local(0);
    let admitted = |nodes: &mut Nodes, by| (0..99).filter(|_| nodes.ask_locally(by)).count();
    assert_eq!([0, 1].map(|by| admitted(&mut nodes, by)), [30, 30]);
    nodes.dies(1);
    nodes.begin_node();
    nodes.record_local(3);
    // A quarter of what was left, and of all: node 1 is one of four.
    assert_eq!([3, 2].map(|by| admitted(&mut nodes, by)), [8, 23]);
}

#[test]
fn a_limit_is_divided_by_the_nodes_that_run_however_many_were_replaced() {
    let mut nodes = Nodes::new(3, 60);
    nodes.record_local(0);
    for replaced in 0..30 {
        nodes.dies(replaced);
        nodes.passes(MINUTE);
        nodes.begin_node();
        nodes.record_those_without_a_share();
    }
    nodes.passes(2 * MINUTE);
    let admitted = [30, 31, 32].map(|by| (0..60).filter(|_| nodes.ask_locally(by)).count());
    assert_eq!(admitted, [20, 20, 20]);
}

#[test]
fn what_a_limit_has_left_is_divided_and_what_becomes_free_too() {
    let mut nodes = Nodes::new(3, 30);
    for _ in 0..12 {
        nodes.ask_shared(0);
    }
    nodes.passes(10_000_000);
    nodes.record_local(0);
    let admitted = |nodes: &mut Nodes, by| (0..40).filter(|_| nodes.ask_locally(by)).count();
    assert_eq!((admitted(&mut nodes, 0), admitted(&mut nodes, 1)), (6, 6), "a third of eighteen each");
    // The twelve leave; what was admitted since still counts.
    nodes.passes(MINUTE - 5_000_000);
    assert_eq!((admitted(&mut nodes, 0), admitted(&mut nodes, 1)), (4, 4), "a third of thirty in all");
    assert_eq!(admitted(&mut nodes, 2), 10);
    nodes.passes(2 * MINUTE);
    assert_eq!([0, 1, 2].map(|by| admitted(&mut nodes, by)), [10, 10, 10]);
}

#[test]
fn a_node_that_knows_nothing_of_a_window_admits_a_share_of_its_share() {
    let mut nodes = Nodes::new(3, 90);
    nodes.record_local(0);
    let ((period, since), group) = (nodes.nodes[0].share().expect("a share"), Groups::default().of(None));
    let mut fresh = SharedCounts::new(Arc::clone(&group));
    fresh.begin_local(since);
    let admitted = |counts: &mut SharedCounts, known_since_micros| {
        let instants = Instants { now_micros: 5 * MINUTE, known_since_micros };
        let fits = |counts: &mut SharedCounts| {
            counts.advance(instants.now_micros);
            let fits = counts.shortage_of_share((MEASURE, 90), 1, &period, instants).is_none();
            fits && counts.count(MEASURE, 1, Some(since), instants.now_micros).is_some()
        };
        (0..99).filter(|_| fits(counts)).count()
    };
    assert_eq!(admitted(&mut fresh, 5 * MINUTE), 10);
    assert_eq!(admitted(&mut fresh, 3 * MINUTE), 20, "all that the window holds is known: thirty in all");
    let mut told = SharedCounts::new(group);
    // Redis said a little earlier that others had counted sixty.
    told.advance(5 * MINUTE);
    told.learn(MEASURE, 60, 5 * MINUTE);
    told.begin_local(since);
    assert_eq!(admitted(&mut told, 5 * MINUTE), 10, "a third of what is left");
}

#[test]
fn what_the_log_has_counts_although_redis_does_not_know_it() {
    let mut nodes = Nodes::new(2, 30);
    nodes.record_local(0);
    let admitted = (0..40).filter(|_| nodes.ask_locally(1)).count();
    nodes.passes(30_000_000);
    let counts = &mut nodes.nodes[0].counts;
    assert!(counts.begin_shared(BEGAN + 9), "a later turn");
    for _ in 0..10 {
        counts.count(MEASURE, 1, None, 30_000_000);
    }
    let shortage = |counts: &SharedCounts, amount| counts.shortage_by_log((MEASURE, 30), amount);
    assert_eq!((admitted, shortage(counts, 5), shortage(counts, 31)), (15, None, Some(Shortage::Window(Fits::Never))));
    // Those of the other node leave first, a sixtieth after their minute.
    let after = Duration::from_secs(31);
    assert_eq!(shortage(counts, 6), Some(Shortage::Window(Fits::After(after))));
    assert_eq!(counts.shortage_by_log((Measure::ConcurrentRequests, 1), 1), None, "those that run are in no log");
    nodes.passes(31_000_000);
    assert_eq!(shortage(&nodes.nodes[0].counts, 20), None);
}

#[test]
fn what_others_have_counted_is_said_once_whoever_says_it_first() {
    let mut counts = SharedCounts::new(Groups::default().of(None));
    counts.advance(0);
    counts.count(MEASURE, 2, None, 0);
    let remaining = |counts: &SharedCounts, measure, now_micros| {
        let instants = Instants { now_micros, known_since_micros: i64::MIN };
        counts.remaining(measure, 30, instants).0
    };
    counts.learn(MEASURE, 7, 0);
    assert_eq!(remaining(&counts, MEASURE, 0), 23);
    counts.count_others(MEASURE, 5, 1_000);
    assert_eq!(remaining(&counts, MEASURE, 1_000), 23, "the log says what Redis has said");
    counts.count_others(MEASURE, 1, 2_000);
    assert_eq!(remaining(&counts, MEASURE, 2_000), 22);
    counts.begin_request();
    counts.learn(Measure::ConcurrentRequests, 4, 3_000);
    assert_eq!(remaining(&counts, Measure::ConcurrentRequests, 3_000), 26);
    assert_eq!(
        remaining(&counts, Measure::ConcurrentRequests, 3_000_000),
        29,
        "nobody knows what runs elsewhere by now"
    );
}

#[test]
fn what_redis_has_yet_to_decide_is_not_missed_there() {
    let mut counts = SharedCounts::new(Groups::default().of(None));
    let bucket = counts.count(MEASURE, 1, None, 0).expect("a window");
    counts.bucket_counted_by_redis(MEASURE, bucket, 0);
    assert!(counts.must_be_in_redis(0));
    counts.correct(MEASURE, bucket, None, (1, 0));
    counts.count(MEASURE, 1, None, 0);
    counts.add_undecided(MEASURE, 1);
    assert!(!counts.must_be_in_redis(0), "what it had counted was taken back");
}
