//! What clients see of a resource's state: what its events say, with nothing left out that may be absent, and without what
//! is for the gateway alone. The replies to commands and the catalogue are made of it, so that both follow the state.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// The state of a resource that clients can be shown.
pub trait Shown: Clone + Serialize {
    /// What clients never see.
    const HIDDEN: &'static [&'static str] = &[];

    /// What an event leaves out, and what that means: `null` where there is none. A user's `name` and `email`, which are in
    /// no event, are `null` as well.
    fn left_out() -> Value {
        json!({})
    }

    /// The same state as an event of today records it.
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
