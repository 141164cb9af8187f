//! Idempotency keys of inference: in any sequence of requests, ends, expiries and crashes, a repeated request is admitted only
//! if nothing was charged for it and it is not in progress.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::event::StreamKind;
use events::event::admin::Scope;
use events::ids::{RequestId, TenantId};
use events::ledger::{Charge, Outcome};
use events::money::NanoUsd;
use events::refusal::ErrorCode;
use events::time::{Clock, ManualClock, Period, parse_rfc3339};
use events_log::{Admitted, Fingerprint, Idempotency, InferenceKey, Log, LogOptions, OpenHold};
use proptest::prelude::*;

use crate::facts::{admission, append, budget, clock, ended, id, opened, verify};
use crate::test_log::{TestLog, TestWriter, on_both_engines};

const TTL: Duration = Duration::from_secs(60);
const KEPT: TimeDelta = TimeDelta::days(30);

on_both_engines! {
    tenants_and_keys_are_apart_and_a_request_without_a_key_is_none_of_them,
    of_many_at_once_under_one_key_one_is_admitted,
    claims_of_an_earlier_version_are_recognized_and_never_paid_for_again,
    old_keys_and_replies_are_dropped_in_steps,
}

/// Queues an admission.
fn begin<F: Future>(asked: &mut Pin<Box<F>>) {
    assert!(asked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(), "nobody has answered it");
}

fn key(tenant: u128, name: &str, fingerprint: u8) -> InferenceKey {
    // Never what is left of one that an earlier version stored.
    let fingerprint = Fingerprint { keyed: [fingerprint + 1; 32], unkeyed: [fingerprint + 101; 32] };
    InferenceKey { tenant: id::<TenantId>(tenant), key: name.to_owned(), fingerprint }
}

/// The reply to an admission with an idempotency key.
#[derive(Clone, Debug, PartialEq)]
enum KeyedReply {
    Admitted,
    /// With the id of the first request with the key.
    InFlight(RequestId),
    /// The time at which its hold expires, and the wait until then.
    ProcessEnded(RequestId, DateTime<Utc>, Duration),
    Charged(RequestId, i64),
    OtherRequest(RequestId),
}

fn reply_of(admitted: &Admitted) -> KeyedReply {
    let Admitted::Refused(refusal) = admitted else { return KeyedReply::Admitted };
    let first = refusal.details["request_id"].as_str().expect("the first request").parse().expect("an id");
    let cost = refusal.details.get("cost_usd").map(|cost| cost.as_str().expect("money").parse::<NanoUsd>());
    let expires_at = refusal.details.get("expires_at").map(|at| parse_rfc3339(at.as_str().expect("a time")));
    let wait = refusal.retry_after.unwrap_or_default();
    if let Some(expires_at) = expires_at {
        assert_eq!(refusal.code, ErrorCode::Conflict);
        assert!(refusal.message.contains("process"), "{}", refusal.message);
        return KeyedReply::ProcessEnded(first, expires_at.expect("a time"), wait);
    }
    match (refusal.code, cost) {
        (ErrorCode::Conflict, None) => KeyedReply::InFlight(first),
        (ErrorCode::IdempotencyKeyReused, Some(cost)) => KeyedReply::Charged(first, cost.expect("money").nanos()),
        (ErrorCode::IdempotencyKeyReused, None) => KeyedReply::OtherRequest(first),
        other => panic!("{other:?}"),
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Concurrent requests with the same key and fingerprint: their number, and the size of the batches.
    Ask { key: u8, fingerprint: u8, times: usize, batch: usize },
    /// An open hold ends, charged or released.
    End { which: usize, charge: Option<i64> },
    /// Time passes: open holds expire.
    Wait { days: i64 },
    /// The process dies.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0u8..3, 0u8..2, 1usize..4, 1usize..3)
            .prop_map(|(key, fingerprint, times, batch)| Step::Ask { key, fingerprint, times, batch }),
        4 => (any::<usize>(), proptest::option::of(0i64..50)).prop_map(|(which, charge)| Step::End { which, charge }),
        2 => (0i64..20).prop_map(|days| Step::Wait { days }),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..40)
}

