//! Percentiles, rates and text of measured values, in integer arithmetic.

use std::time::Duration;

/// The percentile of `samples` in thousandths, by nearest rank; zero if there are none. Sorts the samples.
pub fn per_mille<T: Copy + Default + Ord>(samples: &mut [T], thousandths: usize) -> T {
    samples.sort_unstable();
    let at = (samples.len() * thousandths).div_ceil(1000).saturating_sub(1);
    samples.get(at).copied().unwrap_or_default()
}

/// Median, 99th percentile and maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl Spread {
    pub fn of(samples: &mut [Duration]) -> Self {
        let p99 = per_mille(samples, 990);
        Self { p50: per_mille(samples, 500), p99, max: samples.last().copied().unwrap_or_default() }
    }
}

/// Milliseconds with two decimals: 1234 µs is `1.23`.
pub fn millis(duration: Duration) -> String {
    hundredths(duration.as_micros(), 1000)
}

/// `a / b` with two decimals, truncated.
pub fn hundredths(a: u128, b: u128) -> String {
    let hundredths = a * 100 / b.max(1);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// Count per second, rounded down.
pub fn per_second(count: usize, took: Duration) -> u128 {
    count as u128 * 1_000_000 / took.as_micros().max(1)
}

/// Average in microseconds, rounded down.
pub fn micros_each(total: Duration, count: usize) -> u128 {
    each(total, count).as_micros()
}

/// Average, rounded down.
pub fn each(total: Duration, count: usize) -> Duration {
    total / u32::try_from(count.max(1)).unwrap_or(u32::MAX)
}

/// MiB with one decimal, truncated.
pub fn mebibytes(bytes: u64) -> String {
    let tenths = bytes * 10 / (1024 * 1024);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_sample_of_the_nearest_rank() {
        let mut samples: Vec<u32> = (1..=100).rev().collect();
        assert_eq!([500, 990, 1000].map(|at| per_mille(&mut samples, at)), [50, 99, 100]);
        assert_eq!(per_mille(&mut [7_u32], 990), 7);
        assert_eq!(per_mille::<u32>(&mut [], 500), 0);
    }

    #[test]
    fn figures_are_truncated() {
        assert_eq!(millis(Duration::from_micros(1239)), "1.23");
        assert_eq!(hundredths(2, 3), "0.66");
        assert_eq!(mebibytes(3 * 1024 * 1024 / 2), "1.5");
        assert_eq!(per_second(10, Duration::from_millis(2500)), 4);
    }
}
