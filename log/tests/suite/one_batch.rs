//! How the jobs of a batch see each other, and what happens to a batch if another process appends to the log.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use events::event::admin::Scope;
use events::event::hold::BudgetWindow;
use events::event::{Event, Inference, Recorded, Stream, StreamKind};
use events::ledger::{Amounts, Charge, Outcome, RefusedRequest};
use events::money::{NanoUsd, NanoUsdSum};
use events::refusal::{ErrorCode, Refusal};
use events::time::{ManualClock, Period};
use events_log::verify::Sound;
use events_log::{
    Admitted, Append, AppendError, Fingerprint, Idempotency, InferenceKey, LEDGER_FILE, Log, LogOptions, Name, Note,
    OpenHold, SideRow,
};
use rusqlite::{Connection, params};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::facts::{admission, append, budget, clock, context, ended, ending, id, opened, verify};
use crate::test_log::{TestLog, TestWriter, on_both_engines};

const TTL: Duration = Duration::from_secs(60);

on_both_engines! {
    changes_of_one_batch_see_those_before_them,
    notes_of_one_batch_follow_each_other_on_their_stream_and_changes_follow_them,
    jobs_with_more_events_than_a_batch_takes_are_recorded_in_several,
    an_end_that_comes_twice_in_one_batch_is_recorded_once,
    of_two_requests_with_one_idempotency_key_in_a_batch_one_is_admitted,
    a_job_that_cannot_be_recorded_keeps_no_hold_from_its_end,
}

struct World {
    log: Log,
    writer: TestWriter,
    clock: Arc<ManualClock>,
    // Declared last: it outlives the log in it.
    test_log: TestLog,
}

impl World {
    fn on(test_log: TestLog) -> Self {
        let clock = clock();
        let (log, writer) = test_log.stepped(LogOptions::new(clock.clone()));
        Self { log, writer, clock, test_log }
    }

    fn folder(&self) -> &Path {
        let TestLog::Folder(folder) = &self.test_log else { panic!("it is in a database") };
        folder.path()
    }

    fn connection(&self) -> &Connection {
        let TestWriter::Folder(writer) = &self.writer else { panic!("it is in a database") };
        writer.engine().connection()
    }

    /// The answers to jobs that the writer takes as one batch, in order.
    async fn batch<T, F>(&mut self, jobs: impl IntoIterator<Item = F>) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let mut asking = JoinSet::new();
        for (place, job) in jobs.into_iter().enumerate() {
            asking.spawn(async move { (place, job.await) });
        }
        // Poll each one until it is in the queue.
        tokio::task::yield_now().await;
        self.writer.step(usize::MAX);
        let mut answers = asking.join_all().await;
        answers.sort_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    async fn append(&mut self, changes: Vec<Append>) -> Vec<Result<u64, AppendError>> {
        let log = self.log.clone();
        let append = move |change| {
            let log = log.clone();
            async move { log.append(change).await.map(|appended| appended.last) }
        };
        self.batch(changes.into_iter().map(append)).await
    }

    async fn admit(&mut self, request: u128, held: i64, key: Option<InferenceKey>) -> Admitted {
        let log = self.log.clone();
        let job = async move { log.admit(admission(request, 1, held, TTL), key).await };
        self.batch([job]).await.remove(0).expect("the ledger answers")
    }

    async fn hold(&mut self, request: u128, held: i64) -> OpenHold {
        match self.admit(request, held, None).await {
            Admitted::Hold(hold) => hold,
            other => panic!("there is room: {other:?}"),
        }
    }

    fn everything(&self) -> Vec<Recorded> {
        self.log.reader().expect("a reader").after(0, 100_000).expect("the log reads")
    }

    fn names(&self) -> Vec<&'static str> {
        self.everything().iter().map(|recorded| recorded.event.name()).collect()
    }
}

fn opening(number: u128, limit: i64) -> Append {
    append(StreamKind::Budget, id(number), 0, opened(budget(number, Scope::Tenant(id(1)), limit, Period::Total)))
}

fn beside(number: u128, before: u64, row: SideRow) -> Append {
    let event = opened(budget(number, Scope::Tenant(id(1)), 1, Period::Total));
    Append { side: vec![row], ..append(StreamKind::Budget, id(number), before, event) }
}