/// The model's state of the request last admitted with a key.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Open { until: DateTime<Utc>, held: i64, is_lost: bool },
    Released,
    Charged(i64),
}

#[derive(Clone, Copy, Debug)]
struct Known {
    request: RequestId,
    fingerprint: u8,
    since: DateTime<Utc>,
    fate: Fate,
}

struct World {
    open: Vec<OpenHold>,
    log: Log,
    writer: TestWriter,
    clock: Arc<ManualClock>,
    model: BTreeMap<u8, Known>,
    requests: u128,
    // Declared last: it outlives the log in it.
    test_log: TestLog,
}

impl World {
    fn on(test_log: TestLog) -> Self {
        let clock = clock();
        let (log, writer) = opened_in(&test_log, &clock);
        Self { open: Vec::new(), log, writer, clock, model: BTreeMap::new(), requests: 0, test_log }
    }

    async fn take(&mut self, step: Step) {
        // One second each, because too many refusals in a second would only be counted.
        self.clock.advance(Duration::from_secs(1));
        match step {
            Step::Ask { key, fingerprint, times, batch } => self.ask(key, fingerprint, times, batch).await,
            Step::End { which, charge } if !self.open.is_empty() => {
                let hold = self.open.remove(which % self.open.len());
                let request = hold.request_id;
                let charged = charge.map_or_else(
                    || Charge::Release { reason: "test".to_owned() },
                    |amount| Charge::Settle(NanoUsd::new(amount)),
                );
                let mut ending =
                    Box::pin(hold.end(Vec::new(), Outcome::Completed(ended(charge.unwrap_or(0))), charged));
                begin(&mut ending);
                self.writer.step(1);
                ending.await.expect("it is recorded");
                self.fates().filter(|known| known.request == request).for_each(|known| {
                    known.fate = charge.map_or(Fate::Released, Fate::Charged);
                });
            }
            Step::End { .. } => {}
            Step::Wait { days } => {
                self.clock.advance(TTL + Duration::from_secs(u64::try_from(days).expect("not negative") * 86_400));
                // Expired holds have no owner any more.
                self.open.drain(..).for_each(std::mem::forget);
                self.writer.step(0);
                let now = self.clock.now();
                self.fates().for_each(|known| {
                    if let Fate::Open { until, held, .. } = known.fate
                        && until <= now
                    {
                        known.fate = Fate::Charged(held);
                    }
                });
            }
            Step::Crash => {
                self.open.drain(..).for_each(std::mem::forget);
                let (elsewhere, clock) = (TestLog::in_folder(), clock());
                // Drop the old one first, because it holds the lock of the folder.
                (self.log, self.writer) = opened_in(&elsewhere, &clock);
                (self.log, self.writer) = opened_in(&self.test_log, &self.clock);
                self.fates().for_each(|known| {
                    if let Fate::Open { is_lost, .. } = &mut known.fate {
                        *is_lost = true;
                    }
                });
            }
        }
    }

    fn fates(&mut self) -> impl Iterator<Item = &mut Known> {
        self.model.values_mut()
    }

    async fn ask(&mut self, name: u8, fingerprint: u8, times: usize, batch: usize) {
        const HELD: i64 = 100;
        let mut asking = Vec::new();
        for _ in 0..times {
            self.requests += 1;
            let (log, request) = (self.log.clone(), self.requests);
            let key = key(1, &format!("key-{name}"), fingerprint);
            let mut asked = Box::pin(async move { log.admit(admission(request, 1, HELD, TTL), Some(key)).await });
            begin(&mut asked);
            asking.push((id::<RequestId>(request), asked));
        }
        for _ in 0..times {
            self.writer.step(batch);
        }
        for (request, asked) in asking {
            let admitted = asked.await.expect("an answer");
            assert_eq!(reply_of(&admitted), self.expected(name, fingerprint, request, HELD));
            if let Admitted::Hold(hold) = admitted {
                self.open.push(hold);
            }
        }
    }

