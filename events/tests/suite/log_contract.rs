//! The contract that every engine of the log must fulfil: order without gaps, no torn batches, conflicts on (stream,
//! sequence), reading from a position, and holds that end once, even across a restart.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use events::event::admin::{Scope, Tenant};
use events::event::{Change, Event, Hold, Recorded, Stream, StreamKind};
use events::ids::TenantId;
use events::ledger::{Balances, Charge, Outcome, UnknownUsage};
use events::log::{
    Admitted, AppendError, Basis, EventFilter, ExpiredHolds, Followed, Idempotency, LEDGER_FILE, Log, LogError,
    LogOptions, Name, OpenHold, Reader, SealedSecret, SideRow, Stepped, TenantKey, open_reader,
};
use events::money::{NanoUsd, NanoUsdSum};
use events::time::{Clock, ManualClock, Period};
use tempfile::TempDir;

use crate::facts::{admission, append, budget, clock, context, ended, id, opened};
use crate::test_log::{TestLog, on_both_engines};

const TTL: Duration = Duration::from_secs(60);

on_both_engines! {
    /// Holds: event.life
    a_request_leaves_four_events_that_read_back_the_same,
    concurrent_requests_get_what_the_budget_holds_and_no_more,
    a_hold_that_nobody_takes_releases_its_money,
    /// Holds: event.one-end, event.node-lost
    an_expired_hold_is_charged_and_its_late_figures_are_a_correction,
    /// Holds: shared.expired-holds
    who_leaves_the_holds_of_a_gateway_ends_none,
    side_rows_are_written_without_an_event_as_well,
    the_secrets_of_a_tenant_are_dropped_alone_and_with_those_of_its_partner,
    a_conflict_answers_its_own_job_and_leaves_the_batch_alone,
    a_repeat_answers_the_same_and_other_content_is_refused,
    a_decision_is_refused_where_what_it_rests_on_has_moved_on,
    a_name_is_taken_until_its_owner_lets_go,
    a_restart_finds_balances_and_open_holds_as_they_were,
    readers_page_filter_and_see_streams,
    a_stepped_clock_stops_the_appends_until_it_agrees_again,
    the_time_of_what_comes_next_is_never_before_the_last_event,
}

fn open(folder: &Path, clock: &Arc<ManualClock>) -> Log {
    Log::open(folder, LogOptions::new(clock.clone())).expect("the log opens")
}

async fn open_budget(log: &Log, number: u128, limit: i64, period: Period) {
    let event = opened(budget(number, Scope::Tenant(id(1)), limit, period));
    log.append(append(StreamKind::Budget, id(number), 0, event)).await.expect("a budget is opened");
}

async fn hold(log: &Log, request: u128, held: i64) -> Result<OpenHold, Option<u64>> {
    match log.admit(admission(request, 1, held, TTL), None).await.expect("the ledger answers") {
        Admitted::Hold(hold) => Ok(hold),
        Admitted::Refused(refusal) => Err(refusal.position),
        other => panic!("neither held nor refused: {other:?}"),
    }
}

async fn settle(hold: OpenHold, cost: i64) -> u64 {
    let outcome = Outcome::Completed(ended(cost));
    hold.end(Vec::new(), outcome, Charge::Settle(NanoUsd::new(cost))).await.expect("the end is recorded").position
}

fn everything(log: &Log) -> Vec<Recorded> {
    log.reader().expect("a reader").after(0, 100_000).expect("the log reads")
}

/// Runs the offline check, which must find this many open holds.
fn must_verify(log: &Log, open_holds: u64) {
    let sound = crate::facts::verify(&*log.reader().expect("a reader")).expect("a sound log");
    assert_eq!(sound, events::verify::Sound { events: log.head().position, open_holds });
}

fn must_be_whole(events: &[Recorded]) -> Balances {
    let mut fold = Balances::default();
    for (wanted, event) in (1..).zip(events) {
        assert_eq!(event.position, wanted, "positions have no gap");
        fold.fold(event).expect("every event follows on what came before");
    }
    assert!(events.windows(2).all(|pair| pair[0].recorded_at <= pair[1].recorded_at), "time never goes back");
    fold
}

fn names(events: &[Recorded]) -> Vec<&'static str> {
    events.iter().map(|recorded| recorded.event.name()).collect()
}

