//! Cost and speed together: a target's cost as a multiple of the cheapest one's, plus its expected time as a multiple of the shortest one,
//! in thousandths. The lowest sum comes first, mostly: of two that are drawn as by `latency`, the one with the lower sum. Only targets that can
//! serve are compared. One of which nothing is known counts as the fastest: its cost decides whether it is measured.

use super::{Features, MeasuredFigure, RankFigures, Ranked, cost, latency, lowest_first};
use crate::ids::RequestId;

pub const WHAT: &str = "cost and time";
pub const MEASURED: MeasuredFigure = MeasuredFigure::First;

/// A ratio above this counts as this, so that one figure alone cannot decide for ever.
const RATIO_MAX: u64 = 100_000;

pub fn rate(ranking: &mut [Ranked<'_>], features: &Features) {
    let tokens = features.output_tokens_expected();
    let (mut cheapest, mut shortest) = (u64::MAX, u64::MAX);
    for ranked in ranking.iter_mut() {
        let observed = ranked.candidate.observed;
        let nanos = cost::expected_nanos(&ranked.candidate, features).unwrap_or(u64::MAX);
        // Nothing known: the shortest, whatever that is.
        let micros = if observed.first_token_us.is_none() { 0 } else { observed.expected_us(tokens) };
        if ranked.candidate.left_out.is_none() {
            cheapest = cheapest.min(nanos);
            shortest = if micros == 0 { shortest } else { shortest.min(micros) };
        }
        ranked.figures = RankFigures { first: nanos, second: micros };
    }
    for ranked in ranking {
        let RankFigures { first: nanos, second: micros } = ranked.figures;
        let first = ratio(nanos, cheapest) + ratio(micros.max(shortest), shortest);
        ranked.figures = RankFigures { first, second: ranked.candidate.priority.into() };
    }
}

/// In thousandths. One more in both, because the lowest may be nothing.
fn ratio(figure: u64, lowest: u64) -> u64 {
    // Nearly all figures are small enough for a division of 64 bits, which is an instruction; one of 128 bits is a call.
    let small = figure.checked_add(1).and_then(|figure| figure.checked_mul(1000)).zip(lowest.checked_add(1));
    if let Some((thousandths, lowest)) = small {
        return (thousandths / lowest).min(RATIO_MAX);
    }
    let ratio = (u128::from(figure) + 1) * 1000 / (u128::from(lowest) + 1);
    u64::try_from(ratio).unwrap_or(RATIO_MAX).min(RATIO_MAX)
}

pub fn arrange(ranking: &mut [Ranked<'_>], request: Option<RequestId>) {
    lowest_first(ranking);
    latency::better_of_two(ranking, request);
}
