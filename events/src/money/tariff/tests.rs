use proptest::prelude::*;

use super::super::{CostLine, PriceTier};
use super::*;

/// The most that a prompt within its bound and this output cost.
fn bound(tariff: &Tariff, prompt: PromptBound, output: u64) -> Option<NanoUsd> {
    CostLine::of(tariff, prompt, 1)?.at(output)
}

fn price(nanos: i64) -> NanoUsdPerMtok {
    NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("a price")
}

/// Classes at different prices, in nano-dollars per million tokens.
fn tariff([input, output, cache_read, cache_write, reasoning]: [i64; 5], request: i64) -> Tariff {
    let given = GivenRates::new(price(input), price(output))
        .with(TokenRate::CacheRead, price(cache_read))
        .with(TokenRate::CacheWrite, price(cache_write))
        .with(TokenRate::Reasoning, price(reasoning));
    Tariff::new(GivenRates { request: Some(NanoUsd::new(request)), ..given })
}

fn sparse(rates: &[(TokenRate, i64)]) -> TokenRates {
    rates.iter().fold(TokenRates::default(), |all, (rate, nanos)| all.with(*rate, price(*nanos)))
}

fn tier(above: Option<u64>, service_tier: Option<ServiceTier>, rates: &[(TokenRate, i64)]) -> PriceTier {
    PriceTier { above_input_tokens: above, service_tier, rates: sparse(rates) }
}

fn tiered(given: GivenRates, tiers: &[PriceTier]) -> Tariff {
    Tariff::new(GivenRates { tiers: Tiers::new(tiers.to_vec()).expect("tiers"), ..given })
}

const fn prompt(tokens: u64) -> PromptBound {
    PromptBound { tokens, images: 0, service_tier: None }
}

#[test]
fn every_class_has_its_price_and_the_sum_is_rounded_up_once() {
    let millions = |[input, output, cache_read, cache_write, reasoning]: [u64; 5]| TokenClasses {
        input_uncached_tokens: input * 1_000_000,
        input_cache_read_tokens: cache_read * 1_000_000,
        input_cache_write_tokens: cache_write * 1_000_000,
        output_text_tokens: output * 1_000_000,
        output_reasoning_tokens: reasoning * 1_000_000,
        ..TokenClasses::default()
    };
    let dear = tariff([1, 20, 300, 4_000, 50_000], 600_000);
    let cost = |tariff: &Tariff, tokens: &TokenClasses| tariff.cost(tokens, None);
    assert_eq!(cost(&dear, &millions([1, 2, 3, 4, 5])), Some(NanoUsd::new(1 + 40 + 900 + 16_000 + 250_000 + 600_000)));
    assert_eq!(cost(&dear, &TokenClasses::default()), Some(NanoUsd::new(600_000)));
    let cheap = tariff([400_000, 500_000, 0, 0, 0], 0);
    for (output, wanted) in [(0, 1), (1, 1), (2, 2)] {
        let tokens = TokenClasses { input_uncached_tokens: 1, output_text_tokens: output, ..Default::default() };
        assert_eq!(cost(&cheap, &tokens), Some(NanoUsd::new(wanted)), "0.4 and {output} times 0.5");
    }
}

#[test]
fn media_and_units_have_their_prices() {
    let given = GivenRates::new(price(1), price(2))
        .with(TokenRate::InputAudio, price(3))
        .with(TokenRate::CacheReadAudio, price(5))
        .with(TokenRate::OutputAudio, price(7))
        .with(TokenRate::InputImage, price(11))
        .with(TokenRate::CacheReadImage, price(13))
        .with(TokenRate::OutputImage, price(17))
        .with(TokenRate::Citation, price(19));
    let (input_image, search) = (Some(NanoUsd::new(100)), Some(NanoUsd::new(1_000)));
    let tariff = Tariff::new(GivenRates { input_image, search, ..given });
    let million = 1_000_000;
    let tokens = TokenClasses {
        input_audio_tokens: million,
        input_cache_read_audio_tokens: 2 * million,
        output_audio_tokens: 3 * million,
        input_image_tokens: 4 * million,
        input_cache_read_image_tokens: 5 * million,
        output_image_tokens: 6 * million,
        citation_tokens: 7 * million,
        searches: 8,
        input_images: 9,
        ..TokenClasses::default()
    };
    let wanted = 3 + 2 * 5 + 3 * 7 + 4 * 11 + 5 * 13 + 6 * 17 + 7 * 19 + 8 * 1_000 + 9 * 100;
    assert_eq!(tariff.cost(&tokens, None), Some(NanoUsd::new(wanted)));
    assert!(tariff.bills_images());
}

