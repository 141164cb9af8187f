//! The targets of a request that were not called, or not once more, when it was their turn.

use std::collections::BTreeMap;

use events::event::inference::Backend;
use events::routing::LeftOut;

/// Its breaker has opened since the request was planned.
pub const BREAKER_OPEN: &str = LeftOut::BreakerOpen.as_str();
/// Its provider gets no further calls now.
pub const RETRY_BUDGET: &str = "retry_budget";
/// It had as many calls under way as it may.
pub const NO_ROOM: &str = "no_room";

/// Why, by `provider_id/model`.
#[derive(Clone, Default)]
pub struct PassedOver(BTreeMap<String, String>);

impl PassedOver {
    pub fn add(&mut self, backend: &Backend, why: &str) {
        let Backend { provider_id, model, .. } = backend;
        self.0.insert(format!("{provider_id}/{model}"), why.to_owned());
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn any_for(&self, why: &str) -> bool {
        self.0.values().any(|recorded| recorded == why)
    }

    /// As it is recorded.
    pub fn recorded(&self) -> BTreeMap<String, String> {
        self.0.clone()
    }
}
