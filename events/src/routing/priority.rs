//! The lowest priority number first. Candidates with the same number keep the order of the input.

use super::{Features, Place, Reason};

pub fn arrange(places: &mut [Place<'_>], _: &Features) {
    for place in places.iter_mut() {
        place.reason = Reason { what: "priority", figure: place.candidate.priority.into() };
    }
    places.sort_by_key(|place| place.candidate.priority);
}