    fn expected(&mut self, name: u8, fingerprint: u8, request: RequestId, held: i64) -> KeyedReply {
        let now = self.clock.now();
        if let Some(known) = self.model.get(&name).filter(|known| known.since > now - KEPT) {
            if known.fingerprint != fingerprint {
                return KeyedReply::OtherRequest(known.request);
            }
            match known.fate {
                Fate::Open { is_lost: false, .. } => return KeyedReply::InFlight(known.request),
                Fate::Open { until, .. } => {
                    let wait = (until - now).to_std().expect("it has not expired");
                    return KeyedReply::ProcessEnded(known.request, until, wait);
                }
                Fate::Charged(cost) => return KeyedReply::Charged(known.request, cost),
                Fate::Released => {}
            }
        }
        let fate = Fate::Open { until: now + TTL, held, is_lost: false };
        self.model.insert(name, Known { request, fingerprint, since: now, fate });
        KeyedReply::Admitted
    }
}

fn opened_in(test_log: &TestLog, clock: &Arc<ManualClock>) -> (Log, TestWriter) {
    let opened = test_log.stepped(LogOptions::new(clock.clone()));
    if let TestLog::Database(database) = test_log {
        // Nobody shows that a node which is moved by hand is there, or waits until the one before is taken for gone.
        database.execute(
            "UPDATE ledger.running_nodes SET seen_at = CASE
             WHEN started_at = (SELECT max(started_at) FROM ledger.running_nodes) THEN 9000000000000000 ELSE 0 END",
        );
    }
    opened
}

/// Takes the steps, each with the replies that the model predicts, and checks the log that they leave.
fn play(test_log: TestLog, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut world = World::on(test_log);
        for step in steps {
            world.take(step).await;
        }
        verify(&*world.test_log.reader()).expect("a sound log");
    });
}

mod a_key_stands_for_one_request_that_is_charged_or_being_answered {
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn sqlite(steps in steps()) {
            play(TestLog::in_folder(), steps);
        }
    }

    proptest! {
        // Each case has a database of its own.
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        #[test]
        fn postgres(steps in steps()) {
            play(TestLog::in_database(), steps);
        }
    }
}

async fn tenants_and_keys_are_apart_and_a_request_without_a_key_is_none_of_them(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let ask = async |request: u128, key: Option<InferenceKey>| {
        reply_of(&log.admit(admission(request, 1, 1, TTL), key).await.expect("an answer"))
    };
    for (request, key) in
        [(1, Some(key(1, "a", 1))), (2, Some(key(2, "a", 1))), (3, Some(key(1, "b", 1))), (4, None), (5, None)]
    {
        assert_eq!(ask(request, key).await, KeyedReply::Admitted, "{request}");
    }
    // Every hold was dropped, which releases its money: none is charged or open.
    assert_eq!(ask(6, Some(key(1, "a", 1))).await, KeyedReply::Admitted);
}

async fn of_many_at_once_under_one_key_one_is_admitted(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let mut asking = tokio::task::JoinSet::new();
    for request in 1..=200u128 {
        let log = log.clone();
        asking.spawn(async move { log.admit(admission(request, 1, 1, TTL), Some(key(1, "once", 1))).await });
    }
    let answers: Vec<Admitted> = asking.join_all().await.into_iter().map(|answer| answer.expect("an answer")).collect();
    let holds: Vec<&OpenHold> =
        answers.iter().filter_map(|answer| if let Admitted::Hold(hold) = answer { Some(hold) } else { None }).collect();
    let [first] = holds[..] else { panic!("{} were admitted", holds.len()) };
    let refused = answers.iter().map(reply_of).filter(|reply| *reply == KeyedReply::InFlight(first.request_id));
    assert_eq!(refused.count(), 199);
}

