//! Whether a change of a price concerns requests that were admitted before it: decided here for the task that re-values them and
//! for the reply to the change, so that they agree.

use chrono::{DateTime, TimeDelta, Utc};
use events::event::Recorded;
use events::event::admin::Price;

/// A price that is created to begin now begins a moment before it is recorded. That is not a date in the past.
const CLOCK_NOISE: TimeDelta = TimeDelta::seconds(1);

/// The state that was known when a price changed.
pub struct KnownBefore<'a> {
    /// Changes up to this position concern later requests alone.
    pub begins_after: u64,
    /// The latest state of the same price.
    pub before: Option<&'a Price>,
}

impl KnownBefore<'_> {
    /// Since when the new state of a price concerns requests that were admitted before it; `None` if it does not. The first
    /// price of a backend concerns nothing: without a price, no request was sent there.
    pub fn concerns_since(
        &self,
        recorded: &Recorded,
        price: &Price,
        backend_had_price: impl FnOnce() -> bool,
    ) -> Option<DateTime<Utc>> {
        // A newer catalogue says what requests cost from now on. So does a tenant for its own providers: it could otherwise move
        // money in the budgets of its partner, at any time and without a request.
        let is_of_tenant = recorded.context.tenant_id.is_some();
        if recorded.position <= self.begins_after || price.origin.is_some() || is_of_tenant {
            return None;
        }
        let from = price.effective_from;
        let since = match self.before {
            None => Some(from).filter(|from| *from + CLOCK_NOISE < recorded.recorded_at),
            Some(before) if before.tariff == price.tariff && before.effective_from == from => None,
            Some(before) => Some(from.min(before.effective_from)).filter(|from| *from < recorded.recorded_at),
        };
        since.filter(|_| backend_had_price())
    }
}
