use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::left_out::{BreakerOpen, CapAbove, FieldNotAllowed, NoPrice, NoProvider};
use super::*;
use crate::money::{GivenRates, NanoUsd, NanoUsdPerMtok, PromptBound};

fn candidate(priority: u32, weight: u32) -> Candidate<'static> {
    Candidate { priority, weight, ..Candidate::default() }
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
    let targets = [("one", 0, 1), ("six", 0, 6), ("three", 0, 3)];
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
fn a_target_without_weight_is_tried_after_all_others_of_its_priority() {
    let targets = [("spare", 0, 0), ("later", 1, 9), ("a", 0, 1), ("b", 0, 1)];
    assert!((0..200).all(|number| order(Strategy::Weighted, &targets, request(number))[2..] == ["spare", "later"]));
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
    let targets = [("one", 0, 1), ("last", 5, 9), ("six", 0, 6), ("three", 0, 3)];
    assert_eq!(order(Strategy::Weighted, &targets, None), ["six", "three", "one", "last"]);
}

/// But for draws of two, which are made among those that can serve.
#[test]
fn a_candidate_that_cannot_serve_does_not_change_the_order_of_the_others() {
    let drawn = |strategy: &Strategy| matches!(strategy, Strategy::Latency | Strategy::Balanced);
    for strategy in Strategy::ALL.iter().filter(|strategy| !drawn(strategy)) {
        for number in 0..100 {
            let features = Features { request: request(number), ..Features::default() };
            let all = [candidate(3, 1), candidate(1, 2), candidate(2, 3), candidate(1, 0)];
            let whole: Vec<_> = choose(*strategy, all, &features).tried().collect();
            assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), all.len(), "{strategy:?} loses some: {whole:?}");
            for without in 0..all.len() {
                let mut some = all;
                some[without].left_out = Some(LeftOut::NoPrice(NoPrice));
                let order = choose(*strategy, some, &features);
                let wanted: Vec<_> = whole.iter().copied().filter(|index| *index != without).collect();
                assert_eq!(order.tried().collect::<Vec<_>>(), wanted, "{strategy:?} without {without}");
                assert_eq!(order.left_out().collect::<Vec<_>>(), [(without, LeftOut::NoPrice(NoPrice))]);
            }
        }
    }
}

#[test]
fn an_order_explains_itself() {
    let name = |index: usize, f: &mut fmt::Formatter<'_>| f.write_str(["a", "b", "c", "d"][index]);
    let left_out = |why| Candidate { left_out: Some(why), ..candidate(9, 1) };
    let candidates = [
        candidate(1, 6),
        left_out(LeftOut::CapAbove(CapAbove { maximum: 100 })),
        candidate(1, 0),
        left_out(LeftOut::NoPrice(NoPrice)),
    ];
    let features = Features { request: Some(Uuid::from_u128(7).into()), ..Features::default() };
    assert_eq!(
        choose(Strategy::Priority, candidates, &features).explained(name).to_string(),
        "priority: a (priority 1), c (priority 1); left out: b (accepts at most 100 output tokens), d (no price in force)"
    );
    let drawn = choose(Strategy::Weighted, candidates, &features).explained(name).to_string();
    assert!(drawn.starts_with("weighted: a (weight 6), c (weight 0); left out: "), "{drawn}");
    let nobody = choose(
        Strategy::Priority,
        [left_out(LeftOut::NoProvider(NoProvider)), left_out(LeftOut::FieldNotAllowed(FieldNotAllowed))],
        &features,
    );
    assert_eq!(
        nobody.explained(name).to_string(),
        "priority; left out: a (no live provider for this tenant), b (a field changes the cost and is not allowed)"
    );
}

/// A random catalogue: figures are small, so that equals are frequent.
fn catalogue(draws: &mut impl FnMut(u64) -> u64) -> Vec<Target> {
    let one = |draws: &mut dyn FnMut(u64) -> u64| Target {
        priority: draws(3),
        weight: draws(4),
        quality: draws(3),
        input: draws(4),
        output: draws(4),
        has_price: draws(8) > 0,
        is_known: draws(4) > 0,
        first_token_us: 1 + draws(5) * 100,
        token_us: draws(3),
        in_flight: draws(3),
    };
    (0..1 + draws(8)).map(|_| one(draws)).collect()
}

