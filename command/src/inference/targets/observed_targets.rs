//! Measurements of targets by this node, in the calls of models whose strategies go by them: how long the first token
//! takes, how long each token after it, and how many calls are under way. It is no part of the log, because each node
//! measures its own way to a target; the figures that an order followed from are in the admission.
//!
//! An average rises at once to whatever is higher (*peak EWMA*), and falls the faster the older it is. What is older than half a minute is
//! not known any more: so a target that has become slow is left at its first slow answer, and is measured again by one call.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use events::ids::ProviderId;
use events::routing::Observed;
use events::time::Clock;

/// After this time, a sample counts for half.
const HALVED_IN: Duration = Duration::from_secs(5);
/// After this time, nothing is known of a target.
const KNOWN_FOR: Duration = Duration::from_secs(30);
/// No sample is longer. A failed call counts as this.
const SAMPLE_MAX: Duration = Duration::from_secs(15);
/// No sample is shorter, so that something is known.
const SAMPLE_MIN: Duration = Duration::from_micros(1);
/// A client that leaves after so long has waited for the target.
const LONG_WAIT: Duration = Duration::from_secs(5);
/// The least tokens after the first one of a stream from which the time of each is measured: few may come all at once.
const TOKENS_MIN: u64 = 16;
/// So many targets are kept; beyond that, those without a call under way are forgotten.
const TARGETS_MAX: usize = 10_000;

pub struct ObservedTargets {
    clock: Arc<dyn Clock>,
    targets: RwLock<HashMap<ProviderId, Backends>>,
}

/// Indexed by the provider's name of the model.
type Backends = HashMap<Box<str>, Arc<ObservedTarget>>;

#[derive(Default)]
struct ObservedTarget {
    in_flight: AtomicU32,
    averages: Mutex<Averages>,
}

/// In nanoseconds.
#[derive(Clone, Copy, Default)]
struct Averages {
    first_token: PeakAverage,
    token: PeakAverage,
}

/// An average of samples that rises to the highest at once.
#[derive(Clone, Copy, Default)]
struct PeakAverage {
    value: u64,
    at: Duration,
}

/// The weight of what was measured just now.
const WHOLE: u64 = 1024;

impl PeakAverage {
    /// Returns the weight of the value, out of [`WHOLE`]: half of it after each five seconds, and on a straight line in
    /// between.
    fn weight(&self, now: Duration) -> u64 {
        let age = nanos(now.saturating_sub(self.at));
        let half = nanos(HALVED_IN);
        let begun = WHOLE - WHOLE / 2 * (age % half) / half;
        begun.checked_shr(u32::try_from(age / half).unwrap_or(u32::MAX)).unwrap_or(0)
    }

    /// `None` if nothing is known.
    fn value(&self, now: Duration) -> Option<u64> {
        (self.value > 0 && now.saturating_sub(self.at) < KNOWN_FOR).then_some(self.value)
    }

    fn add(&mut self, sample: u64, now: Duration) {
        let weight = self.weight(now);
        self.value = sample.max((self.value * weight + sample * (WHOLE - weight)) / WHOLE);
        self.at = now;
    }
}

impl ObservedTargets {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, targets: RwLock::default() }
    }

    /// Returns a target's current measurements.
    pub fn get(&self, provider: ProviderId, model: &str) -> Observed {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        let known = targets.get(&provider).and_then(|models| models.get(model));
        known.map_or_else(Observed::default, |target| target.observed(self.clock.monotonic()))
    }

    /// A call begins.
    pub fn begin(&self, provider: ProviderId, model: &str) -> ObservedCall {
        let target = self.target(provider, model);
        target.in_flight.fetch_add(1, Ordering::Relaxed);
        let began = self.clock.monotonic();
        ObservedCall {
            target,
            clock: Arc::clone(&self.clock),
            began,
            is_measured: false,
            first_token: began,
            waited: Duration::ZERO,
        }
    }

    fn target(&self, provider: ProviderId, model: &str) -> Arc<ObservedTarget> {
        let known = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = known.get(&provider).and_then(|models| models.get(model)) {
            return Arc::clone(target);
        }
        drop(known);
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        if targets.values().map(HashMap::len).sum::<usize>() >= TARGETS_MAX {
            targets.retain(|_, models| {
                models.retain(|_, target| target.in_flight.load(Ordering::Relaxed) > 0);
                !models.is_empty()
            });
        }
        Arc::clone(targets.entry(provider).or_default().entry(model.into()).or_default())
    }
}

