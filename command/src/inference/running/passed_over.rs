//! The targets of a request that were not called, or not once more, when it was their turn, or not beside a slow first one.

use std::collections::BTreeMap;

use events::event::inference::Backend;
use events::routing::PassedOverFor;

/// The targets that were passed over, with the reasons.
#[derive(Default)]
pub struct PassedOver {
    /// Why, by `provider_id/model`: each reason once, the first one first.
    reasons: BTreeMap<String, Vec<PassedOverFor>>,
    /// Whether a target was passed over at its turn, and not only as a hedge.
    any_at_its_turn: bool,
}

impl PassedOver {
    pub fn add(&mut self, backend: &Backend, why: PassedOverFor) {
        self.add_named(backend.key(), why);
        self.any_at_its_turn = true;
    }

    /// Adds a target that was not called beside a slow first one, whether its turn comes or not.
    pub fn add_beside(&mut self, backend: &Backend, why: PassedOverFor) {
        self.add_named(backend.key(), why);
    }

    fn add_named(&mut self, backend: String, why: PassedOverFor) {
        let reasons = self.reasons.entry(backend).or_default();
        // One that had no room, and failed when it had some, is passed over for another reason as well.
        if !reasons.contains(&why) {
            reasons.push(why);
        }
    }

    /// Whether a target was passed over when it was its turn.
    pub const fn any_at_its_turn(&self) -> bool {
        self.any_at_its_turn
    }

    /// Whether this is the newest reason for one of them.
    pub fn any_still_for(&self, why: PassedOverFor) -> bool {
        self.reasons.values().any(|reasons| reasons.last() == Some(&why))
    }

    /// Returns the form in which it is recorded.
    pub fn recorded(&self) -> BTreeMap<String, Vec<PassedOverFor>> {
        self.reasons.clone()
    }
}