struct Target {
    priority: u64,
    weight: u64,
    quality: u64,
    /// Dollars per million tokens.
    input: u64,
    output: u64,
    has_price: bool,
    is_known: bool,
    first_token_us: u64,
    token_us: u64,
    in_flight: u64,
}

impl Target {
    fn tariff(&self) -> Tariff {
        let price = |dollars: u64| {
            let nanos = i64::try_from(dollars * 1_000_000_000).expect("an amount");
            NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("a price")
        };
        Tariff::new(GivenRates::new(price(self.input), price(self.output)))
    }

    /// The cost by its definition: a dollar per million tokens is a thousand nano-dollars a token.
    fn nanos(&self, input_tokens: u64, output_tokens: u64) -> u64 {
        if self.has_price { 1000 * (self.input * input_tokens + self.output * output_tokens) } else { u64::MAX }
    }

    fn micros(&self, output_tokens: u64) -> u64 {
        if !self.is_known {
            return 15_000_000 * self.in_flight;
        }
        (self.first_token_us + self.token_us * output_tokens) * (self.in_flight + 1)
    }
}

/// Each strategy orders a catalogue by its definition in docs/routing.md.
/// Holds: admin.strategies
#[test]
fn each_strategy_orders_random_catalogues_by_its_definition() {
    let mut state = 1;
    let mut draws = |below: u64| {
        state = u64::wrapping_add(state, 0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 33) % below
    };
    for number in 0..100_000 {
        let targets = catalogue(&mut draws);
        let tariffs: Vec<Tariff> = targets.iter().map(Target::tariff).collect();
        let (input, cap) = (draws(2_000), if draws(2) == 0 { None } else { Some(1 + draws(2_000)) });
        // A cap that is lower than most answers, or 500 tokens.
        let output = if cap.is_some_and(|cap| cap < 500) { cap.expect("a cap") } else { 500 };
        let request = request(number).filter(|_| draws(10) > 0);
        let candidates: Vec<Candidate<'_>> = targets
            .iter()
            .zip(&tariffs)
            .map(|(target, tariff)| Candidate {
                priority: u32::try_from(target.priority).expect("small"),
                weight: u32::try_from(target.weight).expect("small"),
                quality: u32::try_from(target.quality).expect("small"),
                tariff: target.has_price.then_some(tariff),
                observed: Observed {
                    first_token_us: target.is_known.then_some(target.first_token_us),
                    token_us: target.token_us,
                    in_flight: u32::try_from(target.in_flight).expect("small"),
                },
                left_out: None,
            })
            .collect();
        let prompt = PromptBound { tokens: input, ..PromptBound::default() };
        let features = Features { request, prompt, choices: 1, output_tokens: cap };
        let order = |strategy| {
            let order = choose(strategy, candidates.iter().copied(), &features);
            let exact = |figures: RankFigures| figures.first < 1 << 53 && figures.second < 1 << 53;
            assert!((0..targets.len()).all(|index| order.figures(index).is_some_and(exact)), "JSON has no such number");
            order.tried().collect::<Vec<_>>()
        };
        let sorted = |key: &dyn Fn(&Target) -> (u64, u64)| {
            let mut indexes: Vec<usize> = (0..targets.len()).collect();
            indexes.sort_by_key(|index| key(&targets[*index]));
            indexes
        };
        assert_eq!(order(Strategy::Priority), sorted(&|target| (target.priority, 0)));
        let nanos = |target: &Target| target.nanos(input, output);
        assert_eq!(order(Strategy::Cost), sorted(&|target| (nanos(target), target.priority)));
        assert_eq!(order(Strategy::Quality), sorted(&|target| (100 - target.quality, nanos(target))));
        let by_latency = sorted(&|target| (target.micros(output), target.priority));
        is_the_better_of_two(&order(Strategy::Latency), &by_latency, request);
        // In thousandths, and at most a hundred times; one more in both, because the lowest may be nothing.
        let times = |figure: u64, lowest: u64| {
            u64::try_from((u128::from(figure) + 1) * 1000 / (u128::from(lowest) + 1))
                .map_or(100_000, |times| times.min(100_000))
        };
        let cheapest = targets.iter().map(nanos).min().expect("a target");
        let shortest = targets.iter().filter(|target| target.is_known).map(|target| target.micros(output)).min();
        let balance = |target: &Target| {
            let time =
                shortest.filter(|_| target.is_known).map_or(1000, |shortest| times(target.micros(output), shortest));
            times(nanos(target), cheapest) + time
        };
        let by_balance = sorted(&|target| (balance(target), target.priority));
        is_the_better_of_two(&order(Strategy::Balanced), &by_balance, request);
        // Whatever is drawn, the levels follow each other, and targets without a weight are the last of theirs.
        let weighted = order(Strategy::Weighted);
        assert!(weighted.is_sorted_by_key(|index| (targets[*index].priority, targets[*index].weight == 0)));
    }
}

