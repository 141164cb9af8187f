//! Several nodes with one database: their appends are one log, and together they overrun no budget.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use events::event::admin::Scope;
use events::event::{Event, Hold, Inference, Recorded, Stream, StreamKind};
use events::ids::RequestId;
use events::ledger::{Charge, Outcome};
use events::money::NanoUsd;
use events::refusal::ErrorCode;
use events::time::{ManualClock, Period};
use events_log::{
    Admitted, Append, AppendError, Fingerprint, Followed, Follower, InferenceKey, Log, LogOptions, Name, OpenHold,
    SideRow,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::facts::{admission, append, budget, clock, ended, id, opened, start, verify};
use crate::test_log::TestLog;

const TTL: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);
const NODES: usize = 3;
const LIMIT: i64 = 330;
const HELD: i64 = 10;
/// Three times as many as fit at once.
const REQUESTS: u128 = 100;

/// Nodes in one process, each with its own clock and connections.
struct Cluster {
    nodes: Vec<Log>,
    clocks: Vec<Arc<ManualClock>>,
    // Declared last: it outlives the logs in it.
    test_log: TestLog,
}

impl Cluster {
    /// Clocks of machines differ a little.
    fn new() -> Self {
        let test_log = TestLog::in_database();
        let clocks: Vec<_> = (0..NODES).map(|_| clock()).collect();
        for (lead, clock) in (0..).zip(&clocks) {
            clock.advance(Duration::from_millis(300) * lead);
        }
        let nodes = clocks.iter().map(|clock| test_log.open(clock)).collect();
        Self { nodes, clocks, test_log }
    }

    /// The node that serves this request.
    fn node(&self, request: u128) -> Log {
        self.nodes[usize::try_from(request).expect("few") % NODES].clone()
    }

    async fn open_budget(&self, limit: i64) {
        let event = opened(budget(1, Scope::Tenant(id(1)), limit, Period::Total));
        self.nodes[0].append(append(StreamKind::Budget, id(1), 0, event)).await.expect("a budget is opened");
    }

    /// The log, after all nodes have seen all of it.
    async fn everything(&self) -> Vec<Recorded> {
        let head = self.nodes.iter().map(|log| log.head().position).max().expect("nodes");
        for log in &self.nodes {
            until(log, head).await;
        }
        let all = self.nodes[0].reader().expect("a reader").after(0, 100_000).expect("the log reads");
        verify(&*self.nodes[NODES - 1].reader().expect("a reader")).expect("a sound log");
        all
    }

    fn pass(&self, time: Duration) {
        self.clocks.iter().for_each(|clock| clock.advance(time));
    }
}

/// Waits until the node has taken in the log up to this position.
async fn until(log: &Log, position: u64) {
    let mut head = log.watch_head();
    timeout(SOON, head.wait_for(|head| head.position >= position)).await.expect("in time").expect("a head");
}

/// Each request has a key of its own, because only a few refusals of one are recorded in a second.
async fn admit(log: &Log, request: u128, held: i64) -> Result<OpenHold, u64> {
    match log.admit(admission(request, request, held, TTL), None).await.expect("the ledger answers") {
        Admitted::Hold(hold) => Ok(hold),
        Admitted::Refused(refusal) => {
            assert_eq!(refusal.code, ErrorCode::BudgetExceeded);
            Err(refusal.position.expect("it is recorded"))
        }
        other => panic!("nobody asked for a tighter bound or planned on older tables: {other:?}"),
    }
}

async fn settle(hold: OpenHold, cost: i64) -> u64 {
    let outcome = Outcome::Completed(ended(cost));
    hold.end(Vec::new(), outcome, Charge::Settle(NanoUsd::new(cost))).await.expect("the end is recorded").position
}

/// The answer to a client about its request.
enum Told {
    Refused { at: u64 },
    Admitted { at: u64 },
    Settled { admitted: u64, settled: u64 },
}

/// Sends a request: some cost their whole hold, some less, and some are not over yet.
async fn ask(log: Log, request: u128) -> (RequestId, Told) {
    let told = match admit(&log, request, HELD).await {
        Err(at) => Told::Refused { at },
        Ok(hold) => {
            let admitted = hold.admitted_position;
            match request % 4 {
                0 => {
                    std::mem::forget(hold);
                    Told::Admitted { at: admitted }
                }
                1 => Told::Settled { admitted, settled: settle(hold, HELD).await },
                _ => Told::Settled { admitted, settled: settle(hold, HELD / 2).await },
            }
        }
    };
    (id(request), told)
}

/// The money of the one budget, reckoned event by event.
#[derive(Default)]
struct Money {
    settled: i64,
    held: HashMap<Stream, i64>,
}

impl Money {
    fn used(&self) -> i64 {
        self.settled + self.held.values().sum::<i64>()
    }