async fn a_request_leaves_four_events_that_read_back_the_same(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    open_budget(&log, 1, 100, Period::Day).await;
    let mut follower = log.follow_from_now(100);
    let held = hold(&log, 7, 40).await.expect("it fits");
    assert_eq!(held.admitted_position, 2);
    assert_eq!(log.head().position, 3, "admission and hold are durable before it is answered");
    assert_eq!(settle(held, 25).await, 5);
    let events = everything(&log);
    let wanted = ["budget.opened", "inference.admitted", "budget.reserved", "inference.completed", "budget.settled"];
    assert_eq!(names(&events), wanted);
    let fold = must_be_whole(&events);
    assert_eq!(fold.open_holds().count(), 0);
    let mut published: Vec<Recorded> = Vec::new();
    for _ in 0..2 {
        match follower.next().await.expect("it reads").expect("the log is open") {
            Followed::Batch(batch) => published.extend(batch.iter().map(|event| (**event).clone())),
            other => panic!("the writer still has what follows: {other:?}"),
        }
    }
    assert_eq!(published, events[1..], "the writer gives what the database gives");
}

async fn concurrent_requests_get_what_the_budget_holds_and_no_more(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    open_budget(&log, 1, 100, Period::Total).await;
    let mut asking = tokio::task::JoinSet::new();
    for request in 0..200 {
        let log = log.clone();
        asking.spawn(async move { hold(&log, request, 10).await });
    }
    let answers = asking.join_all().await;
    let holds: Vec<OpenHold> = answers.into_iter().filter_map(Result::ok).collect();
    assert_eq!(holds.len(), 10);
    let fold = must_be_whole(&everything(&log));
    assert_eq!(fold.open_holds().count(), 10);
    must_verify(&log, 10);
}

