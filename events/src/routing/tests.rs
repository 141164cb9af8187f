use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::*;
use crate::money::{CostLine, GivenRates, NanoUsd, NanoUsdPerMtok, PromptBound};

fn candidate(priority: u32, weight: u32) -> Candidate<'static> {
    Candidate { priority, weight, tariff: None, left_out: None }
}

/// Orders targets given as names, priorities and weights, and returns the names.
fn order(strategy: Strategy, targets: &[(&'static str, u32, u32)], request: Option<RequestId>) -> Vec<&'static str> {
    let candidates = targets.iter().map(|(_, priority, weight)| candidate(*priority, *weight));
    let order = choose(strategy, candidates, &Features { request, ..Features::default() });
    order.tried().map(|index| targets[index].0).collect()
}

/// Ids as they are made: here a constant time, followed by random bits.
fn request(number: u64) -> Option<RequestId> {
    let entropy = u128::from(number.wrapping_mul(0x2545_f491_4f6c_dd1d)).to_be_bytes();
    let entropy: [u8; 10] = entropy[6..].try_into().expect("ten bytes");
    Some(uuid::Builder::from_unix_timestamp_millis(1_790_000_000_000, &entropy).into_uuid().into())
}

/// Holds: admin.strategies
#[test]
fn the_lowest_number_comes_first_and_equals_keep_their_order() {
    let targets = [("c", 2, 9), ("a", 1, 0), ("b", 1, 5)];
    assert_eq!(order(Strategy::Priority, &targets, request(1)), ["a", "b", "c"]);
}

/// Holds: admin.strategies
#[test]
fn weights_are_shares_of_the_first_try_and_of_the_second() {
    let targets = [("one", 0, 1), ("six", 5, 6), ("three", 9, 3)];
    let mut seen: BTreeMap<Vec<&str>, u32> = BTreeMap::new();
    for number in 0..20_000 {
        *seen.entry(order(Strategy::Weighted, &targets, request(number))).or_default() += 1;
    }
    let count = |order: [&'static str; 3]| seen[&order.to_vec()];
    // Six of ten first, then three of the four that are left: 45 %; four standard deviations are 280.
    let (expected, found) = (9_000, count(["six", "three", "one"]));
    assert!(found.abs_diff(expected) < 300, "{found} instead of about {expected}");
    // One of ten, then three of nine: 3.3 %; four standard deviations are 102.
    let (expected, found) = (667, count(["one", "three", "six"]));
    assert!(found.abs_diff(expected) < 110, "{found} instead of about {expected}");
}

/// The draw for an id must never change: orders are reconstructed from the log.
#[test]
fn an_id_draws_the_order_that_it_always_drew() {
    let targets = [("a", 0, 5), ("spare", 0, 0), ("b", 0, 3), ("c", 0, 2), ("d", 0, 7), ("none", 0, 0)];
    let drawn: Vec<String> =
        (0..6).map(|number| order(Strategy::Weighted, &targets, request(number)).join(" ")).collect();
    assert_eq!(
        drawn,
        [
            "d c b a spare none", "d a b c spare none", "d a b c spare none", "d b a c spare none",
            "d a b c spare none", "d a c b spare none",
        ]
    );
}

#[test]
fn a_target_without_weight_is_tried_after_all_others() {
    let targets = [("spare", 0, 0), ("a", 0, 1), ("b", 0, 1)];
    assert!((0..200).all(|number| order(Strategy::Weighted, &targets, request(number))[2] == "spare"));
}

#[test]
fn one_request_has_one_order() {
    let targets = [("a", 0, 1), ("b", 0, 1), ("c", 0, 1)];
    assert!((0..200).all(|number| {
        order(Strategy::Weighted, &targets, request(number)) == order(Strategy::Weighted, &targets, request(number))
    }));
}

/// Holds: admin.strategies
#[test]
fn the_target_that_most_requests_try_first_comes_first() {
    let targets = [("c", 2, 9), ("a", 1, 0), ("b", 1, 5)];
    assert_eq!(order(Strategy::Priority, &targets, None), ["a", "b", "c"]);
    let targets = [("one", 0, 1), ("six", 5, 6), ("three", 9, 3)];
    assert_eq!(order(Strategy::Weighted, &targets, None), ["six", "three", "one"]);
}

#[test]
fn a_candidate_that_cannot_serve_does_not_change_the_order_of_the_others() {
    for (_, strategy) in Strategy::NAMED {
        for number in 0..100 {
            let features = Features { request: request(number), ..Features::default() };
            let all = [candidate(3, 1), candidate(1, 2), candidate(2, 3), candidate(1, 0)];
            let whole: Vec<_> = choose(*strategy, all, &features).tried().collect();
            assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), all.len(), "{strategy:?} loses some: {whole:?}");
            for without in 0..all.len() {
                let mut some = all;
                some[without].left_out = Some(LeftOut::NoPrice);
                let order = choose(*strategy, some, &features);
                let wanted: Vec<_> = whole.iter().copied().filter(|index| *index != without).collect();
                assert_eq!(order.tried().collect::<Vec<_>>(), wanted, "{strategy:?} without {without}");
                assert_eq!(order.left_out().collect::<Vec<_>>(), [(without, LeftOut::NoPrice)]);
            }
        }
    }
}

#[test]
fn an_order_explains_itself() {
    let name = |index: usize, f: &mut fmt::Formatter<'_>| f.write_str(["a", "b", "c", "d"][index]);
    let left_out = |why| Candidate { left_out: Some(why), ..candidate(9, 1) };
    let candidates =
        [candidate(2, 6), left_out(LeftOut::CapAbove { maximum: 100 }), candidate(1, 0), left_out(LeftOut::NoPrice)];
    let features = Features { request: Some(Uuid::from_u128(7).into()), ..Features::default() };
    assert_eq!(
        choose(Strategy::Priority, candidates, &features).explained(name).to_string(),
        "priority: c (priority 1), a (priority 2); left out: b (accepts at most 100 output tokens), d (no price in force)"
    );
    let drawn = choose(Strategy::Weighted, candidates, &features).explained(name).to_string();
    assert!(drawn.starts_with("weighted: a (weight 6), c (weight 0); left out: "), "{drawn}");
    let nobody =
        choose(Strategy::Priority, [left_out(LeftOut::NoProvider), left_out(LeftOut::FieldNotAllowed)], &features);
    assert_eq!(
        nobody.explained(name).to_string(),
        "priority; left out: a (no live provider for this tenant), b (a field changes the cost and is not allowed)"
    );
}

/// A strategy gets enough to order by prices and by the request.
#[test]
fn a_strategy_can_order_by_what_a_request_costs_at_most() {
    let price = |nanos| NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("a price");
    let tariff = |input, output| Tariff::new(GivenRates::new(price(input), price(output)));
    fn cheapest(ranking: &mut [Ranked<'_>], features: &Features) {
        let bound = |candidate: &Candidate<'_>| {
            let prompt = PromptBound { tokens: features.input_tokens, ..PromptBound::default() };
            let line = CostLine::of(candidate.tariff?, prompt, 1)?;
            line.at(features.output_tokens.unwrap_or(features.input_tokens))
        };
        ranking.sort_by_key(|ranked| bound(&ranked.candidate).map_or((true, NanoUsd::ZERO), |bound| (false, bound)));
    }
    let (reads_cheaply, writes_cheaply) = (tariff(1_000_000_000, 9_000_000_000), tariff(5_000_000_000, 6_000_000_000));
    let priced = |tariff| Candidate { tariff: Some(tariff), ..candidate(0, 1) };
    let candidates = [candidate(0, 1), priced(&writes_cheaply), priced(&reads_cheaply)];
    for (input_tokens, output_tokens, wanted) in [(1_000, Some(10), [2, 1, 0]), (10, Some(1_000), [1, 2, 0])] {
        let features = Features { request: None, input_tokens, output_tokens };
        let mut ranking = ranked(candidates);
        cheapest(&mut ranking, &features);
        assert_eq!(ranking.iter().map(|ranked| ranked.index).collect::<Vec<_>>(), wanted);
    }
}
