//! Checks of changes: conflicts on (stream, sequence), repeats, decisions on what has moved on, and names.

use events::event::admin::Scope;
use events::event::{Stream, StreamKind};
use events::time::Period;
use events_log::{
    Append, AppendAllError, AppendError, Basis, Fingerprint, Idempotency, KindOfTenant, Log, Name, SideRow,
};

use crate::facts::{append, budget, clock, id, opened};
use crate::log_steps::{everything, must_be_whole};
use crate::test_log::{TestLog, on_both_engines};

on_both_engines! {
    a_conflict_answers_its_own_job_and_leaves_the_batch_alone,
    a_repeat_answers_the_same_and_other_content_is_refused,
    a_decision_is_refused_where_what_it_rests_on_has_moved_on,
    a_decision_that_knew_all_of_a_kind_is_refused_where_one_has_begun_since,
    what_has_begun_for_one_tenant_refuses_nothing_for_others,
    a_name_is_taken_until_its_owner_lets_go,
    several_changes_are_appended_together_or_not_at_all,
    changes_that_are_appended_together_see_the_names_of_those_before_them,
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
            fingerprint: Fingerprint { keyed: [fingerprint; 32], unkeyed: [fingerprint; 32] },
            status: 201,
            body: "{}".to_owned(),
        };
        events_log::Append { idempotency: Some(idempotency), ..append(StreamKind::Budget, id(number), 0, event) }
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
        let basis = Basis { streams: streams.iter().map(stream).collect(), known_until, ..Basis::default() };
        events_log::Append { basis, ..change(number, 0) }
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

async fn a_decision_that_knew_all_of_a_kind_is_refused_where_one_has_begun_since(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let change = |number: u128, before| {
        let event = opened(budget(number, Scope::Tenant(id(1)), 1, Period::Total));
        append(StreamKind::Budget, id(number), before, event)
    };
    let knowing_all = |number: u128, kind, known_until| {
        let basis = Basis { kinds: vec![KindOfTenant { kind, tenant: None }], known_until, ..Basis::default() };
        events_log::Append { basis, ..change(number, 0) }
    };
    log.append(change(1, 0)).await.expect("position 1");
    let refused = log.append(knowing_all(2, StreamKind::Budget, 0)).await;
    assert!(matches!(refused, Err(AppendError::Outdated { position: 1 })), "{refused:?}");
    log.append(knowing_all(2, StreamKind::Price, 0)).await.expect("none of another kind has begun");
    log.append(change(1, 1)).await.expect("position 3");
    log.append(knowing_all(3, StreamKind::Budget, 2)).await.expect("a change begins nothing");
    // Within a batch, the second job sees the first, and several changes of one job are one decision.
    let two = vec![change(4, 0), knowing_all(5, StreamKind::Budget, 4)];
    let (first, second) = tokio::join!(biased; log.append_all(two), log.append(knowing_all(6, StreamKind::Budget, 4)));
    assert_eq!(first.expect("none has begun").last, 6);
    assert!(matches!(second, Err(AppendError::Outdated { position: 6 })), "{second:?}");
    must_be_whole(&everything(&log));
}

async fn what_has_begun_for_one_tenant_refuses_nothing_for_others(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let of = |number: u128, tenant: u128, known_until| {
        let event = opened(budget(number, Scope::Tenant(id(tenant)), 1, Period::Total));
        let begins = append(StreamKind::Budget, id(number), 0, event);
        let context = events::event::Context { tenant_id: Some(id(tenant)), ..begins.context };
        let kinds = vec![KindOfTenant { kind: StreamKind::Budget, tenant: Some(id(tenant)) }];
        Append { context, basis: Basis { kinds, known_until, ..Basis::default() }, ..begins }
    };
    log.append(of(1, 1, 0)).await.expect("position 1");
    log.append(of(2, 2, 0)).await.expect("none of its own has begun");
    let refused = log.append(of(3, 2, 1)).await;
    assert!(matches!(refused, Err(AppendError::Outdated { position: 2 })), "{refused:?}");
    // Within a batch, too.
    let (first, other) = tokio::join!(biased; log.append(of(4, 1, 2)), log.append(of(5, 2, 2)));
    assert_eq!((first.expect("none has begun").last, other.expect("nor of the other").last), (3, 4));
    let refused = log.append(of(6, 1, 2)).await;
    assert!(matches!(refused, Err(AppendError::Outdated { position: 3 })), "{refused:?}");
    must_be_whole(&everything(&log));
}