fn name(owner: &str) -> SideRow {
    let (scope, name) = ("shared".to_owned(), "m".to_owned());
    SideRow::ClaimName { name: Name { kind: StreamKind::Model, scope, name }, owner: owner.to_owned() }
}

fn under_key(number: u128, fingerprint: u8) -> Append {
    let idempotency = Idempotency {
        scope: "operator".to_owned(),
        key: "once".to_owned(),
        fingerprint: Fingerprint { keyed: [fingerprint; 32], unkeyed: [fingerprint; 32] },
        status: 201,
        body: "{}".to_owned(),
    };
    Append { idempotency: Some(idempotency), ..opening(number, 1) }
}

async fn changes_of_one_batch_see_those_before_them(test_log: TestLog) {
    let mut world = World::on(test_log);
    let release = |owner: &str| SideRow::ReleaseNames { owner: owner.to_owned() };
    let answers = world
        .append(vec![
            beside(1, 0, name("one")),
            beside(2, 0, name("two")),
            beside(1, 1, release("one")),
            beside(2, 0, name("two")),
            beside(2, 0, name("two")),
            under_key(3, 1),
            under_key(4, 1),
            under_key(5, 2),
        ])
        .await;
    use AppendError::{IdempotencyKeyReused, NameTaken, OptimisticLock, Replayed};
    let [Ok(1), Err(NameTaken { .. }), Ok(2), Ok(3), Err(OptimisticLock), Ok(4), Err(replayed), Err(reused)] =
        &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert!(matches!(replayed, Replayed(reply) if reply.position == 4), "{replayed:?}");
    assert!(matches!(reused, IdempotencyKeyReused), "{reused:?}");
    // So do the jobs of the next batch.
    let answers = world.append(vec![beside(6, 0, name("one")), under_key(4, 1)]).await;
    assert!(matches!(answers[..], [Err(NameTaken { .. }), Err(Replayed(_))]), "{answers:?}");
}