async fn a_hold_that_nobody_takes_releases_its_money(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    drop(hold(&log, 1, 10).await.expect("no budget binds"));
    let mut head = log.watch_head();
    tokio::time::timeout(Duration::from_secs(5), head.wait_for(|head| head.position == 4))
        .await
        .expect("in time")
        .expect("a head");
    assert_eq!(
        names(&everything(&log)),
        ["inference.admitted", "budget.reserved", "inference.aborted", "budget.released"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_hangs_keeps_nobody_for_ever_and_releases_what_nobody_took() {
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let (log, mut writer) = Stepped::open(folder.path(), LogOptions::new(clock.clone())).expect("the log opens");
    let began = tokio::time::Instant::now();
    let asked = log.admit(admission(1, 1, 10, TTL), None).await;
    assert!(matches!(asked, Err(LogError::TimedOut(_))), "{asked:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(!log.is_writable(), "health does not show it");
    // It wakes up and finds that the request is gone.
    writer.step(10);
    writer.step(10);
    assert!(log.is_writable());
    let wanted = ["inference.admitted", "budget.reserved", "inference.aborted", "budget.released"];
    assert_eq!(names(&everything(&log)), wanted);
}

async fn an_expired_hold_is_charged_and_its_late_figures_are_a_correction(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    open_budget(&log, 1, 100, Period::Day).await;
    let held = hold(&log, 1, 40).await.expect("it fits");
    // The wall clock and the monotonic clock move together: a long wait, not a step.
    for _ in 0..70 {
        clock.advance(Duration::from_secs(1));
    }
    let mut head = log.watch_head();
    tokio::time::timeout(Duration::from_secs(5), head.wait_for(|head| head.position == 5))
        .await
        .expect("in time")
        .expect("a head");
    assert_eq!(settle(held, 25).await, 6);
    let events = everything(&log);
    assert_eq!(names(&events)[3..], ["inference.aborted", "budget.expired", "budget.adjusted"]);
    let Event::Hold(Hold::Adjusted(adjusted)) = &events[5].event else { panic!("adjusted") };
    assert_eq!(adjusted.delta_usd, NanoUsd::new(-15));
    let fold = must_be_whole(&events);
    must_verify(&log, 0);
    let settled: Vec<_> = fold.windows().map(|(_, amounts)| amounts.settled).collect();
    assert_eq!(settled, [NanoUsdSum::new(25)]);
}

/// A process that opens the log for another purpose does not know the gateway's policy for expired holds, or has another.
async fn who_leaves_the_holds_of_a_gateway_ends_none(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    open_budget(&log, 1, 100, Period::Day).await;
    std::mem::forget(hold(&log, 1, 40).await.expect("it fits"));
    log.close();
    for _ in 0..70 {
        clock.advance(Duration::from_secs(1));
    }
    let opened_by = |options| {
        let (log, mut writer) = test_log.stepped(options);
        clock.advance(Duration::from_secs(1));
        writer.step(10);
        everything(&log)
    };
    let options = || LogOptions::new(clock.clone());
    let left = ["budget.opened", "inference.admitted", "budget.reserved"];
    assert_eq!(names(&opened_by(options().with_expired_holds(ExpiredHolds::Leave))), left);
    let worker = options().with_unknown_usage(UnknownUsage::Release).without_requests();
    assert_eq!(names(&opened_by(worker)), left);
    let swept = opened_by(options().with_unknown_usage(UnknownUsage::ChargeHold));
    assert_eq!(names(&swept)[3..], ["inference.aborted", "budget.expired"]);
    let Event::Hold(Hold::Expired(expired)) = &swept[4].event else { panic!("expired") };
    assert_eq!(expired.charged_usd, NanoUsd::new(40));
}

async fn side_rows_are_written_without_an_event_as_well(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let mut alone = append(StreamKind::Budget, id(1), 0, opened(budget(1, Scope::Tenant(id(1)), 1, Period::Total)));
    alone.events.clear();
    alone.side = vec![SideRow::WrappedKey { scope: "a".to_owned(), wrapped: vec![7] }];
    log.append(alone).await.expect("it is written");
    assert_eq!(
        (log.head().position, log.reader().expect("a reader").wrapped_key("a").expect("a row")),
        (0, Some(vec![7]))
    );
    open_budget(&log, 1, 100, Period::Day).await;
    must_verify(&log, 0);
}

/// Deleted and replaced data is no longer in the file.
#[tokio::test]
async fn nothing_is_left_of_a_row_that_was_deleted() {
    const LEN: usize = 9000;
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let log = open(folder.path(), &clock);
    let change = |side: Vec<SideRow>| {
        let mut change =
            append(StreamKind::Budget, id(1), 0, opened(budget(1, Scope::Tenant(id(1)), 1, Period::Total)));
        change.events.clear();
        change.side = side;
        log.append(change)
    };
    let sealed = |sealed: &[u8]| {
        let (subject, key_scope) = ("prv_1".to_owned(), "platform".to_owned());
        SideRow::SealedSecret(SealedSecret { subject, key_scope, generation: 1, sealed: sealed.to_vec() })
    };
    let (short, long) = (b"short-secret-in-a-box".as_slice(), b"long-secret-in-a-box!".repeat(LEN / 21));
    for next in [sealed(short), sealed(&long), SideRow::DropSealedSecret { subject: "prv_1".to_owned() }] {
        change(vec![next]).await.expect("it is written");
    }
    log.close();
    let bytes = std::fs::read(folder.path().join(LEDGER_FILE)).expect("the ledger");
    for left in [short, b"long-secret-in-a-box!"] {
        assert!(!bytes.windows(left.len()).any(|window| window == left), "{}", String::from_utf8_lossy(left));
    }
}

/// Also those of a tenant that whoever ended the partner did not know, and of one whose key an earlier version wrapped.
async fn the_secrets_of_a_tenant_are_dropped_alone_and_with_those_of_its_partner(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let tenant = |number: u128| id::<TenantId>(number).to_string();
    for (number, partner) in [(1, 1), (2, 1), (3, 2), (4, 1)] {
        let created = Event::from(Change::created(Tenant::new(id(number), id(partner), "t")));
        let mut change = append(StreamKind::Tenant, id(1), 0, created);
        change.stream = Stream::new(StreamKind::Tenant, tenant(number));
        let secret = SealedSecret {
            subject: format!("prv_{number}"),
            key_scope: tenant(number),
            generation: 1,
            sealed: vec![1],
        };
        let key = TenantKey { tenant: tenant(number), node: "n".to_owned(), wrapped: vec![1] };
        let legacy = SideRow::WrappedKey { scope: tenant(number), wrapped: vec![1] };
        change.side = vec![SideRow::SealedSecret(secret), SideRow::TenantKey(key), legacy];
        log.append(change).await.expect("a tenant with a secret");
    }
    let platform = SideRow::WrappedKey { scope: "platform".to_owned(), wrapped: vec![1] };
    for (row, left) in [
        (platform, vec![1, 2, 3, 4]),
        (SideRow::DropTenantSecrets(id(1)), vec![2, 3, 4]),
        (SideRow::DropPartnerSecrets(id(1)), vec![3]),
        (SideRow::DropTenantSecrets(id(1)), vec![3]),
    ] {
        let mut change = append(StreamKind::Tenant, id(9), 0, opened(budget(1, Scope::Tenant(id(1)), 1, Period::Day)));
        (change.events, change.side) = (Vec::new(), vec![row]);
        log.append(change).await.expect("it is written");
        let reader = log.reader().expect("a reader");
        let left: Vec<_> = left.into_iter().map(tenant).collect();
        let sealed = reader.sealed_secrets().expect("secrets").into_iter().map(|secret| secret.key_scope);
        assert_eq!(sealed.collect::<Vec<_>>(), left);
        assert_eq!(reader.tenant_keys().expect("keys").into_iter().map(|key| key.tenant).collect::<Vec<_>>(), left);
        let wrapped = reader.wrapped_keys().expect("keys").into_iter().map(|(scope, _)| scope);
        assert_eq!(wrapped.collect::<Vec<_>>(), [vec!["platform".to_owned()], left].concat());
    }
}

async fn a_conflict_answers_its_own_job_and_leaves_the_batch_alone(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let first = || append(StreamKind::Budget, id(1), 0, opened(budget(1, Scope::Tenant(id(1)), 1, Period::Total)));
    let mut appending = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (log, change) = (log.clone(), first());
        appending.spawn(async move { log.append(change).await });
    }
    let answers = appending.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(AppendError::OptimisticLock))));
    must_be_whole(&everything(&log));
}

