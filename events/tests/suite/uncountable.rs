//! A charge that would overflow, or a job that cannot be recorded, does not keep other requests from ending.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use events::event::admin::{Budget, Enforcement, Scope};
use events::event::{Change, Event, Hold, StreamKind};
use events::ids::RequestId;
use events::ledger::{AdmitDecision, Balances, Charge, Outcome, SweepDecision, UnknownUsage};
use events::log::{Admitted, Log, LogError, LogOptions, Stepped};
use events::money::NanoUsd;
use events::time::{ManualClock, Period};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::facts::{admission, append, budget, clock, ended, ending, id, opened, start};

const TTL: Duration = Duration::from_secs(60);
/// Requests of key 1, whose charges would overflow. The request of key 2 expires after all of them.
const POISONED: std::ops::Range<u128> = 100..120;
const SOUND: u128 = 999;

fn observing(number: u128, key: u128) -> Budget {
    Budget { enforcement: Enforcement::Observe, ..budget(number, Scope::Key(id(key)), 1, Period::Total) }
}

/// Key 1 has been charged so much that one more nano-dollar can be counted, but not ten.
fn nearly_full() -> Balances {
    let mut balances = Balances::default();
    for number in [1, 2] {
        let change = Change::created(observing(number, number));
        balances.fold_budget(&change, 1, start());
    }
    let admitted = balances.admit(&admission(1, 1, 10, TTL), start()).expect("countable");
    assert!(matches!(admitted, AdmitDecision::Admitted { .. }), "{admitted:?}");
    let ended = balances.end(&ending(1, 1, Some(i64::MAX - 5))).expect("countable");
    assert!(ended.is_some(), "{ended:?}");
    for request in POISONED {
        balances.admit(&admission(request, 1, 10, TTL), start()).expect("countable");
    }
    balances.admit(&admission(SOUND, 2, 10, 2 * TTL), start()).expect("countable");
    balances
}

/// Sweeps until nothing is due. Returns the requests that were ended, and the number of sweeps.
fn swept(balances: &mut Balances, policy: UnknownUsage, after: Duration) -> (BTreeSet<RequestId>, usize) {
    let (now, mut ended, mut sweeps) = (start() + after, BTreeSet::new(), 0);
    while balances.is_sweep_due(now) {
        assert!(sweeps < 100, "it sweeps for ever; {ended:?} have ended");
        let SweepDecision { events, uncountable } = balances.sweep(policy, 5, now);
        for emitted in &events {
            if let Event::Hold(Hold::Expired(expired)) = &emitted.event {
                let (charged, said) = match policy {
                    UnknownUsage::ChargeHold => (expired.held_usd, "charge_hold"),
                    UnknownUsage::Release => (NanoUsd::ZERO, "release"),
                };
                assert_eq!((expired.charged_usd, expired.policy.as_str()), (charged, said));
                ended.extend(emitted.context.request_id);
            }
        }
        assert!(uncountable.iter().all(|request| balances.open_hold(*request).is_some()));
        sweeps += 1;
    }
    (ended, sweeps)
}

/// Holds: bin.sweeper
#[test]
fn holds_that_cannot_be_counted_keep_no_other_from_being_swept_and_are_not_swept_for_ever() {
    let mut balances = nearly_full();
    let poisoned = || POISONED.map(id::<RequestId>);
    let (ended, sweeps) = swept(&mut balances, UnknownUsage::ChargeHold, 3 * TTL);
    assert_eq!(ended, BTreeSet::from([id(SOUND)]));
    assert!(sweeps <= 6, "{sweeps} sweeps of 5 for 21 holds");
    assert_eq!(balances.uncountable_holds(), poisoned().count());
    assert!(poisoned().all(|request| balances.open_hold(request).is_some()), "they stay open, where they can be seen");
    // One of them turns out to have cost nothing. The others are tried again later, when their charges can be counted.
    let released = balances.end(&ending(100, 1, None)).expect("countable");
    assert!(released.is_some(), "{released:?}");
    let (ended, _) = swept(&mut balances, UnknownUsage::Release, Duration::from_secs(3600));
    assert_eq!(ended, poisoned().skip(1).collect());
    assert_eq!((balances.open_holds().len(), balances.uncountable_holds()), (0, 0));
}