#[test]
fn each_lifetime_of_a_cache_has_its_price_and_an_unknown_one_the_dearest() {
    let given = GivenRates::new(price(1_000_000), price(0))
        .with(TokenRate::CacheWrite, price(2_000_000))
        .with(TokenRate::CacheWrite1h, price(3_000_000))
        .with(TokenRate::CacheWrite30m, price(9_000_000));
    let tariff = Tariff::new(given);
    for (by_lifetime, wanted) in [
        (vec![], 20),
        (vec![("5m", 10)], 20),
        (vec![("1h", 10)], 30),
        (vec![("30m", 10)], 90),
        // Without a price of its own.
        (vec![("12h", 10)], 20),
        (vec![("24h", 10)], 90),
        (vec![("5m", 1), ("1h", 2), ("", 3), ("30m", 4)], 2 + 6 + 27 + 36),
        // What no lifetime explains.
        (vec![("1h", 4)], 12 + 12),
    ] {
        let tokens = TokenClasses {
            input_cache_write_tokens: 10,
            input_cache_write_by_ttl: by_lifetime.iter().map(|(ttl, tokens)| ((*ttl).to_owned(), *tokens)).collect(),
            ..TokenClasses::default()
        };
        assert_eq!(tariff.cost(&tokens, None), Some(NanoUsd::new(wanted)), "{by_lifetime:?}");
    }
}

#[test]
fn the_tier_with_most_conditions_prices_a_request_and_the_rest_is_of_those_with_fewer() {
    use ServiceTier::{Batch, Flex, Priority};
    use TokenRate::{CacheRead, Input, Output};
    let given = GivenRates::new(price(10), price(100)).with(CacheRead, price(1));
    let tariff = tiered(
        given,
        &[
            tier(Some(200), None, &[(Input, 20)]),
            tier(Some(500), None, &[(Input, 30), (Output, 300)]),
            tier(None, Some(Flex), &[(Input, 5), (Output, 50)]),
            tier(Some(500), Some(Flex), &[(Input, 15)]),
            tier(None, Some(Priority), &[(Input, 25), (CacheRead, 3)]),
        ],
    );
    for (prompt, service_tier, [input, output, cache_read]) in [
        (0, None, [10, 100, 1]),
        (200, None, [10, 100, 1]),
        (201, None, [20, 100, 1]),
        (500, None, [20, 100, 1]),
        // Of lengths only one applies, and the rest is of the base.
        (501, None, [30, 300, 1]),
        (200, Some(Flex), [5, 50, 1]),
        // Of two tiers with one condition each, the dearer price.
        (201, Some(Flex), [20, 50, 1]),
        (501, Some(Flex), [15, 300, 1]),
        (200, Some(Priority), [25, 100, 3]),
        (201, Some(Priority), [25, 100, 3]),
        (501, Some(Priority), [30, 300, 3]),
        // A tier that the price does not have.
        (200, Some(Batch), [10, 100, 1]),
        (501, Some(Batch), [30, 300, 1]),
    ] {
        let rates = tariff.rates_for(prompt, service_tier);
        let of = [rates.of(Input), rates.of(Output), rates.of(CacheRead)];
        assert_eq!(of, [price(input), price(output), price(cache_read)], "{prompt} {service_tier:?}");
    }
}

/// A class that no price names follows the one that the tier names.
#[test]
fn what_the_base_leaves_out_follows_the_prices_of_the_tier() {
    let flex = Some(ServiceTier::Flex);
    let tariff = tiered(GivenRates::new(price(10), price(100)), &[tier(None, flex, &[(TokenRate::Input, 5)])]);
    let rates = tariff.rates_for(1, flex);
    assert_eq!([TokenRate::CacheRead, TokenRate::InputAudio].map(|rate| rates.of(rate)), [price(5); 2]);
    assert_eq!(rates.of(TokenRate::Reasoning), price(100));
}

#[test]
fn the_whole_prompt_decides_of_whatever_classes() {
    let tariff =
        tiered(GivenRates::new(price(1_000_000), price(0)), &[tier(Some(10), None, &[(TokenRate::Input, 2_000_000)])]);
    let used = |audio| TokenClasses {
        input_uncached_tokens: 4,
        input_cache_read_tokens: 3,
        input_audio_tokens: audio,
        output_text_tokens: 50,
        ..TokenClasses::default()
    };
    assert_eq!(tariff.cost(&used(3), None), Some(NanoUsd::new(10)));
    assert_eq!(tariff.cost(&used(4), None), Some(NanoUsd::new(22)));
}