/// The first one moves up from its place among the sorted ones, and is not the last of them: it won against another.
fn is_the_better_of_two(order: &[usize], sorted: &[usize], request: Option<RequestId>) {
    let moved = sorted.iter().position(|index| *index == order[0]).expect("it is one of them");
    let mut wanted = sorted.to_vec();
    wanted[..=moved].rotate_right(1);
    assert_eq!(order, wanted);
    let last = sorted.len() - 1;
    assert!(moved == 0 || request.is_some() && last > 1 && moved < last, "{order:?} of {sorted:?}");
}

#[test]
fn of_many_targets_each_but_the_slowest_is_tried_first_at_times_and_the_faster_ones_more_often() {
    let candidates = (0..4).map(|at| Candidate {
        observed: Observed { first_token_us: Some(1_000 * (at + 1)), ..Observed::default() },
        ..candidate(0, 1)
    });
    let candidates: Vec<_> = candidates.collect();
    for strategy in [Strategy::Latency, Strategy::Balanced] {
        for without in [None, Some(0), Some(3)] {
            let able: Vec<usize> = (0..4).filter(|at| without != Some(*at)).collect();
            let mut firsts = [0_u32; 4];
            for number in 0..12_000 {
                let features = Features { request: request(number), ..Features::default() };
                let mut candidates = candidates.clone();
                if let Some(without) = without {
                    candidates[without].left_out = Some(LeftOut::BreakerOpen(BreakerOpen));
                }
                let order = choose(strategy, candidates, &features);
                firsts[order.tried().next().expect("a target")] += 1;
            }
            // Of the six pairs of four, the fastest is in three, the next one is the better of two, and so on; of three, two and one.
            let expected: &[u32] = if able.len() == 4 { &[6_000, 4_000, 2_000, 0] } else { &[8_000, 4_000, 0] };
            for (at, expected) in able.into_iter().zip(expected) {
                assert!(firsts[at].abs_diff(*expected) < 250, "{strategy:?} without {without:?}: {firsts:?}");
            }
        }
    }
}

#[test]
fn weights_of_one_priority_are_met_within_a_percent() {
    let targets = [("one", 0, 1), ("six", 0, 6), ("three", 0, 3), ("spare", 1, 90)];
    let mut firsts: BTreeMap<&str, u32> = BTreeMap::new();
    for number in 0..100_000 {
        *firsts.entry(order(Strategy::Weighted, &targets, request(number))[0]).or_default() += 1;
    }
    for (name, expected) in [("one", 10_000_u32), ("six", 60_000), ("three", 30_000)] {
        assert!(firsts[name].abs_diff(expected) < 1_000, "{firsts:?}");
    }
}

/// The figures are how the log shows the order of a request.
#[test]
fn the_figures_alone_give_the_order_again() {
    for strategy in Strategy::ALL {
        for number in 0..1_000 {
            let observed = |micros| Observed { first_token_us: Some(micros), ..Observed::default() };
            let all = [(3, 1, 7), (1, 2, 5), (1, 0, 9), (2, 3, 5)].map(|(priority, weight, first_token_us)| {
                Candidate { observed: observed(first_token_us), ..candidate(priority, weight) }
            });
            let features = Features { request: request(number), ..Features::default() };
            let order = choose(*strategy, all, &features);
            let figures = |index| order.figures(index).expect("a candidate");
            let recorded = (0..all.len()).map(|index| (Candidate::default(), figures(index)));
            let again = choose_again(*strategy, recorded, request(number).expect("an id"));
            assert_eq!(again.tried().collect::<Vec<_>>(), order.tried().collect::<Vec<_>>(), "{strategy:?}");
        }
    }
}
