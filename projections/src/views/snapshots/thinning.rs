//! Which snapshots are kept: the older the log is at a position, the fewer are near it. So the time to build the views as of a
//! position grows no faster than its distance from the end of the log, and there are snapshots everywhere.

use std::io;
use std::path::Path;

use super::{Snapshot, in_folder, remove};

/// How many snapshots a folder may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotBounds {
    pub count: usize,
    pub bytes: u64,
}

/// Deletes snapshots until there are as few as the bounds say. The newest goes last.
pub fn thin_out(folder: &Path, bounds: SnapshotBounds) -> io::Result<()> {
    let mut kept = in_folder(folder)?;
    while exceeds(&kept, bounds) {
        let positions: Vec<u64> = kept.iter().map(|snapshot| snapshot.position).collect();
        let Some(index) = least_useful(&positions) else { break };
        remove(&kept.remove(index).path)?;
    }
    Ok(())
}

fn exceeds(kept: &[Snapshot], bounds: SnapshotBounds) -> bool {
    let bytes = kept.iter().fold(0, |sum: u64, snapshot| sum.saturating_add(snapshot.bytes()));
    kept.len() > bounds.count || bytes > bounds.bytes
}

/// The index of the position, among these in order, without which least is lost: the gap between its neighbours is then the smallest part
/// of everything after the first of these. `None` if there are none.
fn least_useful(positions: &[u64]) -> Option<usize> {
    let newest = *positions.last()?;
    let gap = |index: usize| {
        let before = index.checked_sub(1).and_then(|before| positions.get(before)).copied().unwrap_or(0);
        let after = positions.get(index + 1).copied().unwrap_or(newest);
        (u128::from(after.saturating_sub(before)), u128::from(newest.saturating_sub(before)).max(1))
    };
    // The newest is not among them, unless it is alone.
    let others = 0..positions.len().saturating_sub(1).max(1);
    others.min_by(|one, other| {
        let ((gap_of_one, age_of_one), (gap_of_other, age_of_other)) = (gap(*one), gap(*other));
        (gap_of_one * age_of_other).cmp(&(gap_of_other * age_of_one))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 16;

    /// The positions that are kept when one is added after each `every` events, up to `number` of them.
    fn kept(every: u64, number: u64) -> Vec<u64> {
        let mut kept = Vec::new();
        for position in (1..=number).map(|nth| nth * every) {
            kept.push(position);
            while kept.len() > COUNT {
                kept.remove(least_useful(&kept).expect("one of them"));
            }
        }
        kept
    }

    #[test]
    fn older_ones_thin_out_and_every_part_of_the_log_keeps_some() {
        for number in [16, 17, 40, 100, 1000, 5000] {
            let (kept, newest) = (kept(10, number), number * 10);
            assert_eq!((kept.len(), kept.last()), (COUNT, Some(&newest)));
            // None is farther from the one before it than twice the way to the end of the log, but for what was recorded last.
            let befores = std::iter::once(0).chain(kept.iter().copied());
            for (before, after) in befores.zip(kept.iter().copied()) {
                let (gap, left) = (after - before, newest - after);
                assert!(gap <= (2 * left).max(10), "{number}: {before} to {after} in {kept:?}");
            }
        }
    }

    #[test]
    fn the_newest_goes_last() {
        assert_eq!(least_useful(&[]), None);
        assert_eq!(least_useful(&[7]), Some(0));
        assert_eq!(least_useful(&[7, 9]), Some(0));
        assert_eq!(least_useful(&[100, 101, 900]), Some(0), "101 is as good as 100 for what follows");
    }
}