#[test]
fn the_bound_is_the_cost_of_everything_in_the_most_expensive_class() {
    // The most expensive input is uncached, read from the cache, written to it; the most expensive output is text,
    // reasoning.
    for of in [[3, 7, 1, 2, 5], [1, 5, 3, 2, 7], [1, 7, 2, 3, 5]] {
        let bound = bound(&tariff(of, 11), prompt(2_000_000), 4_000_000);
        assert_eq!(bound, Some(NanoUsd::new(2 * 3 + 4 * 7 + 11)), "{of:?}");
    }
    for rate in TokenRate::ALL {
        let given = GivenRates::new(price(3), price(7)).with(*rate, price(9));
        let [input, output] = match rate {
            TokenRate::Input | TokenRate::Output => continue,
            TokenRate::Reasoning | TokenRate::OutputAudio | TokenRate::OutputImage => [3, 9],
            _ => [9, 7],
        };
        let bound = bound(&Tariff::new(given), prompt(2_000_000), 4_000_000);
        assert_eq!(bound, Some(NanoUsd::new(2 * input + 4 * output)), "{rate}");
    }
}

#[test]
fn the_bound_has_the_images_and_every_tier_that_can_be_reached() {
    let flex = Some(ServiceTier::Flex);
    let given = GivenRates { input_image: Some(NanoUsd::new(1_000)), ..GivenRates::new(price(3), price(7)) };
    let tariff = tiered(
        given,
        &[
            // Dearer than the next one.
            tier(Some(500_000), None, &[(TokenRate::Input, 9)]),
            tier(Some(900_000), None, &[(TokenRate::Input, 5)]),
            tier(None, flex, &[(TokenRate::Output, 8)]),
            tier(Some(2_000_000), flex, &[(TokenRate::Output, 90)]),
        ],
    );
    for (tokens, images, service_tier, wanted) in [
        (500_000, 0, None, 2 + 7),
        (500_000, 2, None, 2 + 7 + 2_000),
        (1_000_000, 0, None, 9 + 7),
        (1_000_000, 0, flex, 9 + 8),
        (1_000_000, 0, Some(ServiceTier::Priority), 9 + 7),
        (3_000_000, 0, flex, 27 + 90),
        (3_000_000, 0, None, 27 + 7),
    ] {
        let bound = bound(&tariff, PromptBound { tokens, images, service_tier }, 1_000_000);
        assert_eq!(bound, Some(NanoUsd::new(wanted)), "{tokens} {images} {service_tier:?}");
    }
}

#[test]
fn a_cost_that_no_amount_holds_is_none() {
    let tariff = tariff([i64::MAX; 5], 0);
    let tokens = TokenClasses {
        input_uncached_tokens: u64::MAX,
        input_cache_read_tokens: u64::MAX,
        output_text_tokens: u64::MAX,
        ..TokenClasses::default()
    };
    assert_eq!((tariff.cost(&tokens, None), bound(&tariff, prompt(u64::MAX), u64::MAX)), (None, None));
    let dear = Some(NanoUsd::MAX);
    let units = Tariff::new(GivenRates { search: dear, input_image: dear, ..GivenRates::new(price(0), price(0)) });
    for tokens in [
        TokenClasses { searches: u64::MAX, ..TokenClasses::default() },
        TokenClasses { input_images: u64::MAX, ..TokenClasses::default() },
    ] {
        assert_eq!(units.cost(&tokens, None), None);
    }
    assert_eq!(bound(&units, PromptBound { images: u64::MAX, ..prompt(0) }, 0), None);
}

#[test]
fn what_was_left_out_is_recorded_or_known_from_the_prices() {
    let given = GivenRates::new(price(3), price(15)).with(TokenRate::Reasoning, price(15));
    let tariff = Tariff::new(given.clone());
    assert_eq!(tariff.defaulted(), [OptionalRate::CacheRead, OptionalRate::CacheWrite, OptionalRate::Request]);
    let first = tariff.clone().as_first_recorded();
    assert_eq!(first.defaulted(), OptionalRate::ALL, "a price that was given may equal the default");
    assert_eq!(first.base(), tariff.base());
    let all = GivenRates { request: Some(NanoUsd::new(2)), ..given }
        .with(TokenRate::CacheRead, price(1))
        .with(TokenRate::CacheWrite, price(4))
        .with(TokenRate::Reasoning, price(16));
    let all = Tariff::new(all);
    assert_eq!((all.defaulted(), all.clone().as_first_recorded().defaulted()), (vec![], vec![]));
}

