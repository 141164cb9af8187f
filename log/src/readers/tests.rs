use std::sync::Arc;
use std::time::Instant;

use events::event::inference::InferenceRefused;
use events::event::{Actor, Context, Inference, Stream};
use events::ids::{RequestId, TenantId};
use events::ledger::Overflow;
use events::refusal::ErrorCode;
use events::time::SystemClock;
use serde_json::Map;
use tempfile::TempDir;
use tokio::time::timeout;
use uuid::Uuid;

use super::*;
use crate::concurrency::{ConcurrencyLimiter, Requester};
use crate::explain::{ReadBounds, explain};
use crate::{Append, Basis, Log, LogOptions};

const SOON: Duration = Duration::from_secs(5);

fn open(folder: &TempDir) -> Log {
    Log::open(folder.path(), LogOptions::new(Arc::new(SystemClock::default()))).expect("a log")
}

/// Connections to the same database.
fn idle(log: &Log) -> Idle {
    Idle { open: Arc::clone(&log.inner.readers.open), purpose: Purpose::PlatformQueries, readers: Mutex::default() }
}

fn read<T: Send + 'static>(
    idle: &Idle,
    interrupt: &Interrupt,
    work: impl FnOnce(&dyn Reader) -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    of_type(idle.read(interrupt, of_any_type(work)))
}

fn for_ever(reader: &dyn Reader) -> Result<u64, LogError> {
    reader.read_for_ever()
}

fn again_and_again(reader: &dyn Reader) -> Result<u64, LogError> {
    loop {
        reader.head()?;
    }
}

fn computing_between_statements(reader: &dyn Reader) -> Result<u64, LogError> {
    reader.head()?;
    loop {
        reader.check_interrupt()?;
        std::hint::spin_loop();
    }
}

/// Holds: query.ended
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_nobody_waits_for_is_interrupted_and_returns_its_permit() {
    let folder = TempDir::new().expect("a folder");
    let log = open(&folder).for_queries();
    for work in [for_ever, again_and_again, computing_between_statements] {
        let limiter = ConcurrencyLimiter::default();
        for _ in 0..2 {
            let permit = limiter.admit_query(Requester::Operator).await.expect("a permit");
            assert!(timeout(Duration::from_millis(50), log.read(&permit, work)).await.is_err(), "it runs");
        }
        // Both of the operator's permits are taken until their reads have ended.
        let permit = limiter.admit_query(Requester::Operator).await.expect("a permit that was returned");
        let head = timeout(SOON, log.read(&permit, |reader| reader.head())).await;
        assert!(head.expect("an answer in time").is_ok());
    }
}

/// Holds: query.ended
#[tokio::test(flavor = "multi_thread")]
async fn a_read_beyond_its_deadline_is_interrupted() {
    let folder = TempDir::new().expect("a folder");
    let log = open(&folder);
    let idle = Arc::new(idle(&log));
    let interrupt = Interrupt::new(Some(Instant::now() + Duration::from_millis(50)));
    let reading = Arc::clone(&idle);
    let read = tokio::task::spawn_blocking(move || read(&reading, &interrupt, for_ever));
    let read = timeout(SOON, read).await.expect("an end in time").expect("no panic");
    assert!(matches!(read, Err(LogError::QueryTookTooLong(_))), "{read:?}");
    assert!(idle.readers.lock().expect("the readers").is_empty(), "an interrupted connection is not used again");
    drop(log);
}

/// Its statements are too short for the database to interrupt them.
#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_that_nobody_waits_for_ends_between_its_statements() {
    let folder = TempDir::new().expect("a folder");
    let log = open(&folder);
    let request = RequestId::from(Uuid::from_u128(1));
    let (code, model) = (ErrorCode::BudgetExceeded, "m".to_owned());
    let refused = InferenceRefused { code, model, count: 1, scoped_by: None, details: Map::new() };
    let append = Append {
        stream: Stream::inference(request),
        expected_sequence: 0,
        events: vec![Inference::Refused(Box::new(refused)).into()],
        context: Context::of(Actor::Operator),
        side: Vec::new(),
        idempotency: None,
        basis: Basis::default(),
    };
    log.append(append).await.expect("recorded");
    let (idle, interrupt) = (idle(&log), Interrupt::new(None));
    let explained = read(&idle, &interrupt, move |reader| explain(reader, request, ReadBounds::default()));
    assert!(explained.is_ok_and(|explanation| explanation.is_some()));
    let guard = interrupt.interrupt_on_drop();
    let explained = read(&idle, &interrupt, move |reader| {
        drop(guard);
        explain(reader, request, ReadBounds::default())
    });
    assert!(matches!(explained, Err(LogError::Closed)), "{explained:?}");
}

#[test]
fn a_read_that_fails_in_time_says_why_and_its_connection_is_not_used_again() {
    let folder = TempDir::new().expect("a folder");
    let log = open(&folder);
    let idle = idle(&log);
    let interrupt = Interrupt::new(Some(Instant::now() + SOON));
    let failed = read(&idle, &interrupt, |_| Err::<(), _>(Overflow.into()));
    assert!(matches!(failed, Err(LogError::Overflow(_))), "{failed:?}");
    assert!(idle.readers.lock().expect("the readers").is_empty());
    drop(log);
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_and_administration_have_connections_of_their_own() {
    let folder = TempDir::new().expect("a folder");
    let log = open(&folder);
    let (limiter, mut reading) = (ConcurrencyLimiter::default(), tokio::task::JoinSet::new());
    for _ in 0..2 {
        let permit = limiter.admit_query(Requester::Operator).await.expect("a permit");
        let queries = log.for_queries();
        reading.spawn(async move { queries.read(&permit, for_ever).await });
    }
    let tables = log.clone();
    reading.spawn(async move { tables.inner.readers.administration.run(None, for_ever).await });
    // As many reads of no tenant as are allowed at a time: those of tenants have turns beside them.
    for _ in 0..4 {
        let log = log.clone();
        reading.spawn(async move { log.read(for_ever).await });
    }
    for tenant in [1, 2, 3].map(|number| TenantId::from(Uuid::from_u128(number))) {
        let read = log.read_for(Some(tenant), |reader| reader.head());
        assert!(timeout(SOON, read).await.expect("an answer in time").is_ok());
    }
    reading.shutdown().await;
    for _ in 0..4 {
        assert!(timeout(SOON, log.read(|reader| reader.head())).await.expect("an answer in time").is_ok());
    }
    assert!(
        timeout(SOON, log.inner.readers.administration.run(None, |reader| reader.head()))
            .await
            .expect("an answer in time")
            .is_ok()
    );
}
