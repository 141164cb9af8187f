//! The cost of choosing among the targets of a model, by each strategy, and of what rules go by. Nothing but that is measured: no
//! tables, no network.
//!
//! `cargo bench --bench routing` prints medians, beside what it takes to sort as many numbers, measured in the same run.
//! `ROUTING_TARGETS` (50) changes how many targets there are.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::DateTime;
use command::inference::features_of;
use dialects::{ClientRequest, Surface};
use events::ids::RequestId;
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok, PromptBound, Tariff};
use events::named::NamedValue;
use events::routing::{Candidate, ConditionSubject, Features, Observed, RoutingRule, RoutingRules, Strategy, choose};
use harness::figures::{hundredths, per_mille};
use harness::verdict::exit_code;
use harness::{settings, table};
use serde_json::json;
use uuid::Uuid;

/// Choices measured for each strategy, after as many that warm up.
const CHOICES: u64 = 20_000;
const PROMPT_BYTES: usize = 10 * 1024;

fn main() -> ExitCode {
    exit_code(run().map(|()| true))
}

fn run() -> Result<(), String> {
    let count: u64 = settings::count("ROUTING_TARGETS", 50)?;
    measure(&mut io::stdout().lock(), count).map_err(|error| error.to_string())
}

fn measure(out: &mut impl Write, count: u64) -> io::Result<()> {
    let tariffs: Vec<Tariff> = (0..count).map(tariff).collect();
    let candidates: Vec<Candidate<'_>> =
        (0..).zip(&tariffs).map(|(number, tariff)| candidate(number, tariff)).collect();
    writeln!(out, "A choice among {count} targets, µs\n")?;
    table::header(out, &["strategy", "p50", "p99"])?;
    let mut numbers: Vec<u64> = Vec::with_capacity(candidates.len());
    row(out, "sorting as many numbers", |number| {
        numbers.clear();
        numbers.extend((0..count).map(|at| spread(at ^ number)));
        numbers.sort();
        black_box(&numbers);
    })?;
    for NamedValue { name, value: strategy } in Strategy::NAMED {
        row(out, name, |number| {
            let prompt = PromptBound { tokens: 3_000, ..PromptBound::default() };
            let features = Features { request: Some(request(number)), prompt, choices: 1, output_tokens: Some(1_000) };
            let order = choose(*strategy, black_box(candidates.iter().copied()), &features);
            black_box(order.tried().next());
        })?;
    }
    writeln!(out, "\nRules, µs\n")?;
    table::header(out, &["what", "p50", "p99"])?;
    let (request, now) = (prompt(PROMPT_BYTES), DateTime::UNIX_EPOCH);
    row(out, "features of a prompt of 10 KiB", |_| {
        black_box(features_of(black_box(&request), PROMPT_BYTES as u64 / 4, now));
    })?;
    let features = features_of(&request, PROMPT_BYTES as u64 / 4, now);
    let metadata = BTreeMap::from([("team".to_owned(), "search".to_owned())]);
    let subject = ConditionSubject { features: &features, metadata: &metadata, tenant: None };
    for count in [1, 8, 32] {
        let rules = rules(count);
        row(out, &format!("the last of {count}"), |_| {
            black_box(rules.first_that_holds(black_box(&subject), conditions::compile));
        })?;
    }
    Ok(())
}

/// A chat whose only message is English text.
fn prompt(bytes: usize) -> ClientRequest {
    let text = "The committee met on Tuesday to discuss the report, and asked for more time. ".repeat(bytes / 77 + 1);
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": text[..bytes] }] });
    let parsed = ClientRequest::parse(Surface::OpenAi, Bytes::from(body.to_string()));
    parsed.unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

/// Rules of which only the last one holds.
fn rules(count: usize) -> RoutingRules {
    let rule = |at: usize| RoutingRule {
        when: match at + 1 == count {
            true => r#"language == "en" && input_tokens > 100 && metadata.team == "search""#.to_owned(),
            false => format!(r#"language == "de" || (input_tokens > {} && request_type == "code")"#, at * 100),
        },
        targets: Vec::new(),
        strategy: Some(Strategy::Cost),
    };
    (0..count).map(rule).collect::<Vec<_>>().into()
}

fn row(out: &mut impl Write, name: &str, mut call: impl FnMut(u64)) -> io::Result<()> {
    let mut samples: Vec<Duration> = Vec::new();
    for number in 0..2 * CHOICES {
        if number == CHOICES {
            samples.clear();
        }
        let began = Instant::now();
        call(number);
        samples.push(began.elapsed());
    }
    let mut micros = |share| hundredths(per_mille(&mut samples, share).as_nanos(), 1000);
    table::row(out, &[name.to_owned(), micros(500), micros(990)])
}

fn candidate(number: u64, tariff: &Tariff) -> Candidate<'_> {
    let below = |bound| u32::try_from(spread(number) % bound).unwrap_or_default();
    Candidate {
        priority: below(3),
        weight: below(10),
        quality: below(100),
        tariff: Some(tariff),
        observed: Observed { first_token_us: Some(spread(number) % 1_000_000), token_us: 10_000, in_flight: below(4) },
        left_out: None,
    }
}

fn tariff(number: u64) -> Tariff {
    let price = |dollars: u64| {
        let nanos = i64::try_from(dollars * 1_000_000_000).unwrap_or_default();
        NanoUsdPerMtok::new(NanoUsd::new(nanos)).unwrap_or_default()
    };
    Tariff::new(GivenRates::new(price(1 + number % 7), price(5 + number % 11)))
}

fn request(number: u64) -> RequestId {
    Uuid::from_u64_pair(spread(number), spread(number + 1)).into()
}

fn spread(number: u64) -> u64 {
    (number ^ 0x5851_f42d).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
