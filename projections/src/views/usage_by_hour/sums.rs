//! The sums of a group of requests.

use events::event::inference::InferenceEnded;
use events::event::{Event, Inference};
use events::usage::TokenClasses;

use super::latency::Histogram;
use super::selection::GroupKey;
use crate::views::inferences::CountedRequest;

/// The names of the counts, in the order of [`Amounts::counts`]. Tokens and units come last, in the order of their classes.
pub const COUNTS: [&str; TOKENS + TokenClasses::NAMES.len()] = {
    let mut names = ["requests"; TOKENS + TokenClasses::NAMES.len()];
    (names[REFUSED], names[FAILED]) = ("refused", "failed");
    let mut at = 0;
    while at < TokenClasses::NAMES.len() {
        names[TOKENS + at] = TokenClasses::NAMES[at];
        at += 1;
    }
    names
};
pub const REQUESTS: usize = 0;
pub const REFUSED: usize = 1;
pub const FAILED: usize = 2;
const TOKENS: usize = 3;
/// How many of the counts, from the first, most requests have.
pub const COMMON: usize = TOKENS + TokenClasses::COMMON;

/// The counts of requests, and their costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// In the order of [`COUNTS`].
    pub counts: [i128; COUNTS.len()],
    pub cost_nanos: i128,
    /// The corrections that the cost includes.
    pub adjusted_nanos: i128,
}

// `None` means a sum beyond 127 bits, which no log reaches.
impl Amounts {
    #[must_use]
    pub fn count(&mut self, index: usize, number: i128) -> Option<()> {
        let sum = self.counts.get_mut(index)?;
        *sum = sum.checked_add(number)?;
        Some(())
    }

    #[must_use]
    pub fn count_tokens(&mut self, tokens: &TokenClasses) -> Option<()> {
        (TOKENS..).zip(tokens.each()).try_for_each(|(index, number)| self.count(index, number.into()))
    }

    #[must_use]
    pub fn add_cost(&mut self, nanos: i128) -> Option<()> {
        self.cost_nanos = self.cost_nanos.checked_add(nanos)?;
        Some(())
    }

    #[must_use]
    pub fn add_correction(&mut self, nanos: i128) -> Option<()> {
        self.add_cost(nanos)?;
        self.note_correction(nanos)
    }

    /// Adds a correction that the cost has already.
    fn note_correction(&mut self, nanos: i128) -> Option<()> {
        self.adjusted_nanos = self.adjusted_nanos.checked_add(nanos)?;
        Some(())
    }
}

/// The sums of a group.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub amounts: Amounts,
    pub latencies: Histogram,
}

/// A group, and what it sums up to.
#[derive(Debug)]
pub struct GroupSums {
    pub key: GroupKey,
    pub sums: Sums,
}

/// A page of groups.
#[derive(Debug)]
pub struct Groups {
    /// The page, and one group more if there is another page.
    pub rows: Vec<GroupSums>,
    /// The sums of all groups, on whatever page they are; `None` if they were not asked for.
    pub totals: Option<Sums>,
}

impl Sums {
    pub fn of_all<'a>(groups: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut totals = Self::default();
        groups.into_iter().try_for_each(|sums| totals.add_all(sums))?;
        Some(totals)
    }

    /// Adds the sums of another group.
    fn add_all(&mut self, other: &Self) -> Option<()> {
        let Amounts { counts, cost_nanos, adjusted_nanos } = other.amounts;
        counts.into_iter().enumerate().try_for_each(|(index, number)| self.amounts.count(index, number))?;
        self.amounts.add_cost(cost_nanos)?;
        self.amounts.note_correction(adjusted_nanos)?;
        self.latencies.merge(&other.latencies);
        Some(())
    }

    /// Adds a request with its corrections; `outcome` is the event that ended it, if it has ended.
    #[must_use]
    pub fn add_request(&mut self, request: &CountedRequest, outcome: Option<&Event>) -> Option<()> {
        self.amounts.count(REQUESTS, 1)?;
        self.amounts.add_cost(request.cost_nanos)?;
        self.amounts.note_correction(request.adjusted_nanos)?;
        match outcome {
            Some(Event::Inference(Inference::Failed(ended))) => {
                self.amounts.count(FAILED, 1)?;
                self.end(ended)
            }
            Some(Event::Inference(Inference::Completed(ended) | Inference::Aborted(ended))) => self.end(ended),
            Some(_) | None => Some(()),
        }
    }

    /// Adds `number` refused requests.
    #[must_use]
    pub fn add_refused(&mut self, number: i128) -> Option<()> {
        self.amounts.count(REFUSED, number)
    }

    fn end(&mut self, ended: &InferenceEnded) -> Option<()> {
        if let Some(latency_ms) = ended.latency_ms {
            self.latencies.count(latency_ms);
        }
        ended.usage.as_ref().map_or(Some(()), |usage| self.amounts.count_tokens(&usage.tokens))
    }
}
