//! Shares of a limit, against a list of all that was admitted.

use std::sync::Arc;

use events::event::access::AccessLimitsLocal;
use events::event::{Access, Actor, Context, Event, Recorded};
use events::limit::Measure;
use events::time::from_micros;
use proptest::prelude::*;

use super::counts::{Instants, SharedCounts};
use super::group::Groups;
use super::mode::{Alone, Mode, Modes};

const MEASURE: Measure = Measure::RequestsPerMinute;
const MINUTE: i64 = 60_000_000;
/// The position at which nodes begin to count by themselves.
const BEGAN: u64 = 100;

/// Nodes that read each other's admissions in the log, without a delay.
struct Nodes {
    nodes: Vec<SharedCounts>,
    modes: Modes,
    admitted: Vec<i64>,
    limit: u64,
    now: i64,
}

impl Nodes {
    fn new(count: usize, limit: u64) -> Self {
        let mut all = Self { nodes: Vec::new(), modes: Modes::new("0"), admitted: Vec::new(), limit, now: 0 };
        (0..count).for_each(|_| all.nodes.push(all.new_node()));
        all
    }

    fn new_node(&self) -> SharedCounts {
        SharedCounts::new(Groups::default().of(None))
    }

    fn passes(&mut self, micros: i64) {
        self.now += micros;
        self.nodes.iter_mut().for_each(|node| node.advance(self.now));
    }

    fn instants(&self) -> Instants {
        Instants { now_micros: self.now, known_since_micros: i64::MIN }
    }

    fn admit(&mut self, by: usize, alone_since: Option<u64>) {
        let now = self.now;
        self.admitted.push(now);
        for (number, node) in self.nodes.iter_mut().enumerate() {
            if number == by {
                node.count(MEASURE, 1, alone_since, now);
            } else {
                node.count_others(MEASURE, 1, now);
            }
        }
    }

    fn in_window(&self) -> u64 {
        self.admitted.iter().filter(|at| **at > self.now - MINUTE).count() as u64
    }

    /// As Redis does.
    fn ask_together(&mut self, by: usize) {
        if self.in_window() < self.limit {
            self.admit(by, None);
        }
    }

    fn record_alone(&mut self) {
        let known = self.modes.known();
        let nodes = (0..self.nodes.len()).map(|number| number.to_string()).collect();
        let local = AccessLimitsLocal { node: "0".to_owned(), nodes, began_at: from_micros(0), reason: String::new() };
        let recorded = Recorded {
            position: BEGAN + known.sequence,
            recorded_at: from_micros(0),
            stream: Access::limits_stream(),
            sequence: known.sequence + 1,
            context: Context::of(Actor::System("gateway")),
            event: Event::from(local),
        };
        self.modes.apply(&recorded, self.now);
        let began = self.alone().began;
        self.nodes.iter_mut().for_each(|node| node.begin_alone(began));
    }

    fn alone(&self) -> Alone {
        match &*self.modes.mode() {
            Mode::Alone(alone) => alone.clone(),
            Mode::Together { .. } => panic!("together"),
        }
    }

    /// Returns whether it is admitted.
    fn ask_alone(&mut self, by: usize) -> bool {
        let (alone, instants, limit) = (self.alone(), self.instants(), self.limit);
        self.nodes[by].begin_alone(alone.began);
        let fits = self.nodes[by].shortage_of_share((MEASURE, limit), 1, &alone, instants).is_none();
        if fits {
            self.admit(by, Some(alone.began));
        }
        fits
    }

    /// A node that has read the log.
    fn join(&mut self) {
        let mut node = self.new_node();
        for at in &self.admitted {
            node.advance(*at);
            node.count_others(MEASURE, 1, *at);
        }
        self.nodes.push(node);
        self.record_alone();
        self.passes(0);
    }
}

proptest! {
    /// The argument of ADR-0023, points 2 and 3.
    #[test]
    fn shares_together_never_exceed_a_limit_by_more_than_a_request_a_node(
        count in 1_usize..5,
        limit in 1_u64..60,
        before in prop::collection::vec((0_i64..3_000_000, any::<prop::sample::Index>()), 0..80),
        since in prop::collection::vec((prop_oneof![0_i64..800_000, 5_000_000_i64..70_000_000], any::<prop::sample::Index>()), 1..200),
        joins_at in prop::option::of(0_usize..200),
    ) {
        let mut nodes = Nodes::new(count, limit);
        for (gap, by) in before {
            nodes.passes(gap);
            nodes.ask_together(by.index(count));
        }
        nodes.record_alone();
        for (step, (gap, by)) in since.into_iter().enumerate() {
            nodes.passes(gap);
            if joins_at == Some(step) {
                nodes.join();
            }
            let by = by.index(nodes.nodes.len());
            nodes.ask_alone(by);
            prop_assert!(nodes.in_window() <= limit + nodes.nodes.len() as u64, "{} of {limit}", nodes.in_window());
        }
    }
}

#[test]
fn what_a_limit_has_left_is_divided_and_what_becomes_free_too() {
    let mut nodes = Nodes::new(3, 30);
    for _ in 0..12 {
        nodes.ask_together(0);
    }
    nodes.passes(10_000_000);
    nodes.record_alone();
    let admitted = |nodes: &mut Nodes, by| (0..40).filter(|_| nodes.ask_alone(by)).count();
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
    nodes.record_alone();
    let (alone, group) = (nodes.alone(), Groups::default().of(None));
    let mut fresh = SharedCounts::new(Arc::clone(&group));
    fresh.begin_alone(alone.began);
    let admitted = |counts: &mut SharedCounts, known_since_micros| {
        let instants = Instants { now_micros: 5 * MINUTE, known_since_micros };
        let fits = |counts: &mut SharedCounts| {
            counts.advance(instants.now_micros);
            let fits = counts.shortage_of_share((MEASURE, 90), 1, &alone, instants).is_none();
            fits && counts.count(MEASURE, 1, Some(alone.began), instants.now_micros).is_some()
        };
        (0..99).filter(|_| fits(counts)).count()
    };
    assert_eq!(admitted(&mut fresh, 5 * MINUTE), 10);
    assert_eq!(admitted(&mut fresh, 3 * MINUTE), 20, "all that the window holds is known: thirty in all");
    let mut told = SharedCounts::new(group);
    // Redis said a little earlier that others had counted sixty.
    told.advance(5 * MINUTE);
    told.learn(MEASURE, 60, 5 * MINUTE);
    told.begin_alone(alone.began);
    assert_eq!(admitted(&mut told, 5 * MINUTE), 10, "a third of what is left");
}