impl ObservedTarget {
    fn observed(&self, now: Duration) -> Observed {
        let averages = *self.averages.lock().unwrap_or_else(PoisonError::into_inner);
        Observed {
            first_token_us: averages.first_token.value(now).map(|nanos| nanos / 1000),
            token_us: averages.token.value(now).unwrap_or(0) / 1000,
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }

    fn update(&self, update: impl FnOnce(&mut Averages)) {
        update(&mut self.averages.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A call that is under way. Dropped before its first token, it has taken at least so long.
pub struct ObservedCall {
    target: Arc<ObservedTarget>,
    clock: Arc<dyn Clock>,
    began: Duration,
    /// Whether its first token has come, or it has failed.
    is_measured: bool,
    /// When its first token came.
    first_token: Duration,
    /// How long the upstream was waited for after the first token.
    waited: Duration,
}

impl ObservedCall {
    /// The first token of a stream has come.
    pub fn first_token(&mut self) {
        if !std::mem::replace(&mut self.is_measured, true) {
            self.first_token = self.clock.monotonic();
            self.took(self.first_token.saturating_sub(self.began));
        }
    }

    /// The upstream was waited for, for so long: a client that reads slowly does not make it slower.
    pub fn waited(&mut self, time: Duration) {
        self.waited = self.waited.saturating_add(time);
    }

    /// The answer is complete, with so many tokens.
    pub fn completed(mut self, tokens: u64) {
        let now = self.clock.monotonic();
        if self.is_measured {
            // While nobody read it, the answer went on: how long that would have been waited for, nobody knows.
            let is_read_at_once = self.waited >= now.saturating_sub(self.first_token) / 2;
            if let Some(others @ TOKENS_MIN..) = tokens.checked_sub(1).filter(|_| is_read_at_once) {
                let of_each = self.waited / u32::try_from(others).unwrap_or(u32::MAX);
                self.target.update(|averages| averages.token.add(sample(of_each), now));
            }
            return;
        }
        // Of a whole answer, nobody knows when its first token came: its tokens take as long as those of streams.
        self.is_measured = true;
        let of_tokens = Duration::from_micros(self.target.observed(now).token_us.saturating_mul(tokens));
        self.took(now.saturating_sub(self.began).saturating_sub(of_tokens));
    }

    /// The target has failed, or may not be asked now.
    pub fn failed(mut self) {
        self.is_measured = true;
        self.took(SAMPLE_MAX);
    }

    fn took(&self, time: Duration) {
        let now = self.clock.monotonic();
        self.target.update(|averages| averages.first_token.add(sample(time), now));
    }
}

impl Drop for ObservedCall {
    fn drop(&mut self) {
        self.target.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.is_measured {
            return;
        }
        // Its client has left.
        let now = self.clock.monotonic();
        let waited = now.saturating_sub(self.began);
        let at_least = sample(waited);
        self.target.update(|averages| {
            // A client that leaves at once says nothing.
            if averages.first_token.value(now).map_or(waited >= LONG_WAIT, |known| known < at_least) {
                averages.first_token.add(at_least, now);
            }
        });
    }
}

fn sample(took: Duration) -> u64 {
    nanos(took.clamp(SAMPLE_MIN, SAMPLE_MAX))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use events::time::{ManualClock, SystemClock};
    use uuid::Uuid;

    use super::*;

    fn provider() -> ProviderId {
        Uuid::from_u128(1).into()
    }

    fn targets() -> (Arc<ManualClock>, ObservedTargets) {
        let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
        (Arc::clone(&clock), ObservedTargets::new(clock))
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_stream_measures_its_first_token_and_those_after_it_whatever_its_client_does() {
        let (clock, targets) = targets();
        let mut call = targets.begin(provider(), "m");
        assert_eq!(targets.get(provider(), "m"), Observed { in_flight: 1, ..Observed::default() });
        clock.advance(ms(200));
        call.first_token();
        assert_eq!(targets.get(provider(), "m").first_token_us, Some(200_000), "as soon as it is there");
        call.waited(ms(40_000));
        clock.advance(ms(41_000));
        call.completed(2001);
        let found = targets.get(provider(), "m");
        assert_eq!((found.first_token_us, found.token_us, found.in_flight), (None, 20_000, 0), "the first is long ago");
        let mut read_slowly = targets.begin(provider(), "m");
        read_slowly.first_token();
        read_slowly.waited(ms(100));
        clock.advance(ms(4_000));
        read_slowly.completed(101);
        assert_eq!(targets.get(provider(), "m").token_us, 20_000, "it says nothing");
        assert!((2_000_000..2_001_000).contains(&targets.get(provider(), "m").expected_us(100)));
        assert_eq!(targets.get(provider(), "other"), Observed::default());
    }

    #[test]
    fn of_a_whole_answer_what_its_tokens_take_is_not_the_time_of_the_first() {
        let (clock, targets) = targets();
        let mut stream = targets.begin(provider(), "m");
        stream.first_token();
        stream.waited(ms(1000));
        clock.advance(ms(1000));
        stream.completed(101);
        let whole = targets.begin(provider(), "m");
        clock.advance(ms(1_500));
        whole.completed(100);
        assert_eq!(targets.get(provider(), "m").first_token_us, Some(500_000));
    }

    #[test]
    fn a_slower_sample_counts_at_once_a_faster_one_with_time_and_none_after_half_a_minute() {
        let (clock, targets) = targets();
        let answer = |took: Duration| {
            let call = targets.begin(provider(), "m");
            clock.advance(took);
            call.completed(1);
        };
        let first = || targets.get(provider(), "m").first_token_us;
        answer(ms(100));
        answer(ms(5_000));
        assert_eq!(first(), Some(5_000_000));
        answer(ms(100));
        assert!(first().is_some_and(|first| (4_900_000..5_000_000).contains(&first)), "{:?}", first());
        clock.advance(ms(4_900));
        answer(ms(100));
        assert!(first().is_some_and(|first| (2_400_000..2_600_000).contains(&first)), "half of it: {:?}", first());
        clock.advance(ms(29_999));
        assert!(first().is_some());
        clock.advance(ms(1));
        assert_eq!(first(), None);
    }

    #[test]
    fn a_call_that_failed_or_whose_client_left_counts_as_slow() {
        let (clock, targets) = targets();
        targets.begin(provider(), "failed").failed();
        assert_eq!(targets.get(provider(), "failed").first_token_us, Some(15_000_000));
        let call = targets.begin(provider(), "left");
        clock.advance(ms(10));
        call.completed(1);
        let left = targets.begin(provider(), "left");
        clock.advance(ms(9_000));
        drop(left);
        assert_eq!(targets.get(provider(), "left").first_token_us, Some(9_000_000));
        let unknown = targets.begin(provider(), "unknown");
        assert_eq!(targets.get(provider(), "unknown").expected_us(1), 15_000_000, "one call at a time measures it");
        drop(unknown);
        assert_eq!(targets.get(provider(), "unknown").expected_us(1), 0);
        let hung = targets.begin(provider(), "unknown");
        clock.advance(ms(5_000));
        drop(hung);
        assert_eq!(targets.get(provider(), "unknown").first_token_us, Some(5_000_000));
    }

    #[test]
    fn what_is_kept_is_bounded_and_calls_under_way_are_kept() {
        let (_, targets) = targets();
        let call = targets.begin(provider(), "under way");
        for number in 0..TARGETS_MAX + 10 {
            targets.begin(provider(), &number.to_string()).failed();
        }
        let kept = targets.targets.read().unwrap().values().map(HashMap::len).sum::<usize>();
        assert!(kept <= TARGETS_MAX, "{kept}");
        assert_eq!(targets.get(provider(), "under way").in_flight, 1);
        drop(call);
    }
}
