//! Checks of changes: conflicts on (stream, sequence), repeats, decisions on what has moved on, and names.

use events::event::admin::Scope;
use events::event::{Stream, StreamKind};
use events::log::{AppendError, Basis, Idempotency, Name, SideRow};
use events::time::Period;

use crate::facts::{append, budget, clock, id, opened};
use crate::log_steps::{everything, must_be_whole};
use crate::test_log::{TestLog, on_both_engines};

on_both_engines! {
    a_conflict_answers_its_own_job_and_leaves_the_batch_alone,
    a_repeat_answers_the_same_and_other_content_is_refused,
    a_decision_is_refused_where_what_it_rests_on_has_moved_on,
    a_name_is_taken_until_its_owner_lets_go,
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
