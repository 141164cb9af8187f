//! Shares of a limit, and what Redis is told, against a list of all that was admitted.

mod one_node;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use events::limit::Measure;
use proptest::prelude::*;
use shared_limits::{Correction, Count, LimitCall, Shortage as RedisShortage, Standing};

use super::counts::{SharedCounts, share};
use super::group::Groups;
use crate::limits::slot::Shortage;
use crate::limits::window::{BucketNumber, Fits};

const MEASURE: Measure = Measure::TokensPerMinute;
const MINUTE: i64 = 60_000_000;
/// How long shared windows keep what they count.
const KEPT: i64 = 61_000_000;

/// A Redis that does what the script says, in the simplest way.
#[derive(Default)]
struct ModelRedis {
    nodes: HashMap<usize, ModelFields>,
}

#[derive(Default)]
struct ModelFields {
    number: u64,
    /// The time of the newest count, and the amount.
    buckets: BTreeMap<i64, (i64, u64)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ModelReply {
    Counted,
    Refused,
    Unknown,
}

impl ModelRedis {
    fn counted(&self, now: i64) -> u64 {
        let buckets = self.nodes.values().flat_map(|fields| fields.buckets.values());
        buckets.filter(|(newest, _)| newest + KEPT > now).map(|(_, amount)| amount).sum()
    }

    fn count(&mut self, node: usize, call: &LimitCall, now: i64) -> ModelReply {
        let fields = self.nodes.entry(node).or_default();
        if let Some(state) = call.state.as_ref().filter(|_| fields.number < call.number) {
            fields.number = call.number;
            fields.buckets.clear();
            for bucket in state.windows.iter().flat_map(|window| &window.buckets) {
                let age = i64::try_from(bucket.age.as_micros()).expect("small");
                fields.buckets.insert(bucket.number, (now - age, bucket.amount));
            }
        }
        if fields.number != call.number {
            return ModelReply::Unknown;
        }
        for Correction { bucket, delta, .. } in &call.corrections {
            if let Some((_, amount)) = fields.buckets.get_mut(bucket) {
                *amount = amount.saturating_add_signed(*delta);
            }
        }
        let Some(Count { bound, amount, bucket, .. }) = call.counts.first() else { return ModelReply::Counted };
        if self.counted(now) + amount > *bound {
            return ModelReply::Refused;
        }
        let (newest, counted) = self.nodes.entry(node).or_default().buckets.entry(*bucket).or_default();
        (*newest, *counted) = (now, *counted + amount);
        ModelReply::Counted
    }
}

struct Node {
    counts: SharedCounts,
    /// The number of its connection.
    connection: Option<u64>,
    /// The number of nodes that it last saw.
    sees: u64,
    runs: bool,
}

struct Admitted {
    at: i64,
    node: usize,
    amount: u64,
    bucket: BucketNumber,
}

/// Nodes under one limit, and all that they have admitted.
struct World {
    limit: u64,
    now: i64,
    redis: ModelRedis,
    nodes: Vec<Node>,
    numbers: u64,
    admitted: Vec<Admitted>,
    losses: Vec<i64>,
    /// The number by which limits were divided where a share decided, and when.
    divisors: Vec<(i64, u64)>,
}

/// Whether an answer of Redis arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrives,
    /// Redis has done what it was asked to do, and the connection ends.
    IsLost,
}

