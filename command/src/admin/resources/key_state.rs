//! The state of an API key at its provider, as replies describe it: the same for a provider's own key and for its provider keys.

use events::event::admin::SetAsideReason;
use openapi::Shape;
use openapi::schema::{self, object};

pub(super) const STATES: [&str; 3] = ["in_use", "set_aside", "ended"];

/// Why and since when a key is set aside.
pub(super) fn set_aside() -> Shape {
    let why = "refused if the key itself is not valid, out_of_money if its account has no money left";
    object()
        .required_as("reason", schema::one_of(SetAsideReason::words()), why)
        .required_as("status", schema::whole(100, 599), "The HTTP status of the provider's refusal")
        .required_as("since", schema::time(), "When that was recorded")
        .open()
}
