//! Histograms of latencies. Buckets are whole milliseconds below 16; above, there are sixteen between two powers of two. A
//! bucket is at most a sixteenth of its lower bound wide, so its middle is less than 4 % off the latencies counted in it.

use std::collections::BTreeMap;

/// Buckets between two powers of two, as a number of bits.
const DETAIL_BITS: u32 = 4;
const DETAIL: u64 = 1 << DETAIL_BITS;

/// How many latencies each bucket counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: BTreeMap<u32, u64>,
}

impl Histogram {
    pub fn count(&mut self, milliseconds: u64) {
        self.add(bucket_of(milliseconds), 1);
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        other.counts.iter().for_each(|(bucket, count)| self.add(*bucket, *count));
    }

    /// The latencies that represent the buckets, in milliseconds, and how many each bucket counts: two JSON arrays, in ascending
    /// order, as analysts read them. A histogram has one such form.
    pub fn to_json(&self) -> serde_json::Result<[String; 2]> {
        let (milliseconds, requests): (Vec<u64>, Vec<u64>) = self.buckets().unzip();
        Ok([serde_json::to_string(&milliseconds)?, serde_json::to_string(&requests)?])
    }

    /// Adds a histogram in that form. `None` if it is in no such form.
    #[must_use]
    pub fn add_json(&mut self, milliseconds: &str, requests: &str) -> Option<()> {
        let [milliseconds, requests] =
            [milliseconds, requests].map(|array| serde_json::from_str::<Vec<u64>>(array).ok());
        let (milliseconds, requests) = (milliseconds?, requests?);
        if milliseconds.len() != requests.len() {
            return None;
        }
        milliseconds
            .into_iter()
            .zip(requests)
            .for_each(|(milliseconds, counted)| self.add(bucket_of(milliseconds), counted));
        Some(())
    }

    /// The buckets in ascending order: the latency in milliseconds that represents each, and how many it counts.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.counts.iter().map(|(bucket, count)| (milliseconds_of(*bucket), *count))
    }

    /// The latency that `percent` of the counted ones do not exceed (nearest rank); `None` if the histogram is empty.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        // 1,000 buckets of 64 bits, times a percentage: far below 128 bits.
        let total: u128 = self.counts.values().copied().map(u128::from).sum();
        let rank = (total * u128::from(percent)).div_ceil(100).max(1);
        let mut seen: u128 = 0;
        let reached = self.counts.iter().find(|(_, count)| {
            seen += u128::from(**count);
            seen >= rank
        });
        reached.map(|(bucket, _)| milliseconds_of(*bucket))
    }

    /// Saturates at 2^64 requests.
    fn add(&mut self, bucket: u32, more: u64) {
        let count = self.counts.entry(bucket).or_default();
        *count = count.saturating_add(more);
    }
}

/// The bucket of a latency; it rises with the latency.
fn bucket_of(milliseconds: u64) -> u32 {
    let Some(doublings) = doublings(milliseconds) else {
        return u32::try_from(milliseconds).unwrap_or(0);
    };
    let detail = (milliseconds >> doublings) - DETAIL;
    (doublings + 1) * (1 << DETAIL_BITS) + u32::try_from(detail).unwrap_or(0)
}

/// The latency that represents a bucket, in milliseconds: its middle, rounded down.
fn milliseconds_of(bucket: u32) -> u64 {
    let (doublings, detail) = (bucket >> DETAIL_BITS, u64::from(bucket) % DETAIL);
    if doublings == 0 {
        return detail;
    }
    let shift = (doublings - 1).min(u64::BITS - DETAIL_BITS - 1);
    let lower = (DETAIL + detail) << shift;
    lower + ((1 << shift) - 1) / 2
}

/// How often a latency can be halved before it is below twice [`DETAIL`]; `None` if it is below [`DETAIL`].
fn doublings(milliseconds: u64) -> Option<u32> {
    milliseconds.checked_ilog2()?.checked_sub(DETAIL_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_is_less_than_four_percent_off_and_they_rise() {
        let samples = (0..100_000).chain((0..64).map(|bit| 1 << bit)).chain([u64::MAX, u64::MAX - 1]);
        for milliseconds in samples {
            let shown = milliseconds_of(bucket_of(milliseconds));
            let off = shown.abs_diff(milliseconds);
            assert!(u128::from(off) * 25 <= u128::from(milliseconds), "{milliseconds} is shown as {shown}");
        }
        assert!((0..100_000).all(|milliseconds| bucket_of(milliseconds) <= bucket_of(milliseconds + 1)));
    }

    fn histogram(milliseconds: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        milliseconds.into_iter().for_each(|milliseconds| histogram.count(milliseconds));
        histogram
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert_eq!(histogram([]).percentile(50), None);
        assert_eq!(histogram([7]).percentile(95), Some(7));
        let one_to_ten = histogram(1..=10);
        assert_eq!((one_to_ten.percentile(50), one_to_ten.percentile(95)), (Some(5), Some(10)));
    }

    #[test]
    fn histograms_as_json_add_up_and_other_texts_are_refused() {
        let (ours, theirs) = (histogram([7, 7, 812]), histogram((0..300).map(|_| 7).chain([u64::MAX])));
        let mut sum = ours.clone();
        let mut add = |other: &Histogram| {
            let [milliseconds, requests] = other.to_json().expect("JSON");
            sum.add_json(&milliseconds, &requests)
        };
        assert_eq!(add(&theirs), Some(()));
        assert_eq!(sum, histogram((0..302).map(|_| 7).chain([812, u64::MAX])));
        assert_eq!(ours.to_json().expect("JSON"), ["[7,815]", "[2,1]"]);
        assert_eq!(histogram([]).to_json().expect("JSON"), ["[]", "[]"]);
        for [milliseconds, requests] in [["[7]", "[]"], ["[7", "[1]"], ["[7]", "[-1]"], ["[7.5]", "[1]"], ["", ""]] {
            assert_eq!(Histogram::default().add_json(milliseconds, requests), None, "{milliseconds} {requests}");
        }
    }

    #[test]
    fn every_bucket_comes_back_from_json() {
        let samples = (0..100_000).chain((0..64).map(|bit| 1 << bit)).chain([u64::MAX, u64::MAX - 1]);
        for milliseconds in samples {
            let bucket = bucket_of(milliseconds);
            assert_eq!(bucket_of(milliseconds_of(bucket)), bucket, "{milliseconds}");
        }
    }
}
