//! What this node measures of targets: how long the first token takes, how long each token after it, and how many calls are under way.
//! Strategies that look for the fastest target go by it. It is no part of the log, because each node measures its own way to a target;
//! the figures that an order followed from are in the admission.
//!
//! Averages forget with time, and rise at once to whatever is higher (*peak EWMA*). So a target that has become slow is left at its
//! first slow answer, and is tried again when its figures have fallen below those of the others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use events::ids::ProviderId;
use events::routing::Observed;
use events::time::Clock;

/// After this time, a sample counts for half.
const HALVED_IN: Duration = Duration::from_secs(5);
/// No sample is longer: a target that took minutes would be left for minutes more. A failed call counts as this.
const SAMPLE_MAX: Duration = Duration::from_secs(15);
/// The least tokens of a stream from which the time of each is measured: few may come all at once.
const TOKENS_MIN: u64 = 8;
/// So many targets are kept; beyond that, those without a call under way are forgotten.
const TARGETS_MAX: usize = 10_000;

pub struct ObservedTargets {
    clock: Arc<dyn Clock>,
    targets: RwLock<HashMap<ProviderId, Backends>>,
}

/// By the provider's name of the model.
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
    /// What the value counts for, of [`WHOLE`]: half of it after each five seconds, and on a straight line in between.
    fn weight(&self, now: Duration) -> u64 {
        let age = nanos(now.saturating_sub(self.at));
        let half = nanos(HALVED_IN);
        let begun = WHOLE - WHOLE / 2 * (age % half) / half;
        begun.checked_shr(u32::try_from(age / half).unwrap_or(u32::MAX)).unwrap_or(0)
    }

    fn value(&self, now: Duration) -> u64 {
        self.value * self.weight(now) / WHOLE
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

    /// What is known of a target now.
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
        ObservedCall { target, clock: Arc::clone(&self.clock), began, first_token: None }
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
            first_token_us: averages.first_token.value(now) / 1000,
            token_us: averages.token.value(now) / 1000,
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }

    fn update(&self, update: impl FnOnce(&mut Averages)) {
        update(&mut self.averages.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A call that is under way. Dropped, it has ended without saying anything about its target: the client has left, or was wrong.
pub struct ObservedCall {
    target: Arc<ObservedTarget>,
    clock: Arc<dyn Clock>,
    began: Duration,
    /// When the first token came.
    first_token: Option<Duration>,
}

impl ObservedCall {
    pub fn first_token(&mut self) {
        self.first_token.get_or_insert_with(|| self.clock.monotonic());
    }

    /// The answer is complete, with so many tokens.
    pub fn completed(self, tokens: u64) {
        let now = self.clock.monotonic();
        self.target.update(|averages| match self.first_token {
            Some(first) => {
                averages.first_token.add(sample(first.saturating_sub(self.began)), now);
                if tokens >= TOKENS_MIN {
                    averages.token.add(sample(now.saturating_sub(first)) / (tokens - 1), now);
                }
            }
            // Of a whole answer, nobody knows when its first token came: its tokens take as long as those of streams.
            None => {
                let all = sample(now.saturating_sub(self.began));
                let of_tokens = averages.token.value(now).saturating_mul(tokens);
                averages.first_token.add(all.saturating_sub(of_tokens), now);
            }
        });
    }

    /// The target has failed.
    pub fn failed(self) {
        let now = self.clock.monotonic();
        self.target.update(|averages| averages.first_token.add(sample(SAMPLE_MAX), now));
    }
}

impl Drop for ObservedCall {
    fn drop(&mut self) {
        self.target.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn sample(took: Duration) -> u64 {
    nanos(took.min(SAMPLE_MAX))
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
    fn a_stream_measures_its_first_token_and_those_after_it() {
        let (clock, targets) = targets();
        let mut call = targets.begin(provider(), "m");
        assert_eq!(targets.get(provider(), "m").in_flight, 1);
        clock.advance(ms(200));
        call.first_token();
        clock.advance(ms(1000));
        call.completed(101);
        let found = targets.get(provider(), "m");
        assert_eq!((found.first_token_us, found.token_us, found.in_flight), (200_000, 10_000, 0));
        assert_eq!(found.expected_us(100), 1_200_000);
        assert_eq!(targets.get(provider(), "other"), Observed::default());
    }

    #[test]
    fn a_slower_sample_counts_at_once_and_a_faster_one_with_time() {
        let (clock, targets) = targets();
        let answer = |took: Duration| {
            let call = targets.begin(provider(), "m");
            clock.advance(took);
            call.completed(1);
        };
        answer(ms(100));
        answer(ms(5_000));
        assert_eq!(targets.get(provider(), "m").first_token_us, 5_000_000);
        answer(ms(100));
        let soon = targets.get(provider(), "m").first_token_us;
        assert!((4_800_000..5_000_000).contains(&soon), "{soon}");
        clock.advance(Duration::from_secs(30));
        let later = targets.get(provider(), "m").first_token_us;
        assert!(later.abs_diff(soon / 64) <= 1, "nobody has asked for six times as long as it takes to halve: {later}");
    }

    /// The longest sample is forgotten within a minute where the others answer in 20 ms.
    #[test]
    fn a_failed_target_is_tried_again_within_a_minute() {
        let (clock, targets) = targets();
        targets.begin(provider(), "m").failed();
        assert_eq!(targets.get(provider(), "m").first_token_us, 15_000_000);
        clock.advance(Duration::from_secs(55));
        assert!(targets.get(provider(), "m").first_token_us < 20_000);
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
