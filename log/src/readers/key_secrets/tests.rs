use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use events::event::{Actor, Context, Stream, StreamKind};
use events::ids::TenantId;
use events::time::SystemClock;
use tempfile::TempDir;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::*;
use crate::engine::sqlite::damage_first_secret;
use crate::readers::{OpenReader, Purpose};
use crate::{Append, Basis, EngineError, EngineErrorKind, LEDGER_FILE, Log, LogOptions, SideRow};

fn key(number: u128) -> KeyId {
    KeyId::from(Uuid::from_u128(number))
}

fn tenant(number: u128) -> Owner {
    Some(TenantId::from(Uuid::from_u128(number)))
}

/// The secrets of a key, as many as its number says.
fn secrets(number: u128) -> Vec<KeySecret> {
    let secret = |generation| KeySecret {
        key_id: key(number),
        generation,
        salt: Vec::new(),
        hash: Vec::new(),
        mac: Some(number.to_be_bytes().to_vec()),
    };
    (1..=u32::try_from(number).expect("few")).map(secret).collect()
}

/// A log with the secrets of three keys.
async fn log_with_secrets(folder: &TempDir) -> Log {
    let log = Log::open(folder.path(), LogOptions::new(Arc::new(SystemClock::default()))).expect("a log");
    let append = Append {
        stream: Stream::new(StreamKind::Key, key(1)),
        expected_sequence: 0,
        events: Vec::new(),
        context: Context::of(Actor::Operator),
        side: (1..=3).flat_map(secrets).map(SideRow::KeySecret).collect(),
        idempotency: None,
        basis: Basis::default(),
    };
    log.append(append).await.map(|_| ()).map_err(|_| "refused").expect("appended");
    log
}

fn reader(open: OpenReader) -> Arc<KeySecretsReader> {
    let idle = Idle { open, purpose: Purpose::Deciding, readers: Mutex::default() };
    let pool = Box::leak(Box::new(Pool::new("test", 1)));
    Arc::new(KeySecretsReader::new(pool, Arc::new(idle)))
}

/// Opens readers once the sender is dropped.
fn gated(open: OpenReader) -> (mpsc::Sender<()>, OpenReader) {
    let (gate, opened) = mpsc::channel();
    let opened = Mutex::new(opened);
    let gated: OpenReader = Arc::new(move |purpose| {
        let _ = opened.lock().unwrap_or_else(PoisonError::into_inner).recv();
        open(purpose)
    });
    (gate, gated)
}

/// Opens readers, but fails the first times.
fn failing(open: OpenReader, times: usize) -> (Arc<AtomicUsize>, OpenReader) {
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&opened);
    let failing: OpenReader = Arc::new(move |purpose| {
        if counted.fetch_add(1, Ordering::Relaxed) < times {
            return Err(EngineError { kind: EngineErrorKind::Unavailable, message: "meant".to_owned() }.into());
        }
        open(purpose)
    });
    (opened, failing)
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

/// Asks for a key that has no secrets, whose read is under way at the end.
async fn begin(reader: &Arc<KeySecretsReader>) -> JoinSet<KeySecretsRead> {
    let (asked, mut first) = (Arc::clone(reader), JoinSet::new());
    first.spawn(async move { asked.read(tenant(9), key(9)).await });
    let is_begun = || {
        let waiting = reader.waiting();
        waiting.is_read && waiting.len == 0
    };
    until(is_begun).await;
    first
}

/// Asks for the secrets of these keys, each of a tenant of its own, until all of them wait for the read after the one that is under way.
async fn ask(reader: &Arc<KeySecretsReader>, numbers: &[u128]) -> JoinSet<(u128, KeySecretsRead)> {
    let (before, mut asking) = (reader.waiting().len, JoinSet::new());
    for number in numbers.iter().copied() {
        let reader = Arc::clone(reader);
        asking.spawn(async move { (number, reader.read(tenant(number), key(number)).await) });
    }
    until(|| reader.waiting().len >= before + numbers.len()).await;
    asking
}

#[tokio::test]
async fn all_who_wait_for_a_read_get_the_secrets_of_their_keys() {
    let folder = TempDir::new().expect("a folder");
    let log = log_with_secrets(&folder).await;
    let (gate, open) = gated(Arc::clone(&log.inner.readers.open));
    let reader = reader(open);
    let _first = begin(&reader).await;
    let asking = ask(&reader, &[1, 2, 3, 3, 4]).await;
    drop(gate);
    for (number, read) in asking.join_all().await {
        let expected = if number == 4 { Vec::new() } else { secrets(number) };
        assert_eq!(read.expect("it reads"), expected, "of key {number}");
    }
    assert!(reader.waiting().by_owner.is_empty());
    until(|| !reader.waiting().is_read).await;
    assert_eq!(reader.read(tenant(2), key(2)).await.expect("another read begins"), secrets(2));
}

#[tokio::test]
async fn keys_are_read_while_the_threads_of_those_who_wait_are_busy() {
    let folder = TempDir::new().expect("a folder");
    let log = log_with_secrets(&folder).await;
    let (gate, open) = gated(Arc::clone(&log.inner.readers.open));
    let reader = reader(open);
    let _first = begin(&reader).await;
    let asking = ask(&reader, &[1, 2, 3]).await;
    drop(gate);
    // This thread is that of all tasks, and none of them runs meanwhile.
    let began = std::time::Instant::now();
    while reader.waiting().is_read {
        assert!(began.elapsed() < Duration::from_secs(10), "no key is read");
        std::thread::yield_now();
    }
    assert_eq!(reader.waiting().len, 0);
    for (number, read) in asking.join_all().await {
        assert_eq!(read.expect("it reads"), secrets(number), "of key {number}");
    }
}

