//! A sliding window. Sixty buckets hold its counts, whatever its length. A bucket leaves as a whole when its newest request
//! is as old as the window is long. A request may therefore count for up to a sixtieth of the window too long (one second of
//! a minute, one minute of an hour, 24 minutes of a day), but never too short.
//!
//! A window that several nodes share keeps everything for a sixtieth longer: a request is recorded a little after it was counted,
//! and by another clock.

use std::collections::VecDeque;
use std::time::Duration;

const BUCKETS: i64 = 60;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    number: i64,
    /// When its newest request came.
    newest_micros: i64,
    amount: u64,
}

/// At most 62 buckets: those of the window, and one that began before it.
#[derive(Clone, Debug)]
pub(super) struct Window {
    bucket_micros: i64,
    kept_micros: i64,
    buckets: VecDeque<Bucket>,
    counted: u64,
    now_micros: i64,
}

/// The bucket in which an amount was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BucketNumber(i64);

impl BucketNumber {
    pub(super) const fn number(self) -> i64 {
        self.0
    }
}

/// How long windows keep what they count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeping {
    /// Exactly as long as the window is.
    #[default]
    Exactly,
    /// A sixtieth longer, in a window that nodes share.
    Longer,
}

impl Keeping {
    pub(super) fn kept(self, span: Duration) -> Duration {
        match self {
            Self::Exactly => span,
            Self::Longer => span + bucket_of(span),
        }
    }
}

fn bucket_of(span: Duration) -> Duration {
    Duration::from_micros(span.as_micros().try_into().unwrap_or(u64::MAX) / BUCKETS.unsigned_abs())
}

/// When an amount fits that does not fit now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fits {
    After(Duration),
    /// The amount exceeds the whole limit.
    Never,
}

impl Window {
    pub(super) fn new(span: Duration, keeping: Keeping) -> Self {
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        let (bucket_micros, kept_micros) = (micros(bucket_of(span)), micros(keeping.kept(span)));
        Self { bucket_micros, kept_micros, buckets: VecDeque::new(), counted: 0, now_micros: i64::MIN }
    }

    /// Moves on to `now`, on a clock that never goes back.
    pub(super) fn advance(&mut self, now_micros: i64) {
        self.now_micros = self.now_micros.max(now_micros);
        while let Some(oldest) = self.buckets.front().filter(|bucket| self.leaves_micros(bucket) <= self.now_micros) {
            self.counted = self.counted.saturating_sub(oldest.amount);
            self.buckets.pop_front();
        }
    }

    /// Counts an amount now.
    pub(super) fn count(&mut self, amount: u64) -> BucketNumber {
        let (number, newest_micros) = (self.now_micros.div_euclid(self.bucket_micros), self.now_micros);
        self.counted = self.counted.saturating_add(amount);
        match self.buckets.back_mut().filter(|bucket| bucket.number == number) {
            Some(bucket) => {
                bucket.newest_micros = newest_micros;
                bucket.amount = bucket.amount.saturating_add(amount);
            }
            None => self.buckets.push_back(Bucket { number, newest_micros, amount }),
        }
        BucketNumber(number)
    }

    /// Replaces `was`, an amount counted in `bucket`, by `is`. Does nothing if the bucket has left the window.
    pub(super) fn correct(&mut self, bucket: BucketNumber, was: u64, is: u64) {
        let Ok(at) = self.buckets.binary_search_by_key(&bucket.0, |bucket| bucket.number) else { return };
        let amount = &mut self.buckets[at].amount;
        let corrected = amount.saturating_sub(was).saturating_add(is);
        self.counted = self.counted.saturating_sub(*amount).saturating_add(corrected);
        *amount = corrected;
    }

    /// The buckets, oldest first: their numbers, the times of their newest counts, and their amounts.
    pub(super) fn buckets(&self) -> impl ExactSizeIterator<Item = (BucketNumber, i64, u64)> {
        self.buckets.iter().map(|bucket| (BucketNumber(bucket.number), bucket.newest_micros, bucket.amount))
    }

    /// The amount in the window now.
    pub(super) const fn counted(&self) -> u64 {
        self.counted
    }

    /// When `amount` fits below `limit`; `None` if it fits now.
    pub(super) fn wait(&self, amount: u64, limit: u64) -> Option<Fits> {
        let Some(room) = limit.checked_sub(amount) else { return Some(Fits::Never) };
        if self.counted <= room {
            return None;
        }
        let mut left = self.counted;
        for bucket in &self.buckets {
            left = left.saturating_sub(bucket.amount);
            if left <= room {
                let wait = self.leaves_micros(bucket).saturating_sub(self.now_micros);
                return Some(Fits::After(Duration::from_micros(wait.unsigned_abs())));
            }
        }
        None
    }

    /// How long until more is left of the limit than now; zero if nothing is counted. If the limit was lowered below the
    /// count: how long until anything is left.
    pub(super) fn until_more(&self, limit: u64) -> Duration {
        let over = self.counted.saturating_sub(limit);
        let mut gone: u64 = 0;
        for bucket in &self.buckets {
            gone = gone.saturating_add(bucket.amount);
            if gone > over {
                let wait = self.leaves_micros(bucket).saturating_sub(self.now_micros);
                return Duration::from_micros(wait.unsigned_abs());
            }
        }
        Duration::ZERO
    }

