//! One minute that slides. Requests are counted in one-second buckets; a bucket leaves as a whole, when the newest
//! request in it is 60 s old. So the window may count a request for up to a second too long, never too short.

use std::collections::VecDeque;
use std::time::Duration;

const WINDOW_MICROS: i64 = 60_000_000;
const BUCKET_MICROS: i64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    second: i64,
    /// When the newest request in it came.
    newest_micros: i64,
    requests: u64,
}

/// At most 61 buckets: those of the last 60 s and the one that began before them.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    buckets: VecDeque<Bucket>,
    counted: u64,
    now_micros: i64,
}

impl Window {
    /// Moves to `now`. A clock that went back a little stands still until it has caught up; one that went back by more
    /// than the window would stop everything for that long, so the window begins anew.
    pub(super) fn advance(&mut self, now_micros: i64) {
        if now_micros < self.now_micros.saturating_sub(WINDOW_MICROS) {
            *self = Self::default();
        }
        self.now_micros = self.now_micros.max(now_micros);
        while let Some(oldest) = self.buckets.front().filter(|bucket| leaves_micros(bucket) <= self.now_micros) {
            self.counted = self.counted.saturating_sub(oldest.requests);
            self.buckets.pop_front();
        }
    }

    /// Counts one request now.
    pub(super) fn count(&mut self) {
        let (second, newest_micros) = (self.now_micros.div_euclid(BUCKET_MICROS), self.now_micros);
        self.counted = self.counted.saturating_add(1);
        match self.buckets.back_mut().filter(|bucket| bucket.second == second) {
            Some(bucket) => {
                bucket.newest_micros = newest_micros;
                bucket.requests = bucket.requests.saturating_add(1);
            }
            None => self.buckets.push_back(Bucket { second, newest_micros, requests: 1 }),
        }
    }

    /// Requests in the last minute.
    pub(super) const fn counted(&self) -> u64 {
        self.counted
    }

    /// `None` where one more fits; else how long until it does, at most 60 s.
    pub(super) fn wait(&self, limit: u64) -> Option<Duration> {
        if self.counted < limit {
            return None;
        }
        Some(Duration::from_micros(self.more_at_micros(limit).abs_diff(self.now_micros)))
    }

    /// When more fits than now: the oldest bucket leaves; where the limit was lowered below what is counted, when
    /// enough of them did. A limit of nothing never fits more: one window from now.
    pub(super) fn more_at_micros(&self, limit: u64) -> i64 {
        let mut left = self.counted;
        for bucket in &self.buckets {
            left = left.saturating_sub(bucket.requests);
            if left < limit {
                return leaves_micros(bucket);
            }
        }
        self.now_micros.saturating_add(WINDOW_MICROS)
    }

    /// Whether nothing would be counted at `now`.
    pub(super) fn is_empty(&self, now_micros: i64) -> bool {
        self.buckets.back().is_none_or(|newest| leaves_micros(newest) <= now_micros)
    }
}

fn leaves_micros(bucket: &Bucket) -> i64 {
    bucket.newest_micros.saturating_add(WINDOW_MICROS)
}
