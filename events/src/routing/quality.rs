//! The target with the operator's highest score comes first; of equals, the cheapest for this request.

use std::cmp::Reverse;

use super::{Features, MeasuredFigure, RankFigures, Ranked, cost};
use crate::ids::RequestId;

pub const WHAT: &str = "quality";
pub const MEASURED: MeasuredFigure = MeasuredFigure::Second;

pub fn rate(ranking: &mut [Ranked<'_>], features: &Features) {
    for ranked in ranking {
        let second = cost::expected_nanos(&ranked.candidate, features).unwrap_or(u64::MAX);
        ranked.figures = RankFigures { first: ranked.candidate.quality.into(), second };
    }
}

pub fn arrange(ranking: &mut [Ranked<'_>], _: Option<RequestId>) {
    ranking.sort_by_key(|ranked| (Reverse(ranked.figures.first), ranked.figures.second));
}