async fn a_repeat_answers_the_same_and_other_content_is_refused(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let change = |number: u128, fingerprint| {
        let event = opened(budget(number, Scope::Tenant(id(1)), 1, Period::Total));
        let idempotency = Idempotency {
            scope: "operator".to_owned(),
            key: "once".to_owned(),
            fingerprint: [fingerprint; 32],
            status: 201,
            body: "{}".to_owned(),
        };
        events::log::Append { idempotency: Some(idempotency), ..append(StreamKind::Budget, id(number), 0, event) }
    };
    let appended = log.append(change(1, 1)).await.expect("the first is appended");
    match log.append(change(2, 1)).await {
        Err(AppendError::Replayed(reply)) => assert_eq!((reply.status, reply.position), (201, appended.last)),
        other => panic!("a repeat became {other:?}"),
    }
    assert!(matches!(log.append(change(3, 2)).await, Err(AppendError::IdempotencyKeyReused)));
    assert_eq!(log.head().position, 1);
}

async fn a_decision_is_refused_where_what_it_rests_on_has_moved_on(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let change = |number: u128, before| {
        let event = opened(budget(number, Scope::Tenant(id(1)), 1, Period::Total));
        append(StreamKind::Budget, id(number), before, event)
    };
    let resting_on = |number: u128, streams: &[u128], known_until| {
        let stream = |number: &u128| Stream::new(StreamKind::Budget, id::<events::ids::BudgetId>(*number));
        let basis = Basis { streams: streams.iter().map(stream).collect(), known_until };
        events::log::Append { basis, ..change(number, 0) }
    };
    log.append(change(1, 0)).await.expect("position 1");
    log.append(resting_on(2, &[1, 9], 1)).await.expect("both are as they were known");
    log.append(change(1, 1)).await.expect("position 3");
    let refused = log.append(resting_on(3, &[9, 1], 2)).await;
    assert!(matches!(refused, Err(AppendError::Outdated { position: 3 })), "{refused:?}");
    log.append(resting_on(3, &[2, 9], 2)).await.expect("of others it knows nothing");
    log.append(resting_on(4, &[1], 3)).await.expect("it was decided anew");
    // Within a batch, the second job sees the first.
    let (moved, outdated) = tokio::join!(biased; log.append(change(1, 2)), log.append(resting_on(5, &[1], 5)));
    assert_eq!(moved.expect("it moves on").last, 6);
    assert!(matches!(outdated, Err(AppendError::Outdated { position: 6 })), "{outdated:?}");
    assert_eq!(log.head().position, 6);
}