#[tokio::test]
async fn an_error_of_the_database_reaches_all_who_wait_for_the_read_and_nobody_after_them() {
    let folder = TempDir::new().expect("a folder");
    let log = log_with_secrets(&folder).await;
    // The read that keeps the others waiting fails, too.
    let (opened, open) = failing(Arc::clone(&log.inner.readers.open), 2);
    let (gate, open) = gated(open);
    let reader = reader(open);
    let _first = begin(&reader).await;
    let asking = ask(&reader, &[1, 2, 3]).await;
    drop(gate);
    for (number, read) in asking.join_all().await {
        assert!(matches!(read.as_deref().map_err(|error| &**error), Err(LogError::Engine(_))), "of key {number}");
    }
    assert_eq!(opened.load(Ordering::Relaxed), 2, "three keys had one read");
    assert_eq!(reader.read(tenant(2), key(2)).await.expect("it reads"), secrets(2));
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_an_error_of_its_key_alone() {
    let folder = TempDir::new().expect("a folder");
    let log = log_with_secrets(&folder).await;
    damage_first_secret(&folder.path().join(LEDGER_FILE), key(2));
    let (gate, open) = gated(Arc::clone(&log.inner.readers.open));
    let reader = reader(open);
    let _first = begin(&reader).await;
    let asking = ask(&reader, &[1, 2, 3, 4]).await;
    drop(gate);
    for (number, read) in asking.join_all().await {
        match number {
            2 => assert!(matches!(read.as_deref().map_err(|error| &**error), Err(LogError::Stored(_))), "{read:?}"),
            4 => assert!(read.expect("it reads").is_empty()),
            _ => assert_eq!(read.expect("it reads"), secrets(number), "of key {number}"),
        }
    }
}

#[tokio::test]
async fn a_caller_that_leaves_keeps_nobody_waiting() {
    let folder = TempDir::new().expect("a folder");
    let log = log_with_secrets(&folder).await;
    let (gate, open) = gated(Arc::clone(&log.inner.readers.open));
    let reader = reader(open);
    // The one who has begun to read leaves, and one who waits.
    let mut first = begin(&reader).await;
    let mut leaving = ask(&reader, &[1]).await;
    let staying = ask(&reader, &[2, 3]).await;
    first.shutdown().await;
    leaving.shutdown().await;
    drop(gate);
    for (number, read) in staying.join_all().await {
        assert_eq!(read.expect("it reads"), secrets(number));
    }
}

#[tokio::test]
async fn a_read_that_panics_is_an_error_of_all_who_wait_and_the_next_one_begins_anew() {
    let folder = TempDir::new().expect("a folder");
    let log = log_with_secrets(&folder).await;
    let (opened, open) = (AtomicUsize::new(0), Arc::clone(&log.inner.readers.open));
    let panicking: OpenReader = Arc::new(move |purpose| {
        assert!(opened.fetch_add(1, Ordering::Relaxed) > 0, "meant");
        open(purpose)
    });
    let (gate, open) = gated(panicking);
    let reader = reader(open);
    let mut asking = begin(&reader).await;
    let waiting = Arc::clone(&reader);
    asking.spawn(async move { waiting.read(tenant(1), key(1)).await });
    until(|| reader.waiting().len == 1).await;
    drop(gate);
    for read in asking.join_all().await {
        assert!(matches!(read.as_deref().map_err(|error| &**error), Err(LogError::Closed)), "{read:?}");
    }
    until(|| !reader.waiting().is_read).await;
    assert_eq!(reader.read(tenant(2), key(2)).await.expect("it reads"), secrets(2));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_does_not_come_in_time_is_an_error_and_counts_as_late() {
    let reader = reader(Arc::new(|_| Err(LogError::Closed)));
    // Somebody reads, and does not come to an end.
    reader.waiting().is_read = true;
    let read = reader.read(tenant(1), key(1)).await;
    assert!(matches!(read.as_deref().map_err(|error| &**error), Err(LogError::TimedOut(_))), "{read:?}");
    assert_eq!(reader.pool.late(), 1);
}

fn waiting(number: u128) -> WaitingKey {
    WaitingKey { key: key(number), answer: oneshot::channel().0 }
}

#[test]
fn the_keys_of_one_owner_leave_room_for_those_of_others() {
    let mut keys = WaitingKeys::default();
    for number in 0..600 {
        keys.push(tenant(1), waiting(number)).expect("room");
    }
    keys.push(tenant(2), waiting(1_000)).expect("room");
    let first: Vec<KeyId> = keys.take().into_iter().map(|waiting| waiting.key).collect();
    assert_eq!((first.len(), first[1]), (KEYS_OF_READ_MAX, key(1_000)));
    assert_eq!([keys.take().len(), keys.take().len(), keys.take().len()], [KEYS_OF_READ_MAX, 89, 0]);
    assert!(keys.len == 0 && keys.by_owner.is_empty() && keys.turns.is_empty());
}

#[test]
fn so_many_keys_wait_and_no_more() {
    let mut keys = WaitingKeys::default();
    for owner in 1..=4 {
        for number in 0..WAITING_OF_OWNER_MAX as u128 {
            keys.push(tenant(owner), waiting(number)).expect("room");
        }
        assert!(matches!(keys.push(tenant(owner), waiting(0)), Err(LogError::QueueFull)));
    }
    assert!(matches!(keys.push(tenant(5), waiting(0)), Err(LogError::QueueFull)), "all places are taken");
    assert_eq!(keys.by_owner.len(), 4);
    keys.take();
    assert!(keys.push(tenant(5), waiting(0)).is_ok());
}
