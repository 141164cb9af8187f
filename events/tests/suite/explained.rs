//! Budgets before a request, read from the log of every engine, and the message if that is too much to read.

use std::time::Duration;

use events::event::admin::{Budget, Enforcement, Scope};
use events::event::inference::InferenceEnded;
use events::event::{Actor, Chain, Context, Recorded, StreamKind};
use events::explain::{AdmissionCheck, Explanation, ReadBounds, explain, life_of};
use events::ledger::{Charge, Outcome};
use events::log::{Admitted, Append, Log, OpenHold};
use events::money::NanoUsd;
use events::time::Period;
use events::usage::{TokenClasses, Usage, UsageSource};

use crate::facts::{admission, append, budget, clock, ended, id, opened};
use crate::test_log::{TestLog, blocking, on_both_engines};

/// Longer than the story.
const TTL: Duration = Duration::from_hours(48);
const DAY: Duration = Duration::from_hours(24);
const ENDED_WHILE_READ: u128 = 100;

on_both_engines! {
    budgets_had_what_the_events_before_the_request_say,
    what_is_too_much_to_read_is_said_and_not_guessed,
    a_request_that_ends_while_it_is_read_has_both_ends_or_none,
    budgets_of_other_partners_are_not_read,
    a_cost_without_usage_is_the_hold_or_nothing_and_not_decided_further,
}

/// Opens a budget of the tenant in all, one of a day, one of a key that only observes, and one of a stranger.
async fn open_budgets(log: &Log) {
    let observing = budget(3, Scope::Key(id(7)), 1, Period::Month);
    let budgets = [
        budget(1, Scope::Tenant(id(1)), 1_000, Period::Total),
        budget(2, Scope::Partner(id(1)), 100, Period::Day),
        Budget { enforcement: Enforcement::Observe, ..observing },
        budget(4, Scope::Tenant(id(9)), 1, Period::Total),
    ];
    for budget in budgets {
        let partner = if budget.scope.owner == Scope::Tenant(id(9)) { 9 } else { 1 };
        open(log, budget, partner).await;
    }
}

/// Opens a budget in a partner's part of the log.
async fn open(log: &Log, budget: Budget, partner: u128) {
    let of_partner = Chain { partner: Some(id(partner)), ..Chain::default() };
    let opening = append(StreamKind::Budget, budget.budget_id, 0, opened(budget));
    let context = Context::about(Actor::Operator, of_partner);
    log.append(Append { context, ..opening }).await.expect("opened");
}

async fn admit(log: &Log, request: u128, key: u128, held: i64) -> OpenHold {
    match log.admit(admission(request, key, held, TTL), None).await {
        Ok(Admitted::Hold(hold)) => hold,
        other => panic!("{request} is not admitted: {other:?}"),
    }
}

/// Three requests on one day, of which the first ends, and one on the next.
async fn story(place: &TestLog) {
    let clock = clock();
    let log = place.open(&clock);
    open_budgets(&log).await;
    let first = admit(&log, 11, 7, 10).await;
    let second = admit(&log, 12, 8, 20).await;
    let end = Outcome::Completed(ended(4));
    first.end(Vec::new(), end, Charge::Settle(NanoUsd::new(4))).await.expect("recorded");
    let third = admit(&log, 13, 7, 30).await;
    clock.advance(DAY);
    let fourth = admit(&log, 14, 7, 5).await;
    drop((second, third, fourth));
    blocking(|| log.close());
}

fn explained(place: &TestLog, request: u128, bounds: ReadBounds) -> Explanation {
    blocking(|| explain(&*place.reader(), id(request), bounds).expect("read")).expect("a request")
}

fn checked(place: &TestLog, request: u128, bounds: ReadBounds) -> AdmissionCheck {
    explained(place, request, bounds).admission.expect("an admission")
}

/// For each budget: what was settled and held before the request, and whether it fits.
fn had(place: &TestLog, request: u128) -> Vec<(i128, i128, bool)> {
    let check = checked(place, request, ReadBounds::default());
    assert_eq!(check.verdict.follows(), Some(true), "{request}: {:?}", check.verdict);
    let had = check.budgets.iter().map(|budget| {
        let amounts = budget.room.amounts;
        (amounts.settled.nanos(), amounts.held.nanos(), budget.room.fits)
    });
    had.collect()
}

