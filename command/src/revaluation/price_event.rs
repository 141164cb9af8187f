//! A change of a price, as the history of prices keeps it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::admin::Price;

/// An event of one of a backend's prices.
pub struct PriceEvent {
    pub position: u64,
    pub recorded_at: DateTime<Utc>,
    /// The price: its number among the backend's, from 0.
    pub price: usize,
    /// `None` if it ended.
    pub state: Option<Arc<Price>>,
    /// The time since when a past change concerns requests.
    pub concerns_since: Option<DateTime<Utc>>,
}

impl PriceEvent {
    /// When the price begins, or when it ended.
    pub fn effective_at(&self) -> DateTime<Utc> {
        self.state.as_ref().map_or(self.recorded_at, |price| price.effective_from)
    }
}