#[derive(Clone, Debug)]
enum Step {
    Ask(prop::sample::Index, u64, Fate),
    /// A request used this much of what it had reserved.
    Settle(prop::sample::Index, u64),
    Disconnect(prop::sample::Index),
    Connect(prop::sample::Index),
    /// A node looks for other nodes.
    Look(prop::sample::Index),
    Loses,
    Joins,
    Dies(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<prop::sample::Index>;
    let fate = prop_oneof![20 => Just(Fate::Arrives), 1 => Just(Fate::IsLost)];
    prop_oneof![
        24 => (any(), 1_u64..6, fate).prop_map(|(node, amount, fate)| Step::Ask(node, amount, fate)),
        3 => (any(), 0_u64..6).prop_map(|(which, used)| Step::Settle(which, used)),
        3 => any().prop_map(Step::Disconnect),
        3 => any().prop_map(Step::Connect),
        3 => any().prop_map(Step::Look),
        1 => Just(Step::Loses),
        1 => Just(Step::Joins),
        1 => any().prop_map(Step::Dies),
    ]
}

impl World {
    fn new(limit: u64, nodes: usize) -> Self {
        let mut world = Self {
            limit,
            now: 0,
            redis: ModelRedis::default(),
            nodes: Vec::new(),
            numbers: 0,
            admitted: Vec::new(),
            losses: Vec::new(),
            divisors: Vec::new(),
        };
        (0..nodes).for_each(|_| world.join());
        (0..nodes).for_each(|node| world.look(node));
        world
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn join(&mut self) {
        let connection = Some(self.next_number());
        let counts = SharedCounts::new(Groups::default().of(None));
        self.nodes.push(Node { counts, connection, sees: 1, runs: true });
        self.look(self.nodes.len() - 1);
    }

    fn look(&mut self, node: usize) {
        self.nodes[node].sees = self.nodes.iter().filter(|node| node.runs).count() as u64;
    }

    fn passes(&mut self, micros: i64) {
        self.now += micros;
        self.nodes.iter_mut().for_each(|node| node.counts.advance(self.now));
    }

    fn call(&mut self, node: usize, connection: u64) -> LimitCall {
        let (numbers, now) = (&mut self.numbers, self.now);
        let next = || {
            *numbers += 1;
            *numbers
        };
        self.nodes[node].counts.call("limit".to_owned(), connection, next, now)
    }

    /// All that a new connection begins with.
    fn connect(&mut self, node: usize) {
        if self.nodes[node].runs && self.nodes[node].connection.is_none() {
            let connection = self.next_number();
            self.nodes[node].connection = Some(connection);
            let call = self.call(node, connection);
            assert_eq!(self.redis.count(node, &call, self.now), ModelReply::Counted, "a later state");
        }
    }

    /// Returns whether it is admitted.
    fn ask(&mut self, node: usize, amount: u64, fate: Fate) -> bool {
        if !self.nodes[node].runs {
            return false;
        }
        for _ in 0..3 {
            let Some(connection) = self.nodes[node].connection else { break };
            let mut call = self.call(node, connection);
            let bucket = self.nodes[node].counts.count(MEASURE, amount, self.now).expect("a window");
            let kept = Duration::from_micros(KEPT.unsigned_abs());
            call.counts.push(Count { measure: MEASURE, kept, bound: self.limit, amount, bucket: bucket.number() });
            let reply = self.redis.count(node, &call, self.now);
            if fate == Fate::Arrives && reply == ModelReply::Counted {
                self.admitted.push(Admitted { at: self.now, node, amount, bucket });
                return true;
            }
            let counts = &mut self.nodes[node].counts;
            counts.correct(MEASURE, Some(bucket), amount, 0);
            if fate == Fate::IsLost || reply == ModelReply::Unknown {
                counts.forget_sent(call.number);
            }
            match (fate, reply) {
                (Fate::IsLost, _) => self.nodes[node].connection = None,
                (Fate::Arrives, ModelReply::Unknown) => {}
                (Fate::Arrives, _) => return false,
            }
        }
        let of = &mut self.nodes[node];
        if of.counts.shortage_of_share(MEASURE, self.limit, amount, of.sees).is_some() {
            return false;
        }
        let bucket = of.counts.count(MEASURE, amount, self.now).expect("a window");
        self.divisors.push((self.now, of.sees));
        self.admitted.push(Admitted { at: self.now, node, amount, bucket });
        true
    }

    fn settle(&mut self, which: usize, used: u64) {
        let Admitted { node, amount: was, bucket, .. } = self.admitted[which];
        let is = used.min(was);
        self.admitted[which].amount = is;
        let of = &mut self.nodes[node];
        of.counts.correct(MEASURE, Some(bucket), was, is);
        let delta = i64::try_from(is).expect("small") - i64::try_from(was).expect("small");
        of.counts.tell(Correction { measure: MEASURE, bucket: bucket.number(), delta }, of.connection);
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Ask(node, amount, fate) => {
                self.ask(node.index(self.nodes.len()), *amount, *fate);
            }
            Step::Settle(which, used) if !self.admitted.is_empty() => {
                self.settle(which.index(self.admitted.len()), *used);
            }
            Step::Settle(..) => {}
            Step::Disconnect(node) => {
                let node = node.index(self.nodes.len());
                self.nodes[node].connection = None;
            }
            Step::Connect(node) => self.connect(node.index(self.nodes.len())),
            Step::Look(node) => self.look(node.index(self.nodes.len())),
            Step::Loses => {
                self.redis = ModelRedis::default();
                self.losses.push(self.now);
            }
            Step::Joins => self.join(),
            Step::Dies(node) => {
                let node = node.index(self.nodes.len());
                self.nodes[node].runs = false;
                self.nodes[node].connection = None;
            }
        }
    }

