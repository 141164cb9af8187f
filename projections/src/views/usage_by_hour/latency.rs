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

    /// Encodes alternating buckets and counts, in ascending buckets, as variable-length integers (LEB128). A histogram has
    /// one encoding, with two or three bytes for each bucket.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.counts.len() * 3);
        for (bucket, count) in &self.counts {
            push_number(&mut bytes, u64::from(*bucket));
            push_number(&mut bytes, *count);
        }
        bytes
    }

    /// Adds an encoded histogram. `None` if the encoding is invalid; part of it may have been added.
    #[must_use]
    pub fn add_encoded(&mut self, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let bucket = u32::try_from(take_number(&mut bytes)?).ok()?;
            let count = take_number(&mut bytes)?;
            self.add(bucket, count);
        }
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

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while let rest @ 1.. = number >> 7 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number = rest;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
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
    fn encoded_histograms_add_up_and_invalid_ones_are_refused() {
        let (ours, theirs) = (histogram([7, 7, 812]), histogram((0..300).map(|_| 7).chain([u64::MAX])));
        let mut sum = ours.clone();
        assert_eq!(sum.add_encoded(&theirs.encode()), Some(()));
        assert_eq!(sum, histogram((0..302).map(|_| 7).chain([812, u64::MAX])));
        let mut read = Histogram::default();
        assert_eq!((read.add_encoded(&sum.encode()), &read), (Some(()), &sum));
        assert_eq!(ours.encode(), [7, 2, 105, 1]);
        for wrong in [&[7][..], &[7, 0x80], &[0x80; 20], &[0xff, 0xff, 0xff, 0xff, 0x7f, 1]] {
            assert_eq!(Histogram::default().add_encoded(wrong), None, "{wrong:?}");
        }
    }
}
