//! Requests of which calls have failed, or were cancelled for another one.

use events::event::inference::{AttemptFailed, HEDGED, ReportedByFailedCall};
use events::ids::ProviderId;
use events::money::NanoUsd;
use events::usage::{TokenClasses, Usage, UsageSource};
use serde_json::{Value, json};

use super::history::{BACKEND, History, INPUT_USD, OUTPUT_USD, SECOND_BACKEND, backend, cost, id, rules};
use crate::Period;

/// A call of the first target, which was cancelled because the other one had answered.
fn cancelled(reported: ReportedByFailedCall) -> AttemptFailed {
    AttemptFailed {
        backend: backend(BACKEND),
        attempt: 1,
        reason: HEDGED.to_owned(),
        status: None,
        upstream_code: None,
        latency_ms: 300,
        reported,
    }
}

/// Twice what is recorded, for one of the backends.
fn doubled(backend: &str) -> Value {
    json!({ "provider_id": id::<ProviderId>(1), "model": backend, "input_usd_per_mtok": "6", "output_usd_per_mtok": "30" })
}

/// Returns the recorded cost of a request whose call was cancelled, and its cost if these prices were doubled.
fn costs(reported: &ReportedByFailedCall, prices: &[Value]) -> (i128, i128) {
    let mut history = History::new();
    history.hedge();
    assert!(history.ask(1, 100, 10, 1));
    history.end_after(vec![cancelled(reported.clone())], 0, false);
    let total = history.replay(&rules(json!({ "prices": prices })), Period::default()).total;
    assert_eq!((total.admitted, total.newly_refused), (1, 0));
    (total.recorded_cost_usd.nanos(), total.cost_usd.nanos())
}

/// The hold is for both calls, so that it grows by half if one of two equal prices is doubled.
///
/// Holds: bin.what-if
#[test]
fn a_call_of_which_nobody_knows_what_it_used_costs_as_much_of_the_hold_as_it_did() {
    let bound = cost(100, 20, [INPUT_USD, OUTPUT_USD]);
    let usage = Usage::new(TokenClasses::default(), UsageSource::Unknown);
    let reported =
        ReportedByFailedCall { usage: Some(usage), cost_usd: Some(NanoUsd::new(bound)), ..Default::default() };
    let (bound, own) = (i128::from(bound), i128::from(cost(10, 1, [INPUT_USD, OUTPUT_USD])));
    assert_eq!(costs(&reported, &[]), (bound + own, bound + own));
    let both = [doubled(BACKEND), doubled(SECOND_BACKEND)];
    assert_eq!(costs(&reported, &both), (bound + own, 2 * bound + 2 * own));
    assert_eq!(costs(&reported, &[doubled(SECOND_BACKEND)]), (bound + own, bound * 3 / 2 + own));
    // One that is not charged still costs nothing.
    let released = ReportedByFailedCall { cost_usd: Some(NanoUsd::ZERO), ..reported };
    assert_eq!(costs(&released, &both), (own, 2 * own));
}

/// Holds: bin.what-if
#[test]
fn a_call_that_reported_its_usage_before_it_failed_costs_that_by_the_price_of_the_rules() {
    let tokens = TokenClasses { input_uncached_tokens: 50, ..TokenClasses::default() };
    let of_call = cost(50, 0, [INPUT_USD, OUTPUT_USD]);
    let reported = ReportedByFailedCall {
        usage: Some(Usage::new(tokens, UsageSource::Provider)),
        provider_usage: None,
        cost_usd: Some(NanoUsd::new(of_call)),
        // That of the first price in the log of the tests.
        price_version: Some(History::new().price),
    };
    let (of_call, own) = (i128::from(of_call), i128::from(cost(10, 1, [INPUT_USD, OUTPUT_USD])));
    assert_eq!(costs(&reported, &[doubled(BACKEND)]), (of_call + own, 2 * of_call + 2 * own));
    assert_eq!(costs(&reported, &[doubled(SECOND_BACKEND)]), (of_call + own, of_call + own));
}
