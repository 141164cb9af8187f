//! Which owner may open another stream, or take another place of something else, when they are scarce. Pure.

use std::collections::hash_map::Entry;

use events::ids::IdMap;

use super::Owner;

/// An owner may hold this many times the streams that are free: two thirds of all if it is alone, two fifths next to another
/// owner, and so on. The rest is free for a newcomer, however long the others hold theirs.
const TIMES_FREE: usize = 2;

/// The open streams, or other places that are taken, by owner.
#[derive(Debug, Default)]
pub struct Shares {
    held: IdMap<Owner, usize>,
    total: usize,
}

impl Shares {
    /// How many more streams an owner may open if there are `capacity` in total.
    pub fn remaining(&self, owner: Owner, capacity: usize) -> usize {
        let (free, held) = (capacity.saturating_sub(self.total), self.held(owner));
        // Each stream that it opens also reduces what is free.
        let most = (TIMES_FREE * (free + held)).div_ceil(TIMES_FREE + 1);
        most.saturating_sub(held).min(free)
    }

    pub fn held(&self, owner: Owner) -> usize {
        self.held.get(&owner).copied().unwrap_or_default()
    }

    pub const fn total(&self) -> usize {
        self.total
    }

    pub fn add(&mut self, owner: Owner) {
        *self.held.entry(owner).or_default() += 1;
        self.total += 1;
    }

    pub fn subtract(&mut self, owner: Owner) {
        let Entry::Occupied(mut held) = self.held.entry(owner) else { return };
        *held.get_mut() -= 1;
        if *held.get() == 0 {
            held.remove();
        }
        self.total -= 1;
    }
}

#[cfg(test)]
mod tests {
    use events::ids::TenantId;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn owner(number: u8) -> Owner {
        Some(TenantId::from(Uuid::from_u128(u128::from(number))))
    }

    fn fill(shares: &mut Shares, owner: Owner, capacity: usize) -> usize {
        while shares.remaining(owner, capacity) > 0 {
            shares.add(owner);
        }
        shares.held(owner)
    }

    #[test]
    fn each_owner_gets_twice_what_is_left_for_the_next() {
        let mut shares = Shares::default();
        assert_eq!(shares.remaining(owner(1), 300), 200);
        assert_eq!(fill(&mut shares, owner(1), 300), 200);
        assert_eq!(fill(&mut shares, owner(2), 300), 67);
        assert_eq!(fill(&mut shares, None, 300), 22);
        // The first has too much now, and gets no more until it has less than its share.
        for _ in 0..80 {
            shares.subtract(owner(1));
        }
        assert_eq!((shares.held(owner(1)), shares.remaining(owner(1), 300)), (120, 21));
        assert_eq!(shares.remaining(owner(2), 300), 39);
    }

    #[test]
    fn an_owner_without_streams_gets_the_last_one() {
        let mut shares = Shares::default();
        assert_eq!(shares.remaining(None, 1), 1);
        shares.add(owner(1));
        assert_eq!((shares.remaining(owner(1), 2), shares.remaining(owner(2), 2)), (1, 1));
        shares.add(owner(1));
        assert_eq!((shares.remaining(owner(1), 3), shares.remaining(owner(2), 3)), (0, 1));
        assert_eq!((shares.remaining(owner(2), 2), shares.remaining(owner(2), 0)), (0, 0));
    }

    proptest! {
        #[test]
        fn an_owner_without_streams_gets_any_that_is_free_and_counts_stay_right(
            capacity in 3_usize..400,
            asked in prop::collection::vec((0_u8..5, any::<bool>()), 0..600),
        ) {
            let mut shares = Shares::default();
            for (number, ends) in asked {
                let owner = owner(number);
                let left = shares.remaining(owner, capacity);
                prop_assert!(left <= capacity - shares.total);
                if ends {
                    shares.subtract(owner);
                } else if left > 0 {
                    shares.add(owner);
                }
                prop_assert!(shares.total <= capacity);
                prop_assert_eq!(shares.held.values().sum::<usize>(), shares.total);
                prop_assert!(shares.held.values().all(|held| *held > 0));
                if shares.total < capacity {
                    prop_assert!(shares.remaining(super::tests::owner(9), capacity) > 0);
                }
            }
        }
    }
}
