//! In which order a model's targets are tried. Pure: what is drawn follows from the request's id, so that the order can
//! be told from the log, and is the same however often it is asked for.

use events::event::admin::{Model, Strategy, Target};
use events::ids::RequestId;
use projections::tables::usual_order;

/// The targets as this request tries them.
pub fn of_request(model: &Model, request: RequestId) -> Vec<&Target> {
    match model.strategy {
        Strategy::Priority => usual_order(model),
        Strategy::Weighted => drawn(&model.targets, Draws::of(request)),
    }
}

/// One after the other, each by its share of the weights that are left; what has no weight comes last.
fn drawn(targets: &[Target], mut draws: Draws) -> Vec<&Target> {
    let (mut left, without): (Vec<&Target>, Vec<&Target>) = targets.iter().partition(|target| target.weight > 0);
    let mut order = Vec::with_capacity(targets.len());
    while !left.is_empty() {
        let total = left.iter().map(|target| u64::from(target.weight)).sum();
        let mut point = draws.below(total);
        let at = left.iter().position(|target| {
            let weight = u64::from(target.weight);
            let is_hit = point < weight;
            point = point.saturating_sub(weight);
            is_hit
        });
        order.push(left.remove(at.unwrap_or_default()));
    }
    order.extend(without);
    order
}

/// Numbers that follow from an id: splitmix64, <https://prng.di.unimi.it/splitmix64.c>.
struct Draws(u64);

impl Draws {
    fn of(request: RequestId) -> Self {
        let (high, low) = request.uuid().as_u64_pair();
        Self(high ^ low)
    }

    /// Below `bound`, which is not zero. Weights are so small that the remainder favours none of them noticeably.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;

    fn target(name: &str, priority: u32, weight: u32) -> Target {
        Target {
            provider_id: Uuid::from_u128(1).into(),
            model: name.to_owned(),
            priority,
            weight,
            context_window: None,
            max_output_tokens: None,
            default_max_output_tokens: None,
            tokenizer: None,
        }
    }

    fn model(strategy: Strategy, targets: Vec<Target>) -> Model {
        let model_id = Uuid::from_u128(2).into();
        Model { model_id, name: "m".to_owned(), strategy, targets, system_prefix: None, tenant_id: None }
    }

    fn names(targets: &[&Target]) -> Vec<String> {
        targets.iter().map(|target| target.model.clone()).collect()
    }

    /// Ids as they are made: a time that stands still, and then what is random.
    fn request(number: u64) -> RequestId {
        let entropy = u128::from(number.wrapping_mul(0x2545_f491_4f6c_dd1d)).to_be_bytes();
        let entropy: [u8; 10] = entropy[6..].try_into().expect("ten bytes");
        uuid::Builder::from_unix_timestamp_millis(1_790_000_000_000, &entropy).into_uuid().into()
    }

    /// Holds: admin.strategies
    #[test]
    fn the_lowest_number_comes_first_and_equals_keep_their_order() {
        let model = model(Strategy::Priority, vec![target("c", 2, 9), target("a", 1, 0), target("b", 1, 5)]);
        assert_eq!(names(&of_request(&model, request(1))), ["a", "b", "c"]);
    }

    /// Holds: admin.strategies
    #[test]
    fn weights_are_shares_of_the_first_try_and_of_the_second() {
        let model = model(Strategy::Weighted, vec![target("one", 0, 1), target("six", 5, 6), target("three", 9, 3)]);
        let mut seen: BTreeMap<Vec<String>, u32> = BTreeMap::new();
        for number in 0..20_000 {
            *seen.entry(names(&of_request(&model, request(number)))).or_default() += 1;
        }
        let count = |order: [&str; 3]| seen[&order.map(str::to_owned).to_vec()];
        // Six of ten first, then three of the four that are left: 45 %; four standard deviations are 280.
        let (expected, found) = (9_000, count(["six", "three", "one"]));
        assert!(found.abs_diff(expected) < 300, "{found} instead of about {expected}");
        // One of ten, then three of nine: 3.3 %; four standard deviations are 102.
        let (expected, found) = (667, count(["one", "three", "six"]));
        assert!(found.abs_diff(expected) < 110, "{found} instead of about {expected}");
    }

    #[test]
    fn what_has_no_weight_is_tried_when_all_others_failed() {
        let model = model(Strategy::Weighted, vec![target("spare", 0, 0), target("a", 0, 1), target("b", 0, 1)]);
        assert!((0..200).all(|number| names(&of_request(&model, request(number)))[2] == "spare"));
    }

    #[test]
    fn one_request_has_one_order() {
        let model = model(Strategy::Weighted, vec![target("a", 0, 1), target("b", 0, 1), target("c", 0, 1)]);
        assert!((0..200).all(|number| {
            names(&of_request(&model, request(number))) == names(&of_request(&model, request(number)))
        }));
    }
}