    /// Returns whether the window would be empty at `now`.
    pub(super) fn is_empty(&self, now_micros: i64) -> bool {
        self.buckets.back().is_none_or(|newest| self.leaves_micros(newest) <= now_micros)
    }

    const fn leaves_micros(&self, bucket: &Bucket) -> i64 {
        bucket.newest_micros.saturating_add(self.kept_micros)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPANS: [Duration; 3] = [Duration::from_mins(1), Duration::from_hours(1), Duration::from_hours(24)];

    /// Every admitted instant and amount, with corrections.
    #[derive(Default)]
    struct NaiveLog(Vec<(i64, u64)>);

    impl NaiveLog {
        fn sum_since(&self, after: i64) -> u64 {
            self.0.iter().filter(|(at, _)| *at > after).map(|(_, amount)| amount).sum()
        }
    }

    /// Gaps in millionths of the window: close together, apart, and about as long as the window.
    fn gap() -> impl Strategy<Value = i64> {
        prop_oneof![0_i64..50, 0_i64..30_000, 240_000_i64..340_000, 990_000_i64..1_010_000]
    }

    proptest! {
        /// Compares with a log of all admitted amounts: no window holds more than the limit, and an amount is refused only
        /// if the window and one more bucket hold too much. After the stated wait it fits.
        #[test]
        fn it_never_lets_in_more_than_the_limit_in_any_window(
            span in prop::sample::select(&SPANS[..]),
            limit in 1_u64..40,
            steps in prop::collection::vec((gap(), 1_u64..45, prop::option::of((any::<prop::sample::Index>(), 0_u64..45))), 1..150),
        ) {
            let span_micros = i64::try_from(span.as_micros()).expect("small");
            let bucket_micros = span_micros / BUCKETS;
            let (mut window, mut log, mut buckets) = (Window::new(span, Keeping::Exactly), NaiveLog::default(), Vec::new());
            let mut now = 0;
            for (gap, amount, correction) in steps {
                now += gap * (span_micros / 1_000_000);
                window.advance(now);
                match window.wait(amount, limit) {
                    None => {
                        buckets.push(window.count(amount));
                        log.0.push((now, amount));
                        prop_assert!(log.sum_since(now - span_micros) <= limit);
                    }
                    Some(Fits::Never) => prop_assert!(amount > limit),
                    Some(Fits::After(wait)) => {
                        prop_assert!(amount <= limit);
                        prop_assert!(log.sum_since(now - span_micros - bucket_micros) + amount > limit);
                        prop_assert!(wait > Duration::ZERO && wait <= span);
                        let wait = i64::try_from(wait.as_micros()).expect("a window");
                        let mut copy = window.clone();
                        copy.advance(now + wait - 1);
                        prop_assert!(copy.wait(amount, limit).is_some(), "sooner would have done");
                        copy.advance(now + wait);
                        prop_assert_eq!(copy.wait(amount, limit), None);
                    }
                }
                // Correct an amount downwards, as happens when the usage is known.
                if let Some((which, to)) = correction.filter(|_| !buckets.is_empty()) {
                    let at = which.index(buckets.len());
                    let is = to.min(log.0[at].1);
                    window.correct(buckets[at], log.0[at].1, is);
                    log.0[at].1 = is;
                }
                prop_assert!(window.counted() >= log.sum_since(now - span_micros));
                prop_assert!(window.counted() <= log.sum_since(now - span_micros - bucket_micros));
                prop_assert!(window.buckets.len() <= 61);
            }
        }
    }

    /// A minute that begins now.
    fn started() -> Window {
        let mut window = Window::new(SPANS[0], Keeping::Exactly);
        window.advance(0);
        window
    }

    #[test]
    fn a_window_that_nodes_share_keeps_a_sixtieth_longer() {
        let mut window = Window::new(SPANS[0], Keeping::Longer);
        window.advance(0);
        window.count(1);
        window.advance(60_999_999);
        assert_eq!((window.counted(), window.wait(1, 1)), (1, Some(Fits::After(Duration::from_micros(1)))));
        window.advance(61_000_000);
        assert_eq!(window.counted(), 0);
    }

    #[test]
    fn an_amount_that_is_corrected_upwards_counts_as_more() {
        let mut window = started();
        let bucket = window.count(10);
        window.correct(bucket, 10, 25);
        assert_eq!((window.counted(), window.wait(1, 20)), (25, Some(Fits::After(SPANS[0]))));
        window.advance(60_000_000);
        window.correct(bucket, 25, 0);
        assert_eq!(window.counted(), 0);
    }

    #[test]
    fn a_limit_that_was_lowered_says_when_something_is_left() {
        let mut window = started();
        for second in 0..5 {
            window.advance(second * 1_000_000);
            window.count(1);
        }
        assert_eq!((window.until_more(10), window.until_more(2)), (Duration::from_secs(56), Duration::from_secs(59)));
        assert_eq!(window.wait(1, 2), Some(Fits::After(Duration::from_secs(59))));
    }
}