async fn a_name_is_taken_until_its_owner_lets_go(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let claim = |number: u128, before, row| {
        let event = opened(budget(number, Scope::Tenant(id(1)), 1, Period::Total));
        events::log::Append { side: vec![row], ..append(StreamKind::Budget, id(number), before, event) }
    };
    let name = |owner: &str| SideRow::ClaimName {
        name: Name { kind: StreamKind::Model, scope: "shared".to_owned(), name: "m".to_owned() },
        owner: owner.to_owned(),
    };
    log.append(claim(1, 0, name("one"))).await.expect("the name is free");
    assert!(matches!(log.append(claim(2, 0, name("two"))).await, Err(AppendError::NameTaken { .. })));
    log.append(claim(1, 1, SideRow::ReleaseNames { owner: "one".to_owned() })).await.expect("let go");
    log.append(claim(2, 0, name("two"))).await.expect("the name is free again");
}

async fn a_restart_finds_balances_and_open_holds_as_they_were(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    open_budget(&log, 1, 100, Period::Day).await;
    settle(hold(&log, 1, 40).await.expect("it fits"), 30).await;
    // A killed process leaves its hold, which is neither ended nor dropped.
    std::mem::forget(hold(&log, 2, 50).await.expect("it fits"));
    log.close();
    assert!(matches!(log.admit(admission(9, 1, 1, TTL), None).await, Err(LogError::Closed)));
    let log = test_log.open(&clock);
    assert!(hold(&log, 3, 21).await.is_err(), "30 charged and 50 held leave 20 of 100");
    let small = hold(&log, 4, 20).await.expect("20 fit");
    settle(small, 0).await;
    must_be_whole(&everything(&log));
}

#[tokio::test]
async fn what_a_killed_process_left_opens_with_the_balances_of_its_last_event() {
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let log = open(folder.path(), &clock);
    open_budget(&log, 1, 100, Period::Day).await;
    let left = TempDir::new().expect("another folder");
    // Until a copy is taken before the state rows are written.
    let mut request = 10;
    loop {
        settle(hold(&log, request, 1).await.expect("it fits"), 0).await;
        let open_hold = hold(&log, request + 1, 50).await.expect("it fits");
        for file in ["ledger.db", "ledger.db-wal"] {
            std::fs::copy(folder.path().join(file), left.path().join(file)).expect("a copy");
        }
        let copy = rusqlite::Connection::open(left.path().join("ledger.db")).expect("the copy opens");
        let state: u64 =
            copy.query_row("SELECT position FROM ledger_checkpoint", [], |row| row.get(0)).expect("a position");
        if state < log.head().position {
            std::mem::forget(open_hold);
            break;
        }
        drop(open_hold);
        request += 2;
    }
    let log = open(left.path(), &clock);
    assert!(hold(&log, 1, 51).await.is_err(), "50 of 100 are held");
    settle(hold(&log, 2, 50).await.expect("50 fit"), 50).await;
    must_verify(&log, 1);
    must_be_whole(&everything(&log));
}

#[tokio::test]
async fn one_process_at_a_time() {
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let _log = open(folder.path(), &clock);
    let second = Log::open(folder.path(), LogOptions::new(clock));
    assert!(matches!(second, Err(events::log::OpenError::Folder(events::log::lock::FolderError::InUse { .. }))));
}

