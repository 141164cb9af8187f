//! The cost of deciding a route, with all rules that leave targets out and by each strategy, and of what rules of models go by. Nothing
//! but that is measured: no tables, no network.
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
use events::abilities::{Abilities, Ability};
use events::ids::RequestId;
use events::maintenance::{MaintenanceWindow, MaintenanceWindows};
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok, PromptBound, Tariff};
use events::named::NamedValue;
use events::routing::{
    ConditionSubject, DialectFit, Features, Observed, RouteInputs, RouteQuestion, RoutingRule, RoutingRules,
    StatedFacts, Strategy, Target, TargetFacts, TargetInputs, decide,
};
use events::terms::{RequiredTerms, Requirements, StatedTerms};
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
    let rows: Vec<Target> = (0..count).map(row_of_target).collect();
    let windows = MaintenanceWindows::default();
    let targets: Vec<TargetInputs<'_>> = (0..)
        .zip(rows.iter().zip(&tariffs))
        .map(|(number, (row, tariff))| target(number, row, tariff, &windows))
        .collect();
    let terms = RequiredTerms { zero_retention: true, ..RequiredTerms::NONE };
    writeln!(out, "A decision about {count} targets with all rules, µs\n")?;
    table::header(out, &["strategy", "p50", "p99"])?;
    let mut numbers: Vec<u64> = Vec::with_capacity(targets.len());
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
            let decision = decide(RouteInputs {
                model_id: Uuid::from_u128(1).into(),
                canary: None,
                tenant: None,
                strategy: *strategy,
                features,
                session: None,
                question: question(&terms),
                targets: black_box(&targets).clone(),
            });
            black_box(decision.called().next());
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

/// A request that every rule has to look at, and that no target is left out of.
fn question(terms: &RequiredTerms) -> RouteQuestion<'_> {
    RouteQuestion {
        now: DateTime::UNIX_EPOCH,
        rule: None,
        required: Requirements { tenant: &RequiredTerms::NONE, request: terms },
        needs: [Ability::Text, Ability::Image, Ability::Tools, Ability::Chat].into_iter().collect(),
        output_cap: Some(1_000),
        has_documents: true,
    }
}

fn row_of_target(number: u64) -> Target {
    let below = |bound| u32::try_from(spread(number) % bound).unwrap_or_default();
    let night = MaintenanceWindow {
        from: DateTime::UNIX_EPOCH + Duration::from_secs(60),
        to: DateTime::UNIX_EPOCH + Duration::from_secs(90),
    };
    Target {
        priority: below(3),
        weight: below(10),
        quality: Some(below(100)),
        maintenance: vec![night].into(),
        facts: TargetFacts {
            stated: StatedFacts {
                abilities: Abilities::UNKNOWN
                    .stating_list(Abilities::INPUTS, Abilities::INPUTS)
                    .stating(Ability::Tools, true),
                ..StatedFacts::UNKNOWN
            },
            ..TargetFacts::UNKNOWN
        },
        terms: StatedTerms { zero_retention: true, ..StatedTerms::NONE },
        ..Target::new(Uuid::from_u128(1).into(), format!("backend-{number}"))
    }
}

fn target<'a>(number: u64, row: &'a Target, tariff: &'a Tariff, windows: &'a MaintenanceWindows) -> TargetInputs<'a> {
    let in_flight = u32::try_from(spread(number) % 4).unwrap_or_default();
    TargetInputs {
        target: row,
        provider_maintenance: Some(windows),
        tariff: Some(tariff),
        context_window: Some(200_000),
        window_counts_output: true,
        max_output_tokens: Some(16_000),
        terms: &row.terms,
        dialect: DialectFit::Fits,
        prompt_tokens: Some(3_000),
        open_breaker: None,
        observed: Observed { first_token_us: Some(spread(number) % 1_000_000), token_us: 10_000, in_flight },
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
