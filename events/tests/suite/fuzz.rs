//! Fuzz targets: texts that become money, times, ids and events. See `docs/fuzzing.md`.

use events::canonical;
use events::event::Event;
use events::ids::{BudgetId, KeyId, RequestId};
use events::money::{CostLine, GivenRates, InvalidMoney, NanoUsd, NanoUsdPerMtok, PromptBound, Tariff, TokenRate};
use events::time::{Period, parse_rfc3339, rfc3339};
use events::usage::TokenClasses;
use fuzzing::{Corpus, Dice, fuzz, long, shown, within_bounds};
use serde_json::Value;

fn money_text(dice: &mut Dice<'_>) -> String {
    match dice.below(4) {
        0 => dice.text_of("0123456789.-+ eE_,٣", 24),
        1 => format!("{}.{}", dice.number(), dice.text_of("0123456789", 11)),
        2 => {
            let nanos = dice.word().cast_signed();
            let border = [i64::MIN, i64::MAX, nanos][dice.below(3)];
            NanoUsd::new(border.wrapping_add(i64::from(dice.byte() % 2))).to_string()
        }
        _ => dice.number(),
    }
}

/// An independent parser of nano-dollars: all digits as one whole number of billionths.
fn nanos_of(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > 9 {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let billionths = format!("{whole}{fraction}{}", "0".repeat(9 - fraction.len()));
    // A number that does not fit 128 bits does not fit 64.
    Some(sign * billionths.parse().unwrap_or(i128::MAX))
}

#[test]
fn money_is_what_its_text_says_to_the_last_digit() {
    fuzz!(20_000, |dice| {
        let text = money_text(dice);
        let read = text.parse::<NanoUsd>();
        match nanos_of(&text).map(i64::try_from) {
            None => assert!(matches!(read, Err(InvalidMoney::Form | InvalidMoney::TooFine)), "{text:?} is {read:?}"),
            Some(Err(_)) => assert_eq!(read, Err(InvalidMoney::TooLarge), "{text:?}"),
            Some(Ok(nanos)) => {
                let read = read.unwrap_or_else(|error| panic!("{text:?}: {error}"));
                assert_eq!(read.nanos(), nanos, "{text:?}");
                assert_eq!(read.to_string().parse(), Ok(read), "{text:?} is not read as it was written");
            }
        }
    });
}

fn price(dice: &mut Dice<'_>) -> NanoUsdPerMtok {
    let nanos = if dice.one_in(8) { i64::MAX } else { (dice.word() >> (1 + dice.below(63))).cast_signed() };
    NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("a price that is not negative")
}

fn tokens(dice: &mut Dice<'_>) -> u64 {
    if dice.one_in(8) { u64::MAX } else { dice.word() >> dice.below(64) }
}

#[test]
fn no_cost_is_above_the_bound_that_its_tokens_keep() {
    fuzz!(20_000, |dice| {
        let given = GivenRates::new(price(dice), price(dice))
            .with(TokenRate::CacheRead, price(dice))
            .with(TokenRate::CacheWrite, price(dice))
            .with(TokenRate::Reasoning, price(dice));
        let tariff = Tariff::new(GivenRates { request: Some(NanoUsd::new(i64::from(dice.byte()))), ..given });
        let used = TokenClasses {
            input_uncached_tokens: tokens(dice),
            input_cache_read_tokens: tokens(dice),
            input_cache_write_tokens: tokens(dice),
            output_text_tokens: tokens(dice),
            output_reasoning_tokens: tokens(dice),
            ..TokenClasses::default()
        };
        let input = [used.input_uncached_tokens, used.input_cache_read_tokens, used.input_cache_write_tokens];
        let output = [used.output_text_tokens, used.output_reasoning_tokens];
        let sum = |classes: &[u64]| classes.iter().try_fold(0_u64, |sum, class| sum.checked_add(*class));
        let cost = tariff.cost(&used, None);
        if let (Some(input), Some(output)) = (sum(&input), sum(&output)) {
            let prompt = PromptBound { tokens: input.saturating_add(tokens(dice)), ..PromptBound::default() };
            let bound = CostLine::of(&tariff, prompt, 1).and_then(|line| line.at(output));
            assert!(bound.is_none_or(|bound| cost.is_some_and(|cost| cost <= bound)), "{cost:?} {bound:?} {used:?}");
        }
    });
}

#[test]
fn a_time_is_read_as_it_is_written() {
    const TIMES: [&str; 10] = [
        "2026-11-20T08:15:30.123456Z",
        "2026-11-20T08:15:30Z",
        "2026-11-20t08:15:30.1z",
        "0000-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59.999999999-23:59",
        "2016-12-31T23:59:60Z",
        "2016-12-31T23:59:60.999999999+01:00",
        "1969-12-31T23:59:59.9999999Z",
        "2026-02-29T00:00:00Z",
        "+10000-01-01T00:00:00Z",
    ];
    let corpus = Corpus::of(TIMES.map(|time| time.as_bytes().to_vec()));
    fuzz!(20_000, |dice| {
        let text = match dice.below(3) {
            0 => dice.text_of("0123456789-:.TZtz+ ", 36),
            _ => String::from_utf8_lossy(&corpus.draw(dice)).into_owned(),
        };
        let Some(at) = parse_rfc3339(&text) else { return };
        let written = rfc3339(at);
        assert_eq!(written.len(), 27, "{text:?} became {written:?}");
        assert_eq!(parse_rfc3339(&written), Some(at), "{text:?} became {written:?}");
        for period in [Period::Day, Period::Week, Period::Month] {
            let window = period.window(at);
            assert!(window.start.is_none_or(|start| start <= at), "{text:?}");
            assert!(window.end.is_none_or(|end| at < end), "{text:?}");
        }
    });
}

#[test]
fn an_id_has_one_text() {
    let corpus = Corpus::of(
        ["key_0198c1de000070008000000000000001", "bud_00000000000000000000000000000000", "req_g", "key_", "-_"]
            .map(|id| id.as_bytes().to_vec()),
    );
    fuzz!(20_000, |dice| {
        let text = match dice.below(4) {
            0 => {
                let mut digits = "0198c1de000070008000000000000001".to_owned();
                let at = dice.below(32);
                digits.replace_range(at..=at, &dice.text_of("0123456789abcdefABCDEFgG-_ ", 1));
                format!("{}{digits}", ["key_", "bud_", "req_"][dice.below(3)])
            }
            1 => format!("key_{}", dice.text_of("0123456789abcdefABCDEF-{}", 40)),
            _ => String::from_utf8_lossy(&corpus.draw(dice)).into_owned(),
        };
        let hex = |digits: &str| digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let is = |prefix: &str| text.strip_prefix(prefix).is_some_and(hex);
        let read = [
            text.parse::<KeyId>().ok().map(|id| id.to_string()),
            text.parse::<BudgetId>().ok().map(|id| id.to_string()),
            text.parse::<RequestId>().ok().map(|id| id.to_string()),
        ];
        for (prefix, read) in ["key_", "bud_", "req_"].into_iter().zip(read) {
            assert_eq!(read, is(prefix).then(|| text.clone()), "{text:?}");
        }
    });
}

/// True if a double represents every whole number exactly, so that other readers read the same value.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_i64().is_none_or(|whole| whole.unsigned_abs() < 1 << 53),
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

#[test]
fn canonical_text_is_its_own_canonical_text() {
    let corpus = Corpus::files("events", |_| true);
    fuzz!(3_000, |dice| {
        let text = corpus.draw(dice);
        let Ok(value) = serde_json::from_slice::<Value>(&text) else { return };
        let canonical = canonical::to_string(&value).expect("a text");
        let again: Value = serde_json::from_str(&canonical).unwrap_or_else(|error| panic!("{error}: {canonical}"));
        assert_eq!(canonical::to_string(&again).expect("a text"), canonical, "{}", shown(&text));
        assert!(is_exact(&again), "{canonical}");
    });
}

#[test]
fn an_event_that_is_read_is_written_as_it_is_read() {
    let corpus = Corpus::files("events", |_| true);
    fuzz!(4_000, |dice| {
        let text = corpus.draw(dice);
        let Ok(envelope) = serde_json::from_slice::<Value>(&text) else { return };
        let kind = envelope["type"].as_str().and_then(|kind| kind.rsplit_once(".v"));
        let Some((name, version)) = kind.and_then(|(name, version)| Some((name, version.parse().ok()?))) else {
            return;
        };
        let Ok(event) = Event::decode(name, version, &envelope["data"].to_string()) else { return };
        let payload = event.payload().expect("an event has a payload");
        let again = Event::decode(name, version, &payload).unwrap_or_else(|error| panic!("{error}: {payload}"));
        assert_eq!(again, event, "{payload}");
        assert_eq!(again.payload().expect("an event has a payload"), payload);
    });
}

#[test]
fn long_texts_are_read_in_time_that_grows_with_them() {
    let digits = |digit: &str| digit.repeat(long());
    for text in [digits("9"), digits("0"), format!("0.{}", digits("0")), digits("-")] {
        within_bounds(&format!("reading {text:.5}…"), || {
            assert_eq!(text.parse::<NanoUsd>().is_ok(), text.bytes().all(|byte| byte == b'0'), "{text:.9}");
            assert!(parse_rfc3339(&format!("2026-11-20T08:15:30.{text}Z")).is_none_or(|at| rfc3339(at).len() == 27));
            assert!(text.parse::<KeyId>().is_err());
        });
    }
}
