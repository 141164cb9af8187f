//! The files that are kept for the next queries of their positions, and which of them go when there are too many.

use std::cmp::Reverse;

use events::concurrency::Holder;

use super::holders::is_tenant;

/// Files that are kept at most.
const FILES_MAX: usize = 4;
/// Files among them that one holder has asked for.
const OF_ONE_MAX: usize = 2;
/// Bytes of all of them together, of which one file alone may have more.
const BYTES_MAX: u64 = 4 << 30;

/// Files, each with the views that are read from it.
pub struct KeptFiles<Views> {
    /// The least recently used one first.
    files: Vec<KeptFile<Views>>,
}

pub struct KeptFile<Views> {
    pub position: u64,
    /// Whose share it takes: that of whoever it was built for, or of the first of the platform who has read it.
    pub holder: Holder,
    pub bytes: u64,
    pub views: Views,
}

impl<Views> Default for KeptFiles<Views> {
    fn default() -> Self {
        Self { files: Vec::new() }
    }
}

impl<Views> KeptFiles<Views> {
    /// The views as of a position, which are the most recently used ones from then on.
    pub fn find(&mut self, position: u64, holder: Holder) -> Option<&Views> {
        let index = self.files.iter().position(|file| file.position == position)?;
        let mut file = self.files.remove(index);
        if !is_tenant(holder) && is_tenant(file.holder) {
            file.holder = holder;
        }
        self.files.push(file);
        self.files.last().map(|file| &file.views)
    }

    /// Keeps one more. Returns what it pushes out.
    pub fn add(&mut self, file: KeptFile<Views>) -> Vec<Views> {
        self.files.push(file);
        let mut pushed_out = Vec::new();
        while let Some(index) = self.beyond_the_bounds() {
            pushed_out.push(self.files.remove(index).views);
        }
        pushed_out
    }

    /// Takes files out until their bytes are as many as these, and no more files than that; none at all if they all have fewer.
    /// Those that are in use stay: their bytes would not be free yet.
    pub fn take_to_free(&mut self, bytes: u64, is_in_use: impl Fn(&Views) -> bool) -> Vec<Views> {
        let is_free = |file: &KeptFile<Views>| !is_in_use(&file.views);
        let (mut taken, mut freed) = (Vec::new(), 0_u64);
        if total(self.files.iter().filter(|file| is_free(file))) < bytes {
            return taken;
        }
        while freed < bytes
            && let Some(index) = self.first_to_go(&self.files, is_free)
        {
            let file = self.files.remove(index);
            freed = freed.saturating_add(file.bytes);
            taken.push(file.views);
        }
        taken
    }

    /// The file that has to go now; never the newest one.
    fn beyond_the_bounds(&self) -> Option<usize> {
        if let Some(index) = self.files.iter().position(|file| self.count_of(file.holder) > OF_ONE_MAX) {
            return Some(index);
        }
        let (_, others) = self.files.split_last()?;
        let are_too_many = self.files.len() > FILES_MAX || total(self.files.iter()) > BYTES_MAX;
        are_too_many.then(|| self.first_to_go(others, |_| true)).flatten()
    }

    /// Tenants' files go before those of the platform; of these, that of whoever has the most; of these, the least recently used one.
    fn first_to_go(&self, files: &[KeptFile<Views>], may_go: impl Fn(&KeptFile<Views>) -> bool) -> Option<usize> {
        let candidates = files.iter().enumerate().filter(|(_, file)| may_go(file));
        let first = candidates.min_by_key(|(_, file)| (!is_tenant(file.holder), Reverse(self.count_of(file.holder))));
        first.map(|(index, _)| index)
    }

    fn count_of(&self, holder: Holder) -> usize {
        self.files.iter().filter(|file| file.holder == holder).count()
    }
}

fn total<'a, Views: 'a>(files: impl Iterator<Item = &'a KeptFile<Views>>) -> u64 {
    files.fold(0, |sum, file| sum.saturating_add(file.bytes))
}

#[cfg(test)]
mod tests {
    use events::ids::{KeyId, TenantId};
    use uuid::Uuid;

    use super::*;

    const GIB: u64 = 1 << 30;
    const NONE: [u64; 0] = [];

    fn tenant(number: u128) -> Holder {
        Holder::Tenant(TenantId::from(Uuid::from_u128(number)))
    }

