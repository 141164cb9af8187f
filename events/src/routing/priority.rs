//! The lowest priority number first. Candidates with the same number keep the order of the input.

use super::{Features, Ranked, Reason};

pub fn arrange(ranking: &mut [Ranked<'_>], _: &Features) {
    for ranked in ranking.iter_mut() {
        ranked.reason = Reason { what: "priority", figure: ranked.candidate.priority.into() };
    }
    ranking.sort_by_key(|ranked| ranked.candidate.priority);
}
