//! The targets of a request that were not called, or not once more, when it was their turn, or not beside a slow first one.

use std::collections::BTreeMap;

use events::event::inference::Backend;
use events::routing::PassedOverFor;

/// Why, by `provider_id/model`: each reason once, the first one first.
#[derive(Clone, Default)]
pub struct PassedOver(BTreeMap<String, Vec<PassedOverFor>>);

impl PassedOver {
    pub fn add(&mut self, backend: &Backend, why: PassedOverFor) {
        let Backend { provider_id, model, .. } = backend;
        self.add_named(format!("{provider_id}/{model}"), why);
    }

    /// Takes over what was passed over for another call of the request.
    pub fn absorb(&mut self, other: &mut Self) {
        for (backend, reasons) in std::mem::take(&mut other.0) {
            for why in reasons {
                self.add_named(backend.clone(), why);
            }
        }
    }

    fn add_named(&mut self, backend: String, why: PassedOverFor) {
        let reasons = self.0.entry(backend).or_default();
        // One that had no room, and failed when it had some, is passed over for another reason as well.
        if !reasons.contains(&why) {
            reasons.push(why);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is the newest reason for one of them.
    pub fn any_still_for(&self, why: PassedOverFor) -> bool {
        self.0.values().any(|reasons| reasons.last() == Some(&why))
    }

    /// As it is recorded.
    pub fn recorded(&self) -> BTreeMap<String, Vec<PassedOverFor>> {
        self.0.clone()
    }
}
