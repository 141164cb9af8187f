//! The lowest number first. Candidates of one number keep the order in which they were given.

use super::{Features, Place, Reason};

pub fn arrange(places: &mut [Place<'_>], _: &Features) {
    for place in places.iter_mut() {
        place.reason = Reason { what: "priority", figure: place.candidate.priority.into() };
    }
    places.sort_by_key(|place| place.candidate.priority);
}
