//! The fastest target comes first, mostly: of two that the bits of the request's id draw, the one whose answer is expected earlier, then
//! all others from the fastest on. If every node sent everything to the fastest one, it would be the slowest a moment later. A target
//! that nothing is known of counts as the fastest, and so is measured.

use super::draws::Draws;
use super::{Features, Figures, Ranked, lowest_first};
use crate::ids::RequestId;

pub const WHAT: &str = "microseconds";

pub fn rate(ranking: &mut [Ranked<'_>], features: &Features) {
    let tokens = features.output_tokens_expected();
    for ranked in ranking {
        let candidate = &ranked.candidate;
        ranked.figures = Figures { first: candidate.observed.expected_us(tokens), second: candidate.priority.into() };
    }
}

pub fn arrange(ranking: &mut [Ranked<'_>], request: Option<RequestId>) {
    lowest_first(ranking);
    better_of_two(ranking, request);
}

/// Moves the better one of two that are drawn to the front. Of two in all, that is the best.
pub fn better_of_two(ranking: &mut [Ranked<'_>], request: Option<RequestId>) {
    let (Some(request), count @ 3..) = (request, ranking.len() as u64) else { return };
    let mut draws = Draws::of(request);
    let first = draws.below(count);
    let other = draws.below(count - 1);
    let second = if other < first { other } else { other + 1 };
    let better = usize::try_from(first.min(second)).unwrap_or_default();
    ranking[..=better].rotate_right(1);
}
