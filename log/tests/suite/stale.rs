//! Admissions that were planned on older rights, prices or routes than the log has.

use std::sync::Arc;
use std::time::Duration;

use events::event::admin::Partner;
use events::event::{Change, Stream, StreamKind};
use events::ids::PartnerId;
use events::ledger::Admission;
use events_log::{Admitted, Append, LogOptions, Stepped};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::facts::{admission, append, clock, id};

const TTL: Duration = Duration::from_secs(60);

fn planned_at(position: u64, request: u128) -> Admission {
    Admission { planned_at: position, ..admission(request, 1, 10, TTL) }
}

/// Holds: shared.stale-plans
#[tokio::test]
async fn what_was_planned_before_a_change_is_not_decided_even_in_the_batch_of_the_change() {
    let folder = TempDir::new().expect("a folder");
    let (log, mut writer) = Stepped::open(folder.path(), LogOptions::new(clock())).expect("a log");
    let log = Arc::new(log);
    let mut jobs = JoinSet::new();
    let created = Change::created(Partner::new(id(1), "p")).into();
    let change = append(StreamKind::Budget, id(1), 0, created);
    let (changing, asking) = (Arc::clone(&log), Arc::clone(&log));
    jobs.spawn(async move {
        changing
            .append(Append { stream: Stream::new(StreamKind::Partner, id::<PartnerId>(1)), ..change })
            .await
            .expect("a partner is created");
        None
    });
    tokio::task::yield_now().await;
    jobs.spawn(async move { Some(asking.admit(planned_at(0, 1), None).await.expect("an answer")) });
    tokio::task::yield_now().await;
    writer.step(usize::MAX);
    let answers = jobs.join_all().await;
    let stale = answers.into_iter().flatten().next().expect("the admission's answer");
    assert!(matches!(stale, Admitted::Stale { changed_at: 1 }), "{stale:?}");
    assert_eq!(log.head().position, 1, "nothing of it is recorded");

    for (planned, fits) in [(0, false), (1, true)] {
        let asking = Arc::clone(&log);
        let mut jobs = JoinSet::new();
        jobs.spawn(async move { asking.admit(planned_at(planned, 2), None).await.expect("an answer") });
        tokio::task::yield_now().await;
        writer.step(usize::MAX);
        let answer = jobs.join_all().await.remove(0);
        assert_eq!(matches!(answer, Admitted::Hold(_)), fits, "{answer:?}");
    }
}
