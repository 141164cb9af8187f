//! The field `in_force` of a price: whether requests are charged by it now.

use events::ids::{PriceId, ProviderId};
use serde_json::Value;

use crate::QueryState;

/// Adds `in_force` to a price.
pub fn complete(state: &QueryState, price: &mut Value) {
    price["in_force"] = is_in_force(state, price).unwrap_or(false).into();
}

fn is_in_force(state: &QueryState, price: &Value) -> Option<bool> {
    let id: PriceId = price["id"].as_str()?.parse().ok()?;
    let provider: ProviderId = price["provider_id"].as_str()?.parse().ok()?;
    let tables = state.tables.load();
    let in_force = tables.price_in_force(provider, price["model"].as_str()?, state.clock.now())?;
    Some(in_force.value.price_id == id)
}