async fn a_name_is_taken_until_its_owner_lets_go(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let claim = |number: u128, before, row| {
        let event = opened(budget(number, Scope::Tenant(id(1)), 1, Period::Total));
        events_log::Append { side: vec![row], ..append(StreamKind::Budget, id(number), before, event) }
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

fn opening(number: u128, before: u64, side: Vec<SideRow>) -> Append {
    let event = opened(budget(number, Scope::Tenant(id(1)), 1, Period::Total));
    Append { side, ..append(StreamKind::Budget, id(number), before, event) }
}

fn named(name: &str, owner: u128) -> SideRow {
    let name = Name { kind: StreamKind::Model, scope: "shared".to_owned(), name: name.to_owned() };
    SideRow::ClaimName { name, owner: owner.to_string() }
}

fn released(owner: u128) -> SideRow {
    SideRow::ReleaseNames { owner: owner.to_string() }
}

fn kept(key: &str) -> Option<Idempotency> {
    let (scope, key, body) = ("operator".to_owned(), key.to_owned(), "{}".to_owned());
    Some(Idempotency { scope, key, fingerprint: Fingerprint { keyed: [1; 32], unkeyed: [1; 32] }, status: 200, body })
}

async fn must_refuse(log: &Log, changes: Vec<Append>, at: usize) -> AppendError {
    let head = log.head().position;
    let AppendAllError { at: refused, error } = log.append_all(changes).await.expect_err("one of them conflicts");
    assert_eq!((refused, log.head().position), (at, head), "{error}");
    error
}

async fn several_changes_are_appended_together_or_not_at_all(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let three = |last: Append| vec![opening(1, 0, vec![named("a", 1)]), opening(2, 0, vec![named("b", 2)]), last];
    log.append(opening(3, 0, vec![named("c", 3)])).await.expect("the first change");
    let error = must_refuse(&log, three(opening(3, 0, Vec::new())), 2).await;
    assert!(matches!(error, AppendError::OptimisticLock), "{error}");
    let error = must_refuse(&log, three(opening(4, 0, vec![named("c", 4)])), 2).await;
    assert!(matches!(error, AppendError::NameTaken { .. }), "{error}");
    let stream = Stream::new(StreamKind::Budget, id::<events::ids::BudgetId>(3));
    let basis = Basis { streams: vec![stream], ..Basis::default() };
    let error = must_refuse(&log, three(Append { basis, ..opening(4, 0, Vec::new()) }), 2).await;
    assert!(matches!(error, AppendError::Outdated { position: 1 }), "{error}");
    let error = must_refuse(&log, three(opening(1, 1, Vec::new())), 2).await;
    assert!(matches!(error, AppendError::OptimisticLock), "a stream twice: {error}");

    // No row of those that were refused is left either, and a repeat is answered by what the first attempt recorded.
    let whole = || three(Append { idempotency: kept("all"), ..opening(3, 1, Vec::new()) });
    let appended = log.append_all(whole()).await.expect("nothing conflicts");
    assert_eq!((appended.first, appended.last), (2, 4));
    match must_refuse(&log, whole(), 2).await {
        AppendError::Replayed(reply) => assert_eq!(reply.position, 4),
        other => panic!("a repeat became {other}"),
    }
    let recorded = everything(&log);
    assert!(recorded.iter().all(|event| event.recorded_at == appended.recorded_at || event.position == 1));
    must_be_whole(&recorded);
}

async fn changes_that_are_appended_together_see_the_names_of_those_before_them(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    log.append(opening(1, 0, vec![named("a", 1)])).await.expect("the name is free");
    let error =
        must_refuse(&log, vec![opening(2, 0, vec![named("b", 2)]), opening(3, 0, vec![named("b", 3)])], 1).await;
    assert!(matches!(error, AppendError::NameTaken { .. }), "{error}");
    let early = vec![opening(2, 0, vec![named("a", 2)]), opening(1, 1, vec![released(1)])];
    assert!(matches!(must_refuse(&log, early, 0).await, AppendError::NameTaken { .. }));
    // Two swap their names by way of a third.
    log.append(opening(2, 0, vec![named("b", 2)])).await.expect("the name is free");
    let swap = vec![
        opening(1, 1, vec![released(1)]),
        opening(2, 1, vec![released(2), named("a", 2)]),
        opening(3, 0, vec![named("b", 3)]),
    ];
    log.append_all(swap).await.expect("each name was let go before");
    for (taken, owner) in [("a", 2), ("b", 3)] {
        let error = must_refuse(&log, vec![opening(9, 0, vec![named(taken, 9)])], 0).await;
        assert!(matches!(error, AppendError::NameTaken { .. }), "{taken}");
        let own = if owner == 2 { opening(2, 2, vec![named(taken, 2)]) } else { opening(3, 1, vec![named(taken, 3)]) };
        log.append(own).await.expect("its owner may claim it again");
    }
}
