//! The random choices of a seed, which are always the same.

use testing::random::SplitMix64;

pub struct Dice {
    numbers: SplitMix64,
}

impl Dice {
    pub const fn of(seed: u64) -> Self {
        Self { numbers: SplitMix64::new(seed) }
    }

    /// One of `0..sides`. The low ones are slightly likelier, which does not matter here.
    pub fn below(&mut self, sides: usize) -> usize {
        let sides = u64::try_from(sides.max(1)).expect("few sides");
        usize::try_from(self.numbers.next_u64() % sides).expect("below a number of sides")
    }

    /// One of `low ..= high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.numbers.next_u64() % (high - low + 1).unsigned_abs()).expect("a small span")
    }

    pub fn percent(&mut self, likely: u64) -> bool {
        self.numbers.next_u64() % 100 < likely
    }

    /// One of the choices, with their weights as probabilities.
    pub fn weighted<T: Copy>(&mut self, choices: &[(usize, T)]) -> T {
        let total = choices.iter().map(|(weight, _)| weight).sum();
        let mut left = self.below(total);
        for (weight, choice) in choices {
            if left < *weight {
                return *choice;
            }
            left -= weight;
        }
        unreachable!("the weights add up to their sum")
    }
}
