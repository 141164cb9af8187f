//! The target with the lowest priority comes first; targets of one priority keep the order that administration gave them.

use super::{Features, MeasuredFigure, RankFigures, Ranked, lowest_first};
use crate::ids::RequestId;

pub const WHAT: &str = "priority";
pub const MEASURED: MeasuredFigure = MeasuredFigure::None;

pub fn rate(ranking: &mut [Ranked<'_>], _: &Features) {
    for ranked in ranking {
        ranked.figures = RankFigures { first: ranked.candidate.priority.into(), second: 0 };
    }
}

pub fn arrange(ranking: &mut [Ranked<'_>], _: Option<RequestId>) {
    lowest_first(ranking);
}