/// Amounts are those of the partner, the tenant and the key, in this order.
async fn budgets_had_what_the_events_before_the_request_say(place: TestLog) {
    story(&place).await;
    assert_eq!(had(&place, 11), [(0, 0, true), (0, 0, true), (0, 0, false)]);
    assert_eq!(had(&place, 12), [(0, 10, true), (0, 10, true)], "of another key");
    assert_eq!(had(&place, 13), [(4, 20, true), (4, 20, true), (4, 0, false)]);
    assert_eq!(had(&place, 14), [(0, 0, true), (4, 50, true), (4, 30, false)], "on another day");
}

async fn what_is_too_much_to_read_is_said_and_not_guessed(place: TestLog) {
    story(&place).await;
    for bounds in
        [ReadBounds { positions: 0, ..ReadBounds::default() }, ReadBounds { changes: 0, ..ReadBounds::default() }]
    {
        let check = checked(&place, 13, bounds);
        assert_eq!((check.verdict.follows(), check.verdict.undecided.len()), (None, 1), "{:?}", check.verdict);
        assert!(check.budgets.iter().all(|budget| !budget.is_known), "{:?}", check.budgets);
    }
}

/// The end of a request and that of its hold are appended together, on two streams, which are read one after the other.
async fn a_request_that_ends_while_it_is_read_has_both_ends_or_none(place: TestLog) {
    let log = place.open(&clock());
    open(&log, budget(1, Scope::Tenant(id(1)), 1_000_000, Period::Total), 1).await;
    let is_end = |kind, recorded: &&Recorded| recorded.stream.kind == kind && recorded.sequence > 1;
    for request in 100..100 + ENDED_WHILE_READ {
        let hold = admit(&log, request, 7, 10).await;
        let reader = place.reader();
        let (reading, is_read) = tokio::sync::oneshot::channel();
        let read = tokio::task::spawn_blocking(move || {
            let mut reading = Some(reading);
            loop {
                let life = life_of(&*reader, id(request)).expect("read");
                let has = |kind| life.iter().find(|recorded| is_end(kind, recorded)).is_some();
                let ends = [StreamKind::Inference, StreamKind::Hold].map(has);
                assert_eq!(ends[0], ends[1], "{life:?}");
                if ends[0] {
                    return;
                }
                reading.take().map(|reading| reading.send(()));
            }
        });
        is_read.await.expect("it is read");
        let end = Outcome::Completed(ended(4));
        hold.end(Vec::new(), end, Charge::Settle(NanoUsd::new(4))).await.expect("recorded");
        read.await.expect("both ends");
    }
    blocking(|| log.close());
}

async fn budgets_of_other_partners_are_not_read(place: TestLog) {
    story(&place).await;
    let own = ReadBounds { changes: 3, ..ReadBounds::default() };
    assert_eq!(checked(&place, 13, own).verdict.follows(), Some(true), "the stranger's is the fourth");
    let fewer = ReadBounds { changes: 2, ..ReadBounds::default() };
    assert_eq!(checked(&place, 13, fewer).verdict.follows(), None);
}

/// Ten were held for each.
async fn a_cost_without_usage_is_the_hold_or_nothing_and_not_decided_further(place: TestLog) {
    let log = place.open(&clock());
    open(&log, budget(1, Scope::Tenant(id(1)), 1_000, Period::Total), 1).await;
    for (request, cost) in [(21, 10), (22, 0), (23, 4)] {
        let usage = Some(Usage::new(TokenClasses::default(), UsageSource::Unknown));
        let end = Box::new(InferenceEnded { usage, ..*ended(cost) });
        let hold = admit(&log, request, 7, 10).await;
        hold.end(Vec::new(), Outcome::Aborted(end), Charge::Settle(NanoUsd::new(cost))).await.expect("recorded");
    }
    blocking(|| log.close());
    for (request, follows) in [(21, None), (22, None), (23, Some(false))] {
        let settlement = explained(&place, request, ReadBounds::default()).settlement.expect("an end");
        assert_eq!(settlement.verdict.follows(), follows, "{request}: {:?}", settlement.verdict);
    }
}
