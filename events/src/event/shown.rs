//! A resource's state as clients see it: as its events record it, with all members that may be absent, and without those
//! that only the gateway uses. Replies to commands and the catalogue are made from it, so that both follow the state.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// The state of a resource, as far as clients see it.
pub trait Shown: Clone + Serialize {
    /// The members that clients never see.
    const HIDDEN: &'static [&'static str] = &[];

    /// The members that are `null` if an event leaves them out, as it always does with a user's `name` and `email`.
    const NULLABLE: &'static [&'static str] = &[];

    /// The members that an event may leave out, with the values that their absence means.
    fn left_out() -> Value {
        Self::NULLABLE.iter().map(|name| (*name, Value::Null)).collect()
    }

    /// The same state as a current event records it.
    #[must_use]
    fn in_full(&self) -> Self {
        self.clone()
    }

    /// The members of the state that clients see.
    fn members(&self) -> Map<String, Value> {
        let mut shown = members(Self::left_out());
        shown.extend(members(json!(self.in_full())));
        shown.retain(|name, _| !Self::HIDDEN.contains(&name.as_str()));
        shown
    }
}

fn members(object: Value) -> Map<String, Value> {
    if let Value::Object(members) = object { members } else { Map::new() }
}
