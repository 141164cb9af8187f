//! Whole responses and refusals of upstreams.

use std::sync::LazyLock;

use bytes::Bytes;
use chrono::DateTime;
use fuzzing::{Corpus, Dice, fuzz, shown};
use http::{HeaderMap, HeaderName, HeaderValue};
use intermediate::{json, report};
use serde_json::Value;

use super::super::golden::{MODEL, described, receipt, usage};
use super::*;

static CORPORA: LazyLock<[Corpus; DIALECTS.len()]> =
    LazyLock::new(|| DIALECTS.map(|dialect| answers_of(dialect, "json")));

#[test]
fn an_answer_is_told_and_measured_alike_on_all_surfaces() {
    fuzz!(4_000, |dice| {
        let which = dice.below(DIALECTS.len());
        let body: Bytes = CORPORA[which].draw(dice).into();
        let read = SURFACES.map(|surface| read_whole(DIALECTS[which], surface, body.clone()).ok());
        for (surface, answer) in SURFACES.into_iter().zip(&read) {
            let Some(answer) = answer else { continue };
            is_a_report(&answer.metered, &body);
            let usage = usage(&answer.metered);
            let rendered = answer.render(&receipt(&usage, &answer.metered));
            if passthrough::shortcut(surface, DIALECTS[which]).is_some() {
                differs_in_its_model_alone(&body, &rendered);
                continue;
            }
            let json: Value = serde_json::from_slice(&rendered)
                .unwrap_or_else(|error| panic!("{error}: {} of {}", shown(&rendered), shown(&body)));
            assert_eq!(json["model"], MODEL, "{}", shown(&body));
        }
        let mut told: Vec<_> = read.iter().flatten().map(|answer| described(&answer.metered, None)).collect();
        told.dedup();
        assert!(told.len() <= 1, "{told:#?} {}", shown(&body));
    });
}

/// Checks that everything recorded of a response is bounded.
pub fn is_a_report(metered: &Metered, body: &[u8]) {
    if let Some(report) = &metered.provider_usage {
        let report = report.get();
        assert_eq!((json::kind(report), json::check(report)), (json::Kind::Object, Ok(())), "{}", shown(body));
        assert!(report.len() <= report::REPORT_BYTES_MAX, "{} bytes: {}", report.len(), shown(body));
    }
    for name in [&metered.upstream_id, &metered.upstream_model].into_iter().flatten() {
        assert!((1..=256).contains(&name.chars().count()), "{}", shown(body));
    }
    for tokens in [metered.reported(), metered.reported_input().as_ref()].into_iter().flatten() {
        assert!(tokens.input() + tokens.output() > 0, "{}", shown(body));
        let lifetimes: u64 = tokens.input_cache_write_by_ttl.values().sum();
        assert!(lifetimes == 0 || lifetimes == tokens.input_cache_write_tokens, "{}", shown(body));
    }
}

/// Checks that two bodies differ in the model only.
fn differs_in_its_model_alone(body: &[u8], rendered: &[u8]) {
    let read = |bytes: &[u8]| Ordered::of(std::str::from_utf8(bytes).expect("an answer is UTF-8"));
    // Serde refuses an unpaired surrogate in a name.
    let Some(wanted) = read(body) else { return };
    let found = read(rendered).unwrap_or_else(|| panic!("{} of {}", shown(rendered), shown(body)));
    let other_members = |answer: &Ordered| -> Vec<(String, String)> {
        let others = answer.0.iter().filter(|(name, _)| name != "model");
        others.map(|(name, value)| (name.clone(), value.get().to_owned())).collect()
    };
    let (found_members, wanted_members) = (other_members(&found), other_members(&wanted));
    assert!(are_same_but_corrected(&found_members, &wanted_members), "{found_members:?} of {wanted_members:?}");
    assert!(found.names().any(|name| name == "model"), "{}", shown(rendered));
    for (_, value) in found.0.iter().filter(|(name, _)| name == "model") {
        assert_eq!(json::string(value.get()).as_deref(), Some(MODEL), "{}", shown(rendered));
    }
}

/// The secrets that the upstreams of these refusals were sent.
pub const SECRET: &str = "gw-7Hq2xVt9LmBz4KpWs8Rn";

pub const REFUSALS: [&str; 14] = [
    "",
    "<html>busy</html>",
    r#"{"error":{"message":"m","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
    r#"{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"x"}}}"#,
    r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
    r#"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"17s"}]}}]"#,
    r#"{"error":{"details":[{"reason":"API_KEY_INVALID"}],"retryDelay" : "1m30.5s"}}"#,
    r#"{"object":"error","message":"m","code":40001}"#,
    r#""no""#,
    r#"{"error":{"message":"bad request with gw-7Hq2xVt9LmBz4KpWs8Rn in it","param":"messages[0]","code":"too_long"}}"#,
    r#"{"error":{"message":"Bearer \u0067w\u002d7Hq2xVt9LmBz4KpWs8Rn or Z3ctN0hxMnhWdDlMbUJ6NEtwV3M4Um4=","type":"t"}}"#,
    r#"{"detail":[{"loc":["body","gw-7Hq2xVt9LmBz4KpWs8Rn",0],"msg":"%67w-7Hq2xVt9Lm Bz4KpWs8Rn","type":"t"}]}"#,
    r#"{"error":"unknown key GW-7HQ2XVT9LMBZ4KPWS8RN","code":"gw-7Hq2xVt9LmBz4KpWs8Rn"}"#,
    r#"{"object":"error","message":{"detail":"67772d37487132785674394c6d427a344b7057733852 6e"},"param":"7Hq2xVt9"}"#,
];