/// A process of an earlier version stores digests without a key, of which a migration leaves zeros.
async fn claims_of_an_earlier_version_are_recognized_and_never_paid_for_again(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let ask = async |request: u128, key: InferenceKey| {
        log.admit(admission(request, 1, 1, TTL), Some(key)).await.expect("an answer")
    };
    let (ours, other) = (key(1, "once", 1), key(1, "once", 2));
    let earlier = Fingerprint { keyed: ours.fingerprint.unkeyed, ..ours.fingerprint };
    let first = ask(1, InferenceKey { fingerprint: earlier, ..ours.clone() }).await;
    let Admitted::Hold(hold) = &first else { panic!("it was not admitted") };
    assert_eq!(reply_of(&ask(2, ours).await), KeyedReply::InFlight(hold.request_id));
    assert_eq!(reply_of(&ask(3, other).await), KeyedReply::OtherRequest(hold.request_id));
    let dropped = Fingerprint { keyed: [0; 32], unkeyed: [1; 32] };
    let second = ask(4, InferenceKey { fingerprint: dropped, ..key(1, "twice", 1) }).await;
    let Admitted::Hold(hold) = &second else { panic!("it was not admitted") };
    assert_eq!(reply_of(&ask(5, key(1, "twice", 2)).await), KeyedReply::InFlight(hold.request_id));
}

/// Rows older than thirty days are dropped, a few at a time.
async fn old_keys_and_replies_are_dropped_in_steps(test_log: TestLog) {
    const ROWS: u128 = 1200;
    const A_STEP: i64 = 500;
    let clock = clock();
    let (log, mut writer) = opened_in(&test_log, &clock);
    let (mut asking, mut appending) = (Vec::new(), Vec::new());
    for request in 1..=ROWS {
        let key = key(1, &format!("key-{request}"), 1);
        let mut asked = Box::pin(log.admit(admission(request, 1, 1, TTL), Some(key)));
        begin(&mut asked);
        asking.push(asked);
        // A budget of another tenant, which binds none of the requests.
        let event = opened(budget(request, Scope::Tenant(id(2)), 1, Period::Total));
        let idempotency = Idempotency {
            scope: "operator".to_owned(),
            key: format!("key-{request}"),
            fingerprint: Fingerprint { keyed: [1; 32], unkeyed: [1; 32] },
            status: 201,
            body: "{}".to_owned(),
        };
        let change = append(StreamKind::Budget, id(request), 0, event);
        let mut appended = Box::pin(log.append(events_log::Append { idempotency: Some(idempotency), ..change }));
        begin(&mut appended);
        appending.push(appended);
    }
    writer.step(usize::MAX);
    for asked in asking {
        std::mem::forget(asked.await.expect("an answer"));
    }
    for appended in appending {
        appended.await.expect("it is appended");
    }
    let rows = |table: &str| test_log.number(&format!("SELECT count(*) FROM {table}"));
    let everything = i64::try_from(ROWS).expect("a number");
    clock.advance(Duration::from_secs(29 * 86_400));
    writer.step(0);
    assert_eq!((rows("inference_keys"), rows("idempotency")), (everything, everything));
    clock.advance(Duration::from_secs(2 * 86_400));
    for step in 1..=3 {
        // Record something, because an idle writer drops nothing.
        let request = ROWS + step;
        let mut asked = Box::pin(log.admit(admission(request, 1, 1, TTL), None));
        begin(&mut asked);
        writer.step(1);
        std::mem::forget(asked.await.expect("an answer"));
        let left = (everything - A_STEP * i64::try_from(step).expect("a number")).max(0);
        assert_eq!((rows("inference_keys"), rows("idempotency")), (left, left), "step {step}");
    }
}