async fn notes_of_one_batch_follow_each_other_on_their_stream_and_changes_follow_them(test_log: TestLog) {
    let mut world = World::on(test_log);
    let stream = Stream::new(StreamKind::Budget, id::<events::ids::BudgetId>(1));
    let event = opened(budget(1, Scope::Tenant(id(1)), 1, Period::Total));
    let note = Note { stream: stream.clone(), context: context(1), event: event.clone() };
    let (noting, appending) = (world.log.clone(), world.log.clone());
    let jobs: [std::pin::Pin<Box<dyn Future<Output = bool> + Send>>; 2] = [
        Box::pin(async move { noting.note(vec![note.clone(), note.clone(), note]).await.is_ok() }),
        Box::pin(async move { appending.append(append(StreamKind::Budget, id(1), 3, event)).await.is_ok() }),
    ];
    assert_eq!(world.batch(jobs).await, [true, true]);
    let sequences: Vec<u64> = world.everything().iter().map(|recorded| recorded.sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
}

async fn jobs_with_more_events_than_a_batch_takes_are_recorded_in_several(test_log: TestLog) {
    let mut world = World::on(test_log);
    let event = opened(budget(1, Scope::Tenant(id(1)), 1, Period::Total));
    let jobs = (1..=6).map(|number| {
        let (log, event) = (world.log.clone(), event.clone());
        let stream = Stream::new(StreamKind::Budget, id::<events::ids::BudgetId>(number));
        let notes = vec![Note { stream, context: context(1), event }; 1_500];
        async move { log.note(notes).await.is_ok() }
    });
    let jobs: Vec<_> = jobs.collect();
    let before = world.log.figures().batches;
    assert_eq!(world.batch(jobs).await, [true; 6]);
    let after = world.log.figures();
    // The third job begins below 4,096 events, and is not divided.
    assert_eq!((after.batches - before, after.jobs, world.log.head().position), (2, 6, 9_000));
    let sequences = world.everything().into_iter().map(|recorded| recorded.sequence);
    assert!(sequences.eq((0..6).flat_map(|_| 1..=1_500_u64)));
}

async fn an_end_that_comes_twice_in_one_batch_is_recorded_once(test_log: TestLog) {
    let mut world = World::on(test_log);
    std::mem::forget(world.hold(1, 10).await);
    for charged in [7, 9] {
        world.writer.repeat(ending(1, 1, Some(charged)));
    }
    world.writer.step(usize::MAX);
    assert_eq!(world.names(), ["inference.admitted", "budget.reserved", "inference.completed", "budget.settled"]);
    assert_eq!(verify(&*world.log.reader().expect("a reader")).expect("sound"), Sound { events: 4, open_holds: 0 });
}

async fn of_two_requests_with_one_idempotency_key_in_a_batch_one_is_admitted(test_log: TestLog) {
    let mut world = World::on(test_log);
    let key = InferenceKey {
        tenant: id(1),
        key: "once".to_owned(),
        fingerprint: Fingerprint { keyed: [1; 32], unkeyed: [1; 32] },
    };
    let (log, key) = (world.log.clone(), &key);
    let ask = |request| {
        let (log, key) = (log.clone(), Some(key.clone()));
        async move { log.admit(admission(request, 1, 10, TTL), key).await.expect("the ledger answers") }
    };
    let admitted = world.batch([ask(1), ask(2)]).await;
    let [Admitted::Hold(hold), Admitted::Refused(refusal)] = &admitted[..] else { panic!("{admitted:?}") };
    assert_eq!(refusal.code.as_str(), "CONFLICT");
    assert_eq!(refusal.details["request_id"], hold.request_id.to_string());
}

/// A copy of the log that goes on independently.
fn copy_of(world: &World) -> World {
    let folder = TempDir::new().expect("a folder");
    let backup = format!("VACUUM INTO '{}'", folder.path().join(LEDGER_FILE).display());
    world.connection().execute_batch(&backup).expect("a copy");
    World::on(TestLog::Folder(folder))
}

/// Copies the other log's events after this position, like a process that ignores the lock.
fn copy_events(from: &Path, to: &Path, after: u64) {
    let ledger = Connection::open(to.join(LEDGER_FILE)).expect("the ledger");
    ledger.execute("ATTACH ?1 AS other", params![from.join(LEDGER_FILE).to_str()]).expect("the other");
    ledger.execute("INSERT OR IGNORE INTO contexts SELECT * FROM other.contexts", []).expect("their contexts");
    let columns =
        "position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata";
    let sql = format!("INSERT INTO events ({columns}) SELECT {columns} FROM other.events WHERE position > ?1");
    ledger.execute(&sql, [after]).expect("copied");
}

#[tokio::test]
async fn what_others_append_is_taken_in_and_the_batch_is_decided_anew() {
    let mut world = World::on(TestLog::in_folder());
    world.append(vec![opening(1, 100)]).await.remove(0).expect("a budget is opened");
    world.writer.step(usize::MAX);
    // A copy of the log goes on independently, and holds 80 of the 100.
    let mut other = copy_of(&world);
    std::mem::forget(other.hold(1, 80).await);
    copy_events(other.folder(), world.folder(), 1);

    let mut follower = world.log.follow_from_now(100);
    world.clock.advance(Duration::from_millis(1));
    match world.admit(2, 30, None).await {
        Admitted::Refused(refusal) => assert_eq!(refusal.code.as_str(), "BUDGET_EXCEEDED"),
        other => panic!("30 do not fit beside the 80 of somebody else: {other:?}"),
    }
    let _hold = world.hold(3, 20).await;
    let wanted = ["budget.opened", "inference.admitted", "budget.reserved", "inference.refused"];
    assert_eq!(world.names()[..4], wanted);
    let mut told = Vec::new();
    while follower.position() < 6 {
        let followed = follower.next().await.expect("it reads").expect("the log is open");
        told.extend(followed.events().iter().map(|recorded| recorded.position));
    }
    assert_eq!(told, [2, 3, 4, 5, 6], "followers are told of all of it, in order");
    assert_eq!(verify(&*world.log.reader().expect("a reader")).expect("sound"), Sound { events: 6, open_holds: 2 });
}

async fn a_job_that_cannot_be_recorded_keeps_no_hold_from_its_end(test_log: TestLog) {
    let mut world = World::on(test_log);
    std::mem::forget(world.hold(1, 10).await);
    let ended_before = world.hold(2, 10).await;
    world.batch([ended_before.end(Vec::new(), Outcome::Completed(ended(10)), Charge::Settle(NanoUsd::new(10)))]).await;
    world.clock.advance(TTL);
    let log = world.log.clone();
    let again = world.batch([async move { log.admit(admission(2, 1, 10, TTL), None).await }]).await.remove(0);
    assert!(again.is_err(), "its stream goes on behind its beginning: {again:?}");
    let names = world.names();
    assert!(names.ends_with(&["inference.aborted", "budget.expired"]), "{names:?}");
}

/// Copies the state rows too.
fn copy_rows(from: &Path, to: &Path) {
    let ledger = Connection::open(to.join(LEDGER_FILE)).expect("the ledger");
    ledger.execute("ATTACH ?1 AS other", params![from.join(LEDGER_FILE).to_str()]).expect("the other");
    let copied = ledger.execute_batch(
        "UPDATE ledger_checkpoint SET position = (SELECT position FROM other.ledger_checkpoint);
         DELETE FROM balances; INSERT INTO balances SELECT * FROM other.balances;
         DELETE FROM open_holds; INSERT INTO open_holds SELECT * FROM other.open_holds;
         INSERT OR IGNORE INTO owner_blocks SELECT * FROM other.owner_blocks;",
    );
    copied.expect("copied");
}

#[tokio::test]
async fn rows_and_times_of_others_are_taken_in_with_their_events() {
    let mut world = World::on(TestLog::in_folder());
    world.append(vec![opening(1, 1000)]).await.remove(0).expect("a budget is opened");
    let own = world.hold(1, 10).await;
    // A process whose clock is ahead settles, opens a budget, reserves a hold, and writes the state rows.
    let mut other = copy_of(&world);
    other.clock.advance(Duration::from_secs(5));
    let settled = other.hold(2, 100).await;
    other.batch([settled.end(Vec::new(), Outcome::Completed(ended(100)), Charge::Settle(NanoUsd::new(100)))]).await;
    other.append(vec![opening(2, 1000)]).await.remove(0).expect("a budget is opened");
    std::mem::forget(other.hold(3, 5).await);
    other.writer.step(0);
    copy_events(other.folder(), world.folder(), 3);
    copy_rows(other.folder(), world.folder());

    world.clock.advance(Duration::from_secs(1));
    world.batch([own.end(Vec::new(), Outcome::Completed(ended(7)), Charge::Settle(NanoUsd::new(7)))]).await;
    let _hold = world.hold(4, 1).await;
    world.writer.step(0);
    let sound = Sound { events: 14, open_holds: 2 };
    assert_eq!(verify(&*world.log.reader().expect("a reader")).expect("sound"), sound);
    let [first, second] = [1, 2].map(|number| {
        let window = BudgetWindow { budget_id: id(number), window_start: None };
        world.writer.balances().amounts(&window)
    });
    assert_eq!(first, Amounts { settled: NanoUsdSum::new(107), held: NanoUsdSum::new(6) });
    assert_eq!(second, Amounts { settled: NanoUsdSum::ZERO, held: NanoUsdSum::new(6) });

    let World { test_log, log, writer, .. } = world;
    drop((log, writer));
    let world = World::on(test_log);
    assert_eq!(world.writer.balances().open_holds().len(), 2);
    assert_eq!(verify(&*world.log.reader().expect("a reader")).expect("sound"), sound);
}

fn refusal(request: u128) -> RefusedRequest {
    let refusal = Refusal::new(ErrorCode::ModelNotAllowed, "the key may not use it");
    RefusedRequest { request_id: id(request), context: context(1), model: "m".to_owned(), scoped_by: None, refusal }
}

#[tokio::test]
async fn refusals_that_wait_when_the_disk_fails_leave_their_places_to_others() {
    let mut world = World::on(TestLog::in_folder());
    for flood in 0..3 {
        let mut asking = JoinSet::new();
        for number in 0..45 {
            let log = world.log.clone();
            asking.spawn(async move { log.refuse(refusal(flood * 100 + number)).await });
        }
        tokio::task::yield_now().await;
        world.writer.step(usize::MAX);
        tokio::task::yield_now().await;
        while asking.try_join_next().is_some() {}
        assert_eq!(asking.len(), 20, "wait for the next second of flood {flood}");
        world.connection().execute_batch("PRAGMA query_only = ON").expect("it reads only");
        world.clock.advance(Duration::from_secs(2));
        world.writer.step(usize::MAX);
        assert!(asking.join_all().await.iter().all(Result::is_err), "nothing could be recorded");
        world.connection().execute_batch("PRAGMA query_only = OFF").expect("it writes");
        world.clock.advance(Duration::from_secs(2));
        world.writer.step(0);
        world.clock.advance(Duration::from_secs(2));
        world.writer.step(0);
    }
    let counts = world.everything().into_iter().map(|recorded| match recorded.event {
        Event::Inference(Inference::Refused(refused)) => refused.count,
        other => panic!("{other:?}"),
    });
    assert_eq!(counts.sum::<u64>(), 3 * 25, "all but those that were answered with an error");
}

/// Each job is tried alone then, at a time that was read before others appended.
#[tokio::test]
async fn jobs_beside_one_that_cannot_be_recorded_are_not_recorded_before_what_others_appended() {
    let mut world = World::on(TestLog::in_folder());
    let ended_before = world.hold(1, 10).await;
    world.batch([ended_before.end(Vec::new(), Outcome::Completed(ended(10)), Charge::Settle(NanoUsd::new(10)))]).await;
    world.writer.step(0);
    let mut other = copy_of(&world);
    other.clock.advance(Duration::from_secs(5));
    std::mem::forget(other.hold(2, 10).await);
    copy_events(other.folder(), world.folder(), 4);

    world.clock.advance(Duration::from_secs(1));
    let admit = |request: u128| {
        let log = world.log.clone();
        async move { log.admit(admission(request, 1, 10, TTL), None).await.map(std::mem::forget) }
    };
    let admitted = world.batch([admit(1), admit(3)]).await;
    assert!(matches!(admitted[..], [Err(_), Ok(())]), "{admitted:?}");
    let sound = verify(world.log.reader().expect("a reader").as_ref()).expect("sound");
    assert_eq!(sound, Sound { events: 8, open_holds: 2 });
}

#[tokio::test]
async fn followers_learn_where_the_log_stands_also_if_not_all_of_it_can_be_read() {
    let mut world = World::on(TestLog::in_folder());
    world.append(vec![opening(1, 1000)]).await.remove(0).expect("a budget is opened");
    world.writer.step(usize::MAX);
    let mut other = copy_of(&world);
    for first in 0..22 {
        other.append((0..50).map(|number| opening(1000 + first * 50 + number, 1)).collect()).await;
    }
    other.writer.step(0);
    copy_events(other.folder(), world.folder(), 1);
    copy_rows(other.folder(), world.folder());
    let ledger = Connection::open(world.folder().join(LEDGER_FILE)).expect("the ledger");
    // On the second page that the writer reads, and on a stream that the state of the ledger does not need.
    let unreadable = "DROP TRIGGER events_are_never_changed;
                      UPDATE events SET event_type = 'budget.from_the_future', aggregate_type = 'alert' WHERE position = 1050";
    ledger.execute_batch(unreadable).expect("an event of a later version");
    drop(ledger);

    let administration = world.log.watch_administration();
    world.admit(1, 1, None).await;
    assert_eq!((*administration.borrow(), world.log.head().position), (1101, 1103));
}

#[tokio::test]
async fn refusals_whose_count_somebody_else_has_recorded_are_not_recorded_again() {
    let mut world = World::on(TestLog::in_folder());
    let refuse = |log: &Log, number| {
        let refusal = Refusal::new(ErrorCode::BudgetExceeded, "nothing is left");
        let (log, request_id, model) = (log.clone(), id(number), "m".to_owned());
        async move { log.refuse(RefusedRequest { request_id, context: context(1), model, scoped_by: None, refusal }).await }
    };
    let log = world.log.clone();
    let mut waiting = JoinSet::new();
    (1..=41).for_each(|number| drop(waiting.spawn(refuse(&log, number))));
    tokio::task::yield_now().await;
    world.writer.step(usize::MAX);
    let mut other = copy_of(&world);
    let log = other.log.clone();
    other.batch([refuse(&log, 41)]).await.remove(0).expect("it is recorded");
    copy_events(other.folder(), world.folder(), 20);

    world.clock.advance(Duration::from_secs(1));
    world.writer.step(usize::MAX);
    let answers = waiting.join_all().await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(world.log.head().position, 41, "those that were counted are recorded, and the others");
}
