//! The content of a call of the script: what to count and to correct, and all that the node counts if Redis does not
//! have it.

use std::time::Duration;

use events::limit::Measure;
use redis::ScriptInvocation;

/// How long the running requests of a node count after its last call.
const RUNNING_KEPT: Duration = Duration::from_secs(5);
/// How long a key outlives its last use: longer than the longest window.
const KEEP: Duration = Duration::from_hours(26);
/// Numbers beyond it are not exact in the script. It is as good as no bound.
const NUMBER_MAX: u64 = 1 << 53;

/// One limit of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitCall {
    pub limit: String,
    /// The number of the state of this node that Redis has, or gets now. Of two states, the later one has the higher number.
    pub number: u64,
    pub state: Option<LimitState>,
    /// Corrections of earlier requests; made before anything is counted.
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

/// All that a node counts of one limit, with all corrections that it knows of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitState {
    pub running: u64,
    pub windows: Vec<WindowState>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowState {
    pub measure: Measure,
    /// Sorted by number.
    pub buckets: Vec<BucketState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketState {
    pub number: i64,
    /// The time since its newest count.
    pub age: Duration,
    pub amount: u64,
}

/// Writes the first key and the head of a call.
pub fn begin(invocation: &mut ScriptInvocation<'_>, node: &str, group: &str) {
    invocation.key(nodes_key(group));
    invocation.arg(node).arg(micros(RUNNING_KEPT)).arg(micros(KEEP));
}

/// The nodes that are live, by until when they are.
pub fn nodes_key(group: &str) -> String {
    format!("lw:{{{group}}}:nodes")
}

pub fn limit_key(group: &str, limit: &str) -> String {
    format!("lw:{{{group}}}:{limit}")
}

impl LimitCall {
    pub(crate) fn write(&self, invocation: &mut ScriptInvocation<'_>) {
        invocation.arg(self.number).arg(u8::from(self.state.is_some()));
        if let Some(state) = &self.state {
            state.write(invocation);
        }
        invocation.arg(self.corrections.len());
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
    fn write(&self, invocation: &mut ScriptInvocation<'_>) {
        invocation.arg(self.running).arg(self.windows.len());
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
