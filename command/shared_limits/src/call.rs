//! What a call of the script says: the node that makes it, and what to count, correct or put.

use std::time::Duration;

use events::limit::Measure;
use redis::ScriptInvocation;

/// How long the running requests of a node count after its last call.
const RUNNING_KEPT: Duration = Duration::from_secs(5);
/// How long a key outlives its last use: longer than the longest window.
const KEEP: Duration = Duration::from_hours(26);
/// Numbers beyond it are not exact in the script. It is as good as no bound.
const NUMBER_MAX: u64 = 1 << 53;

/// The state in which a node makes a call.
#[derive(Clone, Copy, Debug)]
pub struct NodeState<'a> {
    /// The limits of one call belong to one group, which one server of a cluster has.
    pub group: &'a str,
    /// Rises with every outage and every return: what a node sent in an earlier turn has no effect any more.
    pub turn: u64,
    /// The marker of the group that the node has seen. If Redis has another one or none, it has lost its counts.
    pub marker: Option<&'a str>,
    /// The marker to use if there is none; never used twice.
    pub new_marker: &'a str,
    /// True if requests of the group are running that this node has counted.
    pub has_running: bool,
}

/// One limit of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitCall {
    pub limit: String,
    /// True if Redis must still have something of what this node has counted. If it has nothing, it has lost it.
    pub must_be_there: bool,
    /// Of earlier requests; made before anything is counted.
    pub corrections: Vec<Correction>,
    pub counts: Vec<Count>,
}

/// An amount that the node has counted before is now this much more or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    pub measure: Measure,
    /// The node's own number of the bucket; without meaning for running requests.
    pub bucket: i64,
    pub delta: i64,
}

/// Something to count, if it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub measure: Measure,
    /// How long it counts; without meaning for running requests.
    pub kept: Duration,
    pub bound: u64,
    pub amount: u64,
    /// The node's own number of the bucket.
    pub bucket: i64,
}

/// All that a node counts of one limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitState {
    pub limit: String,
    /// Of two states of the same turn, the one with the higher number holds.
    pub number: u64,
    pub running: u64,
    pub windows: Vec<WindowState>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowState {
    pub measure: Measure,
    /// By number.
    pub buckets: Vec<BucketState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketState {
    pub number: i64,
    /// The time since its newest count.
    pub age: Duration,
    pub amount: u64,
}

/// Writes the keys and the head of a call: the same for all of them.
pub fn begin(invocation: &mut ScriptInvocation<'_>, operation: &str, node: &str, state: &NodeState<'_>) {
    let NodeState { group, turn, marker, new_marker, has_running } = *state;
    invocation.key(marker_key(group)).key(format!("lw:{{{group}}}:nodes"));
    invocation.arg(operation).arg(node).arg(turn).arg(marker.unwrap_or_default()).arg(new_marker);
    invocation.arg(micros(RUNNING_KEPT)).arg(micros(KEEP)).arg(u8::from(has_running));
}

pub fn marker_key(group: &str) -> String {
    format!("lw:{{{group}}}:marker")
}

pub fn limit_key(group: &str, limit: &str) -> String {
    format!("lw:{{{group}}}:{limit}")
}

impl LimitCall {
    pub(crate) fn write(&self, invocation: &mut ScriptInvocation<'_>) {
        invocation.arg(u8::from(self.must_be_there)).arg(self.corrections.len());
        for Correction { measure, bucket, delta } in &self.corrections {
            invocation.arg(measure.as_str()).arg(bucket).arg(delta);
        }
        invocation.arg(self.counts.len());
        for Count { measure, kept, bound, amount, bucket } in &self.counts {
            invocation.arg(measure.as_str()).arg(micros(*kept));
            invocation.arg(exact(*bound)).arg(exact(*amount)).arg(bucket);
        }
    }
}

impl LimitState {
    pub(crate) fn write(&self, invocation: &mut ScriptInvocation<'_>) {
        invocation.arg(self.number).arg(self.running).arg(self.windows.len());
        for WindowState { measure, buckets } in &self.windows {
            invocation.arg(measure.as_str()).arg(buckets.len());
            for BucketState { number, age, amount } in buckets {
                invocation.arg(number).arg(micros(*age)).arg(exact(*amount));
            }
        }
    }
}

fn micros(span: Duration) -> u64 {
    exact(u64::try_from(span.as_micros()).unwrap_or(NUMBER_MAX))
}

fn exact(number: u64) -> u64 {
    number.min(NUMBER_MAX)
}
