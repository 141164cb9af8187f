//! A route is decided from the log as it was from the tables: over random histories of administration and random requests, `explain` finds
//! the same order, the same reasons and nothing that differs.
//!
//! With more histories than as one of all tests:
//! `LEDGERWAY_ROUTE_HISTORIES=100000 cargo nextest run --profile fuzz --workspace -E 'test(whatever_is_decided)'`.

mod choices;
mod history;
mod requests;

use std::collections::BTreeSet;
use std::time::Duration;

use events::content::ContentSalts;
use events_log::explain::{ReadBounds, RouteCheck, explain};
use events_log::{LEDGER_FILE, LedgerImport, Reader, open_reader};

use super::NodeKnowledge;
use crate::admin::tests::lab::Lab;
use crate::inference::targets::breakers::{BreakerSettings, Breakers};
use crate::inference::targets::observed_targets::ObservedTargets;
use crate::tokens::CountedPrompt;
use history::{LedgerEvents, RoutingHistory};
use requests::{DecidedRequest, shown_target};

/// Reasons and inputs that must be among what is decided, so that the histories say something of each.
const TO_BE_SEEN: [&str; 22] = [
    "not_in_rule",
    "no_provider",
    "no_price",
    "kind_unknown",
    "no_such_api",
    "for_another_api",
    "field_not_allowed",
    "context_unknown",
    "cap_above",
    "ability",
    "context_window",
    "residency_not_met",
    "zero_retention_not_met",
    "training_not_met",
    "maintenance",
    "breaker_open",
    "a canary that is first",
    "a canary that is last",
    "a session",
    "a rule",
    "a tenant's strategy",
    "a target that cannot express the request",
];
/// Histories that share a ledger: opening one takes longer than a history, and each of its requests is read with the prices of all.
const IN_A_LEDGER: u64 = 20;

/// Checks that what was decided from the tables follows from the log.
fn must_follow(reader: &dyn Reader, request: &DecidedRequest, seed: u64) {
    // No part but the route needs other changes than those that the admission names.
    let bounds = ReadBounds { positions: 0, changes: 0 };
    let explanation = explain(reader, request.id, bounds).expect("read").expect("a request");
    let RouteCheck { verdict, targets, model, .. } = explanation.route.expect("a route");
    assert!(model.is_some(), "history {seed}");
    assert!(verdict.differences.is_empty(), "history {seed}: {verdict:#?}");
    assert_eq!(verdict.undecided.is_empty(), request.has_features, "history {seed}: {verdict:#?}");
    let targets = targets.iter().map(|target| {
        let backend = events::ids::target_key(target.provider_id, &target.model);
        shown_target(&backend, target.rank.is_some(), target.left_out.as_ref(), &target.reason.to_string())
    });
    assert_eq!(targets.collect::<Vec<_>>(), request.targets, "history {seed}");
}

/// Holds: admin.strategies
#[tokio::test]
async fn whatever_is_decided_from_the_tables_follows_from_the_log() {
    let histories = std::env::var("LEDGERWAY_ROUTE_HISTORIES").map_or(300, |count| count.parse().expect("a number"));
    let lab = Lab::new().await;
    let settings = BreakerSettings { failures: 5, open: Duration::from_secs(60) };
    let breakers = Breakers::new(settings, lab.admin.log.clone(), lab.admin.tables.clone(), lab.clock.clone());
    let (salts, counted) = (ContentSalts::new(b"secret"), CountedPrompt::default());
    let (mut decided, mut refused, mut seen) = (0, 0, BTreeSet::new());
    for first in (0..histories).step_by(usize::try_from(IN_A_LEDGER).unwrap()) {
        let mut ledger = LedgerEvents::default();
        let mut requests = Vec::new();
        for seed in first..(first + IN_A_LEDGER).min(histories) {
            let bytes = choices::of_history(seed);
            let mut history = RoutingHistory::begin(&bytes, &lab.clock, &mut ledger);
            for _ in 0..3 {
                for _ in 0..history.choices.below(4) {
                    history.change_something();
                }
                history.wait();
                let observed = ObservedTargets::new(lab.admin.clock.clone());
                history.measure(&observed);
                let node =
                    NodeKnowledge { observed: &observed, breakers: &breakers, salts: &salts, counted: Some(&counted) };
                match history.admit(node) {
                    Some(request) => requests.push((seed, request)),
                    None => refused += 1,
                }
            }
            seen.append(&mut history.seen);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let mut import = LedgerImport::begin(folder.path(), 0).expect("a ledger");
        import.append(ledger.events).expect("events");
        import.finish(Vec::new()).expect("finished");
        let reader = open_reader(&folder.path().join(LEDGER_FILE)).expect("a reader");
        for (seed, request) in &requests {
            must_follow(&*reader, request, *seed);
        }
        decided += requests.len();
    }
    assert!(decided > refused, "{decided} requests were decided, and {refused} were not");
    let unknown: Vec<_> = seen.iter().filter(|what| !TO_BE_SEEN.contains(&what.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?} are to be seen as well");
    let unseen: Vec<_> = TO_BE_SEEN.iter().filter(|what| !seen.contains(**what)).collect();
    assert!(unseen.is_empty(), "{unseen:?} are not among what was decided");
}