    fn follow(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::Hold(Hold::Reserved(reserved)) => {
                self.held.insert(recorded.stream.clone(), reserved.held_usd.nanos());
            }
            Event::Hold(Hold::Settled(settled)) => {
                self.held.remove(&recorded.stream).expect("it was held");
                self.settled += settled.charged_usd.nanos();
            }
            Event::Hold(other) => panic!("nothing expires or is released: {other:?}"),
            Event::Inference(Inference::Refused(_)) => {
                assert!(self.used() + HELD > LIMIT, "{}: it fitted: {} are used", recorded.position, self.used());
            }
            _ => {}
        }
        assert!(self.used() <= LIMIT, "{}: {} are used", recorded.position, self.used());
    }
}

/// Follows the log up to a position.
async fn followed(mut follower: Follower, until: u64) -> Vec<Recorded> {
    let mut events = Vec::new();
    while follower.position() < until {
        let next = timeout(SOON, follower.next()).await.expect("in time").expect("it reads").expect("the log is open");
        events.extend(next.events().iter().map(|recorded| (**recorded).clone()));
    }
    events
}

/// Holds: event.never-over, event.order
#[tokio::test]
async fn together_nodes_give_out_what_a_budget_holds_and_no_more() {
    let cluster = Cluster::new();
    let followers: Vec<_> = cluster.nodes.iter().map(|log| log.follow(0, 7)).collect();
    cluster.open_budget(LIMIT).await;
    for log in &cluster.nodes {
        until(log, 1).await;
    }
    let mut asking = JoinSet::new();
    for request in 1..=REQUESTS {
        asking.spawn(ask(cluster.node(request), request));
    }
    let told = asking.join_all().await;
    let all = cluster.everything().await;

    let mut money = Money::default();
    for (wanted, recorded) in (1..).zip(&all) {
        assert_eq!(recorded.position, wanted, "positions have no gap");
        money.follow(recorded);
    }
    assert!(all.windows(2).all(|pair| pair[0].recorded_at <= pair[1].recorded_at), "time never goes back");
    let at = |position: u64| &all[usize::try_from(position).expect("few") - 1];
    let refused = told.iter().filter(|(_, told)| matches!(told, Told::Refused { .. })).count();
    assert!(refused > 0 && refused < 70, "{refused} of {REQUESTS}: a third fits at once");
    for (request, told) in told {
        let must_be = |position: u64, name: &str| {
            let recorded = at(position);
            assert_eq!((recorded.context.request_id, recorded.event.name()), (Some(request), name), "at {position}");
        };
        match told {
            Told::Refused { at } => must_be(at, "inference.refused"),
            Told::Admitted { at } => must_be(at, "inference.admitted"),
            Told::Settled { admitted, settled } => {
                must_be(admitted, "inference.admitted");
                must_be(settled, "budget.settled");
            }
        }
    }
    let head = u64::try_from(all.len()).expect("few");
    for follower in followers {
        assert_eq!(followed(follower, head).await, all, "whoever follows any of them sees the log");
    }
}

async fn next(follower: &mut Follower) -> Followed {
    timeout(SOON, follower.next()).await.expect("in time").expect("it reads").expect("the log is open")
}

#[tokio::test]
async fn followers_tell_what_their_process_appended_from_what_others_did() {
    let cluster = Cluster::new();
    let [mut of_first, mut of_second] = [0, 1].map(|node: usize| cluster.nodes[node].follow_from_now(100));
    cluster.open_budget(LIMIT).await;
    assert!(matches!(next(&mut of_first).await, Followed::Batch(_)));
    assert!(matches!(next(&mut of_second).await, Followed::Others(_)));
    // One by one, so that each is a batch.
    for request in 2..=7 {
        for log in &cluster.nodes {
            until(log, cluster.nodes.iter().map(|log| log.head().position).max().expect("nodes")).await;
        }
        ask(cluster.nodes[usize::from(request % 2 == 0)].clone(), request).await;
    }
    let all = cluster.everything().await;
    let page: Vec<_> = all.into_iter().map(Arc::new).collect();
    let mut is_own = Vec::new();
    for follower in [&mut of_first, &mut of_second] {
        let own = follower.own_positions(&page).await.expect("it reads");
        is_own.push(page.iter().map(|event| own.iter().any(|of| of.contains(&event.position))).collect::<Vec<_>>());
    }
    assert!(is_own[0].iter().zip(&is_own[1]).all(|(first, second)| first != second), "{is_own:?}");
    for (event, of_first) in page.iter().zip(&is_own[0]) {
        let asked_first = event.context.request_id.is_none_or(|asked| (2..=7).step_by(2).all(|even| asked != id(even)));
        assert_eq!(*of_first, asked_first, "{event:?}");
    }
    // The tail says the same.
    for (mut follower, is_own) in [of_first, of_second].into_iter().zip(is_own) {
        while follower.position() < u64::try_from(page.len()).expect("few") {
            let followed = next(&mut follower).await;
            let of_tail = matches!(followed, Followed::Batch(_));
            for event in followed.events() {
                assert_eq!(of_tail, is_own[usize::try_from(event.position).expect("few") - 1], "{event:?}");
            }
        }
    }
}

