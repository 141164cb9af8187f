//! The counts of nodes are compared with a list of all counts. Windows are short, because the server's clock cannot be
//! set.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use events::limit::Measure;
use proptest::prelude::*;
use shared_limits::{Answer, Correction, Count, CountReply, LimitCall, Shortage, Standing};
use testing::redis::{Durability, RedisServer};

use crate::nodes::{Node, runtime};

const SPAN: Duration = Duration::from_millis(120);
const BUCKET: Duration = Duration::from_millis(2);
const MEASURE: Measure = Measure::TokensPerMinute;

/// A count that was admitted.
struct Admitted {
    node: usize,
    bucket: i64,
    at: i64,
    amount: u64,
}

/// Every count, and nothing else. A bucket leaves when its newest count is as old as the window is long.
#[derive(Default)]
struct CountList(Vec<Admitted>);

impl CountList {
    /// When each bucket leaves, and what is in it.
    fn leaving(&self, now: i64) -> Vec<(i64, u64)> {
        let mut buckets: BTreeMap<(usize, i64), (i64, u64)> = BTreeMap::new();
        for Admitted { node, bucket, at, amount } in &self.0 {
            let (newest, sum) = buckets.entry((*node, *bucket)).or_default();
            (*newest, *sum) = ((*newest).max(*at), *sum + amount);
        }
        let leaves = |(newest, sum)| (newest + micros(SPAN), sum);
        buckets.into_values().map(leaves).filter(|(leaves, sum)| *leaves > now && *sum > 0).collect()
    }

    fn counted(&self, now: i64) -> u64 {
        self.leaving(now).iter().map(|(_, sum)| sum).sum()
    }

    /// How long until at most this much is counted.
    fn until_at_most(&self, most: u64, now: i64) -> i64 {
        let mut instants: Vec<i64> = self.leaving(now).iter().map(|(leaves, _)| *leaves).collect();
        instants.sort_unstable();
        instants.into_iter().find(|at| self.counted(*at) <= most).map_or(0, |at| at - now)
    }

    /// The most that any window of the span has held.
    fn fullest_window(&self) -> u64 {
        let within = |end: i64, at: i64| at <= end && at > end - micros(SPAN);
        let sum = |end: i64| self.0.iter().filter(|count| within(end, count.at)).map(|count| count.amount).sum();
        self.0.iter().map(|count| sum(count.at)).max().unwrap_or(0)
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).expect("small")
}

fn waited(micros: i64) -> Duration {
    Duration::from_micros(micros.unsigned_abs())
}

/// A pause, a node, an amount, and a correction downwards of an earlier count.
type Step = (u64, usize, u64, Option<(prop::sample::Index, u64)>);

fn step() -> impl Strategy<Value = Step> {
    let pause_ms = prop_oneof![6 => 0_u64..2, 2 => 2_u64..20, 1 => 110_u64..130];
    (pause_ms, 0_usize..3, 1_u64..14, prop::option::of((any::<prop::sample::Index>(), 0_u64..14)))
}

async fn compare(server: &RedisServer, group: String, bound: u64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let began = Instant::now();
    let nodes = [Node::open(server, "a").await, Node::open(server, "b").await, Node::open(server, "c").await];
    let mut list = CountList::default();
    for (pause_ms, node, amount, correction) in steps {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let bucket = micros(began.elapsed()) / micros(BUCKET);
        let mut call = LimitCall { limit: "limit".to_owned(), ..LimitCall::default() };
        let of_node = |count: &&mut Admitted| count.node == node;
        let mut earlier: Vec<&mut Admitted> = list.0.iter_mut().filter(of_node).collect();
        if let Some((which, to)) = correction.filter(|_| !earlier.is_empty()) {
            let corrected = which.index(earlier.len());
            let Admitted { bucket, amount, .. } = &mut *earlier[corrected];
            let is = to.min(*amount);
            let delta = i64::try_from(is).expect("small") - i64::try_from(*amount).expect("small");
            call.corrections.push(Correction { measure: MEASURE, bucket: *bucket, delta });
            *amount = is;
        }
        call.counts.push(Count { measure: MEASURE, kept: SPAN, bound, amount, bucket });
        let reply = nodes[node].count(&group, &[call]).await;
        let (CountReply::Counted(answer) | CountReply::Refused(answer)) = &reply else {
            return Err(TestCaseError::fail(format!("{reply:?}")));
        };
        let Answer { now_micros: now, standings, .. } = answer;
        let fits = list.counted(*now) + amount <= bound;
        let shortage = match fits {
            true => None,
            false if amount > bound => Some(Shortage::Never),
            false => Some(Shortage::After(waited(list.until_at_most(bound - amount, *now)))),
        };
        if fits {
            list.0.push(Admitted { node, bucket, at: *now, amount });
        }
        let counted = list.counted(*now);
        let more_in = list.until_at_most(counted.saturating_sub(1).min(bound.saturating_sub(1)), *now);
        let expected = Standing { counted, more_in: Some(waited(more_in)), shortage };
        prop_assert_eq!(&standings[..], &[expected][..]);
        prop_assert_eq!(matches!(reply, CountReply::Counted(_)), fits);
        // Amounts are only ever corrected downwards here, so that this holds for what they are in the end.
        prop_assert!(list.fullest_window() <= bound);
    }
    Ok(())
}

#[test]
fn nodes_together_count_what_a_list_of_all_counts_says() {
    let (server, runtime) = (RedisServer::start(Durability::Forgets), runtime());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 24, ..ProptestConfig::default() });
    let groups = AtomicU64::new(0);
    let strategy = (1_u64..40, prop::collection::vec(step(), 1..80));
    let run = runner.run(&strategy, |(bound, steps)| {
        let group = format!("group-{}", groups.fetch_add(1, Ordering::Relaxed));
        runtime.block_on(compare(&server, group, bound, steps))
    });
    run.expect("the same counts");
}