    fn in_window(&self) -> impl Iterator<Item = &Admitted> {
        self.admitted.iter().filter(|admitted| admitted.at > self.now - MINUTE)
    }

    fn held(&self) -> u64 {
        self.in_window().map(|admitted| admitted.amount).sum()
    }

    /// The most that docs/limits.md allows in the window that ends now; the largest request that is asked for reserves
    /// `largest`.
    fn most(&self, largest: u64) -> u64 {
        let lately = |at: i64| at > self.now - MINUTE;
        let mut nodes: Vec<usize> = self.in_window().map(|admitted| admitted.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let nodes = nodes.len() as u64;
        let divisor = self.divisors.iter().filter(|(at, _)| lately(*at)).map(|(_, divisor)| *divisor).min();
        let share = divisor.map_or(0, |divisor| (self.limit / divisor).max(largest.min(self.limit)));
        let losses = self.losses.iter().filter(|at| lately(**at)).count() as u64;
        let whole = (1 + losses).min(nodes.max(1));
        self.limit * whole + share * nodes.saturating_sub(whole)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// The argument of ADR-0033.
    #[test]
    fn no_window_holds_more_than_the_documents_say(
        count in 1_usize..5,
        limit in 1_u64..40,
        steps in prop::collection::vec((prop_oneof![6 => 0_i64..400_000, 1 => 5_000_000_i64..70_000_000], step()), 1..150),
    ) {
        let mut world = World::new(limit, count);
        for (gap, step) in steps {
            world.passes(gap);
            world.take(&step);
            prop_assert!(world.held() <= world.most(5), "{} of {limit}, at most {}", world.held(), world.most(5));
        }
    }

    /// Answers may be lost, and connections end and begin again, as long as nobody counts by its share.
    #[test]
    fn while_nodes_count_in_redis_no_window_holds_more_than_the_limit(
        count in 1_usize..5,
        limit in 1_u64..40,
        asks in prop::collection::vec((0_i64..900_000, any::<prop::sample::Index>(), 1_u64..6, any::<bool>()), 1..150),
    ) {
        let mut world = World::new(limit, count);
        for (gap, node, amount, reconnects) in asks {
            world.passes(gap);
            let node = node.index(count);
            if reconnects {
                world.nodes[node].connection = None;
                world.connect(node);
            }
            world.ask(node, amount, Fate::Arrives);
            prop_assert!(world.held() <= limit);
        }
    }

    /// Nothing else is admitted than the shares, and these are used.
    #[test]
    fn while_all_nodes_count_by_their_shares_they_use_the_limit_and_no_more(
        count in 1_usize..9,
        limit in 1_u64..200,
        asks in prop::collection::vec((0_i64..100_000, any::<prop::sample::Index>()), 1..400),
    ) {
        let mut world = World::new(limit, count);
        (0..count).for_each(|node| world.nodes[node].connection = None);
        for (gap, node) in asks {
            world.passes(gap);
            world.ask(node.index(count), 1, Fate::Arrives);
            prop_assert!(world.held() <= limit.max(count as u64));
        }
        for node in 0..count {
            while world.ask(node, 1, Fate::Arrives) {}
        }
        let all = (limit / count as u64).max(1) * count as u64;
        // A bucket may keep its counts for a sixtieth of the window longer.
        prop_assert!(world.held() <= all && world.admitted.len() as u64 >= all);
    }
}

#[test]
fn a_share_is_the_limit_divided_and_at_least_one_request_however_large() {
    for (limit, nodes, amount, expected) in [
        (90, 3, 1, 30),
        (100, 3, 1, 33),
        (2, 3, 1, 1),
        (0, 3, 1, 0),
        (90, 3, 50, 50),
        (90, 3, 91, 90),
        (7, 1, 1, 7),
        (7, 0, 1, 7),
    ] {
        assert_eq!(share(limit, nodes, amount), expected, "{limit} among {nodes}, {amount}");
    }
}

#[test]
fn a_request_larger_than_a_share_fits_if_nothing_else_is_counted_and_one_larger_than_the_limit_never() {
    let mut world = World::new(90, 3);
    world.nodes[0].connection = None;
    world.nodes[1].connection = None;
    assert!(world.ask(0, 50, Fate::Arrives) && !world.ask(0, 1, Fate::Arrives));
    assert!(world.ask(1, 1, Fate::Arrives) && !world.ask(1, 50, Fate::Arrives) && world.ask(1, 29, Fate::Arrives));
    let shortage = |amount| world.nodes[2].counts.shortage_of_share(MEASURE, 90, amount, 3);
    assert_eq!((shortage(91), shortage(90)), (Some(Shortage::Window(Fits::Never)), None));
}

#[test]
fn what_a_node_has_counted_in_redis_counts_against_its_share() {
    let mut world = World::new(30, 3);
    assert!((0..8).all(|_| world.ask(0, 1, Fate::Arrives)));
    (0..3).for_each(|node| world.nodes[node].connection = None);
    let admitted = [0, 1, 2].map(|node| (0..40).filter(|_| world.ask(node, 1, Fate::Arrives)).count());
    assert_eq!(admitted, [2, 10, 10]);
}

/// The most that can happen: one node has used the limit when Redis goes.
#[test]
fn the_worst_case_happens() {
    let mut world = World::new(30, 3);
    assert!((0..30).all(|_| world.ask(0, 1, Fate::Arrives)));
    (0..3).for_each(|node| world.nodes[node].connection = None);
    let admitted = [0, 1, 2].map(|node| (0..40).filter(|_| world.ask(node, 1, Fate::Arrives)).count());
    assert_eq!((admitted, world.held()), ([0, 10, 10], 50));
    assert_eq!(world.most(1), 50);
    // Back, nobody admits anything before that has left.
    (0..3).for_each(|node| world.connect(node));
    assert!((0..3).all(|node| !world.ask(node, 1, Fate::Arrives)));
}

#[test]
fn what_others_have_counted_is_shown_as_long_as_it_may_count() {
    let mut counts = SharedCounts::new(Groups::default().of(None));
    counts.count(MEASURE, 2, 0);
    let standing = |counted| Standing { counted, more_in: Some(Duration::from_secs(9)), shortage: None };
    counts.learn(MEASURE, &standing(7), 0);
    assert_eq!(counts.remaining(MEASURE, 30, 1_000_000), (23, Some(Duration::from_secs(8))));
    counts.advance(KEPT);
    assert_eq!(counts.remaining(MEASURE, 30, KEPT).0, 30);
    counts.count(Measure::ConcurrentRequests, 1, KEPT);
    let of_running = Standing { counted: 4, more_in: None, shortage: Some(RedisShortage::Concurrency) };
    counts.learn(Measure::ConcurrentRequests, &of_running, KEPT);
    assert_eq!(counts.remaining(Measure::ConcurrentRequests, 30, KEPT).0, 26);
    let later = KEPT + 1_000_000;
    assert_eq!(
        counts.remaining(Measure::ConcurrentRequests, 30, later).0,
        29,
        "nobody knows what runs elsewhere by now"
    );
}
