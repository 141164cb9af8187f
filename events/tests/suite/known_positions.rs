//! The knowledge of a node about a position that another one may have recorded.

use std::time::Duration;

use events::event::StreamKind;
use events::event::admin::Scope;
use events::log::{LogOptions, PositionStatus};
use events::time::Period;
use tokio::time::{sleep, timeout};

use crate::facts::{append, budget, clock, id, opened};
use crate::test_log::TestLog;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_look_does_not_say_that_a_position_is_beyond_the_log() {
    let ground = TestLog::in_database();
    let other = ground.open(&clock());
    let (log, mut writer) = ground.stepped(LogOptions::new(clock()));
    writer.step(1);
    let event = opened(budget(1, Scope::Tenant(id(1)), 10, Period::Total));
    other.append(append(StreamKind::Budget, id(1), 0, event)).await.expect("it is recorded");
    let recorded = other.head().position;
    assert_eq!(log.wait_until_known(recorded).await, PositionStatus::Unknown, "its writer hangs");
    assert_eq!(other.wait_until_known(recorded).await, PositionStatus::Recorded);

    let asked = [recorded, recorded + 1].map(|position| {
        let log = log.clone();
        tokio::task::JoinSet::from_iter([async move { log.wait_until_known(position).await }])
    });
    sleep(Duration::from_millis(200)).await;
    writer.step(1);
    let mut heard = Vec::new();
    for asked in asked {
        heard.extend(timeout(Duration::from_secs(5), asked.join_all()).await.expect("in time"));
    }
    assert_eq!(heard, [PositionStatus::Recorded, PositionStatus::NotRecorded]);
}

/// Holds: shared.revoked
#[tokio::test]
async fn a_change_is_as_old_as_the_last_check_that_did_not_find_it() {
    let ground = TestLog::in_database();
    let other = ground.open(&clock());
    let of_node = clock();
    let (log, mut writer) = ground.stepped(LogOptions::new(of_node.clone()));
    writer.step(1);
    of_node.advance(Duration::from_millis(300));
    writer.step(1);
    of_node.advance(Duration::from_millis(700));
    let event = opened(budget(1, Scope::Tenant(id(1)), 10, Period::Total));
    other.append(append(StreamKind::Budget, id(1), 0, event)).await.expect("it is recorded");
    writer.step(1);
    assert_eq!(log.head().position, other.head().position);
    assert_eq!(log.last_change_age(), Duration::from_millis(700));
    writer.step(1);
    of_node.advance(Duration::from_millis(50));
    assert_eq!(log.last_change_age(), Duration::from_millis(750), "later checks find nothing new");
}

#[tokio::test]
async fn a_log_that_nobody_else_appends_to_knows_at_once() {
    let ground = TestLog::in_folder();
    let log = ground.open(&clock());
    assert_eq!(
        (log.wait_until_known(0).await, log.wait_until_known(1).await),
        (PositionStatus::Recorded, PositionStatus::NotRecorded)
    );
}

/// An event can be read a moment before the writer publishes it. A reader that has seen it is not told that it is beyond the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_was_read_is_waited_for_also_where_nobody_else_appends() {
    let ground = TestLog::in_folder();
    let (log, mut writer) = ground.stepped(LogOptions::new(clock()));
    let position = log.head().position + 1;
    let (soon, asked, appending) = (Duration::from_secs(5), log.clone(), log.clone());
    let published = tokio::task::JoinSet::from_iter([async move { asked.wait_until_published(position, soon).await }]);
    let event = opened(budget(1, Scope::Tenant(id(1)), 10, Period::Total));
    let appended = tokio::task::JoinSet::from_iter([async move {
        appending.append(append(StreamKind::Budget, id(1), 0, event)).await.is_ok()
    }]);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(log.wait_until_known(position).await, PositionStatus::NotRecorded, "the writer has said nothing");
    writer.step(1);
    assert_eq!((appended.join_all().await, published.join_all().await), (vec![true], vec![true]));
    assert!(!log.wait_until_published(position + 1, Duration::from_millis(50)).await, "beyond the log");
}