    fn platform_key() -> Holder {
        Holder::Key(KeyId::from(Uuid::from_u128(1)))
    }

    fn file(position: u64, holder: Holder, bytes: u64) -> KeptFile<u64> {
        KeptFile { position, holder, bytes, views: position }
    }

    /// Small files at positions 1, 2, 3 …, which fit.
    fn kept(holders: &[Holder]) -> KeptFiles<u64> {
        let mut kept = KeptFiles::default();
        for (position, holder) in (1..).zip(holders) {
            assert_eq!(kept.add(file(position, *holder, 1)), NONE);
        }
        kept
    }

    #[test]
    fn one_tenant_pushes_out_its_own_files() {
        let mut kept = kept(&[Holder::Operator, tenant(2), tenant(1), tenant(1)]);
        assert_eq!(kept.add(file(5, tenant(1), 1)), [3]);
        assert_eq!(kept.find(4, tenant(1)), Some(&4));
        assert_eq!(kept.add(file(6, tenant(1), 1)), [5], "the least recently used one");
    }

    #[test]
    fn nobody_has_more_than_two() {
        let mut kept = kept(&[Holder::Operator, Holder::Operator]);
        assert_eq!(kept.add(file(3, Holder::Operator, 1)), [1]);
    }

    #[test]
    fn who_has_the_most_gives_way() {
        let mut kept = kept(&[tenant(1), tenant(2), tenant(2), tenant(3)]);
        assert_eq!(kept.add(file(5, tenant(4), 1)), [2]);
        assert_eq!(kept.add(file(6, tenant(5), 1)), [1], "of those who have equally many, the least recently used one");
    }

    #[test]
    fn files_of_the_platform_stay_while_tenants_have_others() {
        let mut kept = kept(&[Holder::Operator, Holder::Operator, platform_key(), tenant(1)]);
        assert_eq!(kept.add(file(5, tenant(2), 1)), [4]);
        assert_eq!(kept.add(file(6, platform_key(), 1)), [5]);
        assert_eq!(kept.add(file(7, tenant(1), 1)), [1], "tenants have no other");
    }

    #[test]
    fn what_the_platform_has_read_is_a_file_of_the_platform() {
        let mut kept = kept(&[tenant(1), tenant(2), tenant(3), tenant(4)]);
        assert_eq!(kept.find(1, Holder::Operator), Some(&1));
        assert_eq!(kept.find(1, tenant(1)), Some(&1));
        for (position, pushed_out) in [(5, 2), (6, 3), (7, 4), (8, 5)] {
            assert_eq!(kept.add(file(position, tenant(u128::from(position)), 1)), [pushed_out]);
        }
    }

    #[test]
    fn files_that_are_too_large_together_push_out_others_and_one_alone_stays() {
        let mut kept = kept(&[tenant(1), tenant(2)]);
        assert_eq!(kept.add(file(3, tenant(3), 4 * GIB - 1)), [1]);
        assert_eq!(kept.add(file(4, tenant(4), 5 * GIB)), [2, 3]);
        assert_eq!(kept.find(4, tenant(4)), Some(&4));
    }

    #[test]
    fn no_more_files_go_than_the_bytes_need_and_none_if_all_are_not_enough() {
        let some = || {
            let mut kept = KeptFiles::default();
            for (position, holder) in [(1, Holder::Operator), (2, tenant(1)), (3, tenant(1)), (4, tenant(2))] {
                assert_eq!(kept.add(file(position, holder, GIB)), NONE);
            }
            kept
        };
        let taken = |bytes, in_use: &[u64]| some().take_to_free(bytes, |views| in_use.contains(views));
        assert_eq!(taken(0, &[]), NONE);
        assert_eq!(taken(1, &[]), [2]);
        assert_eq!(taken(GIB, &[]), [2]);
        assert_eq!(taken(GIB + 1, &[]), [2, 3]);
        assert_eq!(taken(4 * GIB, &[]), [2, 3, 4, 1]);
        assert_eq!(taken(4 * GIB + 1, &[]), NONE);
        assert_eq!(taken(GIB, &[2, 3, 4]), [1]);
        assert_eq!(taken(2 * GIB, &[2, 3, 4]), NONE, "bytes of what is in use are not free yet");
    }
}
