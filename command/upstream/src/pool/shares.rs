//! Which party may open another stream when streams are scarce. Pure.

use std::collections::HashMap;

use super::Party;

/// A party may hold this many times the streams that are free: two thirds of all if it is alone, two fifths next to another
/// party, and so on. The rest is free for a newcomer, however long the others hold theirs.
const TIMES_FREE: usize = 2;

/// The open streams by party.
#[derive(Debug, Default)]
pub struct Shares {
    held: HashMap<Party, usize>,
    total: usize,
}

impl Shares {
    /// How many more streams a party may open if there are `capacity` in total.
    pub fn remaining(&self, party: Party, capacity: usize) -> usize {
        let free = capacity.saturating_sub(self.total);
        // Each stream that it opens also reduces what is free.
        let most = (TIMES_FREE * (free + self.held(party))).div_ceil(TIMES_FREE + 1);
        most.saturating_sub(self.held(party)).min(free)
    }

    pub fn held(&self, party: Party) -> usize {
        self.held.get(&party).copied().unwrap_or_default()
    }

    #[cfg(test)]
    pub const fn total(&self) -> usize {
        self.total
    }

    pub fn add(&mut self, party: Party) {
        *self.held.entry(party).or_default() += 1;
        self.total += 1;
    }

    pub fn subtract(&mut self, party: Party) {
        let Some(held) = self.held.get_mut(&party) else { return };
        *held -= 1;
        if *held == 0 {
            self.held.remove(&party);
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

    fn party(number: u8) -> Party {
        Some(TenantId::from(Uuid::from_u128(u128::from(number))))
    }

    fn fill(shares: &mut Shares, party: Party, capacity: usize) -> usize {
        while shares.remaining(party, capacity) > 0 {
            shares.add(party);
        }
        shares.held(party)
    }

    #[test]
    fn each_party_gets_twice_what_is_left_for_the_next() {
        let mut shares = Shares::default();
        assert_eq!(shares.remaining(party(1), 300), 200);
        assert_eq!(fill(&mut shares, party(1), 300), 200);
        assert_eq!(fill(&mut shares, party(2), 300), 67);
        assert_eq!(fill(&mut shares, None, 300), 22);
        // The first has too much now, and gets no more until it has less than its share.
        for _ in 0..80 {
            shares.subtract(party(1));
        }
        assert_eq!((shares.held(party(1)), shares.remaining(party(1), 300)), (120, 21));
        assert_eq!(shares.remaining(party(2), 300), 39);
    }

    #[test]
    fn a_party_without_streams_gets_the_last_one() {
        let mut shares = Shares::default();
        assert_eq!(shares.remaining(None, 1), 1);
        shares.add(party(1));
        assert_eq!((shares.remaining(party(1), 2), shares.remaining(party(2), 2)), (1, 1));
        shares.add(party(1));
        assert_eq!((shares.remaining(party(1), 3), shares.remaining(party(2), 3)), (0, 1));
        assert_eq!((shares.remaining(party(2), 2), shares.remaining(party(2), 0)), (0, 0));
    }

    proptest! {
        #[test]
        fn a_party_without_streams_gets_any_that_is_free_and_counts_stay_right(
            capacity in 3_usize..400,
            asked in prop::collection::vec((0_u8..5, any::<bool>()), 0..600),
        ) {
            let mut shares = Shares::default();
            for (number, ends) in asked {
                let party = party(number);
                let left = shares.remaining(party, capacity);
                prop_assert!(left <= capacity - shares.total);
                if ends {
                    shares.subtract(party);
                } else if left > 0 {
                    shares.add(party);
                }
                prop_assert!(shares.total <= capacity);
                prop_assert_eq!(shares.held.values().sum::<usize>(), shares.total);
                prop_assert!(shares.held.values().all(|held| *held > 0));
                if shares.total < capacity {
                    prop_assert!(shares.remaining(super::tests::party(9), capacity) > 0);
                }
            }
        }
    }
}
