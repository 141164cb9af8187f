//! The fastest target comes first, mostly: of two that can serve and that the bits of the request's id draw, the one whose answer is
//! expected earlier, then all others from the fastest on. If every node sent everything to the fastest one, it would be the slowest
//! a moment later.

use super::draws::Draws;
use super::{Features, MeasuredFigure, RankFigures, Ranked, lowest_first};
use crate::ids::RequestId;

pub const WHAT: &str = "expected time";
pub const MEASURED: MeasuredFigure = MeasuredFigure::First;

pub fn rate(ranking: &mut [Ranked<'_>], features: &Features) {
    let tokens = features.output_tokens_expected();
    for ranked in ranking {
        let candidate = &ranked.candidate;
        ranked.figures =
            RankFigures { first: candidate.observed.expected_us(tokens), second: candidate.priority.into() };
    }
}

pub fn arrange(ranking: &mut [Ranked<'_>], request: Option<RequestId>) {
    lowest_first(ranking);
    better_of_two(ranking, request);
}

/// Moves the better one of two to the front that are drawn among those that can serve. Of two in all, that is the best.
pub fn better_of_two(ranking: &mut [Ranked<'_>], request: Option<RequestId>) {
    let can_serve = |(_, ranked): &(usize, &Ranked<'_>)| ranked.candidate.left_out.is_none();
    let count = ranking.iter().enumerate().filter(can_serve).count() as u64;
    let (Some(request), 3..) = (request, count) else { return };
    let mut draws = Draws::of(request);
    let first = draws.below(count);
    let other = draws.below(count - 1);
    let second = if other < first { other } else { other + 1 };
    let better = usize::try_from(first.min(second)).unwrap_or_default();
    let at = ranking.iter().enumerate().filter(can_serve).nth(better).map_or(0, |(at, _)| at);
    ranking[..=at].rotate_right(1);
}
