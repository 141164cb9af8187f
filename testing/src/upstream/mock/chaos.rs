//! Faults drawn from a seed: the behaviour of an attempt depends on the seed, the model, the number at the end of the request's
//! text and the number of the attempt, not on timing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use super::Seen;
use crate::random::SplitMix64;

/// The percentage of attempts that fail.
const FAULTS_IN_A_HUNDRED: u64 = 10;
const FAULTS: [&str; 8] = ["close", "e429", "e500", "e503", "hang", "cut", "halfjson", "stall"];

pub struct Chaos {
    seed: u64,
    tries: Mutex<HashMap<(String, u64), u64>>,
    drawn: Mutex<BTreeMap<&'static str, u64>>,
}

impl Chaos {
    pub fn of(seed: u64) -> Self {
        Self { seed, tries: Mutex::default(), drawn: Mutex::default() }
    }

    /// Number of times that each behaviour was drawn.
    pub fn drawn(&self) -> BTreeMap<&'static str, u64> {
        self.drawn.lock().expect("what was drawn").clone()
    }

    /// The behaviour of this attempt.
    pub fn draw(&self, seen: &Seen) -> &'static str {
        let text = seen.body["messages"][0]["content"].as_str().unwrap_or_default();
        let number = text.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let mut tries = self.tries.lock().expect("the tries");
        let tried = tries.entry((seen.model().to_owned(), number)).or_default();
        *tried += 1;
        let model = seen.model().bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let drawn = mixed(mixed(mixed(self.seed ^ model).wrapping_add(number)).wrapping_add(*tried));
        drop(tries);
        let behaviour = match drawn % 100 {
            below if below < FAULTS_IN_A_HUNDRED => FAULTS[usize::try_from(drawn / 100 % 8).expect("an index")],
            _ => "ok",
        };
        *self.drawn.lock().expect("what was drawn").entry(behaviour).or_default() += 1;
        behaviour
    }
}

fn mixed(seed: u64) -> u64 {
    SplitMix64::new(seed).next_u64()
}
