//! The cheapest target comes first: by the prices in force, for the estimated prompt of this request and an answer that is no longer
//! than most are. Of equals, the lowest priority.

use super::{Candidate, Features, MeasuredFigure, RankFigures, Ranked};
use crate::money::CostLine;

pub use super::priority::arrange;

pub const WHAT: &str = "expected cost";
pub const MEASURED: MeasuredFigure = MeasuredFigure::First;

pub fn rate(ranking: &mut [Ranked<'_>], features: &Features) {
    for ranked in ranking {
        let first = expected_nanos(&ranked.candidate, features).unwrap_or(u64::MAX);
        ranked.figures = RankFigures { first, second: ranked.candidate.priority.into() };
    }
}

/// The expected cost of the request there, in nano-dollars; `None` without a price.
pub fn expected_nanos(candidate: &Candidate<'_>, features: &Features) -> Option<u64> {
    let line = CostLine::of(candidate.tariff?, features.prompt, features.choices.max(1))?;
    u64::try_from(line.at(features.output_tokens_expected())?.nanos()).ok()
}
