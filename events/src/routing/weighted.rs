//! A random order for each request: targets are drawn one after the other, each by its share of the remaining weights.
//! Targets without weight come last. For no request in particular, the highest weight comes first.

use std::cmp::Reverse;

use super::{Features, Ranked, Reason};
use crate::ids::RequestId;

pub fn arrange(ranking: &mut [Ranked<'_>], features: &Features) {
    for ranked in ranking.iter_mut() {
        ranked.reason = Reason { what: "weight", figure: ranked.candidate.weight.into() };
    }
    match features.request {
        None => ranking.sort_by_key(|ranked| Reverse(ranked.candidate.weight)),
        Some(request) => draw(ranking, Draws::of(request)),
    }
}

fn draw(ranking: &mut [Ranked<'_>], mut draws: Draws) {
    ranking.sort_by_key(|ranked| ranked.candidate.weight == 0);
    let with_weight = ranking.partition_point(|ranked| ranked.candidate.weight > 0);
    for first in 0..with_weight {
        let left = &mut ranking[first..with_weight];
        let total = left.iter().map(|ranked| u64::from(ranked.candidate.weight)).sum();
        let mut point = draws.below(total);
        let hit = left.iter_mut().position(|ranked| {
            let weight = u64::from(ranked.candidate.weight);
            let is_hit = point < weight;
            point = point.saturating_sub(weight);
            is_hit
        });
        // The targets in front of it keep their order.
        left[..=hit.unwrap_or_default()].rotate_right(1);
    }
}

/// Pseudo-random numbers seeded by an id: splitmix64, <https://prng.di.unimi.it/splitmix64.c>.
struct Draws(u64);

impl Draws {
    fn of(request: RequestId) -> Self {
        let (high, low) = request.uuid().as_u64_pair();
        Self(high ^ low)
    }

    /// A number below `bound`, which is not zero. Weights are so small that the modulo's bias is negligible.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