async fn readers_page_filter_and_see_streams(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    open_budget(&log, 1, 1000, Period::Total).await;
    for request in 1..=5 {
        settle(hold(&log, request, 10).await.expect("it fits"), 5).await;
    }
    let reader = log.reader().expect("a reader");
    let page: Vec<u64> = reader.after(3, 4).expect("a page").iter().map(|event| event.position).collect();
    assert_eq!(page, [4, 5, 6, 7]);
    let filter = EventFilter {
        types: Some(vec![("budget.settled".to_owned(), 1)]),
        tenant: Some(id(1)),
        partner: Some(id(1)),
        ..EventFilter::default()
    };
    assert_eq!(reader.filtered(&filter, 0, 100).expect("a page").events.len(), 5);
    for recorded in everything(&log) {
        let types = Some(vec![(recorded.event.name().to_owned(), recorded.event.version())]);
        let of_type = EventFilter { types, ..EventFilter::default() };
        let found = reader.filtered(&of_type, recorded.position - 1, 100).expect("a page").events;
        assert_eq!(found.first(), Some(&recorded), "types that have an index of their own are found as others are");
        assert!(found.iter().all(|other| other.event.name() == recorded.event.name()));
    }
    assert_eq!(reader.at(&[2, 3, 99]).expect("events").len(), 2);
    assert_eq!(reader.at(&[2]).expect("an event")[&2], everything(&log)[1]);
    let other = EventFilter { tenant: Some(id(2)), ..EventFilter::default() };
    assert_eq!(reader.filtered(&other, 0, 100).expect("a page").events.len(), 0);
    assert_eq!(reader.stream(&Stream::hold(id(3))).expect("a stream").len(), 2);
    assert_eq!(reader.administration_after(0).expect("the administration").len(), 1);
    let read = log.read(|reader| reader.head()).await.expect("the head reads");
    assert_eq!(read, log.head());
}

#[tokio::test]
async fn while_somebody_else_has_the_lock_nothing_is_recorded_and_then_all_is_well() {
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let log = open(folder.path(), &clock);
    open_budget(&log, 1, 100, Period::Total).await;
    let kept = hold(&log, 1, 10).await.expect("it fits");
    let other = rusqlite::Connection::open(folder.path().join(events::log::LEDGER_FILE)).expect("a second connection");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock is free");
    assert!(matches!(log.admit(admission(2, 1, 10, TTL), None).await, Err(LogError::Append(_))));
    let end = kept.end(Vec::new(), Outcome::Completed(ended(7)), Charge::Settle(NanoUsd::new(7))).await;
    assert!(end.is_err(), "what is not durable is not answered");
    other.execute_batch("ROLLBACK").expect("the lock is given back");
    hold(&log, 3, 94).await.expect_err("10 are held, or 7 charged: 94 do not fit beside either");
    let mut head = log.watch_head();
    let caught_up =
        head.wait_for(|_| everything(&log).iter().any(|event| matches!(event.event, Event::Hold(Hold::Settled(_)))));
    tokio::time::timeout(Duration::from_secs(5), caught_up).await.expect("the kept end is recorded").expect("a head");
    let events = everything(&log);
    let failed =
        events.iter().find(|event| event.event.name() == "inference.failed").expect("its client saw a failure");
    assert_eq!(failed.context, context(1).in_request(id(1)));
    must_be_whole(&events);
}

async fn a_stepped_clock_stops_the_appends_until_it_agrees_again(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    clock.step_wall(TimeDelta::hours(25).num_microseconds().expect("microseconds"));
    assert!(matches!(log.admit(admission(1, 1, 1, TTL), None).await, Err(LogError::ClockStepped)));
    clock.step_wall(-TimeDelta::hours(25).num_microseconds().expect("microseconds"));
    drop(hold(&log, 2, 1).await.expect("the clocks agree"));
}

#[tokio::test]
async fn events_are_never_changed_nor_deleted() {
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let log = open(folder.path(), &clock);
    open_budget(&log, 1, 100, Period::Total).await;
    log.close();
    let file = rusqlite::Connection::open(folder.path().join(events::log::LEDGER_FILE)).expect("a connection");
    assert!(file.execute("UPDATE events SET payload = '{}'", []).is_err());
    assert!(file.execute("DELETE FROM events", []).is_err());
}

#[tokio::test]
async fn a_closed_log_is_one_file_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().expect("a folder");
    let ledger = folder.path().join(events::log::LEDGER_FILE);
    let log = open(folder.path(), &clock());
    open_budget(&log, 1, 1000, Period::Day).await;
    // An open read connection would keep SQLite from moving all pages by itself.
    let _reader = log.reader().expect("a reader");
    log.close();
    let copy = TempDir::new().expect("another folder");
    std::fs::copy(&ledger, copy.path().join(events::log::LEDGER_FILE)).expect("a copy");
    assert_eq!(everything(&open(copy.path(), &clock())).len(), 1);
    assert_eq!(std::fs::metadata(&ledger).expect("its mode").permissions().mode() & 0o777, 0o600);
}

