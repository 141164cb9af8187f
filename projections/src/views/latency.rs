//! Buckets for latencies: whole milliseconds below 16, above it sixteen buckets between two powers of two. A bucket is
//! at most a sixteenth of its lower bound wide, so its middle is less than 4 % off what was counted in it.

/// Buckets between two powers of two, as a number of bits.
const DETAIL_BITS: u32 = 4;
const DETAIL: u64 = 1 << DETAIL_BITS;

/// The bucket that a latency is counted in; it rises with the latency.
pub fn bucket_of(milliseconds: u64) -> u32 {
    let Some(doublings) = doublings(milliseconds) else {
        return u32::try_from(milliseconds).unwrap_or(0);
    };
    let detail = (milliseconds >> doublings) - DETAIL;
    (doublings + 1) * (1 << DETAIL_BITS) + u32::try_from(detail).unwrap_or(0)
}

/// The latency, in milliseconds, that a bucket stands for: its middle, rounded down.
pub fn milliseconds_of(bucket: u32) -> u64 {
    let (doublings, detail) = (bucket >> DETAIL_BITS, u64::from(bucket) % DETAIL);
    if doublings == 0 {
        return detail;
    }
    let shift = (doublings - 1).min(u64::BITS - DETAIL_BITS - 1);
    let lower = (DETAIL + detail) << shift;
    lower + ((1 << shift) - 1) / 2
}

/// The latency that `percent` of the counted ones do not exceed (nearest rank); `None` where nothing was counted.
/// `counts`: bucket and number of latencies in it, buckets rising.
pub fn percentile(counts: &[(u32, u64)], percent: u64) -> Option<u64> {
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let rank = total.checked_mul(percent)?.div_ceil(100).max(1);
    let mut seen = 0;
    let reached = counts.iter().find(|(_, count)| {
        seen += count;
        seen >= rank
    });
    reached.map(|(bucket, _)| milliseconds_of(*bucket))
}

/// How often a latency of at least [`DETAIL`] can be halved before it is below twice that.
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

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[(7, 1)], 95), Some(7));
        let one_to_ten: Vec<(u32, u64)> = (1..=10).map(|bucket| (bucket, 1)).collect();
        assert_eq!((percentile(&one_to_ten, 50), percentile(&one_to_ten, 95)), (Some(5), Some(10)));
    }
}
