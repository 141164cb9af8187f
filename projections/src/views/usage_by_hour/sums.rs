//! The sums of a group of requests.

use events::event::inference::InferenceEnded;
use events::event::{Event, Inference};

use super::latency::Histogram;
use super::selection::GroupKey;

/// The names of the counts, in the order of [`Sums::counts`].
pub const COUNTS: [&str; 8] = [
    "requests", "refused", "failed", "input_uncached_tokens", "input_cache_read_tokens", "input_cache_write_tokens",
    "output_text_tokens", "output_reasoning_tokens",
];

/// The sums of a group.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// In the order of [`COUNTS`].
    pub counts: [i128; COUNTS.len()],
    pub cost_nanos: i128,
    pub latencies: Histogram,
}

/// A page of groups.
#[derive(Debug)]
pub struct Groups {
    /// The page, and one group more if there is another page.
    pub rows: Vec<(GroupKey, Sums)>,
    /// The sums of all groups, on whatever page they are; `None` if they were not asked for.
    pub totals: Option<Sums>,
}

// `None` means a sum beyond 127 bits, which no log reaches.
impl Sums {
    pub fn of_all<'a>(groups: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut totals = Self::default();
        groups.into_iter().try_for_each(|sums| totals.add_all(sums))?;
        Some(totals)
    }

    /// Adds the sums of another group.
    fn add_all(&mut self, other: &Self) -> Option<()> {
        for (sum, number) in self.counts.iter_mut().zip(other.counts) {
            *sum = sum.checked_add(number)?;
        }
        self.cost_nanos = self.cost_nanos.checked_add(other.cost_nanos)?;
        self.latencies.merge(&other.latencies);
        Some(())
    }

    /// Adds a request; `outcome` is the event that ended it, if it has ended.
    #[must_use]
    pub fn add_request(&mut self, cost_nanos: i128, outcome: Option<&Event>) -> Option<()> {
        self.count(0, 1)?;
        self.cost_nanos = self.cost_nanos.checked_add(cost_nanos)?;
        match outcome {
            Some(Event::Inference(Inference::Failed(ended))) => {
                self.count(2, 1)?;
                self.end(ended)
            }
            Some(Event::Inference(Inference::Completed(ended) | Inference::Aborted(ended))) => self.end(ended),
            Some(_) | None => Some(()),
        }
    }

    /// Adds `number` refused requests.
    #[must_use]
    pub fn add_refused(&mut self, number: i128) -> Option<()> {
        self.count(1, number)
    }

    fn count(&mut self, index: usize, number: i128) -> Option<()> {
        let sum = self.counts.get_mut(index)?;
        *sum = sum.checked_add(number)?;
        Some(())
    }

    fn end(&mut self, ended: &InferenceEnded) -> Option<()> {
        if let Some(latency_ms) = ended.latency_ms {
            self.latencies.count(latency_ms);
        }
        let Some(usage) = &ended.usage else { return Some(()) };
        usage.tokens.each().into_iter().enumerate().try_for_each(|(index, number)| self.count(index + 3, number.into()))
    }
}
