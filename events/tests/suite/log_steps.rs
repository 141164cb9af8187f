//! Steps of the tests of a log: open it, hold money, settle it, and look at its events.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use events::event::admin::Scope;
use events::event::{Recorded, StreamKind};
use events::ledger::{Balances, Charge, Outcome};
use events::log::{Admitted, Log, LogOptions, OpenHold};
use events::money::NanoUsd;
use events::time::{ManualClock, Period};

use crate::facts::{admission, append, budget, ended, id, opened};

/// The time of a hold.
pub const TTL: Duration = Duration::from_secs(60);

pub fn open(folder: &Path, clock: &Arc<ManualClock>) -> Log {
    Log::open(folder, LogOptions::new(clock.clone())).expect("the log opens")
}

pub async fn open_budget(log: &Log, number: u128, limit: i64, period: Period) {
    let event = opened(budget(number, Scope::Tenant(id(1)), limit, period));
    log.append(append(StreamKind::Budget, id(number), 0, event)).await.expect("a budget is opened");
}

pub async fn hold(log: &Log, request: u128, held: i64) -> Result<OpenHold, Option<u64>> {
    match log.admit(admission(request, 1, held, TTL), None).await.expect("the ledger answers") {
        Admitted::Hold(hold) => Ok(hold),
        Admitted::Refused(refusal) => Err(refusal.position),
        other => panic!("neither held nor refused: {other:?}"),
    }
}

pub async fn settle(hold: OpenHold, cost: i64) -> u64 {
    let outcome = Outcome::Completed(ended(cost));
    hold.end(Vec::new(), outcome, Charge::Settle(NanoUsd::new(cost))).await.expect("the end is recorded").position
}

pub fn everything(log: &Log) -> Vec<Recorded> {
    log.reader().expect("a reader").after(0, 100_000).expect("the log reads")
}

/// Runs the offline check, which must find this many open holds.
pub fn must_verify(log: &Log, open_holds: u64) {
    let sound = crate::facts::verify(&*log.reader().expect("a reader")).expect("a sound log");
    assert_eq!(sound, events::verify::Sound { events: log.head().position, open_holds });
}

pub fn must_be_whole(events: &[Recorded]) -> Balances {
    let mut fold = Balances::default();
    for (wanted, event) in (1..).zip(events) {
        assert_eq!(event.position, wanted, "positions have no gap");
        fold.fold(event).expect("every event follows on what came before");
    }
    assert!(events.windows(2).all(|pair| pair[0].recorded_at <= pair[1].recorded_at), "time never goes back");
    fold
}

pub fn names(events: &[Recorded]) -> Vec<&'static str> {
    events.iter().map(|recorded| recorded.event.name()).collect()
}
