//! The observing budgets that had too little left for a request: their amounts are for those who see the budgets elsewhere.

use std::collections::HashMap;

use events::event::inference::BudgetShortfall;
use events::event::{Event, Inference, Recorded, Resource};
use projections::visible::Visible;
use serde_json::{Map, Value};

/// Amounts that the gateway never told the client.
const AMOUNTS: [&str; 4] = ["limit_usd", "settled_usd", "held_usd", "resets_at"];

/// The positions of the budgets' versions, which say whose the budgets are. None for what is not an admission.
pub fn versions(recorded: &Recorded) -> Vec<u64> {
    let Event::Inference(Inference::Admitted(admitted)) = &recorded.event else { return Vec::new() };
    let versions = &admitted.versions.budgets;
    admitted.would_have_refused.iter().filter_map(|short| versions.get(&short.budget_id).copied()).collect()
}

/// Replaces the amounts of budgets that the caller cannot see by null, and says of each budget whether it sees it.
pub fn hide(fields: &mut Map<String, Value>, begin: &Recorded, events: &HashMap<u64, Recorded>, visible: Visible) {
    let Event::Inference(Inference::Admitted(admitted)) = &begin.event else { return };
    let items = fields.get_mut("would_have_refused").and_then(Value::as_array_mut);
    for (short, item) in admitted.would_have_refused.iter().zip(items.into_iter().flatten()) {
        let version = admitted.versions.budgets.get(&short.budget_id);
        let opened = version.and_then(|version| events.get(version));
        let is_visible = is_visible(short, opened, visible);
        if !is_visible {
            AMOUNTS.iter().for_each(|name| item[*name] = Value::Null);
        }
        item["is_visible"] = is_visible.into();
    }
}

/// A budget whose version the log does not have is the platform's to see.
fn is_visible(short: &BudgetShortfall, version: Option<&Recorded>, visible: Visible) -> bool {
    match version {
        Some(recorded) if matches!(&recorded.event, Event::Resource(Resource::Budget(_))) => {
            visible.includes(&short.scope.owners(&recorded.context))
        }
        _ => visible == Visible::Platform,
    }
}
