//! The books of the providers: what they got and what they reported, compared with the log.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::clients::Answered;
use super::faults::{self, Behaviour};
use super::upstream::{FaultyProvider, Reported, SeenCall};
use crate::books::{nano, usd};
use crate::gateway::type_of;

/// The price of a provider: nano-dollars of a million tokens, and of a call.
#[derive(Clone, Copy)]
pub struct Tariff {
    input: u64,
    cached: u64,
    output: u64,
    call: u64,
}

impl Tariff {
    /// None of them divides a token into whole nano-dollars.
    pub fn of(provider: &str) -> Self {
        match provider {
            "first" => Self { input: 3_000_000_001, cached: 300_000_007, output: 15_000_000_013, call: 1_000_003 },
            "second" => Self { input: 77_777_777, cached: 7_777_777, output: 333_333_333, call: 0 },
            "third" => Self { input: 5_123_456_789, cached: 1_000_000_001, output: 25_987_654_321, call: 17 },
            other => panic!("no provider {other}"),
        }
    }

    pub fn as_price(self) -> Value {
        let money = |nanos: u64| usd(i64::try_from(nanos).expect("money"));
        json!({
            "input_usd_per_mtok": money(self.input), "cache_read_usd_per_mtok": money(self.cached),
            "output_usd_per_mtok": money(self.output), "request_usd": money(self.call),
        })
    }

    /// Rounded up once, to nano-dollars.
    fn cost(self, reported: Reported) -> i64 {
        let Reported { input, cached, output } = reported;
        let tokens = (input - cached) * self.input + cached * self.cached + output * self.output;
        i64::try_from(tokens.div_ceil(1_000_000) + self.call).expect("money")
    }
}

/// The calls that providers got, by request.
pub struct ProviderBooks(HashMap<String, Vec<(Tariff, SeenCall)>>);

impl ProviderBooks {
    pub fn of(providers: &[FaultyProvider]) -> Self {
        let mut books: HashMap<String, Vec<(Tariff, SeenCall)>> = HashMap::new();
        for provider in providers {
            for call in provider.seen() {
                books.entry(call.request.clone()).or_default().push((Tariff::of(provider.name), call));
            }
        }
        Self(books)
    }

    pub fn calls_of(&self, request: &str) -> Vec<&SeenCall> {
        self.0.get(request).into_iter().flatten().map(|(_, call)| call).collect()
    }

    pub fn calls(&self) -> impl Iterator<Item = &SeenCall> {
        self.0.values().flatten().map(|(_, call)| call)
    }

    /// Each call is in the log, as a failed one with its reason or as the one that ended the request; each request is charged what
    /// was reported for it, and nothing else. Returns the sum, and the failures by fault and reason.
    pub fn must_be_in(&self, log: &[Value], answered: &[Answered]) -> (i64, BTreeMap<String, usize>) {
        let mut lives: HashMap<&str, Vec<&Value>> = HashMap::new();
        for event in log {
            if let Some(request) = event["request_id"].as_str() {
                lives.entry(request).or_default().push(event);
            }
        }
        let (mut sum, mut failures) = (0, BTreeMap::<String, usize>::new());
        for one in answered {
            let life = &lives[&*one.request];
            let mut recorded = Vec::new();
            for event in life {
                let (data, name) = (&event["data"], type_of(event));
                let is_end = matches!(name, "inference.completed.v1" | "inference.failed.v1");
                if name != "inference.attempt_failed.v1" && !is_end {
                    continue;
                }
                let model = data["backend"]["model"].as_str().expect("a model");
                let fault = faults::of(model);
                if name != "inference.completed.v1" {
                    let fault = fault.expect("a target that fails");
                    let reason = (data["reason"].as_str(), data["status"].as_u64());
                    let wanted = (Some(fault.reason(one.is_streamed)), fault.status.map(u64::from));
                    assert_eq!(reason, wanted, "{event}");
                    *failures.entry(format!("{} {}", fault.name, fault.reason(one.is_streamed))).or_default() += 1;
                }
                if fault.is_none_or(|fault| fault.behaviour != Behaviour::Refused) {
                    recorded.push(model);
                }
            }
            let mut seen: Vec<&str> = self.calls_of(&one.request).iter().map(|call| &*call.model).collect();
            recorded.sort_unstable();
            seen.sort_unstable();
            assert_eq!(recorded, seen, "the calls of {one:?}: {life:?}");
            let reports = self.0.get(&one.request).into_iter().flatten();
            let cost: i64 = reports.filter_map(|(tariff, call)| Some(tariff.cost(call.reported?))).sum();
            let settled = life.iter().find(|event| type_of(event) == "budget.settled.v1").expect("a settlement");
            assert_eq!(nano(&settled["data"]["charged_usd"]), cost, "{one:?}: {life:?}");
            sum += cost;
        }
        (sum, failures)
    }
}
