//! The prices of one backend that were in force at one time, as of every version: what the price list said about that time
//! after each change. Made in one pass over the backend's price events.

use std::collections::BinaryHeap;

use chrono::{DateTime, Utc};

use super::price_event::PriceEvent;

/// The same for every time in its range, which ends where another price begins or one ends.
#[derive(Default)]
pub struct PricesAt {
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    /// Where another price came in force, or none, in order: the position, and the version of the price.
    steps: Vec<(u64, Option<u64>)>,
    /// The past changes among the steps that concern this time.
    changes: Vec<ChangeAt>,
}

/// A past change that replaced the price in force.
#[derive(Clone, Copy, Debug)]
pub struct ChangeAt {
    pub version: u64,
    pub recorded_at: DateTime<Utc>,
    /// The version of the price in force before it, and of the one after it.
    pub before: Option<u64>,
    pub after: Option<u64>,
}

/// The highest one is in force. One that the gateway made itself yields to any other; then the one that began last, and of those
/// that began together the one that was changed last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_of_command: bool,
    effective_from: DateTime<Utc>,
    version: u64,
}

/// The prices that had begun and had not ended, by the events up to a position.
#[derive(Default)]
struct BegunPrices {
    /// Indexed by the numbers of prices.
    ranks: Vec<Option<Rank>>,
    /// With the numbers of their prices. Those that a price no longer has are dropped when they are met.
    highest: BinaryHeap<(Rank, usize)>,
}

impl PricesAt {
    /// Expects the events of the backend's prices in order. A price counts until it ended, also in lists of later
    /// versions: to end a price does not re-value what it was in force for.
    pub fn new(events: &[PriceEvent], at: DateTime<Utc>) -> Self {
        let (mut prices, mut begun) = (Self::default(), BegunPrices::default());
        let mut before = None;
        for event in events {
            let has_come = event.effective_at() <= at;
            prices.narrow(event.effective_at(), has_come);
            begun.apply(event, has_come);
            let (version, after) = (event.position, begun.in_force());
            if before == after {
                continue;
            }
            prices.steps.push((version, after));
            if event.concerns_since.is_some_and(|since| since <= at) {
                prices.changes.push(ChangeAt { version, recorded_at: event.recorded_at, before, after });
            }
            before = after;
        }
        prices
    }

    pub fn includes(&self, at: DateTime<Utc>) -> bool {
        self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at < until)
    }

    /// The version of the price that was in force, by the events up to a position.
    pub fn as_of(&self, position: u64) -> Option<u64> {
        let known = self.steps.partition_point(|(step, _)| *step <= position);
        let (_, in_force) = self.steps[..known].last()?;
        *in_force
    }

    /// The past changes that concern this time and replaced its price, in order.
    pub fn changes(&self) -> &[ChangeAt] {
        &self.changes
    }

    /// Those up to a position, and those after it.
    pub fn changes_around(&self, position: u64) -> (&[ChangeAt], &[ChangeAt]) {
        self.changes.split_at(self.changes.partition_point(|change| change.version <= position))
    }

    fn narrow(&mut self, time: DateTime<Utc>, has_come: bool) {
        if has_come {
            self.since = self.since.max(Some(time));
        } else {
            self.until = Some(self.until.map_or(time, |until| until.min(time)));
        }
    }
}

impl BegunPrices {
    /// The next event of a price. Its last one decides about the price, unless it is an end that was still to come.
    fn apply(&mut self, event: &PriceEvent, has_come: bool) {
        if event.price >= self.ranks.len() {
            self.ranks.resize(event.price + 1, None);
        }
        let rank = &mut self.ranks[event.price];
        match &event.state {
            Some(price) if has_come => {
                let (is_of_command, effective_from) = (price.origin.is_none(), price.effective_from);
                let new = Rank { is_of_command, effective_from, version: event.position };
                *rank = Some(new);
                self.highest.push((new, event.price));
            }
            Some(_) => *rank = None,
            None if has_come => *rank = None,
            None => {}
        }
    }

    fn in_force(&mut self) -> Option<u64> {
        while let Some((rank, price)) = self.highest.peek() {
            if self.ranks[*price] == Some(*rank) {
                return Some(rank.version);
            }
            self.highest.pop();
        }
        None
    }
}
