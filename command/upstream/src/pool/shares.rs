//! Who may have another stream, where all that an upstream can take may be less than what is asked of it. Pure.

use std::collections::HashMap;

use super::Party;

/// So many times what is free a party may hold: two thirds where it is alone, two fifths beside another, and so on. What
/// is left is there for whoever comes next, however long the others keep theirs.
const TIMES_FREE: usize = 2;

/// The streams that are open, by whose they are.
#[derive(Debug, Default)]
pub struct Shares {
    held: HashMap<Party, usize>,
    all: usize,
}

impl Shares {
    /// How many more it may have where there are `capacity` in all.
    pub fn left(&self, party: Party, capacity: usize) -> usize {
        let free = capacity.saturating_sub(self.all);
        // Each of them takes from what is free as well.
        let most = (TIMES_FREE * (free + self.held(party))).div_ceil(TIMES_FREE + 1);
        most.saturating_sub(self.held(party)).min(free)
    }

    pub fn held(&self, party: Party) -> usize {
        self.held.get(&party).copied().unwrap_or_default()
    }

    #[cfg(test)]
    pub const fn all(&self) -> usize {
        self.all
    }

    pub fn add(&mut self, party: Party) {
        *self.held.entry(party).or_default() += 1;
        self.all += 1;
    }

    pub fn subtract(&mut self, party: Party) {
        let Some(held) = self.held.get_mut(&party) else { return };
        *held -= 1;
        if *held == 0 {
            self.held.remove(&party);
        }
        self.all -= 1;
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
        while shares.left(party, capacity) > 0 {
            shares.add(party);
        }
        shares.held(party)
    }

    #[test]
    fn each_party_gets_twice_what_is_left_for_the_next() {
        let mut shares = Shares::default();
        assert_eq!(shares.left(party(1), 300), 200);
        assert_eq!(fill(&mut shares, party(1), 300), 200);
        assert_eq!(fill(&mut shares, party(2), 300), 67);
        assert_eq!(fill(&mut shares, None, 300), 22);
        // The first has too much now, and gets no more until it has less than its share.
        for _ in 0..80 {
            shares.subtract(party(1));
        }
        assert_eq!((shares.held(party(1)), shares.left(party(1), 300)), (120, 21));
        assert_eq!(shares.left(party(2), 300), 39);
    }

    #[test]
    fn whoever_has_nothing_gets_the_last() {
        let mut shares = Shares::default();
        assert_eq!(shares.left(None, 1), 1);
        shares.add(party(1));
        assert_eq!((shares.left(party(1), 2), shares.left(party(2), 2)), (1, 1));
        shares.add(party(1));
        assert_eq!((shares.left(party(1), 3), shares.left(party(2), 3)), (0, 1));
        assert_eq!((shares.left(party(2), 2), shares.left(party(2), 0)), (0, 0));
    }

    proptest! {
        #[test]
        fn something_is_left_for_who_has_nothing_and_nothing_is_lost(
            capacity in 3_usize..400,
            asked in prop::collection::vec((0_u8..5, any::<bool>()), 0..600),
        ) {
            let mut shares = Shares::default();
            for (number, ends) in asked {
                let party = party(number);
                let left = shares.left(party, capacity);
                prop_assert!(left <= capacity - shares.all);
                if ends {
                    shares.subtract(party);
                } else if left > 0 {
                    shares.add(party);
                }
                prop_assert!(shares.all <= capacity);
                prop_assert_eq!(shares.held.values().sum::<usize>(), shares.all);
                prop_assert!(shares.held.values().all(|held| *held > 0));
                if shares.all < capacity {
                    prop_assert!(shares.left(super::tests::party(9), capacity) > 0);
                }
            }
        }
    }
}