#[test]
fn the_oldest_hold_is_the_one_that_expires_first_of_those_that_can_be_counted() {
    let mut balances = nearly_full();
    assert_eq!(Balances::default().oldest_hold(), None);
    balances.admit(&admission(2, 2, 1, TTL / 2), start() + TTL / 4).expect("countable");
    assert_eq!(balances.oldest_hold(), Some(start() + TTL / 4));
    balances.end(&ending(2, 2, None)).expect("countable");
    assert_eq!(balances.oldest_hold(), Some(start()));
    swept(&mut balances, UnknownUsage::ChargeHold, 3 * TTL);
    assert_eq!((balances.oldest_hold(), balances.uncountable_holds()), (None, POISONED.count()));
}

fn stepped(folder: &TempDir, clock: &Arc<ManualClock>) -> (Log, Stepped) {
    Stepped::open(folder.path(), LogOptions::new(clock.clone())).expect("the log opens")
}

/// Queues all of these, and lets the writer take them as one batch.
async fn admitted(log: &Log, writer: &mut Stepped, requests: &[u128]) -> Vec<Result<Admitted, LogError>> {
    let mut asking = JoinSet::new();
    for (place, request) in requests.iter().enumerate() {
        let (log, asked) = (log.clone(), admission(*request, 1, 10, TTL));
        asking.spawn(async move { (place, log.admit(asked, None).await) });
    }
    // Poll each one until it is in the queue.
    tokio::task::yield_now().await;
    writer.step(10);
    let mut answers = asking.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// The log's answer after the writer has taken one batch.
async fn answered<T: Send + 'static>(writer: &mut Stepped, job: impl Future<Output = T> + Send + 'static) -> T {
    let mut asking = JoinSet::new();
    asking.spawn(job);
    tokio::task::yield_now().await;
    writer.step(10);
    asking.join_next().await.expect("a job").expect("an answer")
}

/// Holds: bin.sweeper
#[tokio::test]
async fn a_log_says_how_many_holds_it_cannot_count_and_rests_until_they_are_tried_again() {
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let (log, mut writer) = stepped(&folder, &clock);
    let (appending, opens) = (log.clone(), append(StreamKind::Budget, id(1), 0, opened(observing(1, 1))));
    answered(&mut writer, async move { appending.append(opens).await.is_ok() }).await;
    let mut holds = admitted(&log, &mut writer, &[1, 2, 3]).await;
    let Ok(Admitted::Hold(first)) = holds.remove(0) else { panic!("no hold") };
    let settled = first.end(Vec::new(), Outcome::Completed(ended(0)), Charge::Settle(NanoUsd::new(i64::MAX - 5)));
    answered(&mut writer, settled).await.expect("settled");
    assert_eq!(log.figures().uncountable_holds, 0);
    let mut batches = Vec::new();
    for _ in 0..10 {
        clock.advance(TTL);
        writer.step(10);
        batches.push(log.figures().batches);
    }
    assert_eq!(log.figures().uncountable_holds, 2);
    let (swept, last) = (batches[1], batches[9]);
    assert_eq!(last, swept, "{batches:?}: nothing is swept again before its time");
    for _ in 0..3 {
        clock.advance(TTL);
        writer.step(10);
    }
    assert!(log.figures().batches > last, "they are tried again");
    drop(holds);
}

#[tokio::test]
async fn a_job_that_cannot_be_recorded_does_not_take_the_batch_with_it() {
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let (log, mut writer) = stepped(&folder, &clock);
    // Cancelled at once, and released.
    drop(admitted(&log, &mut writer, &[1]).await);
    writer.step(10);
    // Its streams exist already. No decision checks for that, because each id is used once.
    let answers = admitted(&log, &mut writer, &[2, 1, 3]).await;
    let is_held: Vec<bool> = answers.iter().map(|answer| matches!(answer, Ok(Admitted::Hold(_)))).collect();
    assert_eq!(is_held, [true, false, true], "{answers:?}");
    assert!(log.is_writable(), "there is nothing wrong with the disk");
    drop(answers);
    writer.step(10);
    crate::facts::verify(&*log.reader().expect("a reader")).expect("a sound log");
}
