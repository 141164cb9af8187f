//! Each target gets the share of first tries that its weight is of all weights of its priority; what is left of them is drawn for the
//! second try, and so on. Targets of a higher priority number come after all of a lower one. A target without a weight is tried after
//! the others of its priority. The bits of the request's id draw, so that the log shows the order of each request.

use std::cmp::Reverse;

use super::draws::Draws;
use super::{Features, MeasuredFigure, RankFigures, Ranked};
use crate::ids::RequestId;

pub const WHAT: &str = "weight";
pub const MEASURED: MeasuredFigure = MeasuredFigure::None;

pub fn rate(ranking: &mut [Ranked<'_>], _: &Features) {
    for ranked in ranking {
        let candidate = &ranked.candidate;
        ranked.figures = RankFigures { first: candidate.weight.into(), second: candidate.priority.into() };
    }
}

pub fn arrange(ranking: &mut [Ranked<'_>], request: Option<RequestId>) {
    ranking.sort_by_key(|ranked| ranked.figures.second);
    let mut draws = request.map(Draws::of);
    for level in ranking.chunk_by_mut(|a, b| a.figures.second == b.figures.second) {
        match &mut draws {
            None => level.sort_by_key(|ranked| Reverse(ranked.figures.first)),
            Some(draws) => draw(level, draws),
        }
    }
}

fn draw(level: &mut [Ranked<'_>], draws: &mut Draws) {
    level.sort_by_key(|ranked| ranked.figures.first == 0);
    let with_weight = level.partition_point(|ranked| ranked.figures.first > 0);
    for first in 0..with_weight {
        let left = &mut level[first..with_weight];
        let total = left.iter().map(|ranked| ranked.figures.first).fold(0, u64::saturating_add);
        let mut point = draws.below(total);
        let hit = left.iter_mut().position(|ranked| {
            let weight = ranked.figures.first;
            let is_hit = point < weight;
            point = point.saturating_sub(weight);
            is_hit
        });
        // The targets in front of it keep their order.
        left[..=hit.unwrap_or_default()].rotate_right(1);
    }
}
