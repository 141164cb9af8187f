//! A window that slides. What is counted stands in sixty buckets whatever the window's length; a bucket leaves as a
//! whole, when the newest request in it is as old as the window is long. So a request may count for up to a sixtieth of
//! the window too long (a second of a minute, a minute of an hour, 24 minutes of a day), never too short.

use std::collections::VecDeque;
use std::time::Duration;

const BUCKETS: i64 = 60;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    number: i64,
    /// When the newest request in it came.
    newest_micros: i64,
    amount: u64,
}

/// At most 61 buckets: those of the window and the one that began before it.
#[derive(Clone, Debug)]
pub(super) struct Window {
    span_micros: i64,
    buckets: VecDeque<Bucket>,
    counted: u64,
    now_micros: i64,
}

/// Where something was counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(i64);

/// When something fits that does not fit now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fits {
    After(Duration),
    /// It is more than the limit is in all.
    Never,
}

impl Window {
    pub(super) fn new(span: Duration) -> Self {
        let span_micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self { span_micros, buckets: VecDeque::new(), counted: 0, now_micros: 0 }
    }

    /// Moves to `now`, on a clock that never goes back.
    pub(super) fn advance(&mut self, now_micros: i64) {
        self.now_micros = self.now_micros.max(now_micros);
        while let Some(oldest) = self.buckets.front().filter(|bucket| self.leaves_micros(bucket) <= self.now_micros) {
            self.counted = self.counted.saturating_sub(oldest.amount);
            self.buckets.pop_front();
        }
    }

    /// Counts so much now.
    pub(super) fn count(&mut self, amount: u64) -> Place {
        let (number, newest_micros) = (self.now_micros.div_euclid(self.span_micros / BUCKETS), self.now_micros);
        self.counted = self.counted.saturating_add(amount);
        match self.buckets.back_mut().filter(|bucket| bucket.number == number) {
            Some(bucket) => {
                bucket.newest_micros = newest_micros;
                bucket.amount = bucket.amount.saturating_add(amount);
            }
            None => self.buckets.push_back(Bucket { number, newest_micros, amount }),
        }
        Place(number)
    }

    /// What was counted there as `was` turned out to be `is`. What has left the window meanwhile stays gone.
    pub(super) fn correct(&mut self, place: Place, was: u64, is: u64) {
        let Ok(at) = self.buckets.binary_search_by_key(&place.0, |bucket| bucket.number) else { return };
        let amount = &mut self.buckets[at].amount;
        let corrected = amount.saturating_sub(was).saturating_add(is);
        self.counted = self.counted.saturating_sub(*amount).saturating_add(corrected);
        *amount = corrected;
    }

    /// In the window now.
    pub(super) const fn counted(&self) -> u64 {
        self.counted
    }

    /// `None` where so much more fits.
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

    /// How long until more is left of the limit than now; zero where nothing is counted. Where the limit was lowered
    /// below what is counted, until something is left at all.
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

    /// Whether nothing would be counted at `now`.
    pub(super) fn is_empty(&self, now_micros: i64) -> bool {
        self.buckets.back().is_none_or(|newest| self.leaves_micros(newest) <= now_micros)
    }

    const fn leaves_micros(&self, bucket: &Bucket) -> i64 {
        bucket.newest_micros.saturating_add(self.span_micros)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPANS: [Duration; 3] = [Duration::from_mins(1), Duration::from_hours(1), Duration::from_hours(24)];

    /// Every instant and amount that was let in, amounts as they were corrected.
    #[derive(Default)]
    struct NaiveLog(Vec<(i64, u64)>);

    impl NaiveLog {
        fn sum_since(&self, after: i64) -> u64 {
            self.0.iter().filter(|(at, _)| *at > after).map(|(_, amount)| amount).sum()
        }
    }

    /// Gaps as shares of the window: many at once, some apart, some as long as the window or a little less or more.
    fn gap() -> impl Strategy<Value = i64> {
        prop_oneof![0_i64..50, 0_i64..30_000, 240_000_i64..340_000, 990_000_i64..1_010_000]
    }

    proptest! {
        /// Against a log of everything that was let in: never more than the limit in any window, and refused only where
        /// the window and one bucket more hold too much. Who waits as long as it was told is let in.
        #[test]
        fn it_never_lets_in_more_than_the_limit_in_any_window(
            span in prop::sample::select(&SPANS[..]),
            limit in 1_u64..40,
            steps in prop::collection::vec((gap(), 1_u64..45, prop::option::of((any::<prop::sample::Index>(), 0_u64..45))), 1..150),
        ) {
            let span_micros = i64::try_from(span.as_micros()).expect("small");
            let bucket_micros = span_micros / BUCKETS;
            let (mut window, mut log, mut places) = (Window::new(span), NaiveLog::default(), Vec::new());
            let mut now = 0;
            for (gap, amount, correction) in steps {
                now += gap * (span_micros / 1_000_000);
                window.advance(now);
                match window.wait(amount, limit) {
                    None => {
                        places.push(window.count(amount));
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
                // What was counted turns out to be less, as it does when usage is known.
                if let Some((which, to)) = correction.filter(|_| !places.is_empty()) {
                    let at = which.index(places.len());
                    let is = to.min(log.0[at].1);
                    window.correct(places[at], log.0[at].1, is);
                    log.0[at].1 = is;
                }
                prop_assert!(window.counted() >= log.sum_since(now - span_micros));
                prop_assert!(window.counted() <= log.sum_since(now - span_micros - bucket_micros));
                prop_assert!(window.buckets.len() <= 61);
            }
        }
    }

    #[test]
    fn what_turns_out_to_be_more_counts_as_more() {
        let mut window = Window::new(SPANS[0]);
        let place = window.count(10);
        window.correct(place, 10, 25);
        assert_eq!((window.counted(), window.wait(1, 20)), (25, Some(Fits::After(SPANS[0]))));
        window.advance(60_000_000);
        window.correct(place, 25, 0);
        assert_eq!(window.counted(), 0);
    }

    #[test]
    fn a_limit_that_was_lowered_says_when_something_is_left() {
        let mut window = Window::new(SPANS[0]);
        for second in 0..5 {
            window.advance(second * 1_000_000);
            window.count(1);
        }
        assert_eq!((window.until_more(10), window.until_more(2)), (Duration::from_secs(56), Duration::from_secs(59)));
        assert_eq!(window.wait(1, 2), Some(Fits::After(Duration::from_secs(59))));
    }
}