#[test]
fn prices_are_read_as_they_are_written_and_what_is_new_is_absent_unless_given() {
    let plain = Tariff::new(GivenRates::new(price(3), price(15)));
    let text = r#"{"input_usd_per_mtok":"0.000000003","output_usd_per_mtok":"0.000000015","cache_read_usd_per_mtok":"0.000000003","cache_write_usd_per_mtok":"0.000000003","reasoning_usd_per_mtok":"0.000000015","request_usd":"0.000000000","defaulted":["cache_read_usd_per_mtok","cache_write_usd_per_mtok","reasoning_usd_per_mtok","request_usd"]}"#;
    assert_eq!(serde_json::to_string(&plain).expect("JSON"), text);
    let given = GivenRates::new(price(3), price(15))
        .with(TokenRate::CacheWrite1h, price(6))
        .with(TokenRate::Citation, price(2));
    let given = GivenRates { search: Some(NanoUsd::new(5)), input_image: Some(NanoUsd::new(4)), ..given };
    let more = tiered(given, &[tier(Some(200_000), Some(ServiceTier::Batch), &[(TokenRate::Input, 6)])]);
    for tariff in [plain.clone(), plain.as_first_recorded(), more.clone(), more.as_first_recorded()] {
        let text = serde_json::to_string(&tariff).expect("JSON");
        assert_eq!(serde_json::from_str::<Tariff>(&text).expect("prices"), tariff, "{text}");
    }
}

/// Any of the names, or none.
fn any_rates() -> impl Strategy<Value = TokenRates> {
    let each = proptest::collection::vec(proptest::option::weighted(0.4, 0i64..90_000_000_000), TokenRate::COUNT);
    each.prop_map(|prices| {
        let named = TokenRate::ALL.iter().zip(prices);
        named.fold(TokenRates::default(), |rates, (rate, nanos)| match nanos {
            Some(nanos) => rates.with(*rate, price(nanos)),
            None => rates,
        })
    })
}

fn any_service_tier() -> impl Strategy<Value = Option<ServiceTier>> {
    proptest::option::of(proptest::sample::select(ServiceTier::ALL))
}

fn any_tariff() -> impl Strategy<Value = Tariff> {
    let tier = (proptest::option::of(0u64..400_000), any_service_tier(), any_rates());
    let tiers = proptest::collection::vec(tier, 0..6);
    let amounts = [0i64..9_000_000_000, 0..9_000_000_000, 0..9_000_000, 0..9_000_000];
    (amounts, any_rates(), tiers).prop_map(|([input, output, request, image], others, tiers)| {
        let mut kept = Vec::new();
        for (above_input_tokens, service_tier, rates) in tiers {
            kept.push(PriceTier { above_input_tokens, service_tier, rates });
            if Tiers::new(kept.clone()).is_err() {
                kept.pop();
            }
        }
        let given = others
            .given()
            .fold(GivenRates::new(price(input), price(output)), |given, (rate, price)| given.with(rate, price));
        let (request, input_image) = (Some(NanoUsd::new(request)), Some(NanoUsd::new(image)));
        tiered(GivenRates { request, input_image, ..given }, &kept)
    })
}

/// Tokens of every class but searches, which no bound has.
fn any_use() -> impl Strategy<Value = TokenClasses> {
    let (input, output) = (proptest::array::uniform7(0u64..60_000), proptest::array::uniform4(0u64..60_000));
    let lifetimes = proptest::array::uniform5(0u64..9_000);
    (input, output, lifetimes, 0u64..9).prop_map(|(input, output, lifetimes, input_images)| {
        let named = ["5m", "30m", "1h", "12h", "24h"].map(str::to_owned);
        TokenClasses {
            input_uncached_tokens: input[0],
            input_cache_read_tokens: input[1],
            input_cache_write_tokens: lifetimes.iter().sum(),
            input_cache_write_by_ttl: named.into_iter().zip(lifetimes).filter(|(_, tokens)| tokens % 3 > 0).collect(),
            input_audio_tokens: input[2],
            input_cache_read_audio_tokens: input[3],
            input_image_tokens: input[4],
            input_cache_read_image_tokens: input[5],
            citation_tokens: input[6],
            output_text_tokens: output[0],
            output_reasoning_tokens: output[1],
            output_audio_tokens: output[2],
            output_image_tokens: output[3],
            searches: 0,
            input_images,
        }
    })
}

proptest! {
    #[test]
    fn no_cost_is_above_the_bound_that_its_use_keeps(
        tariff in any_tariff(), used in any_use(), requested in any_service_tier(), is_served_as_requested: bool,
        more in 0u64..200_000,
    ) {
        let tokens = used.input() + more;
        let prompt = PromptBound { tokens, images: used.input_images, service_tier: requested };
        let served = requested.filter(|_| is_served_as_requested);
        let cost = tariff.cost(&used, served).expect("small amounts");
        let bound = bound(&tariff, prompt, used.output()).expect("small amounts");
        prop_assert!(cost <= bound, "{} {}", cost, bound);
        let line = CostLine::of(&tariff, prompt, 1).expect("a line");
        prop_assert_eq!(line.at(used.output()), Some(bound));
    }

    #[test]
    fn any_prices_are_read_as_they_are_written(tariff in any_tariff()) {
        let text = serde_json::to_string(&tariff).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Tariff>(&text).expect("prices"), tariff);
    }
}
