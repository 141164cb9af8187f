//! An independent small model of what requests cost. It values every request at once at every change of a price, and knows
//! nothing of versions, pages and batches.

use chrono::{DateTime, Utc};

use super::samples::times_rate;

/// A price as the model knows it.
#[derive(Clone, Debug)]
pub(super) struct ModelPrice {
    pub(super) number: u128,
    pub(super) backend: usize,
    pub(super) nanos: i64,
    pub(super) begins: DateTime<Utc>,
    pub(super) automatic: bool,
    pub(super) ended: Option<DateTime<Utc>>,
    /// When it was changed last, counted.
    pub(super) changed: u64,
    pub(super) events: u64,
}

#[derive(Clone, Debug)]
pub(super) struct ModelRequest {
    pub(super) number: u128,
    pub(super) at: DateTime<Utc>,
    /// Backend and tokens of each call.
    pub(super) calls: Vec<(usize, u64)>,
    pub(super) value: i64,
}

#[derive(Default)]
pub(super) struct ReferenceModel {
    pub(super) prices: Vec<ModelPrice>,
    pub(super) requests: Vec<ModelRequest>,
    pub(super) changes: u64,
    /// The changes that concern the past.
    pub(super) past_changes: u64,
}

impl ReferenceModel {
    /// The rate that a call at this time has, and which price and change it is of.
    pub(super) fn rate(&self, backend: usize, at: DateTime<Utc>) -> Option<(i64, (u128, u64))> {
        let mut prices: Vec<&ModelPrice> = self.prices.iter().filter(|price| price.backend == backend).collect();
        prices.retain(|price| price.begins <= at && price.ended.is_none_or(|ended| at < ended));
        prices.sort_by_key(|price| (!price.automatic, price.begins, price.changed));
        prices.last().map(|price| (price.nanos, (price.number, price.changed)))
    }

    fn cost(&self, at: DateTime<Utc>, calls: &[(usize, u64)]) -> Option<i64> {
        let cost = |nanos, tokens: u64| Some(nanos * times_rate(tokens) * i64::try_from(tokens).ok()?);
        calls.iter().map(|(backend, tokens)| cost(self.rate(*backend, at)?.0, *tokens)).sum()
    }

    /// Changes the prices, and values the requests for which another price is in force than before, if they are concerned.
    pub(super) fn change(&mut self, concerns_past: bool, change: impl FnOnce(&mut Vec<ModelPrice>, u64)) {
        let in_force = |model: &Self| -> Vec<Vec<Option<(u128, u64)>>> {
            let of = |request: &ModelRequest| {
                request.calls.iter().map(|(backend, _)| model.rate(*backend, request.at).map(|rate| rate.1)).collect()
            };
            model.requests.iter().map(of).collect()
        };
        let before = in_force(self);
        self.changes += 1;
        let changed = self.changes;
        change(&mut self.prices, changed);
        if !concerns_past {
            return;
        }
        self.past_changes += 1;
        let after = in_force(self);
        for index in 0..self.requests.len() {
            let ModelRequest { at, calls, .. } = &self.requests[index];
            if before[index] != after[index]
                && let Some(cost) = self.cost(*at, calls)
            {
                self.requests[index].value = cost;
            }
        }
    }
}