async fn the_time_of_what_comes_next_is_never_before_the_last_event(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let began = clock.now();
    assert_eq!(log.head().time_after(began), began);
    open_budget(&log, 1, 1000, Period::Day).await;
    let back = began - TimeDelta::seconds(30);
    assert_eq!(log.head().time_after(back), log.head().recorded_at.expect("an event"));
    assert_eq!(log.head().time_after(began + TimeDelta::days(1)), began + TimeDelta::days(1));
}

const FLOOD: u64 = 150_000;
/// The maximum number of positions that a filtered read examines, and the same number in blocks.
const LOOK: u64 = 65_536;
const BLOCK: u64 = 64;

/// A long run of denials, one in each block of one tenant, and at the end an event of another type by the same tenant.
fn flooded(folder: &Path) -> Box<dyn Reader> {
    Log::migrate(folder).expect("an empty log");
    let ledger = folder.join(LEDGER_FILE);
    let written = rusqlite::Connection::open(&ledger).expect("the ledger");
    let tenant: TenantId = id(8);
    let flood = format!(
        r#"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {FLOOD})
           INSERT INTO events (position, recorded_at, aggregate_type, aggregate_id, sequence, event_type,
                               event_version, payload, metadata)
           SELECT i, i, 'access', 'anonymous', i, iif(i = {FLOOD}, 'access.rate_limited', 'access.denied'), '1',
                  iif(i = {FLOOD}, '{{"limit_id":"default","measure":"requests_per_minute","limit":60,"count":1}}',
                      '{{"code":"UNAUTHENTICATED","count":1}}'),
                  iif(i % {BLOCK} = 0 OR i = {FLOOD}, '{{"actor":"system:gateway","tenant_id":"{tenant}"}}',
                      '{{"actor":"system:gateway"}}')
           FROM n;
           INSERT INTO owner_blocks (owner, block)
           SELECT '{tenant}', position / {BLOCK} FROM events WHERE position % {BLOCK} = 0;
           UPDATE ledger_checkpoint SET position = {FLOOD}"#
    );
    written.execute_batch(&flood).expect("events");
    open_reader(&ledger).expect("a reader")
}

/// Reads the log part by part until it finds the event of this type. Returns the end of each part.
fn found_by(reader: &dyn Reader, filter: &EventFilter) -> Vec<u64> {
    let (mut after, mut looks) = (0, Vec::new());
    loop {
        let part = reader.filtered(filter, after, 10).expect("a part");
        assert!(part.until > after && part.head == FLOOD, "{part:?}");
        after = part.until;
        looks.push(after);
        if !part.events.is_empty() {
            let found: Vec<u64> = part.events.iter().map(|event| event.position).collect();
            assert_eq!((found, after), (vec![FLOOD], FLOOD));
            return looks;
        }
        assert!(after < FLOOD, "it was not found: {looks:?}");
    }
}

#[test]
fn a_look_at_the_log_goes_over_a_bounded_part_of_it_however_little_it_finds() {
    let folder = TempDir::new().expect("a folder");
    let reader = flooded(folder.path());
    let rare = EventFilter { types: Some(vec![("access.rate_limited".to_owned(), 1)]), ..EventFilter::default() };
    assert_eq!(found_by(&*reader, &rare), [LOOK, 2 * LOOK, FLOOD]);
    // Of an owner's part, as many positions are read and those between its blocks are skipped. A read begins with the rest of
    // the block in which the previous one ended.
    let of_tenant = EventFilter { tenant: Some(id(8)), ..rare };
    assert_eq!(found_by(&*reader, &of_tenant), [LOOK + BLOCK - 1, 2 * LOOK - 1, FLOOD]);
    let unknown = EventFilter { tenant: Some(id(7)), ..EventFilter::default() };
    let part = reader.filtered(&unknown, 0, 10).expect("nothing");
    assert_eq!((part.events.len(), part.until), (0, FLOOD), "an owner's blocks say that there is nothing");
}
