//! A job that cannot be recorded does not keep the others of its batch from being recorded.

use std::sync::Arc;
use std::time::Duration;

use events::log::{Admitted, Log, LogError, LogOptions, Stepped};
use events::time::ManualClock;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::facts::{admission, clock};

const TTL: Duration = Duration::from_secs(60);

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