/// Holds: shared.idempotency
#[tokio::test]
async fn one_idempotency_key_admits_one_request_whichever_nodes_are_asked() {
    let cluster = Cluster::new();
    let mut asking = JoinSet::new();
    for request in 1..=30 {
        let (log, key) = (
            cluster.node(request),
            InferenceKey {
                tenant: id(1),
                key: "once".to_owned(),
                fingerprint: Fingerprint { keyed: [1; 32], unkeyed: [1; 32] },
            },
        );
        asking.spawn(async move { log.admit(admission(request, request, 1, TTL), Some(key)).await });
    }
    let answers: Vec<Admitted> = asking.join_all().await.into_iter().map(|answer| answer.expect("an answer")).collect();
    let first: Vec<RequestId> = answers
        .iter()
        .filter_map(|answer| if let Admitted::Hold(hold) = answer { Some(hold.request_id) } else { None })
        .collect();
    let [first] = first[..] else { panic!("{} were admitted", first.len()) };
    for answer in &answers {
        let Admitted::Refused(refusal) = answer else { continue };
        assert_eq!(
            (refusal.code, refusal.details["request_id"].as_str()),
            (ErrorCode::Conflict, Some(&*first.to_string()))
        );
    }
    answers.into_iter().for_each(std::mem::forget);
    cluster.everything().await;
}

/// Holds: shared.changes
#[tokio::test]
async fn one_of_those_who_claim_a_name_or_a_place_on_a_stream_gets_it() {
    let cluster = Cluster::new();
    let mut appending = JoinSet::new();
    for number in 1..=30u128 {
        // Half of them begin the same stream, the others their own, under the same name.
        let stream = if number > 15 { 1000 } else { number };
        let event = opened(budget(stream, Scope::Tenant(id(1)), 1, Period::Total));
        let name = Name { kind: StreamKind::Model, scope: "shared".to_owned(), name: "m".to_owned() };
        let claim = SideRow::ClaimName { name, owner: stream.to_string() };
        let side = if number > 15 { Vec::new() } else { vec![claim] };
        let (log, change) = (cluster.node(number), Append { side, ..append(StreamKind::Budget, id(stream), 0, event) });
        appending.spawn(async move { log.append(change).await });
    }
    let answers = appending.join_all().await;
    let count = |is: fn(&AppendError) -> bool| answers.iter().filter(|answer| answer.as_ref().is_err_and(is)).count();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2, "{answers:?}");
    assert_eq!(count(|error| matches!(error, AppendError::NameTaken { .. })), 14);
    assert_eq!(count(|error| matches!(error, AppendError::OptimisticLock)), 14);
    assert_eq!(cluster.everything().await.len(), 2);
}

/// Holds: shared.changes
#[tokio::test]
async fn of_those_who_replace_one_catalogue_one_does() {
    let cluster = Cluster::new();
    let replace = |number: u128, replaces: u64| {
        let event = opened(budget(number, Scope::Tenant(id(1)), 1, Period::Total));
        let side = vec![SideRow::Catalogue { document: number.to_string(), replaces }];
        let (log, change) = (cluster.node(number), Append { side, ..append(StreamKind::Budget, id(number), 0, event) });
        async move { log.append(change).await }
    };
    let imported = || cluster.nodes[0].reader().expect("a reader").imported_catalogue(0).expect("an answer");
    let answers = (1..=6).map(|number| replace(number, 0)).collect::<JoinSet<_>>().join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(AppendError::OptimisticLock))), "{answers:?}");
    assert_eq!(imported().expect("a catalogue").revision, 1);
    replace(7, 1).await.expect("it knows the catalogue in force");
    let now = imported().expect("a catalogue");
    assert_eq!((now.revision, now.document.as_str()), (2, "7"));
    assert_eq!(cluster.everything().await.len(), 2);
}