/// A second implementation: true for eight letters and digits of the secret in a row, whatever their case and whatever
/// is between them.
fn shares_a_run(text: &str) -> bool {
    let bare = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let (text, secret) = (bare(text), bare(SECRET));
    secret.as_bytes().windows(8).any(|run| text.as_bytes().windows(8).any(|other| other == run))
}

#[test]
fn what_is_shown_of_a_rejection_has_no_secret_in_it_and_an_end() {
    let known =
        ["error", "message", "code", "param", "detail", "msg", "loc", "status", "details", "error_code", SECRET];
    let corpus = Corpus::of(REFUSALS.map(|refusal| refusal.as_bytes().to_vec())).knowing(&known);
    let redactor = Redactor::new([SECRET]);
    fuzz!(4_000, |dice| {
        let (dialect, status) = (DIALECTS[dice.below(DIALECTS.len())], [400, 413, 422][dice.below(3)]);
        let body = corpus.draw(dice);
        let refusal = read_refusal(dialect, status, &HeaderMap::new(), &body, DateTime::UNIX_EPOCH);
        let UpstreamRefusalKind::Rejected(words) = refusal.kind else { return };
        let Rejection { message, code, param } = words.redacted(&redactor);
        for (part, chars_max) in [(&message, 1000), (&code, 64), (&param, 128)] {
            let Some(part) = part else { continue };
            assert!((1..=chars_max).contains(&part.chars().count()), "{part:?} of {}", shown(&body));
            assert!(!part.chars().any(char::is_control), "{part:?} of {}", shown(&body));
            assert!(!shares_a_run(part), "{part:?} of {}", shown(&body));
        }
        for name in [&code, &param].into_iter().flatten() {
            assert!(name.is_ascii() && !name.contains(' '), "{name:?}");
        }
    });
}

fn wait(dice: &mut Dice<'_>) -> String {
    match dice.below(4) {
        0 => dice.number(),
        1 => dice.text_of("0123456789.smh -", 12),
        2 => format!("Fri, {} Nov {} 08:15:{} GMT", dice.below(40), dice.number(), dice.below(70)),
        _ => format!("{}{}", dice.number(), dice.pick(&["s", "ms", "m", "h", "h1m"]).unwrap_or_default()),
    }
}

/// Names of limits, with what may come before and after `limit`, `remaining` and `reset`.
const LIMITS: [(&str, &str); 4] = [
    ("x-ratelimit-", "-requests"),
    ("x-ratelimit-", "-tokens"),
    ("anthropic-ratelimit-tokens-", ""),
    ("anthropic-ratelimit-input-tokens-", ""),
];

#[test]
fn a_key_is_short_for_a_bounded_time_and_never_while_most_of_its_limit_is_left() {
    fuzz!(6_000, |dice| {
        let mut headers = HeaderMap::new();
        let (mut numbers, (before, after)) = ([None; 2], LIMITS[dice.below(LIMITS.len())]);
        for (at, part) in ["limit", "remaining", "reset"].into_iter().enumerate() {
            let value = match at {
                0 | 1 if dice.one_in(4) => dice.text_of("0123456789.-+ e", 8),
                0 | 1 => dice.number(),
                _ if dice.one_in(3) => {
                    format!("20{}-0{}-1{}T00:00:00Z", 10 + dice.below(90), dice.number(), dice.below(10))
                }
                _ => wait(dice),
            };
            if let Some(number) = numbers.get_mut(at) {
                *number = value.trim().parse::<u64>().ok();
            }
            let name = HeaderName::try_from(format!("{before}{part}{after}")).expect("a name");
            if let (false, Ok(value)) = (dice.one_in(8), HeaderValue::from_str(&value)) {
                headers.insert(name, value);
            }
        }
        let Some(lasts) = provider_dialects::shortage(&headers, DateTime::UNIX_EPOCH) else { return };
        assert!(!lasts.is_zero() && lasts <= RETRY_AFTER_MAX, "{lasts:?}: {headers:?}");
        let is_known = headers.contains_key(format!("{before}limit{after}"));
        if let ([Some(limit), Some(left)], true) = (numbers, is_known) {
            assert!(left <= limit / 20, "{headers:?}");
        }
    });
}

#[test]
fn a_refusal_of_an_upstream_is_no_wait_without_an_end() {
    let corpus = Corpus::of(REFUSALS.map(|refusal| refusal.as_bytes().to_vec())).knowing(&["retryDelay", "code"]);
    fuzz!(6_000, |dice| {
        let (dialect, status) =
            (DIALECTS[dice.below(DIALECTS.len())], [400, 402, 403, 408, 413, 429, 500, 503, 529][dice.below(9)]);
        let mut headers = HeaderMap::new();
        for name in ["retry-after", "retry-after-ms"] {
            if let (true, Ok(value)) = (dice.one_in(2), HeaderValue::from_str(&wait(dice))) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let body = corpus.draw(dice);
        let refusal = read_refusal(dialect, status, &headers, &body, DateTime::UNIX_EPOCH);
        assert_eq!(refusal.status, status);
        let wait = match &refusal.kind {
            UpstreamRefusalKind::RateLimited { retry_after } | UpstreamRefusalKind::Transient { retry_after } => {
                *retry_after
            }
            kind => {
                assert!(status < 500, "{kind:?} for {status}: {}", shown(&body));
                None
            }
        };
        assert!(wait.is_none_or(|wait| wait <= RETRY_AFTER_MAX), "{wait:?}: {}", shown(&body));
        assert!(status != 402 || refusal.kind == UpstreamRefusalKind::OutOfMoney);
    });
}
