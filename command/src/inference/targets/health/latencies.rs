//! How long calls took, in a fixed number of buckets.

use serde::Serialize;

/// The upper bounds of the buckets, in milliseconds. What takes longer is in one more.
const BOUNDS_MS: [u32; 26] = [
    5, 10, 20, 35, 50, 75, 100, 150, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000,
    20_000, 30_000, 60_000, 120_000, 300_000, 600_000,
];
const BUCKETS: usize = BOUNDS_MS.len() + 1;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    counts: [u32; BUCKETS],
    longest_ms: u32,
}

/// So many of a hundred calls took no longer, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    pub p50: u32,
    pub p95: u32,
    pub p99: u32,
}

impl Latencies {
    pub fn record(&mut self, ms: u32) {
        let bucket = BOUNDS_MS.partition_point(|bound| *bound < ms);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.longest_ms = self.longest_ms.max(ms);
    }

    /// Adds those of another time.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
        self.longest_ms = self.longest_ms.max(other.longest_ms);
    }

    /// `None` without a call.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let calls: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        (calls > 0).then(|| Percentiles {
            p50: self.at_rank((calls * 50).div_ceil(100)),
            p95: self.at_rank((calls * 95).div_ceil(100)),
            p99: self.at_rank((calls * 99).div_ceil(100)),
        })
    }

    /// The upper bound of the bucket with the call of this rank, counted from 1, the shortest first. None took longer than the longest.
    fn at_rank(&self, rank: u64) -> u32 {
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        });
        bucket.and_then(|bucket| BOUNDS_MS.get(bucket).copied()).unwrap_or(u32::MAX).min(self.longest_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: impl IntoIterator<Item = u32>) -> Latencies {
        let mut latencies = Latencies::default();
        times.into_iter().for_each(|ms| latencies.record(ms));
        latencies
    }

    #[test]
    fn percentiles_are_bounds_of_buckets_and_never_above_the_longest_call() {
        assert_eq!(of([]).percentiles(), None);
        let percentiles = |times: Vec<u32>| of(times).percentiles().expect("calls");
        assert_eq!(percentiles(vec![0]), Percentiles { p50: 0, p95: 0, p99: 0 });
        assert_eq!(percentiles(vec![42]), Percentiles { p50: 42, p95: 42, p99: 42 });
        let hundred = (0..90).map(|_| 12).chain((0..8).map(|_| 400)).chain([6_000, 7_000]).collect();
        assert_eq!(percentiles(hundred), Percentiles { p50: 20, p95: 500, p99: 7_000 });
        assert_eq!(percentiles(vec![5, 5, 6]), Percentiles { p50: 5, p95: 6, p99: 6 }, "a bound is in its own bucket");
        assert_eq!(percentiles(vec![u32::MAX]).p99, u32::MAX);
        assert_eq!(percentiles(vec![700_000]).p50, 700_000);
    }

    #[test]
    fn those_of_two_times_add_up() {
        let mut sum = of([3; 99]);
        sum.add(&of([900]));
        assert_eq!(sum, of((0..99).map(|_| 3).chain([900])));
        assert_eq!(sum.percentiles(), Some(Percentiles { p50: 5, p95: 5, p99: 5 }));
    }
}