/// Holds: bin.sweeper, event.one-end
#[tokio::test]
async fn what_a_node_left_open_when_it_died_ends_once() {
    let mut cluster = Cluster::new();
    cluster.open_budget(LIMIT).await;
    let log = cluster.nodes.remove(0);
    for request in 1..=5 {
        std::mem::forget(admit(&log, request, HELD).await.expect("it fits"));
    }
    let held = log.head().position;
    log.close();
    cluster.nodes.push(cluster.test_log.open(&cluster.clocks[0]));
    for log in &cluster.nodes {
        until(log, held).await;
    }
    // All that are left sweep.
    cluster.pass(TTL + Duration::from_secs(1));
    for log in &cluster.nodes {
        until(log, held + 10).await;
    }
    let all = cluster.everything().await;
    let expired = all.iter().filter(|recorded| matches!(recorded.event, Event::Hold(Hold::Expired(_))));
    assert_eq!((all.len(), expired.count()), (1 + 5 * 2 + 5 * 2, 5));
}

/// The two take turns, so that each finds that the other was faster.
///
/// Holds: event.never-over
#[tokio::test]
async fn a_batch_is_decided_anew_on_what_another_node_appended() {
    let (test_log, clock) = (TestLog::in_database(), clock());
    let (one, mut one_writer) = test_log.stepped(LogOptions::new(clock.clone()));
    let (other, mut other_writer) = test_log.stepped(LogOptions::new(clock.clone()));
    let mut appending = JoinSet::new();
    let change = append(StreamKind::Budget, id(1), 0, opened(budget(1, Scope::Tenant(id(1)), 100, Period::Total)));
    let opening = one.clone();
    appending.spawn(async move { opening.append(change).await.map(|appended| appended.last) });
    tokio::task::yield_now().await;
    one_writer.step(usize::MAX);
    assert_eq!(appending.join_next().await.expect("a job").expect("no panic").expect("a budget"), 1);

    let mut told = Vec::new();
    for (request, held) in [(1, 80), (2, 30), (3, 20), (4, 1)] {
        let (log, writer) = if request % 2 == 1 { (&other, &mut other_writer) } else { (&one, &mut one_writer) };
        let mut asking = JoinSet::new();
        let asked = log.clone();
        asking.spawn(async move { admit(&asked, request, held).await });
        tokio::task::yield_now().await;
        writer.step(usize::MAX);
        let answer = asking.join_next().await.expect("a job").expect("no panic");
        told.push(answer.map(|hold| (hold.admitted_position, std::mem::forget(hold))).map(|(position, ())| position));
    }
    assert_eq!(told, [Ok(2), Err(4), Ok(5), Err(7)], "80 of 100, then 30 do not fit, 20 do, and then nothing");
    let sound = verify(&*test_log.reader()).expect("a sound log");
    assert_eq!((sound.events, sound.open_holds), (7, 2));
}

#[tokio::test]
async fn a_node_whose_clock_is_ahead_of_the_database_records_nothing() {
    let test_log = TestLog::in_database();
    let ahead = Arc::new(ManualClock::at(start() + TimeDelta::days(100 * 365)));
    let (ahead, sound) = (test_log.open(&ahead), test_log.open(&clock()));
    let asked = ahead.admit(admission(1, 1, 1, TTL), None).await;
    assert!(asked.is_err(), "{asked:?}");
    let hold = admit(&sound, 2, 1).await.expect("its clock is right");
    assert_eq!(hold.admitted_position, 1, "nothing was recorded before it");
    settle(hold, 1).await;
}

/// A database that was restored from a backup, or a failover to a replica that lacked the last batches.
///
/// Holds: shared.fork
#[tokio::test]
async fn a_node_appends_nothing_to_a_log_that_has_lost_what_the_node_saw() {
    let test_log = TestLog::in_database();
    let (log, clock) = (test_log.open(&clock()), clock());
    settle(admit(&log, 1, 1).await.expect("no budget binds"), 1).await;
    let TestLog::Database(database) = &test_log else { panic!("it is in a database") };
    database.execute(
        "ALTER TABLE ledger.events DISABLE TRIGGER USER; ALTER TABLE ledger.batches DISABLE TRIGGER USER;
         DELETE FROM ledger.events WHERE position > 2; DELETE FROM ledger.batches WHERE first > 2",
    );
    let asked = log.admit(admission(2, 2, 1, TTL), None).await;
    assert!(asked.is_err(), "{asked:?}");
    assert!(!log.is_writable(), "health does not show it");
    let other = test_log.open(&clock);
    assert_eq!(other.head().position, 2);
    assert_eq!(admit(&other, 3, 1).await.map(|hold| hold.admitted_position), Ok(3), "whoever starts now goes on");
    // Also now that the log is as long again as it was.
    let asked = log.admit(admission(4, 4, 1, TTL), None).await;
    assert!(asked.is_err(), "{asked:?}");
    let names: Vec<_> = other
        .reader()
        .expect("a reader")
        .after(0, 100)
        .expect("it reads")
        .into_iter()
        .map(|recorded| recorded.event.name())
        .collect();
    assert!(!names.contains(&"inference.refused") && names.len() < 8, "{names:?}");
}
