//! A job that cannot be recorded does not keep the others of its batch from being recorded.

use std::time::Duration;

use events_log::{Admitted, Log, LogError, LogOptions, Stepped};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::facts::{admission, clock, ending};
use crate::test_log::{TestLog, TestWriter, on_both_engines};

const TTL: Duration = Duration::from_secs(60);

on_both_engines! {
    a_job_that_cannot_be_recorded_does_not_take_the_batch_with_it,
    a_sweep_that_cannot_be_recorded_does_not_take_a_lone_job_with_it,
}

/// Queues all of these, and lets the writer take them as one batch.
async fn admitted(log: &Log, writer: &mut TestWriter, requests: &[u128]) -> Vec<Result<Admitted, LogError>> {
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

async fn a_job_that_cannot_be_recorded_does_not_take_the_batch_with_it(test_log: TestLog) {
    let clock = clock();
    let (log, mut writer) = test_log.stepped(LogOptions::new(clock));
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

async fn a_sweep_that_cannot_be_recorded_does_not_take_a_lone_job_with_it(ground: TestLog) {
    let clock = clock();
    let (log, mut writer) = ground.stepped(LogOptions::new(clock.clone()));
    let mut answers = admitted(&log, &mut writer, &[1]).await;
    std::mem::forget(answers.remove(0).expect("the ledger answers"));
    ground.refuse_events_named("budget.expired");
    clock.advance(TTL);
    for request in 2..5 {
        clock.advance(Duration::from_secs(1));
        let answers = admitted(&log, &mut writer, &[request]).await;
        let [Ok(Admitted::Hold(_))] = answers[..] else { panic!("{answers:?}") };
    }
    assert!(log.is_writable(), "there is nothing wrong with the disk");
}

/// More than one batch takes, and the first batches fail.
#[tokio::test]
async fn a_writer_that_stops_records_all_ends_that_it_has_kept() {
    const ENDS: u128 = 1100;
    let folder = TempDir::new().expect("a folder");
    let (log, mut writer) = Stepped::open(folder.path(), LogOptions::new(clock())).expect("the log opens");
    let mut asking = JoinSet::new();
    for request in 1..=ENDS {
        let (log, asked) = (log.clone(), admission(request, 1, 10, TTL));
        asking.spawn(async move { log.admit(asked, None).await.map(std::mem::forget) });
    }
    while u128::from(log.figures().queued) < ENDS {
        tokio::task::yield_now().await;
    }
    writer.step(usize::MAX);
    assert!(asking.join_all().await.iter().all(Result::is_ok));
    (1..=ENDS).for_each(|request| writer.repeat(ending(request, 1, Some(7))));
    let mut failing = 2;
    writer.engine().connection().commit_hook(Some(move || {
        let fails = failing > 0;
        failing -= i32::from(fails);
        fails
    }));
    log.close();
    writer.run();
    let log = Log::open(folder.path(), LogOptions::new(clock())).expect("the log opens");
    assert_eq!(log.figures().open_holds, 0);
}
